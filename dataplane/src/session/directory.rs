//! Under what and to where each peer's datagrams are sealed at the moment: what the sessions tell the send shards.
//!
//! Written by the thread of the sessions when a sending session comes or goes, which is seldom; read by a shard when the generation moved. A shard that
//! still seals under the session before loses nothing: its receiver keeps a replaced session while it is used.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use samara_types::MessageKind;
use samara_types::datagram::INNER_HEADER_BYTES;

use super::transport::{MESSAGE_AT, Sealer};

/// The way to one peer.
#[derive(Clone)]
pub struct Leg {
    pub(super) sealer: Arc<Sealer>,
    pub(super) address: SocketAddr,
    pub(super) counter_max: u64,
}

impl Leg {
    /// Seals the message that lies in `datagram` at [`Leg::MESSAGE_AT`]; returns the datagram's length and destination. None when the session's counters are
    /// spent. `datagram` is at least [`super::SEAL_BYTES`] longer than the message.
    pub fn seal(&self, kind: MessageKind, message_bytes: usize, datagram: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let inner = inner_header(kind);
        self.sealer.seal_in_place(self.counter_max, inner, message_bytes, datagram).map(|len| (len, self.address))
    }

    /// Where a message starts in its datagram.
    pub const MESSAGE_AT: usize = MESSAGE_AT;
}

pub(super) fn inner_header(kind: MessageKind) -> [u8; INNER_HEADER_BYTES] {
    [kind as u8, 0, 0, 0]
}

/// The ways to all peers by index; None for those without a session.
pub type Legs = Arc<[Option<Leg>]>;

/// The current legs, for other threads.
pub struct Directory {
    generation: AtomicU64,
    legs: Mutex<Legs>,
}

impl Directory {
    pub(super) fn new(legs: Legs) -> Directory {
        Directory { generation: AtomicU64::new(1), legs: Mutex::new(legs) }
    }

    pub(super) fn publish(&self, legs: Legs) {
        *self.legs.lock().unwrap_or_else(PoisonError::into_inner) = legs;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Brings a reader's copy up to date; `seen` is the generation it has (0 for none).
    pub fn refresh(&self, seen: &mut u64, legs: &mut Legs) {
        let generation = self.generation.load(Ordering::Acquire);
        if generation != *seen {
            // The lock may hold newer legs than the generation says; then they are read again next time.
            *legs = Arc::clone(&self.legs.lock().unwrap_or_else(PoisonError::into_inner));
            *seen = generation;
        }
    }
}
