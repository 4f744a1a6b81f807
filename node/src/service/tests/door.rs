use super::*;
use samara_types::client::RejectReason;

fn limited(door: DoorLimits) -> Rig {
    Setup { door, ..Setup::new(0, Arc::new(MemoryStore::new(CHAIN))) }.start()
}

fn rejected(reason: RejectReason) -> Response {
    Response::Rejected(reason)
}

#[test]
fn a_transaction_is_accepted_then_finalized_where_it_stands() {
    let mut rig = rig();
    let mut client = rig.client();
    let mut chain = ChainMaker::new(&CHAIN);
    client.submit(41, &transaction(1));
    rig.answer(Response::Accepted);
    assert_eq!(client.receive(), (41, Response::Accepted));
    rig.store(vec![chain.finalized(&[&transaction(9), &transaction(1)])]);
    assert_eq!(client.receive(), (41, Response::Finalized { height: 1, index: 1 }));
    assert!(matches!(rig.next(), ToHot::Stored { height: Height(1) }));
    let metrics = rig.stop();
    assert_eq!((metrics.service.accepted, metrics.service.finalized_answers, metrics.service.commits), (1, 1, 1));
    assert_eq!(metrics.service.waiting, 0);
}

#[test]
fn what_is_no_good_transaction_is_refused_by_reason_and_never_reaches_the_hot_reactor() {
    let mut rig = rig();
    let mut client = rig.client();
    let mut forged = transaction(1);
    *forged.last_mut().unwrap() ^= 1;
    client.submit(1, &forged);
    assert_eq!(client.receive(), (1, rejected(RejectReason::BadSignature)));
    client.submit(2, b"short");
    assert_eq!(client.receive(), (2, rejected(RejectReason::Malformed)));
    assert!(rig.quiet());
    // Both gave their slots back, and the same connection still works.
    client.submit(3, &transaction(1));
    rig.answer(rejected(RejectReason::MempoolFull));
    assert_eq!(client.receive(), (3, rejected(RejectReason::MempoolFull)));
    rig.stop();
}

#[test]
fn two_clients_with_one_transaction_are_both_answered_and_the_hot_reactor_asked_once() {
    let mut rig = rig();
    let (mut one, mut two) = (rig.client(), rig.client());
    let mut chain = ChainMaker::new(&CHAIN);
    one.submit(5, &transaction(1));
    rig.answer(Response::Accepted);
    assert_eq!(one.receive(), (5, Response::Accepted));
    two.submit(5, &transaction(1));
    assert_eq!(two.receive(), (5, Response::Accepted));
    assert!(rig.quiet());
    rig.store(vec![chain.finalized(&[&transaction(1)])]);
    for client in [&mut one, &mut two] {
        assert_eq!(client.receive(), (5, Response::Finalized { height: 1, index: 0 }));
    }
    rig.stop();
}

#[test]
fn a_final_transaction_is_answered_at_once_also_after_a_restart() {
    let store = Arc::new(MemoryStore::new(CHAIN));
    let mut chain = ChainMaker::new(&CHAIN);
    store.commit(&[chain.finalized(&[&transaction(1)]), chain.finalized(&[])], &[], &[]).unwrap();
    let mut rig = Setup::new(0, store).start();
    let mut client = rig.client();
    client.send(1, &Request::Status);
    assert_eq!(client.receive(), (1, Response::Status { view: 0, height: 2 }));
    client.submit(2, &transaction(1));
    assert_eq!(client.receive(), (2, Response::Accepted));
    assert_eq!(client.receive(), (2, Response::Finalized { height: 1, index: 0 }));
    rig.store(vec![chain.finalized(&[&transaction(3)])]);
    assert!(matches!(rig.next(), ToHot::Stored { height: Height(3) }));
    client.submit(3, &transaction(3));
    assert_eq!(client.receive(), (3, Response::Accepted));
    assert_eq!(client.receive(), (3, Response::Finalized { height: 3, index: 0 }));
    assert!(rig.quiet());
    assert_eq!(rig.stop().service.resubmissions, 2);
}

#[test]
fn unanswered_submissions_of_a_connection_are_bounded_and_a_last_answer_frees_a_slot() {
    let mut rig = limited(DoorLimits { in_flight_max: 2, ..DoorLimits::default() });
    let mut client = rig.client();
    let mut chain = ChainMaker::new(&CHAIN);
    for nonce in 1..=3 {
        client.submit(nonce, &transaction(nonce));
    }
    assert_eq!(client.receive(), (3, rejected(RejectReason::TooManyInFlight)));
    rig.answer(Response::Accepted);
    rig.answer(Response::Accepted);
    assert_eq!(client.receive(), (1, Response::Accepted));
    assert_eq!(client.receive(), (2, Response::Accepted));
    // Accepted is not the last answer: both slots are still taken.
    client.submit(4, &transaction(4));
    assert_eq!(client.receive(), (4, rejected(RejectReason::TooManyInFlight)));
    rig.store(vec![chain.finalized(&[&transaction(2)])]);
    assert_eq!(client.receive(), (2, Response::Finalized { height: 1, index: 0 }));
    assert!(matches!(rig.next(), ToHot::Stored { .. }));
    client.submit(5, &transaction(5));
    rig.answer(Response::Accepted);
    assert_eq!(client.receive(), (5, Response::Accepted));
    client.submit(6, &transaction(6));
    assert_eq!(client.receive(), (6, rejected(RejectReason::TooManyInFlight)));
    rig.stop();
}

