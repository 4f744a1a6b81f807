//! What disk remembers, put together: the finalized tip, recent transactions, own votes.

use super::newest;
use crate::config::Prepared;
use crate::exit::Exit;
use samara_consensus::{Recovery, Tip, TransactionApp};
use samara_crypto::Roster;
use samara_storage::{BlockJournal, BlockStore, LogIdentity, StoreError, UringVoteLog};
use samara_types::message::{self, CertificateKind};
use samara_types::{Block, Epoch, Height, Nanos, SigningDomain, View};
use samara_validator::input_log::Start;
use samara_validator::restart::{self, History, MempoolLimits, Remembered};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a validator does that cannot know what it signed.
const LISTENING: &str = "listening; nothing is signed until the cluster has finalized beyond every view that was proven before";

/// Everything a core starts from.
pub struct Recovered {
    pub recovery: Recovery,
    pub app: TransactionApp,
    pub log: UringVoteLog,
    pub journal: BlockJournal,
    /// The same for the recorder of inputs; its times are the core's.
    pub start: Start,
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
    let lost = votes.records.is_empty() && marker.exists();
    let newest::Judgement { doubt, blind_below } = newest::judge(&prepared.config.layout, &votes.records)?;
    let amnesia = lost || doubt.is_some();
    if amnesia {
        let why = match doubt.filter(|_| !lost) {
            None => "no vote log",
            Some(newest::Doubt::Copied) => "this vote log was copied and may be an old one",
            Some(newest::Doubt::Older) => "this vote log is older than what was signed",
            Some(newest::Doubt::StillDoubted) => "this vote log may be an old one, and nothing was signed since",
        };
        tracing::warn!("{why}: {LISTENING}");
    }
    let mempool =
        MempoolLimits { transactions_max: prepared.config.mempool.transactions_max, bytes_max: prepared.config.mempool.bytes_max };
    let (records, torn_tail) = (votes.records.len(), votes.torn_tail);
    let mut start = Start {
        genesis: prepared.genesis.fingerprint(),
        me: prepared.me,
        wall_offset_ns: 0,
        now: Nanos(0),
        mempool: (mempool.transactions_max as u64, mempool.bytes_max as u64),
        height: Height(0),
        amnesia,
        records: votes.records.clone(),
        bodies: bodies.clone(),
        forgotten: 0,
    };
    let remembered = Remembered { records: votes.records, bodies, amnesia, pruned: votes.pruned, after_loss: marker.exists(), blind_below };
    let (recovery, app) = restart::recover(&Disk(store), roster, &prepared.genesis.params, mempool, remembered).map_err(Exit::failed)?;
    let tip = &recovery.tip;
    if recovery.amnesia && !amnesia {
        tracing::warn!("the block store ends below the vote log, it was lost or is an old copy: {LISTENING}");
    }
    tracing::info!(height = tip.height.0, view = tip.view.0, records, bodies = recovery.blocks.len(), torn_tail, "recovered");
    (start.height, start.amnesia) = (tip.height, recovery.amnesia);
    Ok(Recovered { recovery, app, log, journal, start })
}

/// Marks, before a log is made, that there was none. `genesis` lays an empty log beside the keys, so who starts without one has lost it: until the
/// first new record, over any number of restarts, nothing is known of what was signed. The mark stays for the log's life, because after that it
/// still does not say what was signed before.
fn mark_lost(votes_dir: &Path) -> Result<PathBuf, Exit> {
    let marker = votes_dir.with_extension("lost");
    let is_log = |entry: std::io::Result<std::fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() != newest::PLACE);
    let empty = std::fs::read_dir(votes_dir).map_or(true, |entries| !entries.into_iter().any(is_log));
    if empty {
        let parent = marker.parent().unwrap_or(Path::new("."));
        let made =
            std::fs::create_dir_all(parent).and_then(|()| File::create(&marker)?.sync_all()).and_then(|()| File::open(parent)?.sync_all());
        made.map_err(|error| Exit::failed(format!("cannot write {}: {error}", marker.display())))?;
    }
    Ok(marker)
}

/// The block store as a history.
struct Disk<'a>(&'a dyn BlockStore);

impl History for Disk<'_> {
    type Error = StoreError;

    fn tip(&self) -> Result<Option<Tip>, StoreError> {
        Ok(self.0.tip()?.map(|(height, view, digest)| Tip { view, height, digest }))
    }

    fn blocks_from(&self, from: Height, blocks_max: usize) -> Result<Vec<Block>, StoreError> {
        let stored = self.0.blocks_from(from, blocks_max)?;
        if stored.is_empty() {
            return Err(StoreError::Corrupt { table: "heights" });
        }
        stored.iter().map(|stored| stored.to_block().ok_or(StoreError::Corrupt { table: "blocks" })).collect()
    }

    fn notarization(&self, view: View) -> Result<Option<message::Certificate>, StoreError> {
        self.0.certificate(view, CertificateKind::L)
    }
}
