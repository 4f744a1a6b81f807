//! A tap between port and sessions: what a reactor receives and sends, copied for somebody who looks on.
//!
//! ```text
//! port.rx_burst -> [copy] -> sessions.open -> class admission -> [record: peer, kind, verdict, sealed or opened bytes] --+
//! outbox: message -> [copy] -> seal -> [record, opened view] -> queue -> [record, sealed view] -> port.tx                 |
//! send shard: the same without the queue; each shard has a tap of its own                                               |
//!                                                     bounded ring of bytes, whole records <-----------------------------+
//!                                                     another thread <- TapReader
//! ```
//! On AF_XDP the kernel never sees a datagram, so `tcpdump` sees none; and no rung shows it what a session made of one.
//!
//! Invariants
//! - Off, a datagram costs one predictable branch. On, it costs copies and a clock; nothing is allocated and nothing is waited for.
//! - A full ring loses the record, never a datagram; each record says how many were lost before it.
//! - A record is whole or absent. Keys are in none; plaintext is only in records of the opened view, which the owner of the tap asks for.
//! - A reader that goes away, however it does, turns the tap off at the next housekeeping.

mod reader;
mod record;

#[cfg(test)]
mod tests;

pub use reader::{TapBusy, TapHandle, TapReader};
pub use record::{Direction, NO_PEER, OPENED, RECORD_BYTES, RecordHeader, TRAILER_BYTES, Trailer, Verdict};

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use samara_types::datagram::{INNER_HEADER_BYTES, OUTER_HEADER_BYTES, TAG_BYTES};
use samara_types::{Class, MessageKind, ValidatorIndex};
use zerocopy::IntoBytes;

use crate::class::ClassReject;
use crate::session::{DropReason, Opened};
use reader::Slot;

/// Most bytes of a datagram in a record: no frame is longer.
pub const SNAPLEN_MAX: usize = 2048;
/// Where the message begins.
const MESSAGE_AT: usize = OUTER_HEADER_BYTES + INNER_HEADER_BYTES;
/// Where the version stands in the outer header.
const VERSION_AT: usize = 1;

/// What to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapSettings {
    /// Messages in the clear instead of datagrams as they travel.
    pub opened: bool,
    /// Bytes kept of a datagram, 1 to [`SNAPLEN_MAX`].
    pub snaplen: usize,
    /// Size of the ring.
    pub ring_bytes: usize,
    /// Which datagrams.
    pub filter: TapFilter,
    /// Number of the reactor in the records.
    pub reactor: u8,
}

/// Which datagrams are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapFilter {
    /// Bit n: messages of the kind with byte n. [`Self::SESSION`] and [`Self::DROPPED`] besides.
    pub kinds: u64,
    /// Received ones.
    pub received: bool,
    /// Sent ones.
    pub sent: bool,
}

impl TapFilter {
    /// Handshakes, cookies and keepalives.
    pub const SESSION: u64 = 1;
    /// What the session layer dropped, for whatever reason.
    pub const DROPPED: u64 = 1 << 63;
    /// Everything.
    pub const ALL: TapFilter = TapFilter { kinds: u64::MAX, received: true, sent: true };

    /// The bit of a kind.
    pub fn kind(kind: MessageKind) -> u64 {
        1 << (kind as u8)
    }

    /// The bits of a class.
    pub fn class(class: Class) -> u64 {
        MessageKind::ALL.iter().filter(|kind| kind.class() == class).fold(0, |bits, kind| bits | Self::kind(*kind))
    }
}

/// A reactor's end of its tap.
#[derive(Default)]
pub struct Tap {
    active: Option<Box<Active>>,
    slot: Arc<Slot>,
}

impl Tap {
    /// For other threads, to attach a reader.
    pub fn handle(&self) -> TapHandle {
        TapHandle(Arc::clone(&self.slot))
    }

    /// Takes a reader that was attached, lets one go that is gone. Part of housekeeping.
    pub fn refresh(&mut self) {
        if let Some(next) = self.slot.take() {
            self.active = Some(next);
        }
        if self.active.as_ref().is_some_and(|active| active.producer.is_abandoned()) {
            self.active = None;
        }
    }

    /// A datagram came, and is about to be opened in place.
    #[inline]
    pub fn arriving(&mut self, datagram: &[u8]) {
        if let Some(active) = &mut self.active {
            active.keep(datagram);
        }
    }

    /// What became of the datagram last given to [`Self::arriving`].
    #[inline]
    pub fn arrived(&mut self, from: SocketAddr, datagram: &[u8], opened: Opened, refused: Option<ClassReject>) {
        if let Some(active) = &mut self.active {
            active.arrived(from, datagram, opened, refused);
        }
    }

    /// A message is about to be sealed, perhaps in place.
    #[inline]
    pub fn sealing(&mut self, message: &[u8]) {
        if let Some(active) = &mut self.active
            && active.settings.opened
        {
            active.write(MESSAGE_AT, message);
        }
    }

    /// The message last given to [`Self::sealing`] is sealed for `peer`; `datagram` is the result.
    #[inline]
    pub fn sealed(&mut self, to: SocketAddr, peer: ValidatorIndex, kind: MessageKind, datagram: &[u8]) {
        if let Some(active) = &mut self.active
            && active.settings.opened
        {
            active.sealed(to, peer, kind, datagram);
        }
    }

    /// A sealed message is handed to the port.
    #[inline]
    pub fn leaving(&mut self, to: SocketAddr, peer: ValidatorIndex, kind: MessageKind, datagram: &[u8]) {
        if let Some(active) = &mut self.active
            && !active.settings.opened
        {
            active.leaving(to, Some((peer, kind)), datagram);
        }
    }

