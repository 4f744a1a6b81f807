//! Send shards: threads that seal and send the bulk of a hot reactor's messages, each over a port of its own.
//!
//! ```text
//!   hot reactor: Outbox.send(Normal) -> lane by slice -> empty frame of the shard <- message copied in -> ring -> shard: seal in place -> port.tx -> flush
//!                                            \----------- ring of empty frames <--------------------------------/
//!                Sessions ---- Directory (which session, where to) ---------------------------------------------^
//! ```
//! What is sharded is what is heavy: a relay seals and sends one shred for every validator of the set, a hundred times what receiving and opening it cost. Shreds of
//! one slice leave through one shard, in order; votes, certificates and everything else of the classes above stay with the hot reactor and its own port, so that
//! they never wait behind a block.
//!
//! Invariants: one copy per message and destination, as without shards, and no allocation; a frame is in the shard's port, in one of the two rings, or with the outbox;
//! each message that is not sent is counted by reason; a shard that ends takes its reactor down with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use samara_types::shred::ShredHeader;
use samara_types::{Class, MessageKind, Nanos, ValidatorIndex};
use zerocopy::FromBytes;

use super::outbox::Unsent;
use super::wait::WaitPolicy;
use crate::frame::Frame;
use crate::port::xdp::XdpStats;
use crate::port::{Port, PortStats};
use crate::ring::{PushError, Receiver, RingError, Sender, ring};
use crate::session::{Directory, Leg, Legs, SEAL_BYTES, SealError, Sessions};
use crate::tap::{Tap, TapHandle};
use crate::xdp::Detour;

/// Frames that may be with the outbox or on their way to the shard; as many stay in the shard's port at least.
const FRAMES_MAX: usize = 8_192;
/// Messages sealed between two flushes.
const FLUSH: usize = 64;
/// From one publication of the counters to the next.
const HOUSEKEEPING: Duration = Duration::from_millis(10);

/// Settings of one shard.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Core to pin to; None leaves the thread where the system puts it.
    pub core: Option<usize>,
    /// What to do without work.
    pub wait: WaitPolicy,
    /// Time slice asked of the scheduler: [`super::HotConfig::slice`].
    pub slice: Option<Duration>,
}

/// A message on its way to the shard, at [`Leg::MESSAGE_AT`] of its frame.
struct Parcel {
    frame: Frame,
    to: ValidatorIndex,
    kind: MessageKind,
    bytes: usize,
}

/// What a shard counts, readable from the hot reactor.
#[derive(Debug, Default)]
struct ShardStats {
    /// Messages handed to the port, of class Normal all of them.
    sent: AtomicU64,
    no_session: AtomicU64,
    exhausted: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
    syscalls: AtomicU64,
    dropped: AtomicU64,
    /// What its port would count of AF_XDP; seldom locked, and by two.
    bypass: Mutex<XdpStats>,
    frames: [AtomicU64; 6],
}

/// Sums over the shards of one reactor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ShardSums {
    pub sent: u64,
    pub no_session: u64,
    pub exhausted: u64,
    pub packets: u64,
    pub bytes: u64,
    pub syscalls: u64,
    pub dropped: u64,
    pub bypass: XdpStats,
    pub frames: [u64; 6],
}

/// The hot reactor's end of one shard.
struct Lane {
    work: Sender<Parcel>,
    stock: Receiver<Frame>,
    stats: Arc<ShardStats>,
    tap: TapHandle,
    thread: JoinHandle<()>,
}

/// The hot reactor's ends of all its shards.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// What shards counted that ended.
    ended: ShardSums,
}

impl Lanes {
    /// Starts a shard over each of `ports`.
    pub fn start(ports: Vec<(Box<dyn Port>, ShardConfig)>, directory: &Arc<Directory>) -> Result<Lanes, ShardError> {
        let mut lanes = Lanes::default();
        for (number, (port, config)) in ports.into_iter().enumerate() {
            lanes.lanes.push(Lane::start(number, port, config, Arc::clone(directory))?);
        }
        Ok(lanes)
    }

    /// The taps on what the shards send.
    pub fn taps(&self) -> impl Iterator<Item = TapHandle> {
        self.lanes.iter().map(|lane| lane.tap.clone())
    }

    /// Whether messages of this class go to shards.
    pub fn take(&self, class: Class) -> bool {
        class == Class::Normal && !self.lanes.is_empty()
    }

