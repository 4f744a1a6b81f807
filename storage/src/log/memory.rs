//! A vote log without a disk, for tests and the simulator: `writes::Writes` behind the rules of a vote log.

use super::{LogError, LogSequence, Recovered, VoteLog};
use crate::writes::{Torn, Writes};
use samara_types::{Record, View};
use std::os::fd::RawFd;

/// Records of a segment; what [`VoteLog::prune`] forgets at a time.
const SEGMENT_RECORDS: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct MemoryVoteLog {
    writes: Writes<Record>,
}

impl MemoryVoteLog {
    /// An empty log whose writes complete at the next poll.
    pub fn new() -> MemoryVoteLog {
        MemoryVoteLog::default()
    }

    /// An empty log whose writes complete only by [`MemoryVoteLog::complete`].
    pub fn with_manual_completion() -> MemoryVoteLog {
        MemoryVoteLog { writes: Writes::new(Vec::new(), true) }
    }

    /// A log that holds `records` from before, as if reopened.
    pub fn with_records(records: Vec<Record>) -> (MemoryVoteLog, Recovered) {
        let recovered = Recovered { fresh: records.is_empty(), records: records.clone(), torn_tail: false, pruned: false };
        (MemoryVoteLog { writes: Writes::new(records, false) }, recovered)
    }

    /// The write in flight reaches the disk. Reported by the next poll, which starts the next write.
    pub fn complete(&mut self) {
        self.writes.complete();
    }

    /// Whether a write waits for [`MemoryVoteLog::complete`].
    pub fn in_flight(&self) -> bool {
        self.writes.in_flight()
    }

    /// After `writes` more completed writes, the next one fails and poisons the log.
    pub fn fail_after(&mut self, writes: u64) {
        self.writes.fail_after(writes);
    }

    /// What the disk holds.
    pub fn durable(&self) -> &[Record] {
        self.writes.durable()
    }

    /// The machine stops: what was not submitted is lost, of the write in flight stays what `torn` says. Returns the reopened log; its
    /// disk is repaired.
    pub fn crash(self, torn: Torn) -> (MemoryVoteLog, Recovered) {
        let (writes, torn_tail) = self.writes.crash(torn);
        let (fresh, pruned) = (writes.written() == 0, writes.written() > writes.durable().len() as u64);
        let recovered = Recovered { records: writes.durable().to_vec(), torn_tail, fresh, pruned };
        (MemoryVoteLog { writes }, recovered)
    }
}

impl VoteLog for MemoryVoteLog {
    fn append(&mut self, record: Record) -> LogSequence {
        self.writes.append(record)
    }

    fn submit(&mut self) -> Result<(), LogError> {
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

    fn prune(&mut self, below: View) {
        let segments = self.durable().len().saturating_sub(SEGMENT_RECORDS + 1) / SEGMENT_RECORDS;
        let is_old = |count: &usize| {
            let (old, kept) = self.durable().split_at(count * SEGMENT_RECORDS);
            let old = old.iter().map(Record::view).max();
            let kept = kept.iter().chain(self.writes.waiting()).map(Record::view).min();
            old < Some(below) && old <= kept
        };
        let count = (1..=segments).rev().find(is_old).unwrap_or(0);
        self.writes.forget_first(count * SEGMENT_RECORDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nullify(view: u64) -> Record {
        Record::Nullify(View(view))
    }

    #[test]
    fn nothing_is_durable_before_the_write_completes() {
        let mut log = MemoryVoteLog::with_manual_completion();
        assert_eq!(log.append(nullify(1)), LogSequence(1));
        log.submit().unwrap();
        assert_eq!(log.append(nullify(2)), LogSequence(2));
        log.submit().unwrap();
        assert_eq!(log.poll_durable().unwrap(), None);
        log.complete();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(1)));
        assert!(log.in_flight(), "the completion takes what piled up");
        log.complete();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(2)));
        assert_eq!(log.poll_durable().unwrap(), None);
    }

    #[test]
    fn a_late_record_of_an_old_view_keeps_what_lies_before_it_also_while_it_is_on_its_way() {
        let kept_with = |late: Option<u64>| {
            let mut log = MemoryVoteLog::with_manual_completion();
            (10..10 + 4 * SEGMENT_RECORDS as u64).for_each(|view| _ = log.append(nullify(view)));
            log.submit().unwrap();
            log.complete();
            late.into_iter().for_each(|view| _ = log.append(nullify(view)));
            log.prune(View(1_000));
            log.durable().len()
        };
        assert_eq!((kept_with(None), kept_with(Some(5))), (2 * SEGMENT_RECORDS, 4 * SEGMENT_RECORDS));
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_tears_what_was_in_flight() {
        let mut log = MemoryVoteLog::with_manual_completion();
        log.append(nullify(1));
        log.append(nullify(2));
        log.submit().unwrap();
        log.append(nullify(3));
        for (torn, records, torn_tail) in
            [(Torn::Lost, vec![], false), (Torn::First(1), vec![nullify(1)], true), (Torn::Whole, vec![nullify(1), nullify(2)], false)]
        {
            let (mut reopened, recovered) = log.clone().crash(torn);
            assert_eq!(recovered, Recovered { fresh: records.is_empty(), records: records.clone(), torn_tail, pruned: false });
            assert_eq!(reopened.append(nullify(9)), LogSequence(records.len() as u64 + 1));
        }
    }

    #[test]
    fn a_failed_write_poisons_for_good() {
        let mut log = MemoryVoteLog::new();
        log.fail_after(1);
        log.append(nullify(1));
        log.submit().unwrap();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(1)));
        log.append(nullify(2));
        log.submit().unwrap();
        assert!(log.poll_durable().is_err());
        assert!(log.submit().is_err());
        assert!(log.poll_durable().is_err());
        assert_eq!(log.durable(), [nullify(1)]);
    }

    #[test]
    fn pruning_keeps_sequences_and_what_is_above() {
        let mut log = MemoryVoteLog::new();
        for view in 0..200 {
            log.append(nullify(view));
        }
        log.submit().unwrap();
        assert_eq!(log.poll_durable().unwrap(), Some(LogSequence(200)));
        log.prune(View(100));
        assert_eq!(log.durable()[0], nullify(64));
        assert_eq!(log.append(nullify(200)), LogSequence(201));
    }
}
