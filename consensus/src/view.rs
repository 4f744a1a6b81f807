//! Everything about one view, kept until it is final.

use samara_crypto::{Certificate, ViewBook};
use samara_types::message::CertificateKind;
use samara_types::{Block, Digest, Nanos, Stake, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What became of the leader's proposal.
#[derive(Clone, Debug)]
pub(crate) enum ProposalState {
    /// Not here.
    None,
    /// Here, not judged (or judged "not yet").
    Held(Arc<Block>),
    /// Refused for good.
    Refused,
}

pub(crate) struct ViewState {
    pub book: ViewBook,
    /// What we decided to vote for; durable once the record is.
    pub voted: Option<Digest>,
    /// Whether we decided to nullify.
    pub nullified: bool,
    /// Whether we proposed.
    pub proposed: bool,
    /// Own signatures, once durable, for retransmission.
    pub own_vote: Option<[u8; 96]>,
    pub own_nullify: Option<[u8; 96]>,
    pub proposal: ProposalState,
    /// Two commitments of the leader were seen: rule (i) forbids voting for either by l.11.
    pub equivocated: bool,
    pub m: BTreeMap<Digest, Certificate>,
    pub nullification: Option<Certificate>,
    pub l: Option<Certificate>,
    /// Last time the missing certificates of this view were asked for.
    pub asked_at: Option<Nanos>,
    /// Weight of repetitions: zero but where that bug is planted.
    pub repeated: Stake,
}

impl ViewState {
    pub fn new(view: View, validators: usize) -> ViewState {
        ViewState {
            book: ViewBook::new(view, validators),
            voted: None,
            nullified: false,
            proposed: false,
            own_vote: None,
            own_nullify: None,
            proposal: ProposalState::None,
            equivocated: false,
            m: BTreeMap::new(),
            nullification: None,
            l: None,
            asked_at: None,
            repeated: Stake(0),
        }
    }

    /// Whether the view may be left (l.16): an M-notarization, a nullification, or an L-notarization (which implies M).
    pub fn has_proof(&self) -> bool {
        !self.m.is_empty() || self.nullification.is_some() || self.l.is_some()
    }

    /// Whether this very block is notarized.
    pub fn notarizes(&self, digest: &Digest) -> bool {
        self.m.contains_key(digest) || self.l.as_ref().is_some_and(|l| l.digest() == *digest)
    }

    /// The block a child should build on: the final one, else the lexicographically least notarized one (SelectParent).
    pub fn parent_choice(&self) -> Option<Digest> {
        self.l.as_ref().map(|l| l.digest()).or_else(|| self.m.keys().next().copied())
    }

    /// The strongest certificate that lets others leave this view.
    pub fn proof(&self) -> Option<&Certificate> {
        self.l.as_ref().or_else(|| self.m.values().next()).or(self.nullification.as_ref())
    }

    /// Every certificate held.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.l.iter().chain(self.m.values()).chain(self.nullification.iter())
    }

    /// Whether a certificate would tell us nothing.
    pub fn knows(&self, kind: CertificateKind, digest: &Digest) -> bool {
        match kind {
            CertificateKind::Nullification => self.nullification.is_some(),
            CertificateKind::M => self.m.contains_key(digest),
            CertificateKind::L => self.l.is_some(),
        }
    }
}
