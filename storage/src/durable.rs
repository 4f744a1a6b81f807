//! The disk in front of every signature: the bodies voted for, then the vote records.
//!
//! A record is handed to the vote log only when the body it came with is durable, and in order. So a record that recovery finds, and sends
//! again, always has its body: no failure of all can leave a quorum of votes for a block that is on no disk. This costs a vote one write
//! of latency more than writing both at once would.

use crate::journal::BodyLog;
use crate::log::{LogError, LogSequence, VoteLog};
use samara_types::{Block, Nanos, Record, View};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;

/// A record that waits for its body.
struct Held {
    since: Nanos,
    record: Record,
    body: Option<LogSequence>,
}

/// Vote log and body journal, and what waits for them.
pub struct Durable<L: VoteLog, B: BodyLog> {
    log: L,
    bodies: B,
    /// Not in the log yet.
    held: VecDeque<Held>,
    /// In the log, not reported yet.
    waiting: VecDeque<(Nanos, LogSequence, View)>,
    /// What the journal says is durable.
    journaled: LogSequence,
    /// Records of this run reported so far.
    reported: u64,
    /// The highest view of a durable record.
    signed: View,
}

impl<L: VoteLog, B: BodyLog> Durable<L, B> {
    /// Over a log and a journal as they were opened.
    pub fn new(log: L, bodies: B) -> Durable<L, B> {
        Durable {
            log,
            bodies,
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            journaled: LogSequence(0),
            reported: 0,
            signed: View::GENESIS,
        }
    }

    /// Takes a record and the body it votes for, if there is one. Nothing is written before [`Durable::submit`].
    pub fn append(&mut self, now: Nanos, record: Record, body: Option<Arc<Block>>) {
        let body = body.map(|block| self.bodies.append(block));
        self.held.push_back(Held { since: now, record, body });
    }

    /// Starts one coalesced write of what may be written, in each of the two.
    pub fn submit(&mut self) -> Result<(), LogError> {
        self.bodies.submit()?;
        while self.held.front().is_some_and(|first| first.body.is_none_or(|body| body <= self.journaled)) {
            let Held { since, record, .. } = self.held.pop_front().expect("a front was just seen");
            self.waiting.push_back((since, self.log.append(record), record.view()));
        }
        self.log.submit()
    }

    /// Records of this run that are durable, if more than at the last call. `waited` hears of each how long it took from
    /// [`Durable::append`] to here.
    pub fn poll(&mut self, now: Nanos, mut waited: impl FnMut(Nanos)) -> Result<Option<u64>, LogError> {
        self.journaled = self.bodies.poll_durable()?.unwrap_or(self.journaled);
        let Some(logged) = self.log.poll_durable()? else { return Ok(None) };
        while let Some((since, sequence, view)) = self.waiting.front()
            && *sequence <= logged
        {
            waited(now.since(*since));
            self.reported += 1;
            self.signed = self.signed.max(*view);
            self.waiting.pop_front();
        }
        Ok(Some(self.reported))
    }

    /// The highest view of a record of this run that is durable; genesis before the first.
    pub fn signed(&self) -> View {
        self.signed
    }

    /// Readable while a completion waits for [`Durable::poll`].
    pub fn wake_fds(&self) -> impl Iterator<Item = RawFd> {
        self.log.wake_fd().into_iter().chain(self.bodies.wake_fd())
    }

    /// The vote log and the journal, for an owner that completes their writes itself.
    pub fn parts(&mut self) -> (&mut L, &mut B) {
        (&mut self.log, &mut self.bodies)
    }

    /// Gives log and journal back; what waited in front of them is gone, as when the process dies.
    pub fn into_parts(self) -> (L, B) {
        (self.log, self.bodies)
    }

    /// Forgets what views at or below `stored`, which is in the block store, needed.
    pub fn prune(&mut self, stored: View) {
        self.log.prune(stored);
        self.bodies.prune(stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::MemoryBodyLog;
    use crate::log::memory::MemoryVoteLog;
    use samara_types::block::payload_digest;
    use samara_types::{BlockHeader, Digest, Height, ValidatorIndex};

    fn block() -> Arc<Block> {
        let header = BlockHeader {
            view: View(1),
            parent_view: View(0),
            parent_digest: Digest::ZERO,
            height: Height(1),
            timestamp_ns: 0,
            payload_length: 1,
            leader: ValidatorIndex(0),
            payload_digest: payload_digest(b"x"),
        };
        Arc::new(Block::new(header, vec![Digest::ZERO], b"x".to_vec()).unwrap())
    }

    fn polled(durable: &mut Durable<MemoryVoteLog, MemoryBodyLog>) -> Option<u64> {
        durable.poll(Nanos(1), |_| {}).unwrap()
    }

    #[test]
    fn a_record_reaches_the_log_after_its_body_and_later_records_wait_behind_it() {
        let mut durable = Durable::new(MemoryVoteLog::with_manual_completion(), MemoryBodyLog::with_manual_completion());
        durable.append(Nanos(0), Record::Vote(View(1), Digest::ZERO), Some(block()));
        durable.append(Nanos(0), Record::Nullify(View(2)), None);
        durable.submit().unwrap();
        durable.log.complete();
        assert_eq!(polled(&mut durable), None);
        assert!(durable.log.durable().is_empty(), "no record is on disk before the body is");
        durable.bodies.complete();
        assert_eq!(polled(&mut durable), None, "the body alone releases nothing");
        assert_eq!(durable.signed(), View::GENESIS);
        durable.submit().unwrap();
        durable.log.complete();
        assert_eq!((polled(&mut durable), durable.signed()), (Some(2), View(2)));
    }
}
