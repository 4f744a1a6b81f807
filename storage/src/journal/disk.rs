//! The block journal on files: preallocated segments that are written front to back and over again, one durable write per pass through an
//! io_uring of its own, on the caller's thread.
//!
//! ```text
//!   segment 0  [header| A A A B | C C | ...]   every body final: free, the next to be written over
//!   segment 1  [header| D | E E E | F ......]  current
//!   segment 2  [header| 0 0 0 0 0 0 0 0 0 0 ]  spare, prepared before it is needed while the limit allows
//! ```
//!
//! A write is one run of pages: as many waiting blocks as fit the buffer and the segment. Their bytes are copied once, into that buffer.
//! How it becomes durable is [`WriteMode`], as for the vote log.
//!
//! Invariants: one write in flight; a page that belongs to a body above the newest finalized view is never written again; all segments
//! together stay within the limit; after the first error nothing is reported durable.

use super::BodyLog;
use super::format::{ENTRY_PAGES_MAX, SEGMENT_BYTES_MIN, entry_pages, is_storable, write_entry};
use super::recovery::{self, Parsed, RecoveredBodies};
use crate::directory::{create_durably, lock};
use crate::io::{Finished, Lane, Operation, PAGE_BYTES, Page, Ring};
use crate::log::{LogError, LogIdentity, LogSequence};
use crate::segment::{BODIES, Header, Preparation, SEGMENT_BYTES_MAX, WriteMode};
use samara_types::{Block, View};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most pages of one write: 2 MiB, one block of the largest size or many small ones.
const WRITE_PAGES_MAX: usize = 512;
const _: () = assert!(ENTRY_PAGES_MAX <= WRITE_PAGES_MAX);
/// Most bytes that wait for one write. More is a disk that has stalled while fifty of the largest blocks arrived.
const PENDING_BYTES_MAX: usize = 64 << 20;

const PAGE: u64 = PAGE_BYTES as u64;

/// Sizes of the journal. A host value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Bytes of a segment, a multiple of 4,096 that holds the largest block.
    pub segment_bytes: u64,
    /// Most bytes of all segments. Costs disk only once that much is unfinalized; reached, it stops the journal.
    pub limit_bytes: u64,
    /// Falls back to buffered where the file system has no direct I/O.
    pub mode: WriteMode,
}

impl Default for JournalConfig {
    /// 8 MiB is six of the largest blocks, 256 MiB about two hundred without finality.
    fn default() -> Self {
        JournalConfig { segment_bytes: 8 << 20, limit_bytes: 256 << 20, mode: WriteMode::Direct }
    }
}

impl JournalConfig {
    /// Three segments of one largest block each.
    pub fn tiny() -> Self {
        JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, limit_bytes: 3 * SEGMENT_BYTES_MIN, ..JournalConfig::default() }
    }

    fn check(&self) -> Result<(), LogError> {
        let JournalConfig { segment_bytes, limit_bytes, .. } = *self;
        let allowed = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes) && segment_bytes.is_multiple_of(PAGE);
        if allowed && limit_bytes / 2 >= segment_bytes {
            Ok(())
        } else {
            Err(LogError::BadJournalSize { segment_bytes, segment_bytes_min: SEGMENT_BYTES_MIN, limit_bytes })
        }
    }
}

/// Counters of a journal since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Durable writes that completed.
    pub writes: u64,
    /// Blocks they made durable.
    pub blocks: u64,
    /// Bytes they wrote.
    pub bytes: u64,
    /// Segments prepared.
    pub segments_prepared: u64,
    /// Times a segment was begun again from its front.
    pub segments_reused: u64,
    /// Passes in which blocks waited for a segment to be prepared.
    pub rotation_waits: u64,
}

/// A file of the journal.
struct Segment {
    number: u32,
    bytes: u64,
    file: Arc<File>,
    /// Highest view of its bodies; None if it has none.
    view_max: Option<View>,
    /// Where its next entry goes.
    end: u64,
}

impl Segment {
    fn has_room(&self, pages: usize) -> bool {
        self.end + pages as u64 * PAGE <= self.bytes
    }

    /// Whether nobody needs a body of it.
    fn is_free(&self, finalized: View) -> bool {
        self.view_max <= Some(finalized)
    }
}

/// What a write carries.
struct Flight {
    last: u64,
    blocks: u64,
    bytes: u64,
}

