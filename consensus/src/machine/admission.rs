//! What peers send: shape and window first, then books; nothing is verified before a quorum stands behind it.

use super::{CertificateVerdict, Consensus, Output, VIEWS_AHEAD, VoteReject};
use crate::app::Application;
use crate::view::ProposalState;
use samara_crypto::{Added, Certificate, Mutant};
use samara_types::message::{ArchivedCertificate, ArchivedNullify, ArchivedVote, CertificateKind};
use samara_types::{Block, Digest, Evidence, Nanos, Offence, SignerBitmap, Subject, ValidatorIndex, View};
use std::sync::Arc;

impl<A: Application> Consensus<A> {
    pub(super) fn on_vote(&mut self, from: ValidatorIndex, vote: &ArchivedVote) {
        let subject = Subject::Vote(View(vote.view.to_native()), Digest(vote.digest));
        self.add(from, subject, vote.signature);
    }

    pub(super) fn on_nullify(&mut self, from: ValidatorIndex, nullify: &ArchivedNullify) {
        self.add(from, Subject::Nullify(View(nullify.view.to_native())), nullify.signature);
    }

    fn add(&mut self, from: ValidatorIndex, subject: Subject, signature: [u8; 96]) {
        self.stats.votes_received += 1;
        let view = subject.view();
        self.heard(from);
        if view <= self.chain.tip().view {
            return self.reject(VoteReject::Old);
        }
        if view.0 > self.view.0.saturating_add(VIEWS_AHEAD) {
            return self.reject(VoteReject::Ahead);
        }
        if self.unheard.contains(from) {
            return self.reject(VoteReject::Barred);
        }
        match self.state(view).book.add(subject, from, signature) {
            Added::New => {
                self.touched.insert(view);
            }
            Added::Conflict => {
                self.touched.insert(view);
                self.report_equivocations(view);
            }
            Added::Duplicate => {
                self.count_again(from, &subject);
                self.reject(VoteReject::Duplicate);
            }
            Added::Excess => self.reject(VoteReject::Excess),
            Added::Barred => self.reject(VoteReject::Barred),
        }
    }

    /// A planted bug: who repeats himself counts again.
    fn count_again(&mut self, from: ValidatorIndex, subject: &Subject) {
        let stake = self.roster.set().stake(from);
        if self.roster.has(Mutant::RepeatedSigner) && self.state(subject.view()).voted.is_some_and(|own| own != subject.digest()) {
            self.state(subject.view()).repeated.0 += stake.0;
            self.touched.insert(subject.view());
        }
    }

    /// A peer that speaks is not silent.
    pub(super) fn heard(&mut self, from: ValidatorIndex) {
        self.silent.remove(from);
        self.remember_hearing(from);
    }

    /// Two votes of one signer. Who sent one that does not verify is not listened to any more, as after a batch check, and who is proven to have
    /// signed both is not judged again: two checks a view and sender would be cheap to ask for, 64 views ahead at once.
    fn report_equivocations(&mut self, view: View) {
        let roster = Arc::clone(&self.roster);
        let convicted = self.convicted;
        for evidence in self.state(view).book.take_equivocations(&roster, &convicted) {
            self.stats.pairing_checks += 2;
            let known = if evidence.offence == Offence::BadVoteSignature { &mut self.unheard } else { &mut self.convicted };
            known.insert(evidence.accused);
            self.outputs.push_back(Output::Evidence(evidence));
        }
    }

