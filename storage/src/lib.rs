//! What one validator must not forget: the vote log, durable before a signature leaves, and the block store, durable before finality is
//! acknowledged. Both sit behind a small trait with a version in memory that fails on demand.

#![deny(unsafe_code)]

mod directory;
pub mod durable;
mod io;
pub mod journal;
pub mod log;
mod segment;
pub mod store;
mod writes;

pub use durable::Durable;
pub use journal::disk::{BlockJournal, JournalConfig, JournalStats};
pub use journal::memory::MemoryBodyLog;
pub use journal::{BodyLog, RecoveredBodies};
pub use log::memory::MemoryVoteLog;
pub use log::uring::{LogConfig, LogStats, UringVoteLog};
pub use log::{LogError, LogIdentity, LogSequence, Recovered, VoteLog, read_log};
pub use segment::WriteMode;
pub use store::block::{StoredBlock, decode_block, encode_block};
pub use store::memory::{MemoryStore, MemoryTables};
pub use store::rocks::{RocksStore, RocksTables};
pub use store::{BlockStore, EVIDENCE_PER_OFFENCE_MAX, FinalizedBlock, StoreError, Tip};
pub use writes::Torn;
