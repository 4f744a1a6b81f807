//! The rules of Algorithm 1, one function each.

use super::{Consensus, Output, SYNC_LAG_VIEWS};
use crate::app::{Application, Proposal, Verdict};
use crate::chain::{Lineage, Tip};
use crate::view::ProposalState;
use samara_crypto::{Certificate, Mutant};
use samara_types::message::CertificateKind;
use samara_types::{Block, Digest, Evidence, Nanos, Offence, SignerBitmap, Stake, Subject, View};
use std::sync::Arc;

/// Payload bytes above the tip beyond which a leader proposes empty blocks.
const OPEN_BYTES_MAX: usize = 64 << 20;

/// A silent leader gets this part of the view timeout before it is nullified.
const SILENT_LEADER_DIVISOR: u64 = 8;

impl<A: Application> Consensus<A> {
    /// Makes certificates from votes wherever a quorum of stake stands behind a subject; verifies one batch per subject.
    pub(super) fn assemble(&mut self, now: Nanos) -> bool {
        let mut assembled = false;
        let touched: Vec<View> = self.touched.iter().copied().filter(|view| *view > self.chain.tip().view).collect();
        for view in touched {
            let quorums = *self.roster.quorums();
            let subjects: Vec<Subject> = self.state(view).book.subjects().copied().collect();
            for subject in subjects {
                assembled |= self.assemble_one(now, subject, CertificateKind::M, quorums.m);
                assembled |= self.assemble_one(now, subject, CertificateKind::L, quorums.l);
            }
            assembled |= self.assemble_one(now, Subject::Nullify(view), CertificateKind::Nullification, quorums.m);
        }
        assembled
    }

    /// Makes one certificate from votes, if a quorum of them is here.
    pub(super) fn assemble_subject(&mut self, now: Nanos, view: View, kind: CertificateKind, digest: Digest) -> bool {
        let quorums = *self.roster.quorums();
        match kind {
            CertificateKind::M => self.assemble_one(now, Subject::Vote(view, digest), kind, quorums.m),
            CertificateKind::L => self.assemble_one(now, Subject::Vote(view, digest), kind, quorums.l),
            CertificateKind::Nullification => self.assemble_one(now, Subject::Nullify(view), kind, quorums.m),
        }
    }

    fn assemble_one(&mut self, now: Nanos, subject: Subject, kind: CertificateKind, threshold: Stake) -> bool {
        let roster = Arc::clone(&self.roster);
        let Some(state) = self.states.get(&subject.view()) else { return false };
        if state.knows(kind, &subject.digest()) || state.book.weight(&roster, &subject) < threshold {
            return false;
        }
        self.settle(&subject);
        let state = self.state(subject.view());
        let Some(certificate) = state.book.certificate(&roster, &subject, kind) else { return false };
        self.insert_certificate(now, certificate)
    }

    /// One batch check. Culprits are reported and not listened to any more: a signature that does not verify, over its signer's own session,
    /// is no accident, and one a view would cost everybody a bisection a view.
    fn settle(&mut self, subject: &Subject) {
        let roster = Arc::clone(&self.roster);
        let settled = self.state(subject.view()).book.settle(&roster, subject);
        self.stats.pairing_checks += u64::from(settled.pairing_checks);
        for accused in settled.culprits {
            self.unheard.insert(accused);
            let evidence = Evidence { accused, offence: Offence::BadVoteSignature, view: subject.view(), proof: Vec::new() };
            self.outputs.push_back(Output::Evidence(evidence));
        }
    }

    /// l.16-22 with skip-ahead: the highest view with a proof decides.
    pub(super) fn climb(&mut self, now: Nanos) -> bool {
        let proven = self.states.range(self.view..).rev().find(|(_, state)| state.has_proof()).map(|(view, _)| *view);
        let Some(proven) = proven else { return false };
        let state = self.state(proven);
        if state.nullification.is_some() && state.m.is_empty() && state.l.is_none() {
            let leader = self.schedule.leader(proven);
            self.silent.insert(leader);
            self.stats.nullified_views += 1;
            self.outputs.push_back(Output::Nullified(proven));
        }
        self.enter(now, proven.next());
        true
    }

    pub(super) fn enter(&mut self, now: Nanos, view: View) {
        assert!(view > self.view, "views never decrease");
        self.view = view;
        if self.roster.has(Mutant::CurrentViewFlags) {
            self.states.range_mut(..view).for_each(|(_, state)| (state.voted, state.nullified) = (None, false));
        }
        self.previous_entered_at = self.entered_at;
        self.entered_at = now;
        self.retransmit_at = now.after(self.retransmit_interval());
        self.touched.insert(view);
        self.outputs.push_back(Output::Entered(view));
    }

