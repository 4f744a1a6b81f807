//! The vote log on files: one durable 4 KiB write per pass through an io_uring of its own, on the caller's thread.
//!
//! A write goes out either as direct I/O with RWF_DSYNC (one operation; the device's forced unit access where it has it) or as a buffered
//! write with a linked fdatasync, see [`WriteMode`] and the figures in the README. Both go into space that holds zeros already, so no write
//! changes metadata. The fd of the ring polls readable while a completion waits, so a sleeping reactor wakes without an eventfd that
//! somebody would have to drain.
//!
//! Invariants: one write in flight; the block it writes held zeros; the last block of a segment is written only while the next segment
//! exists under its name; after the first error nothing is reported durable.

use super::chore::Chore;
use super::format::{BLOCK_BYTES, Link, RECORDS_PER_BLOCK, SEGMENT_BYTES_MIN, write_block};
use super::recovery::{self, Segment};
use super::{LogError, LogIdentity, LogSequence, Recovered, VoteLog};
use crate::directory::{create_durably, lock};
use crate::io::{Finished, Lane, Operation, Page, Ring};
use crate::segment::{Header, Preparation, SEGMENT_BYTES_MAX, VOTES, WriteMode};
use samara_types::{Record, View};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most records that wait for one write. A machine writes a few per view, so this is a disk that has stalled for thousands of views.
const PENDING_MAX: usize = 65_536;

/// Sizes of the log. A host value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Bytes of a segment, a multiple of 4,096. Disk used is at least two of them, and three to four between prunes.
    pub segment_bytes: u64,
    /// Falls back to buffered where the file system has no direct I/O.
    pub mode: WriteMode,
}

impl Default for LogConfig {
    /// 8 MiB is 2,047 durable writes.
    fn default() -> Self {
        LogConfig { segment_bytes: 8 << 20, mode: WriteMode::Direct }
    }
}

impl LogConfig {
    /// Two writes per segment.
    pub fn tiny() -> Self {
        LogConfig { segment_bytes: SEGMENT_BYTES_MIN, ..LogConfig::default() }
    }

    fn check(&self) -> Result<(), LogError> {
        let allowed = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes);
        if allowed && self.segment_bytes.is_multiple_of(BLOCK_BYTES as u64) {
            Ok(())
        } else {
            Err(LogError::BadSegmentSize(self.segment_bytes))
        }
    }
}

/// Counters of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Durable writes that completed.
    pub writes: u64,
    /// Records they made durable.
    pub records: u64,
    /// Segments prepared since the log was opened.
    pub segments_prepared: u64,
    /// Segments deleted by prune.
    pub segments_deleted: u64,
    /// Passes in which records waited for a segment to be prepared.
    pub rotation_waits: u64,
}

/// See the module.
pub struct UringVoteLog {
    ring: Ring,
    dir: PathBuf,
    directory: Arc<File>,
    identity: LogIdentity,
    config: LogConfig,
    /// Oldest first; the one being written and the next one, once it is ready, are the last.
    segments: VecDeque<Segment>,
    current: Current,
    next: Option<Arc<File>>,
    chore: Option<Chore>,
    pending: VecDeque<Record>,
    appended: u64,
    link: Link,
    in_flight: Option<Link>,
    page: Option<Box<Page>>,
    prune_below: View,
    poison: Option<String>,
    stats: LogStats,
    /// Released when the log is dropped, after the ring: fields drop in order.
    _lock: File,
}

/// Where the next block goes.
struct Current {
    file: Arc<File>,
    offset: u64,
}

impl UringVoteLog {
    /// Opens or creates the log of an identity, with default sizes.
    pub fn open(dir: &Path, identity: LogIdentity) -> Result<(UringVoteLog, Recovered), LogError> {
        UringVoteLog::open_with(dir, identity, &LogConfig::default())
    }

