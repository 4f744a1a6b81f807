//! Transforms of one column of a coset.
//!
//! A transform has `log2(coset)` layers of butterflies. Up to three layers at a time are done in registers: eight rows, sixteen registers.
//! The pass next to the positions takes its rows from the chunks, or gives them to the chunks, so that a coset of 32 crosses the
//! working memory once each way.
//!
//! In a pass over groups of `N` rows `distance` apart, the butterflies between the rows around the `k`-th take the multiplier
//! `skew[position + k * distance - 1]`, `position` that of the group. At position 0 those of `k` a power of two are zero, and the butterfly is
//! only a sum: about half of the products of a coset of 32 there.
//!
//! Loops are plain `for` loops: an iterator adapter is compiled without the CPU features, and what cannot be inlined into it costs a call.

use super::column::Column;
use super::matrix::Matrix;

/// Rows that a pass takes at most.
const GROUP: usize = 8;

/// Values at the positions of coset `offset / rows.len()` into coefficients. Rows from `used` on are zero and not asked for; `load` gives
/// the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn inverse(skew: &[Matrix], rows: &mut [Column], used: usize, offset: usize, load: impl Fn(usize) -> Column) {
    match rows.len() {
        1 => rows[0] = if used > 0 { load(0) } else { Column::zero() },
        2 => inverse_first::<2>(skew, rows, used, offset, load),
        4 => inverse_first::<4>(skew, rows, used, offset, load),
        _ => inverse_first::<GROUP>(skew, rows, used, offset, load),
    }
    let mut distance = GROUP;
    while distance < rows.len() {
        distance *= match rows.len() / distance {
            2 => inverse_pass::<2>(skew, rows, used, offset, distance),
            4 => inverse_pass::<4>(skew, rows, used, offset, distance),
            _ => inverse_pass::<GROUP>(skew, rows, used, offset, distance),
        };
    }
}

/// Coefficients into values at the positions of coset `offset / rows.len()`. Those of the first `wanted` rows are given to `store`; what is
/// left in `rows` is of no use.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn forward(skew: &[Matrix], rows: &mut [Column], wanted: usize, offset: usize, mut store: impl FnMut(usize, Column)) {
    let mut reach = rows.len();
    while reach > GROUP {
        // What is not a multiple of three layers goes first, where the groups are fewest.
        reach /= match (reach / GROUP).trailing_zeros() % 3 {
            1 => forward_pass::<2>(skew, rows, wanted, offset, reach / 2),
            2 => forward_pass::<4>(skew, rows, wanted, offset, reach / 4),
            _ => forward_pass::<GROUP>(skew, rows, wanted, offset, reach / GROUP),
        };
    }
    match rows.len() {
        1 => store(0, rows[0]),
        2 => forward_last::<2>(skew, rows, wanted, offset, store),
        4 => forward_last::<4>(skew, rows, wanted, offset, store),
        _ => forward_last::<GROUP>(skew, rows, wanted, offset, store),
    }
}

/// The layers next to the positions, from the source.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn inverse_first<const N: usize>(skew: &[Matrix], rows: &mut [Column], used: usize, offset: usize, load: impl Fn(usize) -> Column) {
    for (at, group) in rows.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        let from = at * N;
        let mut values = [Column::zero(); N];
        if from < used {
            for (row, value) in values.iter_mut().enumerate() {
                if from + row < used {
                    *value = load(from + row);
                }
            }
            inverse_butterflies::<N>(&mut values, skew, offset + from, 1);
        }
        *group = values;
    }
}

/// The layers next to the positions, to the sink.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn forward_last<const N: usize>(skew: &[Matrix], rows: &[Column], wanted: usize, offset: usize, mut store: impl FnMut(usize, Column)) {
    for (at, group) in rows.as_chunks::<N>().0.iter().enumerate() {
        let from = at * N;
        if from >= wanted {
            break;
        }
        let mut values = *group;
        forward_butterflies::<N>(&mut values, skew, offset + from, 1);
        for (row, value) in values.into_iter().enumerate() {
            if from + row < wanted {
                store(from + row, value);
            }
        }
    }
}

/// `log2(N)` layers of rows `distance` and more apart, in place. Returns `N`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn inverse_pass<const N: usize>(skew: &[Matrix], rows: &mut [Column], used: usize, offset: usize, distance: usize) -> usize {
    for (at, group) in rows.chunks_exact_mut(N * distance).enumerate() {
        if at * N * distance >= used {
            break;
        }
        for row in 0..distance {
            let mut values = gather::<N>(group, row, distance);
            inverse_butterflies::<N>(&mut values, skew, offset + at * N * distance, distance);
            scatter::<N>(group, row, distance, values);
        }
    }
    N
}

