//! The block-store writer: whatever piled up becomes durable with one synced commit, and only then is anything acknowledged.
//!
//! ```text
//! ToService::Store -> pile (bounded: the ring is not read while it is full) -> BlockStore::commit on a blocking thread
//!   -> Finalized to waiting clients -> ToHot::Stored{height}
//! ```
//! Blocks are committed in the order they came. After the first failed commit nothing more is written or acknowledged: the hot reactor
//! hears `StoreFailed`, waiting clients are told that their transactions were given up.

use super::Shared;
use super::link::Signal;
use crate::bridge::ToHot;
use samara_storage::{BlockStore, FinalizedBlock, StoreError};
use samara_types::transaction::iterate;
use samara_types::{ChainId, Evidence, Height, TransactionId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Payload bytes that may wait for the disk before the ring is no longer read.
const PILE_BYTES_MAX: usize = 64 << 20;

#[derive(Default)]
struct Pile {
    blocks: Vec<FinalizedBlock>,
    evidence: Vec<Evidence>,
    bytes: usize,
}

/// What waits for the disk.
#[derive(Default)]
pub(super) struct Writer {
    pile: RefCell<Pile>,
    work: Signal,
    room: Signal,
    ending: Cell<bool>,
    failed: Cell<bool>,
    stored: Cell<Height>,
}

impl Writer {
    /// A writer whose store ends at `stored`.
    pub(super) fn new(stored: Height) -> Writer {
        Writer { stored: Cell::new(stored), ..Writer::default() }
    }

    /// Adds to the pile; waits first while it is full.
    pub(super) async fn push(&self, blocks: Vec<FinalizedBlock>, evidence: Vec<Evidence>) {
        while self.pile.borrow().bytes >= PILE_BYTES_MAX && !self.failed.get() {
            self.room.wait().await;
        }
        if self.failed.get() {
            return;
        }
        let mut pile = self.pile.borrow_mut();
        pile.bytes += blocks.iter().map(|finalized| finalized.block.payload().len() + 1_024).sum::<usize>();
        pile.blocks.extend(blocks);
        pile.evidence.extend(evidence);
        self.work.raise();
    }

    /// Commits what is there, then [`run`] returns.
    pub(super) fn end(&self) {
        self.ending.set(true);
        self.work.raise();
    }

    /// Height of the last durable block.
    pub(super) fn stored(&self) -> Height {
        self.stored.get()
    }

    /// Whether the store refused a write.
    pub(super) fn failed(&self) -> bool {
        self.failed.get()
    }
}

/// Commits until [`Writer::end`] or the first failure.
pub(super) async fn run(shared: Rc<Shared>) {
    let writer = &shared.writer;
    loop {
        let pile = writer.pile.take();
        writer.room.raise();
        if pile.blocks.is_empty() && pile.evidence.is_empty() {
            if writer.ending.get() {
                return;
            }
            writer.work.wait().await;
            continue;
        }
        if let Err(error) = commit(&shared, pile).await {
            return fail(&shared, &error).await;
        }
    }
}

/// One synced commit, then the answers.
async fn commit(shared: &Shared, pile: Pile) -> Result<(), StoreError> {
    let started = Instant::now();
    let store = Arc::clone(&shared.store);
    let chain = shared.chain;
    let last = pile.blocks.last().map(|finalized| finalized.block.header().height);
    let count = pile.blocks.len() as u64;
    let durable = move || commit_blocking(&*store, &chain, &pile);
    let transactions = glommio::executor().spawn_blocking(durable).await?;
    {
        let mut counters = shared.counters.borrow_mut();
        counters.commits += 1;
        counters.blocks_stored += count;
        counters.commit_us.record(started.elapsed().as_micros() as u64);
    }
    for (height, ids) in &transactions {
        shared.door.finalized(height.0, ids);
    }
    if let Some(height) = last {
        shared.writer.stored.set(height);
        shared.hot.deliver(ToHot::Stored { height }).await;
    }
    Ok(())
}

/// On a blocking thread: the commit, and the ids of what it made durable.
fn commit_blocking(store: &dyn BlockStore, chain: &ChainId, pile: &Pile) -> Result<Vec<(Height, Vec<TransactionId>)>, StoreError> {
    store.commit(&pile.blocks, &[], &pile.evidence)?;
    Ok(pile.blocks.iter().map(|finalized| (finalized.block.header().height, transaction_ids(chain, finalized.block.payload()))).collect())
}

/// Ids of a payload's transactions in order.
pub(super) fn transaction_ids(chain: &ChainId, payload: &[u8]) -> Vec<TransactionId> {
    iterate(payload).map_while(Result::ok).map(|transaction| transaction.id(chain)).collect()
}

async fn fail(shared: &Shared, error: &StoreError) {
    tracing::error!(%error, "the block store refuses writes: nothing is acknowledged any more");
    shared.counters.borrow_mut().store_failed = true;
    shared.writer.failed.set(true);
    shared.writer.room.raise();
    shared.door.shut();
    shared.hot.deliver(ToHot::StoreFailed).await;
}
