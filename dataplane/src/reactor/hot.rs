//! The poll loop of a hot reactor.
//!
//! One pass: read the clock once; a burst of frames, all opened and admitted, then handled in their order; the handler's pass; session timers;
//! outbox; flush. Housekeeping about every 10 ms publishes the counters and asserts that no frame was lost. A pass without work waits as the
//! policy says; before a sleep the handler declares it to its rings ([`Handler::prepare_sleep`]), so that no wake-up is lost.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use samara_types::{Class, MessageKind, Nanos, Received, ValidatorIndex};

use super::clock::{Clock, tick};
use super::outbox::{Outbox, OutboxLimits, OutboxQueues, Unsent};
use super::shard::{Lanes, ShardConfig, ShardError};
use super::wait::WaitPolicy;
use crate::class::{Admission, ClassRates};
use crate::counters::{HotSnapshot, HotStats, Regime, Stage};
use crate::frame::Frame;
use crate::port::Port;
use crate::session::{Opened, Sessions};
use crate::tap::TapHandle;

/// What runs on a hot reactor: a validator machine with its rings and its vote log.
pub trait Handler {
    /// A message of an authenticated peer, admitted by class. It lies in packet memory and is gone afterwards.
    fn on_message(&mut self, now: Nanos, from: ValidatorIndex, kind: MessageKind, message: &[u8], out: &mut Outbox<'_>);

    /// The messages of one burst, in the order of their arrival, for a handler that does some of their work together.
    fn on_burst(&mut self, now: Nanos, burst: &[Received<'_>], out: &mut Outbox<'_>) {
        burst.iter().for_each(|message| self.on_message(now, message.from, message.kind, message.bytes, out));
    }

    /// Once per pass, after the messages: rings, log completions, timers.
    fn on_pass(&mut self, now: Nanos, out: &mut Outbox<'_>);

    /// Whether the last [`Self::on_pass`] found something to do: a reactor goes on spinning after a pass with work.
    fn worked(&self) -> bool {
        false
    }

    /// When [`Self::on_pass`] must run again at the latest.
    fn next_deadline(&self) -> Option<Nanos>;

    /// Descriptors that end a sleep: of rings, of the vote log. Asked before each sleep.
    fn wake_fds(&self) -> Vec<RawFd>;

    /// False ends the loop after this pass.
    fn running(&self) -> bool;

    /// About every 10 ms, after the counters were published.
    fn on_housekeeping(&mut self, now: Nanos, stats: &HotStats);

    /// Before a sleep: [`crate::ring::Receiver::declare_sleep`] on every ring, so that its producer writes the descriptor. False: something
    /// came in, do not sleep.
    fn prepare_sleep(&mut self) -> bool {
        true
    }

    /// After a sleep, and after a [`Self::prepare_sleep`] that returned false: [`crate::ring::Receiver::declare_awake`] on every ring.
    fn end_sleep(&mut self) {}
}

/// Settings of a hot reactor.
#[derive(Clone, Debug)]
pub struct HotConfig {
    /// Core to pin to; None leaves the thread where the system puts it.
    pub core: Option<usize>,
    /// What to do without work.
    pub wait: WaitPolicy,
    /// Time slice asked of the scheduler, 0.1 to 100 ms; None leaves the kernel's (about 3 ms). Shorter: runs sooner after a wake-up where
    /// cores are shared, and is interrupted sooner. No effect on a core of its own, nor before Linux 6.12.
    pub slice: Option<Duration>,
    /// Zero of the reactor's clock.
    pub base: Instant,
    /// Validators by decreasing stake: the order of a broadcast. Empty: by index. This validator is left out in any case.
    pub order: Vec<ValidatorIndex>,
    /// Receive rates per peer and class.
    pub rates: ClassRates,
    /// Sizes of the outbox.
    pub outbox: OutboxLimits,
    /// Frames per burst, 1 to 64.
    pub burst: usize,
    /// From one housekeeping to the next.
    pub housekeeping: Duration,
}

impl Default for HotConfig {
    fn default() -> Self {
        HotConfig {
            core: None,
            wait: WaitPolicy::Adaptive { spin: Duration::from_micros(50) },
            slice: None,
            base: Instant::now(),
            order: Vec::new(),
            rates: ClassRates::default(),
            outbox: OutboxLimits::default(),
            burst: 64,
            housekeeping: Duration::from_millis(10),
        }
    }
}

/// Most messages handed over at once.
const BURST_MAX: usize = 64;

/// Where an opened message lies.
struct Located {
    frame: usize,
    peer: ValidatorIndex,
    kind: MessageKind,
    start: usize,
    len: usize,
}

impl Located {
    fn received<'a>(&self, frames: &'a [Frame]) -> Received<'a> {
        Received { from: self.peer, kind: self.kind, bytes: &frames[self.frame][self.start..self.start + self.len] }
    }
}

/// A hot reactor.
pub struct HotReactor<H> {
    pub(super) port: Box<dyn Port>,
    pub(super) sessions: Sessions,
    pub(super) handler: H,
    config: HotConfig,
    pub(super) admission: Admission,
    pub(super) queues: OutboxQueues,
    frames: Vec<Frame>,
    messages: Vec<Located>,
    clock: Clock,
    stage_ticks: [u64; 4],
    counters: HotSnapshot,
    stats: Arc<HotStats>,
    last_work: Nanos,
    next_housekeeping: Nanos,
}

impl<H: Handler> HotReactor<H> {
    /// A reactor over `port`; [`Self::run`] moves it onto the calling thread's core.
    pub fn new(port: Box<dyn Port>, sessions: Sessions, handler: H, config: HotConfig) -> HotReactor<H> {
        let me = sessions.me();
        let all = (0..sessions.validators()).map(|at| ValidatorIndex(at as u16));
        let order: Vec<_> = if config.order.is_empty() { all.collect() } else { config.order.clone() };
        let order = order.into_iter().filter(|peer| *peer != me).collect();
        let mut clock = Clock::new(config.base);
        let now = clock.now();
        HotReactor {
            admission: Admission::new(sessions.validators(), config.rates, now),
            queues: OutboxQueues::new(config.outbox, order),
            frames: Vec::with_capacity(config.burst),
            messages: Vec::with_capacity(config.burst),
            clock,
            stage_ticks: [0; 4],
            counters: HotSnapshot::default(),
            stats: Arc::new(HotStats::default()),
            last_work: now,
            next_housekeeping: now,
            port,
            sessions,
            handler,
            config,
        }
    }