    /// l.9-11: the one valid proposal of this view's leader.
    pub(super) fn try_vote(&mut self, now: Nanos) -> bool {
        let view = self.view;
        let Some(state) = self.states.get(&view) else { return false };
        let nullified = state.nullified && !self.roster.has(Mutant::VoteAfterNullify);
        if state.voted.is_some() || nullified || state.equivocated || self.amnesia.is_some() {
            return false;
        }
        let ProposalState::Held(block) = &state.proposal else { return false };
        let block = Arc::clone(block);
        match self.judge(now, &block) {
            None => false,
            Some(Verdict::Valid) => {
                self.vote(view, block.digest(), Some(block));
                true
            }
            Some(Verdict::Invalid) => {
                self.state(view).proposal = ProposalState::Refused;
                let leader = self.schedule.leader(view);
                let proof = block.digest().0.to_vec();
                let evidence = Evidence { accused: leader, offence: Offence::InvalidBlock, view, proof };
                self.outputs.push_back(Output::Evidence(evidence));
                self.nullify(view);
                true
            }
        }
    }

    /// Validity of a proposal: (ii) a notarization of exactly the named parent, (iii) a nullification of every view between, the
    /// application's word. None means "not yet": what is missing has been asked for.
    fn judge(&mut self, now: Nanos, block: &Arc<Block>) -> Option<Verdict> {
        let header = block.header();
        let tip = *self.chain.tip();
        if header.parent_view < tip.view || (header.parent_view == tip.view && header.parent_digest != tip.digest) {
            // Its parent lies below or beside what is final: never valid here, and no proof of misbehaviour either.
            self.state(header.view).proposal = ProposalState::Refused;
            return None;
        }
        if !self.parent_is_proven(header.parent_view, &header.parent_digest, header.view) {
            self.ask_for_certificates(now, header.view, header.parent_view);
            return None;
        }
        match self.chain.lineage(header.parent_view, &header.parent_digest) {
            Lineage::Complete(ancestors) => {
                let parent_height = ancestors.last().map_or(tip.height, |parent| parent.header().height);
                if header.height != parent_height.next() || block.payload().len() > self.config.params.payload_bytes_max as usize {
                    return Some(Verdict::Invalid);
                }
                Some(self.app.verify(block, &ancestors))
            }
            Lineage::Missing(view, digest) => {
                self.want(now, view, digest);
                None
            }
            Lineage::Fork => Some(Verdict::Invalid),
        }
    }

    fn parent_is_proven(&self, parent_view: View, parent_digest: &Digest, view: View) -> bool {
        let tip = self.chain.tip();
        let notarized = (parent_view == tip.view && *parent_digest == tip.digest)
            || self.states.get(&parent_view).is_some_and(|state| state.notarizes(parent_digest));
        notarized && self.gap_is_nullified(parent_view, view)
    }

    fn gap_is_nullified(&self, parent_view: View, view: View) -> bool {
        // A gap longer than the states held cannot be proven, and must not be walked view by view.
        let gap = view.0 - parent_view.0 - 1;
        self.roster.has(Mutant::NoGapCheck)
            || gap <= self.states.len() as u64
                && (parent_view.0 + 1..view.0).all(|v| self.states.get(&View(v)).is_some_and(|state| state.nullification.is_some()))
    }

    /// l.24-28: we voted, and 2f+1 others nullified or voted for something else. The distinct signers are counted once each; what is
    /// counted has been verified. Whoever may not sign has no answer to give, though its log may hold the vote.
    pub(super) fn try_contradict(&mut self) -> bool {
        if self.amnesia.is_some() {
            return false;
        }
        let mut contradicted = false;
        let touched: Vec<View> = self.touched.iter().copied().filter(|view| *view > self.chain.tip().view).collect();
        for view in touched {
            let state = self.state(view);
            let Some(own) = state.voted else { continue };
            if state.nullified {
                continue;
            }
            let against = state.book.against(&own);
            if !self.contradicts(view, &against) {
                continue;
            }
            let subjects: Vec<Subject> = self.state(view).book.subjects().filter(|s| s.digest() != own).copied().collect();
            for subject in subjects.iter().chain([&Subject::Nullify(view)]) {
                self.settle(subject);
            }
            let against = self.state(view).book.against(&own);
            if self.contradicts(view, &against) {
                self.nullify(view);
                contradicted = true;
            }
        }
        contradicted
    }

