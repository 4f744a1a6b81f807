//! Catch-up over TCP: finalized blocks from a peer that has them, proven before anybody acts on them.
//!
//! ```text
//! client                                   server
//!   --- Noise IK (prologue: chain, "sync") --->   static keys of the validator set, nobody else
//!   --- from height --------------------------->
//!   <-- block, [certificate], block, ... ------   stored bytes as they are, paced
//!   <-- end -----------------------------------   at the server's tip
//! ```
//! The client checks height, parent digest and parent view of every block against the one before, starting at its own tip, and keeps what
//! it has in a bounded buffer until an L-notarization of the buffer's newest certified block verifies. Only then does the run go to the
//! hot reactor. A finalized block finalizes its ancestors, so one certificate proves the run; certificates in its middle are not verified
//! and not passed on. Anything else than that sequence ends the connection and the next peer continues where the proven chain ends.

mod client;
mod server;
mod stream;

#[cfg(test)]
mod tests;

pub(super) use client::{Fetcher, run as fetch};
pub(super) use server::accept as serve;

use samara_types::block::PAYLOAD_BYTES_MAX;
use samara_validator::catch_up::RunFault;
use std::time::Duration;

/// Bounds of catch-up.
#[derive(Clone, Copy, Debug)]
pub struct SyncLimits {
    /// Connections at once, with those still in their handshake: what strangers can hold.
    pub connections_max: usize,
    /// Members served at once, one connection each.
    pub served_max: usize,
    /// Bytes per second sent to one peer.
    pub served_bytes_per_second: u64,
    /// Bytes of blocks a client holds before they are proven.
    pub unproven_bytes_max: usize,
    /// A client lets one certificate prove a run of about this many blocks before it verifies one.
    pub run_blocks: usize,
    /// The same in bytes.
    pub run_bytes: usize,
    /// Longest wait for a connection, a handshake step or one record, and for all records together beyond what `bytes_per_second_min` allows.
    pub patience: Duration,
    /// A peer that sends less is given up: one record every few seconds would keep a validator behind for ever.
    pub bytes_per_second_min: u64,
}

impl Default for SyncLimits {
    fn default() -> Self {
        SyncLimits {
            connections_max: 64,
            served_max: 8,
            served_bytes_per_second: 64 << 20,
            unproven_bytes_max: 64 << 20,
            run_blocks: 64,
            run_bytes: 4 << 20,
            patience: Duration::from_secs(5),
            bytes_per_second_min: 32 << 10,
        }
    }
}

/// Most bytes of one record: a stored block with its roots and framing.
const RECORD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 16_384;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum RecordKind {
    /// First height wanted, u64 little-endian.
    Request = 1,
    /// A block as stored.
    Block = 2,
    /// The L-notarization of the block before.
    Certificate = 3,
    /// The server's tip is reached.
    End = 4,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<RecordKind> {
        [Self::Request, Self::Block, Self::Certificate, Self::End].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Why a catch-up connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// No connection, or it broke.
    Unreachable,
    /// Nothing came in time, or too little.
    TimedOut,
    /// The handshake failed: another chain, another key.
    Handshake,
    /// Not a member of the set.
    Stranger,
    /// Too many connections at once.
    Busy,
    /// Bytes that are no record, or a record out of place.
    Malformed,
    /// Not the next block of our chain: height, parent digest or parent view differ.
    Unlinked,
    /// A certificate that does not verify or is for another block.
    BadCertificate,
    /// More blocks than the buffer holds, and none of them proven.
    Unproven,
    /// The peer has nothing beyond our tip.
    Nothing,
    /// Our own store could not be read.
    Store,
}

impl SyncFault {
    /// Label in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SyncFault::Unreachable => "unreachable",
            SyncFault::TimedOut => "timed_out",
            SyncFault::Handshake => "handshake",
            SyncFault::Stranger => "stranger",
            SyncFault::Busy => "busy",
            SyncFault::Malformed => "malformed",
            SyncFault::Unlinked => "unlinked",
            SyncFault::BadCertificate => "bad_certificate",
            SyncFault::Unproven => "unproven",
            SyncFault::Nothing => "nothing",
            SyncFault::Store => "store",
        }
    }
}

impl From<RunFault> for SyncFault {
    fn from(fault: RunFault) -> SyncFault {
        match fault {
            RunFault::Malformed => SyncFault::Malformed,
            RunFault::Unlinked => SyncFault::Unlinked,
            RunFault::BadCertificate => SyncFault::BadCertificate,
        }
    }
}
