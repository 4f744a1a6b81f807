//! Loss is normal: what a validator does while its view does not end, and how it helps those behind.
//!
//! The paper assumes reliable links. Here own votes, the entry certificate and the last L-notarization are sent again while stuck, missing
//! certificates are asked for by view, and a status from somebody behind is answered with what moves him.

use super::{Consensus, Output, To};
use crate::app::Application;
use samara_crypto::Certificate;
use samara_types::message::{ArchivedCertificateRequest, ArchivedStatus, CertificateRequest, Status};
use samara_types::{Nanos, ValidatorIndex, View};

/// Most certificates in one answer.
const CERTIFICATES_PER_ANSWER: usize = 32;

impl<A: Application> Consensus<A> {
    pub(super) fn retransmit_interval(&self) -> Nanos {
        Nanos(self.config.params.view_timeout.0 / 4)
    }

    /// A view that lasts longer than the retransmission interval: send again whatever could be missing elsewhere.
    pub(super) fn retransmit_if_stuck(&mut self, now: Nanos) {
        if now < self.retransmit_at {
            return;
        }
        self.retransmit_at = now.after(self.retransmit_interval());
        self.outputs.push_back(Output::SendStatus(To::All, self.status()));
        let entry = self.states.range(..self.view).rev().find_map(|(_, state)| state.proof().cloned());
        if let Some(certificate) = entry.or_else(|| self.tip_certificate.clone()) {
            self.outputs.push_back(Output::SendCertificate(To::All, Box::new(certificate)));
        }
        // After a restart our last votes may lie ahead of our view.
        let recent = View(self.view.0.saturating_sub(2));
        let mut views: Vec<View> = self.states.range(recent..).map(|(view, _)| *view).collect();
        views.extend(self.open_gap());
        for view in views {
            if let Some(vote) = self.own_vote(view) {
                self.outputs.push_back(Output::SendVote(To::All, vote));
            }
            if let Some(nullify) = self.own_nullify(view) {
                self.outputs.push_back(Output::SendNullify(To::All, nullify));
            }
        }
    }

    /// The highest view between the newest notarization and ours that nobody has shown us to be nullified: it blocks every proposal. If the
    /// certificate existed once, its holders may be gone, and others who skipped the view never timed out in it; who did not vote there
    /// nullifies it now, which is safe at any time, and our signatures of that view go out again.
    fn open_gap(&mut self) -> Option<View> {
        let gap = self.gap_view()?;
        let state = self.state(gap);
        if state.voted.is_none() && !state.nullified {
            self.nullify(gap);
        }
        Some(gap)
    }

    /// The view at which the walk down to a parent stops for want of a certificate.
    pub(super) fn gap_view(&self) -> Option<View> {
        let tip = self.chain.tip();
        let mut view = self.view.previous();
        while view > tip.view {
            match self.states.get(&view) {
                Some(state) if state.parent_choice().is_some() => return None,
                Some(state) if state.nullification.is_some() => view = view.previous(),
                _ => return Some(view),
            }
        }
        None
    }

    /// Where we stand.
    pub fn status(&self) -> Status {
        let tip = self.chain.tip();
        Status { view: self.view.0, finalized_view: tip.view.0, finalized_height: tip.height.0, finalized_digest: tip.digest.0 }
    }

    /// Helps a peer that is behind, at most once every retransmission interval.
    pub(super) fn on_status(&mut self, now: Nanos, from: ValidatorIndex, status: &ArchivedStatus) {
        let (view, finalized) = (View(status.view.to_native()), View(status.finalized_view.to_native()));
        self.heard(from);
        let behind = view < self.view || finalized < self.chain.tip().view;
        let Some(helped_at) = self.helped_at.get_mut(from.at()) else { return };
        if !behind || now < helped_at.after(Nanos(self.config.params.view_timeout.0 / 8)) {
            return;
        }
        *helped_at = now;
        if finalized < self.chain.tip().view {
            self.send_tip_certificate(from);
        }
        self.send_certificates(from, view, self.view);
        self.resend_votes(from, view);
    }

    /// A peer in an older view may lack our vote of that view.
    fn resend_votes(&mut self, to: ValidatorIndex, view: View) {
        if let Some(vote) = self.own_vote(view) {
            self.outputs.push_back(Output::SendVote(To::One(to), vote));
        }
        if let Some(nullify) = self.own_nullify(view) {
            self.outputs.push_back(Output::SendNullify(To::One(to), nullify));
        }
    }

    fn send_tip_certificate(&mut self, to: ValidatorIndex) {
        if let Some(certificate) = self.tip_certificate.clone() {
            self.outputs.push_back(Output::SendCertificate(To::One(to), Box::new(certificate)));
        }
    }

    /// The newest certificates of views in `from..=until`: the last proof moves a laggard at once, the rest fills its gaps.
    fn send_certificates(&mut self, to: ValidatorIndex, from: View, until: View) {
        if from > until {
            return;
        }
        let newest = self.states.range(from..=until).rev().flat_map(|(_, state)| state.certificates().cloned());
        let chosen: Vec<Certificate> = newest.take(CERTIFICATES_PER_ANSWER).collect();
        for certificate in chosen {
            self.outputs.push_back(Output::SendCertificate(To::One(to), Box::new(certificate)));
        }
    }

    pub(super) fn on_certificate_request(&mut self, from: ValidatorIndex, request: &ArchivedCertificateRequest) {
        let (first, last) = (View(request.from.to_native()), View(request.to.to_native()));
        if first <= self.chain.tip().view {
            self.send_tip_certificate(from);
        }
        self.send_certificates(from, first, last);
    }

    /// A proposal (or our own turn) needs certificates of views after `parent_view`: ask the leader, who must have them by C2, and with
    /// every further interval somebody else as well.
    pub(super) fn ask_for_certificates(&mut self, now: Nanos, view: View, parent_view: View) {
        let interval = Nanos(self.config.params.view_timeout.0 / 10);
        let (me, leader, validators) = (self.config.me, self.schedule.leader(view), self.roster.set().len() as u64);
        let state = self.state(view);
        if state.asked_at.is_some_and(|at| now < at.after(interval)) {
            return;
        }
        let first_time = state.asked_at.is_none();
        state.asked_at = Some(now);
        let another = ValidatorIndex(((now.0 / interval.0.max(1)) % validators) as u16);
        let to = if first_time && leader != me { leader } else { another };
        if to != me {
            // Answers hold the newest of what is asked for, so a long gap is filled from above: ask up to the first view that lacks its proof.
            let newest = self.gap_view().unwrap_or(view.previous());
            let request = CertificateRequest { from: parent_view.0, to: newest.0 };
            self.outputs.push_back(Output::SendCertificateRequest(To::One(to), request));
        }
    }
}
