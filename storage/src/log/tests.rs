//! The log on real files with real syncs.

use super::format::{BLOCK_BYTES, BlockState, HALF_BYTES, Link, SLOT_BYTES, read_block, write_block};
use super::uring::{LogConfig, UringVoteLog};
use super::*;
use crate::io::tests::becomes_readable;
use crate::segment::{VOTES, WriteMode};
use proptest::prelude::*;
use samara_types::Digest;
use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};

const BLOCK: u64 = BLOCK_BYTES as u64;

pub(super) fn identity() -> LogIdentity {
    LogIdentity { chain: ChainId([7; 32]), validator: ValidatorIndex(3), vote_key: [9; 96] }
}

/// A record of each kind in turn.
fn record(at: u64) -> Record {
    match at % 3 {
        0 => Record::Proposal(View(at), Digest([at as u8; 32])),
        1 => Record::Vote(View(at), Digest([at as u8; 32])),
        _ => Record::Nullify(View(at)),
    }
}

fn records(range: std::ops::Range<u64>) -> Vec<Record> {
    range.map(record).collect()
}

fn open(dir: &Path, config: &LogConfig) -> (UringVoteLog, Recovered) {
    UringVoteLog::open_with(dir, identity(), config).expect("opens")
}

fn tiny() -> LogConfig {
    LogConfig::tiny()
}

/// Segments that are never full in a short test.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 16 * BLOCK, ..LogConfig::default() }
}

/// Submits until everything up to `sequence` is durable.
fn settle(log: &mut UringVoteLog, sequence: LogSequence) {
    log.submit().unwrap();
    while log.poll_durable().unwrap().is_none_or(|durable| durable < sequence) {
        log.wait().unwrap();
    }
}

/// One durable write per record.
fn write_each(log: &mut UringVoteLog, range: std::ops::Range<u64>) {
    for at in range {
        let sequence = log.append(record(at));
        settle(log, sequence);
    }
}

/// Works until all chores are done.
fn rest(log: &mut UringVoteLog) {
    while !log.is_idle() {
        log.wait().unwrap();
        log.poll_durable().unwrap();
    }
}

/// A directory whose log holds records 0..n, one per block, and the next segment.
fn written(n: u64, config: &LogConfig) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), config);
    write_each(&mut log, 0..n);
    rest(&mut log);
    dir
}

fn change(dir: &Path, segment: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(VOTES.name(segment));
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

fn refusal(dir: &Path) -> LogError {
    UringVoteLog::open_with(dir, identity(), &tiny()).err().expect("refused")
}

fn is_corrupt(error: &LogError, expected: &str) -> bool {
    matches!(error, LogError::Corrupt { reason, .. } if *reason == expected)
}

#[test]
fn vote_is_durable_before_it_is_reported() {
    for mode in [WriteMode::Direct, WriteMode::Buffered] {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, recovered) = open(dir.path(), &LogConfig { mode, ..small() });
        assert_eq!(recovered, Recovered { fresh: true, ..Recovered::default() });
        log.append(record(0));
        assert_eq!(log.poll_durable().unwrap(), None);
        log.wait().unwrap();
        assert_eq!((log.poll_durable().unwrap(), log.stats().writes), (None, 0), "append alone writes nothing");
        let mut reported = 0;
        for at in 1..12 {
            log.append(record(at));
            log.submit().unwrap();
            if let Some(LogSequence(durable)) = log.poll_durable().unwrap() {
                reported = durable;
            }
            assert!(read_log(dir.path()).unwrap().len() as u64 >= reported);
        }
        settle(&mut log, LogSequence(12));
        assert_eq!(read_log(dir.path()).unwrap(), records(0..12));
        drop(log);
        let (_, recovered) = open(dir.path(), &LogConfig { mode, ..small() });
        assert_eq!(recovered, Recovered { records: records(0..12), torn_tail: false, fresh: false, pruned: false });
    }
}

#[test]
fn what_piles_up_behind_a_write_goes_out_together() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &small());
    for at in 0..32 {
        log.append(record(at));
    }
    log.submit().unwrap();
    for at in 32..50 {
        log.append(record(at));
        log.submit().unwrap();
    }
    settle(&mut log, LogSequence(50));
    assert_eq!(log.stats().writes, 2, "32 records, then everything behind them");
    assert_eq!(log.stats().records, 50);
}

#[test]
fn a_sleeping_reactor_wakes_by_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &small());
    for at in 0..3 {
        log.append(record(at));
        log.submit().unwrap();
        assert!(becomes_readable(log.wake_fd().unwrap()));
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(at + 1)));
    }
}

