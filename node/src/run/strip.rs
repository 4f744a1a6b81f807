//! The latest views, one row each, and why views ended without a block.

use crate::bridge::{Nullifications, NullifiedReason, ViewRow};
use samara_types::{Nanos, ValidatorIndex, View};
use samara_validator::Milestone;
use std::collections::BTreeMap;

/// Views kept: about three seconds at full speed.
const ROWS_MAX: usize = 64;

#[derive(Clone, Copy)]
struct Row {
    leader: ValidatorIndex,
    began: Nanos,
    reached: [Option<Nanos>; 6],
    nullified: Option<NullifiedReason>,
}

/// See the module.
pub struct Strip {
    rows: BTreeMap<View, Row>,
    /// Nullified views by leader and [`NullifiedReason`].
    nullified: Vec<[u64; NullifiedReason::ALL.len()]>,
}

impl Strip {
    /// For a set of `validators` members.
    pub fn new(validators: usize) -> Strip {
        Strip { rows: BTreeMap::new(), nullified: vec![[0; NullifiedReason::ALL.len()]; validators] }
    }

    /// The row of a view, begun if this is its first sign. At most [`ROWS_MAX`] stay, the latest ones.
    fn row(&mut self, view: View, leader: ValidatorIndex, now: Nanos) -> &mut Row {
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&view) {
            self.rows.pop_first();
        }
        self.rows.entry(view).or_insert(Row { leader, began: now, reached: [None; 6], nullified: None })
    }

    /// A view begins.
    pub fn entered(&mut self, view: View, leader: ValidatorIndex, now: Nanos) {
        self.row(view, leader, now);
    }

    /// A view got further.
    pub fn reached(&mut self, view: View, leader: ValidatorIndex, milestone: Milestone, now: Nanos) {
        self.row(view, leader, now).reached[milestone as usize].get_or_insert(now);
    }

    /// A view ended without a block.
    pub fn nullified(&mut self, view: View, leader: ValidatorIndex, now: Nanos) {
        let row = self.row(view, leader, now);
        let before = |milestone: Milestone| row.reached[milestone as usize].is_none();
        let reason = match () {
            () if before(Milestone::Seen) => NullifiedReason::NoProposal,
            () if before(Milestone::Body) => NullifiedReason::Incomplete,
            () if before(Milestone::Voted) => NullifiedReason::NotVoted,
            () => NullifiedReason::NotNotarized,
        };
        row.nullified = Some(reason);
        self.nullified[leader.at()][reason as usize] += 1;
    }

    /// The rows, oldest first.
    pub fn rows(&self) -> Vec<ViewRow> {
        self.rows.iter().map(|(view, row)| row.published(*view)).collect()
    }

    /// What is not zero of the nullifications.
    pub fn nullifications(&self) -> Vec<Nullifications> {
        let of = |(leader, counts): (usize, &[u64; NullifiedReason::ALL.len()])| {
            let counts = *counts;
            NullifiedReason::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).map(move |(reason, count)| Nullifications {
                leader: leader as u16,
                reason: reason.as_str().to_string(),
                count,
            })
        };
        self.nullified.iter().enumerate().flat_map(of).collect()
    }
}

impl Row {
    fn published(&self, view: View) -> ViewRow {
        let at = |milestone: Milestone| self.reached[milestone as usize].map(|at| at.since(self.began).0 / 1_000);
        ViewRow {
            view: view.0,
            leader: self.leader.0,
            proposed_us: at(Milestone::Seen),
            body_us: at(Milestone::Body),
            voted_us: at(Milestone::Voted),
            sent_us: at(Milestone::Sent),
            notarized_us: at(Milestone::Notarized),
            final_us: at(Milestone::Final),
            nullified: self.nullified.map(|reason| reason.as_str().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: ValidatorIndex = ValidatorIndex(2);

    #[test]
    fn a_nullified_view_is_charged_to_its_leader_for_what_was_missing() {
        let order = [Milestone::Seen, Milestone::Body, Milestone::Voted, Milestone::Sent];
        for (count, expected) in [(0, "no_proposal"), (1, "incomplete"), (2, "not_voted"), (3, "not_notarized"), (4, "not_notarized")] {
            let mut strip = Strip::new(6);
            strip.entered(View(7), LEADER, Nanos(0));
            order[..count].iter().for_each(|milestone| strip.reached(View(7), LEADER, *milestone, Nanos(5_000)));
            strip.nullified(View(7), LEADER, Nanos(9_000));
            assert_eq!(strip.rows()[0].nullified.as_deref(), Some(expected));
            assert_eq!(strip.nullifications(), [Nullifications { leader: 2, reason: expected.to_string(), count: 1 }]);
        }
    }

    #[test]
    fn times_count_from_the_first_sign_and_the_first_time_stays() {
        let mut strip = Strip::new(6);
        strip.reached(View(3), LEADER, Milestone::Seen, Nanos(1_000_000));
        strip.entered(View(3), LEADER, Nanos(2_000_000));
        strip.reached(View(3), LEADER, Milestone::Final, Nanos(6_000_000));
        strip.reached(View(3), LEADER, Milestone::Final, Nanos(9_000_000));
        let row = &strip.rows()[0];
        assert_eq!((row.proposed_us, row.body_us, row.final_us, row.leader), (Some(0), None, Some(5_000), 2));
    }

    #[test]
    fn the_latest_views_stay() {
        let mut strip = Strip::new(6);
        (1..=200).for_each(|view| strip.entered(View(view), LEADER, Nanos(view)));
        let rows = strip.rows();
        assert_eq!((rows.len(), rows[0].view, rows[ROWS_MAX - 1].view), (ROWS_MAX, 137, 200));
    }
}
