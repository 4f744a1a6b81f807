//! What every room of Samara must agree on: numbers, the validator set and its quorums, what is signed, what travels and how
//! large anything may be. No I/O, no clock, no randomness.

#![forbid(unsafe_code)]

pub mod bitmap;
pub mod block;
pub mod client;
pub mod datagram;
pub mod digest;
pub mod evidence;
pub mod message;
pub mod numbers;
pub mod params;
pub mod received;
pub mod record;
pub mod schedule;
pub mod set;
pub mod shred;
pub mod subject;
pub mod transaction;

pub use bitmap::SignerBitmap;
pub use block::{BLOCK_HEADER_BYTES, Block, BlockHeader};
pub use digest::Digest;
pub use evidence::{Evidence, Offence};
pub use message::{Class, MessageKind};
pub use numbers::{Epoch, Height, Nanos, ShredIndex, SliceIndex, Stake, ValidatorIndex, View};
pub use params::Params;
pub use received::Received;
pub use record::Record;
pub use schedule::LeaderSchedule;
pub use set::{Quorums, SetError, ValidatorEntry, ValidatorSet};
pub use shred::{CHUNK_BYTES, ShredHeader, SliceCommitment, SliceShape};
pub use subject::{ChainId, SigningDomain, Subject};
pub use transaction::{Transaction, TransactionId};
