//! The journal on real files with real syncs, and its format under every cut and flip.

use super::disk::{BlockJournal, JournalConfig};
use super::format::{CONTENT_BYTES, SEGMENT_BYTES_MIN, TAG_BYTES, entry_pages, write_entry};
use super::recovery::{Parsed, parse, read_segment};
use super::*;
use crate::io::tests::becomes_readable;
use crate::io::{PAGE_BYTES, Page};
use crate::log::LogIdentity;
use crate::segment::{BODIES, Header, WriteMode};
use samara_types::block::{PAYLOAD_BYTES_MAX, payload_digest};
use samara_types::{BlockHeader, ChainId, Digest, Height, ValidatorIndex};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

/// A block of a view, with noise of this many bytes.
pub fn block(view: u64, bytes: usize) -> Block {
    let mut payload = vec![0; bytes];
    blake3::Hasher::new().update(&view.to_le_bytes()).finalize_xof().fill(&mut payload);
    block_of(view, payload)
}

/// A block per view.
pub fn blocks(views: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<Block> {
    views.map(|view| block(view, bytes)).collect()
}

fn block_of(view: u64, payload: Vec<u8>) -> Block {
    let header = BlockHeader {
        view: View(view),
        parent_view: View(view - 1),
        parent_digest: Digest([2; 32]),
        height: Height(view),
        timestamp_ns: 5,
        payload_length: payload.len() as u32,
        leader: ValidatorIndex(1),
        payload_digest: payload_digest(&payload),
    };
    let roots = vec![Digest([view as u8; 32]); (payload.len() + 104).div_ceil(32 << 10)];
    Block::new(header, roots, payload).unwrap()
}

fn identity() -> LogIdentity {
    LogIdentity { chain: ChainId([7; 32]), validator: ValidatorIndex(3), vote_key: [9; 96] }
}

fn open(dir: &Path, config: &JournalConfig) -> (BlockJournal, Vec<Block>) {
    BlockJournal::open_with(dir, identity(), config).expect("opens")
}

fn tiny() -> JournalConfig {
    JournalConfig::tiny()
}

/// Submits until everything up to `sequence` is durable.
fn settle(journal: &mut BlockJournal, sequence: LogSequence) -> Result<(), LogError> {
    journal.submit()?;
    while journal.poll_durable()?.is_none_or(|durable| durable < sequence) {
        journal.wait()?;
    }
    Ok(())
}

/// One durable write per block.
fn write_each(journal: &mut BlockJournal, views: std::ops::RangeInclusive<u64>, bytes: usize) {
    for view in views {
        let sequence = journal.append(Arc::new(block(view, bytes)));
        settle(journal, sequence).unwrap();
    }
}

/// Views of all whole bodies on the disk, final or not, beside a running journal.
fn views_on_disk(dir: &Path) -> BTreeSet<u64> {
    let parsed = BODIES.list(dir).unwrap().into_iter().map(|segment| read_segment(dir, segment, &identity()).unwrap());
    parsed.flat_map(|parsed| parsed.entries).map(|(entry, _)| entry.block.header().view.0).collect()
}

#[test]
fn body_is_durable_before_it_is_reported() {
    for mode in [WriteMode::Direct, WriteMode::Buffered] {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, recovered) = open(dir.path(), &JournalConfig { mode, ..JournalConfig::default() });
        assert!(recovered.is_empty());
        journal.append(Arc::new(block(1, 30_000)));
        assert_eq!(journal.poll_durable().unwrap(), None);
        journal.wait().unwrap();
        assert_eq!((journal.poll_durable().unwrap(), journal.stats().writes), (None, 0), "append alone writes nothing");
        assert_eq!(views_on_disk(dir.path()), BTreeSet::new());
        for view in 2..30 {
            journal.append(Arc::new(block(view, 30_000)));
            journal.submit().unwrap();
            if let Some(LogSequence(durable)) = journal.poll_durable().unwrap() {
                assert!(views_on_disk(dir.path()).is_superset(&(1..=durable).collect()));
            }
        }
        settle(&mut journal, LogSequence(29)).unwrap();
        assert_eq!(journal.poll_durable().unwrap(), None, "reported once");
        drop(journal);
        let (journal, recovered) = open(dir.path(), &JournalConfig { mode, ..JournalConfig::default() });
        assert!(recovered == blocks(1..=29, 30_000));
        assert_eq!(journal.recovered(), RecoveredBodies { whole: 29, ..RecoveredBodies::default() });
    }
}

