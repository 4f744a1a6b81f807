//! One validator: opens the datagram port and gives up privileges, recovers what disk remembers, starts the service reactor, runs the hot reactor on this
//! thread until a signal.
//!
//! ```text
//! shard threads, if any: seal and send shreds
//!              ^ frames
//! this thread: HotReactor(port, sessions, Core) ──ToService──> glommio thread: door, store, verify, sync, telemetry
//!              Core: validator machine + Durable (vote log, body journal) + Meter            ──ToHot──> back
//! ```
//! A clean stop: the signal sets a flag; the core publishes its last snapshot, tells the service reactor to stop, takes what it still sends,
//! and leaves the loop when that has ended. Anything the disk refuses ends voting at once and the process with exit code 1.

mod core;
mod errands;
mod interface;
mod manager;
mod meter;
pub mod newest;
mod recorder;
mod recover;
mod strip;
pub(crate) mod wire;

use crate::bridge::{ToHot, ToService};
use crate::capture::{About, Door};
use crate::cli::TransportArg;
use crate::config::{Prepared, WaitMode};
use crate::exit::{Exit, one_line};
use crate::metrics::{Endpoint, Published, Source};
use crate::service::{self, ServiceConfig};
use samara_dataplane::port::ladder::{self, Opened, Wish};
use samara_dataplane::port::{Port, PortConfig, Transport};
use samara_dataplane::privilege;
use samara_dataplane::reactor::{HotConfig, HotReactor, OutboxLimits, ShardConfig, WaitPolicy};
use samara_dataplane::ring::ring;
use samara_dataplane::service::{Stall, Watchdog, WatchdogConfig, Watchlist};
use samara_dataplane::session::{SessionConfig, SessionLimits, Sessions};
use samara_storage::{BlockStore, RocksStore};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

/// Items between the reactors, each direction. A full ring refuses clients and sheds gossip; blocks to store wait in the core.
const RING_ITEMS: usize = 4_096;
/// From one metrics file to the next.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT.
pub fn command(prepared: Prepared) -> Result<(), Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| Exit::Host(format!("cannot handle signals: {error}")))?;
    }
    let dump = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&dump))
        .map_err(|error| Exit::Host(format!("cannot handle signals: {error}")))?;
    // First, alone: this needs privileges, and every thread that is started later inherits what is left of them.
    let ports = set_up(&prepared)?;
    let layout = &prepared.config.layout;
    manager::say("recovering");
    std::fs::create_dir_all(&layout.blocks)
        .map_err(|error| Exit::bad("node.data_dir", layout.blocks.display(), format!("a writable directory ({error})")))?;
    let store = RocksStore::open(&layout.blocks, prepared.genesis.chain).map_err(Exit::failed)?;
    let store: Arc<dyn BlockStore> = Arc::new(store);
    let started = Started::new(&prepared, ports, &store, stop, dump)?;
    started.run()
}

/// The hot reactor's port, and one for each of its shards.
struct Ports {
    hot: Box<dyn Port>,
    shards: Vec<Box<dyn Port>>,
}

struct Started {
    reactor: HotReactor<core::Core>,
    service: service::ServiceHandle,
    watchdog: Watchdog,
    metrics: Option<Endpoint>,
    door: Option<Door>,
    manager: Option<manager::Manager>,
}

impl Started {
    fn new(
        prepared: &Prepared,
        ports: Ports,
        store: &Arc<dyn BlockStore>,
        stop: Arc<AtomicBool>,
        dump: Arc<AtomicBool>,
    ) -> Result<Started, Exit> {
        let base = Instant::now();
        let boot_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let rung = ports.hot.rung().to_string();
        let (to_hot, from_service) = ring::<ToHot>(RING_ITEMS).map_err(|error| Exit::Host(error.to_string()))?;
        let (to_service, from_hot) = ring::<ToService>(RING_ITEMS).map_err(|error| Exit::Host(error.to_string()))?;
        let roster = Arc::new(recover::roster_of(prepared));
        let recovered = recover::recover(prepared, store.as_ref(), &roster)?;
        let sessions = Sessions::new(session_config(prepared, boot_ns), recover::random_seed()?);
        let local = ports.hot.local_addr();
        let links =
            core::Links { to_service: errands::Errands::new(to_service), from_service, stop: Arc::clone(&stop), dump, rung: rung.clone() };
        let core = core::Core::new(prepared, Arc::clone(&roster), recovered, links, boot_ns, base);
        let mut reactor = HotReactor::new(ports.hot, sessions, core, hot_config(prepared, base));
        let shards = ports.shards.into_iter().enumerate().map(|(number, port)| (port, shard_config(prepared, number))).collect();
        reactor.shard(shards).map_err(|error| Exit::Host(error.to_string()))?;
        let mut service = service_config(prepared, roster, store, to_hot, from_hot);
        let metrics = endpoint(prepared, &reactor, &mut service);
        let published = Arc::clone(&service.published);
        let mut service = service::start(service).map_err(service_exit)?;
        tracing::info!(client = %service.client_address(), sync = %service.sync_address(), "service reactor");
        let watchdog = watch(&reactor, &mut service)?;
        let door = open_door(prepared, &reactor, local, rung);
        let stats = reactor.stats();
        let manager = manager::Manager::start(move || stats.snapshot().passes[0], published, stop);
        Ok(Started { reactor, service, watchdog, metrics, door, manager })
    }