/// See the module.
pub struct BlockJournal {
    ring: Ring,
    dir: PathBuf,
    directory: Arc<File>,
    identity: LogIdentity,
    config: JournalConfig,
    segments: Vec<Segment>,
    /// Position in `segments` of the one being written.
    current: usize,
    preparation: Option<Preparation>,
    pending: VecDeque<Arc<Block>>,
    pending_bytes: usize,
    appended: u64,
    durable: u64,
    in_flight: Option<Flight>,
    /// The one buffer; with the kernel while a write is in flight.
    pages: Option<Vec<Page>>,
    finalized: View,
    recovered: RecoveredBodies,
    poison: Option<String>,
    stats: JournalStats,
    /// Released when the journal is dropped, after the ring: fields drop in order.
    _lock: File,
}

impl BlockJournal {
    /// Opens or creates the journal of an identity in a directory of its own, with default sizes. Returns the bodies it holds, in the order
    /// they were appended.
    pub fn open(dir: &Path, identity: LogIdentity) -> Result<(BlockJournal, Vec<Block>), LogError> {
        BlockJournal::open_with(dir, identity, &JournalConfig::default())
    }

    /// Opens or creates the journal of an identity. Blocks: reads all segments, prepares what is missing to write to.
    pub fn open_with(dir: &Path, identity: LogIdentity, config: &JournalConfig) -> Result<(BlockJournal, Vec<Block>), LogError> {
        config.check()?;
        let failed = |action| move |source| LogError::Io { action, path: dir.into(), source };
        create_durably(dir).map_err(failed("create"))?;
        let lock = lock(dir)?;
        let directory = Arc::new(File::open(dir).map_err(failed("open"))?);
        let config = JournalConfig { mode: config.mode.usable(dir), ..*config };
        BODIES.remove_leftover(dir)?;

        let parsed = BODIES.list(dir)?.into_iter().map(|segment| recovery::read_segment(dir, segment, &identity));
        let mut parsed: Vec<Parsed> = parsed.collect::<Result<_, _>>()?;
        let found = Found::of(&mut parsed);
        let segments = parsed.iter().map(|parsed| open_segment(dir, parsed, config.mode)).collect::<Result<_, _>>()?;
        let blocks = blocks_in_order(parsed);
        let mut journal = BlockJournal {
            ring: Ring::new().map_err(LogError::Unsupported)?,
            dir: dir.into(),
            directory,
            identity,
            config,
            segments,
            current: found.current,
            preparation: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            appended: found.number_max,
            durable: found.number_max,
            in_flight: None,
            pages: Some((0..WRITE_PAGES_MAX).map(|_| Page([0; PAGE_BYTES])).collect()),
            finalized: found.finalized,
            recovered: RecoveredBodies { whole: blocks.len(), stale: found.stale, damaged: found.damaged },
            poison: None,
            stats: JournalStats::default(),
            _lock: lock,
        };
        journal.prepare_now()?;
        Ok((journal, blocks))
    }

    /// What opening it found.
    pub fn recovered(&self) -> RecoveredBodies {
        self.recovered
    }

    /// Counters since it was opened.
    pub fn stats(&self) -> JournalStats {
        self.stats
    }

    /// How it writes, after any fallback.
    pub fn mode(&self) -> WriteMode {
        self.config.mode
    }

    /// Sleeps until a completion is there. For tools and tests; a reactor polls [`BodyLog::wake_fd`]. Returns at once when nothing is in
    /// flight.
    pub fn wait(&mut self) -> Result<(), LogError> {
        self.check()?;
        if self.ring.is_free(Lane::Vote) && self.ring.is_free(Lane::Chore) {
            return Ok(());
        }
        self.ring.wait().map_err(|source| self.poisoned("wait for", self.dir.clone(), source))
    }

    /// Later writes go to a file opened for reading only.
    #[cfg(test)]
    pub(super) fn fail_writes(&mut self, read_only: File) {
        self.segments[self.current].file = Arc::new(read_only);
    }

    fn check(&self) -> Result<(), LogError> {
        self.poison.clone().map_or(Ok(()), |cause| Err(LogError::Poisoned(cause)))
    }

    fn poisoned(&mut self, action: &'static str, path: PathBuf, source: io::Error) -> LogError {
        self.poisoned_by(LogError::Io { action, path, source })
    }

    fn poisoned_by(&mut self, error: LogError) -> LogError {
        self.poison.get_or_insert(error.to_string());
        error
    }

    fn current_path(&self) -> PathBuf {
        self.dir.join(BODIES.name(u64::from(self.segments[self.current].number)))
    }

