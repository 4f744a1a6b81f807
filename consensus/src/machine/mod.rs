//! The machine: inputs, outputs, state, and one pass over the rules.

mod admission;
mod recovery;
mod rules;
mod signing;
mod stuck;
#[cfg(test)]
mod tests;

pub use recovery::Recovery;

use crate::app::Application;
use crate::chain::{Chain, Tip};
use crate::view::ViewState;
use samara_crypto::{Certificate, CertificateReject, KeySum, Roster, VoteSecret};
use samara_types::message::{
    ArchivedCertificate, ArchivedCertificateRequest, ArchivedNullify, ArchivedStatus, ArchivedVote, CertificateRequest, Nullify, Status,
    Vote,
};
use samara_types::{
    Block, Digest, Evidence, Height, LeaderSchedule, Nanos, Params, Record, SignerBitmap, Stake, Subject, ValidatorIndex, View,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Votes are admitted up to this many views ahead of ours: a laggard of more is moved by certificates, which are admitted from anywhere.
pub const VIEWS_AHEAD: u64 = 64;
/// A finalized view this far beyond our tip, with bodies missing, is caught up through the sync stream instead of block by block.
pub const SYNC_LAG_VIEWS: u64 = 32;

/// States of views kept with their votes. Beyond it the oldest nullified ones keep their certificates and flags only.
const STATES_WITH_VOTES_MAX: usize = 512;

/// What distinguishes one validator's machine from another's.
pub struct Config {
    /// Our seat.
    pub me: ValidatorIndex,
    /// The cluster's parameters.
    pub params: Params,
}

/// What happens to the machine. Bytes are borrowed from the packet.
pub enum Input<'a> {
    /// A vote from its signer's session.
    Vote(ValidatorIndex, &'a ArchivedVote),
    /// A nullify from its signer's session.
    Nullify(ValidatorIndex, &'a ArchivedNullify),
    /// A certificate from anybody's session.
    Certificate(ValidatorIndex, &'a ArchivedCertificate),
    /// The same, with what [`Consensus::verify_together`] made of these bytes.
    Verified(ValidatorIndex, &'a ArchivedCertificate, CertificateVerdict),
    /// Somebody lacks certificates.
    CertificateRequest(ValidatorIndex, &'a ArchivedCertificateRequest),
    /// Where somebody stands.
    Status(ValidatorIndex, &'a ArchivedStatus),
    /// The leader's disseminated block of its view.
    Proposal(Arc<Block>),
    /// A body fetched by digest.
    Fetched(Arc<Block>),
    /// The leader of this view was seen with two commitments.
    Equivocated(View),
    /// The leader's block of this view is malformed.
    Malformed(View),
    /// The block asked for by [`Output::Propose`], coded and ready to send.
    Proposed(Arc<Block>),
    /// So many records in all, counted from the first [`Output::Persist`], are durable.
    Persisted(u64),
    /// Finalized blocks from a sync stream, proven by an L-notarization of the last one.
    Synced(Vec<(Arc<Block>, Option<Certificate>)>),
    /// The sync stream ended.
    SyncEnded,
    /// The mempool went from empty to not empty.
    Work,
    /// Time passed.
    Tick,
}

/// What the signature of a certificate says.
pub type CertificateVerdict = Result<Box<Certificate>, CertificateReject>;

/// Whom a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every other validator, by decreasing stake.
    All,
    /// One.
    One(ValidatorIndex),
}

/// What the machine wants done, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Make this durable with the body, if there is one (own proposals, votes by l.11), then say [`Input::Persisted`].
    Persist(Record, Option<Arc<Block>>),
    /// Our vote; its record is durable.
    SendVote(To, Vote),
    /// Our nullify; its record is durable.
    SendNullify(To, Nullify),
    /// A certificate.
    SendCertificate(To, Box<Certificate>),
    /// Where we stand.
    SendStatus(To, Status),
    /// Certificates we lack.
    SendCertificateRequest(To, CertificateRequest),
    /// Build, code and hand back as [`Input::Proposed`] a block with this header (payload fields to be filled in).
    Propose {
        /// View to propose in.
        view: View,
        /// Parent.
        parent: Tip,
        /// Unfinalized ancestors up to the parent, oldest first.
        ancestors: Vec<Arc<Block>>,
    },
    /// Send the slices of our proposal: its record is durable.
    Disseminate(View, Digest),
    /// Get this body; `holders` signed a certificate for it.
    Fetch {
        /// View of the block.
        view: View,
        /// Its digest.
        digest: Digest,
        /// Who should have it.
        holders: SignerBitmap,
    },
    /// Get everything above this height from the sync stream of one of these.
    Sync {
        /// Our tip.
        above: Height,
        /// Who signed what we are behind of.
        peers: SignerBitmap,
    },
    /// A block is final. `certificate` is its own L-notarization, if it has one.
    Finalized(Arc<Block>, Option<Box<Certificate>>),
    /// Somebody misbehaved.
    Evidence(Evidence),
    /// A view begins.
    Entered(View),
    /// A view ended by nullification.
    Nullified(View),
    /// Two L-notarized blocks contradict each other: more than f are hostile. Stop.
    SafetyViolation(View, Digest),
}

/// Why an input of a peer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum VoteReject {
    /// Its view is final.
    Old,
    /// Too far ahead.
    Ahead,
    /// Already here.
    Duplicate,
    /// A third digest of one signer in a view.
    Excess,
    /// The sender was caught with a bad signature in this view, or with a bad certificate.
    Barred,
    /// A certificate that does not verify.
    BadCertificate,
}

impl VoteReject {
    /// All reasons.
    pub const ALL: [VoteReject; 6] = [Self::Old, Self::Ahead, Self::Duplicate, Self::Excess, Self::Barred, Self::BadCertificate];

    /// Label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Old => "vote_old",
            Self::Ahead => "vote_ahead",
            Self::Duplicate => "vote_duplicate",
            Self::Excess => "vote_excess",
            Self::Barred => "vote_barred",
            Self::BadCertificate => "bad_certificate",
        }
    }
}

/// Plain counters.
#[derive(Clone, Debug, Default)]
pub struct ConsensusStats {
    /// Votes and nullifies that arrived.
    pub votes_received: u64,
    /// Pairing checks done, for votes and certificates.
    pub pairing_checks: u64,
    /// Certificates that arrived.
    pub certificates_received: u64,
    /// Views left by nullification.
    pub nullified_views: u64,
    /// Refused inputs by [`VoteReject`].
    pub rejects: [u64; VoteReject::ALL.len()],
}

/// One validator's consensus state.
pub struct Consensus<A: Application> {
    config: Config,
    roster: Arc<Roster>,
    /// Where the sum of the next certificate's keys starts from.
    keys: KeySum,
    schedule: LeaderSchedule,
    secret: VoteSecret,
    app: A,
    chain: Chain,
    /// L-notarization at or below the tip with the highest view, for laggards.
    tip_certificate: Option<Certificate>,
    view: View,
    /// Time of the last input.
    now: Nanos,
    entered_at: Nanos,
    previous_entered_at: Nanos,
    states: BTreeMap<View, ViewState>,
    /// Views whose votes, flags or certificates changed in this pass.
    touched: BTreeSet<View>,
    unsigned: signing::Unsigned,
    /// Bodies to fetch once due.
    wanted: BTreeMap<(View, Digest), Nanos>,
    /// The body that keeps a final block from being finalized here, and since when.
    missing: Option<(Digest, Nanos)>,
    syncing: bool,
    retransmit_at: Nanos,
    /// Peers who sent a vote that does not verify: their votes are not looked at any more.
    unheard: SignerBitmap,
    /// Peers proven to have voted twice in a view; what else they sign twice is not looked into.
    convicted: SignerBitmap,
    /// Peers who sent a certificate that does not verify: their certificates are not looked at any more.
    barred: SignerBitmap,
    /// Leaders whose last view was nullified and who have not been heard since.
    silent: SignerBitmap,
    /// When each peer was last helped after a status.
    helped_at: Vec<Nanos>,
    amnesia: Option<recovery::Amnesia>,
    halted: bool,
    /// Something came in since the rules were evaluated.
    noted: bool,
    stats: ConsensusStats,
    outputs: VecDeque<Output>,
}

impl<A: Application> Consensus<A> {
    /// Takes one input and evaluates the rules to a fixpoint.
    pub fn handle(&mut self, now: Nanos, input: Input<'_>) {
        self.note(now, input);
        self.settle_noted(now);
    }

    /// Evaluates the rules if anything was noted since the last time.
    pub fn settle_noted(&mut self, now: Nanos) {
        if std::mem::take(&mut self.noted) && !self.halted {
            self.evaluate(now);
        }
    }

    /// Whether something was noted that the rules have not seen.
    pub fn has_noted(&self) -> bool {
        self.noted
    }

    /// Takes one input into the books without evaluating the rules: for a burst of votes, so that all of them share one batch check.
    /// [`Consensus::settle_noted`] must follow in the same pass.
    pub fn note(&mut self, now: Nanos, input: Input<'_>) {
        if self.halted {
            return;
        }
        self.now = now;
        match input {
            Input::Vote(from, vote) => self.on_vote(from, vote),
            Input::Nullify(from, nullify) => self.on_nullify(from, nullify),
            Input::Certificate(from, certificate) => self.on_certificate(now, from, certificate, None),
            Input::Verified(from, certificate, verdict) => self.on_certificate(now, from, certificate, Some(verdict)),
            Input::CertificateRequest(from, request) => self.on_certificate_request(from, request),
            Input::Status(from, status) => self.on_status(now, from, status),
            Input::Proposal(block) => self.on_proposal(block),
            Input::Fetched(block) => self.on_fetched(block),
            Input::Equivocated(view) => self.on_equivocated(view),
            Input::Malformed(view) => self.on_malformed(view),
            Input::Proposed(block) => self.on_proposed(block),
            Input::Persisted(records) => self.on_persisted(records),
            Input::Synced(run) => self.on_synced(now, run),
            Input::SyncEnded => self.syncing = false,
            Input::Work | Input::Tick => {}
        }
        self.noted = true;
    }

    /// The next thing to do. Drain after every [`Consensus::handle`].
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Consensus::handle`] with [`Input::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let timeout = self.timeout_at().unwrap_or(self.retransmit_at);
        // A turn that came but lacks something is looked at again with the next input, at the latest after a twentieth of the timeout.
        let retry = self.now.after(Nanos(self.config.params.view_timeout.0 / 20));
        let propose = self.propose_at().map_or(timeout, |at| if at > self.now { at } else { retry });
        let fetch = self.wanted.values().copied().min().unwrap_or(timeout);
        Some(timeout.min(propose).min(fetch).min(self.retransmit_at))
    }

    /// The current view.
    pub fn view(&self) -> View {
        self.view
    }

    /// The finalized tip.
    pub fn tip(&self) -> &Tip {
        self.chain.tip()
    }

    /// Whether it may sign: false while a lost log keeps it silent.
    pub fn has_voice(&self) -> bool {
        self.amnesia.is_none()
    }

    /// Number of views with any vote, certificate or flag.
    pub fn open_views(&self) -> usize {
        self.states.len()
    }

    /// The body of an unfinalized block.
    pub fn block(&self, view: View, digest: &Digest) -> Option<&Arc<Block>> {
        self.chain.get(view, digest)
    }

    /// Weight behind the best supported block of `view` and behind its nullification, verified or not; None once the view is forgotten.
    pub fn standing(&self, view: View) -> Option<(Stake, Stake)> {
        let book = &self.states.get(&view)?.book;
        let votes = book.subjects().map(|subject| book.weight(&self.roster, subject)).max().unwrap_or_default();
        Some((votes, book.weight(&self.roster, &Subject::Nullify(view))))
    }

    /// Who leads `view`.
    pub fn leader(&self, view: View) -> ValidatorIndex {
        self.schedule.leader(view)
    }

    /// The application.
    pub fn app(&self) -> &A {
        &self.app
    }

    /// The application, for its mempool. Say [`Input::Work`] after giving it something to do.
    pub fn app_mut(&mut self) -> &mut A {
        &mut self.app
    }

    /// Counters.
    pub fn stats(&self) -> &ConsensusStats {
        &self.stats
    }

    /// One pass: climb, assemble, vote, contradict, finalize until nothing changes, then propose, time out, retransmit.
    fn evaluate(&mut self, now: Nanos) {
        loop {
            let mut changed = self.assemble(now);
            changed |= self.climb(now);
            changed |= self.try_vote(now);
            changed |= self.try_contradict();
            changed |= self.try_finalize(now);
            if !changed || self.halted {
                break;
            }
        }
        self.touched.clear();
        self.regain_voice();
        self.compact();
        self.try_propose(now);
        self.try_timeout(now);
        self.fetch_due(now);
        self.retransmit_if_stuck(now);
    }

    /// Bounds memory while finality stalls: votes of old nullified views and bodies nobody certified are dropped.
    fn compact(&mut self) {
        if self.states.len() <= STATES_WITH_VOTES_MAX || !self.view.0.is_multiple_of(64) {
            return;
        }
        let (validators, horizon) = (self.roster.set().len(), View(self.view.0.saturating_sub(STATES_WITH_VOTES_MAX as u64 / 2)));
        for (view, state) in self.states.range_mut(..horizon) {
            if state.nullification.is_some() && state.m.is_empty() && state.l.is_none() {
                state.book = samara_crypto::ViewBook::new(*view, validators);
                state.proposal = crate::view::ProposalState::None;
            }
        }
        let states = &self.states;
        self.chain.retain(|view, digest| view >= horizon || states.get(&view).is_some_and(|state| state.notarizes(digest)));
    }

    fn state(&mut self, view: View) -> &mut ViewState {
        let validators = self.roster.set().len();
        self.states.entry(view).or_insert_with(|| ViewState::new(view, validators))
    }

    fn reject(&mut self, reason: VoteReject) {
        self.stats.rejects[reason as usize] += 1;
    }
}