#[test]
fn sequences_continue_after_a_reopen() {
    let dir = written(5, &small());
    let (mut log, _) = open(dir.path(), &small());
    assert_eq!(log.append(record(5)), LogSequence(6));
    settle(&mut log, LogSequence(6));
    drop(log);
    assert_eq!(open(dir.path(), &small()).1.records, records(0..6));
}

#[test]
fn a_log_of_another_identity_is_refused() {
    let dir = written(1, &tiny());
    for (what, other) in [
        ("chain", LogIdentity { chain: ChainId([8; 32]), ..identity() }),
        ("validator", LogIdentity { validator: ValidatorIndex(4), ..identity() }),
        ("vote key", LogIdentity { vote_key: [1; 96], ..identity() }),
    ] {
        let error = UringVoteLog::open(dir.path(), other).err().expect("refused");
        assert!(matches!(error, LogError::OtherIdentity { what: found, .. } if found == what), "{error}");
    }
}

#[test]
fn a_directory_has_one_user() {
    let dir = written(1, &tiny());
    let (log, _) = open(dir.path(), &tiny());
    assert!(matches!(refusal(dir.path()), LogError::Locked(_)));
    drop(log);
    open(dir.path(), &tiny());
}

#[test]
fn a_failed_write_poisons_for_good() {
    for mode in [WriteMode::Direct, WriteMode::Buffered] {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path(), &LogConfig { mode, ..small() });
        write_each(&mut log, 0..2);
        log.fail_writes(File::open(dir.path().join(VOTES.name(0))).unwrap());
        log.append(record(2));
        log.submit().unwrap();
        log.wait().unwrap();
        let error = log.poll_durable().unwrap_err();
        assert!(matches!(error, LogError::Io { action: "write", .. }), "{error}");
        log.append(record(3));
        assert!(matches!(log.submit(), Err(LogError::Poisoned(_))));
        assert!(matches!(log.poll_durable(), Err(LogError::Poisoned(_))));
        drop(log);
        assert_eq!(open(dir.path(), &small()).1.records, records(0..2));
    }
}

#[test]
fn a_segment_that_can_not_be_prepared_poisons() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &tiny());
    write_each(&mut log, 0..2);
    fs::remove_dir_all(dir.path()).unwrap();
    let mut outcome = Ok(());
    for at in 2..100 {
        log.append(record(at));
        outcome = log.submit().and_then(|()| log.wait()).and_then(|()| log.poll_durable().map(drop));
        if outcome.is_err() {
            break;
        }
    }
    assert!(matches!(outcome, Err(LogError::Io { action: "prepare", .. })), "{outcome:?}");
    assert!(log.submit().is_err());
}

#[test]
fn a_stalled_disk_stops_the_log_and_bounds_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &small());
    for at in 0..70_000 {
        log.append(record(at));
    }
    assert!(matches!(log.submit(), Err(LogError::Poisoned(_))));
}

#[test]
fn rotation_keeps_everything_and_prune_keeps_what_is_at_or_above() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &tiny());
    write_each(&mut log, 0..21);
    assert_eq!(read_log(dir.path()).unwrap(), records(0..21));
    log.prune(View(15));
    rest(&mut log);
    write_each(&mut log, 21..23);
    assert_eq!(log.stats().segments_deleted, 7, "the segment of views 14 and 15 stays");
    drop(log);
    let (mut log, recovered) = open(dir.path(), &tiny());
    assert_eq!(recovered.records, records(14..23));
    assert!(recovered.pruned);
    assert_eq!(log.append(record(23)), LogSequence(24));
    settle(&mut log, LogSequence(24));
}

/// Two records a segment. The nullify of view 2 came when view 9 was under way; a log without 5 to 8 and with it would seem to know all from 2 on.
#[test]
fn a_late_record_of_an_old_view_keeps_what_lies_before_it() {
    let views = [3, 4, 5, 8, 2, 9, 9, 10, 10, 11, 12, 13];
    let kept_at = |below| {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path(), &tiny());
        for view in views {
            let sequence = log.append(Record::Nullify(View(view)));
            settle(&mut log, sequence);
        }
        log.prune(View(below));
        rest(&mut log);
        drop(log);
        open(dir.path(), &tiny()).1.records.first().map(|first| first.view().0)
    };
    assert_eq!([9, 10, 11].map(kept_at), [Some(3), Some(9), Some(10)], "the segments before the late record go with it");
}

