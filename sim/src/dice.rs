//! All chance of one run, from one seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use samara_types::Nanos;

/// A stream of random numbers with a name of its own, so that drawing more in one place changes nothing in another.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream `name` of `seed`.
    pub fn new(seed: u64, name: &str) -> Dice {
        let mut hasher = blake3::Hasher::new_derive_key("samara 2026 simulator dice");
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Dice(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Below `bound`; 0 if that is 0. The bias of the multiplication is below 2^-32 for the bounds used here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.any()) * u128::from(bound)) >> 64) as u64
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A span from `low` to `high` milliseconds, to the nanosecond.
    pub fn millis(&mut self, low: u64, high: u64) -> Nanos {
        Nanos(self.range(low * 1_000_000, high * 1_000_000))
    }

    /// True in `ppm` of a million cases.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.chance(percent * 10_000)
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// Some of `0..count` in random order.
    pub fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at, self.below(at as u64 + 1) as usize);
        }
        order
    }

    /// Normally distributed in thousandths of the deviation: the sum of twelve uniform numbers, in integers, cut off at six deviations.
    pub fn normal_milli(&mut self) -> i64 {
        (0..12).map(|_| self.below(1_000) as i64).sum::<i64>() - 5_994
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_independent() {
        let draw = |seed, name| Dice::new(seed, name).any();
        assert_eq!(draw(1, "net"), draw(1, "net"));
        assert_ne!(draw(1, "net"), draw(2, "net"));
        assert_ne!(draw(1, "net"), draw(1, "disk"));
    }

    #[test]
    fn ranges_are_inclusive_and_the_normal_has_its_moments() {
        let mut dice = Dice::new(7, "test");
        let drawn: Vec<u64> = (0..2_000).map(|_| dice.range(3, 5)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&5)));
        let normal: Vec<i64> = (0..20_000).map(|_| dice.normal_milli()).collect();
        let mean = normal.iter().sum::<i64>() / 20_000;
        let variance = normal.iter().map(|x| (x - mean) * (x - mean)).sum::<i64>() / 20_000;
        assert!(mean.abs() < 30 && (950_000..1_050_000).contains(&variance), "mean {mean}, variance {variance}");
    }
}
