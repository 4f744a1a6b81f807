//! What the picture of a validator says of single views, of quorums and of peers: plain rows, made once per published snapshot.

use serde::{Deserialize, Serialize};

/// Why a view ended without a block, as this validator saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NullifiedReason {
    /// Nothing of the leader's block arrived.
    NoProposal = 0,
    /// Some of the block arrived, not enough to put it together.
    Incomplete = 1,
    /// The block was whole, this validator did not vote for it (refused, or its time was over).
    NotVoted = 2,
    /// This validator voted, a quorum of others did not.
    NotNotarized = 3,
}

impl NullifiedReason {
    /// All reasons.
    pub const ALL: [NullifiedReason; 4] = [Self::NoProposal, Self::Incomplete, Self::NotVoted, Self::NotNotarized];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoProposal => "no_proposal",
            Self::Incomplete => "incomplete",
            Self::NotVoted => "not_voted",
            Self::NotNotarized => "not_notarized",
        }
    }
}

/// One view as this validator saw it. Times are microseconds since the first sign of the view (entering it, or its first shred).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewRow {
    /// The view.
    pub view: u64,
    /// Its leader.
    pub leader: u16,
    /// First shred of the proposal, or the start of building it.
    pub proposed_us: Option<u64>,
    /// The body is whole.
    pub body_us: Option<u64>,
    /// Judged, the vote is on its way to the log.
    pub voted_us: Option<u64>,
    /// The vote is durable and sent.
    pub sent_us: Option<u64>,
    /// M-notarized.
    pub notarized_us: Option<u64>,
    /// Final.
    pub final_us: Option<u64>,
    /// Left by a nullification; the reason's label.
    pub nullified: Option<String>,
}

/// Weight that spoke in a view so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// The view.
    pub view: u64,
    /// Weight behind its best supported block.
    pub votes: u64,
    /// Weight behind its nullification.
    pub nullifies: u64,
}

/// The marks a weight is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// Total weight S.
    pub total: u64,
    /// M-notarization and nullification: 2f+1.
    pub m: u64,
    /// Finality: S-f.
    pub l: u64,
}

/// Nullified views of one leader for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nullifications {
    /// Whose views.
    pub leader: u16,
    /// [`NullifiedReason`].
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// What was heard of one peer since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerRow {
    /// The peer.
    pub peer: u16,
    /// Its weight.
    pub stake: u64,
    /// Whether its session was heard lately.
    pub up: bool,
    /// Votes and nullifies received of it.
    pub votes: u64,
    /// Shreds it sent on from seats of its own that were of use here.
    pub seats_served: u64,
    /// Round trip of the newest handshake with it, microseconds.
    pub round_trip_us: Option<u64>,
    /// Datagrams it is known to have sent under sessions.
    pub datagrams_expected: u64,
    /// Of them, those that came.
    pub datagrams_arrived: u64,
}

/// Shreds and slices by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dissemination {
    /// Shreds stored.
    pub shreds_stored: u64,
    /// Of them, answers to requests.
    pub shreds_repaired: u64,
    /// Shreds sent on to everybody, as the holder of their seat.
    pub shreds_relayed: u64,
    /// Recovered shreds that were not sent on because the queue was full.
    pub relays_dropped: u64,
    /// Slices decoded.
    pub slices_decoded: u64,
    /// Slices whose code word is not what the leader signed.
    pub slices_tainted: u64,
    /// Bytes held for blocks that are not final, and for repairs.
    pub bytes_held: u64,
    /// Views with something held.
    pub views_held: u64,
}
