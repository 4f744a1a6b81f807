//! Where messages go while the machine runs, and how its time is told apart.

use samara_types::{MessageKind, ValidatorIndex};

/// What the machine spent its last stretch of time on. The machine has no clock: it says afterwards what it did, the owner measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Checking shreds and announcements: path, seat, signature.
    VerifyShred = 0,
    /// Completing a slice: decode, re-encode, root check, block check.
    Decode = 1,
    /// Sending a shred on to everybody.
    Relay = 2,
    /// Batch checks of votes and checks of certificates (with whatever followed from them).
    BatchVerify = 3,
    /// Judging a block: transactions, duplicates, signatures.
    Application = 4,
    /// Building, coding and signing an own block.
    Propose = 5,
    /// Everything else of consensus: rules, books, signing votes.
    Consensus = 6,
    /// Mempool and gossip.
    Mempool = 7,
    /// Serving and asking for what is missing.
    Repair = 8,
}

impl Stage {
    /// All stages.
    pub const ALL: [Stage; 9] = [
        Stage::VerifyShred,
        Stage::Decode,
        Stage::Relay,
        Stage::BatchVerify,
        Stage::Application,
        Stage::Propose,
        Stage::Consensus,
        Stage::Mempool,
        Stage::Repair,
    ];

    /// Label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::VerifyShred => "verify_shred",
            Stage::Decode => "decode",
            Stage::Relay => "relay",
            Stage::BatchVerify => "batch_verify",
            Stage::Application => "application",
            Stage::Propose => "propose",
            Stage::Consensus => "consensus",
            Stage::Mempool => "mempool",
            Stage::Repair => "repair",
        }
    }
}

/// Takes messages while the machine runs. Every message given to it may leave: what waits for the disk is not given to it before.
pub trait Outlet {
    /// To one peer. Lost messages are the machine's business, not the outlet's.
    fn send(&mut self, to: ValidatorIndex, kind: MessageKind, message: &[u8]);

    /// To every other validator by decreasing stake.
    fn broadcast(&mut self, kind: MessageKind, message: &[u8]);

    /// The time since the last call (or since `handle` began) went into `stage`.
    fn spent(&mut self, stage: Stage);
}
