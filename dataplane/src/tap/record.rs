//! Records: what stands in a tap's ring, and how an opened datagram is marked.
//!
//! ```text
//! record | header 48 | datagram, at most the snap length |
//! opened | outer header, version with its top bit set 16 | inner header 4 | message | trailer 16 |
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Set in the version byte of the outer header of an opened datagram; no datagram on a wire has it.
pub const OPENED: u8 = 0x80;
/// In place of a validator where the session could name none.
pub const NO_PEER: u16 = u16::MAX;
/// Bytes of [`RecordHeader`].
pub const RECORD_BYTES: usize = size_of::<RecordHeader>();
/// Bytes of [`Trailer`].
pub const TRAILER_BYTES: usize = size_of::<Trailer>();

/// Which way a datagram went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// To this validator.
    Received = 1,
    /// From this validator.
    Sent = 2,
}

impl Direction {
    /// From its byte.
    pub fn from_byte(byte: u8) -> Option<Direction> {
        [Direction::Received, Direction::Sent].into_iter().find(|direction| *direction as u8 == byte)
    }
}

/// What the session layer and the class admission made of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// A message, handed over or sent.
    Message = 0,
    /// It served the session layer itself.
    Session = 1,
    /// Dropped; the reason is a `DropReason`.
    Dropped = 2,
    /// Opened, then refused by its class; the reason is a `ClassReject`.
    Refused = 3,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Verdict; 4] = [Verdict::Message, Verdict::Session, Verdict::Dropped, Verdict::Refused];

    /// From its byte.
    pub fn from_byte(byte: u8) -> Option<Verdict> {
        Self::ALL.into_iter().find(|verdict| *verdict as u8 == byte)
    }

    /// Label.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Message => "message",
            Verdict::Session => "session",
            Verdict::Dropped => "dropped",
            Verdict::Refused => "refused",
        }
    }
}

/// In front of each recorded datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RecordHeader {
    /// Bytes of the datagram that follow.
    pub stored: U32,
    /// Bytes it had.
    pub wire_len: U32,
    /// Nanoseconds since 1970, by the clock of the tap's start plus steady time.
    pub unix_ns: U64,
    /// Records lost between the previous one of this ring and this one.
    pub lost_before: U32,
    /// The validator at the other end, [`NO_PEER`] if the session could not say.
    pub peer: U16,
    /// The other end's UDP port.
    pub port: U16,
    /// The other end's address; IPv4 as mapped into IPv6.
    pub ip: [u8; 16],
    /// [`Direction`].
    pub direction: u8,
    /// [`Verdict`].
    pub verdict: u8,
    /// Of a verdict that has one.
    pub reason: u8,
    /// The message's kind; 0 if it is none.
    pub kind: u8,
    /// Which reactor of the validator.
    pub reactor: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl RecordHeader {
    /// What is known of the datagram; the rest is zero.
    pub(super) fn about(peer: u16, kind: u8, verdict: Verdict, reason: u8) -> RecordHeader {
        let mut header = RecordHeader::new_zeroed();
        header.peer = U16::new(peer);
        (header.kind, header.verdict, header.reason) = (kind, verdict as u8, reason);
        header
    }

    pub(super) fn complete(
        self,
        direction: Direction,
        reactor: u8,
        other: SocketAddr,
        [stored, wire_len]: [usize; 2],
        unix_ns: u64,
        lost_before: u32,
    ) -> RecordHeader {
        let ip: Ipv6Addr = match other.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        RecordHeader {
            stored: U32::new(stored as u32),
            wire_len: U32::new(wire_len as u32),
            unix_ns: U64::new(unix_ns),
            lost_before: U32::new(lost_before),
            port: U16::new(other.port()),
            ip: ip.octets(),
            direction: direction as u8,
            reactor,
            ..self
        }
    }

    /// The other end.
    pub fn other_end(&self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.ip).to_canonical(), self.port.get())
    }
}

/// Behind the message of an opened datagram, where its tag was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Trailer {
    /// The validator at the other end.
    pub peer: U16,
    /// [`Verdict`].
    pub verdict: u8,
    /// Of a refusal.
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 12],
}

impl Trailer {
    /// A trailer.
    pub fn new(peer: u16, verdict: Verdict, reason: u8) -> Trailer {
        Trailer { peer: U16::new(peer), verdict: verdict as u8, reason, reserved: [0; 12] }
    }
}