    /// Leaves sealing and sending of class Normal to a thread for each of `ports`: those of [`Port::sender`]. See `reactor::shard`.
    pub fn shard(&mut self, ports: Vec<(Box<dyn Port>, ShardConfig)>) -> Result<(), ShardError> {
        self.queues.lanes = Lanes::start(ports, &self.sessions.directory())?;
        Ok(())
    }

    /// The counters, for other threads.
    pub fn stats(&self) -> Arc<HotStats> {
        Arc::clone(&self.stats)
    }

    /// The taps on what it and its send shards receive and send, its own first, for other threads.
    pub fn taps(&self) -> Vec<TapHandle> {
        std::iter::once(self.queues.tap.handle()).chain(self.queues.lanes.taps()).collect()
    }

    /// Runs until the handler stops; returns it.
    pub fn run(mut self) -> H {
        if let Some(core) = self.config.core {
            // A core that cannot be had costs speed, not correctness.
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
        }
        if let Some(slice) = self.config.slice {
            crate::sys::schedule::set_slice(slice);
        }
        let (mut last, mut regime) = (self.clock.now(), Regime::Busy);
        while self.handler.running() {
            let now = self.clock.now();
            self.counters.regime_ns[regime as usize] += now.since(last).0;
            (last, regime) = (now, Regime::Idle);
            if self.pass(now) {
                self.last_work = now;
                regime = if self.queues.waiting() > 0 { Regime::BackPressured } else { Regime::Busy };
            } else if self.config.wait.sleeps(now, self.last_work) {
                self.sleep(now);
            }
            if now >= self.next_housekeeping {
                self.housekeep(now);
                regime = Regime::Housekeeping;
            }
        }
        self.finish()
    }

    /// One pass; returns whether it found anything to do. Only stages that did are accounted for, together with the search before them: an empty
    /// pass reads the tick counter once, besides `now`.
    pub fn pass(&mut self, now: Nanos) -> bool {
        self.counters.passes[0] += 1;
        let mut at = tick();
        let received = self.port.rx_burst(&mut self.frames, self.config.burst);
        if received > 0 {
            at = self.account(Stage::Receive, at, received);
            at = self.take_in(now, at);
        }
        let mut out = Outbox::new(now, &mut self.queues, &mut self.sessions, self.port.as_mut());
        self.handler.on_pass(now, &mut out);
        let worked = self.handler.worked();
        if received > 0 || worked {
            at = self.account(Stage::Handler, at, 0);
        }
        let sent = self.send_session_datagrams(now) + self.queues.flush(self.port.as_mut());
        self.port.flush();
        if sent > 0 {
            self.account(Stage::Send, at, sent);
        }
        received > 0 || sent > 0 || worked
    }

    /// Opens the frames of a burst, gives their messages to the handler, and the frames back.
    fn take_in(&mut self, now: Nanos, mut at: u64) -> u64 {
        let mut frames = std::mem::take(&mut self.frames);
        let count = frames.len();
        frames.iter_mut().enumerate().for_each(|(at_frame, frame)| self.open(now, at_frame, frame));
        at = self.account(Stage::Open, at, count);
        at = self.hand_over(now, &frames, at);
        frames.drain(..).for_each(|frame| self.port.release(frame));
        self.frames = frames;
        at
    }

