//! The vote log: nothing that could equivocate leaves before its record is durable (Minimmit reference, section 6).
//!
//! ```text
//! append(record) ──► pending ──submit()──► one 4 KiB block, one durable write ──completion──► poll_durable() = Some(sequence)
//!                       ▲                         │ in flight                                       │
//!                       └── piles up meanwhile ◄──┘                                     the signature may leave
//! ```
//!
//! Rules every implementation keeps:
//! 1. Sequences start at 1, have no gap and become durable in order; what is reported durable survives any crash.
//! 2. At most one write is in flight. What piles up behind it goes out together with the next `submit` or completion.
//! 3. A failed, short or uncertain write poisons the log for good: every later call is an error and nothing is reported any more, so
//!    voting stops. Whether the bytes reached the disk is unknown, and a restart finds out by recovery.
//! 4. Recovery returns every record that was ever reported, in order, and possibly some that were not ("maybe sent", harmless).

use samara_types::{ChainId, Record, ValidatorIndex, View};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

mod chore;
mod format;
pub mod memory;
pub(crate) mod recovery;
pub mod uring;

#[cfg(test)]
mod tests;

/// Position of a record in the log, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogSequence(pub u64);

/// Whose log it is. A log of another identity is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The chain.
    pub chain: ChainId,
    /// Position in the validator set.
    pub validator: ValidatorIndex,
    /// BLS public key of the votes.
    pub vote_key: [u8; 96],
}

/// What a log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// All records in order.
    pub records: Vec<Record>,
    /// The last write was incomplete; what could be read of it is in `records`.
    pub torn_tail: bool,
    /// There was no log. A validator that knows it has voted before must treat this as amnesia.
    pub fresh: bool,
    /// Records of views that were in the block store are forgotten.
    pub pruned: bool,
}

/// Records of what was signed, durable before it is sent.
pub trait VoteLog {
    /// Takes a record into memory; never blocks, never fails. Durable only once [`VoteLog::poll_durable`] says so.
    fn append(&mut self, record: Record) -> LogSequence;

    /// Starts one coalesced durable write of what was appended, unless one is in flight.
    fn submit(&mut self) -> Result<(), LogError>;

    /// Takes completions. Some: everything up to this sequence is durable, and more than at the last call. Starts the next write if
    /// records piled up.
    fn poll_durable(&mut self) -> Result<Option<LogSequence>, LogError>;

    /// Readable while a completion waits for [`VoteLog::poll_durable`]. None if completions never come by themselves.
    fn wake_fd(&self) -> Option<RawFd>;

    /// Allows to forget records of views below `below`. Whole segments go, the newest two always stay, and what goes is of no higher view than
    /// anything that stays: a late nullify of an old view keeps what lies before it, so that the lowest view of the log tells what it still knows
    /// (`validator::restart`).
    fn prune(&mut self, below: View);
}

impl<L: VoteLog + ?Sized> VoteLog for Box<L> {
    fn append(&mut self, record: Record) -> LogSequence {
        (**self).append(record)
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

    fn prune(&mut self, below: View) {
        (**self).prune(below);
    }
}

/// Reads the records of a log whose validator may be running: takes no lock, changes nothing, checks no identity. Records that are being
/// written may be missing.
pub fn read_log(dir: &Path) -> Result<Vec<Record>, LogError> {
    recovery::read_running(dir)
}

/// What the machine room did to the vote log or the block journal. All are final: voting stops.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A system call failed.
    #[error("vote log: cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// This host has no usable io_uring.
    #[error("vote log: io_uring is not available (kernel 5.11 or newer, kernel.io_uring_disabled = 0, no seccomp filter): {0}")]
    Unsupported(std::io::Error),
    /// Another process uses the directory.
    #[error("vote log: {} is in use by another process; two processes with one vote key would equivocate", .0.display())]
    Locked(PathBuf),
    /// The log belongs to somebody else.
    #[error("vote log: {} belongs to another {what}: found {found}, expected {expected}", path.display())]
    OtherIdentity {
        /// The segment.
        path: PathBuf,
        /// chain, validator or vote key.
        what: &'static str,
        /// What the segment says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// Durable bytes are not what was written. The votes of this log can not be trusted to be complete.
    #[error("vote log: {} is corrupt at byte {offset}: {reason}; do not vote with this key below the view the cluster has reached", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A segment between others, or after a full one, is gone.
    #[error("vote log: segment {index} of {} is missing; do not vote with this key below the view the cluster has reached", dir.display())]
    MissingSegment {
        /// The directory.
        dir: PathBuf,
        /// Its number.
        index: u64,
    },
    /// The configured sizes are unusable.
    #[error("vote log: segment_bytes is {0}; allowed are multiples of 4096 from 12288 to 1073741824")]
    BadSegmentSize(u64),
    /// The disk takes nothing any more.
    #[error("vote log: {0} records wait for one write; the disk has stalled")]
    Stalled(usize),
    /// The block journal holds as many unfinalized bodies as it may.
    #[error("block journal: {limit_bytes} bytes are full of bodies above view {finalized}, the newest final one")]
    JournalFull {
        /// Most bytes of its segments.
        limit_bytes: u64,
        /// Bodies up to this view may be written over.
        finalized: View,
    },
    /// The sizes configured for the block journal are unusable.
    #[error(
        "block journal: segment_bytes is {segment_bytes} and limit_bytes {limit_bytes}; allowed are segments of multiples of 4096 from \
         {segment_bytes_min} to 1073741824, and a limit of two segments or more"
    )]
    BadJournalSize {
        /// Bytes of a segment.
        segment_bytes: u64,
        /// The least bytes of a segment: what the largest block needs.
        segment_bytes_min: u64,
        /// Most bytes of all segments.
        limit_bytes: u64,
    },
    /// An earlier error stopped the log.
    #[error("vote log stopped: {0}")]
    Poisoned(String),
}
