//! Plans carried out column by column: 128 B of every chunk are loaded, transformed in working memory of a few KiB and stored, then the
//! next 128 B. Each byte of input is read once, each byte of output written once, and all between stays in the first-level cache.

use super::Features;
use super::column::{COLUMNS, Column};
use super::matrix::{Matrix, Tables};
use super::transform::{add_derivative, forward, forward_butterflies, inverse, inverse_butterflies};
use crate::code::{Chunk, known_chunk};
use crate::plan::{Layout, Place, Plan, add, log_of, scale, subtract};

/// Lost chunks summed up together by the direct way: eight registers of sums, and each input is regrouped once for all.
const TOGETHER: usize = 4;

/// The engine with its working memory.
pub(crate) struct Gfni {
    features: Features,
    tables: &'static Tables,
    /// One column each of the coset that is summed up, of a part of it, and of that part as it was received.
    sum: Vec<Column>,
    part: Vec<Column>,
    loaded: Vec<Column>,
    /// Factors of the chunks of a plan.
    factors: Vec<Matrix>,
}

impl Gfni {
    /// None where the CPU lacks the features.
    pub fn new() -> Option<Gfni> {
        let features = Features::detect()?;
        Some(Gfni { features, tables: Tables::get(), sum: Vec::new(), part: Vec::new(), loaded: Vec::new(), factors: Vec::new() })
    }

    /// Writes the parity of `data`.
    pub fn encode(&mut self, layout: Layout, data: &[Chunk], parity: &mut [Chunk]) {
        let Features(()) = self.features;
        // SAFETY: `features` exists only where the CPU has them.
        unsafe { self.encode_columns(layout, data, parity) }
    }