#[test]
fn what_piles_up_behind_a_write_goes_out_together() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), &tiny());
    for view in 1..=20 {
        journal.append(Arc::new(block(view, 5_000)));
        journal.submit().unwrap();
    }
    settle(&mut journal, LogSequence(20)).unwrap();
    assert_eq!((journal.stats().writes, journal.stats().blocks, journal.stats().bytes), (2, 20, 20 * 2 * 4096));
}

#[test]
fn largest_and_smallest_blocks_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), &JournalConfig { limit_bytes: 8 * SEGMENT_BYTES_MIN, ..tiny() });
    let sizes = [PAYLOAD_BYTES_MAX, 0, CONTENT_BYTES - 184, CONTENT_BYTES - 183, 1 << 20, 2 * CONTENT_BYTES - 184, PAYLOAD_BYTES_MAX];
    let expected: Vec<Block> = (1..).zip(sizes).map(|(view, bytes)| block(view, bytes)).collect();
    assert_eq!(entry_pages(&expected[2]), 1, "exactly full");
    assert_eq!(entry_pages(&expected[3]), 2, "one byte more");
    for block in &expected {
        journal.append(Arc::new(block.clone()));
    }
    settle(&mut journal, LogSequence(7)).unwrap();
    drop(journal);
    assert!(open(dir.path(), &tiny()).1 == expected);
}

#[test]
fn a_sleeping_reactor_wakes_by_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), &tiny());
    let sequence = journal.append(Arc::new(block(1, 100_000)));
    journal.submit().unwrap();
    let mut durable = None;
    while durable.is_none() {
        assert!(becomes_readable(journal.wake_fd().unwrap()));
        durable = journal.poll_durable().unwrap();
    }
    assert_eq!(durable, Some(sequence));
}

/// A segment with these entries, numbered from 1.
fn image(blocks: &[Block]) -> Vec<u8> {
    let header = Header { identity: identity(), number: 0, segment_bytes: SEGMENT_BYTES_MIN };
    let mut bytes = header.to_page(&BODIES).to_vec();
    for (number, block) in (1..).zip(blocks) {
        bytes.extend(encoded(number, View(0), block));
    }
    assert!(bytes.len() as u64 <= SEGMENT_BYTES_MIN);
    bytes.resize(SEGMENT_BYTES_MIN as usize, 0);
    bytes
}

fn encoded(number: u64, finalized: View, block: &Block) -> Vec<u8> {
    let mut pages: Vec<Page> = (0..entry_pages(block)).map(|_| Page([0xAA; PAGE_BYTES])).collect();
    write_entry(&mut pages, 0, number, finalized, block);
    pages.into_iter().flat_map(|page| page.0).collect()
}

fn parsed(bytes: &[u8]) -> Parsed {
    parse(Header::from_page(&BODIES, bytes).expect("whole"), bytes)
}

fn views(parsed: &Parsed) -> Vec<u64> {
    parsed.entries.iter().map(|(entry, _)| entry.block.header().view.0).collect()
}

/// Offset of the second of two equal entries behind the header page, and of its end.
fn second(blocks: &[Block]) -> std::ops::Range<usize> {
    let bytes = entry_pages(&blocks[0]) * PAGE_BYTES;
    PAGE_BYTES + bytes..PAGE_BYTES + 2 * bytes
}

#[test]
fn the_bytes_of_an_entry_are_fixed() {
    let digest = blake3::hash(&image(&blocks(1..=3, 10_000)));
    assert_eq!(digest.to_hex().as_str(), "e3471790ed3c8e4f2e9a8aae69189989b2f28f852c49721ed9639d8f46063c99");
}

