//! Transforms of one column of a coset, in working memory.
//!
//! A transform has `log2(coset)` layers of butterflies. Three layers at a time are done in registers (eight rows, sixteen registers); what
//! is left over, one or two layers, goes next to the rows' end of the transform that has many groups. The multiplier of the first
//! butterfly of each layer is zero on the first coset, where a butterfly is only a sum: half of the work of a transform of 32 there.

use super::column::Column;
use super::matrix::Matrix;

/// Values at the positions of coset `offset / rows.len()` into coefficients. Rows from `used` on are zero.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn inverse(skew: &[Matrix], rows: &mut [Column], used: usize, offset: usize) {
    let layers = rows.len().trailing_zeros();
    let mut distance = 1;
    for _ in 0..layers / 3 {
        inverse_layers::<8>(skew, rows, used, offset, distance);
        distance *= 8;
    }
    match layers % 3 {
        1 => inverse_layers::<2>(skew, rows, used, offset, distance),
        2 => inverse_layers::<4>(skew, rows, used, offset, distance),
        _ => {}
    }
}

/// Coefficients into values at the positions of coset `offset / rows.len()`, of which the first `wanted` are valid.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn forward(skew: &[Matrix], rows: &mut [Column], wanted: usize, offset: usize) {
    let layers = rows.len().trailing_zeros();
    let mut distance = rows.len();
    match layers % 3 {
        1 => {
            distance /= 2;
            forward_layers::<2>(skew, rows, wanted, offset, distance);
        }
        2 => {
            distance /= 4;
            forward_layers::<4>(skew, rows, wanted, offset, distance);
        }
        _ => {}
    }
    for _ in 0..layers / 3 {
        distance /= 8;
        forward_layers::<8>(skew, rows, wanted, offset, distance);
    }
}

/// `log2(N)` layers, the first with butterflies between rows `distance` apart.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn inverse_layers<const N: usize>(skew: &[Matrix], rows: &mut [Column], used: usize, offset: usize, distance: usize) {
    for (at, group) in rows.chunks_exact_mut(N * distance).enumerate().take(used.div_ceil(N * distance)) {
        let position = offset + at * N * distance;
        if position == 0 {
            inverse_group::<N, true>(skew, group, position, distance);
        } else {
            inverse_group::<N, false>(skew, group, position, distance);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn forward_layers<const N: usize>(skew: &[Matrix], rows: &mut [Column], wanted: usize, offset: usize, distance: usize) {
    for (at, group) in rows.chunks_exact_mut(N * distance).enumerate().take(wanted.div_ceil(N * distance)) {
        let position = offset + at * N * distance;
        if position == 0 {
            forward_group::<N, true>(skew, group, position, distance);
        } else {
            forward_group::<N, false>(skew, group, position, distance);
        }
    }
}

/// Multipliers of the `log2(N)` layers of a group at `position`: `[layer][butterfly]`, the layer with the nearest rows first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn multipliers<const N: usize>(skew: &[Matrix], position: usize, distance: usize) -> [[&Matrix; 4]; 3] {
    let at = |layer: usize, butterfly: usize| {
        let reach = distance << layer;
        &skew[position + 2 * reach * butterfly + reach - 1]
    };
    let mut all = [[at(0, 0); 4]; 3];
    for (layer, row) in all.iter_mut().enumerate().take(N.trailing_zeros() as usize) {
        for (butterfly, entry) in row.iter_mut().enumerate().take(N >> (layer + 1)) {
            *entry = at(layer, butterfly);
        }
    }
    all
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn inverse_group<const N: usize, const FIRST: bool>(skew: &[Matrix], group: &mut [Column], position: usize, distance: usize) {
    let multipliers = multipliers::<N>(skew, position, distance);
    for row in 0..distance {
        let mut values: [Column; N] = [Column::zero(); N];
        for (at, value) in values.iter_mut().enumerate() {
            *value = group[row + at * distance];
        }
        for (layer, multipliers) in multipliers.iter().enumerate().take(N.trailing_zeros() as usize) {
            let reach = 1 << layer;
            for (butterfly, multiplier) in multipliers.iter().enumerate().take(N >> (layer + 1)) {
                for at in 2 * reach * butterfly..2 * reach * butterfly + reach {
                    values[at + reach] = values[at + reach].plus(values[at]);
                    if !FIRST || butterfly > 0 {
                        values[at] = values[at].plus_times(values[at + reach], multiplier);
                    }
                }
            }
        }
        for (at, value) in values.iter().enumerate() {
            group[row + at * distance] = *value;
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn forward_group<const N: usize, const FIRST: bool>(skew: &[Matrix], group: &mut [Column], position: usize, distance: usize) {
    let multipliers = multipliers::<N>(skew, position, distance);
    for row in 0..distance {
        let mut values: [Column; N] = [Column::zero(); N];
        for (at, value) in values.iter_mut().enumerate() {
            *value = group[row + at * distance];
        }
        for (layer, multipliers) in multipliers.iter().enumerate().take(N.trailing_zeros() as usize).rev() {
            let reach = 1 << layer;
            for (butterfly, multiplier) in multipliers.iter().enumerate().take(N >> (layer + 1)) {
                for at in 2 * reach * butterfly..2 * reach * butterfly + reach {
                    if !FIRST || butterfly > 0 {
                        values[at] = values[at].plus_times(values[at + reach], multiplier);
                    }
                    values[at + reach] = values[at + reach].plus(values[at]);
                }
            }
        }
        for (at, value) in values.iter().enumerate() {
            group[row + at * distance] = *value;
        }
    }
}

/// The derivative in the transforms' basis: every coefficient goes to those with one bit less, and the old ones are gone.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn add_derivative(rows: &[Column], sum: &mut [Column]) {
    for (row, sum) in sum.iter_mut().enumerate() {
        for bit in (0..rows.len().trailing_zeros()).map(|bit| 1 << bit).filter(|bit| row & bit == 0) {
            *sum = sum.plus(rows[row | bit]);
        }
    }
}
