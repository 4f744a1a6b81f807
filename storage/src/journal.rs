//! The block journal: a vote leaves only after the body it votes for is durable too (Minimmit reference, section 6).
//!
//! **Why.** A quorum that has voted may not nullify. If a power failure of all validators left votes for a block nobody holds, no later
//! view could build on it or go around it, and the chain would stop for good. So every body that was judged here (not those voted for on
//! a certificate, whose judges hold them) is written before the vote for it is recorded, on a ring of its own. The owner hands the vote log a record only once the journal reported its body, so a record that recovery
//! finds always has its body; that costs the vote both writes, one after the other.
//!
//! ```text
//! append(block) ──► pending ──submit()──► one aligned buffer, one durable write ──completion──► poll_durable() = Some(sequence)
//!                      ▲                          │ in flight                                        │
//!                      └── piles up meanwhile ◄───┘                                        the vote may leave
//! prune(finalized) ──► segments without an unfinalized body are written over
//! ```
//!
//! Rules every implementation keeps:
//! 1. Sequences have no gap and become durable in order. A body that was reported durable is recovered whole after any crash, until
//!    [`BodyLog::prune`] named its view or a later one.
//! 2. At most one write is in flight. What piles up behind it goes out together with the next `submit` or completion.
//! 3. A failed, short or uncertain write, and a journal full of unfinalized bodies, poison it for good: every later call is an error and
//!    nothing is reported any more.
//! 4. Recovery returns bodies in the order they were appended, possibly some that were never reported (whole, hence as good as received
//!    again) and some that are final already. What is not whole is skipped, see [`disk`].

use crate::log::{LogError, LogSequence};
use samara_types::{Block, View};
use std::os::fd::RawFd;
use std::sync::Arc;

pub mod disk;
mod format;
pub mod memory;
mod recovery;

#[cfg(test)]
mod tests;

pub use recovery::RecoveredBodies;

/// Bodies of blocks that are not final yet, durable before a vote for them is sent.
pub trait BodyLog {
    /// Takes a block into memory; never blocks, never fails. Durable only once [`BodyLog::poll_durable`] says so.
    fn append(&mut self, block: Arc<Block>) -> LogSequence;

    /// Starts one coalesced durable write of what was appended, unless one is in flight.
    fn submit(&mut self) -> Result<(), LogError>;

    /// Takes completions. Some: everything up to this sequence is durable, and more than at the last call. Starts the next write if
    /// blocks piled up.
    fn poll_durable(&mut self) -> Result<Option<LogSequence>, LogError>;

    /// Readable while a completion waits for [`BodyLog::poll_durable`]. None if completions never come by themselves.
    fn wake_fd(&self) -> Option<RawFd>;

    /// Allows to forget bodies of views up to `finalized`. To be called once the finalized block of that view is durable in the block
    /// store: from then on nobody needs these bodies from here.
    fn prune(&mut self, finalized: View);
}

impl<L: BodyLog + ?Sized> BodyLog for Box<L> {
    fn append(&mut self, block: Arc<Block>) -> LogSequence {
        (**self).append(block)
    }

    fn submit(&mut self) -> Result<(), LogError> {
        (**self).submit()
    }

    fn poll_durable(&mut self) -> Result<Option<LogSequence>, LogError> {
        (**self).poll_durable()
    }

    fn wake_fd(&self) -> Option<RawFd> {
        (**self).wake_fd()
    }

    fn prune(&mut self, finalized: View) {
        (**self).prune(finalized);
    }
}
