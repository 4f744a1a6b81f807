//! Service reactors: glommio executors for everything that waits, and the heartbeat that watches every reactor (DESIGN §4).
//!
//! ```text
//! executor:  heart: timer -> beat          watchdog thread: every `poke_every` -> ring -> heart (wakes the executor from outside)
//!            main future, roles' queues                     beats unchanged for `stall_after` -> on_stall(name, how long)
//! ```
//! glommio 0.9 can park with a runnable queue when its preempt event comes at the wrong moment (dataplane.md, measured); the next event from
//! outside puts that right, so the watchdog makes one now and then. Rule for everything run here: a task that is always ready is lost for good.
//! It waits for a timer, a ring or I/O between bounded batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use glommio::{ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares, TaskQueueHandle};

use crate::ring::{Receiver, RingError, Sender, ring};

/// A service reactor could not start, or died.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// glommio refused: thread, io_uring or locked memory are missing.
    #[error("service reactor {name}: {reason}")]
    Executor {
        /// Its name.
        name: String,
        /// What glommio says.
        reason: String,
    },
    /// No eventfd for the heart.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// No thread for the watchdog.
    #[error("watchdog: {0}")]
    Watchdog(std::io::Error),
}

/// Roles of a service reactor, each with a task queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Client connections.
    Ingress,
    /// Block-store writes: finality waits for them.
    Store,
    /// Verification of gossip.
    Verify,
    /// Sync and catch-up streams.
    Sync,
    /// Counters, snapshots, the heart.
    Telemetry,
}

impl Role {
    /// Label of its queue.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Ingress => "ingress",
            Role::Store => "store",
            Role::Verify => "verify",
            Role::Sync => "sync",
            Role::Telemetry => "telemetry",
        }
    }

    /// Makes its queue on the calling executor. Shares divide a busy executor's time; a latency class bounds how long a queue waits for it.
    pub fn queue(self) -> TaskQueueHandle {
        let soon = Latency::Matters(Duration::from_millis(10));
        let (shares, latency) = match self {
            Role::Store => (400, soon),
            Role::Ingress => (300, soon),
            Role::Verify => (150, Latency::NotImportant),
            Role::Sync => (100, Latency::NotImportant),
            Role::Telemetry => (50, Latency::NotImportant),
        };
        glommio::executor().create_task_queue(Shares::Static(shares), latency, self.as_str())
    }
}

/// Settings of a service reactor.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Thread name.
    pub name: String,
    /// Core to pin to; None leaves the thread where the system puts it.
    pub core: Option<usize>,
    /// Memory registered with io_uring, locked: several executors share a small memlock limit.
    pub io_memory: usize,
    /// Threads for blocking calls.
    pub blocking_threads: usize,
    /// From one beat of the heart to the next.
    pub beat_every: Duration,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        ServiceConfig {
            name: "samara-service".into(),
            core: None,
            io_memory: 64 << 10,
            blocking_threads: 2,
            beat_every: Duration::from_millis(10),
        }
    }
}

/// A running service reactor.
pub struct Service<T: Send + 'static> {
    name: String,
    thread: ExecutorJoinHandle<T>,
}

/// Starts an executor on a thread of its own and runs `main` on it until it returns. `main` starts the roles' tasks and ends when its rings
/// do, or when its owner tells it. The heart beats beside it.
pub fn start<F, G, T>(config: ServiceConfig, main: G) -> Result<(Service<T>, Pulse), ServiceError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (pulse, heart) = heart()?;
    let placement = config.core.map_or(Placement::Unbound, Placement::Fixed);
    let beat_every = config.beat_every;
    let thread = LocalExecutorBuilder::new(placement)
        .name(&config.name)
        .io_memory(config.io_memory)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(config.blocking_threads))
        .spawn(move || async move {
            let heart = heart.start(Role::Telemetry.queue(), beat_every);
            let result = main().await;
            heart.stop().await;
            result
        })
        .map_err(|error| ServiceError::Executor { name: config.name.clone(), reason: error.to_string() })?;
    Ok((Service { name: config.name, thread }, pulse))
}

impl<T: Send + 'static> Service<T> {
    /// Waits for the end of `main`.
    pub fn join(self) -> Result<T, ServiceError> {
        let name = self.name;
        self.thread.join().map_err(|error| ServiceError::Executor { name, reason: error.to_string() })
    }
}