    /// Notes where the message of a frame lies, if it is one and its class admits it.
    fn open(&mut self, now: Nanos, at: usize, frame: &mut Frame) {
        let from = frame.peer();
        self.queues.tap.arriving(frame);
        let opened = self.sessions.open(now, from, frame);
        let mut refused = None;
        if let Opened::Message { peer, kind, start, len } = opened {
            match self.admission.admit(now, peer, kind, len) {
                Ok(_) => self.messages.push(Located { frame: at, peer, kind, start, len }),
                Err(reason) => refused = Some(reason),
            }
        }
        self.queues.tap.arrived(from, frame, opened, refused);
    }

    /// Gives the messages of the opened frames to the handler.
    fn hand_over(&mut self, now: Nanos, frames: &[Frame], at: u64) -> u64 {
        let count = self.messages.len();
        if count == 0 {
            return at;
        }
        let mut out = Outbox::new(now, &mut self.queues, &mut self.sessions, self.port.as_mut());
        for located in self.messages.chunks(BURST_MAX) {
            let burst: ArrayVec<Received<'_>, BURST_MAX> = located.iter().map(|located| located.received(frames)).collect();
            self.handler.on_burst(now, &burst, &mut out);
        }
        self.messages.clear();
        self.account(Stage::Handler, at, count)
    }

    fn send_session_datagrams(&mut self, now: Nanos) -> usize {
        let mut sent = 0;
        while self.sessions.next_deadline().is_some_and(|deadline| deadline <= now)
            && let Some(mut frame) = self.queues.control_frame(self.port.as_mut())
        {
            let Some((to, len)) = self.sessions.poll_transmit(now, &mut frame) else {
                self.port.release(frame);
                break;
            };
            frame.set_len(len);
            self.queues.tap.leaving_session(to, &frame);
            self.port.tx(frame, to);
            sent += 1;
        }
        sent
    }

    fn sleep(&mut self, now: Nanos) {
        if self.handler.running() && self.handler.prepare_sleep() {
            let deadlines = [self.handler.next_deadline(), self.sessions.next_deadline(), Some(self.next_housekeeping)];
            let until = deadlines.into_iter().flatten().min().unwrap_or(self.next_housekeeping);
            let fds = self.handler.wake_fds();
            self.counters.sleeps[0] += 1;
            self.port.wait(Some(Duration::from_nanos(until.since(now).0)), &fds);
        }
        self.handler.end_sleep();
    }

    fn account(&mut self, stage: Stage, since: u64, events: usize) -> u64 {
        let at = tick();
        self.stage_ticks[stage as usize] += at.saturating_sub(since);
        self.counters.stage_events[stage as usize] += events as u64;
        at
    }

    pub(super) fn housekeep(&mut self, now: Nanos) {
        self.next_housekeeping = now.after(Nanos(u64::try_from(self.config.housekeeping.as_nanos()).unwrap_or(u64::MAX)));
        let places = self.port.conservation();
        assert!(places.holds(), "frames went missing: {places:?}");
        assert_eq!(places.held, self.queues.held(), "outside a burst only the outbox holds frames");
        self.queues.tap.refresh();
        self.publish(now);
        self.handler.on_housekeeping(now, &self.stats);
    }

    fn publish(&mut self, now: Nanos) {
        let (counters, sessions) = (&mut self.counters, self.sessions.counters());
        counters.published_ns = [now.0];
        counters.received = [sessions.received];
        counters.messages = [sessions.messages];
        counters.consumed = [sessions.consumed];
        counters.dropped = sessions.dropped;
        counters.handshakes_computed = [sessions.handshakes_computed];
        counters.sessions_established = [sessions.sessions_established];
        counters.sessions_up = [self.sessions.up() as u64];
        counters.admitted = self.admission.admitted;
        counters.refused.copy_from_slice(self.admission.refused.as_flattened());
        counters.sent = self.queues.sent;
        counters.unsent.copy_from_slice(self.queues.unsent.as_flattened());
        counters.take_port(&self.port.stats());
        let shards = self.queues.lanes.sums();
        counters.sent[Class::Normal as usize] += shards.sent;
        let unsent = |reason: Unsent| Class::Normal as usize * Unsent::ALL.len() + reason as usize;
        counters.unsent[unsent(Unsent::NoSession)] += shards.no_session;
        counters.unsent[unsent(Unsent::Exhausted)] += shards.exhausted;
        counters.port_packets[1] += shards.packets;
        counters.port_bytes[1] += shards.bytes;
        counters.port_syscalls[0] += shards.syscalls;
        counters.port_drops[3] += shards.dropped;
        if let Some(mut bypass) = self.port.bypass() {
            bypass.add(&shards.bypass);
            counters.take_bypass(&bypass);
        }
        counters.frames.iter_mut().zip(shards.frames).for_each(|(to, count)| *to += count);
        counters.stage_ns = self.stage_ticks.map(|ticks| self.clock.nanos_of(ticks));
        self.stats.publish(counters);
    }

    fn finish(mut self) -> H {
        while self.queues.waiting() > 0 && self.queues.flush(self.port.as_mut()) > 0 {
            self.port.flush();
        }
        self.queues.clear(self.port.as_mut());
        self.port.flush();
        self.queues.lanes.stop();
        let now = self.clock.now();
        self.publish(now);
        self.handler
    }
}