    /// Starts the next durable write if blocks wait, none is in flight, and there is room.
    fn write_next(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() || !self.ring.is_free(Lane::Vote) || !self.find_room()? {
            return Ok(());
        }
        let mut pages = self.pages.take().expect("the buffer is here while no write is in flight");
        let (count, flight) = self.fill(&mut pages);
        let segment = &mut self.segments[self.current];
        let done = self.config.mode.done();
        let write = Operation::WritePages { file: Arc::clone(&segment.file), pages, count, offset: segment.end, done };
        segment.end += flight.bytes;
        self.in_flight = Some(flight);
        self.ring.start(Lane::Vote, write).map_err(|source| self.poisoned("write", self.current_path(), source))
    }

    /// Moves waiting blocks into the buffer while it and the current segment have room, at least one.
    fn fill(&mut self, pages: &mut [Page]) -> (usize, Flight) {
        let segment = &mut self.segments[self.current];
        let first = self.appended - self.pending.len() as u64 + 1;
        let (mut number, mut filled) = (first, 0);
        while let Some(block) = self.pending.front() {
            let end = filled + entry_pages(block);
            if end > WRITE_PAGES_MAX || !segment.has_room(end) {
                break;
            }
            write_entry(&mut pages[filled..end], segment.number, number, self.finalized, block);
            segment.view_max = segment.view_max.max(Some(block.header().view));
            self.pending_bytes -= entry_pages(block) * PAGE_BYTES;
            (number, filled) = (number + 1, end);
            self.pending.pop_front();
        }
        (filled, Flight { last: number - 1, blocks: number - first, bytes: filled as u64 * PAGE })
    }

    /// Whether the first waiting block may be written, after moving on to a free segment if the current one is full. Not yet if one is
    /// being prepared; an error if there never will be one.
    fn find_room(&mut self) -> Result<bool, LogError> {
        if self.segments[self.current].has_room(entry_pages(&self.pending[0])) {
            return Ok(true);
        }
        if let Some(free) = self.segments.iter().position(|segment| segment.is_free(self.finalized)) {
            self.stats.segments_reused += u64::from(self.segments[free].view_max.is_some());
            self.segments[free].view_max = None;
            self.segments[free].end = PAGE;
            self.current = free;
            return Ok(true);
        }
        self.stats.rotation_waits += 1;
        if self.preparation.is_some() || self.may_grow() {
            return Ok(false);
        }
        Err(self.poisoned_by(LogError::JournalFull { limit_bytes: self.config.limit_bytes, finalized: self.finalized }))
    }

    fn may_grow(&self) -> bool {
        let held: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        held + self.config.segment_bytes <= self.config.limit_bytes
    }

    /// The segment to prepare: there shall be a free one beside the current one.
    fn due_preparation(&self) -> Option<Preparation> {
        let spare = (0..self.segments.len()).any(|at| at != self.current && self.segments[at].is_free(self.finalized));
        let number = self.segments.last().map_or(0, |last| u64::from(last.number) + 1);
        let header = Header { identity: self.identity, number, segment_bytes: self.config.segment_bytes };
        (!spare && self.may_grow()).then(|| Preparation::new(&BODIES, header, self.config.mode))
    }

    /// Prepares the current and a spare segment where they are missing, waiting for the disk.
    fn prepare_now(&mut self) -> Result<(), LogError> {
        while let Some(due) = self.due_preparation() {
            let header = due.header();
            let file = due.finish_now(&mut self.ring, &self.dir, &self.directory)?;
            self.add_segment(header, file);
        }
        Ok(())
    }

    fn add_segment(&mut self, header: Header, file: Arc<File>) {
        let number = u32::try_from(header.number).expect("no disk holds so many segments");
        self.segments.push(Segment { number, bytes: header.segment_bytes, file, view_max: None, end: PAGE });
        self.stats.segments_prepared += 1;
    }

    /// Starts the next step of a preparation that is due.
    fn do_chores(&mut self) -> Result<(), LogError> {
        if !self.ring.is_free(Lane::Chore) {
            return Ok(());
        }
        if self.preparation.is_none() {
            self.preparation = self.due_preparation();
        }
        let Some(preparation) = &self.preparation else { return Ok(()) };
        let path = self.dir.join(preparation.file_name());
        let started = preparation.start(&mut self.ring, &self.directory);
        started.map_err(|source| self.poisoned("prepare", path, source))
    }

