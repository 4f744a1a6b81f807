//! Processes that are killed while they write: what they reported is there afterwards.
//!
//! The test re-executes its own binary as a child (an ignored test that does nothing unless told where to write). The child prints a line
//! for everything it was told is durable; the parent kills it after some lines and looks. A kill keeps the page cache, so this shows the
//! protocol between report and write, not the sync itself.

use samara_storage::{BlockStore, FinalizedBlock, LogConfig, LogIdentity, RocksStore, UringVoteLog, VoteLog, encode_block, read_log};
use samara_types::block::{genesis_digest, payload_digest};
use samara_types::{Block, BlockHeader, ChainId, Digest, Height, Record, ValidatorIndex, View};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const DIRECTORY: &str = "SAMARA_KILL_TEST_DIRECTORY";
const CHAIN: ChainId = ChainId([4; 32]);

fn identity() -> LogIdentity {
    LogIdentity { chain: CHAIN, validator: ValidatorIndex(0), vote_key: [1; 96] }
}

/// Starts the ignored test `child` over `dir`, kills it after `lines` reports and returns the last number it reported.
fn kill_after(child: &str, dir: &Path, lines: usize) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", child, "--ignored", "--nocapture"]).env(DIRECTORY, dir).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let mut reports = output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("durable ")?.parse().ok());
    let mut last = reports.by_ref().take(lines).last().expect("the child reports");
    process.kill().unwrap();
    process.wait().unwrap();
    // What it printed before it died counts too. The last line may be cut; the number before it stands.
    let rest: Vec<u64> = reports.collect();
    if let Some(before) = rest.len().checked_sub(2) {
        last = rest[before];
    }
    last
}

fn told_directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

fn report(durable: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "durable {durable}").and_then(|()| out.flush()).unwrap();
}

#[test]
#[ignore = "the child of reported_votes_survive_a_kill"]
fn child_that_votes() {
    let Some(dir) = told_directory() else { return };
    let (mut log, recovered) = UringVoteLog::open_with(&dir, identity(), &LogConfig::tiny()).unwrap();
    for view in recovered.records.len() as u64.. {
        for _ in 0..view % 3 {
            log.submit().unwrap();
        }
        log.append(Record::Nullify(View(view)));
        log.submit().unwrap();
        if let Some(durable) = log.poll_durable().unwrap() {
            report(durable.0);
        }
        if view % 2 == 0 {
            log.wait().unwrap();
        }
    }
}

#[test]
fn reported_votes_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let reported = kill_after("child_that_votes", dir.path(), 3 + 7 * round);
        let seen = read_log(dir.path()).unwrap();
        let (log, recovered) = UringVoteLog::open_with(dir.path(), identity(), &LogConfig::tiny()).unwrap();
        drop(log);
        assert!(recovered.records.len() as u64 >= reported, "{} recovered, {reported} reported", recovered.records.len());
        assert_eq!(recovered.records, (0..recovered.records.len() as u64).map(|view| Record::Nullify(View(view))).collect::<Vec<_>>());
        assert!(recovered.records.starts_with(&seen));
    }
}

fn block(height: u64, parent: Digest) -> FinalizedBlock {
    let payload = vec![height as u8; 30_000];
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
    FinalizedBlock { block: Arc::new(Block::new(header, vec![Digest([1; 32])], payload).unwrap()), certificate: None }
}

#[test]
#[ignore = "the child of committed_blocks_survive_a_kill"]
fn child_that_commits() {
    let Some(dir) = told_directory() else { return };
    let store = RocksStore::open(&dir, CHAIN).unwrap();
    let (mut height, mut parent) = store.tip().unwrap().map_or((0, genesis_digest(&CHAIN)), |(height, _, digest)| (height.0, digest));
    loop {
        height += 1;
        let block = block(height, parent);
        parent = block.block.digest();
        store.commit(&[block], &[], &[]).unwrap();
        report(height);
    }
}

#[test]
fn committed_blocks_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let reported = kill_after("child_that_commits", dir.path(), 2 + 30 * round);
        let store = RocksStore::open(dir.path(), CHAIN).unwrap();
        let tip = store.tip().unwrap().unwrap();
        assert!(tip.0.0 >= reported, "tip {} but {reported} was acknowledged", tip.0);
        let mut parent = genesis_digest(&CHAIN);
        for height in 1..=tip.0.0 {
            let expected = block(height, parent);
            parent = expected.block.digest();
            assert_eq!(store.block_at(Height(height)).unwrap().unwrap().as_bytes(), encode_block(&expected.block));
        }
        assert_eq!(parent, tip.2);
    }
}