#[test]
fn prune_keeps_the_newest_two_segments_that_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &tiny());
    write_each(&mut log, 0..9);
    log.prune(View(1_000));
    rest(&mut log);
    write_each(&mut log, 9..10);
    drop(log);
    assert_eq!(open(dir.path(), &tiny()).1.records, records(6..10), "the one being written and the one before");
}

#[test]
fn a_torn_write_costs_only_its_own_records_at_every_byte_offset() {
    let dir = written(3, &small());
    let path = dir.path().join(VOTES.name(0));
    let image = fs::read(&path).unwrap();
    let mut last = [0; BLOCK_BYTES];
    let at = 4 * BLOCK_BYTES;
    let link = recovery::join(dir.path(), vec![parse(&image)], false).unwrap().link;
    write_block(&mut last, 0, link, &records(3..13));
    for cut in 0..BLOCK_BYTES {
        for (kept, from, to) in [("front", 0, cut), ("back", cut, BLOCK_BYTES)] {
            let mut torn = image.clone();
            torn[at + from..at + to].copy_from_slice(&last[from..to]);
            let scan = recovery::join(dir.path(), vec![parse(&torn)], false).unwrap();
            assert!(scan.records.len() >= 3 && records(0..13).starts_with(&scan.records), "{kept} {cut}");
            let whole = torn[at..at + BLOCK_BYTES] == last;
            let zeros = torn[at..at + BLOCK_BYTES].iter().all(|byte| *byte == 0);
            assert_eq!(scan.torn.is_some(), !whole && !zeros, "{kept} {cut}");
        }
    }
}

fn parse(image: &[u8]) -> recovery::Parsed {
    recovery::parse(PathBuf::from("votes"), image, 0, Some(&identity())).unwrap()
}

#[test]
fn a_repaired_tail_can_be_written_on() {
    let slots = 10;
    for cut in
        [1, SLOT_BYTES - 1, SLOT_BYTES, 5 * SLOT_BYTES + 7, slots * SLOT_BYTES, HALF_BYTES, HALF_BYTES + 65, BLOCK_BYTES - 3500 + 2047]
    {
        let dir = written(3, &tiny());
        let (_, before) = open(dir.path(), &tiny());
        assert_eq!(before.records, records(0..3));
        let link = Link { sequence: 4, chain: chain_of_last(dir.path()) };
        let mut last = [0; BLOCK_BYTES];
        write_block(&mut last, 1, link, &records(3..13));
        change(dir.path(), 1, |bytes| bytes[2 * BLOCK_BYTES..][..cut].copy_from_slice(&last[..cut]));

        let (mut log, recovered) = open(dir.path(), &tiny());
        assert!(recovered.torn_tail, "{cut}");
        let kept = recovered.records.len() as u64;
        assert_eq!(recovered.records, records(0..kept), "{cut}");
        assert_eq!(kept, 3 + (cut / SLOT_BYTES).min(slots) as u64, "{cut}");
        assert_eq!(log.append(record(kept)), LogSequence(kept + 1));
        settle(&mut log, LogSequence(kept + 1));
        drop(log);
        assert_eq!(
            open(dir.path(), &tiny()).1,
            Recovered { records: records(0..kept + 1), torn_tail: false, fresh: false, pruned: false },
            "{cut}"
        );
    }
}

/// Checksum of the last record of a log of three one-record blocks in tiny segments.
fn chain_of_last(dir: &Path) -> u32 {
    let bytes = fs::read(dir.join(VOTES.name(1))).unwrap();
    let BlockState::Clean(entries) = read_block(&bytes[BLOCK_BYTES..2 * BLOCK_BYTES], 1) else { panic!("clean") };
    entries.last().unwrap().crc
}

#[test]
fn a_flipped_bit_before_the_last_block_is_refused_everywhere() {
    let dir = written(3, &small());
    let image = fs::read(dir.path().join(VOTES.name(0))).unwrap();
    for byte in 0..3 * BLOCK_BYTES {
        let mut flipped = image.clone();
        flipped[byte] ^= 1 << (byte % 8);
        let parsed = recovery::parse(PathBuf::from("votes"), &flipped, 0, Some(&identity()));
        let refused = parsed.and_then(|parsed| recovery::join(dir.path(), vec![parsed], true)).is_err();
        assert!(refused, "byte {byte}");
    }
    change(dir.path(), 0, |bytes| bytes[BLOCK_BYTES + 70] ^= 4);
    assert!(is_corrupt(&refusal(dir.path()), "bytes after the end of the log"));
    assert!(read_log(dir.path()).is_err());
}

