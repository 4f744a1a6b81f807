//! Serving catch-up: stored bytes from a height on, to members of the set only.
//!
//! Bounds: connections at once, members served at once (one connection each), bytes per second, and a deadline on every step, so a peer that does not read costs one
//! connection for a few seconds. The store's tip always has an L-notarization, so a stream that ends there is proven.

use super::super::Shared;
use super::super::telemetry::count;
use super::stream::{Identity, RecordStream};
use super::{RecordKind, SyncFault};
use glommio::TaskQueueHandle;
use glommio::net::{TcpListener, TcpStream};
use samara_storage::{BlockStore, StoreError};
use samara_types::message::{CertificateKind, encode};
use samara_types::{Height, ValidatorIndex, message};
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Blocks read from the store at once.
const READ_BLOCKS: usize = 32;

/// Connections being served.
#[derive(Default)]
struct Slots {
    count: usize,
    peers: HashSet<ValidatorIndex>,
}

/// Accepts catch-up connections for ever; each is served in `queue`.
pub(in super::super) async fn accept(shared: Rc<Shared>, listener: TcpListener, queue: TaskQueueHandle) {
    let served = Rc::new(RefCell::new(Slots::default()));
    loop {
        let Ok(stream) = listener.accept().await else {
            refused(&shared, SyncFault::Unreachable);
            glommio::timer::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if served.borrow().count >= shared.sync_limits.connections_max {
            refused(&shared, SyncFault::Busy);
            continue;
        }
        served.borrow_mut().count += 1;
        let (shared, served) = (Rc::clone(&shared), Rc::clone(&served));
        let task = glommio::spawn_local_into(
            async move {
                if let Err(fault) = serve(&shared, &served, stream).await {
                    refused(&shared, fault);
                }
                served.borrow_mut().count -= 1;
            },
            queue,
        );
        if let Ok(task) = task {
            task.detach();
        }
    }
}

fn refused(shared: &Shared, fault: SyncFault) {
    count(&mut shared.counters.borrow_mut().sync_server_refused, fault.as_str());
}

async fn serve(shared: &Shared, served: &RefCell<Slots>, stream: TcpStream) -> Result<(), SyncFault> {
    let identity = Identity { chain: &shared.chain, secret: &shared.session_secret };
    let (mut stream, key) = RecordStream::accept(identity, stream, shared.sync_limits.patience).await?;
    let set = shared.roster.set();
    let peer = set.indexes().find(|index| set.entries()[index.at()].session_key == key).ok_or(SyncFault::Stranger)?;
    let room = served.borrow().peers.len() < shared.sync_limits.served_max;
    if !room || !served.borrow_mut().peers.insert(peer) {
        return Err(SyncFault::Busy);
    }
    let result = answer(shared, &mut stream).await;
    served.borrow_mut().peers.remove(&peer);
    tracing::debug!(%peer, ?result, "catch-up connection served");
    result
}

async fn answer(shared: &Shared, stream: &mut RecordStream) -> Result<(), SyncFault> {
    let (RecordKind::Request, body) = stream.receive().await? else { return Err(SyncFault::Malformed) };
    let mut next = Height(u64::from_le_bytes(body.try_into().map_err(|_| SyncFault::Malformed)?).max(1));
    let mut pace = Pace::new(shared.sync_limits.served_bytes_per_second);
    loop {
        let store = Arc::clone(&shared.store);
        let run = glommio::executor().spawn_blocking(move || read_run(&*store, next)).await.map_err(|_| SyncFault::Store)?;
        if run.is_empty() {
            return stream.send(RecordKind::End, &[]).await;
        }
        for (block, certificate) in run {
            stream.send(RecordKind::Block, &block).await?;
            if let Some(certificate) = certificate {
                stream.send(RecordKind::Certificate, &encode(&certificate)).await?;
            }
            {
                let mut counters = shared.counters.borrow_mut();
                counters.sync_served_blocks += 1;
                counters.sync_served_bytes += block.len() as u64;
            }
            next = next.next();
            pace.sent(block.len()).await;
        }
    }
}

/// A block as stored, with its L-notarization if it has one of its own.
type Served = (Vec<u8>, Option<message::Certificate>);

/// The next blocks.
fn read_run(store: &dyn BlockStore, from: Height) -> Result<Vec<Served>, StoreError> {
    let blocks = store.blocks_from(from, READ_BLOCKS)?;
    let with_certificate = |block: samara_storage::StoredBlock| {
        let certificate = store.certificate(block.header().view, CertificateKind::L)?;
        Ok((block.into_bytes(), certificate))
    };
    blocks.into_iter().map(with_certificate).collect()
}

/// Keeps a stream at or below a rate.
struct Pace {
    bytes_per_second: u64,
    started: Instant,
    sent: u64,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second, started: Instant::now(), sent: 0 }
    }

    /// Waits until `bytes` more fit the rate.
    async fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        let due = Duration::from_micros(self.sent.saturating_mul(1_000_000) / self.bytes_per_second.max(1));
        let ahead = due.saturating_sub(self.started.elapsed());
        // Below a timer's resolution the wait would cost more than it slows.
        if ahead > Duration::from_millis(1) {
            glommio::timer::sleep(ahead).await;
        }
    }
}