    fn finish(&mut self, finished: Finished) -> Result<(), LogError> {
        match finished.lane {
            Lane::Vote => self.finish_write(finished),
            Lane::Chore => self.finish_chore(finished),
        }
    }

    fn finish_write(&mut self, finished: Finished) -> Result<(), LogError> {
        finished.result.map_err(|source| self.poisoned("write", self.current_path(), source))?;
        let Operation::WritePages { pages, .. } = finished.operation else { unreachable!("the lane of writes only writes") };
        self.pages = Some(pages);
        let flight = self.in_flight.take().expect("a write was in flight");
        self.durable = flight.last;
        self.stats.writes += 1;
        self.stats.blocks += flight.blocks;
        self.stats.bytes += flight.bytes;
        Ok(())
    }

    fn finish_chore(&mut self, finished: Finished) -> Result<(), LogError> {
        let preparation = self.preparation.take().expect("a preparation was in flight");
        let path = self.dir.join(preparation.file_name());
        let value = finished.result.map_err(|source| self.poisoned("prepare", path, source))?;
        let preparation = preparation.advance(value);
        match preparation.ready() {
            Some(file) => self.add_segment(preparation.header(), file),
            None => self.preparation = Some(preparation),
        }
        Ok(())
    }
}

impl BodyLog for BlockJournal {
    fn append(&mut self, block: Arc<Block>) -> LogSequence {
        assert!(is_storable(&block), "a block is checked before it is voted for");
        self.appended += 1;
        if self.poison.is_none() {
            self.pending_bytes += entry_pages(&block) * PAGE_BYTES;
            self.pending.push_back(block);
        }
        if self.pending_bytes > PENDING_BYTES_MAX {
            self.poison = Some(LogError::Stalled(self.pending.len()).to_string());
            self.pending = VecDeque::new();
            self.pending_bytes = 0;
        }
        LogSequence(self.appended)
    }

    fn submit(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.write_next()?;
        self.do_chores()
    }

    fn poll_durable(&mut self) -> Result<Option<LogSequence>, LogError> {
        self.check()?;
        let before = self.durable;
        let mut completed = false;
        while let Some(finished) = self.ring.reap() {
            self.finish(finished)?;
            completed = true;
        }
        if completed {
            self.write_next()?;
        }
        self.do_chores()?;
        Ok((self.durable != before).then_some(LogSequence(self.durable)))
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.ring.fd())
    }

    fn prune(&mut self, finalized: View) {
        self.finalized = self.finalized.max(finalized);
    }
}

/// What the segments say together.
struct Found {
    finalized: View,
    number_max: u64,
    /// Position of the segment with the newest body: writing goes on behind it.
    current: usize,
    stale: usize,
    damaged: usize,
}

impl Found {
    /// Drops the stale entries.
    fn of(parsed: &mut [Parsed]) -> Found {
        let finalized = parsed.iter().flat_map(|segment| &segment.entries).map(|(entry, _)| entry.finalized).max().unwrap_or_default();
        parsed.iter_mut().for_each(|segment| segment.drop_final(finalized));
        let newest = |segment: &Parsed| segment.entries.last().map(|(entry, _)| entry.number);
        Found {
            finalized,
            number_max: parsed.iter().map(|segment| segment.number_max).max().unwrap_or(0),
            current: (0..parsed.len()).max_by_key(|at| newest(&parsed[*at])).unwrap_or(0),
            stale: parsed.iter().map(|segment| segment.stale).sum(),
            damaged: parsed.iter().map(|segment| segment.damaged).sum(),
        }
    }
}

fn blocks_in_order(parsed: Vec<Parsed>) -> Vec<Block> {
    let mut entries: Vec<_> = parsed.into_iter().flat_map(|segment| segment.entries).map(|(entry, _)| entry).collect();
    entries.sort_unstable_by_key(|entry| entry.number);
    entries.into_iter().map(|entry| entry.block).collect()
}

/// Opens a segment for writing behind its last body.
fn open_segment(dir: &Path, parsed: &Parsed, mode: WriteMode) -> Result<Segment, LogError> {
    let Header { number, segment_bytes, .. } = parsed.header;
    Ok(Segment {
        number: parsed.number(),
        bytes: segment_bytes,
        file: mode.open(dir, &BODIES.name(number))?,
        view_max: parsed.entries.iter().map(|(entry, _)| entry.block.header().view).max(),
        end: parsed.entries.last().map_or(PAGE, |(_, end)| *end),
    })
}
