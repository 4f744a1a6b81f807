//! The disk in front of every signature: vote records, and the bodies voted for.
//!
//! A record counts as durable when its own write is done and, where it came with a body, the body's too; records are reported in order.
//! Both writes run at the same time, so a vote waits for the slower one.

use crate::bridge::Distribution;
use samara_storage::journal::BodyLog;
use samara_storage::{LogError, LogSequence, VoteLog};
use samara_types::{Block, Nanos, Record, View};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;

/// A record whose durability was not reported yet.
struct Waiting {
    since: Nanos,
    record: LogSequence,
    body: Option<LogSequence>,
}

/// Vote log and body journal, and what waits for them.
pub struct Durable<L: VoteLog, B: BodyLog> {
    log: L,
    bodies: B,
    waiting: VecDeque<Waiting>,
    /// What each says is durable.
    logged: LogSequence,
    journaled: LogSequence,
    /// Records of this run reported so far.
    reported: u64,
    /// From handing a record over to knowing it durable, microseconds.
    pub sync_us: Distribution,
}

impl<L: VoteLog, B: BodyLog> Durable<L, B> {
    pub fn new(log: L, bodies: B) -> Durable<L, B> {
        Durable {
            log,
            bodies,
            waiting: VecDeque::new(),
            logged: LogSequence(0),
            journaled: LogSequence(0),
            reported: 0,
            sync_us: Distribution::default(),
        }
    }

    pub fn append(&mut self, now: Nanos, record: Record, body: Option<Arc<Block>>) {
        let body = body.map(|block| self.bodies.append(block));
        let record = self.log.append(record);
        self.waiting.push_back(Waiting { since: now, record, body });
    }

    /// Starts one coalesced write of what was appended, in each of the two.
    pub fn submit(&mut self) -> Result<(), LogError> {
        self.bodies.submit()?;
        self.log.submit()
    }

    /// Records of this run that are durable, if more than at the last call.
    pub fn poll(&mut self, now: Nanos) -> Result<Option<u64>, LogError> {
        self.logged = self.log.poll_durable()?.unwrap_or(self.logged);
        self.journaled = self.bodies.poll_durable()?.unwrap_or(self.journaled);
        let before = self.reported;
        while let Some(first) = self.waiting.front() {
            if first.record > self.logged || first.body.is_some_and(|body| body > self.journaled) {
                break;
            }
            self.sync_us.record(now.since(first.since).0 / 1_000);
            self.reported += 1;
            self.waiting.pop_front();
        }
        Ok((self.reported > before).then_some(self.reported))
    }

    pub fn wake_fds(&self) -> impl Iterator<Item = RawFd> {
        self.log.wake_fd().into_iter().chain(self.bodies.wake_fd())
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
    use samara_storage::MemoryVoteLog;
    use samara_storage::journal::memory::MemoryBodyLog;
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
        durable.poll(Nanos(1)).unwrap()
    }

    #[test]
    fn a_vote_waits_for_its_body_and_later_records_wait_behind_it() {
        let mut durable = Durable::new(MemoryVoteLog::with_manual_completion(), MemoryBodyLog::with_manual_completion());
        durable.append(Nanos(0), Record::Vote(View(1), Digest::ZERO), Some(block()));
        durable.append(Nanos(0), Record::Nullify(View(2)), None);
        durable.submit().unwrap();
        durable.log.complete();
        assert_eq!(polled(&mut durable), None, "the record is durable, the body is not");
        durable.bodies.complete();
        assert_eq!(polled(&mut durable), Some(2));
    }

    #[test]
    fn a_body_alone_releases_nothing() {
        let mut durable = Durable::new(MemoryVoteLog::with_manual_completion(), MemoryBodyLog::with_manual_completion());
        durable.append(Nanos(0), Record::Vote(View(1), Digest::ZERO), Some(block()));
        durable.submit().unwrap();
        durable.bodies.complete();
        assert_eq!(polled(&mut durable), None);
    }
}
