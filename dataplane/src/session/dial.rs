//! Timers of the sessions: dialling with back-off, confirming, keepalives, rekeying, expiry.
//!
//! ```text
//! no session, peer unheard, or session old -> dial: init, back-off, init, ... -> response -> sending session
//! answered an init -> unconfirmed session -> first authentic datagram -> sending session
//! replaced session -> unheard for the grace time, or past its lifetime -> dropped
//! ```

use std::net::SocketAddr;

use samara_types::{Nanos, ValidatorIndex};

use super::link::Link;
use super::table::State;
use super::transport::Transport;
use super::wire::{self, COOKIE_BYTES, INIT_BYTES, Mac, RESPONSE_BYTES};
use super::{KEEPALIVE, SESSIONS_PER_PEER, Sessions};

const NEVER: Nanos = Nanos(u64::MAX);
/// Answers to one init that are worth a Diffie-Hellman.
const RESPONSES_TRIED_MAX: u8 = 4;
/// Confirmations sent at the pace of `retry_first` before only keepalives go on.
const CONFIRMS_MAX: u8 = 8;

/// A datagram of the session layer itself, waiting to be sent.
pub(super) struct Reply {
    to: SocketAddr,
    len: usize,
    bytes: [u8; RESPONSE_BYTES],
}

impl Reply {
    pub fn response(to: SocketAddr, bytes: [u8; RESPONSE_BYTES]) -> Reply {
        Reply { to, len: RESPONSE_BYTES, bytes }
    }

    pub fn cookie(to: SocketAddr, cookie: [u8; COOKIE_BYTES]) -> Reply {
        let mut bytes = [0; RESPONSE_BYTES];
        bytes[..COOKIE_BYTES].copy_from_slice(&cookie);
        Reply { to, len: COOKIE_BYTES, bytes }
    }
}

/// Our handshake with a peer.
#[derive(Clone, Copy)]
struct Dial {
    /// When the first init went out, or will.
    began: Nanos,
    /// Inits sent.
    attempts: u32,
    /// Next init.
    next: Nanos,
    /// When the last init went out.
    sent: Nanos,
    /// Index and mac of the last init.
    last: Option<(u32, Mac)>,
    /// Answers to it that were computed.
    responses_tried: u8,
    /// It went out without a cookie, so the first cookie for it repeats it at once. At most once: whoever sees our inits could otherwise
    /// drive us to compute without pause.
    repeatable: bool,
}

/// One validator of the set as a session peer.
pub(super) struct Peer {
    key: [u8; 32],
    pub address: SocketAddr,
    pub mac_key: [u8; 32],
    /// Our public key is the lower one.
    lower: bool,
    /// Largest stamp of an init that was answered.
    pub stamp: u64,
    /// Largest stamp sent.
    stamp_sent: u64,
    cookie: Option<(Mac, Nanos)>,
    /// Indexes of established sessions.
    sessions: [Option<u32>; SESSIONS_PER_PEER],
    /// The one messages are sealed under.
    pub sending: Option<u32>,
    /// The sending session that has sealed enough, once that was noticed.
    pub worn: Option<u32>,
    dial: Option<Dial>,
    pub last_sent: Nanos,
    last_heard: Nanos,
    silent: bool,
    /// Confirmations sent under the sending session, until something is heard under it.
    confirms: u8,
    keepalive_due: bool,
    /// Newest round trip, and what sessions that ended counted.
    pub link: Link,
}

impl Peer {
    pub fn new(key: [u8; 32], address: SocketAddr, mac_key: [u8; 32], lower: bool) -> Peer {
        Peer {
            key,
            address,
            mac_key,
            lower,
            stamp: 0,
            stamp_sent: 0,
            cookie: None,
            sessions: [None; SESSIONS_PER_PEER],
            sending: None,
            worn: None,
            dial: None,
            last_sent: Nanos(0),
            last_heard: Nanos(0),
            silent: true,
            confirms: 0,
            keepalive_due: false,
            link: Link::default(),
        }
    }

    /// Indexes of established sessions.
    pub fn sessions(&self) -> impl Iterator<Item = u32> {
        self.sessions.into_iter().flatten()
    }

