//! The outbox: messages sealed straight into send frames, queued by class, Critical first.
//!
//! ```text
//! send -> frame (port; for Critical also the reserve; else the oldest Low, then the oldest Normal, then the oldest High of the queues)
//!      -> sealed in place -> queue of its class -> flush: Critical, then High, Normal, Low, with a share kept for what is not Critical -> port.tx
//!      -> Normal, if the reactor has send shards: to the shard of its slice
//! ```
//! Invariants: one copy per message and destination, no allocation; queues are bounded; a Critical message is given up only when the port,
//! the reserve and all queues below Critical are empty; every message given up is counted by class and reason.

use std::collections::VecDeque;
use std::net::SocketAddr;

use samara_types::{Class, MessageKind, Nanos, ValidatorIndex};

use super::shard::Lanes;
use crate::frame::Frame;
use crate::port::Port;
use crate::session::{Link, SealError, Sessions};
use crate::tap::Tap;

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unsent {
    /// No session with the peer yet; its handshake is under way.
    NoSession = 0,
    /// The peer is this validator or not in the set.
    NoSuchPeer = 1,
    /// Longer than its kind allows.
    TooLong = 2,
    /// The session's counters are spent.
    Exhausted = 3,
    /// No frame was free and nothing less urgent could give one.
    NoFrame = 4,
    /// Its class's queue was full, or a more urgent message took its frame: the oldest went.
    Displaced = 5,
}

impl Unsent {
    /// All reasons.
    pub const ALL: [Unsent; 6] =
        [Unsent::NoSession, Unsent::NoSuchPeer, Unsent::TooLong, Unsent::Exhausted, Unsent::NoFrame, Unsent::Displaced];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Unsent::NoSession => SealError::NoSession.as_str(),
            Unsent::NoSuchPeer => SealError::NoSuchPeer.as_str(),
            Unsent::TooLong => SealError::TooLong.as_str(),
            Unsent::Exhausted => SealError::Exhausted.as_str(),
            Unsent::NoFrame => "no_frame",
            Unsent::Displaced => "displaced",
        }
    }
}

impl From<SealError> for Unsent {
    fn from(error: SealError) -> Unsent {
        match error {
            SealError::NoSession => Unsent::NoSession,
            SealError::NoSuchPeer => Unsent::NoSuchPeer,
            SealError::TooLong => Unsent::TooLong,
            SealError::Exhausted => Unsent::Exhausted,
        }
    }
}

/// Sizes of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Datagrams queued per class, most urgent first; each holds a frame of the port.
    pub queued: [usize; 4],
    /// Frames only Critical messages may take when the port has none.
    pub reserve: usize,
    /// Datagrams handed to the port per pass. Smaller: a vote overtakes a block sooner; larger: fewer system calls.
    pub flush: usize,
    /// Of them, kept for what is not Critical.
    pub share: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        OutboxLimits { queued: [1024, 1024, 3072, 1024], reserve: 64, flush: 256, share: 32 }
    }
}

/// A sealed message waiting for the port.
struct Queued {
    frame: Frame,
    to: SocketAddr,
    peer: ValidatorIndex,
    kind: MessageKind,
}

/// What the outbox keeps between passes.
pub struct OutboxQueues {
    limits: OutboxLimits,
    queues: [VecDeque<Queued>; 4],
    reserve: Vec<Frame>,
    order: Vec<ValidatorIndex>,
    pub(super) lanes: Lanes,
    /// Messages handed to the port, by class.
    pub sent: [u64; 4],
    /// Messages given up, by class and reason.
    pub unsent: [[u64; Unsent::ALL.len()]; 4],
    /// Sees what is received and sent while somebody looks on.
    pub(super) tap: Tap,
}

impl OutboxQueues {
    /// Empty queues. `order`: whom a broadcast goes to, first to last (decreasing stake, this validator left out).
    pub fn new(limits: OutboxLimits, order: Vec<ValidatorIndex>) -> OutboxQueues {
        assert!(
            limits.queued.iter().all(|queued| *queued > 0) && limits.share < limits.flush,
            "queues hold something, Critical keeps a share"
        );
        OutboxQueues {
            limits,
            queues: limits.queued.map(VecDeque::with_capacity),
            reserve: Vec::with_capacity(limits.reserve),
            order,
            lanes: Lanes::default(),
            sent: [0; 4],
            unsent: [[0; Unsent::ALL.len()]; 4],
            tap: Tap::default(),
        }
    }

    /// Datagrams waiting.
    pub fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// Frames held: queued and reserved.
    pub fn held(&self) -> usize {
        self.waiting() + self.reserve.len()
    }

    /// Hands one pass's share of the queues to the port and refills the reserve. Returns how many datagrams went.
    pub fn flush(&mut self, port: &mut dyn Port) -> usize {
        let critical = self.limits.flush - self.limits.share.min(self.waiting() - self.queues[Class::Critical as usize].len());
        let mut left = self.limits.flush;
        for class in Class::ALL {
            let most = if class == Class::Critical { critical } else { left };
            left -= self.hand_over(class, most, port);
        }
        while self.reserve.len() < self.limits.reserve
            && let Some(frame) = port.tx_frame()
        {
            self.reserve.push(frame);
        }
        self.limits.flush - left
    }