#[test]
fn an_entry_torn_at_any_sector_is_skipped_and_costs_no_other() {
    // No padding: every byte counts.
    let blocks = blocks(1..=2, 8 * CONTENT_BYTES - 184);
    let whole = image(&blocks);
    let range = second(&blocks);
    for cut in range.clone().step_by(512).chain(range.clone().step_by(97)) {
        for rest in [0, 0xFF] {
            let mut torn = whole.clone();
            torn[cut..range.end].fill(rest);
            let parsed = parsed(&torn);
            assert_eq!(views(&parsed), [1], "cut at {cut}");
            assert_eq!(parsed.damaged, usize::from(cut > range.start || rest != 0), "cut at {cut}");
        }
    }
}

#[test]
fn an_entry_of_which_only_some_pages_arrived_is_skipped() {
    let blocks = blocks(1..=3, 30_000);
    let whole = image(&blocks);
    let range = second(&blocks);
    let pages = range.len() / PAGE_BYTES;
    for arrived in 0..(1_u32 << pages) - 1 {
        let mut torn = whole.clone();
        for page in (0..pages).filter(|page| arrived & 1 << page == 0) {
            torn[range.start + page * PAGE_BYTES..][..PAGE_BYTES].fill(0);
        }
        let parsed = parsed(&torn);
        assert_eq!(views(&parsed), [1, 3], "{arrived:b}");
        assert_eq!(parsed.number_max, 3);
    }
}

#[test]
fn every_flipped_bit_skips_that_entry_alone_and_is_counted() {
    let blocks = blocks(1..=3, 9_000);
    let whole = image(&blocks);
    let range = second(&blocks);
    let tags = range.clone().filter(|at| at % PAGE_BYTES < TAG_BYTES + 48);
    for at in tags.chain(range.clone().step_by(11)) {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            let parsed = parsed(&flipped);
            assert_eq!(views(&parsed), [1, 3], "byte {at} bit {bit}");
            assert_eq!((parsed.damaged, parsed.stale), (1, 0), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn a_payload_that_imitates_an_entry_is_never_taken_for_one() {
    // For every alignment the outer entry could give it, a whole forged entry stands in the payload of a damaged one.
    let forged = encoded(9, View(0), &block(77, 1_000));
    for shift in 0..PAGE_BYTES {
        let mut payload = vec![0; shift];
        for _ in 0..3 {
            payload.extend_from_slice(&forged);
        }
        let outer = block_of(1, payload);
        let mut bytes = image(std::slice::from_ref(&outer));
        bytes[PAGE_BYTES + 4] ^= 1;
        let end = (1 + entry_pages(&outer)) * PAGE_BYTES;
        let header = Header::from_page(&BODIES, &bytes).unwrap();
        assert_eq!(views(&parse(header, &bytes[..end])), [0; 0], "shift {shift}");
    }
}

#[test]
fn pages_of_another_segment_or_write_never_combine() {
    let blocks = [block(1, 9_000), block(1, 9_000)];
    let mut bytes = image(&blocks);
    let range = second(&blocks);
    // The tail of the first entry replaced by that of the second: equal content, another write.
    let tail = bytes[range.end - PAGE_BYTES..range.end].to_vec();
    bytes[range.start - PAGE_BYTES..range.start].copy_from_slice(&tail);
    assert_eq!(parsed(&bytes).entries.iter().map(|(entry, _)| entry.number).collect::<Vec<_>>(), [2]);
    let header = Header { number: 1, ..Header::from_page(&BODIES, &bytes).unwrap() };
    assert_eq!(views(&parse(header, &bytes)), [0; 0]);
}

#[test]
fn writing_goes_on_behind_a_torn_entry_and_never_uses_its_number_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), &tiny());
    write_each(&mut journal, 1..=3, 20_000);
    drop(journal);
    let path = dir.path().join(BODIES.name(0));
    let mut bytes = fs::read(&path).unwrap();
    let end = PAGE_BYTES + 3 * entry_pages(&block(3, 20_000)) * PAGE_BYTES;
    bytes[end - 5_000..end].fill(0);
    fs::write(&path, bytes).unwrap();
    let (mut journal, recovered) = open(dir.path(), &tiny());
    assert!(recovered == blocks(1..=2, 20_000));
    assert_eq!(journal.recovered(), RecoveredBodies { whole: 2, stale: 0, damaged: 1 });
    assert_eq!(journal.append(Arc::new(block(4, 3_000))), LogSequence(4));
    settle(&mut journal, LogSequence(4)).unwrap();
    drop(journal);
    let (journal, recovered) = open(dir.path(), &tiny());
    assert!(recovered == [block(1, 20_000), block(2, 20_000), block(4, 3_000)]);
    assert_eq!(journal.recovered(), RecoveredBodies { whole: 3, stale: 1, damaged: 0 });
}

