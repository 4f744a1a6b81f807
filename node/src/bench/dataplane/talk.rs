//! What travels: bare messages, or messages sealed by the sessions of two validators.
//!
//! The handshakes are done in memory before a measurement, so that a row measures data only. The clock of the sessions starts with them.

use super::cases::Dress;
use samara_crypto::identity::SessionSecret;
use samara_dataplane::session::{Opened, SEAL_BYTES, SessionConfig, SessionLimits, Sessions};
use samara_types::datagram::DATAGRAM_BYTES_MAX;
use samara_types::{ChainId, Digest, MessageKind, Nanos, ValidatorIndex};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What every data message is: a shred, the bulk of real traffic.
pub const KIND: MessageKind = MessageKind::Shred;
/// Reactor time that handshakes take; the clock of a measurement starts behind it.
const INTRODUCTION: Duration = Duration::from_secs(2);

/// The zero of all clocks of one measurement.
#[derive(Clone, Copy)]
pub struct Era(Instant);

impl Era {
    /// Starts behind the introduction.
    pub fn start() -> Era {
        let now = Instant::now();
        Era(now.checked_sub(INTRODUCTION).unwrap_or(now))
    }

    /// Time since the zero.
    pub fn now(self) -> Nanos {
        Nanos(self.0.elapsed().as_nanos() as u64)
    }

    /// The zero.
    pub fn base(self) -> Instant {
        self.0
    }
}

/// One end's way to write and read a datagram.
pub enum Talk {
    /// The message is the datagram.
    Raw,
    /// Sealed for this peer, opened and replay-checked.
    Session(Box<Sessions>, ValidatorIndex),
}

impl Talk {
    /// Both ends, near first.
    pub fn pair(dress: Dress, addresses: [SocketAddr; 2]) -> [Talk; 2] {
        match dress {
            Dress::Raw => [Talk::Raw, Talk::Raw],
            Dress::Session => {
                let [near, far] = sessions(addresses);
                [Talk::Session(Box::new(near), ValidatorIndex(1)), Talk::Session(Box::new(far), ValidatorIndex(0))]
            }
        }
    }

    /// Writes `message` as a datagram into `out` and returns its length.
    ///
    /// The clock is read for sessions only: a bare datagram has no use for the time, and reading it costs as much as the rest.
    pub fn write(&mut self, now: impl FnOnce() -> Nanos, message: &[u8], out: &mut [u8]) -> usize {
        match self {
            Talk::Raw => {
                out[..message.len()].copy_from_slice(message);
                message.len()
            }
            Talk::Session(sessions, peer) => {
                sessions.seal(now(), *peer, KIND, message, out).expect("the session is up and the message fits").0
            }
        }
    }

    /// The message of a datagram; None for what is no message of the peer.
    pub fn read<'a>(&mut self, now: impl FnOnce() -> Nanos, from: SocketAddr, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        match self {
            Talk::Raw => Some(datagram).map(|datagram| &*datagram),
            Talk::Session(sessions, _) => match sessions.open(now(), from, datagram) {
                Opened::Message { start, len, .. } => Some(&datagram[start..start + len]),
                Opened::Consumed | Opened::Dropped(_) => None,
            },
        }
    }

    /// Bytes a datagram has beyond its message.
    pub fn overhead(dress: Dress) -> usize {
        if dress == Dress::Raw { 0 } else { SEAL_BYTES }
    }
}

fn secret(seat: usize) -> SessionSecret {
    // Not the first byte: X25519 clears its lowest bits, and seats would share a key.
    let mut bytes = [0x5a; 32];
    bytes[8..16].copy_from_slice(&(seat as u64).to_le_bytes());
    SessionSecret::from_bytes(&bytes)
}

/// A machine that knows `seats` (key number and address of each); it is the one at `me`.
fn machine(me: usize, seats: &[(usize, SocketAddr)]) -> Sessions {
    let config = SessionConfig {
        chain: ChainId([7; 32]),
        me: ValidatorIndex(me as u16),
        secret: *secret(seats[me].0).to_bytes(),
        peers: seats.iter().map(|(seat, address)| (secret(*seat).public_key(), *address)).collect(),
        cluster_fingerprint: Digest([7; 32]),
        boot_ns: 1,
        limits: SessionLimits::default(),
    };
    Sessions::new(config, [seats[me].0 as u8; 32])
}

/// Sessions of the two ends with each other.
pub fn sessions(addresses: [SocketAddr; 2]) -> [Sessions; 2] {
    let seats = [(0, addresses[0]), (1, addresses[1])];
    let mut hub = machine(0, &seats);
    let mut others = vec![(machine(1, &seats), addresses[1])];
    introduce(&mut hub, addresses[0], &mut others);
    [hub, others.remove(0).0]
}

/// A relay's sessions and those of its peers, each of whom knows the relay only. Peer `i` is validator `i + 1` of the relay.
pub fn star(relay: SocketAddr, peers: &[SocketAddr]) -> (Sessions, Vec<Sessions>) {
    let seats: Vec<_> = std::iter::once(relay).chain(peers.iter().copied()).enumerate().collect();
    let mut hub = machine(0, &seats);
    let mut others: Vec<_> = seats[1..].iter().map(|seat| (machine(1, &[seats[0], *seat]), seat.1)).collect();
    introduce(&mut hub, relay, &mut others);
    (hub, others.into_iter().map(|(machine, _)| machine).collect())
}

/// Carries handshakes between the hub and the others until all sessions are up and confirmed.
fn introduce(hub: &mut Sessions, address: SocketAddr, others: &mut [(Sessions, SocketAddr)]) {
    let mut out = [0; DATAGRAM_BYTES_MAX];
    for ms in 0..INTRODUCTION.as_millis() as u64 {
        let now = Nanos::from_millis(ms);
        while let Some((to, len)) = hub.poll_transmit(now, &mut out) {
            if let Some((other, _)) = others.iter_mut().find(|other| other.1 == to) {
                other.open(now, address, &mut out[..len]);
            }
        }
        for (other, at) in others.iter_mut() {
            while let Some((_, len)) = other.poll_transmit(now, &mut out) {
                hub.open(now, *at, &mut out[..len]);
            }
        }
    }
    let up = others.iter().filter(|(other, _)| other.up() == 1).count();
    assert_eq!((hub.up(), up), (others.len(), others.len()), "handshakes in memory succeed");
}
