//! Start, dispatch, stop: see [`super`].

use super::door::Door;
use super::link::{HotLink, Signal, breathe, within};
use super::{ServiceConfig, Shared, socket, store, sync, telemetry, verify};
use crate::bridge::{NodeSnapshot, ToHot, ToService};
use glommio::{Task, TaskQueueHandle};
use samara_dataplane::ring::Receiver;
use samara_dataplane::service::{self as executor, Pulse, Role, Service};
use samara_storage::{BlockStore, StoreError};
use samara_types::{ChainId, Height, TransactionId};
use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use telemetry::{ServiceCounters, count};

/// Items taken from the ring before the other tasks have their turn.
const DISPATCH_BURST: usize = 128;
/// How long clients may read their last answers at a stop.
const DRAIN_PATIENCE: Duration = Duration::from_millis(500);
/// How far back a start looks for recent transactions: the default `dedup_heights`, beyond which a chain includes them again anyway.
const RECENT_HEIGHTS: usize = 10_000;
/// From one beat of the heart to the next. Seldom, because every beat of every validator on a shared core is a wake-up.
const BEAT: Duration = Duration::from_millis(250);

/// The service reactor could not start, or died.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A listening address cannot be taken.
    #[error("{key} = {address}: {source}")]
    Listen {
        /// Configuration key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// No executor (thread, io_uring or locked memory are missing), or it died.
    #[error(transparent)]
    Executor(#[from] executor::ServiceError),
    /// The store cannot be read at start.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running service reactor. It ends with [`ToService::Stop`], or when the sender of its ring is dropped.
pub struct ServiceHandle {
    service: Service<()>,
    pulse: Option<Pulse>,
    client_address: SocketAddr,
    sync_address: SocketAddr,
}

impl ServiceHandle {
    /// Where clients connect.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where peers catch up.
    pub fn sync_address(&self) -> SocketAddr {
        self.sync_address
    }

    /// Its pulse, once: for the process's `Watchdog`, which must poke the executor now and then.
    pub fn take_pulse(&mut self) -> Option<Pulse> {
        self.pulse.take()
    }

    /// Waits for its end.
    pub fn join(self) -> Result<(), ServiceError> {
        Ok(self.service.join()?)
    }
}

/// Binds both listeners, starts the executor and waits until it runs. Clients are served once the recent transactions are read back.
pub fn start(config: ServiceConfig) -> Result<ServiceHandle, ServiceError> {
    let clients = listen("client.listen", config.client_listen)?;
    let peers = listen("network.sync_listen", config.sync_listen)?;
    let client_address = clients.local_addr().unwrap_or(config.client_listen);
    let sync_address = peers.local_addr().unwrap_or(config.sync_listen);
    let tip = config.store.tip()?.map_or(Height(0), |(height, _, _)| height);
    let settings = executor::ServiceConfig { core: config.core, beat_every: BEAT, ..executor::ServiceConfig::default() };
    let (started, wait) = mpsc::channel();
    let (service, pulse) = executor::start(settings, move || async move {
        let _ = started.send(());
        run(config, tip, clients, peers).await;
    })?;
    if wait.recv().is_err() {
        // The sender was dropped unused: the executor could not be made, and the join says why.
        return match service.join() {
            Err(error) => Err(error.into()),
            Ok(()) => unreachable!("the main future says that it runs before it can end"),
        };
    }
    Ok(ServiceHandle { service, pulse: Some(pulse), client_address, sync_address })
}

fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServiceError> {
    TcpListener::bind(address).map_err(|source| ServiceError::Listen { key, address, source })
}

fn spawn(future: impl Future<Output = ()> + 'static, queue: TaskQueueHandle) -> Task<()> {
    glommio::spawn_local_into(future, queue).expect("the queue was made by this executor")
}

async fn run(config: ServiceConfig, tip: Height, clients: TcpListener, peers: TcpListener) {
    let recent_max = config.door.recent_max;
    let interval = config.metrics_interval;
    let (shared, mut from_hot) = share(config, tip);
    let [ingress, storing, verifying, syncing, telling] =
        [Role::Ingress, Role::Store, Role::Verify, Role::Sync, Role::Telemetry].map(Role::queue);
    remember_recent(&shared, tip, recent_max).await;
    let store = spawn(store::run(Rc::clone(&shared)), storing);
    let telemetry = spawn(telemetry::run(Rc::clone(&shared), interval), telling);
    let listeners = [
        spawn(Rc::clone(&shared.door).accept(socket::adopt(clients), ingress), ingress),
        spawn(sync::serve(Rc::clone(&shared), socket::adopt(peers), syncing), syncing),
    ];
    let workers = [
        spawn(Rc::clone(&shared.door).verify(), ingress),
        spawn(verify::run(Rc::clone(&shared)), verifying),
        spawn(sync::fetch(Rc::clone(&shared)), syncing),
    ];
    dispatch(&shared, &mut from_hot).await;
    tracing::info!("service reactor stops");
    for listener in listeners {
        listener.cancel().await;
    }
    shared.door.refuse();
    shared.writer.end();
    store.await;
    shared.door.shut();
    shared.door.drain(DRAIN_PATIENCE).await;
    for worker in workers {
        worker.cancel().await;
    }
    shared.telemetry_stop.raise();
    telemetry.await;
    telemetry::write_now(&shared).await;
    // A hot reactor that is gone, or stuck, hears it from the closed ring.
    within(DRAIN_PATIENCE, shared.hot.deliver(ToHot::Stop)).await;
}

fn share(config: ServiceConfig, tip: Height) -> (Rc<Shared>, Receiver<ToService>) {
    let hot = Rc::new(HotLink::new(config.to_hot));
    let counters = Rc::new(RefCell::new(ServiceCounters::default()));
    let shared = Shared {
        chain: config.chain,
        me: config.me,
        roster: config.roster,
        session_secret: config.session_secret.into(),
        store: config.store,
        sync_addresses: config.sync_addresses,
        sync_limits: config.sync,
        metrics_path: config.metrics,
        published: config.published,
        door: Door::new(config.chain, config.door, Rc::clone(&hot), Rc::clone(&counters)),
        hot,
        counters,
        snapshot: RefCell::new(NodeSnapshot::default()),
        writer: store::Writer::new(tip),
        gossip: verify::Gossip::default(),
        fetcher: sync::Fetcher::default(),
        telemetry_stop: Signal::default(),
    };
    (Rc::new(shared), config.from_hot)
}

/// Hands every item to its role until `Stop` or the end of the ring.
async fn dispatch(shared: &Shared, from_hot: &mut Receiver<ToService>) {
    let mut burst = 0;
    while let Some(item) = from_hot.recv().await {
        match item {
            ToService::Store(blocks, evidence) => shared.writer.push(blocks, evidence).await,
            ToService::Answer { ticket, response } => shared.door.answered(ticket.request, response),
            ToService::Verify { from, payload } => {
                shared.counters.borrow_mut().gossip_payloads += 1;
                if !shared.gossip.push(from, payload) {
                    count(&mut shared.counters.borrow_mut().gossip_dropped, "shed");
                }
            }
            ToService::Sync { from_height, peers } => shared.fetcher.start(from_height, peers),
            ToService::Snapshot(snapshot) => {
                shared.door.set_view(snapshot.view);
                shared.snapshot.replace(*snapshot);
            }
            ToService::Stop => return,
        }
        burst += 1;
        if burst == DISPATCH_BURST {
            burst = 0;
            breathe().await;
        }
    }
}

/// Reads back the newest blocks until `recent_max` transactions are known, so that a transaction finalized before a restart is answered.
async fn remember_recent(shared: &Shared, tip: Height, recent_max: usize) {
    let (store, chain) = (Arc::clone(&shared.store), shared.chain);
    let read = glommio::executor().spawn_blocking(move || recent_blocks(&*store, &chain, tip, recent_max)).await;
    match read {
        Ok(blocks) => blocks.iter().rev().for_each(|(height, ids)| shared.door.remember(height.0, ids)),
        Err(error) => tracing::warn!(%error, "recent transactions not read back: resubmissions of them are not recognised"),
    }
}

/// Newest first.
fn recent_blocks(
    store: &dyn BlockStore,
    chain: &ChainId,
    tip: Height,
    recent_max: usize,
) -> Result<Vec<(Height, Vec<TransactionId>)>, StoreError> {
    let mut blocks = Vec::new();
    let mut known = 0;
    for height in (1..=tip.0).rev().take(RECENT_HEIGHTS).map(Height) {
        let Some(block) = store.block_at(height)? else { break };
        let ids = store::transaction_ids(chain, block.payload());
        known += ids.len();
        // A long idle chain has many empty blocks; the tip is remembered even if empty.
        if !ids.is_empty() || height == tip {
            blocks.push((height, ids));
        }
        if known >= recent_max {
            break;
        }
    }
    Ok(blocks)
}
