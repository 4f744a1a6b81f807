//! A process that is killed while it appends bodies: what it reported is recovered whole.
//!
//! The test re-executes its own binary as a child (an ignored test that does nothing unless told where to write). The child prints a line
//! for every body it was told is durable. A kill keeps the page cache, so this shows the protocol between report, write and reuse, not the
//! sync itself.

use samara_storage::{BlockJournal, BodyLog, JournalConfig, LogIdentity, LogSequence};
use samara_types::block::payload_digest;
use samara_types::{Block, BlockHeader, ChainId, Digest, Height, ValidatorIndex, View};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const DIRECTORY: &str = "SAMARA_KILL_BODIES_DIRECTORY";
/// Views the child keeps unfinalized. Of these the parent asks for half, as the child may have gone on before it died.
const UNFINALIZED: u64 = 16;

/// Sizes from nothing to 60 KiB, every one of its own noise.
fn block(view: u64) -> Block {
    let mut payload = vec![0; (view * 7_919 % 61_440) as usize];
    blake3::Hasher::new().update(&view.to_le_bytes()).finalize_xof().fill(&mut payload);
    let header = BlockHeader {
        view: View(view),
        parent_view: View(view - 1),
        parent_digest: Digest([3; 32]),
        height: Height(view),
        timestamp_ns: 0,
        payload_length: payload.len() as u32,
        leader: ValidatorIndex(0),
        payload_digest: payload_digest(&payload),
    };
    Block::new(header, vec![Digest([1; 32]); 2], payload).unwrap()
}

fn open(dir: &Path) -> (BlockJournal, Vec<Block>) {
    let identity = LogIdentity { chain: ChainId([4; 32]), validator: ValidatorIndex(0), vote_key: [1; 96] };
    BlockJournal::open_with(dir, identity, &JournalConfig::tiny()).unwrap()
}

#[test]
#[ignore = "the child of reported_bodies_survive_a_kill"]
fn child_that_appends() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let (mut journal, recovered) = open(Path::new(&dir));
    let first = recovered.last().map_or(1, |block| block.header().view.0 + 1);
    let mut durable = first - 1;
    let mut base = None;
    for view in first.. {
        let LogSequence(sequence) = journal.append(Arc::new(block(view)));
        let base = *base.get_or_insert(sequence - view);
        journal.submit().unwrap();
        while durable + 4 < view || view % 3 == 0 && durable < view {
            if let Some(LogSequence(reported)) = journal.poll_durable().unwrap() {
                durable = reported - base;
                let mut out = std::io::stdout().lock();
                writeln!(out, "durable {durable}").and_then(|()| out.flush()).unwrap();
                journal.prune(View(durable.saturating_sub(UNFINALIZED)));
            } else {
                journal.wait().unwrap();
            }
        }
    }
}

/// Lets the child append to `dir`, kills it after `lines` reports and returns the last view it reported.
fn kill_after(dir: &Path, lines: usize) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_that_appends", "--ignored", "--nocapture"]).env(DIRECTORY, dir).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let mut reports = output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok());
    let last = reports.by_ref().take(lines).last().expect("the child reports");
    process.kill().unwrap();
    process.wait().unwrap();
    // What it printed before it died counts too. The last line may be cut; the number before it stands.
    let rest: Vec<u64> = reports.collect();
    rest.len().checked_sub(2).map_or(last, |before| rest[before].max(last))
}

#[test]
fn reported_bodies_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut reused = false;
    for round in 0..12 {
        let reported = kill_after(dir.path(), 3 + 9 * round);
        let (journal, recovered) = open(dir.path());
        for view in reported.saturating_sub(UNFINALIZED / 2).max(1)..=reported {
            let found = recovered.iter().find(|block| block.header().view.0 == view);
            assert!(found == Some(&block(view)), "round {round}: view {view} was reported, as was {reported}");
        }
        assert!(recovered.iter().all(|found| *found == block(found.header().view.0)));
        reused |= journal.recovered().stale > 0;
    }
    assert!(reused, "the child went around the segments");
}