    /// Gives a message to the shard of its slice. The hot reactor counts what this refuses, the shard what it then cannot send.
    pub fn send(
        &mut self,
        now: Nanos,
        sessions: &mut Sessions,
        to: ValidatorIndex,
        kind: MessageKind,
        message: &[u8],
    ) -> Result<(), Unsent> {
        let at = slice_key(message) % self.lanes.len();
        let lane = &mut self.lanes[at];
        sessions.can_seal(to, kind, message.len())?;
        if lane.stock.waiting() == 0 {
            return Err(Unsent::NoFrame);
        }
        sessions.hand_over(now, to, kind, message.len())?;
        let mut frame = lane.stock.pop().expect("one was waiting, and nobody else takes any");
        frame[Leg::MESSAGE_AT..][..message.len()].copy_from_slice(message);
        frame.set_len(message.len() + SEAL_BYTES);
        match lane.work.push(Parcel { frame, to, kind, bytes: message.len() }) {
            Ok(()) => Ok(()),
            Err(PushError::Full(_)) => unreachable!("the ring has a slot for every frame of the stock"),
            Err(PushError::Closed(_)) => Err(Unsent::NoFrame),
        }
    }

    /// What all shards counted. Panics when one of them ended, which it does only in a panic of its own.
    pub fn sums(&self) -> ShardSums {
        let mut sums = self.ended;
        for lane in &self.lanes {
            assert!(!lane.work.is_closed(), "a send shard ended");
            sums.add(&lane.stats);
        }
        sums
    }

    /// Hands a frame to the first shard that it cannot have lent.
    #[cfg(test)]
    pub fn break_one(&mut self, frame: Frame) {
        let parcel = Parcel { frame, to: ValidatorIndex(1), kind: MessageKind::Shred, bytes: 1 };
        assert!(self.lanes[0].work.push(parcel).is_ok());
    }

    /// Lets the shards send what they have, and waits for them.
    pub fn stop(&mut self) {
        for Lane { work, stock, stats, tap: _, thread } in self.lanes.drain(..) {
            drop(work);
            thread.join().expect("a send shard panicked");
            self.ended.add(&stats);
            drop(stock);
        }
    }
}

impl ShardSums {
    fn add(&mut self, stats: &ShardStats) {
        let add = |to: &mut u64, from: &AtomicU64| *to += from.load(Ordering::Relaxed);
        add(&mut self.sent, &stats.sent);
        add(&mut self.no_session, &stats.no_session);
        add(&mut self.exhausted, &stats.exhausted);
        add(&mut self.packets, &stats.packets);
        add(&mut self.bytes, &stats.bytes);
        add(&mut self.syscalls, &stats.syscalls);
        add(&mut self.dropped, &stats.dropped);
        self.bypass.add(&stats.bypass.lock().unwrap_or_else(PoisonError::into_inner));
        self.frames.iter_mut().zip(&stats.frames).for_each(|(to, from)| add(to, from));
    }
}

/// A shard could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// Its rings.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Its thread.
    #[error("no thread for a send shard: {0}")]
    Thread(#[from] std::io::Error),
}

/// What tells slices apart: view and slice of a shred. A message too short for that has the same key as its like.
fn slice_key(message: &[u8]) -> usize {
    ShredHeader::ref_from_prefix(message)
        .map_or(0, |(header, _)| (header.view.get() as usize).wrapping_add(usize::from(header.slice.get())))
}

impl Lane {
    fn start(number: usize, port: Box<dyn Port>, config: ShardConfig, directory: Arc<Directory>) -> Result<Lane, ShardError> {
        let frames = (port.conservation().total / 2).clamp(1, FRAMES_MAX);
        let (work, parcels) = ring(frames)?;
        let (empties, stock) = ring(frames)?;
        let stats = Arc::new(ShardStats::default());
        let mut shard = Shard {
            port,
            parcels,
            empties,
            directory,
            legs: Arc::new([]),
            generation: 0,
            lent: 0,
            lent_max: frames,
            counts: ShardSums::default(),
            stats: Arc::clone(&stats),
            tap: Tap::default(),
            config,
        };
        let tap = shard.tap.handle();
        shard.restock();
        shard.publish();
        let thread = std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || shard.run())?;
        Ok(Lane { work, stock, stats, tap, thread })
    }
}

/// The thread's side.
struct Shard {
    port: Box<dyn Port>,
    parcels: Receiver<Parcel>,
    empties: Sender<Frame>,
    directory: Arc<Directory>,
    legs: Legs,
    generation: u64,
    /// Frames in the rings and with the outbox.
    lent: usize,
    lent_max: usize,
    counts: ShardSums,
    stats: Arc<ShardStats>,
    tap: Tap,
    config: ShardConfig,
}

