//! Sessions: Noise IK between the validators of the set, sealed datagrams, and a gate in front (DESIGN §3; dataplane.md §3.2).
//!
//! ```text
//! data     : header -> index -> counter limit -> replay window -> AEAD in place -> inner header -> Message | keepalive
//! init     : header, length -> mac -> gate (buckets, cookie) -> Diffie-Hellman -> key in set -> fingerprint -> stamp -> answer
//! response : header, length -> mac -> index of our handshake -> Diffie-Hellman -> session, confirmed by a keepalive
//! ```
//! A pure machine: time, seed and datagrams come in, datagrams go out into the caller's buffers.
//!
//! Invariants
//! - Nothing before the Diffie-Hellman of a gated handshake allocates; all state is bounded by the size of the set.
//! - A peer has one sending session. A responder sends under a new session only after authentic data came under it, so a replayed init
//!   changes nothing that works. A replaced session stays open for receiving until it was unheard for the grace time.
//! - Both sides may dial at once: the handshake of the lower public key counts. The rule ends after `tie`, so it can delay but never stop a
//!   link. If both finish nevertheless, both sessions work; each side keeps what it hears under.
//! - Peers live at the addresses of the set; a datagram's source address serves the gate and cookies only.
//! - received = messages + consumed + sum of dropped.

mod config;
mod dial;
mod directory;
mod gate;
mod handshake;
mod link;
mod reason;
mod rng;
mod table;
mod transport;
mod window;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

pub use config::{SessionConfig, SessionLimits};
pub use directory::{Directory, Leg, Legs};
pub use gate::GateLimits;
pub use link::Link;
pub use reason::{DropReason, SealError};
pub use transport::{Cipher, CipherSet};
pub use window::WINDOW as REPLAY_WINDOW;
pub use wire::{COOKIE_BYTES, INIT_BYTES, MAC_BYTES, NOISE_INIT_BYTES, NOISE_RESPONSE_BYTES, RESPONSE_BYTES};

use dial::{Peer, Reply};
use directory::inner_header;
use gate::{Gate, Verdict};
use handshake::Identity;
use rng::Rng;
use samara_types::datagram::{
    DATAGRAM_BYTES_MAX, DATAGRAM_VERSION, DatagramType, INNER_HEADER_BYTES, OUTER_HEADER_BYTES, OuterHeader, TAG_BYTES,
};
use samara_types::{MessageKind, Nanos, ValidatorIndex};
use table::{State, Table};
use transport::Transport;
use zerocopy::FromBytes;

/// Bytes that sealing adds to a message.
pub const SEAL_BYTES: usize = OUTER_HEADER_BYTES + INNER_HEADER_BYTES + TAG_BYTES;
/// First byte behind the session of a keepalive; no [`MessageKind`] has it.
const KEEPALIVE: [u8; INNER_HEADER_BYTES] = [0; INNER_HEADER_BYTES];
/// Sessions a peer may hold: sending, replaced, unconfirmed, and one spare for a crossing.
const SESSIONS_PER_PEER: usize = 4;
/// Responses and cookies waiting to be sent.
const REPLIES_MAX: usize = 256;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The message lies in the datagram at `start..start + len`.
    Message {
        /// Its authenticated sender.
        peer: ValidatorIndex,
        /// What it is.
        kind: MessageKind,
        /// Offset of its first byte.
        start: usize,
        /// Its bytes.
        len: usize,
    },
    /// It served the session layer itself.
    Consumed,
    /// It was dropped.
    Dropped(DropReason),
}

/// Counters of the session layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCounters {
    /// Datagrams given to [`Sessions::open`].
    pub received: u64,
    /// Of them, messages handed on.
    pub messages: u64,
    /// Of them, handshakes, cookies and keepalives.
    pub consumed: u64,
    /// Of them, dropped, by [`DropReason`].
    pub dropped: [u64; DropReason::COUNT],
    /// Handshake messages for which Diffie-Hellman was computed.
    pub handshakes_computed: u64,
    /// Handshake messages sent.
    pub inits_sent: u64,
    /// Sessions established.
    pub sessions_established: u64,
    /// Messages sealed.
    pub sealed: u64,
}

