//! What a durable body costs on this machine: p50 and p99 of append until durable, both ways, for 30 KiB and 1 MiB; and of a vote beside
//! its body, each on its own ring.
//!
//! `cargo run --release -p samara-storage --example bodies -- DIR` where DIR is on the disk in question.

use samara_storage::{BlockJournal, BodyLog, JournalConfig, LogIdentity, UringVoteLog, VoteLog, WriteMode};
use samara_types::block::payload_digest;
use samara_types::{Block, BlockHeader, ChainId, Digest, Height, Record, ValidatorIndex, View};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const IDENTITY: LogIdentity = LogIdentity { chain: ChainId([1; 32]), validator: ValidatorIndex(0), vote_key: [0; 96] };

fn main() {
    let dir = std::env::args().nth(1).expect("a directory on the disk to measure");
    let dir = tempfile::tempdir_in(dir).expect("a writable directory");
    println!("{:<44} {:>6} {:>9} {:>9} {:>12} {:>12}", "what", "count", "p50 us", "p99 us", "call p50 us", "call p99 us");
    for (bytes, count) in [(30 << 10, 2_000), (1 << 20, 400)] {
        for mode in [WriteMode::Direct, WriteMode::Buffered] {
            bodies(&dir.path().join(format!("{mode:?}{bytes}")), mode, bytes, count, false);
        }
        bodies(&dir.path().join(format!("votes{bytes}")), WriteMode::Direct, bytes, count, true);
    }
}

/// One body, one durable write, with finality three views behind. With a vote: until both are durable. `call` is what append and submit
/// take of the caller's time.
fn bodies(dir: &Path, mode: WriteMode, bytes: usize, count: u64, with_vote: bool) {
    let config = JournalConfig { mode, ..JournalConfig::default() };
    let (mut journal, _) = BlockJournal::open_with(&dir.join("bodies"), IDENTITY, &config).expect("opens");
    let (mut log, _) = UringVoteLog::open(&dir.join("votes"), IDENTITY).expect("opens");
    let (mut latencies, mut calls) = (Vec::new(), Vec::new());
    for view in 1..=count {
        let block = block(view, bytes);
        let start = Instant::now();
        let sequence = journal.append(block);
        journal.submit().expect("submits");
        calls.push(start.elapsed().as_nanos() as u64);
        let vote = with_vote.then(|| log.append(Record::Vote(View(view), Digest([7; 32]))));
        log.submit().expect("submits");
        while journal.poll_durable().expect("works") != Some(sequence) {
            journal.wait().expect("waits");
        }
        while vote.is_some() && log.poll_durable().expect("works") != vote {
            log.wait().expect("waits");
        }
        latencies.push(start.elapsed().as_nanos() as u64);
        journal.prune(View(view.saturating_sub(3)));
    }
    let what = if with_vote { "and its vote" } else { "" };
    let (mut at, mut call) = (percentiles(&mut latencies), percentiles(&mut calls));
    let name = format!("{} KiB body {what} {:?}", bytes >> 10, journal.mode());
    println!("{name:<44} {count:>6} {:>9.1} {:>9.1} {:>12.1} {:>12.1}", at(500), at(990), call(500), call(990));
    println!("{:<44} {:?}", "", journal.stats());
}

fn block(view: u64, bytes: usize) -> Arc<Block> {
    let mut payload = vec![0; bytes];
    blake3::Hasher::new().update(&view.to_le_bytes()).finalize_xof().fill(&mut payload);
    let header = BlockHeader {
        view: View(view),
        parent_view: View(view - 1),
        parent_digest: Digest([1; 32]),
        height: Height(view),
        timestamp_ns: 0,
        payload_length: bytes as u32,
        leader: ValidatorIndex(0),
        payload_digest: payload_digest(&payload),
    };
    Arc::new(Block::new(header, vec![Digest([1; 32]); 33], payload).expect("well-formed"))
}

fn percentiles(nanos: &mut Vec<u64>) -> impl FnMut(usize) -> f64 {
    nanos.sort_unstable();
    let nanos = std::mem::take(nanos);
    move |share| nanos[nanos.len() * share / 1_000] as f64 / 1_000.0
}
