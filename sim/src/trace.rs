//! What checkers see: everything that happened to a run's validators that a promise speaks of, in order.

use samara_types::{
    Block, BlockHeader, Digest, Evidence, Height, MessageKind, Nanos, Record, TransactionId, ValidatorIndex, View, message,
};
use std::sync::Arc;

/// Whom a message was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every other validator.
    All,
    /// One.
    One(ValidatorIndex),
}

/// One observation at one validator.
#[derive(Clone, Debug)]
pub struct Event {
    /// World time.
    pub at: Nanos,
    /// The validator.
    pub node: usize,
    /// What happened.
    pub what: What,
}

/// What can be observed.
#[derive(Clone, Debug)]
pub enum What {
    /// A process started: the tip it recovered.
    Started {
        /// Height of the recovered tip.
        height: Height,
        /// It does not know what it signed: its vote log is lost, or its block store is and the log has forgotten.
        amnesia: bool,
    },
    /// The process is gone.
    Stopped(Stop),
    /// The data directory is gone, or damaged beyond use.
    Wiped,
    /// The machine asked for this to be made durable; true if a body came with it.
    Persist(Record, bool),
    /// A body reached the disk.
    BodyDurable(Arc<Block>),
    /// A record reached the disk.
    Durable(Record),
    /// A message left.
    Sent(Target, MessageKind, Arc<[u8]>),
    /// A process has taken to the end what a hostile validator sent, or a shred of a hostile leader's view.
    Heard {
        /// Who sent it.
        from: usize,
        /// What it is.
        kind: MessageKind,
        /// The message.
        bytes: Arc<[u8]>,
        /// The view the process was in before.
        inside: View,
    },
    /// A view was entered.
    Entered(View),
    /// A block became final here.
    Finalized(Box<Finalized>),
    /// Everything up to this height is in the block store.
    Stored(Height),
    /// A client offered a transaction to this validator.
    Offered(TransactionId),
    /// The validator answered that it has it.
    Taken(TransactionId),
    /// The validator told a client that it is final at this height.
    Acknowledged(TransactionId, Height),
    /// Somebody is accused.
    Accused(Evidence),
    /// The code under test says that something impossible happened.
    Alarm(String),
    /// Held in memory.
    Held(Held),
    /// The network is as good as it gets from here on; `delta` bounds every delay of a message, `disk` of a write.
    Healed {
        /// Bounds the way of a message from one machine to another.
        delta: Nanos,
        /// Bounds one durable write.
        disk: Nanos,
    },
    /// All correct validators have settled: timing bounds hold for views entered from here on.
    Settled,
    /// At the end: what the block store holds, from height 1.
    Chain(Vec<Digest>),
    /// At the end: datagrams of the whole run.
    Traffic(Traffic),
}

/// A final block.
#[derive(Clone, Debug)]
pub struct Finalized {
    /// Its header.
    pub header: BlockHeader,
    /// Its digest.
    pub digest: Digest,
    /// Its own L-notarization, if it has one.
    pub certificate: Option<message::Certificate>,
    /// Its transactions.
    pub transactions: Vec<TransactionId>,
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Killed.
    Killed,
    /// The disk refused a write.
    Disk,
    /// The machine called for a stop: the chain contradicts itself.
    Alarm,
}

/// Sizes of what a validator holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of shreds, slices and blocks.
    pub reassembly_bytes: u64,
    /// Views with any shred.
    pub reassembly_views: u64,
    /// Transactions waiting.
    pub mempool_transactions: u64,
    /// Bytes of transactions waiting.
    pub mempool_bytes: u64,
    /// Views with any vote or certificate.
    pub open_views: u64,
}

/// Datagrams by their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Given to the network.
    pub sent: u64,
    /// Made by the network.
    pub duplicated: u64,
    /// Handed to a process.
    pub delivered: u64,
    /// Lost on a link.
    pub lost: u64,
    /// Cut off by a partition.
    pub cut: u64,
    /// Dropped at the sender for want of bandwidth.
    pub outbox_full: u64,
    /// Dropped at the receiver: ring overrun.
    pub overrun: u64,
    /// Dropped because the receiver's or the sender's NIC was being reset.
    pub reset: u64,
    /// Arrived where no process ran, or another one than it was sent to: sessions end with their process.
    pub nobody: u64,
    /// Larger than its kind may be: refused by the receiver before it is looked at.
    pub oversize: u64,
    /// On the way when the run ended.
    pub in_flight: u64,
}
