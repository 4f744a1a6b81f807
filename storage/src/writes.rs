//! What both logs without a disk have in common: writes that complete when told, lose what was not synced when the machine stops, tear what
//! was in flight, and fail on demand.

use crate::log::{LogError, LogSequence};

/// What a crash leaves of the write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// Nothing.
    Lost,
    /// Its first items.
    First(usize),
    /// All of it, though nobody was told.
    Whole,
}

/// Items on their way to a disk that is none.
#[derive(Clone, Debug)]
pub struct Writes<T> {
    durable: Vec<T>,
    /// Items that were durable and are forgotten.
    pruned: u64,
    flight: Vec<T>,
    pending: Vec<T>,
    reported: u64,
    manual: bool,
    writes_left: Option<u64>,
    failed: Option<String>,
}

impl<T: Clone> Writes<T> {
    /// A disk that holds `durable`. `manual`: writes complete only by [`Writes::complete`].
    pub fn new(durable: Vec<T>, manual: bool) -> Writes<T> {
        let reported = durable.len() as u64;
        Writes { durable, pruned: 0, flight: Vec::new(), pending: Vec::new(), reported, manual, writes_left: None, failed: None }
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

    pub fn in_flight(&self) -> bool {
        !self.flight.is_empty()
    }

    /// After `writes` more completed writes, the next one fails.
    pub fn fail_after(&mut self, writes: u64) {
        self.writes_left = Some(writes);
    }

    /// Fails for good.
    pub fn fail(&mut self, cause: String) {
        self.failed.get_or_insert(cause);
    }

    /// What the disk holds, in order.
    pub fn durable(&self) -> &[T] {
        &self.durable
    }

    /// What the disk does not hold yet and no write has taken.
    pub fn pending(&self) -> &[T] {
        &self.pending
    }

    /// What was appended and the disk may not hold yet.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.flight.iter().chain(&self.pending)
    }

    pub fn append(&mut self, item: T) -> LogSequence {
        self.pending.push(item);
        LogSequence(self.written() + (self.flight.len() + self.pending.len()) as u64)
    }

    pub fn check(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), |cause| Err(LogError::Poisoned(cause)))
    }

    /// Whether a write would start now.
    pub fn is_due(&self) -> bool {
        self.flight.is_empty() && !self.pending.is_empty()
    }

    /// Starts a write of all that waits, unless one is in flight.
    pub fn submit(&mut self) -> Result<(), LogError> {
        self.check()?;
        if self.is_due() {
            self.flight.append(&mut self.pending);
        }
        Ok(())
    }

    /// What was written since the last call, if anything.
    pub fn poll(&mut self) -> Result<Option<LogSequence>, LogError> {
        if !self.manual && self.in_flight() {
            self.complete();
        }
        self.check()?;
        let written = self.written();
        let news = written > self.reported;
        self.reported = written;
        Ok(news.then_some(LogSequence(written)))
    }

    /// Forgets the first `count` durable items; their sequences stay taken.
    pub fn forget_first(&mut self, count: usize) {
        self.durable.drain(..count);
        self.pruned += count as u64;
    }

    /// Forgets durable items; their sequences stay taken.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        let before = self.durable.len();
        self.durable.retain(keep);
        self.pruned += (before - self.durable.len()) as u64;
    }

    /// The machine stops: what was not submitted is lost, of the write in flight stays what `torn` says. The disk as it is found again, and
    /// whether the write was cut.
    pub fn crash(mut self, torn: Torn) -> (Writes<T>, bool) {
        let kept = match torn {
            Torn::Lost => 0,
            Torn::First(items) => items.min(self.flight.len()),
            Torn::Whole => self.flight.len(),
        };
        let cut = kept > 0 && kept < self.flight.len();
        self.durable.extend(self.flight.drain(..kept));
        let reported = self.written();
        (Writes { pruned: self.pruned, reported, ..Writes::new(self.durable, self.manual) }, cut)
    }

    /// Items that ever reached the disk.
    pub fn written(&self) -> u64 {
        self.pruned + self.durable.len() as u64
    }
}

impl<T: Clone> Default for Writes<T> {
    fn default() -> Self {
        Writes::new(Vec::new(), false)
    }
}
