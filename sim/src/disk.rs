//! One validator's data directory: vote log, body journal and block store of `samara-storage` in their fault-injecting versions, and what
//! becomes of them when the process dies, the power goes or the disk lies.
//!
//! | fault | what it does here |
//! |---|---|
//! | lost unsynced writes | a crash keeps of the write in flight nothing, a part, or all of it |
//! | torn write | the first records (bodies) of the write in flight survive |
//! | fsync error | the next write of log, journal or store fails; the process stops for good until it is restarted |
//! | misdirected write, read corruption | checksums find it: a damaged log refuses to open, which leaves amnesia; a damaged body is skipped |
//! | lost directory | everything is gone, and the validator knows it |
//! | lost block store | vote log and journal stay; the log has forgotten what the store covered, and does not know what an earlier lost log said |
//! | older block store | the same, but some blocks are there |
//!
//! Byte-level damage is the business of `samara-storage`'s own tests; here is what it means to the cluster.

use crate::dice::Dice;
use crate::plan_file;
use samara_consensus::Tip;
use samara_storage::{BlockStore, FinalizedBlock, MemoryBodyLog, MemoryStore, MemoryVoteLog, StoreError, Torn};
use samara_types::message::{self, CertificateKind};
use samara_types::{Block, ChainId, Digest, Height, Nanos, Record, View};
use samara_validator::restart::{History, Remembered};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Delays of one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpeed {
    /// A write takes at least this.
    #[serde(with = "plan_file::nanos")]
    pub base: Nanos,
    /// And up to this more.
    #[serde(with = "plan_file::nanos")]
    pub jitter: Nanos,
    /// Takes `stall` more, per million.
    pub stall_ppm: u32,
    /// How long a stall is at most.
    #[serde(with = "plan_file::nanos")]
    pub stall: Nanos,
}

impl DiskSpeed {
    /// How long the next write takes.
    pub fn write(&self, dice: &mut Dice) -> Nanos {
        let stall = if dice.chance(self.stall_ppm) { dice.below(self.stall.0 + 1) } else { 0 };
        Nanos(self.base.0 + dice.below(self.jitter.0 + 1) + stall)
    }

    /// The longest a write takes.
    pub fn write_max(&self) -> Nanos {
        Nanos(self.base.0 + self.jitter.0 + if self.stall_ppm > 0 { self.stall.0 } else { 0 })
    }
}

/// What a process finds when it starts.
pub struct Opened {
    /// The vote log.
    pub log: MemoryVoteLog,
    /// The body journal.
    pub bodies: MemoryBodyLog,
    /// What they held.
    pub remembered: Remembered,
}

/// A data directory while no process has it open.
pub struct Disk {
    chain: ChainId,
    log: MemoryVoteLog,
    bodies: MemoryBodyLog,
    records: Vec<Record>,
    journaled: Vec<Block>,
    pruned: bool,
    /// The mark of a lost log, for the life of the one begun after it: until the first new record nothing is known of what was signed, and
    /// after that not what was signed before.
    lost: bool,
    /// The block store; reads go on while a process has it open.
    pub store: MemoryStore,
}

impl Disk {
    /// As `samara genesis` lays it.
    pub fn new(chain: ChainId) -> Disk {
        Disk {
            chain,
            log: MemoryVoteLog::with_manual_completion(),
            bodies: MemoryBodyLog::with_manual_completion(),
            records: Vec::new(),
            journaled: Vec::new(),
            pruned: false,
            lost: false,
            store: MemoryStore::new(chain),
        }
    }

    /// Everything is gone.
    pub fn wipe(&mut self) {
        *self = Disk { lost: true, ..Disk::new(self.chain) };
    }

    /// A bit flipped in the vote log: it will refuse to open, and the operator can only start with an empty one. Blocks stay.
    pub fn lose_log(&mut self) {
        self.log = MemoryVoteLog::with_manual_completion();
        self.records.clear();
        (self.pruned, self.lost) = (false, true);
    }

    /// The block store is gone.
    pub fn lose_store(&mut self) {
        self.store = MemoryStore::new(self.chain);
    }