/// The two ends of a heartbeat, for an executor that somebody else starts.
pub fn heart() -> Result<(Pulse, Heart), RingError> {
    let (poke, pokes) = ring(1)?;
    let beats = Arc::new(AtomicU64::new(0));
    let answered = Arc::new(AtomicU64::new(0));
    Ok((Pulse { beats: Arc::clone(&beats), answered: Arc::clone(&answered), poke }, Heart { beats, answered, pokes }))
}

/// The watchdog's end.
pub struct Pulse {
    beats: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    poke: Sender<()>,
}

impl Pulse {
    /// Beats so far.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Pokes that the executor answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Wakes the executor from outside. At most one poke is on its way.
    pub fn poke(&mut self) {
        // Full: the last one is still unanswered. Closed: the executor ended.
        let _ = self.poke.push(());
    }

    /// Whether the executor ended.
    pub fn is_over(&self) -> bool {
        self.poke.is_closed()
    }
}

/// The executor's end: start it inside.
pub struct Heart {
    beats: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    pokes: Receiver<()>,
}

/// A beating heart.
pub struct Beating {
    tasks: [glommio::task::JoinHandle<()>; 2],
}

impl Heart {
    /// Starts the beat on the calling executor.
    pub fn start(self, queue: TaskQueueHandle, every: Duration) -> Beating {
        let Heart { beats, answered, mut pokes } = self;
        let beat = async move {
            loop {
                glommio::timer::sleep(every).await;
                beats.fetch_add(1, Ordering::Relaxed);
            }
        };
        let answer = async move {
            while pokes.recv().await.is_some() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        };
        let beat = glommio::spawn_local_into(beat, queue).expect("the queue is of this executor").detach();
        let answer = glommio::spawn_local_into(answer, queue).expect("the queue is of this executor").detach();
        Beating { tasks: [beat, answer] }
    }
}

impl Beating {
    /// Ends it; the pulse then says that it is over.
    pub async fn stop(self) {
        for task in self.tasks {
            task.cancel();
            task.await;
        }
    }
}

/// Times of a watchdog.
#[derive(Clone, Copy, Debug)]
pub struct WatchdogConfig {
    /// From one look to the next.
    pub look_every: Duration,
    /// Looks between two pokes of an executor.
    pub looks_per_poke: u32,
    /// A counter that does not move for this long is a stall.
    pub stall_after: Duration,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        WatchdogConfig { look_every: Duration::from_millis(50), looks_per_poke: 1, stall_after: Duration::from_millis(1_000) }
    }
}

/// A stall that began, or one that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Which reactor.
    pub name: String,
    /// How long it has not moved, or did not.
    pub lasted: Duration,
    /// It moves again.
    pub over: bool,
}

enum Watched {
    Executor(Pulse),
    Counter(Box<dyn Fn() -> u64 + Send>),
}

struct Patient {
    name: String,
    watched: Watched,
    last: u64,
    moved: Instant,
    stalled: bool,
}

/// One thread that looks after all reactors of the process. It ends when dropped.
pub struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Reactors to be watched.
#[derive(Default)]
pub struct Watchlist(Vec<Patient>);

impl Watchlist {
    /// Watches and pokes an executor.
    pub fn executor(self, name: &str, pulse: Pulse) -> Self {
        self.add(name, Watched::Executor(pulse))
    }

    /// Watches a counter that a live reactor moves, as `HotStats`' passes.
    pub fn counter(self, name: &str, counter: impl Fn() -> u64 + Send + 'static) -> Self {
        self.add(name, Watched::Counter(Box::new(counter)))
    }

    fn add(mut self, name: &str, watched: Watched) -> Self {
        self.0.push(Patient { name: name.into(), watched, last: 0, moved: Instant::now(), stalled: false });
        self
    }
}

impl Watchdog {
    /// Starts to watch; `report` is called on the watchdog's thread when a stall begins and when it ends.
    pub fn start(
        mut watchlist: Watchlist,
        config: WatchdogConfig,
        mut report: impl FnMut(Stall) + Send + 'static,
    ) -> Result<Watchdog, ServiceError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watch = move || {
            let mut looks = 0u32;
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(config.look_every);
                looks = looks.wrapping_add(1);
                let poke = looks.is_multiple_of(config.looks_per_poke.max(1));
                watchlist.0.retain(|patient| !patient.is_over());
                for patient in &mut watchlist.0 {
                    patient.look(Instant::now(), poke, config.stall_after, &mut report);
                }
            }
        };
        let thread = std::thread::Builder::new().name("samara-watchdog".into()).spawn(watch).map_err(ServiceError::Watchdog)?;
        Ok(Watchdog { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of `report` was printed by its own thread.
            let _ = thread.join();
        }
    }
}

