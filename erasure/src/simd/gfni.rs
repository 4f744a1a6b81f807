//! Plans carried out column by column: 128 B of every chunk are loaded, transformed in working memory of a few KiB and stored, then the
//! next 128 B. Each byte of input is read once, each byte of output written once, and all between stays in the first-level cache.

use super::Features;
use super::column::{COLUMNS, Column};
use super::matrix::{Matrix, Tables};
use super::transform::{add_derivative, forward, inverse};
use crate::code::{Chunk, known_chunk};
use crate::plan::{Layout, Place, Plan, add, cosets, log_of, scale, subtract};

/// Lost chunks summed up together by the direct way: eight registers of sums, and each input is regrouped once for all.
const TOGETHER: usize = 4;

/// The engine with its working memory.
pub(crate) struct Gfni {
    features: Features,
    tables: &'static Tables,
    /// One column of the coset that is summed up, then of a part of it.
    sum: Vec<Column>,
    part: Vec<Column>,
    /// Factors of the chunks of a plan.
    factors: Vec<Matrix>,
}

impl Gfni {
    /// None where the CPU lacks the features.
    pub fn new() -> Option<Gfni> {
        let features = Features::detect()?;
        Some(Gfni { features, tables: Tables::get(), sum: Vec::new(), part: Vec::new(), factors: Vec::new() })
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
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    fn encode_columns(&mut self, layout: Layout, data: &[Chunk], parity: &mut [Chunk]) {
        let (coset, skew) = (layout.coset, &self.tables.skew);
        self.reserve(coset);
        for column in 0..COLUMNS {
            for (at, chunks) in data.chunks(coset).enumerate() {
                let rows = if at == 0 { &mut self.sum[..] } else { &mut self.part[..] };
                load_rows(chunks, column, rows);
                let offset = if layout.high_rate { (at + 1) * coset } else { 0 };
                inverse(skew, rows, chunks.len(), offset);
                if at > 0 {
                    self.sum.iter_mut().zip(&self.part).for_each(|(sum, part)| *sum = sum.plus(*part));
                }
            }
            let last = parity.len().div_ceil(coset) - 1;
            for (at, chunks) in parity.chunks_mut(coset).enumerate() {
                let offset = if layout.high_rate { 0 } else { (at + 1) * coset };
                if at < last {
                    self.part.copy_from_slice(&self.sum);
                }
                let rows = if at < last { &mut self.part[..] } else { &mut self.sum[..] };
                forward(skew, rows, chunks.len(), offset);
                chunks.iter_mut().zip(rows).for_each(|(chunk, row)| row.store(chunk, column));
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
            let factor = |lost: &Place| subtract(add(known.log, lost.log), log_of(known.position ^ lost.position));
            self.factors.extend(lost.iter().map(|lost| self.tables.of_log(factor(lost))));
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
        for (to, lost) in cosets(&plan.lost, coset) {
            self.factors.clear();
            for (from, known) in cosets(&plan.known, coset) {
                let scale = if from == to { 0 } else { scale(coset, from ^ to) };
                self.factors.extend(known.iter().map(|place| self.tables.of_log(add(place.log, scale))));
            }
            self.factors.extend(lost.iter().map(|place| self.tables.of_log(place.log)));
            (0..COLUMNS).for_each(|column| self.restore_column(coset, column, plan, (to, lost), data, parity));
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
        let Gfni { tables, sum, part, factors, .. } = self;
        let mut factors = factors.iter();
        sum.fill(Column::zero());
        for (from, known) in cosets(&plan.known, coset) {
            part.fill(Column::zero());
            for (place, factor) in known.iter().zip(&mut factors) {
                part[place.position % coset] = Column::load(known_chunk(place, data, parity), column).times(factor);
            }
            let used = known.last().map_or(0, |place| place.position % coset + 1);
            inverse(&tables.skew, part, used, from * coset);
            if from == to {
                add_derivative(part, sum);
            } else {
                sum.iter_mut().zip(&*part).for_each(|(sum, part)| *sum = sum.plus(*part));
            }
        }
        let wanted = lost.last().map_or(0, |place| place.position % coset + 1);
        forward(&tables.skew, sum, wanted, to * coset);
        for (place, factor) in lost.iter().zip(factors) {
            sum[place.position % coset].times(factor).store(&mut data[place.index], column);
        }
    }
}

/// Column `column` of these chunks; the rows behind them are zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn load_rows(chunks: &[Chunk], column: usize, rows: &mut [Column]) {
    let (used, padding) = rows.split_at_mut(chunks.len());
    used.iter_mut().zip(chunks).for_each(|(row, chunk)| *row = Column::load(chunk, column));
    padding.fill(Column::zero());
}
