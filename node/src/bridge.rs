//! What crosses between the hot reactor and the service reactor, and the picture of itself the hot reactor publishes.
//!
//! ```text
//! client TCP -> door -> batch verify -> ToHot::Submit ------> hot reactor: mempool -> ToService::Answer -> door -> client
//! finalized blocks -> ToService::Store -> one synced commit -> Finalized to waiting clients, ToHot::Stored{height} back
//! gossip payload -> ToService::Verify -> batch verify -> ToHot::Gossip
//! behind the others -> ToService::Sync -> catch-up over TCP -> ToHot::Synced (proven runs), the last with done = true
//! once a second -> ToService::Snapshot -> metrics.json, and the metrics endpoint if there is one
//! ```
//!
//! Both directions are bounded rings with one owner per end. Nothing here blocks: a full ring towards the hot reactor refuses a client
//! loudly; `Store` towards the service reactor must not be dropped by the hot reactor, which keeps what does not fit and tries again.

pub mod distribution;
pub mod views;

pub use distribution::Distribution;
pub use views::{Dissemination, Marks, Nullifications, NullifiedReason, PeerRow, Standing, ViewRow};

use samara_crypto::{Certificate, VerifiedTransaction};
use samara_storage::FinalizedBlock;
use samara_types::client::Response;
use samara_types::{Block, Evidence, Height, ValidatorIndex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where an answer goes. Opaque to the hot reactor, which hands it back unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The door's number of the connection; never used twice in one run.
    pub connection: u64,
    /// The door's number of the question; never used twice in one run. (Several requests may wait for its answer, and a client may use
    /// an id of its own twice, so the client's id does not travel.)
    pub request: u64,
}

/// From the hot reactor to the service reactor.
pub enum ToService {
    /// Finalized blocks in height order, each batch following the one before, and evidence to keep with them.
    Store(Vec<FinalizedBlock>, Vec<Evidence>),
    /// The answer to a [`ToHot::Submit`]: `Accepted` or `Rejected`. Finality is answered by the service reactor itself, after the commit.
    Answer {
        /// Ticket of the submission.
        ticket: Ticket,
        /// What to tell the client.
        response: Response,
    },
    /// A gossiped payload of transactions whose signatures are to be checked.
    Verify {
        /// Who sent it.
        from: ValidatorIndex,
        /// Transactions as [`samara_types::transaction::append`] writes them.
        payload: Vec<u8>,
    },
    /// Fetch finalized blocks from this height on, asking these peers in turn. While a fetch runs, another one is ignored.
    Sync {
        /// First height wanted: the one after our tip.
        from_height: Height,
        /// Whom to ask, best first.
        peers: Vec<ValidatorIndex>,
    },
    /// The hot reactor as it stands, about once a second and at the end.
    Snapshot(Box<NodeSnapshot>),
    /// Flush the store, answer what can be answered, end.
    Stop,
}

/// From the service reactor to the hot reactor.
pub enum ToHot {
    /// A client's transaction with a good signature; exactly one [`ToService::Answer`] is expected.
    Submit {
        /// Goes back in the answer.
        ticket: Ticket,
        /// The transaction.
        transaction: VerifiedTransaction,
    },
    /// Gossiped transactions with good signatures.
    Gossip(Vec<VerifiedTransaction>),
    /// Everything up to this height is synced to disk.
    Stored {
        /// Height of the last durable block.
        height: Height,
    },
    /// A run of blocks that continues our chain and whose last block carries a verified L-notarization; may be empty when `done`.
    Synced {
        /// In height order; the last one has its certificate.
        blocks: Vec<(Block, Option<Certificate>)>,
        /// The fetch is over: at the tip of a peer, or no peer could help any further.
        done: bool,
    },
    /// The store refuses writes: stop voting on what cannot be stored, nothing more will be acknowledged.
    StoreFailed,
    /// The service reactor has ended.
    Stop,
}

/// Counters of one message class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassCounters {
    /// Messages received and admitted.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Messages sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages of this class refused by admission.
    pub refused: u64,
}

/// The hot reactor's counters since start, and where it stands. Every total only grows; every `x_us` holds microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSnapshot {
    /// Current view.
    pub view: u64,
    /// Height of the last finalized block.
    pub finalized_height: u64,
    /// View of the last finalized block.
    pub finalized_view: u64,
    /// Height of the last durable block.
    pub stored_height: u64,
    /// Blocks finalized since start.
    pub finalized_blocks: u64,
    /// Transactions in them.
    pub finalized_txs: u64,
    /// Payload bytes in them.
    pub finalized_bytes: u64,
    /// Views left by a nullification.
    pub nullified_views: u64,
    /// Blocks this validator proposed.
    pub proposed_blocks: u64,
    /// Pairing checks made for votes and certificates.
    pub pairing_checks: u64,
    /// Votes received.
    pub votes_received: u64,
    /// Offences reported since start.
    pub evidence: u64,
    /// Longest time between two finalized blocks, microseconds.
    pub finalized_gap_max_us: u64,
    /// Blocks taken over by catch-up.
    pub synced_blocks: u64,
    /// Whether a catch-up is running.
    pub syncing: bool,
    /// Established sessions.
    pub sessions_up: u32,
    /// Transactions waiting for a block.
    pub mempool_txs: u64,
    /// Bytes of them.
    pub mempool_bytes: u64,
    /// Frames of the port's pool.
    pub frames_total: u64,
    /// Frames not free at the moment.
    pub frames_in_use: u64,
    /// The port's rung; why it was taken stands in the log.
    pub port: String,
    /// Datagrams received and sent.
    pub datagrams_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Received datagrams given to the sessions: each is a message (received or refused in its class), consumed, or dropped for a `session_`
    /// reason.
    pub datagrams_opened: u64,
    /// Of them, handshakes, cookies and keepalives that were of use.
    pub datagrams_consumed: u64,
    /// Refused messages and datagrams by reason.
    pub drops: BTreeMap<String, u64>,
    /// Message counters by class.
    pub classes: BTreeMap<String, ClassCounters>,
    /// Nanoseconds of the hot core by stage (receive, open, verify_shred, relay, decode, batch_verify, application, vote_log, send, ...).
    pub stage_ns: BTreeMap<String, u64>,
    /// Time from entering a view to leaving it.
    pub view_us: Distribution,
    /// Time from seeing (or making) a proposal to its finality.
    pub block_finality_us: Distribution,
    /// Stages of a block from proposal to finality.
    pub stage_us: BTreeMap<String, Distribution>,
    /// Time from handing a record to the vote log to knowing it durable.
    pub vote_log_sync_us: Distribution,
    /// Time from taking a shred of an own seat out of its datagram to having it queued for everybody.
    pub relay_us: Distribution,
    /// This validator's seat.
    pub me: u16,
    /// Certificates received.
    pub certificates_received: u64,
    /// Votes and nullifies this validator made durable.
    pub records_durable: u64,
    /// The highest view in which this validator made something durable, in this run or before it.
    pub signed_view: u64,
    /// Weight behind the newest L-notarization seen with its certificate.
    pub final_weight: u64,
    /// The marks of the set.
    pub marks: Marks,
    /// Weight that spoke in the views around the current one.
    pub standings: Vec<Standing>,
    /// The latest views, oldest first.
    pub views: Vec<ViewRow>,
    /// Nullified views by leader and reason.
    pub nullifications: Vec<Nullifications>,
    /// Shreds and slices by stage.
    pub dissemination: Dissemination,
    /// The other validators.
    pub peers: Vec<PeerRow>,
}
