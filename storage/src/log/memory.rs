//! A vote log without a disk, for tests and the simulator. It completes writes when told, loses what was not synced when it crashes,
//! tears the write in flight and fails on demand.

use super::{LogError, LogSequence, Recovered, VoteLog};
use samara_types::{Record, View};
use std::os::fd::RawFd;

/// What a crash leaves of the write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// Nothing.
    Lost,
    /// Its first records.
    First(usize),
    /// All of it, though nobody was told.
    Whole,
}

/// Records of a segment; what [`VoteLog::prune`] forgets at a time.
const SEGMENT_RECORDS: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct MemoryVoteLog {
    pruned: u64,
    durable: Vec<Record>,
    flight: Vec<Record>,
    pending: Vec<Record>,
    reported: u64,
    manual: bool,
    writes_left: Option<u64>,
    failed: Option<String>,
}

impl MemoryVoteLog {
    /// An empty log whose writes complete at the next poll.
    pub fn new() -> MemoryVoteLog {
        MemoryVoteLog::default()
    }

    /// An empty log whose writes complete only by [`MemoryVoteLog::complete`].
    pub fn with_manual_completion() -> MemoryVoteLog {
        MemoryVoteLog { manual: true, ..MemoryVoteLog::default() }
    }

    /// A log that holds `records` from before, as if reopened.
    pub fn with_records(records: Vec<Record>) -> (MemoryVoteLog, Recovered) {
        let log = MemoryVoteLog { durable: records, ..MemoryVoteLog::default() };
        log.reopened(false)
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
                self.durable.append(&mut self.flight);
            }
        }
    }

    /// Whether a write waits for [`MemoryVoteLog::complete`].
    pub fn in_flight(&self) -> bool {
        !self.flight.is_empty()
    }

    /// After `writes` more completed writes, the next one fails and poisons the log.
    pub fn fail_after(&mut self, writes: u64) {
        self.writes_left = Some(writes);
    }

    /// What the disk holds.
    pub fn durable(&self) -> &[Record] {
        &self.durable
    }

    /// The machine stops: what was not submitted is lost, of the write in flight stays what `torn` says. Returns the reopened log; its
    /// disk is repaired.
    pub fn crash(mut self, torn: Torn) -> (MemoryVoteLog, Recovered) {
        let kept = match torn {
            Torn::Lost => 0,
            Torn::First(records) => records.min(self.flight.len()),
            Torn::Whole => self.flight.len(),
        };
        let torn_tail = kept > 0 && kept < self.flight.len();
        self.durable.extend(self.flight.drain(..kept));
        let log = MemoryVoteLog { pruned: self.pruned, durable: self.durable, manual: self.manual, ..MemoryVoteLog::default() };
        log.reopened(torn_tail)
    }

    fn reopened(mut self, torn_tail: bool) -> (MemoryVoteLog, Recovered) {
        self.reported = self.written();
        let fresh = self.reported == 0;
        let recovered = Recovered { records: self.durable.clone(), torn_tail, fresh };
        (self, recovered)
    }

    fn written(&self) -> u64 {
        self.pruned + self.durable.len() as u64
    }

    fn check(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), |cause| Err(LogError::Poisoned(cause)))
    }
}

impl VoteLog for MemoryVoteLog {
    fn append(&mut self, record: Record) -> LogSequence {
        self.pending.push(record);
        LogSequence(self.written() + (self.flight.len() + self.pending.len()) as u64)
    }

    fn submit(&mut self) -> Result<(), LogError> {
        self.check()?;
        if self.flight.is_empty() {
            self.flight.append(&mut self.pending);
        }
        Ok(())
    }

    fn poll_durable(&mut self) -> Result<Option<LogSequence>, LogError> {
        if !self.manual && self.in_flight() {
            self.complete();
        }
        self.check()?;
        let written = self.written();
        let news = written > self.reported;
        self.reported = written;
        if news {
            self.submit()?;
        }
        Ok(news.then_some(LogSequence(written)))
    }

    fn wake_fd(&self) -> Option<RawFd> {
        None
    }

    fn prune(&mut self, below: View) {
        let old = |segment: &[Record]| segment.iter().all(|record| record.view() < below);
        while self.durable.len() > 2 * SEGMENT_RECORDS && old(&self.durable[..SEGMENT_RECORDS]) {
            self.durable.drain(..SEGMENT_RECORDS);
            self.pruned += SEGMENT_RECORDS as u64;
        }
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
            assert_eq!(recovered, Recovered { fresh: records.is_empty(), records: records.clone(), torn_tail });
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