    /// Opens or creates the log of an identity. Blocks: reads all segments, repairs the tail, prepares the segments to write to.
    pub fn open_with(dir: &Path, identity: LogIdentity, config: &LogConfig) -> Result<(UringVoteLog, Recovered), LogError> {
        config.check()?;
        let failed = |action| move |source| LogError::Io { action, path: dir.into(), source };
        create_durably(dir).map_err(failed("create"))?;
        let lock = lock(dir)?;
        let directory = Arc::new(File::open(dir).map_err(failed("open"))?);
        let config = LogConfig { mode: config.mode.usable(dir), ..*config };
        VOTES.remove_leftover(dir)?;

        let parsed = VOTES.list(dir)?.into_iter().map(|index| recovery::read_segment(dir, index, Some(&identity)));
        let mut scan = recovery::join(dir, parsed.collect::<Result<_, _>>()?, true)?;
        if let Some(torn) = &scan.torn {
            scan.link = recovery::repair(torn, scan.link)?;
        }
        let fresh = scan.segments.is_empty();
        let pruned = scan.segments.first().is_some_and(|first| first.index > 0);
        let recovered = Recovered { records: std::mem::take(&mut scan.records), torn_tail: scan.torn.is_some(), fresh, pruned };

        let mut ring = Ring::new().map_err(LogError::Unsupported)?;
        let prepare_now = |number, ring: &mut Ring| {
            let header = Header { identity, number, segment_bytes: config.segment_bytes };
            Preparation::new(&VOTES, header, config.mode).finish_now(ring, dir, &directory)?;
            Ok::<_, LogError>(Segment::new(number, config.segment_bytes))
        };
        let mut segments: VecDeque<Segment> = scan.segments.into();
        let (mut at, mut block) = scan.end;
        if fresh {
            segments.push_back(prepare_now(0, &mut ring)?);
        } else if block * BLOCK_BYTES as u64 == segments[at].bytes {
            (at, block) = (at + 1, 1);
        }
        if at + 1 == segments.len() {
            segments.push_back(prepare_now(segments[at].index + 1, &mut ring)?);
        }
        let current = Current { file: config.mode.open(dir, &VOTES.name(segments[at].index))?, offset: block * BLOCK_BYTES as u64 };
        let next = Some(config.mode.open(dir, &VOTES.name(segments[at + 1].index))?);
        let log = UringVoteLog {
            ring,
            dir: dir.into(),
            directory,
            identity,
            config,
            segments,
            current,
            next,
            chore: None,
            pending: VecDeque::new(),
            appended: scan.link.sequence - 1,
            link: scan.link,
            in_flight: None,
            page: Some(Box::new(Page([0; BLOCK_BYTES]))),
            prune_below: View::GENESIS,
            poison: None,
            stats: LogStats::default(),
            _lock: lock,
        };
        Ok((log, recovered))
    }

    /// Counters since the log was opened.
    pub fn stats(&self) -> LogStats {
        self.stats
    }

    /// How it writes, after any fallback.
    pub fn mode(&self) -> WriteMode {
        self.config.mode
    }

