//! The replay window: which counters of one direction were received.
//!
//! A ring of words, one bit per counter. `next` is one past the highest counter accepted; a counter is fresh if it lies at or above
//! `next`, or within [`WINDOW`] below it with its bit clear. Moving up clears the words passed over, so each bit speaks of one counter.

const WORDS: usize = 128;
const WORD_BITS: u64 = 64;
/// Counters below the highest one that are still told apart. One word less than the ring holds: the top word is only partly filled.
pub const WINDOW: u64 = (WORDS as u64 - 1) * WORD_BITS;
/// Counters at and above this are never used nor accepted.
pub const COUNTER_LIMIT: u64 = 1 << 60;

/// Verdict on a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Not seen.
    Fresh,
    /// Seen.
    Seen,
    /// Below the window: unknown, so refused.
    TooOld,
}

/// Counters received in one direction of one session.
pub struct ReplayWindow {
    next: u64,
    accepted: u64,
    words: [u64; WORDS],
}

impl ReplayWindow {
    /// Nothing received.
    pub fn new() -> ReplayWindow {
        ReplayWindow { next: 0, accepted: 0, words: [0; WORDS] }
    }

    /// Looks without marking: a forged datagram must not use up a counter.
    pub fn check(&self, counter: u64) -> Counter {
        if counter >= self.next {
            Counter::Fresh
        } else if self.next - counter > WINDOW {
            Counter::TooOld
        } else if self.words[word_of(counter)] & bit_of(counter) != 0 {
            Counter::Seen
        } else {
            Counter::Fresh
        }
    }

    /// Marks a counter below [`COUNTER_LIMIT`] that [`Self::check`] called fresh and whose datagram was authentic.
    pub fn accept(&mut self, counter: u64) {
        assert!(counter < COUNTER_LIMIT, "the caller refuses counters at the limit");
        if counter >= self.next {
            self.move_up(counter);
        }
        self.words[word_of(counter)] |= bit_of(counter);
        self.accepted += 1;
    }

    /// (counters up to the highest one accepted, accepted ones): both only grow, their difference is missing or on its way.
    pub fn tally(&self) -> (u64, u64) {
        (self.next, self.accepted)
    }

    fn move_up(&mut self, counter: u64) {
        let first = self.next.div_ceil(WORD_BITS);
        let last = counter / WORD_BITS;
        if last >= first + WORDS as u64 {
            self.words = [0; WORDS];
        } else {
            for word in first..=last {
                self.words[word as usize % WORDS] = 0;
            }
        }
        self.next = counter + 1;
    }
}

fn word_of(counter: u64) -> usize {
    (counter / WORD_BITS) as usize % WORDS
}

fn bit_of(counter: u64) -> u64 {
    1 << (counter % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn the_window_spans_at_least_4096_counters() {
        const { assert!(WINDOW >= 4096) };
    }

    #[test]
    fn a_replay_is_refused_at_every_position_of_the_window() {
        let mut window = ReplayWindow::new();
        let top = 3 * WINDOW + 17;
        (0..=top).for_each(|counter| window.accept(counter));
        for counter in 0..=top {
            let expected = if top - counter < WINDOW { Counter::Seen } else { Counter::TooOld };
            assert_eq!(window.check(counter), expected, "{counter}");
        }
        assert_eq!(window.check(top + 1), Counter::Fresh);
    }

    #[test]
    fn every_gap_in_the_window_is_accepted_once() {
        let mut window = ReplayWindow::new();
        let top = 2 * WINDOW + 5;
        window.accept(top);
        for counter in top + 1 - WINDOW..top {
            assert_eq!(window.check(counter), Counter::Fresh, "{counter}");
            window.accept(counter);
            assert_eq!(window.check(counter), Counter::Seen, "{counter}");
        }
        assert_eq!(window.check(top - WINDOW), Counter::TooOld);
    }

    #[test]
    fn the_tally_counts_gaps_until_they_are_filled() {
        let mut window = ReplayWindow::new();
        assert_eq!(window.tally(), (0, 0));
        [0, 1, 5].into_iter().for_each(|counter| window.accept(counter));
        assert_eq!(window.tally(), (6, 3));
        window.accept(3);
        window.accept(5 + 2 * WINDOW);
        assert_eq!(window.tally(), (6 + 2 * WINDOW, 5));
    }

    proptest! {
        /// The oracle remembers every counter. Steps around multiples of the ring exercise its wrap.
        #[test]
        fn the_ring_agrees_with_a_set_of_counters(start in 0u64..1 << 59,
                                                  moves in proptest::collection::vec((0u8..4, 0u64..70, 0u64..20_000), 1..400)) {
            let mut window = ReplayWindow::new();
            let (mut seen, mut highest) = (HashSet::new(), None::<u64>);
            let mut at = start;
            for (kind, small, large) in moves {
                at = match kind { 0 => at.saturating_sub(small), 1 => at.saturating_sub(large), 2 => at + small, _ => at + large };
                let expected = match highest {
                    Some(top) if at <= top && top - at >= WINDOW => Counter::TooOld,
                    _ if seen.contains(&at) => Counter::Seen,
                    _ => Counter::Fresh,
                };
                prop_assert_eq!(window.check(at), expected);
                if expected == Counter::Fresh {
                    window.accept(at);
                    seen.insert(at);
                    highest = Some(highest.map_or(at, |top| top.max(at)));
                }
            }
        }
    }
}
