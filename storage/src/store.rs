//! The block store: a block and its L-notarization are synced before its finality is acknowledged to anybody.
//!
//! Rules every implementation keeps, because all share the code of [`chain`]:
//! 1. One commit is one atomic synced write: after a crash all of it is there or nothing.
//! 2. Heights have no gap and every block names the one below as its parent; the tip never moves backwards.
//! 3. Committing a stored block again changes nothing; another block at a stored height, or another L-notarized block in one view, is
//!    [`StoreError::Conflict`]: the alarm of a safety violation, never an overwrite.
//! 4. After a failed write the store takes no commits until it is reopened, since what reached the disk is unknown.

use samara_types::message::{self, CertificateKind};
use samara_types::{Block, ChainId, Digest, Evidence, Height, ValidatorIndex, View};
use std::path::PathBuf;
use std::sync::Arc;

pub mod block;
pub mod chain;
mod evidence;
pub mod memory;
pub mod rocks;

#[cfg(test)]
mod tests;

use block::StoredBlock;

/// Most kept cases of one offence of one validator: what an adversary can make us store is bounded, and petty offences take no room from
/// provable ones. With the largest proofs (4 KiB) all offences of one validator stay below 8 MiB.
pub const EVIDENCE_PER_OFFENCE_MAX: usize = 250;

/// Height, view and digest of the highest finalized block.
pub type Tip = (Height, View, Digest);

/// A block to store.
#[derive(Clone, Debug)]
pub struct FinalizedBlock {
    /// The block.
    pub block: Arc<Block>,
    /// Its L-notarization, when it has one of its own and is not final as an ancestor only.
    pub certificate: Option<message::Certificate>,
}

/// Finalized blocks, certificates and evidence. Reads never block writes.
pub trait BlockStore: Send + Sync {
    /// Stores all of it in one atomic synced write. Blocks come in ascending height; those already stored are skipped.
    fn commit(
        &self,
        blocks: &[FinalizedBlock],
        extra_certificates: &[message::Certificate],
        evidence: &[Evidence],
    ) -> Result<(), StoreError>;

    /// The highest finalized block; None before the first.
    fn tip(&self) -> Result<Option<Tip>, StoreError>;

    /// The finalized block of a height.
    fn block_at(&self, height: Height) -> Result<Option<StoredBlock>, StoreError>;

    /// Blocks from a height on, ascending: at most `blocks_max`, and no more than 16 MiB unless the first alone is larger.
    fn blocks_from(&self, from: Height, blocks_max: usize) -> Result<Vec<StoredBlock>, StoreError>;

    /// The block of a digest.
    fn block(&self, digest: &Digest) -> Result<Option<StoredBlock>, StoreError>;

    /// A certificate of a view. Of several M-notarizations the one with the smallest digest.
    fn certificate(&self, view: View, kind: CertificateKind) -> Result<Option<message::Certificate>, StoreError>;

    /// Certificates of later views, ascending by view and kind, at most `certificates_max`.
    fn certificates_after(&self, view: View, certificates_max: usize) -> Result<Vec<message::Certificate>, StoreError>;

    /// Everything kept against anybody, ordered by accused, offence and view.
    fn evidence(&self) -> Result<Vec<Evidence>, StoreError>;
}

/// What the machine room, or the caller, did to the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed. After a failed commit the store is stopped.
    #[error("block store: cannot {action}: {reason}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// What the database says.
        reason: String,
    },
    /// The database belongs to another chain.
    #[error("block store: {} holds chain {found}, expected {expected}", path.display())]
    OtherChain {
        /// Directory.
        path: PathBuf,
        /// Stored chain.
        found: String,
        /// Configured chain.
        expected: String,
    },
    /// The directory holds no block store of this version.
    #[error("block store: {} has schema {found}, this program reads {expected}", path.display())]
    OtherSchema {
        /// Directory.
        path: PathBuf,
        /// Stored schema.
        found: String,
        /// Schema of this program.
        expected: u32,
    },
    /// A different block is stored at this height: two finalized chains.
    #[error("SAFETY VIOLATION: height {height} is finalized as {stored}, and now as {offered}")]
    Conflict {
        /// The height.
        height: Height,
        /// What is stored.
        stored: Digest,
        /// What was to be stored.
        offered: Digest,
    },
    /// Two blocks of one view have an L-notarization.
    #[error("SAFETY VIOLATION: view {view} has L-notarizations of {stored} and of {offered}")]
    ConflictingNotarization {
        /// The view.
        view: View,
        /// What is stored.
        stored: Digest,
        /// What was to be stored.
        offered: Digest,
    },
    /// A height was left out.
    #[error("block store: block of height {offered} does not follow height {expected}", expected = .expected.0)]
    Gap {
        /// The next height.
        expected: Height,
        /// Height of the block.
        offered: Height,
    },
    /// A block does not name the block below as its parent.
    #[error("block store: block {digest} of height {height} has parent {parent}, stored is {stored}")]
    BrokenLink {
        /// Its height.
        height: Height,
        /// The block.
        digest: Digest,
        /// The parent it names.
        parent: Digest,
        /// The block below.
        stored: Digest,
    },
    /// A certificate is no L-notarization of the block it came with, or of an unknown kind.
    #[error("block store: certificate of kind {kind} for view {view} does not fit")]
    ForeignCertificate {
        /// Its kind byte.
        kind: u8,
        /// Its view.
        view: View,
    },
    /// A stored value is not what was written.
    #[error("block store: value in {table} is corrupt")]
    Corrupt {
        /// Which column family.
        table: &'static str,
    },
    /// Opened for reading.
    #[error("block store: opened read-only")]
    ReadOnly,
    /// An earlier commit failed.
    #[error("block store: stopped by an earlier failed write")]
    Stopped,
}

/// What [`BlockStore::commit`] keys evidence by.
type Offender = (ValidatorIndex, u8, View);

/// Digest of genesis, the parent of height 1.
fn genesis(chain: &ChainId) -> Digest {
    samara_types::block::genesis_digest(chain)
}