impl SessionCounters {
    /// Dropped for `reason`.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}

/// The sessions of one validator with all others.
pub struct Sessions {
    me: ValidatorIndex,
    limits: SessionLimits,
    boot_ns: u64,
    identity: Identity,
    mac_key: [u8; 32],
    peers: Vec<Peer>,
    by_key: HashMap<[u8; 32], ValidatorIndex>,
    by_address: HashMap<SocketAddr, ValidatorIndex>,
    table: Table,
    gate: Gate,
    replies: VecDeque<Reply>,
    rng: Rng,
    /// No peer has anything to do before this.
    next_scan: Nanos,
    /// The earliest deadline found by the scan under way, or reported since it began.
    soonest: Nanos,
    /// Where the scan under way stands.
    cursor: usize,
    counters: SessionCounters,
    /// For the threads that seal, if there are any.
    directory: Option<Arc<Directory>>,
    /// A sending session came or went since the directory was written.
    legs_changed: bool,
}

impl Sessions {
    /// Sessions for a configuration that was checked against the set: panics if `secret` is not the one of validator `me`, or on limits that
    /// contradict each other. `seed` comes from the operating system, or from a test.
    pub fn new(config: SessionConfig, seed: [u8; 32]) -> Sessions {
        config.limits.check();
        let own = x25519_dalek::x25519(config.secret, x25519_dalek::X25519_BASEPOINT_BYTES);
        assert!(
            config.peers.get(config.me.at()).is_some_and(|peer| peer.0 == own),
            "the session secret belongs to validator {}",
            config.me
        );
        let mut rng = Rng::new(seed);
        let count = config.peers.len();
        let index = |i: usize| ValidatorIndex(u16::try_from(i).expect("a set has at most 65,536 validators"));
        let mac_key = |key| wire::mac_key(&config.chain, key);
        Sessions {
            me: config.me,
            limits: config.limits,
            boot_ns: config.boot_ns,
            identity: Identity::new(&config.chain, config.secret, config.cluster_fingerprint, config.limits.ciphers),
            mac_key: mac_key(&own),
            peers: config.peers.iter().map(|(key, address)| Peer::new(*key, *address, mac_key(key), own < *key)).collect(),
            by_key: config.peers.iter().enumerate().map(|(i, peer)| (peer.0, index(i))).collect(),
            by_address: config.peers.iter().enumerate().map(|(i, peer)| (peer.1, index(i))).collect(),
            table: Table::new(count * (SESSIONS_PER_PEER + 1)),
            gate: Gate::new(config.limits.gate, rng.bytes32(), count),
            replies: VecDeque::with_capacity(REPLIES_MAX),
            rng,
            next_scan: Nanos(0),
            soonest: Nanos(u64::MAX),
            cursor: 0,
            counters: SessionCounters {
                received: 0,
                messages: 0,
                consumed: 0,
                dropped: [0; DropReason::COUNT],
                handshakes_computed: 0,
                inits_sent: 0,
                sessions_established: 0,
                sealed: 0,
            },
            directory: None,
            legs_changed: false,
        }
    }

    /// This validator.
    pub fn me(&self) -> ValidatorIndex {
        self.me
    }

    /// Validators of the set, this one included.
    pub fn validators(&self) -> usize {
        self.peers.len()
    }

    /// Counters since the start.
    pub fn counters(&self) -> &SessionCounters {
        &self.counters
    }

    /// Whether a session with `peer` exists and was heard lately.
    pub fn is_up(&self, peer: ValidatorIndex) -> bool {
        self.peers.get(peer.at()).is_some_and(Peer::is_up)
    }

    /// Peers that are up.
    pub fn up(&self) -> usize {
        self.peers.iter().filter(|peer| peer.is_up()).count()
    }

    /// The way from `peer`: round trip and what came of what it sent.
    pub fn link(&self, peer: ValidatorIndex) -> Link {
        let Some(state) = self.peers.get(peer.at()) else { return Link::default() };
        let mut link = state.link;
        state.sessions().filter_map(|index| self.table.live(index)).for_each(|session| link.add(session.tally()));
        link
    }

    /// Opens one datagram in place. Never panics, whatever it holds.
    pub fn open(&mut self, now: Nanos, from: SocketAddr, datagram: &mut [u8]) -> Opened {
        self.counters.received += 1;
        let opened = self.dispatch(now, from, datagram).unwrap_or_else(Opened::Dropped);
        match opened {
            Opened::Message { .. } => self.counters.messages += 1,
            Opened::Consumed => self.counters.consumed += 1,
            Opened::Dropped(reason) => self.counters.dropped[reason as usize] += 1,
        }
        opened
    }

