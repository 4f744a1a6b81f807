//! The error locator at all positions of a code, by a transform of the code's own size.
//!
//! `L(i)` is a product over the unknown positions `j` of `i - j`, in logarithms a sum of `log(i ^ j)`: a convolution over exclusive or. The
//! library computes it with two Walsh-Hadamard transforms over all 65,536 field elements, whatever the size of the code: about 115 of
//! the 135 us of a 32:32 decode (reference, section 3.2). The sum only ever meets positions below `span`, so two transforms of
//! `span` (64 for 32:32) give the same values, with the transform of the logarithms computed once per size. The sum runs over the known
//! positions instead and is negated: over all positions together it is a constant, which restoring does not see.

use crate::plan::POSITIONS_MAX;
use reed_solomon_simd::engine::{GF_BITS, GF_MODULUS, GfElement, tables};
use std::sync::OnceLock;

/// Working memory of a locator.
#[derive(Default)]
pub(crate) struct Locator {
    sums: Vec<i32>,
    logs: Vec<GfElement>,
}

impl Locator {
    /// `logs[i]`, `i < span`: minus the sum of `log(i ^ j)` over the known `j`, modulo 65,535 and below it; `log 0` counts as zero.
    pub fn locate(&mut self, span: usize, known: impl Iterator<Item = usize>) -> &[GfElement] {
        assert!(span.is_power_of_two() && span <= POSITIONS_MAX, "a span of {span}");
        self.sums.clear();
        self.sums.resize(span, 0);
        known.for_each(|at| self.sums[at] = 1);
        self.logs.resize(span, 0);
        convolve(&mut self.sums, transformed_logs(span), &mut self.logs);
        &self.logs[..span]
    }
}

/// Sums stay exact in 32 bits: 65,535 times at most 512.
const MODULUS: i32 = GF_MODULUS as i32;

fn convolve(sums: &mut [i32], factors: &[i32], logs: &mut [GfElement]) {
    transform(sums);
    for (sum, factor) in sums.iter_mut().zip(factors) {
        *sum = reduce(*sum * factor);
    }
    transform(sums);
    for (log, sum) in logs.iter_mut().zip(sums) {
        *log = reduce(-*sum) as GfElement;
    }
}

/// The Walsh-Hadamard transform, not scaled.
#[inline(always)]
fn transform(values: &mut [i32]) {
    let mut distance = 1;
    while distance < values.len() {
        for pair in values.chunks_exact_mut(2 * distance) {
            let (left, right) = pair.split_at_mut(distance);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        distance *= 2;
    }
}

/// Modulo 65,535, from within +-2^25, to below it.
#[inline(always)]
fn reduce(value: i32) -> i32 {
    let positive = value + MODULUS * POSITIONS_MAX as i32;
    let folded = (positive & 0xffff) + (positive >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    if folded == MODULUS { 0 } else { folded }
}

/// The transform of the logarithms of `0..span`, divided by `span`.
fn transformed_logs(span: usize) -> &'static [i32] {
    const SIZES: usize = POSITIONS_MAX.trailing_zeros() as usize + 1;
    static TABLES: [OnceLock<Vec<i32>>; SIZES] = [const { OnceLock::new() }; SIZES];
    let bits = span.trailing_zeros() as usize;
    TABLES[bits].get_or_init(|| {
        let log = &*tables::get_exp_log().log;
        // The logarithm of zero is the modulus in the table.
        let mut values: Vec<i32> = log[..span].iter().map(|&log| i32::from(log) % MODULUS).collect();
        transform(&mut values);
        // 2^16 is 1 modulo 65,535, so 2^(16 - bits) divides by 2^bits.
        let scaled = |value: i32| (i64::from(reduce(value)) << (GF_BITS - bits)) % i64::from(MODULUS);
        values.into_iter().map(|value| scaled(value) as i32).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reed_solomon_simd::engine::{GF_ORDER, utils};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// With everything beyond the span unknown, the library's sum over the unknown is minus ours over the known, because the
        /// logarithms of all field elements add up to zero.
        #[test]
        fn the_locator_agrees_with_the_library_over_the_whole_field(bits in 0u32..=9, seed in proptest::collection::vec(any::<bool>(), POSITIONS_MAX)) {
            let span = 1usize << bits;
            let known: Vec<usize> = (0..span).filter(|&at| seed[at]).collect();
            let mut library = [1; GF_ORDER];
            known.iter().for_each(|&at| library[at] = 0);
            utils::eval_poly(&mut library, GF_ORDER);
            let mut locator = Locator::default();
            for (at, &log) in locator.locate(span, known.iter().copied()).iter().enumerate() {
                prop_assert_eq!(log, library[at] % GF_MODULUS, "position {} of {}", at, span);
            }
        }
    }

    #[test]
    fn the_extremes_of_the_sums_are_exact() {
        let log = &*tables::get_exp_log().log;
        for (span, count) in [(POSITIONS_MAX, POSITIONS_MAX), (POSITIONS_MAX, 1), (1, 1), (2, 0)] {
            let mut locator = Locator::default();
            for (at, &located) in locator.locate(span, 0..count).iter().enumerate() {
                let sum: u64 = (0..count).filter(|&j| j != at).map(|j| u64::from(log[at ^ j])).sum();
                let modulus = u64::from(GF_MODULUS);
                assert_eq!(u64::from(located), (modulus - sum % modulus) % modulus, "position {at} of {span}");
            }
        }
    }
}