#[test]
fn one_damaged_sector_of_the_last_block_loses_no_vote() {
    for sector in 0..8 {
        let dir = written(3, &small());
        change(dir.path(), 0, |bytes| bytes[3 * BLOCK_BYTES + sector * 512..][..512].fill(0xA5));
        assert_eq!(open(dir.path(), &small()).1, Recovered { records: records(0..3), torn_tail: true, fresh: false, pruned: false });
        assert_eq!(open(dir.path(), &small()).1, Recovered { records: records(0..3), torn_tail: false, fresh: false, pruned: false });
    }
}

#[test]
fn damage_that_no_crash_causes_is_refused() {
    let block = |at: usize| at * BLOCK_BYTES..(at + 1) * BLOCK_BYTES;
    let after = |damage: &dyn Fn(&mut Vec<u8>)| {
        let dir = written(4, &small());
        change(dir.path(), 0, |bytes| damage(bytes));
        refusal(dir.path())
    };
    assert!(is_corrupt(&after(&|bytes| bytes[block(2)].fill(0)), "zeros before a written block"));
    assert!(is_corrupt(&after(&|bytes| bytes.copy_within(block(1), 2 * BLOCK_BYTES)), "a gap in the sequence"));
    assert!(is_corrupt(&after(&|bytes| bytes[9 * BLOCK_BYTES] = 1), "zeros before a written block"));
    assert!(is_corrupt(&after(&|bytes| bytes.truncate(5 * BLOCK_BYTES)), "the file has another length than its header says"));
    assert!(is_corrupt(&after(&|bytes| bytes.push(0)), "the file has another length than its header says"));
    assert!(is_corrupt(&after(&|bytes| bytes[0] = 0), "the header does not parse"));
    assert!(is_corrupt(&after(&Vec::clear), "the header does not parse"));
    let other_history = |bytes: &mut Vec<u8>| {
        let mut other = [0; BLOCK_BYTES];
        write_block(&mut other, 0, Link { sequence: 2, chain: 77 }, &records(1..2));
        bytes[block(2)].copy_from_slice(&other);
    };
    assert!(is_corrupt(&after(&other_history), "a record does not follow the one before"));
}

#[test]
fn a_missing_segment_is_refused() {
    for (gone, missing) in [(1, 1), (2, 2)] {
        let dir = written(6, &tiny());
        let newest = fs::read_dir(dir.path()).unwrap().filter_map(|entry| VOTES.number(entry.unwrap().file_name().to_str()?));
        assert_eq!(newest.max(), Some(3));
        if gone == 2 {
            fs::remove_file(dir.path().join(VOTES.name(3))).unwrap();
        }
        fs::remove_file(dir.path().join(VOTES.name(gone))).unwrap();
        let error = refusal(dir.path());
        assert!(matches!(error, LogError::MissingSegment { index, .. } if index == missing), "{error}");
    }
    let dir = written(6, &tiny());
    fs::rename(dir.path().join(VOTES.name(3)), dir.path().join(VOTES.name(4))).unwrap();
    assert!(is_corrupt(&refusal(dir.path()), "the header names another segment"));
    let dir = written(6, &tiny());
    fs::remove_file(dir.path().join(VOTES.name(0))).unwrap();
    let (_, recovered) = open(dir.path(), &tiny());
    assert_eq!(recovered.records, records(2..6), "an old segment may have been pruned");
}

#[test]
fn bytes_of_an_earlier_segment_in_a_later_one_never_parse() {
    let dir = written(3, &tiny());
    let stale = fs::read(dir.path().join(VOTES.name(0))).unwrap();
    change(dir.path(), 1, |bytes| bytes[2 * BLOCK_BYTES..].copy_from_slice(&stale[BLOCK_BYTES..2 * BLOCK_BYTES]));
    let (_, recovered) = open(dir.path(), &tiny());
    assert_eq!(recovered, Recovered { records: records(0..3), torn_tail: true, fresh: false, pruned: false });
}

#[test]
fn a_half_prepared_segment_is_discarded() {
    let dir = written(3, &tiny());
    fs::write(dir.path().join(VOTES.preparation), b"half a header").unwrap();
    assert_eq!(open(dir.path(), &tiny()).1.records, records(0..3));
    assert!(!dir.path().join(VOTES.preparation).exists());
}

