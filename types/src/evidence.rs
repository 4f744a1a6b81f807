//! What a validator keeps against another: who, what, when, and the signed bytes that show it.

use crate::numbers::{ValidatorIndex, View};

/// What somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Offence {
    /// Two votes for different blocks in one view. Proof: both wire votes.
    VoteEquivocation = 1,
    /// Two signed commitments for one slice. Proof: both slice announcements.
    LeaderEquivocation = 2,
    /// A signed slice whose code word is not what its root says, or a block that breaks the format. Proof: the announcement.
    MalformedBlock = 3,
    /// A well-formed block the application refuses. Proof: the block digest.
    InvalidBlock = 4,
    /// A vote whose signature does not verify; known by its authenticated session, not provable to others.
    BadVoteSignature = 5,
    /// A certificate that does not verify; known by its session.
    BadCertificate = 6,
    /// Shreds from a seat it does not hold; known by its session.
    WrongSeat = 7,
    /// A shred or an answer that fails its proof; known by its session.
    BadProof = 8,
}

impl Offence {
    /// All offences.
    pub const ALL: [Offence; 8] = [
        Self::VoteEquivocation,
        Self::LeaderEquivocation,
        Self::MalformedBlock,
        Self::InvalidBlock,
        Self::BadVoteSignature,
        Self::BadCertificate,
        Self::WrongSeat,
        Self::BadProof,
    ];

    /// From its byte.
    pub fn from_byte(byte: u8) -> Option<Offence> {
        Self::ALL.into_iter().find(|offence| *offence as u8 == byte)
    }

    /// Label in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VoteEquivocation => "vote_equivocation",
            Self::LeaderEquivocation => "leader_equivocation",
            Self::MalformedBlock => "malformed_block",
            Self::InvalidBlock => "invalid_block",
            Self::BadVoteSignature => "bad_vote_signature",
            Self::BadCertificate => "bad_certificate",
            Self::WrongSeat => "wrong_seat",
            Self::BadProof => "bad_proof",
        }
    }
}

/// One kept offence. At most one is kept for each (accused, offence, view).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Who did it.
    pub accused: ValidatorIndex,
    /// What.
    pub offence: Offence,
    /// In which view.
    pub view: View,
    /// The signed bytes that show it, as [`Offence`] says; empty where only the session shows it.
    pub proof: Vec<u8>,
}