#[test]
fn segments_are_reused_after_prune_and_hold_every_unfinalized_body() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), &tiny());
    for view in 1..=60_u64 {
        let sequence = journal.append(Arc::new(block(view, 380_000)));
        settle(&mut journal, sequence).unwrap();
        let finalized = view.saturating_sub(3);
        journal.prune(View(finalized));
        assert!(views_on_disk(dir.path()).is_superset(&(finalized + 1..=view).collect()));
        if view % 7 == 0 {
            drop(journal);
            let (reopened, recovered) = open(dir.path(), &tiny());
            // The newest entry names what was final when it was written.
            assert!(recovered == blocks(view.saturating_sub(3)..=view, 380_000), "view {view}");
            journal = reopened;
            journal.prune(View(finalized));
        }
    }
    assert_eq!(BODIES.list(dir.path()).unwrap(), [0, 1, 2]);
    assert_eq!(BODIES.list(dir.path()).unwrap().len() as u64 * SEGMENT_BYTES_MIN, tiny().limit_bytes);
}

#[test]
fn a_body_outlives_any_order_of_views_sizes_prunes_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { limit_bytes: 6 * SEGMENT_BYTES_MIN, ..tiny() };
    let (mut journal, _) = open(dir.path(), &config);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut held, mut finalized, mut reused) = (BTreeSet::new(), 0, 0);
    for _ in 0..400 {
        match random(8) {
            0 => {
                reused += journal.stats().segments_reused;
                drop(journal);
                let (reopened, recovered) = open(dir.path(), &config);
                let found: BTreeSet<u64> = recovered.iter().map(|block| block.header().view.0).collect();
                assert!(found.is_superset(&held), "lost {:?}", held.difference(&found));
                assert_eq!(reopened.recovered().damaged, 0);
                journal = reopened;
            }
            1 | 2 => {
                finalized += random(20);
                journal.prune(View(finalized));
                held.retain(|view| *view > finalized);
            }
            _ => {
                let mut last = LogSequence(0);
                for _ in 0..=random(3) {
                    let view = finalized + 1 + random(15);
                    last = journal.append(Arc::new(block(view, random(150_000) as usize)));
                    held.insert(view);
                }
                settle(&mut journal, last).unwrap();
            }
        }
        assert!(views_on_disk(dir.path()).is_superset(&held));
    }
    assert!(reused > 10, "{reused}");
}

#[test]
fn a_journal_full_of_unfinalized_bodies_stops_and_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), &tiny());
    write_each(&mut journal, 1..=3, 1 << 20);
    let sequence = journal.append(Arc::new(block(4, 1 << 20)));
    assert!(matches!(settle(&mut journal, sequence), Err(LogError::JournalFull { finalized: View(0), .. })));
    journal.prune(View(3));
    assert!(matches!(journal.submit(), Err(LogError::Poisoned(_))), "for good");
    assert!(matches!(journal.poll_durable(), Err(LogError::Poisoned(_))));
    drop(journal);
    let (mut journal, recovered) = open(dir.path(), &tiny());
    assert!(recovered == blocks(1..=3, 1 << 20));
    journal.prune(View(1));
    write_each(&mut journal, 4..=4, 1 << 20);
    assert_eq!(views_on_disk(dir.path()), (2..=4).collect());
}