    /// Verdicts on certificates that came together, under one equation: on those that are new and that no waiting votes decide. None for the
    /// others, and for all if there are not two such; each is looked at in its turn then. Changes nothing but the statistics. A laggard gets
    /// 32 in answer to one request.
    ///
    /// If one is bad the equation says no more than that. Each is looked at by itself then, and of every sender none behind its first bad
    /// one: so a liar costs this once, before [`super::Input::Verified`] ends its credit.
    pub fn verify_together(&mut self, burst: &[(ValidatorIndex, &ArchivedCertificate)]) -> Vec<Option<CertificateVerdict>> {
        let mut wanted: Vec<usize> = Vec::with_capacity(burst.len());
        for (at, (from, wire)) in burst.iter().enumerate() {
            let is_same = |other: &ArchivedCertificate| (other.kind, other.view, other.digest) == (wire.kind, wire.view, wire.digest);
            if self.has_to_be_verified(*from, wire) && !wanted.iter().any(|&other| is_same(burst[other].1)) {
                wanted.push(at);
            }
        }
        let mut verdicts = vec![None; burst.len()];
        if wanted.len() < 2 {
            return verdicts;
        }
        let wires: Vec<&ArchivedCertificate> = wanted.iter().map(|&at| burst[at].1).collect();
        self.stats.pairing_checks += 1;
        if let Some(certificates) = self.roster.verify_certificates(&mut self.keys, &wires) {
            wanted.into_iter().zip(certificates).for_each(|(at, certificate)| verdicts[at] = Some(Ok(Box::new(certificate))));
            return verdicts;
        }
        let mut liars = SignerBitmap::default();
        for at in wanted {
            let (from, wire) = burst[at];
            if !liars.contains(from) {
                let verdict = self.verify_alone(wire);
                if verdict.is_err() {
                    liars.insert(from);
                }
                verdicts[at] = Some(verdict);
            }
        }
        verdicts
    }

    fn verify_alone(&mut self, wire: &ArchivedCertificate) -> CertificateVerdict {
        self.stats.pairing_checks += 1;
        self.roster.verify_certificate_after(&mut self.keys, wire).map(Box::new)
    }

    /// Whether nothing cheaper than a pairing decides what becomes of a certificate.
    fn has_to_be_verified(&self, from: ValidatorIndex, wire: &ArchivedCertificate) -> bool {
        let (view, digest) = (View(wire.view.to_native()), Digest(wire.digest));
        let Some(kind) = CertificateKind::from_byte(wire.kind) else { return false };
        let subject = if kind == CertificateKind::Nullification { Subject::Nullify(view) } else { Subject::Vote(view, digest) };
        let is_decided = self
            .states
            .get(&view)
            .is_some_and(|state| state.knows(kind, &digest) || state.book.weight(&self.roster, &subject) >= self.roster.threshold(kind));
        view > self.chain.tip().view && !is_decided && !self.barred.contains(from)
    }

    /// Certificates are admitted from any view: they prove themselves. What is held already is dropped before any arithmetic, and one
    /// bad certificate ends the sender's credit, since an honest validator forwards only what it verified.
    pub(super) fn on_certificate(
        &mut self,
        now: Nanos,
        from: ValidatorIndex,
        wire: &ArchivedCertificate,
        verdict: Option<CertificateVerdict>,
    ) {
        self.stats.certificates_received += 1;
        let view = View(wire.view.to_native());
        self.heard(from);
        let Some(kind) = CertificateKind::from_byte(wire.kind) else {
            return if self.barred.contains(from) { self.reject(VoteReject::Barred) } else { self.bad_certificate(from, view) };
        };
        if matches!(verdict, Some(Err(_))) && !self.barred.contains(from) {
            return self.bad_certificate(from, view);
        }
        let knows = self.states.get(&view).is_some_and(|state| state.knows(kind, &Digest(wire.digest)));
        if view <= self.chain.tip().view {
            return self.reject(VoteReject::Old);
        }
        if knows {
            return self.reject(VoteReject::Duplicate);
        }
        if self.barred.contains(from) {
            return self.reject(VoteReject::Barred);
        }
        // Votes that wait in the book and make the same certificate are checked instead: the check counts for finality too.
        if self.assemble_subject(now, view, kind, Digest(wire.digest)) {
            return self.reject(VoteReject::Duplicate);
        }
        match verdict.unwrap_or_else(|| self.verify_alone(wire)) {
            Ok(certificate) => {
                self.insert_certificate(now, *certificate);
            }
            Err(_) => self.bad_certificate(from, view),
        }
    }

    fn bad_certificate(&mut self, from: ValidatorIndex, view: View) {
        self.reject(VoteReject::BadCertificate);
        self.barred.insert(from);
        let evidence = Evidence { accused: from, offence: Offence::BadCertificate, view, proof: Vec::new() };
        self.outputs.push_back(Output::Evidence(evidence));
    }

