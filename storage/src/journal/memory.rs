//! A block journal without a disk, for tests and the simulator. It completes writes when told, loses what was not synced when it crashes,
//! tears the write in flight and fails on demand.

use super::BodyLog;
use crate::log::memory::Torn;
use crate::log::{LogError, LogSequence};
use samara_types::{Block, View};
use std::os::fd::RawFd;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct MemoryBodyLog {
    /// Bodies on the disk.
    durable: Vec<Arc<Block>>,
    flight: Vec<Arc<Block>>,
    pending: Vec<Arc<Block>>,
    appended: u64,
    written: u64,
    reported: u64,
    finalized: View,
    manual: bool,
    writes_left: Option<u64>,
    bytes_max: Option<u64>,
    failed: Option<String>,
}

impl MemoryBodyLog {
    /// An empty journal whose writes complete at the next poll.
    pub fn new() -> MemoryBodyLog {
        MemoryBodyLog::default()
    }

    /// An empty journal whose writes complete only by [`MemoryBodyLog::complete`].
    pub fn with_manual_completion() -> MemoryBodyLog {
        MemoryBodyLog { manual: true, ..MemoryBodyLog::default() }
    }

    /// The write in flight reaches the disk. Reported by the next poll, which starts the next write.
    pub fn complete(&mut self) {
        if self.failed.is_some() {
            return;
        }
        match &mut self.writes_left {
            Some(0) => self.failed = Some("write failed on demand".into()),
            left => {
                *left = left.map(|writes| writes - 1);
                self.written += self.flight.len() as u64;
                self.durable.append(&mut self.flight);
            }
        }
    }

    /// Whether a write waits for [`MemoryBodyLog::complete`].
    pub fn in_flight(&self) -> bool {
        !self.flight.is_empty()
    }

    /// After `writes` more completed writes, the next one fails and poisons the journal.
    pub fn fail_after(&mut self, writes: u64) {
        self.writes_left = Some(writes);
    }

    /// More bytes of unfinalized headers and payloads than this are [`LogError::JournalFull`].
    pub fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = Some(bytes_max);
    }

    /// Bodies the disk holds, in the order they were appended.
    pub fn durable(&self) -> &[Arc<Block>] {
        &self.durable
    }

    /// The machine stops: what was not submitted is lost, of the write in flight stays what `torn` says. Returns the reopened journal and
    /// the bodies it recovered.
    pub fn crash(mut self, torn: Torn) -> (MemoryBodyLog, Vec<Block>) {
        let kept = match torn {
            Torn::Lost => 0,
            Torn::First(blocks) => blocks.min(self.flight.len()),
            Torn::Whole => self.flight.len(),
        };
        self.durable.extend(self.flight.drain(..kept));
        let next = self.written + kept as u64;
        let recovered = self.durable.iter().map(|block| Block::clone(block)).collect();
        let reopened = MemoryBodyLog {
            durable: self.durable,
            appended: next,
            written: next,
            reported: next,
            finalized: self.finalized,
            manual: self.manual,
            bytes_max: self.bytes_max,
            ..MemoryBodyLog::default()
        };
        (reopened, recovered)
    }

    fn check(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), |cause| Err(LogError::Poisoned(cause)))
    }

    fn check_room(&mut self) -> Result<(), LogError> {
        let held: usize = self.durable.iter().chain(&self.pending).map(|block| block.header().block_bytes()).sum();
        match self.bytes_max {
            Some(limit_bytes) if held as u64 > limit_bytes => {
                let error = LogError::JournalFull { limit_bytes, finalized: self.finalized };
                self.failed = Some(error.to_string());
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

impl BodyLog for MemoryBodyLog {
    fn append(&mut self, block: Arc<Block>) -> LogSequence {
        self.appended += 1;
        self.pending.push(block);
        LogSequence(self.appended)
    }

    fn submit(&mut self) -> Result<(), LogError> {
        self.check()?;
        if self.flight.is_empty() && !self.pending.is_empty() {
            self.check_room()?;
            self.flight.append(&mut self.pending);
        }
        Ok(())
    }

    fn poll_durable(&mut self) -> Result<Option<LogSequence>, LogError> {
        if !self.manual && self.in_flight() {
            self.complete();
        }
        self.check()?;
        let news = self.written > self.reported;
        self.reported = self.written;
        if news {
            self.submit()?;
        }
        Ok(news.then_some(LogSequence(self.written)))
    }

    fn wake_fd(&self) -> Option<RawFd> {
        None
    }

    fn prune(&mut self, finalized: View) {
        self.finalized = self.finalized.max(finalized);
        self.durable.retain(|block| block.header().view > self.finalized);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::{block, blocks};

    fn append(log: &mut MemoryBodyLog, views: std::ops::RangeInclusive<u64>) {
        for view in views {
            log.append(Arc::new(block(view, 10)));
        }
    }

    #[test]
    fn no_body_is_durable_before_the_write_completes() {
        let mut log = MemoryBodyLog::with_manual_completion();
        append(&mut log, 1..=1);
        log.submit().unwrap();
        append(&mut log, 2..=3);
        log.submit().unwrap();
        assert_eq!(log.poll_durable().unwrap(), None);
        log.complete();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(1)));
        assert!(log.in_flight(), "the completion takes what piled up");
        log.complete();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(3)));
        assert_eq!(log.poll_durable().unwrap(), None);
    }

    #[test]
    fn a_crash_loses_what_was_not_synced() {
        let mut log = MemoryBodyLog::with_manual_completion();
        append(&mut log, 1..=2);
        log.submit().unwrap();
        log.complete();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(2)));
        append(&mut log, 3..=4);
        log.submit().unwrap();
        append(&mut log, 5..=5);
        for (torn, last) in [(Torn::Lost, 2), (Torn::First(1), 3), (Torn::Whole, 4)] {
            let (mut reopened, recovered) = log.clone().crash(torn);
            assert_eq!(recovered, blocks(1..=last, 10));
            assert_eq!(reopened.append(Arc::new(block(9, 10))), LogSequence(last + 1));
        }
    }

    #[test]
    fn a_failed_write_poisons_for_good() {
        let mut log = MemoryBodyLog::new();
        log.fail_after(1);
        append(&mut log, 1..=1);
        log.submit().unwrap();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(1)));
        append(&mut log, 2..=2);
        log.submit().unwrap();
        assert!(log.poll_durable().is_err());
        assert!(log.submit().is_err());
        assert!(log.poll_durable().is_err());
    }

    #[test]
    fn too_many_unfinalized_bodies_are_refused_and_pruned_ones_do_not_count() {
        let mut log = MemoryBodyLog::new();
        log.limit(2 * block(1, 10).header().block_bytes() as u64);
        append(&mut log, 1..=2);
        log.submit().unwrap();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(2)));
        log.prune(View(1));
        append(&mut log, 3..=3);
        log.submit().unwrap();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(3)));
        append(&mut log, 4..=4);
        assert!(matches!(log.submit(), Err(LogError::JournalFull { .. })));
        assert!(matches!(log.poll_durable(), Err(LogError::Poisoned(_))));
    }
}