    /// Seals `message` for `peer` into `out`; returns the datagram's length and destination. `out` needs [`SEAL_BYTES`] more than the message.
    pub fn seal(
        &mut self,
        now: Nanos,
        peer: ValidatorIndex,
        kind: MessageKind,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<(usize, SocketAddr), SealError> {
        self.can_seal(peer, kind, message.len())?;
        if message.len() + SEAL_BYTES > out.len() {
            return Err(SealError::TooLong);
        }
        let limit = self.limits.reject_messages;
        let len = self.sending(now, peer)?.seal(limit, inner_header(kind), message, out);
        self.notice_wear(now, peer);
        let len = len.ok_or(SealError::Exhausted)?;
        self.counters.sealed += 1;
        Ok((len, self.peers[peer.at()].address))
    }

    /// Accounts for a message that another thread seals, by the [`Self::directory`] as it is after this call.
    pub fn hand_over(&mut self, now: Nanos, peer: ValidatorIndex, kind: MessageKind, bytes: usize) -> Result<(), SealError> {
        self.can_seal(peer, kind, bytes)?;
        self.sending(now, peer)?;
        self.notice_wear(now, peer);
        self.counters.sealed += 1;
        if std::mem::take(&mut self.legs_changed)
            && let Some(directory) = &self.directory
        {
            directory.publish(self.legs());
        }
        Ok(())
    }

    /// What threads need that seal for these sessions. Current whenever [`Self::hand_over`] returned.
    pub fn directory(&mut self) -> Arc<Directory> {
        let legs = self.legs();
        Arc::clone(self.directory.get_or_insert_with(|| Arc::new(Directory::new(legs))))
    }

    fn legs(&self) -> Legs {
        let counter_max = self.limits.reject_messages;
        let leg = |peer: &Peer| {
            let sealer = Arc::clone(self.table.live(peer.sending?)?.sealer());
            Some(Leg { sealer, address: peer.address, counter_max })
        };
        self.peers.iter().map(leg).collect()
    }

    /// The session that a message to `peer` leaves under, now.
    fn sending(&mut self, now: Nanos, peer: ValidatorIndex) -> Result<&Transport, SealError> {
        let state = &mut self.peers[peer.at()];
        let transport = state.sending.and_then(|index| self.table.live(index)).ok_or(SealError::NoSession)?;
        state.last_sent = now;
        Ok(transport)
    }

    /// A session that has sealed enough is replaced: the scan is told once.
    fn notice_wear(&mut self, now: Nanos, peer: ValidatorIndex) {
        let state = &mut self.peers[peer.at()];
        let sealed = state.sending.and_then(|index| self.table.live(index)).map_or(0, Transport::sealed);
        if sealed >= self.limits.rekey_messages && state.worn != state.sending {
            state.worn = state.sending;
            self.wake_at(now);
        }
    }

    /// What [`Self::seal`] would refuse before it touches a buffer.
    pub fn can_seal(&self, peer: ValidatorIndex, kind: MessageKind, bytes: usize) -> Result<(), SealError> {
        if peer == self.me || peer.at() >= self.peers.len() {
            return Err(SealError::NoSuchPeer);
        }
        if bytes > kind.bytes_max() {
            return Err(SealError::TooLong);
        }
        if self.peers[peer.at()].sending.is_none() { Err(SealError::NoSession) } else { Ok(()) }
    }

    fn dispatch(&mut self, now: Nanos, from: SocketAddr, datagram: &mut [u8]) -> Result<Opened, DropReason> {
        let (header, _) = OuterHeader::read_from_prefix(datagram).map_err(|_| DropReason::TooShort)?;
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(DropReason::TooLong);
        }
        let kind = DatagramType::from_byte(header.kind).ok_or(DropReason::BadType)?;
        if header.version != DATAGRAM_VERSION {
            return Err(DropReason::BadVersion);
        }
        if header.reserved.get() != 0 {
            return Err(DropReason::BadHeader);
        }
        match kind {
            DatagramType::Data => self.open_data(now, &header, datagram),
            DatagramType::HandshakeInit => self.open_init(now, from, &header, datagram),
            DatagramType::HandshakeResponse => self.open_response(now, &header, datagram),
            DatagramType::Cookie => self.open_cookie(now, &header, datagram),
        }
    }

    fn open_data(&mut self, now: Nanos, header: &OuterHeader, datagram: &mut [u8]) -> Result<Opened, DropReason> {
        if datagram.len() < SEAL_BYTES {
            return Err(DropReason::TooShort);
        }
        let index = header.receiver.get();
        let entry = self.table.get_mut(index).ok_or(DropReason::UnknownSession)?;
        let State::Live(transport) = &mut entry.state else { return Err(DropReason::UnknownSession) };
        let text = transport.open(now, header, datagram)?;
        let (peer, confirms) = (entry.peer, !transport.confirmed);
        self.heard(now, peer, index, confirms);
        let inner = &datagram[OUTER_HEADER_BYTES..OUTER_HEADER_BYTES + text];
        if inner[1..INNER_HEADER_BYTES] != [0; INNER_HEADER_BYTES - 1] {
            return Err(DropReason::BadInner);
        }
        if inner == KEEPALIVE {
            return Ok(Opened::Consumed);
        }
        let kind = MessageKind::from_byte(inner[0]).ok_or(DropReason::UnknownKind)?;
        let start = OUTER_HEADER_BYTES + INNER_HEADER_BYTES;
        Ok(Opened::Message { peer, kind, start, len: text - INNER_HEADER_BYTES })
    }

