//! What must be durable before a signature leaves (Minimmit reference, section 6).

use crate::digest::Digest;
use crate::numbers::View;

/// One entry of the vote log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// This validator signed a vote.
    Vote(View, Digest),
    /// This validator signed a nullify.
    Nullify(View),
    /// This validator signed the slices of this block as leader.
    Proposal(View, Digest),
}

impl Record {
    /// The view it belongs to.
    pub fn view(&self) -> View {
        match self {
            Record::Vote(view, _) | Record::Nullify(view) | Record::Proposal(view, _) => *view,
        }
    }

    /// The block it names; zero for a nullify.
    pub fn digest(&self) -> Digest {
        match self {
            Record::Vote(_, digest) | Record::Proposal(_, digest) => *digest,
            Record::Nullify(_) => Digest::ZERO,
        }
    }

    /// Name used by `samara inspect votes`.
    pub fn kind(&self) -> &'static str {
        match self {
            Record::Vote(..) => "vote",
            Record::Nullify(..) => "nullify",
            Record::Proposal(..) => "proposal",
        }
    }
}