    fn run(self) -> Result<(), Exit> {
        let core = self.reactor.run();
        let failure = core.into_failure();
        drop(self.watchdog);
        drop(self.metrics);
        drop(self.door);
        drop(self.manager);
        self.service.join().map_err(Exit::failed)?;
        tracing::info!("stopped");
        failure.map_or(Ok(()), |failure| Err(Exit::failed(failure)))
    }
}

/// The metrics endpoint, if the configuration wants one. An address that is taken is the endpoint's trouble, not the validator's.
fn endpoint(prepared: &Prepared, reactor: &HotReactor<core::Core>, service: &mut ServiceConfig) -> Option<Endpoint> {
    let listen = prepared.config.metrics.listen?;
    let layout = prepared.config.layout.clone();
    let directory = layout.metrics.parent().map(std::path::Path::to_path_buf).unwrap_or_default();
    let chain = samara_types::digest::hex(&prepared.genesis.chain.0);
    let source = Source::new(Arc::clone(&service.published), reactor.stats(), layout, chain);
    Some(Endpoint::start(listen, &directory, source))
}

/// The socket for `samara capture`. A validator runs as well without it.
fn open_door(prepared: &Prepared, reactor: &HotReactor<core::Core>, local: std::net::SocketAddr, rung: String) -> Option<Door> {
    let addresses: Vec<_> = prepared.genesis.addresses.iter().map(|addresses| addresses.datagram).collect();
    let own = addresses[prepared.me.at()];
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_string(),
        chain: samara_types::digest::hex(&prepared.genesis.chain.0),
        seat: prepared.me.0,
        local: if local.ip().is_unspecified() { own } else { local },
        rung,
        addresses,
    };
    let path = &prepared.config.layout.door;
    let door = Door::open(path, reactor.taps(), about);
    door.inspect_err(|error| tracing::warn!(%error, path = %path.display(), "no door for captures")).ok()
}

/// Looks after both reactors: pokes the executor out of glommio's lost wake-up window, and says when one stands still.
fn watch(reactor: &HotReactor<core::Core>, service: &mut service::ServiceHandle) -> Result<Watchdog, Exit> {
    let stats = reactor.stats();
    let mut watchlist = Watchlist::default().counter("hot", move || stats.snapshot().passes[0]);
    if let Some(pulse) = service.take_pulse() {
        watchlist = watchlist.executor("service", pulse);
    }
    let report = |stall: Stall| {
        let lasted_ms = stall.lasted.as_millis() as u64;
        if stall.over {
            tracing::warn!(reactor = stall.name, lasted_ms, "reactor moves again");
        } else {
            tracing::warn!(reactor = stall.name, lasted_ms, "reactor stands still");
        }
    };
    Watchdog::start(watchlist, WatchdogConfig::default(), report).map_err(|error| Exit::Host(error.to_string()))
}

/// An address that cannot be taken is a configuration error; everything else is the host's.
fn service_exit(error: service::ServiceError) -> Exit {
    match error {
        service::ServiceError::Listen { key, address, source } => Exit::bad(key, address, format!("a free local address ({source})")),
        other => Exit::Host(other.to_string()),
    }
}

/// The privileged part: limits, the ports. Then privileges end.
fn set_up(prepared: &Prepared) -> Result<Ports, Exit> {
    // AF_XDP and io_uring pin memory, which is accounted as long as no capability exempts from it. Where it may not be raised, what is opened says so.
    let limit = rustix::process::Rlimit { current: None, maximum: None };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Memlock, limit);
    let Opened { port, why, doubt } = open_port(prepared)?;
    tracing::info!(rung = port.rung(), why, address = %port.local_addr(), "datagram port");
    if let Some(doubt) = doubt {
        tracing::warn!(doubt, "datagram port");
    }
    let shards =
        (0..prepared.config.reactor.shards).map(|number| open_sender(prepared, port.as_ref(), number)).collect::<Result<_, _>>()?;
    if !prepared.config.keep_capabilities {
        let given_up =
            privilege::drop_all_but(kept(prepared)).map_err(|error| Exit::Host(format!("cannot give up privileges: {error}")))?;
        tracing::info!(given_up, "privileges");
    }
    Ok(Ports { hot: port, shards })
}