    /// Gives all frames back to the port.
    pub fn clear(&mut self, port: &mut dyn Port) {
        let queued = self.queues.iter_mut().flat_map(|queue| queue.drain(..).map(|queued| queued.frame));
        queued.chain(self.reserve.drain(..)).for_each(|frame| port.release(frame));
    }

    fn hand_over(&mut self, class: Class, most: usize, port: &mut dyn Port) -> usize {
        let queue = &mut self.queues[class as usize];
        let count = most.min(queue.len());
        if count == 0 {
            return 0;
        }
        for Queued { frame, to, peer, kind } in queue.drain(..count) {
            self.tap.leaving(to, peer, kind, &frame);
            port.tx(frame, to);
        }
        self.sent[class as usize] += count as u64;
        count
    }

    /// A frame for a datagram of the session layer: from the port or from the reserve, so that a full outbox cannot starve a handshake.
    pub(super) fn control_frame(&mut self, port: &mut dyn Port) -> Option<Frame> {
        port.tx_frame().or_else(|| self.reserve.pop())
    }

    fn frame_for(&mut self, class: Class, port: &mut dyn Port) -> Option<Frame> {
        if let Some(frame) = port.tx_frame() {
            return Some(frame);
        }
        let reserved = if class == Class::Critical { self.reserve.pop() } else { None };
        reserved.or_else(|| self.displace(class))
    }

    /// Takes the frame of the oldest message that is less urgent than `class`, or as urgent (below Critical).
    fn displace(&mut self, class: Class) -> Option<Frame> {
        let victim = [Class::Low, Class::Normal, Class::High]
            .into_iter()
            .find(|victim| *victim >= class && !self.queues[*victim as usize].is_empty())?;
        let mut frame = self.queues[victim as usize].pop_front()?.frame;
        self.give_up(victim, Unsent::Displaced);
        frame.set_len(frame.capacity());
        Some(frame)
    }

    fn enqueue(&mut self, queued: Queued, port: &mut dyn Port) {
        let class = queued.kind.class();
        let queue = &mut self.queues[class as usize];
        if queue.len() < self.limits.queued[class as usize] {
            queue.push_back(queued);
        } else if class == Class::Critical {
            // Its turn at the port comes early rather than never.
            self.hand_over(class, usize::MAX, port);
            self.queues[class as usize].push_back(queued);
        } else if let Some(oldest) = queue.pop_front() {
            queue.push_back(queued);
            port.release(oldest.frame);
            self.give_up(class, Unsent::Displaced);
        }
    }

    fn give_up(&mut self, class: Class, reason: Unsent) {
        self.unsent[class as usize][reason as usize] += 1;
    }
}

/// Where a handler puts its messages during one pass.
pub struct Outbox<'a> {
    now: Nanos,
    queues: &'a mut OutboxQueues,
    sessions: &'a mut Sessions,
    port: &'a mut dyn Port,
}

impl<'a> Outbox<'a> {
    /// The outbox of one pass.
    pub fn new(now: Nanos, queues: &'a mut OutboxQueues, sessions: &'a mut Sessions, port: &'a mut dyn Port) -> Outbox<'a> {
        Outbox { now, queues, sessions, port }
    }

    /// Queues `message` for one validator. What cannot be sent is counted; the protocol's retransmission covers it.
    pub fn send(&mut self, to: ValidatorIndex, kind: MessageKind, message: &[u8]) {
        let class = kind.class();
        if self.queues.lanes.take(class) {
            return match self.queues.lanes.send(self.now, self.sessions, to, kind, message) {
                Ok(()) => {}
                Err(reason) => self.queues.give_up(class, reason),
            };
        }
        // No frame is taken, let alone displaced, for a message that cannot leave.
        if let Err(reason) = self.sessions.can_seal(to, kind, message.len()) {
            return self.queues.give_up(class, reason.into());
        }
        let Some(mut frame) = self.queues.frame_for(class, self.port) else {
            return self.queues.give_up(class, Unsent::NoFrame);
        };
        self.queues.tap.sealing(message);
        match self.sessions.seal(self.now, to, kind, message, &mut frame) {
            Ok((len, address)) => {
                frame.set_len(len);
                self.queues.tap.sealed(address, to, kind, &frame);
                self.queues.enqueue(Queued { frame, to: address, peer: to, kind }, self.port);
            }
            Err(reason) => {
                self.port.release(frame);
                self.queues.give_up(class, reason.into());
            }
        }
    }

    /// Queues `message` for all other validators, by decreasing stake.
    pub fn broadcast(&mut self, kind: MessageKind, message: &[u8]) {
        for at in 0..self.queues.order.len() {
            self.send(self.queues.order[at], kind, message);
        }
    }

    /// Queues `message` for these validators, in this order.
    pub fn send_to(&mut self, to: impl IntoIterator<Item = ValidatorIndex>, kind: MessageKind, message: &[u8]) {
        to.into_iter().for_each(|to| self.send(to, kind, message));
    }

    /// Whether a session with `peer` is up.
    pub fn is_up(&self, peer: ValidatorIndex) -> bool {
        self.sessions.is_up(peer)
    }

    /// The way from `peer`: round trip and what came of what it sent.
    pub fn link(&self, peer: ValidatorIndex) -> Link {
        self.sessions.link(peer)
    }

    /// Datagrams waiting in the queues: a handler with bulk to send may hold back.
    pub fn waiting(&self) -> usize {
        self.queues.waiting()
    }
}
