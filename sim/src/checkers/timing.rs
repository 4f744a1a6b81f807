//! I16 to I19 once the cluster has settled on a good network: t is when the first correct validator enters a view.
//!
//! | | paper | here |
//! |---|---|---|
//! | I19 | all enter by t + δ | the same; δ holds one burst of the receiver |
//! | I17 | all leave by t + 2Δ + 3δ | + 3W: a nullify, and a vote before it, wait for the disk |
//! | I16 | a correct leader's block is final everywhere by t + 3δ | t + 4δ + pace + 2W: a relay hop more, the leader's pacing, two records |
//! | I18 | a transaction is final within δ + (f_a+1)(2Δ+3δ) + 3δ | in these units, with gossip's and the store's waits |
//!
//! The paper's votes carry their block, ours name it. So somebody may lack a block that its hostile leader kept back, while others build on it. He votes
//! for theirs once it is notarized (vote2), which costs everybody δ + W more, since finality may need every correct vote; and until he has fetched
//! the body nothing can be final to him, and he can propose nothing. Where so many lack it that the others' votes are no notarization (an equivocating
//! leader needs f+1 of them only), everybody waits until they have fetched it.
//!
//! W is a body and a record, each behind a write that was under way: four writes. Timeouts are local: they stretch by the clocks' drift.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};
use samara_types::message::{ArchivedManifestRequest, ArchivedShredRequest, access};
use samara_types::{MessageKind, Nanos, TransactionId, View};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Timers are set to a tenth of a millisecond, ticks are one burst apart.
const SLACK: u64 = 1_500_000;
/// A batch of gossip is filled for 2 ms, and its receiver collects for 4.
const GOSSIP: u64 = 6_000_000;
/// How long after it was last asked for a body may still come, 120 ms, and be taken.
const FETCH: u64 = 150_000_000;
/// How long after a hostile leader's view somebody may lack a body of it: from one holder after another, some of them hostile, in 30, 60, 120 ms.
const LACKING: u64 = 275_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Entered,
    Left,
    Final,
}

/// See the module.
pub struct Timing {
    facts: Facts,
    delta: u64,
    write: u64,
    settled: bool,
    views: Vec<View>,
    finals: Vec<BTreeSet<View>>,
    started: BTreeSet<View>,
    /// By deadline; the number keeps entries apart.
    due: BTreeMap<(Nanos, u64), (View, Due, Nanos)>,
    number: u64,
    offered: BTreeMap<TransactionId, Nanos>,
    /// When a view with a hostile leader was last entered or left first.
    hostile_led: Option<Nanos>,
    /// When each validator asked for bodies of which hostile leaders' views, above what was final to it then.
    fetched: Vec<VecDeque<(Nanos, View)>>,
    /// Who was late to finalize, since when, and by when it must have an excuse.
    excuses: VecDeque<(Nanos, Nanos, View, Vec<usize>, String)>,
}

impl Timing {
    /// Not settled.
    pub fn new(facts: &Facts) -> Timing {
        let validators = facts.stakes.len();
        Timing {
            facts: facts.clone(),
            delta: 0,
            write: 0,
            settled: false,
            views: vec![View(0); validators],
            finals: vec![BTreeSet::new(); validators],
            started: BTreeSet::new(),
            due: BTreeMap::new(),
            number: 0,
            offered: BTreeMap::new(),
            hostile_led: None,
            fetched: vec![VecDeque::new(); validators],
            excuses: VecDeque::new(),
        }
    }

    fn leave_within(&self) -> u64 {
        self.stretched(self.facts.params.view_timeout.0) + 3 * self.delta + 3 * 4 * self.write + SLACK
    }

    fn final_within(&self) -> u64 {
        let pace = self.facts.params.idle_interval.0.max(self.facts.params.block_interval.0);
        self.stretched(pace) + 4 * self.delta + 2 * 4 * self.write + SLACK
    }

    /// Bounds of a network and disks that take this long.
    pub fn with_delays(mut self, delta: Nanos, disk: Nanos) -> Timing {
        (self.delta, self.write) = (delta.0, disk.0);
        self
    }

    /// The longest run of hostile leaders, and the one after it.
    pub fn transaction_within(&self) -> u64 {
        let leaders: Vec<bool> = (0..4 * 64 * 16).map(|view| self.facts.hostile[self.facts.schedule.leader(View(view)).at()]).collect();
        let run = leaders.chunk_by(|a, b| a == b).filter(|run| run[0]).map(<[bool]>::len).max().unwrap_or(0) as u64;
        // The view under way may be too late for it, then the hostile run, then a view that carries it.
        GOSSIP + 2 * self.delta + (run + 2) * self.leave_within() + self.final_within() + 4 * self.write
    }

    fn stretched(&self, span: u64) -> u64 {
        span + span * self.facts.drift_ppm / 1_000_000 * 2 + self.facts.drift_ppm
    }

    fn is_hostile_led(&self, view: View) -> bool {
        self.facts.hostile[self.facts.schedule.leader(view).at()]
    }

    fn expect(&mut self, from: Nanos, within: u64, view: View, due: Due) {
        self.number += 1;
        self.due.insert((Nanos(from.0 + within), self.number), (view, due, from));
    }

