//! The generator against doors made of plain threads.

use super::engine::{Engine, Gauges, Plan};
use super::outcome::Outcome;
use super::source::Content;
use samara_types::client::{RejectReason, Request, Response, read_request, split_frame, write_response};
use samara_types::{ChainId, Transaction};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a door does with a submission: responses in order; None closes the connection.
type Script = Arc<dyn Fn(&[u8]) -> Option<Vec<Response>> + Send + Sync>;

/// Opens a door that answers by `script` on every connection.
fn door(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let script = script.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &script));
        }
    });
    address
}

fn serve(mut stream: TcpStream, script: &Script) {
    let (mut inbox, mut chunk) = (Vec::new(), [0; 65536]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        inbox.extend_from_slice(&chunk[..count]);
        let (mut at, mut out) = (0, Vec::new());
        while let Some((used, id, kind, body)) = split_frame(&inbox[at..]).unwrap() {
            at += used;
            let responses = match read_request(kind, body).unwrap() {
                Request::Status => Some(vec![Response::Status { view: 3, height: 2 }]),
                Request::Submit(bytes) => script(bytes),
            };
            let Some(responses) = responses else { return };
            responses.iter().for_each(|response| write_response(&mut out, id, response));
        }
        inbox.drain(..at);
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

const CHAIN: ChainId = ChainId([5; 32]);

fn run(doors: Vec<SocketAddr>, tps: u64, count: u64) -> Outcome {
    let plan = Plan { chain: CHAIN, doors, tps, count: Some(count), content: Content::Random { tx_size: 200, seed: 1 }, senders: 2 };
    Engine::new(plan, Arc::new(Gauges::default())).run(|| true, Duration::from_secs(20))
}

fn finalizing() -> Script {
    Arc::new(|_| Some(vec![Response::Accepted, Response::Finalized { height: 7, index: 1 }]))
}

#[test]
fn every_offered_transaction_is_acknowledged_once() {
    let outcome = run(vec![door(finalizing()), door(finalizing())], 5_000, 1_000);
    assert_eq!((outcome.offered, outcome.accepted, outcome.finalized, outcome.unanswered), (1_000, 1_000, 1_000, 0));
    assert_eq!(outcome.latency_us.count(), 1_000);
    let ids: HashSet<_> = outcome.acknowledged.iter().map(|ack| ack.id.0).collect();
    assert_eq!(ids.len(), 1_000);
    assert!(outcome.rejected.is_empty());
}

#[test]
fn what_a_lost_door_left_unanswered_goes_to_another_one() {
    // The first door accepts ten, answers none of them and closes.
    let taken = Arc::new(Mutex::new(HashSet::new()));
    let seen = taken.clone();
    let closing: Script = Arc::new(move |bytes| {
        let mut taken = seen.lock().unwrap();
        taken.insert(Transaction::parse(bytes).unwrap().id(&CHAIN).0);
        (taken.len() < 10).then(|| vec![Response::Accepted])
    });
    let outcome = run(vec![door(closing), door(finalizing())], 2_000, 500);
    let final_ids: HashSet<_> = outcome.acknowledged.iter().map(|ack| ack.id.0).collect();
    assert_eq!((outcome.finalized, outcome.unanswered), (500, 0));
    assert!(taken.lock().unwrap().is_subset(&final_ids), "what the lost door had is final elsewhere");
    assert!(outcome.resubmitted >= 10 && outcome.connections_lost >= 1);
}

#[test]
fn refusals_are_counted_by_reason_and_transient_ones_are_tried_elsewhere() {
    let full: Script = Arc::new(|_| Some(vec![Response::Rejected(RejectReason::MempoolFull)]));
    let outcome = run(vec![door(full)], 5_000, 100);
    assert_eq!((outcome.finalized, outcome.rejected.get("mempool_full")), (0, Some(&100)));
    let unavailable: Script = Arc::new(|_| Some(vec![Response::Rejected(RejectReason::Unavailable)]));
    let outcome = run(vec![door(unavailable), door(finalizing())], 5_000, 200);
    assert_eq!((outcome.finalized, outcome.unanswered), (200, 0));
    assert!(outcome.rejected.is_empty() && outcome.resubmitted > 0);
}

#[test]
fn latency_counts_from_the_intended_time_even_if_no_door_was_open() {
    // All transactions are intended at once; the only door answers each 1,000th of a second of work, so the last one waits for all.
    let slow: Script = Arc::new(|_| {
        let until = std::time::Instant::now() + Duration::from_millis(1);
        while std::time::Instant::now() < until {}
        Some(vec![Response::Accepted, Response::Finalized { height: 1, index: 0 }])
    });
    let outcome = run(vec![door(slow)], 0, 100);
    let latency = outcome.latency_us.percentiles(1000.0);
    assert!(latency.max >= 100.0 && latency.p50 >= 40.0, "{latency:?}");
}

#[test]
fn a_load_that_nobody_took_or_answered_is_a_failure() {
    let verdict = |offered, accepted, unanswered, wanted| {
        super::verdict(&Outcome { offered, accepted, unanswered, ..Outcome::default() }, wanted).map_err(|exit| exit.to_string())
    };
    assert!(verdict(0, 0, 0, false).is_ok() && verdict(10, 10, 0, true).is_ok() && verdict(10, 1, 0, true).is_ok());
    assert!(verdict(0, 0, 0, true).unwrap_err().contains("no door took a transaction (0 offered)"));
    assert!(verdict(10, 0, 0, true).unwrap_err().contains("(10 offered)"));
    assert!(verdict(10, 9, 1, true).unwrap_err().contains("1 of 10"));
}
