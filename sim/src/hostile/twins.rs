//! T24: two honest machines with one seat's keys. Each hears and reaches some of the others, some both; who belongs to whom is drawn anew
//! every few views. So the seat proposes twice, votes twice and nullifies what it voted for, each of them for reasons of its own.

use super::puppet::{Puppet, Words};
use crate::actor::{Hostile, Stage};
use crate::trace::Target;
use samara_types::{MessageKind, Nanos, View};

/// Views for which masks stay.
const ROUND_VIEWS: u64 = 3;
/// Ticks are at least this far apart.
const TICK: Nanos = Nanos(100_000);
/// The second one's wall clock: its blocks differ.
const SKEW: Nanos = Nanos(1_000);

/// See the module.
#[derive(Default)]
pub struct Twins {
    pair: Option<[Puppet; 2]>,
    /// For each of the two: the seats it hears and reaches.
    masks: [Vec<bool>; 2],
    round: Option<u64>,
}

impl Twins {
    /// New masks when either enters a new round.
    fn draw(&mut self, view: View, stage: &mut Stage<'_>) {
        let round = view.0 / ROUND_VIEWS;
        if self.round.is_some_and(|drawn| drawn >= round) {
            return;
        }
        self.round = Some(round);
        let seats = stage.cluster.len();
        let both = stage.dice.below(40) as u32;
        self.masks = [vec![false; seats], vec![false; seats]];
        for seat in 0..seats {
            let first = stage.dice.percent(50);
            let overlaps = stage.dice.percent(both);
            self.masks[0][seat] = first || overlaps;
            self.masks[1][seat] = !first || overlaps;
        }
    }

    fn speak(&mut self, which: usize, words: Words, stage: &mut Stage<'_>) {
        for (target, kind, bytes) in words.sends {
            let (mask, me) = (&self.masks[which], stage.me);
            match target {
                Target::All => {
                    for to in (0..mask.len()).filter(|to| mask[*to] && *to != me) {
                        stage.send(to, kind, &bytes);
                    }
                }
                Target::One(to) if mask[to.at()] => stage.sends.push((target, kind, bytes)),
                Target::One(_) => {}
            }
        }
        for view in words.entered {
            self.draw(view, stage);
        }
        let deadlines = self.pair.iter().flatten().filter_map(Puppet::next_deadline);
        stage.wake = deadlines.min().map(|at| at.max(stage.now.after(TICK)));
    }
}

impl Hostile for Twins {
    fn name(&self) -> &'static str {
        "twins"
    }

    fn start(&mut self, stage: &mut Stage<'_>) {
        self.pair = Some([Puppet::new(stage), Puppet::skewed(stage, SKEW)]);
        self.draw(View(0), stage);
        self.wake(stage);
    }

    fn deliver(&mut self, from: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        for which in 0..2 {
            let Some(pair) = &mut self.pair else { return };
            if self.masks[which][from] {
                let words = pair[which].deliver(stage.now, from, kind, bytes);
                self.speak(which, words, stage);
            }
        }
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        for which in 0..2 {
            let Some(pair) = &mut self.pair else { return };
            let words = pair[which].tick(stage.now);
            self.speak(which, words, stage);
        }
    }
}
