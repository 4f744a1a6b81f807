//! Reading a log back: what is certain is returned, what is torn is cut, what is damaged is refused.
//!
//! **Why a torn tail may be dropped.** Every durable write is exactly one block that held zeros, and the next one starts only after the
//! completion of this one said "durable". So when a machine dies, at most one block is incomplete, it is the last that is not zero, and its
//! completion was never seen. A signature leaves only after `poll_durable` has reported its record, which happens after that completion.
//! Hence no signature whose record is in the torn block has left, and dropping the records is exact; keeping those that can be read is safe
//! too, since a vote that was never sent binds nobody but us.
//!
//! **What is refused**, because a crash can not cause it: anything but zeros behind the first block that is not whole, a block of zeros
//! before a written one, a record whose sequence or chain does not continue the one before, a segment missing in the middle or after a
//! full one (a segment is written to its end only while its successor exists), a header that does not parse (a segment gets its name only
//! once it is durable), another length than the header says.
//!
//! **What can not be told apart**: damage of the last block after it was durable looks like a torn write. Both halves carry the records, so
//! it takes damage in both to lose them; [`super::Recovered::torn_tail`] is set either way.

use super::format::{BLOCK_BYTES, BlockState, Entry, HALF_BYTES, Link, RECORDS_PER_BLOCK, read_block, write_block};
use super::{LogError, LogIdentity};
use crate::segment::{Header, VOTES};
use samara_types::{Record, View};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One segment, parsed but not yet placed in the log.
pub struct Parsed {
    path: PathBuf,
    header: Header,
    /// Blocks behind the header up to the last that is not zero.
    blocks: Vec<BlockState>,
}

/// A segment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub index: u64,
    pub bytes: u64,
    /// Lowest and highest view of its records; None if it has none.
    pub views: Option<(View, View)>,
}

impl Segment {
    /// One without records.
    pub fn new(index: u64, bytes: u64) -> Segment {
        Segment { index, bytes, views: None }
    }

    /// It has a record of this view.
    pub fn cover(&mut self, view: View) {
        let (low, high) = self.views.unwrap_or((view, view));
        self.views = Some((low.min(view), high.max(view)));
    }
}

/// The whole log.
#[derive(Debug)]
pub struct Scan {
    pub records: Vec<Record>,
    pub segments: Vec<Segment>,
    /// Link of the next record.
    pub link: Link,
    /// Where the next block goes: position in `segments`, block in it (0 is the header). The block may lie one past the end.
    pub end: (usize, u64),
    /// The block that was not whole.
    pub torn: Option<TornBlock>,
}

/// The last block, incomplete.
#[derive(Debug)]
pub struct TornBlock {
    path: PathBuf,
    offset: u64,
    segment: u64,
    kept: Vec<Entry>,
    half: usize,
}

/// Reads and parses one segment.
pub fn read_segment(dir: &Path, index: u64, expected: Option<&LogIdentity>) -> Result<Parsed, LogError> {
    let (path, bytes) = VOTES.read(dir, index)?;
    parse(path, &bytes, index, expected)
}

/// Parses the bytes of one segment.
pub fn parse(path: PathBuf, bytes: &[u8], index: u64, expected: Option<&LogIdentity>) -> Result<Parsed, LogError> {
    let header = VOTES.check(&path, index, bytes, expected)?;
    let mut blocks: Vec<BlockState> = bytes.chunks(BLOCK_BYTES).skip(1).map(|block| read_block(block, index)).collect();
    let written = blocks.iter().rposition(|block| *block != BlockState::Empty).map_or(0, |last| last + 1);
    blocks.truncate(written);
    Ok(Parsed { path, header, blocks })
}

/// Places segments, ascending by index, behind each other. `complete`: nobody changes the directory meanwhile, so a full segment must have
/// a successor, and only one segment lies beyond the end.
pub fn join(dir: &Path, parsed: Vec<Parsed>, complete: bool) -> Result<Scan, LogError> {
    let mut joiner = Joiner {
        scan: Scan { records: Vec::new(), segments: Vec::new(), link: Link::FIRST, end: (0, 1), torn: None },
        anchored: parsed.first().is_none_or(|first| first.header.number == 0),
        ended: false,
    };
    let first = parsed.first().map_or(0, |first| first.header.number);
    for (segment, index) in parsed.iter().zip(first..) {
        if segment.header.number != index {
            return Err(LogError::MissingSegment { dir: dir.into(), index });
        }
        joiner.add(segment)?;
    }
    if complete {
        check_complete(dir, &parsed, joiner.scan.end.0)?;
    }
    Ok(joiner.scan)
}

fn check_complete(dir: &Path, parsed: &[Parsed], end: usize) -> Result<(), LogError> {
    if let Some(last) = parsed.last().filter(|last| last.is_full()) {
        return Err(LogError::MissingSegment { dir: dir.into(), index: last.header.number + 1 });
    }
    let next = end + usize::from(parsed.get(end).is_some_and(Parsed::is_full)) + 1;
    match parsed.get(next + 1) {
        Some(beyond) => Err(LogError::Corrupt { path: beyond.path.clone(), offset: 0, reason: "a segment beyond the next one" }),
        None => Ok(()),
    }
}

