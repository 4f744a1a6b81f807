//! A block journal without a disk, for tests and the simulator: `writes::Writes` behind the rules of a body log.

use super::BodyLog;
use crate::log::{LogError, LogSequence};
use crate::writes::{Torn, Writes};
use samara_types::{Block, View};
use std::os::fd::RawFd;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct MemoryBodyLog {
    writes: Writes<Arc<Block>>,
    finalized: View,
    bytes_max: Option<u64>,
}

impl MemoryBodyLog {
    /// An empty journal whose writes complete at the next poll.
    pub fn new() -> MemoryBodyLog {
        MemoryBodyLog::default()
    }

    /// An empty journal whose writes complete only by [`MemoryBodyLog::complete`].
    pub fn with_manual_completion() -> MemoryBodyLog {
        MemoryBodyLog { writes: Writes::new(Vec::new(), true), ..MemoryBodyLog::default() }
    }

    /// The write in flight reaches the disk. Reported by the next poll, which starts the next write.
    pub fn complete(&mut self) {
        self.writes.complete();
    }

    /// Whether a write waits for [`MemoryBodyLog::complete`].
    pub fn in_flight(&self) -> bool {
        self.writes.in_flight()
    }

    /// After `writes` more completed writes, the next one fails and poisons the journal.
    pub fn fail_after(&mut self, writes: u64) {
        self.writes.fail_after(writes);
    }

    /// More bytes of unfinalized headers and payloads than this are [`LogError::JournalFull`].
    pub fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = Some(bytes_max);
    }

    /// Bodies the disk holds, in the order they were appended.
    pub fn durable(&self) -> &[Arc<Block>] {
        self.writes.durable()
    }

    /// The machine stops: what was not submitted is lost, of the write in flight stays what `torn` says. Returns the reopened journal and
    /// the bodies it recovered.
    pub fn crash(self, torn: Torn) -> (MemoryBodyLog, Vec<Block>) {
        let (writes, _) = self.writes.crash(torn);
        let recovered = writes.durable().iter().map(|block| Block::clone(block)).collect();
        (MemoryBodyLog { writes, ..self }, recovered)
    }

    fn check_room(&mut self) -> Result<(), LogError> {
        let held: usize = self.writes.durable().iter().chain(self.writes.pending()).map(|block| block.header().block_bytes()).sum();
        match self.bytes_max {
            Some(limit_bytes) if held as u64 > limit_bytes => {
                let error = LogError::JournalFull { limit_bytes, finalized: self.finalized };
                self.writes.fail(error.to_string());
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

impl BodyLog for MemoryBodyLog {
    fn append(&mut self, block: Arc<Block>) -> LogSequence {
        self.writes.append(block)
    }

    fn submit(&mut self) -> Result<(), LogError> {
        self.writes.check()?;
        if self.writes.is_due() {
            self.check_room()?;
        }
        self.writes.submit()
    }

    fn poll_durable(&mut self) -> Result<Option<LogSequence>, LogError> {
        let news = self.writes.poll()?;
        if news.is_some() {
            self.submit()?;
        }
        Ok(news)
    }

    fn wake_fd(&self) -> Option<RawFd> {
        None
    }

    fn prune(&mut self, finalized: View) {
        self.finalized = self.finalized.max(finalized);
        self.writes.retain(|block| block.header().view > self.finalized);
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
