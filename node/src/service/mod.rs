//! The service reactor: everything that waits, on one glommio executor with a task queue per role.
//!
//! ```text
//!              +-- door: client TCP, batch verification, answers ----+
//! ToService -->+-- store: group commits -> Finalized, Stored --------+--> ToHot
//!   (ring)     +-- verify: gossiped transactions --------------------+    (ring)
//!              +-- sync: catch-up server and client -----------------+
//!              +-- telemetry: metrics.json, metrics endpoint
//! ```
//! The dispatcher reads the ring in order and stops reading only while the store's pile is full, which is how a slow disk slows consensus.
//! Tasks share state through `Rc`; nothing here is `Send`. Nothing spins (see `link`). The executor beats for `samara_dataplane::service`:
//! whoever starts it gives [`ServiceHandle::take_pulse`] to the process's watchdog, which reports stalls and pokes it now and then.
//!
//! Stop: no new connections, submissions answered `Unavailable`, the pile committed and its clients answered, the rest given up with
//! `Dropped`, clients get half a second to read, the last metrics are written, the hot reactor hears `Stop`.

mod door;
mod link;
mod reactor;
mod socket;
mod store;
mod sync;
mod telemetry;
mod verify;

#[cfg(test)]
pub(in crate::service) mod tests;

pub use door::DoorLimits;
pub use reactor::{ServiceError, ServiceHandle, start};
pub use sync::{SyncFault, SyncLimits};
pub use telemetry::{Metrics, ProcessUse, Reasons, ServiceCounters};

use crate::bridge::{NodeSnapshot, ToHot, ToService};
use crate::metrics::Published;
use door::Door;
use link::{HotLink, Signal};
use samara_crypto::Roster;
use samara_dataplane::ring::{Receiver, Sender};
use samara_storage::BlockStore;
use samara_types::{ChainId, ValidatorIndex};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What the service reactor needs.
pub struct ServiceConfig {
    /// The chain.
    pub chain: ChainId,
    /// This validator.
    pub me: ValidatorIndex,
    /// Keys and quorums of the set.
    pub roster: Arc<Roster>,
    /// X25519 secret behind our session key.
    pub session_secret: [u8; 32],
    /// The block store; this reactor is its only writer.
    pub store: Arc<dyn BlockStore>,
    /// Where clients connect; port 0 takes a free one.
    pub client_listen: SocketAddr,
    /// Where peers connect for catch-up; port 0 takes a free one.
    pub sync_listen: SocketAddr,
    /// Catch-up addresses of the whole set in index order.
    pub sync_addresses: Vec<SocketAddr>,
    /// Metrics file; None writes none.
    pub metrics: Option<PathBuf>,
    /// Where the same figures are left for the metrics endpoint.
    pub published: Arc<Published>,
    /// Time between two writes of it.
    pub metrics_interval: Duration,
    /// Core to pin to; None leaves it to the kernel.
    pub core: Option<usize>,
    /// Bounds of the client door.
    pub door: DoorLimits,
    /// Bounds of catch-up.
    pub sync: SyncLimits,
    /// To the hot reactor.
    pub to_hot: Sender<ToHot>,
    /// From the hot reactor.
    pub from_hot: Receiver<ToService>,
}

/// What the tasks of the executor share.
struct Shared {
    chain: ChainId,
    me: ValidatorIndex,
    roster: Arc<Roster>,
    session_secret: zeroize::Zeroizing<[u8; 32]>,
    store: Arc<dyn BlockStore>,
    sync_addresses: Vec<SocketAddr>,
    sync_limits: SyncLimits,
    metrics_path: Option<PathBuf>,
    published: Arc<Published>,
    hot: Rc<HotLink>,
    counters: Rc<RefCell<ServiceCounters>>,
    snapshot: RefCell<NodeSnapshot>,
    door: Rc<Door>,
    writer: store::Writer,
    gossip: verify::Gossip,
    fetcher: sync::Fetcher,
    telemetry_stop: Signal,
}