    fn contradicts(&self, view: View, against: &SignerBitmap) -> bool {
        let repeated = self.states.get(&view).map_or(0, |state| state.repeated.0);
        let quorums = self.roster.quorums();
        let needed = if self.roster.has(Mutant::ContradictionAtFPlus1) { quorums.fault.0 + 1 } else { quorums.m.0 };
        self.roster.set().weight(against).0 + repeated >= needed
    }

    /// l.31-32: the highest L-notarized block whose ancestors are all here, and they with it.
    pub(super) fn try_finalize(&mut self, now: Nanos) -> bool {
        let candidates: Vec<(View, Digest)> =
            self.states.iter().rev().filter_map(|(view, state)| state.l.as_ref().map(|l| (*view, l.digest()))).collect();
        for (view, digest) in candidates {
            match self.chain.lineage(view, &digest) {
                Lineage::Complete(path) => {
                    for block in path {
                        self.finalize_one(&block);
                    }
                    self.drop_below_tip();
                    return true;
                }
                Lineage::Missing(missing_view, missing) => self.catch_up(now, view, missing_view, missing),
                Lineage::Fork => {
                    self.halted = true;
                    self.outputs.push_back(Output::SafetyViolation(view, digest));
                    return false;
                }
            }
        }
        false
    }

    fn finalize_one(&mut self, block: &Arc<Block>) {
        self.app.finalize(block);
        self.chain.finalize(block);
        let l = self.states.get(&block.header().view).and_then(|state| state.l.clone());
        let own = l.filter(|l| l.digest() == block.digest());
        if own.is_some() {
            self.tip_certificate = own.clone();
        }
        self.outputs.push_back(Output::Finalized(Arc::clone(block), own.map(Box::new)));
    }

    fn drop_below_tip(&mut self) {
        let tip = self.chain.tip().view;
        self.states = self.states.split_off(&tip.next());
        self.wanted = self.wanted.split_off(&(tip.next(), Digest::ZERO));
        self.touched = self.touched.split_off(&tip.next());
    }

    fn catch_up(&mut self, now: Nanos, final_view: View, missing_view: View, missing: Digest) {
        let tip = *self.chain.tip();
        if self.syncing {
            return;
        }
        // A body that nobody brings by digest may have been final too long to be held for that; the sync stream reads it from disk.
        let patience = Nanos(self.config.params.view_timeout.0.saturating_mul(2));
        let since = match self.missing {
            Some((digest, since)) if digest == missing => since,
            _ => self.missing.insert((missing, now)).1,
        };
        if final_view.0 - tip.view.0 > SYNC_LAG_VIEWS || now >= since.after(patience) {
            self.missing = None;
            self.syncing = true;
            let l = self.states.get(&final_view).and_then(|state| state.l.as_ref());
            let peers = l.map(|l| *l.signers()).unwrap_or_default();
            self.outputs.push_back(Output::Sync { above: tip.height, peers });
        } else {
            self.want(now, missing_view, missing);
        }
    }

    /// Blocks proven by a sync stream: each the child of the one before, the last with an L-notarization.
    pub(super) fn on_synced(&mut self, now: Nanos, run: Vec<(Arc<Block>, Option<Certificate>)>) {
        for (block, certificate) in run {
            if block.header().height <= self.chain.tip().height {
                continue;
            }
            if !self.chain.extends_tip(block.header()) {
                break;
            }
            let view = block.header().view;
            if let Some(certificate) = certificate.filter(|l| l.digest() == block.digest() && l.kind() == CertificateKind::L) {
                self.state(view).l = Some(certificate);
            }
            self.finalize_one(&block);
        }
        self.drop_below_tip();
        let tip = self.chain.tip().view;
        if tip >= self.view {
            self.enter(now, tip.next());
        }
    }

    /// l.5-7 with C2.
    pub(super) fn try_propose(&mut self, now: Nanos) {
        if self.propose_at().is_none_or(|at| now < at) {
            return;
        }
        let view = self.view;
        let Some((parent_view, parent_digest)) = self.select_parent() else {
            return self.ask_for_certificates(now, view, self.chain.tip().view);
        };
        match self.chain.lineage(parent_view, &parent_digest) {
            Lineage::Complete(ancestors) => {
                let height = ancestors.last().map_or(self.chain.tip().height, |parent| parent.header().height);
                self.state(view).proposed = true;
                let parent = Tip { view: parent_view, height, digest: parent_digest };
                self.outputs.push_back(Output::Propose { view, parent, ancestors });
            }
            Lineage::Missing(view, digest) => self.want(now, view, digest),
            Lineage::Fork => {}
        }
    }

