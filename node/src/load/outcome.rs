//! What a load run measured.

use crate::bridge::Distribution;
use samara_types::TransactionId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A transaction a client was told is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its name.
    pub id: TransactionId,
    /// Height of its block, as told.
    pub height: u64,
    /// Position in its block, as told.
    pub index: u32,
}

/// Counts and latencies of a load run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Transactions whose intended send time came.
    pub offered: u64,
    /// Offered ones a validator accepted.
    pub accepted: u64,
    /// Offered ones that were acknowledged as final.
    pub finalized: u64,
    /// Offered ones given up, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Offered ones without an answer at the end of the drain.
    pub unanswered: u64,
    /// Submissions repeated at another validator after a lost connection, a drop or a silence.
    pub resubmitted: u64,
    /// Connections lost.
    pub connections_lost: u64,
    /// From the intended send time to `finalized`, microseconds.
    pub latency_us: Distribution,
    /// From the intended send time to `accepted`, microseconds.
    pub accept_us: Distribution,
    /// Everything acknowledged, in order of arrival.
    pub acknowledged: Vec<Acknowledged>,
    /// What was seen at each door.
    pub doors: Vec<Door>,
}

/// What status answers of one validator showed, sampled at the status interval.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// Last height seen.
    pub height: u64,
    /// Last view seen.
    pub view: u64,
    /// Longest time between two height changes while it could be asked and load was offered.
    pub gap_max: Duration,
    /// Of a door that was lost: from its first answer after that until it was level with the highest door. None until it is.
    pub caught_up: Option<Duration>,
    /// Whether its connection was ever lost.
    pub lost: bool,
    /// When the height last changed; None while the door is closed.
    changed: Option<Instant>,
    /// When it first answered after it was lost; None if it never was, or has not yet.
    returned: Option<Instant>,
}

/// Heights a door may be below the highest one and count as level: answers are taken one after the other while blocks go on.
const LEVEL_WITHIN: u64 = 2;

impl Door {
    /// Takes a status answer; `highest` is the greatest height of any door.
    pub fn on_status(&mut self, now: Instant, view: u64, height: u64, highest: u64) {
        self.view = view;
        if self.lost {
            let returned = *self.returned.get_or_insert(now);
            if self.caught_up.is_none() && height + LEVEL_WITHIN >= highest {
                self.caught_up = Some(now - returned);
            }
        }
        match self.changed {
            Some(changed) if height == self.height => self.gap_max = self.gap_max.max(now - changed),
            Some(changed) => {
                self.gap_max = self.gap_max.max(now - changed);
                self.changed = Some(now);
            }
            None => self.changed = Some(now),
        }
        self.height = height;
    }

    /// The connection is gone: what follows is no gap of a running validator.
    pub fn on_lost(&mut self) {
        self.changed = None;
        (self.lost, self.returned, self.caught_up) = (true, None, None);
    }

    /// Nothing more is offered: a stand-still, or a silence, that lasts until here counts in full.
    pub fn on_end(&mut self, now: Instant) {
        if let Some(changed) = self.changed.take() {
            self.gap_max = self.gap_max.max(now - changed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_stand_still_of_an_open_door() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut door = Door::default();
        for (ms, height) in [(0, 5), (50, 6), (100, 6), (150, 6), (200, 7)] {
            door.on_status(at(ms), 1, height, 9);
        }
        assert_eq!(door.gap_max, Duration::from_millis(150));
        door.on_lost();
        door.on_status(at(5_000), 2, 7, 9);
        assert_eq!(door.gap_max, Duration::from_millis(150), "a closed door has no gap");
        door.on_status(at(5_400), 2, 7, 9);
        assert_eq!((door.gap_max, door.height), (Duration::from_millis(400), 7), "a stand-still at the end counts");
        door.on_end(at(6_000));
        assert_eq!(door.gap_max, Duration::from_millis(1_000), "and so does a door that says nothing any more");
    }

    #[test]
    fn a_door_that_was_lost_has_caught_up_once_it_is_level_with_the_highest() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut door = Door::default();
        door.on_status(at(0), 1, 50, 50);
        assert_eq!(door.caught_up, None, "it was never away");
        door.on_lost();
        door.on_status(at(1_000), 1, 50, 90);
        door.on_status(at(1_200), 1, 88, 91);
        assert_eq!(door.caught_up, None);
        door.on_status(at(1_300), 1, 91, 93);
        door.on_status(at(1_400), 1, 91, 99);
        assert_eq!(door.caught_up, Some(Duration::from_millis(300)));
        door.on_lost();
        assert_eq!(door.caught_up, None, "the next return is measured anew");
    }
}