#[test]
fn restarts_fill_a_segment_before_the_next() {
    let dir = tempfile::tempdir().unwrap();
    for view in 1..=40 {
        let (mut journal, recovered) = open(dir.path(), &tiny());
        assert!(recovered == blocks(1..=view - 1, 1_000));
        write_each(&mut journal, view..=view, 1_000);
    }
    assert_eq!(views(&read_segment(dir.path(), 0, &identity()).unwrap()), (1..=40).collect::<Vec<_>>());
}

#[test]
fn a_failed_write_poisons_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), &tiny());
    write_each(&mut journal, 1..=1, 1_000);
    journal.fail_writes(File::open(dir.path().join(BODIES.name(0))).unwrap());
    let sequence = journal.append(Arc::new(block(2, 1_000)));
    assert!(matches!(settle(&mut journal, sequence), Err(LogError::Io { action: "write", .. })));
    assert!(matches!(journal.submit(), Err(LogError::Poisoned(_))));
    assert!(matches!(journal.poll_durable(), Err(LogError::Poisoned(_))));
    assert!(matches!(journal.wait(), Err(LogError::Poisoned(_))));
    drop(journal);
    assert!(open(dir.path(), &tiny()).1 == blocks(1..=1, 1_000));
}

#[test]
fn a_stalled_disk_is_noticed_before_memory_runs_out() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), &tiny());
    let large = Arc::new(block(1, 1 << 20));
    for _ in 0..70 {
        journal.append(Arc::clone(&large));
    }
    assert!(matches!(journal.submit(), Err(LogError::Poisoned(_))));
    assert_eq!(Arc::strong_count(&large), 1, "nothing is kept");
}

fn refusal(dir: &Path, identity: LogIdentity) -> LogError {
    BlockJournal::open_with(dir, identity, &tiny()).err().expect("refused")
}

#[test]
fn a_journal_of_another_identity_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &tiny()));
    let own = identity();
    for (other, expected) in [
        (LogIdentity { chain: ChainId([8; 32]), ..own }, "chain"),
        (LogIdentity { validator: ValidatorIndex(4), ..own }, "validator"),
        (LogIdentity { vote_key: [8; 96], ..own }, "vote key"),
    ] {
        assert!(matches!(refusal(dir.path(), other), LogError::OtherIdentity { what, .. } if what == expected));
    }
}

#[test]
fn a_journal_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), &tiny());
    assert!(matches!(refusal(dir.path(), identity()), LogError::Locked(_)));
    drop(journal);
    open(dir.path(), &tiny());
}

#[test]
fn a_damaged_header_or_length_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &tiny()));
    let path = dir.path().join(BODIES.name(1));
    let whole = fs::read(&path).unwrap();
    for at in [0, 9, 14, 20, 100, 4_000] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(refusal(dir.path(), identity()), LogError::Corrupt { .. }), "byte {at}");
    }
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(refusal(dir.path(), identity()), LogError::Corrupt { .. }));
}

#[test]
fn a_preparation_cut_off_by_a_crash_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(BODIES.preparation), [1; 5_000]).unwrap();
    let (_journal, recovered) = open(dir.path(), &tiny());
    assert!(recovered.is_empty());
    assert!(!dir.path().join(BODIES.preparation).exists());
}

#[test]
fn unusable_sizes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let limit_bytes = 1 << 30;
    for config in [
        JournalConfig { segment_bytes: SEGMENT_BYTES_MIN - 4096, limit_bytes, ..tiny() },
        JournalConfig { segment_bytes: SEGMENT_BYTES_MIN + 1, limit_bytes, ..tiny() },
        JournalConfig { segment_bytes: (1 << 30) + 4096, limit_bytes: u64::MAX, ..tiny() },
        JournalConfig { limit_bytes: 2 * SEGMENT_BYTES_MIN - 1, ..tiny() },
    ] {
        let error = BlockJournal::open_with(dir.path(), identity(), &config).err().expect("refused");
        assert!(matches!(error, LogError::BadJournalSize { .. }), "{config:?}");
    }
}