    /// The newest notarized view with only nullified views above it; its least notarized block. Our own nullify of a view does not
    /// matter: a notarization is looked at first.
    fn select_parent(&self) -> Option<(View, Digest)> {
        let tip = self.chain.tip();
        let mut view = self.view.previous();
        while view > tip.view {
            let state = self.states.get(&view)?;
            if let Some(digest) = state.parent_choice() {
                return Some((view, digest));
            }
            if state.nullification.is_none() && !self.roster.has(Mutant::NoGapCheck) {
                return None;
            }
            view = view.previous();
        }
        Some((tip.view, tip.digest))
    }

    /// When the leader of the current view may propose; None if we are not, or have, or may not.
    pub(super) fn propose_at(&self) -> Option<Nanos> {
        let flags = self.states.get(&self.view).map(|state| (state.proposed, state.nullified, state.voted.is_some()));
        let (proposed, nullified, voted) = flags.unwrap_or_default();
        if self.schedule.leader(self.view) != self.config.me || proposed || nullified || voted || self.amnesia.is_some() || self.halted {
            return None;
        }
        let params = &self.config.params;
        let paced = self.previous_entered_at.after(params.block_interval);
        let idle = if self.app.has_work() { Nanos(0) } else { self.entered_at.after(params.idle_interval) };
        Some(paced.max(idle).max(self.entered_at))
    }

    /// The payload of a proposal the validator is about to code.
    pub fn build_payload(&mut self, view: View, parent: &Tip, ancestors: &[Arc<Block>]) -> Vec<u8> {
        // While finality stalls every block stays in memory and in the journal; empty ones keep the chain alive without filling either.
        let open_bytes: usize = ancestors.iter().map(|block| block.payload().len()).sum();
        if open_bytes > OPEN_BYTES_MAX {
            return Vec::new();
        }
        let proposal = Proposal { view, height: parent.height.next() };
        self.app.propose(proposal, ancestors, self.config.params.payload_bytes_max as usize)
    }

    /// l.13-14: 2Δ without having voted. A voter never nullifies by timeout.
    pub(super) fn try_timeout(&mut self, now: Nanos) {
        if self.timeout_at().is_some_and(|at| now >= at) {
            let view = self.view;
            self.nullify(view);
        }
    }

    pub(super) fn timeout_at(&self) -> Option<Nanos> {
        let unlocks = self.roster.has(Mutant::TimeoutAfterVote);
        let decided = self.states.get(&self.view).is_some_and(|state| (state.voted.is_some() && !unlocks) || state.nullified);
        if decided || self.amnesia.is_some() {
            return None;
        }
        let leader = self.schedule.leader(self.view);
        let full = self.config.params.view_timeout;
        let span = if self.silent.contains(leader) && leader != self.config.me { Nanos(full.0 / SILENT_LEADER_DIVISOR) } else { full };
        Some(self.entered_at.after(span))
    }

    pub(super) fn want(&mut self, now: Nanos, view: View, digest: Digest) {
        self.wanted.entry((view, digest)).or_insert(now);
    }

    /// Asks for bodies that did not come by themselves.
    pub(super) fn fetch_due(&mut self, now: Nanos) {
        let due: Vec<(View, Digest)> = self.wanted.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
        for (view, digest) in due {
            self.wanted.insert((view, digest), now.after(self.config.params.view_timeout));
            if self.chain.get(view, &digest).is_none() {
                let holders = self.holders(view, &digest);
                self.outputs.push_back(Output::Fetch { view, digest, holders });
            } else {
                self.wanted.remove(&(view, digest));
            }
        }
    }

    fn holders(&self, view: View, digest: &Digest) -> SignerBitmap {
        let Some(state) = self.states.get(&view) else { return self.everyone() };
        let l = state.l.as_ref().filter(|l| l.digest() == *digest);
        let certified = l.or_else(|| state.m.get(digest)).map(|certificate| *certificate.signers());
        certified.unwrap_or_else(|| self.everyone())
    }

    fn everyone(&self) -> SignerBitmap {
        self.roster.set().indexes().filter(|index| *index != self.config.me).collect()
    }
}
