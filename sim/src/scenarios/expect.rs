//! What a scenario says must be seen in its run. Like the checkers, this restates the arithmetic: it counts seats in what was sent.

use crate::checkers::Promise;
use crate::kit::Cluster;
use crate::swarm::Plan;
use crate::trace::{Event, Stop, What};
use crate::world::Outcome;
use samara_types::message::{ArchivedCertificate, ArchivedVote, CertificateKind, access};
use samara_types::{Digest, Height, MessageKind, Nanos, Offence, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Something that must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// This promise is broken: a control.
    Broken(Promise),
    /// At least so many blocks are final.
    Blocks(u64),
    /// At least so many transactions are acknowledged.
    Acknowledged(u64),
    /// At least so many views have a nullification.
    Nullified(usize),
    /// No view has one.
    NoneNullified,
    /// In so many views correct validators vote for different blocks.
    Divided(usize),
    /// So many views have two notarized blocks.
    TwoNotarized(usize),
    /// So many views have a notarization and a nullification.
    BothProofs(usize),
    /// Somebody is accused of this.
    Accused(Offence),
    /// From the first correct validator's entry to the last one's leaving of any view: at most so many percent of Δ, half the view timeout.
    ViewsWithin(u64),
    /// Nothing becomes final between these times, ms.
    NothingFinal(u64, u64),
    /// At least so many processes end like this.
    Stopped(Stop, usize),
    /// A process starts that has lost its log.
    Amnesia(usize),
    /// A process dies in a view it leads, and comes back.
    LeaderKilled,
    /// So many blocks are final through a descendant only.
    Indirect(usize),
    /// So many votes of correct validators are for views they have left.
    PastVotes(usize),
    /// Somebody enters a view without having been in the one before.
    Skipped,
    /// This seat finalizes a block before this time, ms, at the latest.
    FinalAt(usize, u64),
}

/// A run, counted.
pub struct Seen<'a> {
    plan: &'a Plan,
    cluster: &'a Arc<Cluster>,
    outcome: &'a Outcome,
    events: &'a [Event],
    certificates: BTreeMap<View, BTreeSet<(u8, Digest)>>,
}

