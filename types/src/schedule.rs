//! Who leads which view: a table by stake, the same on every node.
//!
//! Equal stakes give plain round robin (Minimmit, `lead(v) = p_{v mod n}`). Unequal stakes give smooth weighted round robin: turns are
//! proportional to stake within one turn and spread as evenly as whole turns allow, so a heavy member never takes a long run.

use crate::digest::Digest;
use crate::numbers::{Epoch, ValidatorIndex, View};
use crate::set::ValidatorSet;

/// Turns per member in the table of an unequal set. More turns follow the stakes more exactly and cost 2 B each.
const TURNS_PER_MEMBER: usize = 64;

/// The leader of every view of one epoch.
#[derive(Clone, Debug)]
pub struct LeaderSchedule {
    turns: Vec<ValidatorIndex>,
}

impl LeaderSchedule {
    /// The schedule of a set; the start of the table is rotated by (seed, epoch).
    pub fn new(set: &ValidatorSet, seed: &Digest, epoch: Epoch) -> LeaderSchedule {
        let equal = set.indexes().all(|index| set.stake(index) == set.entries()[0].stake);
        let turns_wanted = if equal { set.len() } else { set.len() * TURNS_PER_MEMBER };
        let mut turns = smooth_round_robin(set, turns_wanted);
        let start = Digest::of("samara 2026 leader schedule", &[&seed.0, &epoch.0.to_le_bytes()]);
        let start = u64::from_le_bytes(start.0[..8].try_into().expect("8 of 32 bytes"));
        let offset = (start % turns.len() as u64) as usize;
        turns.rotate_left(offset);
        LeaderSchedule { turns }
    }

    /// The leader of `view`.
    pub fn leader(&self, view: View) -> ValidatorIndex {
        self.turns[(view.0 % self.turns.len() as u64) as usize]
    }
}

/// Each round every member gains its stake; the richest (ties: lowest index) leads and pays the total.
fn smooth_round_robin(set: &ValidatorSet, turns: usize) -> Vec<ValidatorIndex> {
    let total = i128::from(set.quorums().total.0);
    let mut credit = vec![0i128; set.len()];
    (0..turns)
        .map(|_| {
            for index in set.indexes() {
                credit[index.at()] += i128::from(set.stake(index).0);
            }
            let richest = set.indexes().max_by_key(|index| (credit[index.at()], std::cmp::Reverse(*index))).expect("a set is never empty");
            credit[richest.at()] -= total;
            richest
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::Stake;
    use crate::set::ValidatorEntry;

    fn set(stakes: &[u64]) -> ValidatorSet {
        let entry = |(i, &stake): (usize, &u64)| ValidatorEntry {
            stake: Stake(stake),
            vote_key: [i as u8 + 1; 96],
            possession: [0; 48],
            identity_key: [i as u8 + 1; 32],
            session_key: [i as u8 + 1; 32],
        };
        ValidatorSet::new(stakes.iter().enumerate().map(entry).collect(), None).unwrap()
    }

    #[test]
    fn equal_stakes_take_turns() {
        let schedule = LeaderSchedule::new(&set(&[1; 6]), &Digest([7; 32]), Epoch(0));
        let first = schedule.leader(View(0)).0;
        for view in 0..30u64 {
            assert_eq!(u64::from(schedule.leader(View(view)).0), (u64::from(first) + view) % 6);
        }
    }

    #[test]
    fn turns_follow_stake_and_are_spread() {
        let stakes = [10, 20, 10, 20, 15, 15, 20];
        let schedule = LeaderSchedule::new(&set(&stakes), &Digest::ZERO, Epoch(3));
        let turns = 7 * TURNS_PER_MEMBER as u64;
        for (index, stake) in stakes.iter().enumerate() {
            let led = (0..turns).filter(|&view| schedule.leader(View(view)).at() == index).count() as u64;
            assert!(led.abs_diff(stake * turns / 110) <= 1, "member {index} leads {led} of {turns}");
        }
        // Within the table nobody leads twice in a row; where it wraps around, two turns may meet.
        let runs = (0..turns).filter(|&view| schedule.leader(View(view)) == schedule.leader(View(view + 1))).count();
        assert!(runs <= 1, "{runs} runs");
    }
}