impl Shard {
    fn run(mut self) {
        if let Some(core) = self.config.core {
            // A core that cannot be had costs speed, not correctness.
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
        }
        if let Some(slice) = self.config.slice {
            crate::sys::schedule::set_slice(slice);
        }
        let base = Instant::now();
        let now = || Nanos(u64::try_from(base.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let (mut last_work, mut next_housekeeping) = (now(), Nanos(0));
        loop {
            let at = now();
            if self.pass() > 0 {
                last_work = at;
            } else if self.parcels.is_finished() {
                break;
            } else if self.config.wait.sleeps(at, last_work) {
                self.sleep(next_housekeeping.since(at));
            }
            if at >= next_housekeeping {
                next_housekeeping = at.after(Nanos(HOUSEKEEPING.as_nanos() as u64));
                self.tap.refresh();
                self.publish();
            }
        }
        self.port.flush();
        self.publish();
    }

    /// Seals and sends what waits, a flush full; returns how much that was.
    fn pass(&mut self) -> usize {
        let mut count = 0;
        while count < FLUSH
            && let Some(parcel) = self.parcels.pop()
        {
            // What the outbox handed over is in the directory by now.
            if count == 0 {
                self.directory.refresh(&mut self.generation, &mut self.legs);
            }
            self.send(parcel);
            count += 1;
        }
        self.port.flush();
        self.restock();
        count
    }

    fn send(&mut self, parcel: Parcel) {
        let Parcel { mut frame, to, kind, bytes } = parcel;
        self.lent -= 1;
        self.tap.sealing(&frame[Leg::MESSAGE_AT..][..bytes]);
        let sealed = match self.legs.get(to.at()).and_then(Option::as_ref) {
            Some(leg) => leg.seal(kind, bytes, &mut frame).ok_or(SealError::Exhausted),
            None => Err(SealError::NoSession),
        };
        match sealed {
            Ok((len, address)) => {
                frame.set_len(len);
                self.tap.sealed(address, to, kind, &frame);
                self.tap.leaving(address, to, kind, &frame);
                self.port.tx(frame, address);
                self.counts.sent += 1;
            }
            Err(reason) => {
                self.port.release(frame);
                let count = if reason == SealError::Exhausted { &mut self.counts.exhausted } else { &mut self.counts.no_session };
                *count += 1;
            }
        }
    }

    /// Gives the outbox as many empty frames as it may have.
    fn restock(&mut self) {
        while self.lent < self.lent_max
            && let Some(frame) = self.port.tx_frame()
        {
            self.lent += 1;
            if let Err(PushError::Closed(frame) | PushError::Full(frame)) = self.empties.push(frame) {
                self.lent -= 1;
                return self.port.release(frame);
            }
        }
    }

    fn sleep(&mut self, until_housekeeping: Nanos) {
        if self.parcels.declare_sleep() {
            self.port.wait(Some(Duration::from_nanos(until_housekeeping.0)), &[self.parcels.wake_fd()]);
        }
        self.parcels.declare_awake();
    }

    fn publish(&mut self) {
        let port = self.port.stats();
        let PortStats { tx_packets, tx_bytes, syscalls, frames, .. } = port;
        assert!(frames.holds(), "frames of a shard went missing: {frames:?}");
        assert_eq!(frames.held, self.lent, "outside a pass only the outbox and the rings hold frames of a shard");
        let (stats, counts) = (&self.stats, &self.counts);
        let set = |to: &AtomicU64, value: u64| to.store(value, Ordering::Relaxed);
        set(&stats.sent, counts.sent);
        set(&stats.no_session, counts.no_session);
        set(&stats.exhausted, counts.exhausted);
        set(&stats.packets, tx_packets);
        set(&stats.bytes, tx_bytes);
        set(&stats.syscalls, syscalls);
        set(&stats.dropped, port.tx_dropped());
        let bypass = self.port.bypass().unwrap_or_else(|| {
            let mut all = XdpStats::default();
            all.tx_detour[Detour::NoQueue as usize] = tx_packets;
            all
        });
        *stats.bypass.lock().unwrap_or_else(PoisonError::into_inner) = bypass;
        let places = [frames.total, frames.free, frames.held, frames.queued, frames.ready, frames.kernel];
        stats.frames.iter().zip(places).for_each(|(to, count)| set(to, count as u64));
    }
}