impl Parsed {
    /// Whether its last block is written.
    fn is_full(&self) -> bool {
        (self.blocks.len() as u64 + 1) * BLOCK_BYTES as u64 == self.header.segment_bytes
    }
}

struct Joiner {
    scan: Scan,
    /// The link is known. After pruning, the first record found gives it.
    anchored: bool,
    /// The end of the log has been seen: only zeros may follow.
    ended: bool,
}

impl Joiner {
    fn add(&mut self, segment: &Parsed) -> Result<(), LogError> {
        let at = self.scan.segments.len();
        self.scan.segments.push(Segment::new(segment.header.number, segment.header.segment_bytes));
        for (block, state) in segment.blocks.iter().enumerate() {
            let offset = (block as u64 + 1) * BLOCK_BYTES as u64;
            let corrupt = |reason| Err(LogError::Corrupt { path: segment.path.clone(), offset, reason });
            if self.ended {
                return corrupt("bytes after the end of the log");
            }
            match state {
                BlockState::Empty => return corrupt("zeros before a written block"),
                BlockState::Clean(entries) => self.follow(segment, offset, entries)?,
                BlockState::Damaged { kept, half } => {
                    self.follow(segment, offset, kept)?;
                    self.ended = true;
                    let (path, segment) = (segment.path.clone(), segment.header.number);
                    self.scan.torn = Some(TornBlock { path, offset, segment, kept: kept.clone(), half: *half });
                }
            }
            let dropped = matches!(state, BlockState::Damaged { kept, .. } if kept.is_empty());
            self.scan.end = (at, block as u64 + if dropped { 1 } else { 2 });
        }
        if !segment.is_full() && !self.ended {
            self.ended = true;
            self.scan.end = (at, segment.blocks.len() as u64 + 1);
        }
        Ok(())
    }

    fn follow(&mut self, segment: &Parsed, offset: u64, entries: &[Entry]) -> Result<(), LogError> {
        for entry in entries {
            let link = Link { sequence: entry.sequence, chain: entry.chain };
            let follows = link == self.scan.link || (!self.anchored && entry.sequence > 0);
            let Some(next) = entry.sequence.checked_add(1).filter(|_| follows) else {
                let reason = if entry.sequence == self.scan.link.sequence {
                    "a record does not follow the one before"
                } else {
                    "a gap in the sequence"
                };
                return Err(LogError::Corrupt { path: segment.path.clone(), offset, reason });
            };
            self.anchored = true;
            self.scan.link = Link { sequence: next, chain: entry.crc };
            self.scan.records.push(entry.record);
            let last = self.scan.segments.last_mut().expect("pushed by add");
            last.cover(entry.record.view());
        }
        Ok(())
    }
}

/// Makes the torn block whole, or zeros, so that records can follow it. Half by half, the better one last, so that a crash meanwhile never
/// costs what is kept. Returns the link of the next record.
pub fn repair(torn: &TornBlock, link: Link) -> Result<Link, LogError> {
    let failed = |source| LogError::Io { action: "repair", path: torn.path.clone(), source };
    let mut block = [0; BLOCK_BYTES];
    let link = match torn.kept.first() {
        None => link,
        Some(first) => {
            assert!(torn.kept.len() <= RECORDS_PER_BLOCK, "kept records come from one half");
            let records: Vec<Record> = torn.kept.iter().map(|entry| entry.record).collect();
            write_block(&mut block, torn.segment, Link { sequence: first.sequence, chain: first.chain }, &records)
        }
    };
    let file = OpenOptions::new().write(true).open(&torn.path).map_err(failed)?;
    for half in [1 - torn.half, torn.half] {
        let at = half * HALF_BYTES;
        file.write_all_at(&block[at..at + HALF_BYTES], torn.offset + at as u64).map_err(failed)?;
        file.sync_data().map_err(failed)?;
    }
    Ok(link)
}

/// How often a read beside a writer is repeated before its result is believed.
const ATTEMPTS: usize = 8;
/// How often at most while the writer goes on to other segments meanwhile.
const ATTEMPTS_MOVING: usize = 10_000;

/// Reads beside a running writer. Segments are read newest first, so that an older one is never seen older than a newer one; what still
/// looks wrong (a block read while it was written, a segment deleted after it was listed) is read again. As long as the segments are other
/// ones afterwards than before, what was wrong is the reader's pace and not the log.
pub fn read_running(dir: &Path) -> Result<Vec<Record>, LogError> {
    let mut attempts = 1;
    for _ in 0..ATTEMPTS_MOVING {
        let before = VOTES.list(dir)?;
        match read_once(dir) {
            Err(LogError::Corrupt { .. } | LogError::MissingSegment { .. } | LogError::Io { action: "read", .. })
                if attempts < ATTEMPTS =>
            {
                attempts += usize::from(VOTES.list(dir)? == before);
            }
            result => return result,
        }
    }
    read_once(dir)
}

fn read_once(dir: &Path) -> Result<Vec<Record>, LogError> {
    let mut parsed = Vec::new();
    for index in VOTES.list(dir)?.into_iter().rev() {
        parsed.push(read_segment(dir, index, None)?);
    }
    parsed.reverse();
    Ok(join(dir, parsed, false)?.records)
}