/// What the rest of the start still needs.
fn kept(prepared: &Prepared) -> privilege::CapabilitySet {
    let metrics = prepared.config.metrics.listen.map(|listen| listen.port());
    let mut ports = [prepared.client_listen().port(), prepared.sync_listen().port()].into_iter().chain(metrics);
    if ports.any(|port| (1..1024).contains(&port)) { privilege::LOW_PORTS } else { privilege::CapabilitySet::empty() }
}

fn open_port(prepared: &Prepared) -> Result<Opened, Exit> {
    let network = &prepared.config.network;
    let transport = match network.transport {
        TransportArg::Auto => Transport::Auto,
        TransportArg::Uring => Transport::Uring,
        TransportArg::Udp => Transport::Udp,
        TransportArg::Xdp => Transport::Xdp,
    };
    let wish = Wish { transport, port: port_config(prepared), xdp: network.xdp.clone() };
    ladder::open(&wish, prepared.datagram_listen())
        .map_err(|error| Exit::Host(one_line(&format!("network.transport = {transport}: {error}"))))
}

fn port_config(prepared: &Prepared) -> PortConfig {
    let network = &prepared.config.network;
    let frames = (network.frames / 2).clamp(64, 32_768);
    PortConfig { rx_frames: frames, tx_frames: frames, socket_buffer_bytes: network.socket_buffer_bytes, ..PortConfig::default() }
}

/// The port of a send shard.
fn open_sender(prepared: &Prepared, hot: &dyn Port, number: usize) -> Result<Box<dyn Port>, Exit> {
    let port = hot
        .sender(number as u32, &port_config(prepared))
        .map_err(|error| Exit::Host(one_line(&format!("reactor.shards = {}: {error}", prepared.config.reactor.shards))))?;
    tracing::info!(shard = number, rung = port.rung(), "send shard");
    Ok(port)
}

fn session_config(prepared: &Prepared, boot_ns: u64) -> SessionConfig {
    let genesis = &prepared.genesis;
    let keys = genesis.set.entries().iter().map(|entry| entry.session_key);
    SessionConfig {
        chain: genesis.chain,
        me: prepared.me,
        secret: *prepared.keyring.session.to_bytes(),
        peers: keys.zip(genesis.addresses.iter().map(|addresses| addresses.datagram)).collect(),
        cluster_fingerprint: genesis.fingerprint(),
        boot_ns,
        limits: SessionLimits::default(),
    }
}

fn wait_policy(prepared: &Prepared) -> WaitPolicy {
    let reactor = &prepared.config.reactor;
    match reactor.wait {
        WaitMode::Busy => WaitPolicy::Busy,
        WaitMode::Adaptive => WaitPolicy::Adaptive { spin: Duration::from_micros(reactor.spin_us) },
        WaitMode::Park => WaitPolicy::Park,
    }
}

fn shard_config(prepared: &Prepared, number: usize) -> ShardConfig {
    let reactor = &prepared.config.reactor;
    let slice = Some(Duration::from_micros(reactor.slice_us));
    ShardConfig { core: reactor.shard_cores.get(number).copied(), wait: wait_policy(prepared), slice }
}

fn hot_config(prepared: &Prepared, base: Instant) -> HotConfig {
    let reactor = &prepared.config.reactor;
    let frames = (prepared.config.network.frames / 2).clamp(64, 32_768);
    // Three quarters of the send frames may wait as shreds; the rest stays free for what is more urgent.
    let queued = [frames / 8, frames / 8, frames * 3 / 4, frames / 4].map(|queued| queued.max(8));
    let outbox = OutboxLimits { queued, ..OutboxLimits::default() };
    HotConfig {
        core: reactor.hot_core,
        wait: wait_policy(prepared),
        slice: Some(Duration::from_micros(reactor.slice_us)),
        base,
        order: prepared.genesis.set.by_stake(),
        outbox,
        ..HotConfig::default()
    }
}

fn service_config(
    prepared: &Prepared,
    roster: Arc<samara_crypto::Roster>,
    store: &Arc<dyn BlockStore>,
    to_hot: samara_dataplane::ring::Sender<ToHot>,
    from_hot: samara_dataplane::ring::Receiver<ToService>,
) -> ServiceConfig {
    let client = &prepared.config.client;
    ServiceConfig {
        chain: prepared.genesis.chain,
        me: prepared.me,
        roster,
        session_secret: *prepared.keyring.session.to_bytes(),
        store: Arc::clone(store),
        client_listen: prepared.client_listen(),
        sync_listen: prepared.sync_listen(),
        sync_addresses: prepared.genesis.addresses.iter().map(|addresses| addresses.sync).collect(),
        metrics: Some(prepared.config.layout.metrics.clone()),
        published: Arc::<Published>::default(),
        metrics_interval: METRICS_INTERVAL,
        core: prepared.config.reactor.service_core,
        door: service::DoorLimits {
            connections_max: client.connections_max,
            in_flight_max: client.in_flight_max,
            ..service::DoorLimits::default()
        },
        sync: service::SyncLimits::default(),
        to_hot,
        from_hot,
    }
}