    /// Sleeps until a completion is there. For tools and tests; a reactor polls [`VoteLog::wake_fd`]. Returns at once when nothing is in flight.
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
        self.current.file = Arc::new(read_only);
    }

    /// Whether nothing is in flight and nothing is due.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_none() && self.chore.is_none() && self.due_chore().is_none()
    }

    fn check(&self) -> Result<(), LogError> {
        self.poison.clone().map_or(Ok(()), |cause| Err(LogError::Poisoned(cause)))
    }

    fn poisoned(&mut self, action: &'static str, path: PathBuf, source: io::Error) -> LogError {
        let error = LogError::Io { action, path, source };
        self.poison.get_or_insert(error.to_string());
        error
    }

    /// Position in `segments` of the one being written.
    fn current_at(&self) -> usize {
        self.segments.len() - 1 - usize::from(self.next.is_some())
    }

    fn current_path(&self) -> PathBuf {
        self.dir.join(VOTES.name(self.segments[self.current_at()].index))
    }

    /// Starts the next durable write if records wait, none is in flight, and there is room.
    fn write_next(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() || !self.ring.is_free(Lane::Vote) || !self.has_room() {
            return Ok(());
        }
        let mut page = self.page.take().expect("the page is here while no write is in flight");
        let count = self.pending.len().min(RECORDS_PER_BLOCK);
        let records: Vec<Record> = self.pending.drain(..count).collect();
        let at = self.current_at();
        let segment = &mut self.segments[at];
        records.iter().for_each(|record| segment.cover(record.view()));
        self.in_flight = Some(write_block(&mut page.0, segment.index, self.link, &records));
        let done = self.config.mode.done();
        let write = Operation::Write { file: Arc::clone(&self.current.file), page, offset: self.current.offset, done };
        self.current.offset += BLOCK_BYTES as u64;
        self.ring.start(Lane::Vote, write).map_err(|source| self.poisoned("write", self.current_path(), source))
    }

    /// Whether the current block may be written, after moving on to the next segment if this one is full.
    fn has_room(&mut self) -> bool {
        let bytes = self.segments[self.current_at()].bytes;
        if self.current.offset == bytes {
            let next = self.next.take().expect("the last block was written only while the next segment existed");
            self.current = Current { file: next, offset: BLOCK_BYTES as u64 };
        }
        let bytes = self.segments[self.current_at()].bytes;
        let room = self.next.is_some() || self.current.offset + (BLOCK_BYTES as u64) < bytes;
        self.stats.rotation_waits += u64::from(!room);
        room
    }

    /// Starts the chore that is due: the next segment first, then one deletion at a time.
    fn do_chores(&mut self) -> Result<(), LogError> {
        if !self.ring.is_free(Lane::Chore) {
            return Ok(());
        }
        if self.chore.is_none() {
            self.chore = self.due_chore();
        }
        let Some(chore) = &self.chore else { return Ok(()) };
        let action = chore.action();
        let started = chore.start(&mut self.ring, &self.directory);
        started.map_err(|source| self.poisoned(action.0, self.dir.join(action.1), source))
    }

    fn due_chore(&self) -> Option<Chore> {
        if self.next.is_none() {
            let number = self.segments[self.current_at()].index + 1;
            let header = Header { identity: self.identity, number, segment_bytes: self.config.segment_bytes };
            return Some(Chore::Prepare(Preparation::new(&VOTES, header, self.config.mode)));
        }
        self.is_first_old().then(|| Chore::Delete { index: self.segments[0].index, unlinked: false })
    }

    /// See [`VoteLog::prune`].
    fn is_first_old(&self) -> bool {
        let mut old = None;
        for count in 1..self.current_at() {
            old = old.max(self.segments[count - 1].views.map(|(_, high)| high));
            if old >= Some(self.prune_below) {
                return false;
            }
            let written = self.segments.iter().skip(count).filter_map(|segment| segment.views).map(|(low, _)| low);
            if written.chain(self.pending.iter().map(Record::view)).min().is_none_or(|kept| old <= Some(kept)) {
                return true;
            }
        }
        false
    }

    fn finish(&mut self, finished: Finished) -> Result<(), LogError> {
        match finished.lane {
            Lane::Vote => self.finish_write(finished),
            Lane::Chore => self.finish_chore(finished),
        }
    }

    fn finish_write(&mut self, finished: Finished) -> Result<(), LogError> {
        finished.result.map_err(|source| self.poisoned("write", self.current_path(), source))?;
        let Operation::Write { page, .. } = finished.operation else { unreachable!("the vote lane only writes") };
        self.page = Some(page);
        let link = self.in_flight.take().expect("a write was in flight");
        self.stats.writes += 1;
        self.stats.records += link.sequence - self.link.sequence;
        self.link = link;
        Ok(())
    }

    fn finish_chore(&mut self, finished: Finished) -> Result<(), LogError> {
        let chore = self.chore.take().expect("a chore was in flight");
        let action = chore.action();
        let value = finished.result.map_err(|source| self.poisoned(action.0, self.dir.join(action.1), source))?;
        self.chore = chore.advance(value);
        match &self.chore {
            None => {
                self.segments.pop_front();
                self.stats.segments_deleted += 1;
            }
            Some(Chore::Prepare(preparation)) => {
                if let Some(file) = preparation.ready() {
                    let Header { number, segment_bytes, .. } = preparation.header();
                    self.segments.push_back(Segment::new(number, segment_bytes));
                    self.next = Some(file);
                    self.stats.segments_prepared += 1;
                    self.chore = None;
                }
            }
            Some(Chore::Delete { .. }) => {}
        }
        Ok(())
    }
}

impl VoteLog for UringVoteLog {
    fn append(&mut self, record: Record) -> LogSequence {
        self.appended += 1;
        if self.poison.is_none() {
            self.pending.push_back(record);
        }
        if self.pending.len() > PENDING_MAX {
            self.poison = Some(LogError::Stalled(self.pending.len()).to_string());
            self.pending = VecDeque::new();
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
        let before = self.link;
        let mut completed = false;
        while let Some(finished) = self.ring.reap() {
            self.finish(finished)?;
            completed = true;
        }
        if completed {
            self.write_next()?;
        }
        self.do_chores()?;
        Ok((self.link != before).then(|| LogSequence(self.link.sequence - 1)))
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.ring.fd())
    }

    fn prune(&mut self, below: View) {
        self.prune_below = self.prune_below.max(below);
    }
}