#[test]
fn unusable_segment_sizes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for segment_bytes in [0, 2 * BLOCK, 3 * BLOCK + 512, (1 << 30) + BLOCK] {
        let refused = UringVoteLog::open_with(dir.path(), identity(), &LogConfig { segment_bytes, ..tiny() });
        assert!(matches!(refused, Err(LogError::BadSegmentSize(bytes)) if bytes == segment_bytes));
    }
}

#[test]
fn another_segment_size_applies_to_the_segments_after() {
    let dir = written(3, &tiny());
    write_each(&mut open(dir.path(), &small()).0, 3..20);
    assert_eq!(open(dir.path(), &tiny()).1.records, records(0..20));
}

#[test]
fn a_log_is_read_while_it_is_written_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &tiny());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for at in 0..200 {
                write_each(&mut log, at..at + 1);
                log.prune(View(at.saturating_sub(20)));
            }
            done.store(true, Ordering::Release);
        });
        let mut reads = 0;
        while !done.load(Ordering::Acquire) || reads == 0 {
            let found = read_log(dir.path()).unwrap();
            let first = found.first().map_or(0, |record| record.view().0);
            assert_eq!(found, records(first..first + found.len() as u64));
            reads += 1;
        }
        writer.join().unwrap();
    });
    assert!(read_log(dir.path()).unwrap().ends_with(&records(180..200)));
}

/// The bytes of a log are a format that other versions read: changing them is an approval (run with SAMARA_BLESS=1).
#[test]
fn the_committed_vector_is_what_is_written_and_reads_back() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(VOTES.name(0));
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &tiny());
    for at in 0..3 {
        log.append(record(at));
    }
    settle(&mut log, LogSequence(3));
    log.append(record(3));
    settle(&mut log, LogSequence(4));
    drop(log);
    let bytes = fs::read(dir.path().join(VOTES.name(0))).unwrap();
    if std::env::var_os("SAMARA_BLESS").is_some() {
        fs::create_dir_all(committed.parent().unwrap()).unwrap();
        fs::write(&committed, &bytes).unwrap();
    }
    assert!(fs::read(&committed).unwrap() == bytes, "the written bytes are not those of {}", committed.display());
    let parsed = recovery::parse(committed.clone(), &bytes, 0, Some(&identity())).unwrap();
    assert_eq!(recovery::join(committed.parent().unwrap(), vec![parsed], false).unwrap().records, records(0..4));
}

#[test]
fn a_log_moves_to_the_reactor_thread() {
    fn is_send<T: Send>(_: &T) {}
    let dir = tempfile::tempdir().unwrap();
    is_send(&open(dir.path(), &tiny()).0);
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Submit,
    Poll,
    Wait,
    Prune(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..80).prop_map(Step::Append),
        4 => Just(Step::Submit),
        4 => Just(Step::Poll),
        4 => Just(Step::Wait),
        1 => (0u64..300).prop_map(Step::Prune),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The oracle is a Vec of everything appended, a count of what was reported and the highest prune.
    #[test]
    fn the_log_is_a_vec_that_forgets_only_what_was_never_reported_or_pruned(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path(), &tiny());
        let (mut model, mut reported, mut pruned) = (Vec::new(), 0, 0);
        for step in steps {
            match step {
                Step::Append(count) => for _ in 0..count {
                    let next = record(model.len() as u64);
                    model.push(next);
                    prop_assert_eq!(log.append(next), LogSequence(model.len() as u64));
                },
                Step::Submit => log.submit().unwrap(),
                Step::Wait => log.wait().unwrap(),
                Step::Prune(below) => {
                    log.prune(View(below));
                    pruned = pruned.max(below);
                }
                Step::Poll => if let Some(LogSequence(durable)) = log.poll_durable().unwrap() {
                    prop_assert!(durable > reported && durable <= model.len() as u64);
                    reported = durable;
                },
                Step::Reopen => {
                    drop(log);
                    let (reopened, recovered) = open(dir.path(), &tiny());
                    prop_assert!(!recovered.torn_tail && !recovered.fresh);
                    let first = recovered.records.first().map_or(0, |record| record.view().0);
                    let last = first + recovered.records.len() as u64;
                    prop_assert!(last >= reported && last <= model.len() as u64);
                    prop_assert!(first <= pruned);
                    prop_assert_eq!(&recovered.records[..], &model[first as usize..last as usize]);
                    model.truncate(last as usize);
                    (log, reported) = (reopened, last);
                }
            }
        }
    }
}