    fn open_init(&mut self, now: Nanos, from: SocketAddr, header: &OuterHeader, datagram: &[u8]) -> Result<Opened, DropReason> {
        if datagram.len() != wire::INIT_BYTES {
            return Err(DropReason::BadLength);
        }
        let index = u32::try_from(header.counter.get()).map_err(|_| DropReason::BadHeader)?;
        if header.receiver.get() != 0 {
            return Err(DropReason::BadHeader);
        }
        let (covered, mac, cookie) = wire::split_init(datagram);
        if !wire::same(&wire::mac(&self.mac_key, covered), mac) {
            return Err(DropReason::BadMac);
        }
        if self.replies.len() >= REPLIES_MAX {
            return Err(DropReason::ReplyQueueFull);
        }
        let known = self.by_address.get(&from).map(|peer| peer.at());
        match self.gate.decide(now, from, known, cookie) {
            Verdict::Admit => self.answer_init(now, index, &covered[OUTER_HEADER_BYTES..]),
            Verdict::AskCookie(cookie) => {
                self.replies.push_back(Reply::cookie(from, wire::cookie(index, &cookie, mac)));
                Err(DropReason::CookieAsked)
            }
            Verdict::Refuse => Err(DropReason::HandshakeRate),
        }
    }

    fn answer_init(&mut self, now: Nanos, index: u32, noise: &[u8]) -> Result<Opened, DropReason> {
        self.counters.handshakes_computed += 1;
        let incoming = self.identity.read_init(noise)?;
        let peer = self.by_key.get(&incoming.key()).copied().filter(|peer| *peer != self.me).ok_or(DropReason::UnknownKey)?;
        if incoming.index() != index {
            return Err(DropReason::BadHandshake);
        }
        if !self.identity.is_same_cluster(&incoming) {
            return Err(DropReason::WrongCluster);
        }
        if incoming.stamp() <= self.peers[peer.at()].stamp {
            return Err(DropReason::ReplayedInit);
        }
        if self.peers[peer.at()].wins_tie(now, self.limits.tie) {
            return Err(DropReason::Simultaneous);
        }
        let own = self.table.free_index(&mut self.rng);
        let mut out = [0; wire::RESPONSE_BYTES];
        let stamp = incoming.stamp();
        let transport = self.identity.respond(incoming, own, now, &mut out)?;
        let state = &mut self.peers[peer.at()];
        state.stamp = stamp;
        wire::finish_response(&state.mac_key, index, &mut out);
        self.replies.push_back(Reply::response(state.address, out));
        self.install_unconfirmed(now, peer, own, transport);
        Ok(Opened::Consumed)
    }

    fn open_response(&mut self, now: Nanos, header: &OuterHeader, datagram: &[u8]) -> Result<Opened, DropReason> {
        if datagram.len() != wire::RESPONSE_BYTES {
            return Err(DropReason::BadLength);
        }
        if header.counter.get() != 0 {
            return Err(DropReason::BadHeader);
        }
        let (covered, mac) = datagram.split_at(wire::RESPONSE_BYTES - wire::MAC_BYTES);
        if !wire::same(&wire::mac(&self.mac_key, covered), mac) {
            return Err(DropReason::BadMac);
        }
        let index = header.receiver.get();
        let entry = self.table.get_mut(index).ok_or(DropReason::UnknownSession)?;
        let peer = entry.peer;
        let State::Dialing(noise) = &mut entry.state else { return Err(DropReason::UnknownSession) };
        if !self.peers[peer.at()].may_try_response() {
            return Err(DropReason::HandshakeRate);
        }
        self.counters.handshakes_computed += 1;
        let transport = self.identity.read_response(noise, &covered[OUTER_HEADER_BYTES..], now)?;
        self.install_dialed(now, peer, index, transport);
        Ok(Opened::Consumed)
    }

    fn open_cookie(&mut self, now: Nanos, header: &OuterHeader, datagram: &[u8]) -> Result<Opened, DropReason> {
        if datagram.len() != wire::COOKIE_BYTES {
            return Err(DropReason::BadLength);
        }
        let (cookie, answered) = datagram[OUTER_HEADER_BYTES..].split_at(wire::MAC_BYTES);
        let entry = self.table.get_mut(header.receiver.get()).ok_or(DropReason::UnexpectedCookie)?;
        let peer = entry.peer;
        if !self.peers[peer.at()].take_cookie(now, header.receiver.get(), cookie, answered) {
            return Err(DropReason::UnexpectedCookie);
        }
        self.wake_at(now);
        Ok(Opened::Consumed)
    }
}