    /// Books a verified certificate, assembled or received: both count the same. Forwards what is new (l.2-3, per block).
    /// False if there was nothing to book.
    pub(super) fn insert_certificate(&mut self, now: Nanos, certificate: Certificate) -> bool {
        let (view, digest, kind) = (certificate.view(), certificate.digest(), certificate.kind());
        let known = self.states.get(&view).is_some_and(|state| state.knows(kind, &digest));
        if view <= self.chain.tip().view || known {
            return false;
        }
        if let Some(amnesia) = &mut self.amnesia {
            amnesia.seen(now, view);
        }
        self.touched.insert(view);
        let forks_max = self.roster.quorums().notarizations_per_view_max();
        let first_only = self.roster.has(Mutant::FirstCertificateOnly);
        let state = self.state(view);
        let kept_back = first_only && kind == CertificateKind::M && !state.m.is_empty();
        match kind {
            CertificateKind::Nullification => state.nullification = Some(certificate.clone()),
            CertificateKind::L => state.l = Some(certificate.clone()),
            CertificateKind::M => {
                // More than k different notarizations need more than f hostile members; what is beyond is not stored.
                if state.m.len() >= forks_max {
                    return false;
                }
                state.m.insert(digest, certificate.clone());
            }
        }
        if kind != CertificateKind::L && !kept_back {
            self.outputs.push_back(Output::SendCertificate(super::To::All, Box::new(certificate)));
        }
        if kind != CertificateKind::Nullification {
            self.notarized(now, view, digest);
        }
        true
    }

    /// vote2 (l.20) and D2 (section 6.1): 2f+1 voted for it, at least f+1 of them correct validated it. F': if we voted otherwise, the
    /// notarization is itself 2f+1 contradicting votes.
    fn notarized(&mut self, now: Nanos, view: View, digest: Digest) {
        if self.chain.get(view, &digest).is_none() {
            let due = now.after(Nanos(self.config.params.view_timeout.0 / 20));
            self.wanted.entry((view, digest)).or_insert(due);
        }
        let (late, never) = (self.roster.has(Mutant::VoteAfterNullify), self.roster.has(Mutant::NoVote2));
        let state = self.state(view);
        match state.voted {
            None if never => {}
            None if !state.nullified || late => self.vote(view, digest, None),
            Some(own) if own != digest && !state.nullified => self.nullify(view),
            _ => {}
        }
    }

    pub(super) fn on_proposal(&mut self, block: Arc<Block>) {
        let header = *block.header();
        if header.view <= self.chain.tip().view || header.leader != self.schedule.leader(header.view) {
            return;
        }
        self.silent.remove(header.leader);
        self.touched.insert(header.view);
        self.wanted.remove(&(header.view, block.digest()));
        self.chain.insert(Arc::clone(&block));
        let state = self.state(header.view);
        if matches!(state.proposal, ProposalState::None) {
            state.proposal = ProposalState::Held(block);
        }
    }

    /// A body that was asked for by digest.
    pub(super) fn on_fetched(&mut self, block: Arc<Block>) {
        self.wanted.remove(&(block.header().view, block.digest()));
        self.touched.insert(block.header().view);
        self.chain.insert(block);
    }

    /// Rule (i): with two commitments of the leader seen, neither is voted for by l.11; a notarization still is (vote2).
    pub(super) fn on_equivocated(&mut self, view: View) {
        if view > self.chain.tip().view && view.0 <= self.view.0.saturating_add(VIEWS_AHEAD) {
            self.state(view).equivocated = true;
        }
    }

    /// Every correct validator comes to this verdict, so waiting for the timeout would help nobody.
    pub(super) fn on_malformed(&mut self, view: View) {
        if view <= self.chain.tip().view || view.0 > self.view.0.saturating_add(VIEWS_AHEAD) {
            return;
        }
        let current = self.view;
        let state = self.state(view);
        state.proposal = ProposalState::Refused;
        if view == current && state.voted.is_none() && !state.nullified {
            self.nullify(view);
        }
    }
}
