//! The open-loop generator: one thread, all doors, intended send times fixed by the rate alone.
//!
//! ```text
//! signer thread -> due transactions (start + k / tps) -> next door that is up -> Pending by request id
//! Finalized -> latency from the INTENDED time -> acknowledged      Rejected(full) -> counted
//! lost connection, Dropped, Unavailable, long silence -> the same transaction to another door (its id makes it one)
//! ```
//! Pending transactions are bounded; what is due beyond the bound is offered and counted as rejected (`client_backlog`), so a slow cluster
//! shows as loss and never as a slower clock.

use super::link::Link;
use super::outcome::{Acknowledged, Door, Outcome};
use super::poll;
use super::source::{Content, Signed, start as start_source};
use crossbeam::channel::{Receiver, TryRecvError};
use samara_types::ChainId;
use samara_types::client::{RejectReason, Request, Response};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Transactions without a final answer at once; about 1 KiB each.
const PENDING_MAX: usize = 131_072;
/// Doors one transaction is tried at before it is given up.
const ATTEMPTS_MAX: u8 = 16;
/// Silence after which a transaction is sent to another door as well.
const RESEND_AFTER: Duration = Duration::from_secs(5);
/// Shortest time between two passes that send, so that a high rate does not mean a wake-up per transaction.
const TICK: Duration = Duration::from_micros(500);
/// How often each door is asked where it stands; the resolution of [`Door::gap_max`].
const STATUS_EVERY: Duration = Duration::from_millis(50);
/// How long a door that said `Unavailable` is passed over.
const BACK_OFF: Duration = Duration::from_millis(200);
/// Request ids of status requests have this bit.
const STATUS_BIT: u64 = 1 << 63;

/// What to drive, at whom.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The chain transactions are signed for.
    pub chain: ChainId,
    /// Client doors.
    pub doors: Vec<SocketAddr>,
    /// Transactions per second; 0 offers none (or, with `count`, all at once).
    pub tps: u64,
    /// Transactions in all; no end if None.
    pub count: Option<u64>,
    /// What is in them.
    pub content: Content,
    /// Keys that sign in turn, at least 1.
    pub senders: usize,
}

/// Figures others may read while the engine runs.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Offered so far.
    pub offered: AtomicU64,
    /// Final so far.
    pub finalized: AtomicU64,
    /// Given up so far.
    pub rejected: AtomicU64,
    /// Waiting for an answer.
    pub pending: AtomicU64,
    /// Greatest height seen at any door.
    pub height: AtomicU64,
    /// Greatest view seen at any door.
    pub view: AtomicU64,
}

struct Pending {
    intended: Instant,
    sent: Instant,
    signed: Signed,
    door: usize,
    attempts: u8,
    accepted: bool,
}

/// The generator's state.
pub struct Engine {
    plan: Plan,
    links: Vec<Link>,
    back_off_until: Vec<Option<Instant>>,
    source: Receiver<Signed>,
    pending: BTreeMap<u64, Pending>,
    again: VecDeque<u64>,
    outcome: Outcome,
    gauges: Arc<Gauges>,
    next_id: u64,
    next_door: usize,
    started: Option<Instant>,
    offering: bool,
    next_status: Instant,
    next_sweep: Instant,
}

impl Engine {
    /// Connects to every door and starts signing.
    pub fn new(plan: Plan, gauges: Arc<Gauges>) -> Engine {
        let links: Vec<Link> = plan.doors.iter().map(|address| Link::new(*address)).collect();
        let outcome = Outcome { doors: vec![Door::default(); links.len()], ..Outcome::default() };
        let source = start_source(plan.chain, plan.content.clone(), plan.senders);
        let now = Instant::now();
        Engine {
            back_off_until: vec![None; links.len()],
            plan,
            links,
            source,
            pending: BTreeMap::new(),
            again: VecDeque::new(),
            outcome,
            gauges,
            next_id: 0,
            next_door: 0,
            started: None,
            offering: true,
            next_status: now,
            next_sweep: now,
        }
    }

