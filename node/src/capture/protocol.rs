//! What travels through the door: a line of JSON each way, then records until one side ends.
//!
//! ```text
//! capture -> {"opened":..,"snaplen":..,"ring_bytes":..,"filter":{..}}\n
//! validator -> {"version":..,"chain":..,"seat":..,..}\n records, end record | {"error":".."}\n
//! ```
//! The end record is a header alone with [`END`] as its direction, the number of lost records in place of the time, and 1 as its reason if the
//! capture took nothing for too long. A stream without one tells no losses.

use samara_dataplane::tap::{RECORD_BYTES, RecordHeader, SNAPLEN_MAX, TapFilter, TapSettings};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, FromZeros};

/// Most bytes of a line.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Sizes a ring may have.
pub const RING_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=256 << 20;
/// Direction byte of the record that ends a capture.
pub const END: u8 = 0xff;

/// What to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// In the clear.
    pub opened: bool,
    /// Bytes kept of a datagram.
    pub snaplen: u64,
    /// Size of each reactor's ring.
    pub ring_bytes: u64,
    /// Which datagrams.
    pub filter: Filter,
}

/// [`TapFilter`] on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Bits of [`TapFilter::kinds`].
    pub kinds: u64,
    /// Received datagrams.
    pub received: bool,
    /// Sent datagrams.
    pub sent: bool,
}

impl Request {
    /// The tap's settings for one reactor, if every value is in range.
    pub fn settings(&self, reactor: u8) -> Result<TapSettings, String> {
        if !(1..=SNAPLEN_MAX as u64).contains(&self.snaplen) {
            return Err(format!("snaplen = {}: allowed is 1 to {SNAPLEN_MAX}", self.snaplen));
        }
        if !RING_BYTES.contains(&self.ring_bytes) {
            return Err(format!("ring = {}: allowed is {} to {}", self.ring_bytes, RING_BYTES.start(), RING_BYTES.end()));
        }
        let filter = TapFilter { kinds: self.filter.kinds, received: self.filter.received, sent: self.filter.sent };
        Ok(TapSettings { opened: self.opened, snaplen: self.snaplen as usize, ring_bytes: self.ring_bytes as usize, filter, reactor })
    }
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the validator's program.
    pub version: String,
    /// Chain id, hexadecimal.
    pub chain: String,
    /// Seat of the validator.
    pub seat: u16,
    /// Where its datagram port is.
    pub local: SocketAddr,
    /// Rung of that port.
    pub rung: String,
    /// Datagram addresses of all seats.
    pub addresses: Vec<SocketAddr>,
}

/// The answer's line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// Records follow.
    Hello(Hello),
    /// Nothing follows.
    Error {
        /// Why.
        error: String,
    },
}

/// What the record that ends a capture says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWord {
    /// Records lost since the beginning.
    pub lost: u64,
    /// The capture took nothing for too long.
    pub evicted: bool,
}

impl LastWord {
    /// As it travels.
    pub fn record(self) -> RecordHeader {
        RecordHeader { direction: END, unix_ns: U64::new(self.lost), reason: u8::from(self.evicted), ..RecordHeader::new_zeroed() }
    }

    /// Back; None for any other record.
    pub fn of(header: &RecordHeader) -> Option<LastWord> {
        (header.direction == END).then(|| LastWord { lost: header.unix_ns.get(), evicted: header.reason == 1 })
    }
}

/// A record at the front of `bytes` and its whole length; None if it is not complete. Err: no record can begin like this.
pub fn split_record(bytes: &[u8]) -> Result<Option<(RecordHeader, &[u8])>, String> {
    let Ok((header, rest)) = RecordHeader::read_from_prefix(bytes) else { return Ok(None) };
    let stored = header.stored.get() as usize;
    if stored > SNAPLEN_MAX {
        return Err(format!("a record of {stored} B from the validator"));
    }
    Ok(rest.get(..stored).map(|datagram| (header, datagram)))
}

/// Bytes of a record in the stream.
pub fn record_bytes(datagram: &[u8]) -> usize {
    RECORD_BYTES + datagram.len()
}
