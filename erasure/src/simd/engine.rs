//! The same arithmetic behind the engine interface of `reed-solomon-simd`, for chunks and codes of any size the library allows.
//!
//! The library lays chunks out as rows of 64 B blocks, 32 low bytes then 32 high bytes. A block stays one register here: two matrices on the
//! block itself and two on the block with its halves swapped. Two layers at a time, as in the library.

use super::Features;
use super::column::{load, store};
use super::matrix::{Matrix, Tables};
use reed_solomon_simd::engine::{Engine, GF_MODULUS, GfElement, ShardsRefMut, tables};
use std::arch::x86_64::*;

/// AVX-512 and GFNI.
#[derive(Clone, Copy)]
pub struct GfniEngine {
    features: Features,
    tables: &'static Tables,
    skew: &'static tables::Skew,
}

impl GfniEngine {
    /// None where the CPU lacks the features.
    pub fn new() -> Option<GfniEngine> {
        let features = Features::detect()?;
        Some(GfniEngine { features, tables: Tables::get(), skew: tables::get_skew() })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn multiplier(&self, position: usize) -> Option<Factor> {
        let log = self.skew[position];
        (log != GF_MODULUS).then(|| Factor::new(&self.tables.of_log(log)))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn forward(&self, data: &mut ShardsRefMut, pos: usize, size: usize, truncated_size: usize, skew_delta: usize) {
        let (mut size_left, mut distance) = (size, size / 4);
        while distance > 0 {
            for group in (0..truncated_size).step_by(4 * distance) {
                let base = group + distance + skew_delta - 1;
                let near = [self.multiplier(base), self.multiplier(base + 2 * distance)];
                let far = self.multiplier(base + distance);
                for row in group..group + distance {
                    let (a, b, c, d) = data.dist4_mut(pos + row, distance);
                    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                        let mut rows = [load(a), load(b), load(c), load(d)];
                        forward_pair(&mut rows, 0, 2, far);
                        forward_pair(&mut rows, 1, 3, far);
                        forward_pair(&mut rows, 0, 1, near[0]);
                        forward_pair(&mut rows, 2, 3, near[1]);
                        [a, b, c, d].into_iter().zip(rows).for_each(|(block, row)| store(block, row));
                    }
                }
            }
            (size_left, distance) = (distance, distance / 4);
        }
        if size_left == 2 {
            for row in (0..truncated_size).step_by(2) {
                let multiplier = self.multiplier(row + skew_delta);
                pairs(data, pos + row, 1, |rows| forward_pair(rows, 0, 1, multiplier));
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn inverse(&self, data: &mut ShardsRefMut, pos: usize, size: usize, truncated_size: usize, skew_delta: usize) {
        let mut distance = 1;
        while 4 * distance <= size {
            for group in (0..truncated_size).step_by(4 * distance) {
                let base = group + distance + skew_delta - 1;
                let near = [self.multiplier(base), self.multiplier(base + 2 * distance)];
                let far = self.multiplier(base + distance);
                for row in group..group + distance {
                    let (a, b, c, d) = data.dist4_mut(pos + row, distance);
                    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                        let mut rows = [load(a), load(b), load(c), load(d)];
                        inverse_pair(&mut rows, 0, 1, near[0]);
                        inverse_pair(&mut rows, 2, 3, near[1]);
                        inverse_pair(&mut rows, 0, 2, far);
                        inverse_pair(&mut rows, 1, 3, far);
                        [a, b, c, d].into_iter().zip(rows).for_each(|(block, row)| store(block, row));
                    }
                }
            }
            distance *= 4;
        }
        if 2 * distance == size {
            let multiplier = self.multiplier(distance + skew_delta - 1);
            for row in 0..distance {
                pairs(data, pos + row, distance, |rows| inverse_pair(rows, 0, 1, multiplier));
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn multiply(&self, blocks: &mut [[u8; 64]], log: GfElement) {
        let factor = Factor::new(&self.tables.of_log(log));
        for block in blocks {
            let product = factor.added_to(_mm512_setzero_si512(), load(block));
            store(block, product);
        }
    }
}

impl Engine for GfniEngine {
    fn fft(&self, data: &mut ShardsRefMut, pos: usize, size: usize, truncated_size: usize, skew_delta: usize) {
        let Features(()) = self.features;
        // SAFETY: `features` exists only where the CPU has them.
        unsafe { self.forward(data, pos, size, truncated_size, skew_delta) }
    }

    fn ifft(&self, data: &mut ShardsRefMut, pos: usize, size: usize, truncated_size: usize, skew_delta: usize) {
        let Features(()) = self.features;
        // SAFETY: `features` exists only where the CPU has them.
        unsafe { self.inverse(data, pos, size, truncated_size, skew_delta) }
    }

    fn mul(&self, x: &mut [[u8; 64]], log_m: GfElement) {
        let Features(()) = self.features;
        // SAFETY: `features` exists only where the CPU has them.
        unsafe { self.multiply(x, log_m) }
    }
}

/// A multiplier spread over a register as blocks are: what acts on a byte where it is, and what comes from the other half.
#[derive(Clone, Copy)]
struct Factor {
    within: __m512i,
    across: __m512i,
}

impl Factor {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn new(matrix: &Matrix) -> Factor {
        let halves = |low: u64, high: u64| {
            let (low, high) = (_mm256_set1_epi64x(low as i64), _mm256_set1_epi64x(high as i64));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        };
        Factor { within: halves(matrix.low_low, matrix.high_high), across: halves(matrix.high_low, matrix.low_high) }
    }

    /// `sum + block * self`
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn added_to(self, sum: __m512i, block: __m512i) -> __m512i {
        let swapped = _mm512_shuffle_i64x2::<0x4e>(block, block);
        let within = _mm512_gf2p8affine_epi64_epi8::<0>(block, self.within);
        let across = _mm512_gf2p8affine_epi64_epi8::<0>(swapped, self.across);
        _mm512_ternarylogic_epi64::<0x96>(sum, within, across)
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn forward_pair<const N: usize>(rows: &mut [__m512i; N], x: usize, y: usize, multiplier: Option<Factor>) {
    if let Some(factor) = multiplier {
        rows[x] = factor.added_to(rows[x], rows[y]);
    }
    rows[y] = _mm512_xor_si512(rows[y], rows[x]);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn inverse_pair<const N: usize>(rows: &mut [__m512i; N], x: usize, y: usize, multiplier: Option<Factor>) {
    rows[y] = _mm512_xor_si512(rows[y], rows[x]);
    if let Some(factor) = multiplier {
        rows[x] = factor.added_to(rows[x], rows[y]);
    }
}

/// One butterfly between two rows, block by block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn pairs(data: &mut ShardsRefMut, pos: usize, distance: usize, butterfly: impl Fn(&mut [__m512i; 2])) {
    let (x, y) = data.dist2_mut(pos, distance);
    for (x, y) in x.iter_mut().zip(y) {
        let mut rows = [load(x), load(y)];
        butterfly(&mut rows);
        store(x, rows[0]);
        store(y, rows[1]);
    }
}
