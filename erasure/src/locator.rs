//! The SIMD engine of `reed-solomon-simd` with a direct error locator.
//!
//! The library evaluates the locator with two Walsh-Hadamard transforms over all 65,536 field elements, whatever the size of the code:
//! about 115 of the 135 us of a 32:32 decode (reference, section 3.2). With at most [`POSITIONS`] positions in use, the sum of
//! logarithms over the received (or the erased) positions gives the same values in a few thousand table look-ups.

use reed_solomon_simd::engine::{DefaultEngine, Engine, GF_MODULUS, GF_ORDER, GfElement, ShardsRefMut, tables};
use samara_types::shred::{DATA_SHREDS_MAX, TOTAL_SHREDS_MAX};

/// Positions a code word of a slice can use: both halves of the code, each padded to a power of two at most.
const POSITIONS: usize = 256;
const _: () = assert!(DATA_SHREDS_MAX.next_power_of_two() + TOTAL_SHREDS_MAX.next_power_of_two() <= POSITIONS);

/// The engine the library picks for this CPU, with the direct locator.
pub(crate) struct SliceEngine(DefaultEngine);

impl SliceEngine {
    pub(crate) fn new() -> SliceEngine {
        SliceEngine(DefaultEngine::new())
    }
}

impl Engine for SliceEngine {
    fn fft(&self, data: &mut ShardsRefMut, pos: usize, size: usize, truncated_size: usize, skew_delta: usize) {
        self.0.fft(data, pos, size, truncated_size, skew_delta);
    }

    fn ifft(&self, data: &mut ShardsRefMut, pos: usize, size: usize, truncated_size: usize, skew_delta: usize) {
        self.0.ifft(data, pos, size, truncated_size, skew_delta);
    }

    fn mul(&self, x: &mut [[u8; 64]], log_m: GfElement) {
        self.0.mul(x, log_m);
    }

    /// `erasures[i] = sum of log(i ^ j) over erased j`, for the positions in use. Where the tail counts as erased (the low-rate form),
    /// the same number is minus the sum over the others, because the logarithms of all field elements add up to zero.
    fn eval_poly(erasures: &mut [GfElement; GF_ORDER], _truncated_size: usize) {
        let log = &*tables::get_exp_log().log;
        let tail_erased = erasures[GF_ORDER - 1] == 1;
        let summed: Vec<usize> = (0..POSITIONS).filter(|&j| (erasures[j] == 0) == tail_erased).collect();
        for (i, erasure) in erasures.iter_mut().enumerate().take(POSITIONS) {
            // The logarithm of zero is the modulus, which counts as zero.
            let sum = summed.iter().map(|&j| u32::from(log[i ^ j])).sum::<u32>() % u32::from(GF_MODULUS);
            let signed = if tail_erased { (u32::from(GF_MODULUS) - sum) % u32::from(GF_MODULUS) } else { sum };
            *erasure = signed as GfElement;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reed_solomon_simd::engine::utils;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_direct_locator_agrees_with_the_transform(erased in proptest::collection::vec(any::<bool>(), POSITIONS), low_rate: bool) {
            let mut direct = [0; GF_ORDER];
            for (at, _) in erased.iter().enumerate().filter(|(_, erased)| **erased) {
                direct[at] = 1;
            }
            if low_rate {
                direct[POSITIONS..].fill(1);
            }
            let mut transform = direct;
            SliceEngine::eval_poly(&mut direct, GF_ORDER);
            utils::eval_poly(&mut transform, GF_ORDER);
            for at in 0..POSITIONS {
                prop_assert_eq!(direct[at] % GF_MODULUS, transform[at] % GF_MODULUS, "position {}", at);
            }
        }
    }
}
