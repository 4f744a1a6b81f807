//! Ranges and relations of the configuration, in one place.

use super::raw::{Raw, RawReactor, RawXdp, RawXdpMode};
use super::{Client, Layout, Log, Mempool, MetricsListen, Network, NodeConfig, Reactor};
use crate::exit::Exit;
use samara_dataplane::port::ladder::XdpWish;
use samara_dataplane::xdp::{BusyPoll, XdpMode};
use samara_types::ChainId;
use samara_types::digest::Digest;
use samara_types::transaction::TRANSACTION_BYTES_MAX;
use std::path::Path;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Turns what was read into a configuration whose every value can be used.
pub(super) fn check(raw: Raw, directory: &Path) -> Result<NodeConfig, Exit> {
    let chain =
        Digest::from_hex(&raw.chain.id).ok_or_else(|| Exit::bad("chain.id", &raw.chain.id, "64 hexadecimal digits, as in genesis.toml"))?;
    let network = Network {
        listen: raw.network.listen,
        sync_listen: raw.network.sync_listen,
        transport: raw.network.transport,
        frames: range("network.frames", raw.network.frames, 256, 1 << 20)?,
        socket_buffer_bytes: range("network.socket_buffer_bytes", raw.network.socket_buffer_bytes, 64 << 10, 1 << 30)?,
        xdp: xdp(raw.network.xdp)?,
    };
    if !network.frames.is_power_of_two() {
        return Err(Exit::bad("network.frames", network.frames, "a power of two"));
    }
    let client = Client {
        listen: raw.client.listen,
        in_flight_max: range("client.in_flight_max", raw.client.in_flight_max, 1, 1 << 20)?,
        connections_max: range("client.connections_max", raw.client.connections_max, 1, 65_536)?,
    };
    let mempool = Mempool {
        transactions_max: range("mempool.transactions_max", raw.mempool.transactions_max, 1, 1 << 22)?,
        bytes_max: range("mempool.bytes_max", raw.mempool.bytes_max, TRANSACTION_BYTES_MAX as u64, 4 << 30)?,
    };
    EnvFilter::try_new(&raw.log.level).map_err(|error| {
        Exit::bad("log.level", &raw.log.level, format!("error, warn, info, debug, trace or a tracing filter ({error})"))
    })?;
    Ok(NodeConfig {
        chain: ChainId(chain.0),
        genesis: directory.join(&raw.node.genesis),
        keys: directory.join(&raw.node.keys),
        index: raw.node.index,
        keep_capabilities: raw.node.keep_capabilities,
        input_ring_bytes: range("node.input_ring_bytes", raw.node.input_ring_bytes, 0, 16 << 30)?,
        layout: Layout::new(&directory.join(&raw.node.data_dir)),
        network,
        reactor: reactor(&raw.reactor)?,
        client,
        mempool,
        metrics: MetricsListen { listen: raw.metrics.listen },
        log: Log { level: raw.log.level, format: raw.log.format },
    })
}

fn xdp(raw: RawXdp) -> Result<XdpWish, Exit> {
    if let Some(name) = raw.interface.as_ref().filter(|name| name.is_empty() || name.len() > 15 || name.contains('/')) {
        return Err(Exit::bad("network.xdp.interface", name, "the name of a network interface, 1 to 15 bytes"));
    }
    let queue = range("network.xdp.queue", raw.queue.into(), 0, 255)? as u32;
    if ![2048, 4096].contains(&raw.frame_bytes) {
        return Err(Exit::bad("network.xdp.frame_bytes", raw.frame_bytes, "2048, 4096"));
    }
    let time = Duration::from_micros(range("network.xdp.busy_poll_us", raw.busy_poll_us, 0, 1000)? as u64);
    let budget = range("network.xdp.busy_poll_budget", raw.busy_poll_budget, 1, 64)? as u16;
    let mode = match raw.mode {
        RawXdpMode::Auto => None,
        RawXdpMode::ZeroCopy => Some(XdpMode::ZeroCopy),
        RawXdpMode::Native => Some(XdpMode::Native),
        RawXdpMode::Skb => Some(XdpMode::Skb),
    };
    let busy_poll = (!time.is_zero()).then(|| BusyPoll { time, budget, ..BusyPoll::default() });
    Ok(XdpWish { interface: raw.interface, queue, mode, chunk_bytes: raw.frame_bytes as usize, busy_poll })
}

/// More threads than that have nothing to do: each seals and sends some hundred thousand datagrams a second.
const SHARDS_MAX: u64 = 16;

fn reactor(raw: &RawReactor) -> Result<Reactor, Exit> {
    // Not those this process may use at the moment: isolated cores, which are meant for reactors, are not among them.
    let online = samara_tuning::host::Host::real().online_cpus();
    // A kernel that does not say which it has leaves the judgement to the pinning.
    let is_one = |core: &usize| online.is_empty() || online.iter().any(|cpu| cpu as usize == *core);
    let shards = range("reactor.shards", raw.shards, 0, SHARDS_MAX)?;
    if !raw.shard_cores.is_empty() && raw.shard_cores.len() != shards {
        return Err(Exit::bad(
            "reactor.shard_cores",
            format!("{:?}", raw.shard_cores),
            format!("[], or a core for each of {shards} shards"),
        ));
    }
    let named = [("reactor.hot_core", raw.hot_core), ("reactor.service_core", raw.service_core)];
    for (key, core) in named.into_iter().chain(raw.shard_cores.iter().map(|core| ("reactor.shard_cores", Some(*core)))) {
        if let Some(core) = core.filter(|core| !is_one(core)) {
            return Err(Exit::bad(key, core, format!("{online}, a core of this host")));
        }
    }
    range("reactor.spin_us", raw.spin_us, 0, 10_000)?;
    range("reactor.slice_us", raw.slice_us, 100, 100_000)?;
    Ok(Reactor {
        hot_core: raw.hot_core,
        service_core: raw.service_core,
        wait: raw.wait,
        spin_us: raw.spin_us,
        slice_us: raw.slice_us,
        shards,
        shard_cores: raw.shard_cores.clone(),
    })
}

fn range(key: &str, value: u64, low: u64, high: u64) -> Result<usize, Exit> {
    let fits = (low..=high).contains(&value);
    fits.then_some(value as usize).ok_or_else(|| Exit::bad(key, value, format!("{low} to {high}")))
}
