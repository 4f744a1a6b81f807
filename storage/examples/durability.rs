//! What durability costs on this machine: p50 and p99 of a durable append both ways, and of a commit of a 30 KiB block.
//!
//! `cargo run --release -p samara-storage --example durability -- DIR` where DIR is on the disk in question.

use samara_storage::{BlockStore, FinalizedBlock, LogConfig, LogIdentity, RocksStore, UringVoteLog, VoteLog, WriteMode};
use samara_types::block::{genesis_digest, payload_digest};
use samara_types::{Block, BlockHeader, ChainId, Digest, Height, Record, ValidatorIndex, View};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const CHAIN: ChainId = ChainId([1; 32]);

fn main() {
    let dir = std::env::args().nth(1).expect("a directory on the disk to measure");
    let dir = tempfile::tempdir_in(dir).expect("a writable directory");
    println!("{:<44} {:>8} {:>9} {:>9} {:>9}", "what", "count", "p50 us", "p99 us", "p99.9 us");
    for round in 0..2 {
        for (mode, name) in [(WriteMode::Direct, "vote log, O_DIRECT + RWF_DSYNC"), (WriteMode::Buffered, "vote log, buffered + fdatasync")]
        {
            votes(&dir.path().join(format!("{mode:?}{round}")), mode, name);
        }
    }
    blocks(&dir.path().join("store"));
}

/// One record, one durable write, over two segment changes.
fn votes(dir: &Path, mode: WriteMode, name: &str) {
    let identity = LogIdentity { chain: CHAIN, validator: ValidatorIndex(0), vote_key: [0; 96] };
    let (mut log, _) = UringVoteLog::open_with(dir, identity, &LogConfig { mode, ..LogConfig::default() }).expect("opens");
    let latencies = (0..5_000).map(|view| {
        let start = Instant::now();
        let sequence = log.append(Record::Vote(View(view), Digest([7; 32])));
        log.submit().expect("submits");
        while log.poll_durable().expect("works") != Some(sequence) {
            log.wait().expect("waits");
        }
        start.elapsed().as_nanos() as u64
    });
    print(name, latencies.collect());
    assert_eq!(log.mode(), mode, "the file system has no direct I/O");
    println!("{:<44} {:?}", "", log.stats());
}

fn blocks(dir: &Path) {
    let store = RocksStore::open(dir, CHAIN).expect("opens");
    let mut parent = genesis_digest(&CHAIN);
    let mut noise = blake3::Hasher::new().finalize_xof();
    let latencies = (1..=3_000).map(|height| {
        let mut payload = vec![0; 30 << 10];
        noise.fill(&mut payload);
        let header = BlockHeader {
            view: View(height),
            parent_view: View(height - 1),
            parent_digest: parent,
            height: Height(height),
            timestamp_ns: 0,
            payload_length: payload.len() as u32,
            leader: ValidatorIndex(0),
            payload_digest: payload_digest(&payload),
        };
        let block = Block::new(header, vec![Digest([1; 32])], payload).expect("well-formed");
        parent = block.digest();
        let finalized = [FinalizedBlock { block: Arc::new(block), certificate: None }];
        let start = Instant::now();
        store.commit(&finalized, &[], &[]).expect("commits");
        start.elapsed().as_nanos() as u64
    });
    print("block store, commit of a 30 KiB block", latencies.collect());
    drop(store);
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    println!("{:<44} {}", "this process, all rows", io.lines().find(|line| line.starts_with("write_bytes")).unwrap_or("?"));
}

fn print(name: &str, mut nanos: Vec<u64>) {
    nanos.sort_unstable();
    let at = |share: usize| nanos[nanos.len() * share / 1_000] as f64 / 1_000.0;
    println!("{name:<44} {:>8} {:>9.1} {:>9.1} {:>9.1}", nanos.len(), at(500), at(990), at(999));
}