    /// Writes the lost chunks of the plan into `data`.
    pub fn restore(&mut self, layout: Layout, plan: &Plan, data: &mut [Chunk], parity: &[Option<&Chunk>]) {
        let Features(()) = self.features;
        // SAFETY: `features` exists only where the CPU has them.
        unsafe {
            if plan.direct { self.restore_directly(plan, data, parity) } else { self.restore_cosets(layout.coset, plan, data, parity) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn reserve(&mut self, coset: usize) {
        self.sum.resize(coset, Column::zero());
        self.part.resize(coset, Column::zero());
        self.loaded.resize(coset, Column::zero());
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn encode_columns(&mut self, layout: Layout, data: &[Chunk], parity: &mut [Chunk]) {
        let coset = layout.coset;
        let skew = &self.tables.skew;
        match coset {
            1 => return encode_in_registers::<1>(skew, layout, data, parity),
            2 => return encode_in_registers::<2>(skew, layout, data, parity),
            4 => return encode_in_registers::<4>(skew, layout, data, parity),
            _ => {}
        }
        self.reserve(coset);
        let Gfni { tables, sum, part, .. } = self;
        for column in 0..COLUMNS {
            for (at, chunks) in data.chunks(coset).enumerate() {
                let offset = if layout.high_rate { (at + 1) * coset } else { 0 };
                let rows = if at == 0 { &mut sum[..] } else { &mut part[..] };
                inverse(&tables.skew, rows, chunks.len(), offset, |row| Column::load(&chunks[row], column));
                if at > 0 {
                    add_rows(part, sum);
                }
            }
            let last = parity.len().div_ceil(coset) - 1;
            for (at, chunks) in parity.chunks_mut(coset).enumerate() {
                let offset = if layout.high_rate { 0 } else { (at + 1) * coset };
                if at < last {
                    part.copy_from_slice(sum);
                }
                let rows = if at < last { &mut part[..] } else { &mut sum[..] };
                forward(&tables.skew, rows, chunks.len(), offset, |row, value| value.store(&mut chunks[row], column));
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn restore_directly(&mut self, plan: &Plan, data: &mut [Chunk], parity: &[Option<&Chunk>]) {
        let (fours, rest) = plan.lost.as_chunks::<TOGETHER>();
        fours.iter().for_each(|lost| self.sum_up(lost, plan, data, parity));
        match rest {
            [] => {}
            [one] => self.sum_up(&[*one], plan, data, parity),
            [one, two] => self.sum_up(&[*one, *two], plan, data, parity),
            [one, two, three, ..] => self.sum_up(&[*one, *two, *three], plan, data, parity),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn sum_up<const N: usize>(&mut self, lost: &[Place; N], plan: &Plan, data: &mut [Chunk], parity: &[Option<&Chunk>]) {
        self.factors.clear();
        for known in &plan.known {
            for lost in lost {
                let log = subtract(add(known.log, lost.log), log_of(known.position ^ lost.position));
                self.factors.push(self.tables.of_log(log));
            }
        }
        let factors = self.factors.as_chunks::<N>().0;
        for column in 0..COLUMNS {
            let mut sums = [Column::zero(); N];
            for (known, factors) in plan.known.iter().zip(factors) {
                let value = Column::load(known_chunk(known, data, parity), column);
                for (sum, factor) in sums.iter_mut().zip(factors) {
                    *sum = sum.plus_times(value, factor);
                }
            }
            for (sum, lost) in sums.into_iter().zip(lost) {
                sum.store(&mut data[lost.index], column);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn restore_cosets(&mut self, coset: usize, plan: &Plan, data: &mut [Chunk], parity: &[Option<&Chunk>]) {
        self.reserve(coset);
        for (to, lost) in plan.lost_cosets() {
            self.factors.clear();
            for (from, known) in plan.known_cosets() {
                let scale = if from == to { 0 } else { scale(coset, from ^ to) };
                for place in known {
                    self.factors.push(self.tables.of_log(add(place.log, scale)));
                }
            }
            for place in lost {
                self.factors.push(self.tables.of_log(place.log));
            }
            for column in 0..COLUMNS {
                self.restore_column(coset, column, plan, (to, lost), data, parity);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn restore_column(
        &mut self,
        coset: usize,
        column: usize,
        plan: &Plan,
        (to, lost): (usize, &[Place]),
        data: &mut [Chunk],
        parity: &[Option<&Chunk>],
    ) {
        let Gfni { tables, sum, part, loaded, factors, .. } = self;
        let mut factors = factors.iter();
        for (at, (from, known)) in plan.known_cosets().enumerate() {
            loaded.fill(Column::zero());
            for place in known {
                let factor = factors.next().expect("a factor for each known chunk");
                loaded[place.row] = Column::load(known_chunk(place, data, parity), column).times(factor);
            }
            let used = known.last().map_or(0, |place| place.row + 1);
            if from == to {
                inverse(&tables.skew, part, used, from * coset, |row| loaded[row]);
                if at == 0 {
                    sum.fill(Column::zero());
                }
                add_derivative(part, sum);
            } else {
                let rows = if at == 0 { &mut sum[..] } else { &mut part[..] };
                inverse(&tables.skew, rows, used, from * coset, |row| loaded[row]);
                if at > 0 {
                    add_rows(part, sum);
                }
            }
        }
        let wanted = lost.last().map_or(0, |place| place.row + 1);
        forward(&tables.skew, sum, wanted, to * coset, |row, value| loaded[row] = value);
        for (place, factor) in lost.iter().zip(factors) {
            loaded[place.row].times(factor).store(&mut data[place.index], column);
        }
    }
}

/// The same for cosets of `N` positions, at most 4: what is summed up never leaves the registers. (Two times 8 rows do not fit in them.)
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn encode_in_registers<const N: usize>(skew: &[Matrix], layout: Layout, data: &[Chunk], parity: &mut [Chunk]) {
    for column in 0..COLUMNS {
        let mut sum = [Column::zero(); N];
        for (at, chunks) in data.chunks(N).enumerate() {
            let mut rows = [Column::zero(); N];
            for (row, value) in rows.iter_mut().enumerate() {
                if row < chunks.len() {
                    *value = Column::load(&chunks[row], column);
                }
            }
            inverse_butterflies::<N>(&mut rows, skew, if layout.high_rate { (at + 1) * N } else { 0 }, 1);
            add_rows(&rows, &mut sum);
        }
        for (at, chunks) in parity.chunks_mut(N).enumerate() {
            let mut rows = sum;
            forward_butterflies::<N>(&mut rows, skew, if layout.high_rate { 0 } else { (at + 1) * N }, 1);
            for (row, value) in rows.into_iter().enumerate() {
                if row < chunks.len() {
                    value.store(&mut chunks[row], column);
                }
            }
        }
    }
}

/// `sum += part`
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn add_rows(part: &[Column], sum: &mut [Column]) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum = sum.plus(*part);
    }
}