    /// Offers while `offer()` says so, then waits until everything is answered, at most `drain`.
    pub fn run(mut self, offer: impl Fn() -> bool, drain: Duration) -> Outcome {
        let mut deadline = None;
        loop {
            let now = Instant::now();
            self.pass(now);
            let exhausted = self.plan.count.is_some_and(|count| self.outcome.offered >= count);
            self.offering = !exhausted && offer();
            if !self.offering {
                if deadline.is_none() {
                    self.outcome.doors.iter_mut().for_each(|door| door.on_end(now));
                }
                let deadline = *deadline.get_or_insert(now + drain);
                if self.pending.is_empty() || now >= deadline {
                    break;
                }
            }
            self.sleep(now);
        }
        self.outcome.unanswered = self.pending.len() as u64;
        self.outcome
    }

    fn pass(&mut self, now: Instant) {
        for link in &mut self.links {
            link.poll_connected();
        }
        self.ask_status(now);
        self.sweep(now);
        self.send_again(now);
        if self.offering {
            self.send_due(now);
        }
        for door in 0..self.links.len() {
            self.pump(door);
        }
        self.publish();
    }

    fn sleep(&self, now: Instant) {
        let next_due = self.started.filter(|_| self.offering).and_then(|started| self.intended(started, self.outcome.offered));
        let wake = next_due.unwrap_or(self.next_status).max(now + TICK).min(self.next_status.max(now + TICK));
        let interests: Vec<_> = self.links.iter().filter_map(Link::interest).collect();
        poll::wait(&interests, wake.saturating_duration_since(now));
    }

    /// The intended send time of transaction `k`.
    fn intended(&self, started: Instant, k: u64) -> Option<Instant> {
        let nanos = (u128::from(k) * 1_000_000_000).checked_div(u128::from(self.plan.tps))?;
        Some(started + Duration::from_nanos(nanos as u64))
    }

    fn ask_status(&mut self, now: Instant) {
        if now < self.next_status {
            return;
        }
        self.next_status = now + STATUS_EVERY;
        for link in self.links.iter_mut().filter(|link| link.is_up()) {
            link.push(STATUS_BIT, &Request::Status);
        }
    }

    /// The clock starts when the first door is open.
    fn send_due(&mut self, now: Instant) {
        if self.started.is_none() && self.links.iter().any(Link::is_up) {
            self.started = Some(now);
        }
        let Some(started) = self.started else { return };
        while self.plan.count.is_none_or(|count| self.outcome.offered < count) {
            let intended = match self.intended(started, self.outcome.offered) {
                Some(intended) if intended <= now => intended,
                None if self.plan.count.is_some() => now,
                _ => return,
            };
            if self.pending.len() >= PENDING_MAX {
                self.outcome.offered += 1;
                self.reject("client_backlog");
                continue;
            }
            let signed = match self.source.try_recv() {
                Ok(signed) => signed,
                // The signer is behind: the intended time stands, so its delay is measured.
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => unreachable!("the signer ends after its receiver"),
            };
            self.outcome.offered += 1;
            let id = self.next_id;
            self.next_id += 1;
            self.pending.insert(id, Pending { intended, sent: now, signed, door: usize::MAX, attempts: 0, accepted: false });
            self.send(id, now);
        }
    }

    /// Sends to the next door that takes it, by preference not the one that had it; waits its turn if none does.
    fn send(&mut self, id: u64, now: Instant) {
        let count = self.links.len();
        let usable = |door: usize| {
            let link = &self.links[door];
            link.is_up() && !link.is_congested() && self.back_off_until[door].is_none_or(|until| until <= now)
        };
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let order = (0..count).map(|step| (self.next_door + step) % count).filter(|door| usable(*door));
        let Some(door) = order.clone().find(|door| *door != pending.door).or_else(|| order.clone().next()) else {
            self.again.push_back(id);
            return;
        };
        self.next_door = door + 1;
        (pending.door, pending.sent, pending.attempts) = (door, now, pending.attempts + 1);
        self.links[door].push(id, &Request::Submit(&pending.signed.bytes));
    }

