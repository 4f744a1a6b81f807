//! Two pinned threads, one per end, and what both must know of each other.

use super::net::{Net, Side};
use super::stretch::{Stretch, Watch};
use super::wire::{self, Ask, Wire};
use crate::bridge::Distribution;
use crate::exit::Exit;
use samara_dataplane::port::Port;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long an end waits for the other before it gives up.
const MEETING: Duration = Duration::from_secs(5);

/// What one measurement found.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Nanoseconds.
    pub latency: Distribution,
    /// Messages that went through.
    pub delivered: u64,
    /// Messages that did not.
    pub lost: u64,
    /// Message bytes that went through.
    pub bytes: u64,
    /// Over this time; zero for a case without a rate.
    pub elapsed: Duration,
    /// What disturbed the cores meanwhile.
    pub stretch: Stretch,
}

impl Measured {
    /// Latencies alone.
    pub fn of_samples(samples: &[u64], lost: u64) -> Measured {
        let mut measured = Measured { delivered: samples.len() as u64, lost, ..Measured::default() };
        samples.iter().for_each(|sample| measured.latency.record(*sample));
        measured
    }

    /// Millions of messages per second.
    pub fn mpps(&self) -> f64 {
        self.delivered as f64 / self.elapsed.as_secs_f64().max(1e-9) / 1e6
    }

    /// Message bits per nanosecond.
    pub fn gbps(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64().max(1e-9) / 1e9
    }

    /// Takes in another round of the same measurement.
    pub fn merge(&mut self, other: &Measured) {
        self.latency.merge(&other.latency);
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.bytes += other.bytes;
        self.elapsed += other.elapsed;
        self.stretch.merge(&other.stretch);
    }
}

/// What the ends of one measurement share.
#[derive(Default)]
pub struct Meeting {
    ready: AtomicUsize,
    broken: AtomicBool,
    stop: AtomicBool,
}

impl Meeting {
    /// Waits until both ends are ready.
    fn arrive(&self) -> Result<(), Exit> {
        self.ready.fetch_add(1, Ordering::AcqRel);
        let began = Instant::now();
        while self.ready.load(Ordering::Acquire) < 2 {
            if self.broken.load(Ordering::Acquire) || began.elapsed() > MEETING {
                return Err(Exit::failed("the other end did not come up"));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Tells the other end to finish.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the measurement is over.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// One end of a running measurement.
pub struct End<'a> {
    /// What both ends share.
    pub meeting: &'a Meeting,
    /// Where the other end listens.
    pub to: SocketAddr,
}

/// How both ends send and listen.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Where.
    pub net: &'a Net,
    /// By what; the side is set for each end.
    pub ask: Ask,
    /// The far end listens on every address.
    pub far_any: bool,
}

impl<'a> Setup<'a> {
    /// Runs `near` and `far` against each other over wires; returns what the near end says of its end and what the far end says.
    pub fn run<N: Send, F: Send>(
        &self,
        near: impl FnOnce(&mut dyn Wire, End<'_>) -> N + Send,
        far: impl FnOnce(&mut dyn Wire, End<'_>) -> F + Send,
    ) -> Result<(N, F, Stretch), Exit> {
        let open = |ask| wire::open(self.net, ask);
        self.run_over(open, |mut wire, end| near(wire.as_mut(), end), |mut wire, end| far(wire.as_mut(), end))
    }

    /// The same over ports, handed to the ends to keep.
    pub fn run_ports<N: Send, F: Send>(
        &self,
        near: impl FnOnce(Box<dyn Port>, End<'_>) -> N + Send,
        far: impl FnOnce(Box<dyn Port>, End<'_>) -> F + Send,
    ) -> Result<(N, F, Stretch), Exit> {
        self.run_over(|ask| wire::open_port(self.net, ask), near, far)
    }

    fn run_over<W, N: Send, F: Send>(
        &self,
        open: impl Fn(Ask) -> Result<W, Exit> + Sync,
        near: impl FnOnce(W, End<'_>) -> N + Send,
        far: impl FnOnce(W, End<'_>) -> F + Send,
    ) -> Result<(N, F, Stretch), Exit> {
        let meeting = Meeting::default();
        std::thread::scope(|scope| {
            let far = scope.spawn(|| self.end(&meeting, Side::Far, &open, far));
            let near = scope.spawn(|| self.end(&meeting, Side::Near, &open, near));
            let (near, far) = (near.join(), far.join());
            let ended =
                |end: std::thread::Result<Result<_, Exit>>| end.unwrap_or_else(|_| Err(Exit::failed("an end of the wire panicked")));
            let far = far.unwrap_or_else(|_| Err(Exit::failed("an end of the wire panicked")));
            match (ended(near), far) {
                // The end that broke knows why; the other only waited for it.
                (Ok((near, one)), Ok((far, two))) => Ok((near, far, one.both(two))),
                (Err(Exit::Failed(_)), Err(error)) | (Err(error), _) | (_, Err(error)) => Err(error),
            }
        })
    }

    fn end<W, T>(
        &self,
        meeting: &Meeting,
        side: Side,
        open: &impl Fn(Ask) -> Result<W, Exit>,
        work: impl FnOnce(W, End<'_>) -> T,
    ) -> Result<(T, Stretch), Exit> {
        // However this end finishes, a panic included, the other must not wait for it.
        let guard = Guard(meeting);
        self.net.enter(side)?;
        let wire = open(Ask { side, any: self.far_any && side == Side::Far, ..self.ask })?;
        meeting.arrive()?;
        let watch = Watch::start(self.net.core(side));
        let done = work(wire, End { meeting, to: self.net.address(side.other()) });
        let stretch = watch.stop();
        drop(guard);
        Ok((done, stretch))
    }
}

struct Guard<'a>(&'a Meeting);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.broken.store(true, Ordering::Release);
        self.0.stop();
    }
}
