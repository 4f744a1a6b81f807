//! What disk remembers, put together: the finalized tip, recent transactions, own votes.

use crate::config::Prepared;
use crate::exit::Exit;
use samara_consensus::{Application, Recovery, Tip, TransactionApp};
use samara_crypto::{Certificate, Roster};
use samara_storage::{BlockJournal, BlockStore, LogIdentity, StoreError, UringVoteLog};
use samara_types::block::genesis_digest;
use samara_types::message::{self, CertificateKind};
use samara_types::{Block, Epoch, Height, SigningDomain, View};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Blocks read at once while transactions are remembered.
const BLOCKS_AT_ONCE: usize = 256;

/// Stored blocks held for peers after a restart, as many views as are held while running.
const RECENT_BLOCKS: usize = 32;

/// Everything a core starts from.
pub struct Recovered {
    pub recovery: Recovery,
    pub app: TransactionApp,
    pub log: UringVoteLog,
    pub journal: BlockJournal,
}

/// The roster, once more: `Prepared` keeps its own.
pub fn roster_of(prepared: &Prepared) -> Roster {
    let domain = SigningDomain { chain: prepared.genesis.chain, epoch: Epoch(0) };
    Roster::new(prepared.genesis.set.clone(), domain).expect("this set made a roster before")
}

/// 32 bytes of the operating system's randomness.
pub fn random_seed() -> Result<[u8; 32], Exit> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Exit::Host(format!("no randomness: {error}")))?;
    Ok(seed)
}

/// Opens the vote log and reads the store.
pub fn recover(prepared: &Prepared, store: &dyn BlockStore, roster: &Roster) -> Result<Recovered, Exit> {
    let identity = LogIdentity { chain: prepared.genesis.chain, validator: prepared.me, vote_key: prepared.keyring.vote.public_key() };
    let marker = mark_lost(&prepared.config.layout.votes)?;
    let (log, votes) = UringVoteLog::open(&prepared.config.layout.votes, identity).map_err(Exit::failed)?;
    let (journal, bodies) = BlockJournal::open(&prepared.config.layout.bodies, identity).map_err(Exit::failed)?;
    let tip = tip_of(prepared, store).map_err(Exit::failed)?;
    let bodies = bodies.into_iter().filter(|block| block.header().view > tip.view).map(Arc::new);
    let bodies: Vec<Arc<Block>> = recent_blocks(store, tip.height).map_err(Exit::failed)?.into_iter().chain(bodies).collect();
    let app = app_of(prepared, store, &tip).map_err(Exit::failed)?;
    let tip_certificate = newest_l(store, roster, tip.height).map_err(Exit::failed)?;
    let amnesia = votes.records.is_empty() && marker.exists();
    if amnesia {
        tracing::warn!(
            "no vote log: listening; nothing is signed until the cluster has finalized beyond every view that was proven before"
        );
    }
    tracing::info!(
        height = tip.height.0,
        view = tip.view.0,
        records = votes.records.len(),
        bodies = bodies.len(),
        torn_tail = votes.torn_tail,
        "recovered"
    );
    let recovery = Recovery { tip, tip_certificate, blocks: bodies, records: votes.records, amnesia };
    Ok(Recovered { recovery, app, log, journal })
}

/// Marks, before a log is made, that there was none. `genesis` lays an empty log beside the keys, so who starts without one has lost it; the
/// mark counts until the first new record, over any number of restarts.
fn mark_lost(votes_dir: &Path) -> Result<PathBuf, Exit> {
    let marker = votes_dir.with_extension("lost");
    let empty = std::fs::read_dir(votes_dir).map_or(true, |mut entries| entries.next().is_none());
    if empty {
        let parent = marker.parent().unwrap_or(Path::new("."));
        let made =
            std::fs::create_dir_all(parent).and_then(|()| File::create(&marker)?.sync_all()).and_then(|()| File::open(parent)?.sync_all());
        made.map_err(|error| Exit::failed(format!("cannot write {}: {error}", marker.display())))?;
    }
    Ok(marker)
}

fn tip_of(prepared: &Prepared, store: &dyn BlockStore) -> Result<Tip, StoreError> {
    let genesis = Tip { view: View::GENESIS, height: Height(0), digest: genesis_digest(&prepared.genesis.chain) };
    Ok(store.tip()?.map_or(genesis, |(height, view, digest)| Tip { view, height, digest }))
}

/// The application with every transaction within the retention remembered.
fn app_of(prepared: &Prepared, store: &dyn BlockStore, tip: &Tip) -> Result<TransactionApp, StoreError> {
    let (params, mempool) = (&prepared.genesis.params, &prepared.config.mempool);
    let mut app = TransactionApp::new(prepared.genesis.chain, params.dedup_heights, mempool.transactions_max, mempool.bytes_max);
    let mut next = Height(tip.height.0.saturating_sub(params.dedup_heights.into()) + 1);
    while next <= tip.height {
        let blocks = store.blocks_from(next, BLOCKS_AT_ONCE)?;
        for stored in &blocks {
            let block = stored.to_block().ok_or(StoreError::Corrupt { table: "blocks" })?;
            app.finalize(&block);
            next = block.header().height.next();
        }
        if blocks.is_empty() {
            return Err(StoreError::Corrupt { table: "heights" });
        }
    }
    Ok(app)
}

/// The last stored blocks: a peer that is too little behind for the sync stream asks for them by digest.
fn recent_blocks(store: &dyn BlockStore, tip: Height) -> Result<Vec<Arc<Block>>, StoreError> {
    let from = Height(tip.0.saturating_sub(RECENT_BLOCKS as u64 - 1).max(1));
    if tip.0 == 0 {
        return Ok(Vec::new());
    }
    let stored = store.blocks_from(from, RECENT_BLOCKS)?;
    stored.iter().map(|stored| stored.to_block().map(Arc::new).ok_or(StoreError::Corrupt { table: "blocks" })).collect()
}

/// The newest L-notarization at or below the tip: a block final as an ancestor has none of its own.
fn newest_l(store: &dyn BlockStore, roster: &Roster, tip: Height) -> Result<Option<Certificate>, StoreError> {
    for height in (1..=tip.0).rev().map(Height) {
        let Some(block) = store.block_at(height)?.and_then(|stored| stored.to_block()) else { break };
        if let Some(wire) = store.certificate(block.header().view, CertificateKind::L)? {
            let bytes = message::encode(&wire);
            let archived = message::access(&bytes).expect("bytes that were just encoded");
            return Ok(roster.verify_certificate(archived).ok());
        }
    }
    Ok(None)
}
