//! The machine's outlet on a reactor: messages into the outbox, stretches of time into stages.

use crate::bridge::Distribution;
use samara_dataplane::reactor::Outbox;
use samara_types::{MessageKind, ValidatorIndex};
use samara_validator::{Outlet, Stage};
use std::time::Instant;

/// Nanoseconds by [`Stage`]; the mark is where the current stretch began.
pub struct StageClock {
    pub ns: [u64; Stage::ALL.len()],
    /// From the beginning of a stretch to the end of each relaying in it, microseconds.
    pub relay_us: Distribution,
    began: Instant,
    mark: Instant,
}

impl StageClock {
    pub fn new() -> StageClock {
        let now = Instant::now();
        StageClock { ns: [0; Stage::ALL.len()], relay_us: Distribution::default(), began: now, mark: now }
    }

    /// Starts a stretch.
    pub fn begin(&mut self) {
        self.mark = Instant::now();
        self.began = self.mark;
    }

    /// The time since the last call went into `stage`.
    pub fn spent(&mut self, stage: Stage) {
        let now = Instant::now();
        self.ns[stage as usize] += u64::try_from((now - self.mark).as_nanos()).unwrap_or(u64::MAX);
        self.mark = now;
        if stage == Stage::Relay {
            self.relay_us.record(u64::try_from((now - self.began).as_micros()).unwrap_or(u64::MAX));
        }
    }
}

/// One pass's outlet.
pub struct Wire<'a, 'b> {
    pub outbox: &'a mut Outbox<'b>,
    pub stages: &'a mut StageClock,
}

impl Outlet for Wire<'_, '_> {
    fn send(&mut self, to: ValidatorIndex, kind: MessageKind, message: &[u8]) {
        self.outbox.send(to, kind, message);
    }

    fn broadcast(&mut self, kind: MessageKind, message: &[u8]) {
        self.outbox.broadcast(kind, message);
    }

    fn spent(&mut self, stage: Stage) {
        self.stages.spent(stage);
    }
}