    pub fn is_up(&self) -> bool {
        self.sending.is_some() && !self.silent
    }

    /// Whether a handshake of ours is under way that counts more than the peer's.
    pub fn wins_tie(&self, now: Nanos, tie: Nanos) -> bool {
        self.lower && self.dial.is_some_and(|dial| dial.attempts > 0 && now.since(dial.began) < tie)
    }

    /// Counts one answer to our last init.
    pub fn may_try_response(&mut self) -> bool {
        let Some(dial) = &mut self.dial else { return false };
        dial.responses_tried = dial.responses_tried.saturating_add(1);
        dial.responses_tried <= RESPONSES_TRIED_MAX
    }

    /// Takes a cookie that answers our last init; one that went out without a cookie is repeated at once.
    pub fn take_cookie(&mut self, now: Nanos, index: u32, cookie: &[u8], answered: &[u8]) -> bool {
        let Some(dial) = &mut self.dial else { return false };
        let expected = dial.last.is_some_and(|(last, mac)| last == index && wire::same(&mac, answered));
        if !expected {
            return false;
        }
        if std::mem::take(&mut dial.repeatable) {
            dial.next = dial.next.min(now);
        }
        self.cookie = cookie.try_into().ok().map(|cookie| (cookie, now));
        true
    }
}

impl Sessions {
    /// The next datagram of the session layer, written into `out` (at least a datagram long). Call until None.
    pub fn poll_transmit(&mut self, now: Nanos, out: &mut [u8]) -> Option<(SocketAddr, usize)> {
        if let Some(reply) = self.replies.pop_front() {
            out[..reply.len].copy_from_slice(&reply.bytes[..reply.len]);
            return Some((reply.to, reply.len));
        }
        if now < self.next_scan {
            return None;
        }
        while self.cursor < self.peers.len() {
            let peer = ValidatorIndex(self.cursor as u16);
            if peer != self.me {
                if let Some(sent) = self.service(now, peer, out) {
                    return Some(sent);
                }
                self.soonest = self.soonest.min(self.deadline_of(now, peer));
            }
            self.cursor += 1;
        }
        self.cursor = 0;
        self.next_scan = std::mem::replace(&mut self.soonest, NEVER);
        None
    }

    /// When [`Self::poll_transmit`] has something to do; None: only after the next datagram.
    pub fn next_deadline(&self) -> Option<Nanos> {
        if !self.replies.is_empty() || self.cursor > 0 {
            return Some(Nanos(0));
        }
        (self.next_scan != NEVER).then_some(self.next_scan)
    }

    pub(super) fn wake_at(&mut self, when: Nanos) {
        self.next_scan = self.next_scan.min(when);
        self.soonest = self.soonest.min(when);
    }

    /// Authentic data came under session `index`.
    pub(super) fn heard(&mut self, now: Nanos, peer: ValidatorIndex, index: u32, confirms: bool) {
        let state = &mut self.peers[peer.at()];
        state.last_heard = now;
        state.silent = false;
        if confirms {
            let transport = self.table.live_mut(index).expect("it was just used");
            transport.confirmed = true;
            self.peers[peer.at()].link.round_trip = Some(now.since(transport.born));
            self.promote(peer, index);
            // The initiator repeats its confirmation until it hears something under the new session.
            self.peers[peer.at()].keepalive_due = true;
            self.wake_at(now);
        }
    }

    /// A session that answers a peer's init: it may receive; it sends when confirmed. At most one per peer waits for that.
    pub(super) fn install_unconfirmed(&mut self, now: Nanos, peer: ValidatorIndex, index: u32, transport: Transport) {
        let waiting =
            self.peers[peer.at()].sessions.into_iter().flatten().find(|index| self.table.live(*index).is_some_and(|old| !old.confirmed));
        if let Some(waiting) = waiting {
            self.forget(peer, waiting);
        }
        self.table.insert(index, peer, State::Live(Box::new(transport)));
        self.attach(peer, index);
        // Our own handshake waits for this one, not for ever: the init may have been replayed.
        if let Some(dial) = &mut self.peers[peer.at()].dial {
            dial.next = dial.next.max(now.after(self.limits.tie));
        }
        self.wake_at(now);
    }