    /// The block store is a copy of itself from the time when it held so many per cent of its blocks.
    pub fn age_store(&mut self, percent: u8) {
        let tip = self.store.tip().expect("what was committed is well-formed").map_or(0, |(height, ..)| height.0);
        let kept = usize::try_from(tip * u64::from(percent) / 100).expect("a run has few blocks");
        let stored = self.store.blocks_from(Height(1), kept).expect("what was committed is well-formed");
        let copied = stored.iter().map(|stored| {
            let block = Arc::new(stored.to_block().expect("what was committed is well-formed"));
            let certificate = self.store.certificate(block.header().view, CertificateKind::L).expect("what was committed is well-formed");
            FinalizedBlock { block, certificate }
        });
        let older = MemoryStore::new(self.chain);
        older.commit(&copied.collect::<Vec<_>>(), &[], &[]).expect("these are blocks of one chain");
        self.store = older;
    }

    /// One of the journaled bodies is damaged and will be skipped.
    pub fn damage_body(&mut self, dice: &mut Dice) {
        if !self.journaled.is_empty() {
            let at = dice.below(self.journaled.len() as u64) as usize;
            self.journaled.remove(at);
        }
    }

    /// Gives log and journal to a process.
    pub fn open(&mut self) -> Opened {
        let fresh = (MemoryVoteLog::with_manual_completion(), MemoryBodyLog::with_manual_completion());
        let (log, bodies) = (std::mem::replace(&mut self.log, fresh.0), std::mem::replace(&mut self.bodies, fresh.1));
        let records = std::mem::take(&mut self.records);
        let amnesia = records.is_empty() && self.lost;
        let journaled = std::mem::take(&mut self.journaled);
        let (pruned, after_loss) = (self.pruned, self.lost);
        let remembered = Remembered { records, bodies: journaled, amnesia, pruned, after_loss, blind_below: View::GENESIS };
        Opened { log, bodies, remembered }
    }

    /// The process died. Returns what of the writes in flight reached the disk after all.
    pub fn close(&mut self, log: MemoryVoteLog, bodies: MemoryBodyLog, dice: &mut Dice) -> (Vec<Block>, Vec<Record>) {
        let journaled_before = bodies.durable().len();
        let recorded_before = log.durable().len();
        let (bodies, journaled) = bodies.crash(torn(dice));
        // Bodies reach the disk before the records that name them are written, so a torn journal and a whole log cannot meet by accident.
        let (log, recovered) = log.crash(torn(dice));
        let kept = (journaled[journaled_before..].to_vec(), recovered.records[recorded_before..].to_vec());
        (self.bodies, self.journaled) = (bodies, journaled);
        (self.log, self.records, self.pruned) = (log, recovered.records, recovered.pruned);
        self.store = self.store.reopen().expect("what was committed is well-formed");
        kept
    }
}

fn torn(dice: &mut Dice) -> Torn {
    match dice.below(3) {
        0 => Torn::Lost,
        1 => Torn::First(dice.below(4) as usize),
        _ => Torn::Whole,
    }
}

/// The block store as recovery reads it.
pub struct StoredHistory<'a>(pub &'a MemoryStore);

impl History for StoredHistory<'_> {
    type Error = StoreError;

    fn tip(&self) -> Result<Option<Tip>, StoreError> {
        Ok(self.0.tip()?.map(|(height, view, digest)| Tip { view, height, digest }))
    }

    fn blocks_from(&self, from: Height, blocks_max: usize) -> Result<Vec<Block>, StoreError> {
        let stored = self.0.blocks_from(from, blocks_max)?;
        stored.iter().map(|stored| stored.to_block().ok_or(StoreError::Corrupt { table: "blocks" })).collect()
    }

    fn notarization(&self, view: View) -> Result<Option<message::Certificate>, StoreError> {
        self.0.certificate(view, CertificateKind::L)
    }
}

/// Digests of the whole stored chain, from height 1.
pub fn stored_chain(store: &MemoryStore) -> Result<Vec<Digest>, StoreError> {
    let mut digests = Vec::new();
    loop {
        let blocks = store.blocks_from(Height(digests.len() as u64 + 1), 256)?;
        if blocks.is_empty() {
            return Ok(digests);
        }
        digests.extend(blocks.iter().map(|block| block.digest()));
    }
}
