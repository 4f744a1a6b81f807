//! Fetching: peers in turn, each continuing where the proven chain ends.

use super::super::Shared;
use super::super::link::Signal;
use super::super::telemetry::count;
use super::stream::{Identity, RecordStream};
use super::{RecordKind, SyncFault, SyncLimits};
use crate::bridge::ToHot;
use samara_consensus::Tip;
use samara_storage::decode_block;
use samara_types::block::genesis_digest;
use samara_types::{Height, ValidatorIndex, View};
use samara_validator::catch_up::Run;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long the store may need to reach the height below the first one wanted.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// The order of a fetch, one at a time.
#[derive(Default)]
pub(in super::super) struct Fetcher {
    order: RefCell<Option<(Height, Vec<ValidatorIndex>)>>,
    ordered: Signal,
    running: Cell<bool>,
}

impl Fetcher {
    /// Starts a fetch unless one runs.
    pub(in super::super) fn start(&self, from: Height, peers: Vec<ValidatorIndex>) {
        if !self.running.replace(true) {
            *self.order.borrow_mut() = Some((from, peers));
            self.ordered.raise();
        }
    }
}

/// Fetches as ordered, for ever.
pub(in super::super) async fn run(shared: Rc<Shared>) {
    loop {
        shared.fetcher.ordered.wait().await;
        let Some((from, peers)) = shared.fetcher.order.take() else { continue };
        fetch(&shared, from, &peers).await;
        shared.fetcher.running.set(false);
        shared.hot.deliver(ToHot::Synced { blocks: Vec::new(), done: true }).await;
    }
}

/// Until a peer's tip is reached or no peer is left.
async fn fetch(shared: &Shared, from: Height, peers: &[ValidatorIndex]) {
    let Some(mut tip) = our_tip(shared, from).await else {
        count(&mut shared.counters.borrow_mut().sync_peer_faults, SyncFault::Store.as_str());
        return;
    };
    for &peer in peers {
        if peer == shared.me || peer.at() >= shared.sync_addresses.len() {
            continue;
        }
        let result = fetch_from(shared, peer, &mut tip).await;
        tracing::info!(%peer, height = %tip.height, fault = result.err().map(SyncFault::as_str), "catch-up");
        match result {
            Ok(()) => return,
            Err(fault) => count(&mut shared.counters.borrow_mut().sync_peer_faults, fault.as_str()),
        }
    }
}

/// The block below `from`. The hot reactor may be ahead of the store by what is still being written, so this waits for it.
async fn our_tip(shared: &Shared, from: Height) -> Option<Tip> {
    let height = Height(from.0.saturating_sub(1));
    if height == Height(0) {
        return Some(Tip { height, view: View::GENESIS, digest: genesis_digest(&shared.chain) });
    }
    stored(shared, height).await.ok()?;
    let block = shared.store.block_at(height).ok().flatten()?;
    Some(Tip { height, view: block.header().view, digest: block.digest() })
}

/// Until the store has reached `height`.
async fn stored(shared: &Shared, height: Height) -> Result<(), SyncFault> {
    let started = Instant::now();
    while shared.writer.stored() < height {
        if shared.writer.failed() || started.elapsed() > STORE_PATIENCE {
            return Err(SyncFault::Store);
        }
        glommio::timer::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Everything one peer has beyond `tip`, which moves with every proven run.
async fn fetch_from(shared: &Shared, peer: ValidatorIndex, tip: &mut Tip) -> Result<(), SyncFault> {
    let identity = Identity { chain: &shared.chain, secret: &shared.session_secret };
    let their_key = &shared.roster.set().entries()[peer.at()].session_key;
    let address = shared.sync_addresses[peer.at()];
    let mut stream = RecordStream::connect(identity, address, their_key, shared.sync_limits.patience).await?;
    stream.send(RecordKind::Request, &tip.height.next().0.to_le_bytes()).await?;
    let before = tip.height;
    let (mut run, mut pace) = (Run::default(), Pace::default());
    loop {
        match pace.receive(&mut stream, &shared.sync_limits).await? {
            (RecordKind::Block, body) => run.add_block(tip, decode_block(&body).ok_or(SyncFault::Malformed)?, body.len())?,
            (RecordKind::Certificate, body) => run.add_certificate(body)?,
            (RecordKind::End, _) => break,
            (RecordKind::Request, _) => return Err(SyncFault::Malformed),
        }
        let limits = &shared.sync_limits;
        if run.certified() >= limits.run_blocks || (run.certified() > 0 && run.bytes() >= limits.run_bytes) {
            deliver(shared, &mut run, tip).await?;
        } else if run.bytes() > limits.unproven_bytes_max {
            return Err(SyncFault::Unproven);
        }
    }
    if run.certified() > 0 {
        deliver(shared, &mut run, tip).await?;
    }
    if tip.height == before { Err(SyncFault::Nothing) } else { Ok(()) }
}

/// How fast a peer sends, by the time spent waiting for it.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// The next record; a fault if the peer has been too slow up to and with it.
    async fn receive(&mut self, stream: &mut RecordStream, limits: &SyncLimits) -> Result<(RecordKind, Vec<u8>), SyncFault> {
        let began = Instant::now();
        let record = stream.receive().await?;
        self.waited += began.elapsed();
        self.bytes += record.1.len() as u64;
        let allowed = limits.patience + Duration::from_secs_f64(self.bytes as f64 / limits.bytes_per_second_min as f64);
        if self.waited > allowed { Err(SyncFault::TimedOut) } else { Ok(record) }
    }
}

/// Verifies the run's last certificate and hands everything up to it to the hot reactor. The run before must be durable first, so two
/// runs at the most are under way between here, the hot reactor and the disk.
async fn deliver(shared: &Shared, run: &mut Run, tip: &mut Tip) -> Result<(), SyncFault> {
    stored(shared, tip.height).await?;
    let (blocks, bytes) = run.prove(&shared.roster, tip)?;
    {
        let mut counters = shared.counters.borrow_mut();
        counters.sync_fetched_blocks += blocks.len() as u64;
        counters.sync_fetched_bytes += bytes;
    }
    shared.hot.deliver(ToHot::Synced { blocks, done: false }).await;
    Ok(())
}