    /// A session that answers our init.
    pub(super) fn install_dialed(&mut self, now: Nanos, peer: ValidatorIndex, index: u32, transport: Transport) {
        self.table.remove(index);
        self.table.insert(index, peer, State::Live(Box::new(transport)));
        self.attach(peer, index);
        let state = &mut self.peers[peer.at()];
        state.link.round_trip = state.dial.take().map(|dial| now.since(dial.sent)).or(state.link.round_trip);
        state.last_heard = now;
        state.silent = false;
        state.confirms = 0;
        state.keepalive_due = true;
        self.promote(peer, index);
        self.wake_at(now);
    }

    fn promote(&mut self, peer: ValidatorIndex, index: u32) {
        self.counters.sessions_established += 1;
        self.peers[peer.at()].sending = Some(index);
        self.legs_changed = true;
    }

    /// Gives the session a place; the longest unheard one that is not in use for sending yields.
    fn attach(&mut self, peer: ValidatorIndex, index: u32) {
        let state = &self.peers[peer.at()];
        let free = state.sessions.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            let heard = |index: u32| self.table.live(index).map_or(NEVER, |session| session.heard.unwrap_or(session.born));
            let replaceable = state.sessions.iter().enumerate().filter(|(_, held)| **held != state.sending);
            replaceable.min_by_key(|(_, held)| held.map(heard)).expect("one of four places is not the sending one").0
        });
        if let Some(old) = self.peers[peer.at()].sessions[slot].replace(index) {
            self.close(peer, old);
        }
    }

    /// Ends an established session and keeps what it counted.
    fn close(&mut self, peer: ValidatorIndex, index: u32) {
        if let Some(session) = self.table.live(index) {
            self.peers[peer.at()].link.add(session.tally());
        }
        self.table.remove(index);
    }

    fn forget(&mut self, peer: ValidatorIndex, index: u32) {
        self.close(peer, index);
        let state = &mut self.peers[peer.at()];
        state.sessions.iter_mut().filter(|held| **held == Some(index)).for_each(|held| *held = None);
        if state.sending == Some(index) {
            state.sending = None;
            self.legs_changed = true;
        }
    }

    /// Does what is due for one peer; a datagram at most.
    fn service(&mut self, now: Nanos, peer: ValidatorIndex, out: &mut [u8]) -> Option<(SocketAddr, usize)> {
        self.expire(now, peer);
        let state = &mut self.peers[peer.at()];
        state.silent = state.sending.is_none() || now.since(state.last_heard) >= self.limits.dead_after;
        if now >= self.dial_wanted_at(peer) {
            // The side that sees a live session grow old dials at once; both would at a start, after a loss or a restart.
            let at_once = self.peers[peer.at()].lower || self.peers[peer.at()].is_up();
            let wait = if at_once { Nanos(0) } else { self.limits.stagger };
            self.peers[peer.at()].dial.get_or_insert(Dial {
                began: now.after(wait),
                attempts: 0,
                next: now.after(wait),
                sent: now,
                last: None,
                responses_tried: 0,
                repeatable: false,
            });
        } else if let Some(Dial { last: Some((index, _)), .. }) = self.peers[peer.at()].dial.take() {
            self.table.remove(index);
        }
        if self.peers[peer.at()].dial.is_some_and(|dial| now >= dial.next) {
            return Some(self.send_init(now, peer, out));
        }
        if now >= self.keepalive_at(peer) {
            return self.send_keepalive(now, peer, out);
        }
        None
    }

    fn deadline_of(&self, now: Nanos, peer: ValidatorIndex) -> Nanos {
        let state = &self.peers[peer.at()];
        let dial = state.dial.map_or_else(|| self.dial_wanted_at(peer), |dial| dial.next);
        let silence = if state.is_up() { state.last_heard.after(self.limits.dead_after) } else { NEVER };
        let expiry = state.sessions.iter().flatten().map(|index| self.expires_at(peer, *index)).min().unwrap_or(NEVER);
        let next = dial.min(self.keepalive_at(peer)).min(silence).min(expiry);
        next.max(Nanos(now.0.saturating_add(1)))
    }

    /// When a new handshake is due: at once without a session or for an unheard peer, later for an old session.
    fn dial_wanted_at(&self, peer: ValidatorIndex) -> Nanos {
        let state = &self.peers[peer.at()];
        let Some(transport) = state.sending.and_then(|index| self.table.live(index)) else { return Nanos(0) };
        if transport.sealed() >= self.limits.rekey_messages {
            return Nanos(0);
        }
        // The initiator replaces its session; the other side only if that does not happen.
        let patience = if transport.initiator { 0 } else { self.limits.rekey_after.0 / 8 };
        let aged = transport.born.after(self.limits.rekey_after).after(Nanos(patience));
        aged.min(state.last_heard.after(self.limits.dead_after))
    }

    fn expires_at(&self, peer: ValidatorIndex, index: u32) -> Nanos {
        let Some(transport) = self.table.live(index) else { return Nanos(0) };
        let end = transport.born.after(self.limits.lifetime);
        if self.peers[peer.at()].sending == Some(index) {
            return end;
        }
        end.min(transport.heard.unwrap_or(transport.born).after(self.limits.grace))
    }

    fn expire(&mut self, now: Nanos, peer: ValidatorIndex) {
        for index in self.peers[peer.at()].sessions.into_iter().flatten() {
            if now >= self.expires_at(peer, index) {
                self.forget(peer, index);
            }
        }
    }

    fn keepalive_at(&self, peer: ValidatorIndex) -> Nanos {
        let state = &self.peers[peer.at()];
        let Some(transport) = state.sending.and_then(|index| self.table.live(index)) else { return NEVER };
        if state.keepalive_due {
            return Nanos(0);
        }
        let unconfirmed = transport.initiator && transport.heard.is_none() && state.confirms < CONFIRMS_MAX;
        state.last_sent.after(if unconfirmed { self.limits.retry_first } else { self.limits.keepalive })
    }

    fn send_keepalive(&mut self, now: Nanos, peer: ValidatorIndex, out: &mut [u8]) -> Option<(SocketAddr, usize)> {
        let state = &mut self.peers[peer.at()];
        state.keepalive_due = false;
        state.last_sent = now;
        state.confirms = state.confirms.saturating_add(1);
        let transport = state.sending.and_then(|index| self.table.live(index))?;
        let len = transport.seal(self.limits.reject_messages, KEEPALIVE, &[], out)?;
        Some((state.address, len))
    }

    fn send_init(&mut self, now: Nanos, peer: ValidatorIndex, out: &mut [u8]) -> (SocketAddr, usize) {
        let index = self.table.free_index(&mut self.rng);
        let jitter = self.rng.below(self.limits.retry_first.0 / 4);
        let state = &mut self.peers[peer.at()];
        let stamp = self.boot_ns.saturating_add(now.0).max(state.stamp_sent.saturating_add(1));
        state.stamp_sent = stamp;
        let noise = self.identity.initiate(&state.key, stamp, index, out);
        let cookie = state.cookie.filter(|(_, taken)| now.since(*taken) < self.limits.grace).map(|(cookie, _)| cookie);
        let mac = wire::finish_init(&state.mac_key, index, &cookie.unwrap_or_default(), out);
        let dial = state.dial.as_mut().expect("only a dial sends inits");
        let pause = self.limits.retry_first.0.saturating_mul(1 << dial.attempts.min(20)).min(self.limits.retry_max.0);
        if let Some((old, _)) = dial.last.replace((index, mac)) {
            self.table.remove(old);
        }
        dial.attempts = dial.attempts.saturating_add(1);
        dial.next = now.after(Nanos(pause + jitter));
        dial.sent = now;
        dial.responses_tried = 0;
        dial.repeatable = cookie.is_none();
        let address = state.address;
        self.table.insert(index, peer, State::Dialing(Box::new(noise)));
        self.counters.inits_sent += 1;
        (address, INIT_BYTES)
    }
}