    fn entered(&mut self, at: Nanos, view: View) {
        if !self.started.insert(view) {
            return;
        }
        if self.is_hostile_led(view) || self.is_hostile_led(view.previous()) {
            self.hostile_led = Some(at);
        }
        if !self.settled {
            return;
        }
        self.expect(at, self.delta + SLACK, view, Due::Entered);
        self.expect(at, self.leave_within(), view, Due::Left);
        if !self.is_hostile_led(view) {
            let lacking = self.hostile_led.is_some_and(|led| at.since(led).0 <= LACKING);
            let vote2 = if lacking { self.delta + 4 * self.write } else { 0 };
            self.expect(at, self.final_within() + vote2, view, Due::Final);
        }
    }

    fn judge(&mut self, now: Nanos, court: &mut Court) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 < now
        {
            let ((deadline, _), (view, due, from)) = entry.remove_entry();
            let correct = (0..self.views.len()).filter(|node| !self.facts.hostile[*node]);
            let late: Vec<usize> = correct
                .filter(|node| match due {
                    Due::Entered => self.views[*node] < view,
                    Due::Left => self.views[*node] <= view,
                    Due::Final => self.views[*node] <= view || !self.finals[*node].contains(&view),
                })
                .collect();
            if late.is_empty() {
                continue;
            }
            let what = match due {
                Due::Entered => "I19: did not enter",
                Due::Left => "I17: did not leave",
                Due::Final => "I16: did not finalize and leave",
            };
            let ms = (deadline.0 - from.0) as f64 / 1e6;
            let text = format!("{what} view {view} within {ms:.3} ms of {} ns", from.0);
            match due {
                Due::Final => self.excuses.push_back((
                    Nanos(deadline.0 + self.stretched(self.facts.params.view_timeout.0 / 20) + SLACK),
                    from,
                    view,
                    late,
                    text,
                )),
                _ => court.accuse(Promise::Timing, format!("{text}: {late:?}")),
            }
        }
    }

    /// A body is asked for a twentieth of a timeout after its certificate; who does so by then is excused, if it is of a view below this one, still open to
    /// whoever asks, and may have been on the way when this one began. So are all if the view's leader does, who has nothing to build on, and if
    /// those who do not are too few for a notarization.
    fn excuse(&mut self, now: Nanos, court: &mut Court) {
        while self.excuses.front().is_some_and(|(due, ..)| *due < now)
            && let Some((due, from, view, late, text)) = self.excuses.pop_front()
        {
            let excuses = |(asked, lacks): &(Nanos, View)| asked.0 + FETCH >= from.0 && *asked <= due && *lacks < view;
            let fetches = |node: &usize| self.fetched[*node].iter().any(excuses);
            let builders: Vec<usize> = (0..self.views.len()).filter(|node| !self.facts.hostile[*node] && !fetches(node)).collect();
            let late: Vec<usize> = late.into_iter().filter(|node| !fetches(node)).collect();
            let goes_on = builders.contains(&self.facts.schedule.leader(view).at()) && self.facts.weight(&builders) >= self.facts.m;
            if !late.is_empty() && goes_on {
                court.accuse(Promise::Timing, format!("{text}: {late:?}"));
            } else {
                court.excuse();
            }
        }
    }

    /// Older requests excuse nobody any more.
    fn asked(&mut self, node: usize, at: Nanos, view: View) {
        if !self.is_hostile_led(view) || self.finals[node].last().is_some_and(|last| *last >= view) {
            return;
        }
        let oldest = Nanos(at.0.saturating_sub(self.final_within() + 2 * self.leave_within() + FETCH));
        let asked = &mut self.fetched[node];
        while asked.front().is_some_and(|(before, _)| *before < oldest) {
            asked.pop_front();
        }
        asked.push_back((at, view));
    }
}

impl Checker for Timing {
    fn observe(&mut self, event: &Event, _: Option<&Said>, court: &mut Court) {
        if self.settled {
            self.judge(event.at, court);
            self.excuse(event.at, court);
        }
        match &event.what {
            What::Healed { delta, disk } => (self.delta, self.write) = (delta.0, disk.0),
            What::Settled => self.settled = true,
            What::Entered(view) => {
                self.views[event.node] = *view;
                self.entered(event.at, *view);
            }
            What::Finalized(finalized) => {
                self.finals[event.node].insert(finalized.header.view);
            }
            What::Sent(_, kind @ (MessageKind::ManifestRequest | MessageKind::ShredRequest), bytes) => {
                let view = match kind {
                    MessageKind::ManifestRequest => access::<ArchivedManifestRequest>(bytes).map(|request| request.view.to_native()),
                    _ => access::<ArchivedShredRequest>(bytes).map(|request| request.view.to_native()),
                };
                if let Some(view) = view {
                    self.asked(event.node, event.at, View(view));
                }
            }
            What::Taken(id) if self.settled => {
                self.offered.entry(*id).or_insert(event.at);
            }
            What::Acknowledged(id, _) => {
                let within = self.transaction_within();
                if let Some(at) = self.offered.remove(id).filter(|at| event.at.since(*at).0 > within) {
                    let text = format!(
                        "I18: a transaction taken at {} ns was acknowledged after {} ns, allowed are {within}",
                        at.0,
                        event.at.since(at).0
                    );
                    court.accuse(Promise::Timing, text);
                }
            }
            What::Chain(_) => {
                // The end: whoever still waits must have time left.
                let within = self.transaction_within();
                for (id, at) in std::mem::take(&mut self.offered) {
                    if event.at.since(at).0 > within {
                        court
                            .accuse(Promise::Timing, format!("I18: {id:?}, taken at {} ns, was not acknowledged within {within} ns", at.0));
                    }
                }
                self.settled = false;
            }
            _ => {}
        }
    }
}