impl Patient {
    fn is_over(&self) -> bool {
        matches!(&self.watched, Watched::Executor(pulse) if pulse.is_over())
    }

    fn look(&mut self, now: Instant, poke: bool, stall_after: Duration, report: &mut impl FnMut(Stall)) {
        let count = match &mut self.watched {
            Watched::Executor(pulse) => {
                if poke {
                    pulse.poke();
                }
                pulse.beats()
            }
            Watched::Counter(counter) => counter(),
        };
        let lasted = now.saturating_duration_since(self.moved);
        if count != self.last {
            if std::mem::take(&mut self.stalled) {
                report(Stall { name: self.name.clone(), lasted, over: true });
            }
            (self.last, self.moved) = (count, now);
        } else if lasted >= stall_after && !std::mem::replace(&mut self.stalled, true) {
            report(Stall { name: self.name.clone(), lasted, over: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let began = Instant::now();
        while !condition() {
            assert!(began.elapsed() < PATIENCE, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_executor_beats_answers_pokes_and_stops_with_its_ring() {
        let (mut to_service, mut from_hot) = ring::<u32>(16).expect("an eventfd");
        let (service, mut pulse) =
            start(ServiceConfig { beat_every: Duration::from_millis(1), ..Default::default() }, move || async move {
                let mut sum = 0;
                while let Some(item) = from_hot.recv().await {
                    sum += item;
                }
                sum
            })
            .expect("io_uring and 512 KiB of locked memory are there");
        wait_until("no beat", || pulse.beats() >= 3);
        pulse.poke();
        wait_until("no answer", || pulse.answered() == 1);
        (1..=10).for_each(|item| to_service.push(item).expect("room"));
        drop(to_service);
        assert_eq!(service.join().expect("a clean end"), 55);
        assert!(pulse.is_over());
    }

    #[test]
    fn items_of_another_thread_reach_a_sleeping_executor_without_help() {
        let (mut out, mut taken) = ring::<u64>(8).expect("an eventfd");
        let (mut back, mut returned) = ring::<u64>(8).expect("an eventfd");
        let (service, pulse) = start(ServiceConfig { beat_every: Duration::from_secs(3600), ..Default::default() }, move || async move {
            while let Some(item) = taken.recv().await {
                assert!(back.push(item + 1).is_ok(), "the other side takes one at a time");
            }
        })
        .expect("an executor");
        for item in 0..2_000 {
            out.push(item).expect("room");
            let began = Instant::now();
            let answer = loop {
                match returned.pop() {
                    Some(answer) => break answer,
                    None => assert!(began.elapsed() < PATIENCE, "item {item} was not delivered"),
                }
                std::thread::yield_now();
            };
            assert_eq!(answer, item + 1);
        }
        drop(out);
        service.join().expect("a clean end");
        assert!(pulse.is_over());
    }

    #[test]
    fn a_stalled_reactor_is_reported_once_and_again_when_it_moves() {
        let count = Arc::new(AtomicU64::new(0));
        let (reports, stalls) = mpsc::channel();
        let config = WatchdogConfig { look_every: Duration::from_millis(1), looks_per_poke: 1, stall_after: Duration::from_millis(5) };
        let watched = Arc::clone(&count);
        let list = Watchlist::default().counter("hot", move || watched.load(Ordering::Relaxed));
        let dog = Watchdog::start(list, config, move |stall| reports.send(stall).expect("the test listens")).expect("a thread");
        let first = stalls.recv_timeout(PATIENCE).expect("a report");
        assert!(!first.over && first.name == "hot" && first.lasted >= config.stall_after);
        count.fetch_add(1, Ordering::Relaxed);
        assert!(stalls.recv_timeout(PATIENCE).expect("a second report").over);
        drop(dog);
    }

    #[test]
    fn a_look_compares_with_the_last_movement_exactly() {
        let start = Instant::now();
        let counter = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&counter);
        let list = Watchlist::default().counter("x", move || seen.load(Ordering::Relaxed));
        let mut patient = list.0.into_iter().next().expect("one");
        patient.moved = start;
        let (limit, mut reports) = (Duration::from_millis(100), Vec::new());
        for (ms, beats) in [(99, 0), (100, 0), (500, 0), (510, 1), (609, 1), (610, 1)] {
            counter.store(beats, Ordering::Relaxed);
            patient.look(start + Duration::from_millis(ms), false, limit, &mut |stall: Stall| reports.push((ms, stall.over)));
        }
        assert_eq!(reports, [(100, false), (510, true), (610, false)]);
    }
}