    fn send_again(&mut self, now: Instant) {
        for _ in 0..self.again.len() {
            let Some(id) = self.again.pop_front() else { return };
            let Some(pending) = self.pending.get(&id) else { continue };
            if pending.attempts >= ATTEMPTS_MAX {
                self.pending.remove(&id);
                self.reject("attempts_exhausted");
                continue;
            }
            self.outcome.resubmitted += u64::from(pending.attempts > 0);
            self.send(id, now);
        }
    }

    /// Now and then: what has been silent for long goes to another door as well.
    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + RESEND_AFTER / 10;
        for (id, pending) in &mut self.pending {
            if pending.door != usize::MAX && now.saturating_duration_since(pending.sent) > RESEND_AFTER {
                pending.sent = now;
                self.again.push_back(*id);
            }
        }
    }

    fn pump(&mut self, door: usize) {
        let mut answers = Vec::new();
        let pumped = self.links[door].pump(|id, response| answers.push((id, response)));
        let now = Instant::now();
        for (id, response) in answers {
            self.on_response(now, door, id, response);
        }
        if pumped.lost {
            self.on_lost(door);
        }
    }

    fn on_response(&mut self, now: Instant, door: usize, id: u64, response: Response) {
        if let Response::Status { view, height } = response {
            let highest = self.gauges.height.fetch_max(height, Ordering::Relaxed).max(height);
            if self.started.is_some() && self.offering {
                self.outcome.doors[door].on_status(now, view, height, highest);
            }
            self.gauges.view.fetch_max(view, Ordering::Relaxed);
            return;
        }
        // A second door may answer what the first one has answered already.
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let latency_us = now.saturating_duration_since(pending.intended).as_micros() as u64;
        match response {
            Response::Accepted if !pending.accepted => {
                pending.accepted = true;
                self.outcome.accepted += 1;
                self.outcome.accept_us.record(latency_us);
            }
            Response::Finalized { height, index } => {
                self.outcome.finalized += 1;
                self.outcome.latency_us.record(latency_us);
                self.outcome.acknowledged.push(Acknowledged { id: pending.signed.id, height, index });
                self.pending.remove(&id);
            }
            Response::Rejected(reason) if pending.door == door => self.on_reject(now, door, id, reason),
            _ => {}
        }
    }

    fn on_reject(&mut self, now: Instant, door: usize, id: u64, reason: RejectReason) {
        match reason {
            RejectReason::Dropped => self.again.push_back(id),
            RejectReason::Unavailable => {
                self.back_off_until[door] = Some(now + BACK_OFF);
                self.again.push_back(id);
            }
            // A transaction that is on its way through another door is not lost because this one is full.
            _ if self.pending.get(&id).is_some_and(|pending| pending.accepted) => {}
            reason => {
                self.pending.remove(&id);
                self.reject(reason.as_str());
            }
        }
    }

    fn on_lost(&mut self, door: usize) {
        self.outcome.connections_lost += 1;
        self.outcome.doors[door].on_lost();
        let orphans = self.pending.iter().filter(|(_, pending)| pending.door == door).map(|(id, _)| *id);
        self.again.extend(orphans);
    }

    fn reject(&mut self, reason: &'static str) {
        *self.outcome.rejected.entry(reason).or_default() += 1;
        self.gauges.rejected.fetch_add(1, Ordering::Relaxed);
    }

    fn publish(&self) {
        self.gauges.offered.store(self.outcome.offered, Ordering::Relaxed);
        self.gauges.finalized.store(self.outcome.finalized, Ordering::Relaxed);
        self.gauges.pending.store(self.pending.len() as u64, Ordering::Relaxed);
    }
}