    /// A datagram of the session layer itself is handed to the port.
    #[inline]
    pub fn leaving_session(&mut self, to: SocketAddr, datagram: &[u8]) {
        if let Some(active) = &mut self.active {
            active.leaving(to, None, datagram);
        }
    }
}

/// A tap somebody reads.
struct Active {
    settings: TapSettings,
    producer: rtrb::Producer<u8>,
    /// A record under construction: header, then the datagram.
    scratch: Box<[u8; RECORD_BYTES + SNAPLEN_MAX]>,
    /// Since the last record that fitted.
    lost_since: u32,
    lost: Arc<AtomicU64>,
    zero: Instant,
    zero_unix_ns: u64,
}

impl Active {
    fn new(settings: TapSettings, producer: rtrb::Producer<u8>, lost: Arc<AtomicU64>) -> Active {
        assert!((1..=SNAPLEN_MAX).contains(&settings.snaplen), "a snap length of 1 to {SNAPLEN_MAX}");
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let scratch = Box::new([0; RECORD_BYTES + SNAPLEN_MAX]);
        Active { settings, producer, scratch, lost_since: 0, lost, zero: Instant::now(), zero_unix_ns: unix }
    }

    fn keep(&mut self, datagram: &[u8]) {
        self.write(0, datagram);
    }

    /// Puts bytes at `at` of the datagram in the record, as far as there is room.
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let at = at.min(SNAPLEN_MAX);
        let len = bytes.len().min(SNAPLEN_MAX - at);
        self.scratch[RECORD_BYTES + at..][..len].copy_from_slice(&bytes[..len]);
    }

    #[cold]
    fn arrived(&mut self, from: SocketAddr, datagram: &[u8], opened: Opened, refused: Option<ClassReject>) {
        let (bit, verdict, reason, kind, peer) = match (opened, refused) {
            (Opened::Message { peer, kind, .. }, None) => (TapFilter::kind(kind), Verdict::Message, 0, kind as u8, peer.0),
            (Opened::Message { peer, kind, .. }, Some(reason)) => {
                (TapFilter::kind(kind), Verdict::Refused, reason as u8, kind as u8, peer.0)
            }
            (Opened::Consumed, _) => (TapFilter::SESSION, Verdict::Session, 0, 0, NO_PEER),
            (Opened::Dropped(reason), _) => (TapFilter::DROPPED, Verdict::Dropped, reason as u8, 0, NO_PEER),
        };
        if !self.settings.filter.received || self.settings.filter.kinds & bit == 0 {
            return;
        }
        if self.settings.opened
            && let Opened::Message { start, len, .. } = opened
        {
            self.write(OUTER_HEADER_BYTES, &datagram[OUTER_HEADER_BYTES..start + len]);
            self.mark_opened(start + len, Trailer::new(peer, verdict, reason));
        }
        self.push(Direction::Received, from, datagram.len(), RecordHeader::about(peer, kind, verdict, reason));
    }

    #[cold]
    fn sealed(&mut self, to: SocketAddr, peer: ValidatorIndex, kind: MessageKind, datagram: &[u8]) {
        if !self.settings.filter.sent || self.settings.filter.kinds & TapFilter::kind(kind) == 0 {
            return;
        }
        self.write(0, &datagram[..OUTER_HEADER_BYTES]);
        self.write(OUTER_HEADER_BYTES, &[kind as u8, 0, 0, 0]);
        self.mark_opened(datagram.len() - TAG_BYTES, Trailer::new(peer.0, Verdict::Message, 0));
        self.push(Direction::Sent, to, datagram.len(), RecordHeader::about(peer.0, kind as u8, Verdict::Message, 0));
    }

    #[cold]
    fn leaving(&mut self, to: SocketAddr, message: Option<(ValidatorIndex, MessageKind)>, datagram: &[u8]) {
        let (bit, about) = match message {
            Some((peer, kind)) => (TapFilter::kind(kind), RecordHeader::about(peer.0, kind as u8, Verdict::Message, 0)),
            None => (TapFilter::SESSION, RecordHeader::about(NO_PEER, 0, Verdict::Session, 0)),
        };
        if self.settings.filter.sent && self.settings.filter.kinds & bit != 0 {
            self.write(0, datagram);
            self.push(Direction::Sent, to, datagram.len(), about);
        }
    }

    /// The tag, which proves nothing any more, gives its place to what the session knew; the record keeps the datagram's length.
    fn mark_opened(&mut self, end: usize, trailer: Trailer) {
        self.scratch[RECORD_BYTES + VERSION_AT] |= OPENED;
        self.write(end, trailer.as_bytes());
    }

    fn push(&mut self, direction: Direction, peer_address: SocketAddr, wire_len: usize, about: RecordHeader) {
        let stored = wire_len.min(self.settings.snaplen);
        let unix_ns = self.zero_unix_ns.saturating_add(u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let header = about.complete(direction, self.settings.reactor, peer_address, [stored, wire_len], unix_ns, self.lost_since);
        self.scratch[..RECORD_BYTES].copy_from_slice(header.as_bytes());
        if self.producer.push_entire_slice(&self.scratch[..RECORD_BYTES + stored]).is_ok() {
            self.lost_since = 0;
        } else {
            self.lost_since = self.lost_since.saturating_add(1);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const _: () = assert!(TRAILER_BYTES == TAG_BYTES, "an opened datagram is as long as it was sealed");
const _: () = assert!(DropReason::COUNT < 256);
