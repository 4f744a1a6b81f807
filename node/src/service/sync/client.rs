//! Fetching: peers in turn, each continuing where the proven chain ends.

use super::super::Shared;
use super::super::link::Signal;
use super::super::telemetry::count;
use super::stream::{Identity, RecordStream};
use super::{RecordKind, SyncFault};
use crate::bridge::ToHot;
use samara_crypto::Certificate;
use samara_storage::decode_block;
use samara_types::block::genesis_digest;
use samara_types::message::{ArchivedCertificate, CertificateKind, access};
use samara_types::{Block, Digest, Height, ValidatorIndex, View};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Memory of a block beside its bytes, so that empty blocks count too.
const BLOCK_OVERHEAD: usize = 512;
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

/// Where the proven chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tip {
    height: Height,
    view: View,
    digest: Digest,
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
    let mut run = Run::default();
    loop {
        match stream.receive().await? {
            (RecordKind::Block, body) => run.add_block(tip, &body)?,
            (RecordKind::Certificate, body) => run.add_certificate(body)?,
            (RecordKind::End, _) => break,
            (RecordKind::Request, _) => return Err(SyncFault::Malformed),
        }
        let limits = &shared.sync_limits;
        if run.certified >= limits.run_blocks || (run.certified > 0 && run.bytes >= limits.run_bytes) {
            deliver(shared, &mut run, tip).await?;
        } else if run.bytes > limits.unproven_bytes_max {
            return Err(SyncFault::Unproven);
        }
    }
    if run.certified > 0 {
        deliver(shared, &mut run, tip).await?;
    }
    if tip.height == before { Err(SyncFault::Nothing) } else { Ok(()) }
}

/// Verifies the run's last certificate and hands everything up to it to the hot reactor. The run before must be durable first, so two
/// runs at the most are under way between here, the hot reactor and the disk.
async fn deliver(shared: &Shared, run: &mut Run, tip: &mut Tip) -> Result<(), SyncFault> {
    stored(shared, tip.height).await?;
    let certificate = shared.roster.verify_certificate(run.certificate()?).map_err(|_| SyncFault::BadCertificate)?;
    let (blocks, bytes) = run.take_proven(certificate);
    let last = blocks.last().expect("a certified run is not empty").0.header();
    *tip = Tip { height: last.height, view: last.view, digest: blocks.last().expect("not empty").0.digest() };
    {
        let mut counters = shared.counters.borrow_mut();
        counters.sync_fetched_blocks += blocks.len() as u64;
        counters.sync_fetched_bytes += bytes;
    }
    shared.hot.deliver(ToHot::Synced { blocks, done: false }).await;
    Ok(())
}

/// Linked blocks that are not proven yet.
#[derive(Default)]
struct Run {
    blocks: Vec<Block>,
    bytes: usize,
    /// Number of blocks up to and with the newest one that came with a certificate.
    certified: usize,
    /// That certificate, as it came.
    certificate: Vec<u8>,
}

impl Run {
    fn add_block(&mut self, tip: &Tip, body: &[u8]) -> Result<(), SyncFault> {
        let block = decode_block(body).ok_or(SyncFault::Malformed)?;
        let below =
            self.blocks.last().map_or(*tip, |last| Tip { height: last.header().height, view: last.header().view, digest: last.digest() });
        let header = block.header();
        let linked = header.height == below.height.next() && header.parent_digest == below.digest && header.parent_view == below.view;
        if !linked {
            return Err(SyncFault::Unlinked);
        }
        self.bytes += body.len() + BLOCK_OVERHEAD;
        self.blocks.push(block);
        Ok(())
    }

    /// For the newest block, once. The signature is checked when the run is delivered.
    fn add_certificate(&mut self, body: Vec<u8>) -> Result<(), SyncFault> {
        let certificate = access::<ArchivedCertificate>(&body).ok_or(SyncFault::Malformed)?;
        let newest = self.blocks.last().ok_or(SyncFault::Malformed)?;
        if self.certified == self.blocks.len() {
            return Err(SyncFault::Malformed);
        }
        let fits = certificate.kind == CertificateKind::L as u8
            && certificate.digest == newest.digest().0
            && certificate.view == newest.header().view.0;
        if !fits {
            return Err(SyncFault::BadCertificate);
        }
        self.certified = self.blocks.len();
        self.certificate = body;
        Ok(())
    }

    fn certificate(&self) -> Result<&ArchivedCertificate, SyncFault> {
        access::<ArchivedCertificate>(&self.certificate).ok_or(SyncFault::Malformed)
    }

    fn take_proven(&mut self, certificate: Certificate) -> (Vec<(Block, Option<Certificate>)>, u64) {
        let rest = self.blocks.split_off(self.certified);
        let mut proven: Vec<_> = std::mem::replace(&mut self.blocks, rest).into_iter().map(|block| (block, None)).collect();
        proven.last_mut().expect("certified is at least one").1 = Some(certificate);
        let kept: usize = self.blocks.iter().map(|block| block.payload().len() + BLOCK_OVERHEAD).sum();
        let bytes = self.bytes.saturating_sub(kept) as u64;
        self.bytes = kept;
        self.certified = 0;
        self.certificate.clear();
        (proven, bytes)
    }
}