impl<'a> Seen<'a> {
    /// Counts what correct validators sent.
    pub fn new(plan: &'a Plan, cluster: &'a Arc<Cluster>, outcome: &'a Outcome, events: &'a [Event]) -> Seen<'a> {
        let mut certificates: BTreeMap<View, BTreeSet<(u8, Digest)>> = BTreeMap::new();
        for event in events.iter().filter(|event| !plan.is_hostile(event.node)) {
            if let What::Sent(_, MessageKind::Certificate, bytes) = &event.what
                && let Some(sent) = access::<ArchivedCertificate>(bytes)
            {
                // An L-notarization is a notarization.
                let kind = sent.kind.min(CertificateKind::M as u8);
                certificates.entry(View(sent.view.to_native())).or_default().insert((kind, Digest(sent.digest)));
            }
        }
        Seen { plan, cluster, outcome, events, certificates }
    }

    /// Why an expectation is not met.
    pub fn unmet(&self, expect: &Expect) -> Option<String> {
        let (met, seen) = match *expect {
            Expect::Broken(promise) => {
                let count = self.outcome.violations.iter().filter(|violation| violation.promise == promise).count();
                (count > 0, count as u64)
            }
            Expect::Blocks(least) => (self.outcome.blocks >= least, self.outcome.blocks),
            Expect::Acknowledged(least) => (self.outcome.acknowledged >= least, self.outcome.acknowledged),
            Expect::Nullified(least) => at_least(self.views(|proofs| proofs.iter().any(|(kind, _)| *kind == 0)), least),
            Expect::NoneNullified => {
                let count = self.views(|proofs| proofs.iter().any(|(kind, _)| *kind == 0));
                (count == 0, count as u64)
            }
            Expect::Divided(least) => at_least(self.divided(), least),
            Expect::TwoNotarized(least) => at_least(self.views(|proofs| proofs.iter().filter(|(kind, _)| *kind == 1).count() > 1), least),
            Expect::BothProofs(least) => {
                let both = |proofs: &BTreeSet<(u8, Digest)>| [0, 1].iter().all(|wanted| proofs.iter().any(|(kind, _)| kind == wanted));
                at_least(self.views(both), least)
            }
            Expect::Accused(offence) => {
                at_least(self.count(|what| matches!(what, What::Accused(evidence) if evidence.offence == offence)), 1)
            }
            Expect::ViewsWithin(percent) => {
                let (longest, allowed) = (self.longest_view(), self.plan.params.view_timeout.0 / 2 * percent / 100);
                (longest <= allowed, longest)
            }
            Expect::NothingFinal(from, to) => {
                let (from, to) = (Nanos::from_millis(from), Nanos::from_millis(to));
                let within = |event: &&Event| (from..to).contains(&event.at) && matches!(event.what, What::Finalized(_));
                let count = self.events.iter().filter(within).count();
                (count == 0, count as u64)
            }
            Expect::Stopped(why, least) => at_least(self.count(|what| matches!(what, What::Stopped(stop) if *stop == why)), least),
            Expect::Amnesia(least) => at_least(self.count(|what| matches!(what, What::Started { amnesia: true, .. })), least),
            Expect::LeaderKilled => at_least(self.leaders_killed(), 1),
            Expect::Indirect(least) => {
                let indirect = |what: &What| matches!(what, What::Finalized(f) if f.certificate.is_none() && f.header.height > Height(0));
                at_least(self.count(indirect), least)
            }
            Expect::PastVotes(least) => at_least(self.past_votes(), least),
            Expect::Skipped => at_least(self.skips(), 1),
            Expect::FinalAt(seat, ms) => {
                let is_final = |event: &&Event| event.node == seat && matches!(event.what, What::Finalized(_));
                let first = self.events.iter().find(is_final).map_or(u64::MAX, |event| event.at.0);
                (first <= ms * 1_000_000, first)
            }
        };
        (!met).then(|| format!("expected {expect:?}, seen {seen}"))
    }

    fn count(&self, is: impl Fn(&What) -> bool) -> usize {
        self.events.iter().filter(|event| is(&event.what)).count()
    }

    fn views(&self, are: impl Fn(&BTreeSet<(u8, Digest)>) -> bool) -> usize {
        self.certificates.values().filter(|proofs| are(proofs)).count()
    }

    /// Votes of correct validators: seat, view, block.
    fn votes(&self) -> impl Iterator<Item = (usize, View, Digest)> + '_ {
        self.events
            .iter()
            .filter(|event| !self.plan.is_hostile(event.node))
            .filter_map(|event| vote(&event.what).map(|v| (event.node, v.0, v.1)))
    }

    fn divided(&self) -> usize {
        let mut voted: BTreeMap<View, BTreeSet<Digest>> = BTreeMap::new();
        for (_, view, digest) in self.votes() {
            voted.entry(view).or_default().insert(digest);
        }
        voted.values().filter(|digests| digests.len() > 1).count()
    }

    /// In nanoseconds; views that some correct validator never entered or left are not counted, nor the first two, in which they start.
    fn longest_view(&self) -> u64 {
        let correct = (0..self.plan.validators()).filter(|seat| !self.plan.is_hostile(*seat)).count();
        let mut entries: BTreeMap<View, BTreeMap<usize, Nanos>> = BTreeMap::new();
        for event in self.events {
            if let What::Entered(view) = event.what {
                entries.entry(view).or_default().entry(event.node).or_insert(event.at);
            }
        }
        let span = |(view, entered): (&View, &BTreeMap<usize, Nanos>)| {
            let left = entries.get(&view.next()).filter(|left| left.len() == correct && view.0 > 2)?;
            Some(left.values().max()?.0.saturating_sub(entered.values().min()?.0))
        };
        entries.iter().filter_map(span).max().unwrap_or(0)
    }

    fn leaders_killed(&self) -> usize {
        let mut inside: BTreeMap<usize, View> = BTreeMap::new();
        let mut dead = BTreeSet::new();
        let mut count = 0;
        for event in self.events {
            match event.what {
                What::Entered(view) => {
                    inside.insert(event.node, view);
                }
                What::Stopped(_) => {
                    let led = inside.get(&event.node).is_some_and(|view| self.cluster.schedule.leader(*view).at() == event.node);
                    if led {
                        dead.insert(event.node);
                    }
                }
                What::Started { .. } => count += usize::from(dead.remove(&event.node)),
                _ => {}
            }
        }
        count
    }

    fn past_votes(&self) -> usize {
        let mut inside: BTreeMap<usize, View> = BTreeMap::new();
        let mut first = BTreeSet::new();
        let mut count = 0;
        for event in self.events.iter().filter(|event| !self.plan.is_hostile(event.node)) {
            if let What::Entered(view) = event.what {
                inside.insert(event.node, view);
            }
            if let Some((view, _)) = vote(&event.what) {
                let is_past = inside.get(&event.node).is_some_and(|now| *now > view);
                count += usize::from(first.insert((event.node, view)) && is_past);
            }
        }
        count
    }

    fn skips(&self) -> usize {
        let mut inside: BTreeMap<usize, View> = BTreeMap::new();
        let mut count = 0;
        for event in self.events {
            match event.what {
                What::Started { .. } => {
                    inside.remove(&event.node);
                }
                What::Entered(view) => {
                    let before = inside.insert(event.node, view);
                    count += usize::from(before.is_some_and(|before| view.0 > before.0 + 1));
                }
                _ => {}
            }
        }
        count
    }
}

fn at_least(count: usize, least: usize) -> (bool, u64) {
    (count >= least, count as u64)
}

fn vote(what: &What) -> Option<(View, Digest)> {
    let What::Sent(_, MessageKind::Vote, bytes) = what else { return None };
    access::<ArchivedVote>(bytes).map(|vote| (View(vote.view.to_native()), Digest(vote.digest)))
}