/// The same the other way.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn forward_pass<const N: usize>(skew: &[Matrix], rows: &mut [Column], wanted: usize, offset: usize, distance: usize) -> usize {
    for (at, group) in rows.chunks_exact_mut(N * distance).enumerate() {
        if at * N * distance >= wanted {
            break;
        }
        for row in 0..distance {
            let mut values = gather::<N>(group, row, distance);
            forward_butterflies::<N>(&mut values, skew, offset + at * N * distance, distance);
            scatter::<N>(group, row, distance, values);
        }
    }
    N
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn gather<const N: usize>(group: &[Column], row: usize, distance: usize) -> [Column; N] {
    let mut values = [Column::zero(); N];
    for (at, value) in values.iter_mut().enumerate() {
        *value = group[row + at * distance];
    }
    values
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn scatter<const N: usize>(group: &mut [Column], row: usize, distance: usize, values: [Column; N]) {
    for (at, value) in values.into_iter().enumerate() {
        group[row + at * distance] = value;
    }
}

/// Butterfly of rows `x` and `y` with the multiplier around row `k`. Written out, so that rows are registers and not an array.
macro_rules! inverse_butterfly {
    ($values:ident, $multiplier:ident, $first:ident, $($x:literal $y:literal $k:literal),*) => {{ $(
        $values[$y] = $values[$y].plus($values[$x]);
        if !($first && usize::is_power_of_two($k)) {
            $values[$x] = $values[$x].plus_times($values[$y], $multiplier($k));
        }
    )* }};
}

macro_rules! forward_butterfly {
    ($values:ident, $multiplier:ident, $first:ident, $($x:literal $y:literal $k:literal),*) => {{ $(
        if !($first && usize::is_power_of_two($k)) {
            $values[$x] = $values[$x].plus_times($values[$y], $multiplier($k));
        }
        $values[$y] = $values[$y].plus($values[$x]);
    )* }};
}

/// The layers of `N` rows, `distance` apart from one to the next; 1, 2, 4 or [`GROUP`] of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn inverse_butterflies<const N: usize>(values: &mut [Column; N], skew: &[Matrix], position: usize, distance: usize) {
    if position == 0 {
        inverse_layers::<N, true>(values, skew, position, distance);
    } else {
        inverse_layers::<N, false>(values, skew, position, distance);
    }
}

/// The same the other way.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn forward_butterflies<const N: usize>(values: &mut [Column; N], skew: &[Matrix], position: usize, distance: usize) {
    if position == 0 {
        forward_layers::<N, true>(values, skew, position, distance);
    } else {
        forward_layers::<N, false>(values, skew, position, distance);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn inverse_layers<const N: usize, const FIRST: bool>(values: &mut [Column; N], skew: &[Matrix], position: usize, distance: usize) {
    let skew = &skew[position..position + N * distance];
    let multiplier = |k: usize| &skew[k * distance - 1];
    match N {
        1 => {}
        2 => inverse_butterfly!(values, multiplier, FIRST, 0 1 1),
        4 => inverse_butterfly!(values, multiplier, FIRST, 0 1 1, 2 3 3, 0 2 2, 1 3 2),
        _ => {
            inverse_butterfly!(values, multiplier, FIRST, 0 1 1, 2 3 3, 4 5 5, 6 7 7);
            inverse_butterfly!(values, multiplier, FIRST, 0 2 2, 1 3 2, 4 6 6, 5 7 6);
            inverse_butterfly!(values, multiplier, FIRST, 0 4 4, 1 5 4, 2 6 4, 3 7 4);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn forward_layers<const N: usize, const FIRST: bool>(values: &mut [Column; N], skew: &[Matrix], position: usize, distance: usize) {
    let skew = &skew[position..position + N * distance];
    let multiplier = |k: usize| &skew[k * distance - 1];
    match N {
        1 => {}
        2 => forward_butterfly!(values, multiplier, FIRST, 0 1 1),
        4 => forward_butterfly!(values, multiplier, FIRST, 0 2 2, 1 3 2, 0 1 1, 2 3 3),
        _ => {
            forward_butterfly!(values, multiplier, FIRST, 0 4 4, 1 5 4, 2 6 4, 3 7 4);
            forward_butterfly!(values, multiplier, FIRST, 0 2 2, 1 3 2, 4 6 6, 5 7 6);
            forward_butterfly!(values, multiplier, FIRST, 0 1 1, 2 3 3, 4 5 5, 6 7 7);
        }
    }
}

/// Adds the derivative in the transforms' basis, where each coefficient goes to those with one bit less.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn add_derivative(rows: &[Column], sum: &mut [Column]) {
    for (row, sum) in sum.iter_mut().enumerate() {
        let mut bit = 1;
        while bit < rows.len() {
            if row & bit == 0 {
                *sum = sum.plus(rows[row | bit]);
            }
            bit *= 2;
        }
    }
}