#[test]
fn a_full_ring_to_the_hot_reactor_refuses_loudly() {
    let mut rig = Setup { ring_to_hot: 2, ..Setup::new(0, Arc::new(MemoryStore::new(CHAIN))) }.start();
    let mut client = rig.client();
    for nonce in 1..=5 {
        client.submit(nonce, &transaction(nonce));
    }
    for nonce in 3..=5 {
        assert_eq!(client.receive(), (nonce, rejected(RejectReason::MempoolFull)));
    }
    rig.answer(Response::Accepted);
    rig.answer(Response::Accepted);
    assert_eq!(client.receive(), (1, Response::Accepted));
    assert_eq!(client.receive(), (2, Response::Accepted));
    assert_eq!(rig.stop().service.rejected["mempool_full"], 3);
}

#[test]
fn bytes_that_are_no_frame_close_the_connection_and_no_other() {
    let mut rig = rig();
    let (mut good, mut bad, mut worse) = (rig.client(), rig.client(), rig.client());
    bad.stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(bad.is_closed());
    let mut unknown_kind = Vec::new();
    write_request(&mut unknown_kind, 1, &Request::Status);
    *unknown_kind.last_mut().unwrap() = 99;
    worse.stream.write_all(&unknown_kind).unwrap();
    assert!(worse.is_closed());
    rig.settle(&mut good, 12);
    let metrics = rig.stop();
    assert_eq!(metrics.service.connections_refused["malformed_frame"], 2);
}

#[test]
fn a_client_that_does_not_read_is_disconnected_not_buffered() {
    let mut rig = limited(DoorLimits { unread_bytes_max: 64 << 10, ..DoorLimits::default() });
    let mut lazy = rig.client();
    let mut requests = Vec::new();
    for id in 0..1_000 {
        write_request(&mut requests, id, &Request::Status);
    }
    // Kernel buffers take some megabytes of answers first; 200 MB would be far beyond them.
    let refused = (0..15_000).any(|_| lazy.stream.write_all(&requests).is_err());
    assert!(refused, "the door buffered without bound");
    let mut other = rig.client();
    rig.settle(&mut other, 3);
    assert_eq!(rig.stop().service.connections_refused["slow_reader"], 1);
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let mut rig = limited(DoorLimits { connections_max: 1, ..DoorLimits::default() });
    let mut first = rig.client();
    rig.settle(&mut first, 1);
    assert!(rig.client().is_closed());
    rig.settle(&mut first, 2);
    assert_eq!(rig.stop().service.connections_refused["limit"], 1);
}

#[test]
fn an_idle_connection_gives_its_place_to_a_new_one_and_one_that_waits_for_an_answer_does_not() {
    let mut rig = limited(DoorLimits { connections_max: 2, idle_after: Duration::ZERO, ..DoorLimits::default() });
    let (mut busy, mut idle) = (rig.client(), rig.client());
    rig.settle(&mut idle, 1);
    busy.submit(7, &transaction(7));
    let ToHot::Submit { ticket, .. } = rig.next() else { panic!("a submission was expected") };
    let mut newcomer = rig.client();
    rig.settle(&mut newcomer, 2);
    assert!(idle.is_closed());
    rig.push(ToService::Answer { ticket, response: rejected(RejectReason::MempoolFull) });
    assert_eq!(busy.receive(), (7, rejected(RejectReason::MempoolFull)));
    let refused = rig.stop().service.connections_refused;
    assert_eq!((refused["idle"], refused.get("limit")), (1, None));
}

#[test]
fn at_a_stop_every_waiting_request_gets_its_last_answer() {
    let mut rig = rig();
    let mut client = rig.client();
    let mut chain = ChainMaker::new(&CHAIN);
    for nonce in 1..=3 {
        client.submit(nonce, &transaction(nonce));
        let ToHot::Submit { ticket, transaction: submitted } = rig.next() else { panic!("a submission was expected") };
        assert_eq!(submitted.bytes(), transaction(nonce));
        if nonce < 3 {
            rig.push(ToService::Answer { ticket, response: Response::Accepted });
            assert_eq!(client.receive(), (nonce, Response::Accepted));
        }
    }
    rig.store(vec![chain.finalized(&[&transaction(1)])]);
    rig.stop();
    assert_eq!(client.receive(), (1, Response::Finalized { height: 1, index: 0 }));
    let mut last = [client.receive(), client.receive()];
    last.sort_by_key(|(id, _)| *id);
    assert_eq!(last, [(2, rejected(RejectReason::Dropped)), (3, rejected(RejectReason::Unavailable))]);
    assert!(client.is_closed());
}
