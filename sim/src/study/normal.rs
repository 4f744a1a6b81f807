//! Normally distributed draws from one seed (Box-Muller over ChaCha8).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A source of normal draws; the same seed gives the same draws.
pub struct Normal {
    random: ChaCha8Rng,
    spare: Option<f64>,
}

impl Normal {
    /// From a seed.
    pub fn new(seed: u64) -> Normal {
        Normal { random: ChaCha8Rng::seed_from_u64(seed), spare: None }
    }

    /// One draw.
    pub fn draw(&mut self, mean: f64, deviation: f64) -> f64 {
        mean + deviation * self.spare.take().unwrap_or_else(|| self.pair())
    }

    fn pair(&mut self) -> f64 {
        // 1 - u lies in (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }

    /// In [0, 1), 53 bits.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Normal;

    #[test]
    fn mean_deviation_and_tail_are_those_of_the_normal_distribution() {
        let mut normal = Normal::new(3);
        let draws: Vec<f64> = (0..40_000).map(|_| normal.draw(10.0, 2.0)).collect();
        let mean = draws.iter().sum::<f64>() / 40_000.0;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 40_000.0;
        let above = draws.iter().filter(|draw| **draw > 14.0).count() as f64 / 40_000.0;
        assert!((mean - 10.0).abs() < 0.05 && (variance - 4.0).abs() < 0.12 && (above - 0.0228).abs() < 0.003, "{mean} {variance} {above}");
    }
}
