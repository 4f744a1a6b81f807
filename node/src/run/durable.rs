//! The disk in front of every signature: vote records, and the bodies voted for.
//!
//! A record counts as durable when its own write is done and, where it came with a body, the body's too; records are reported in order.

use crate::bridge::Distribution;
use samara_storage::{LogError, LogSequence, VoteLog};
use samara_types::{Block, Nanos, Record, View};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;

struct Waiting {
    since: Nanos,
}

/// The vote log and what waits for it.
pub struct Durable<L: VoteLog> {
    log: L,
    waiting: VecDeque<Waiting>,
    /// Sequence of the first record of this run, minus one: the log counts over all runs.
    base: Option<u64>,
    logged: u64,
    reported: u64,
    pub sync_us: Distribution,
}

impl<L: VoteLog> Durable<L> {
    pub fn new(log: L) -> Durable<L> {
        Durable { log, waiting: VecDeque::new(), base: None, logged: 0, reported: 0, sync_us: Distribution::default() }
    }

    pub fn append(&mut self, now: Nanos, record: Record, _body: Option<Arc<Block>>) {
        let sequence = self.log.append(record);
        self.base.get_or_insert(sequence.0 - 1);
        self.waiting.push_back(Waiting { since: now });
    }

    /// Starts one coalesced write of what was appended.
    pub fn submit(&mut self) -> Result<(), LogError> {
        self.log.submit()
    }

    /// Records of this run that are durable, if more than at the last call.
    pub fn poll(&mut self, now: Nanos) -> Result<Option<u64>, LogError> {
        if let Some(LogSequence(sequence)) = self.log.poll_durable()? {
            self.logged = sequence - self.base.expect("a record was appended before one became durable");
        }
        let before = self.reported;
        while self.reported < self.logged {
            let Waiting { since } = self.waiting.pop_front().expect("every record not reported waits");
            self.sync_us.record(now.since(since).0 / 1_000);
            self.reported += 1;
        }
        Ok((self.reported > before).then_some(self.reported))
    }

    pub fn wake_fds(&self) -> impl Iterator<Item = RawFd> {
        self.log.wake_fd().into_iter()
    }

    /// Forgets what views at or below `stored` needed.
    pub fn prune(&mut self, stored: View) {
        self.log.prune(stored);
    }
}
