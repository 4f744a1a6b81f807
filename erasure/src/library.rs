//! The plans carried out with any engine of `reed-solomon-simd`: the fall-back, and the yardstick of the tests.

use crate::code::{Chunk, known_chunk};
use crate::plan::{Layout, Place, Plan, add, log_of, scale, subtract};
use reed_solomon_simd::engine::{Engine, ShardsRefMut, utils};
use samara_types::CHUNK_BYTES;

/// Blocks of a chunk, as the library counts them.
const BLOCKS: usize = CHUNK_BYTES / 64;

/// An engine with its working memory: two cosets.
pub(crate) struct Library {
    engine: Box<dyn Engine + Send + Sync>,
    sum: Vec<[u8; 64]>,
    part: Vec<[u8; 64]>,
}

impl Library {
    pub fn new(engine: Box<dyn Engine + Send + Sync>) -> Library {
        Library { engine, sum: Vec::new(), part: Vec::new() }
    }

    /// Writes the parity of `data`.
    pub fn encode(&mut self, layout: Layout, data: &[Chunk], parity: &mut [Chunk]) {
        let coset = layout.coset;
        self.sum.clear();
        self.sum.resize(coset * BLOCKS, [0; 64]);
        for (at, chunks) in data.chunks(coset).enumerate() {
            self.part.clear();
            self.part.extend_from_slice(chunks.as_flattened().as_chunks().0);
            self.part.resize(coset * BLOCKS, [0; 64]);
            let offset = if layout.high_rate { (at + 1) * coset } else { 0 };
            self.engine.ifft(&mut shards(coset, &mut self.part), 0, coset, chunks.len(), offset);
            utils::xor(&mut self.sum, &self.part);
        }
        for (at, chunks) in parity.chunks_mut(coset).enumerate() {
            self.part.clone_from(&self.sum);
            let offset = if layout.high_rate { 0 } else { (at + 1) * coset };
            self.engine.fft(&mut shards(coset, &mut self.part), 0, coset, chunks.len(), offset);
            chunks.iter_mut().zip(self.part.chunks(BLOCKS)).for_each(|(chunk, row)| chunk.copy_from_slice(row.as_flattened()));
        }
    }

    /// Writes the lost chunks of the plan into `data`.
    pub fn restore(&mut self, layout: Layout, plan: &Plan, data: &mut [Chunk], parity: &[Option<&Chunk>]) {
        if plan.direct {
            plan.lost.iter().for_each(|lost| self.restore_one(plan, lost, data, parity));
        } else {
            plan.lost_cosets().for_each(|(at, lost)| self.restore_coset(layout.coset, plan, at, lost, data, parity));
        }
    }

    fn restore_one(&mut self, plan: &Plan, lost: &Place, data: &mut [Chunk], parity: &[Option<&Chunk>]) {
        self.sum.clear();
        self.sum.resize(BLOCKS, [0; 64]);
        for known in &plan.known {
            let factor = subtract(add(known.log, lost.log), log_of(known.position ^ lost.position));
            self.part.clear();
            self.part.extend_from_slice(known_chunk(known, data, parity).as_chunks().0);
            self.engine.mul(&mut self.part, factor);
            utils::xor(&mut self.sum, &self.part);
        }
        data[lost.index].copy_from_slice(self.sum.as_flattened());
    }

    fn restore_coset(&mut self, coset: usize, plan: &Plan, at: usize, lost: &[Place], data: &mut [Chunk], parity: &[Option<&Chunk>]) {
        self.sum.clear();
        self.sum.resize(coset * BLOCKS, [0; 64]);
        for (from, known) in plan.known_cosets() {
            let scale = if from == at { 0 } else { scale(coset, from ^ at) };
            self.part.clear();
            self.part.resize(coset * BLOCKS, [0; 64]);
            for place in known {
                let row = &mut self.part[place.row * BLOCKS..][..BLOCKS];
                row.copy_from_slice(known_chunk(place, data, parity).as_chunks().0);
                self.engine.mul(row, add(place.log, scale));
            }
            self.engine.ifft(&mut shards(coset, &mut self.part), 0, coset, coset, from * coset);
            if from == at {
                differentiate(coset, &mut self.part);
            }
            utils::xor(&mut self.sum, &self.part);
        }
        self.engine.fft(&mut shards(coset, &mut self.sum), 0, coset, coset, at * coset);
        for place in lost {
            let row = &mut self.sum[place.row * BLOCKS..][..BLOCKS];
            self.engine.mul(row, place.log);
            data[place.index].copy_from_slice(row.as_flattened());
        }
    }
}

/// The derivative in the transforms' basis: every coefficient goes to those with one bit less, and the old ones are gone.
fn differentiate(coset: usize, rows: &mut [[u8; 64]]) {
    for row in 0..coset {
        let mut derived = [[0; 64]; BLOCKS];
        for bit in (0..coset.trailing_zeros()).map(|bit| 1 << bit).filter(|bit| row & bit == 0) {
            utils::xor(&mut derived, &rows[(row | bit) * BLOCKS..][..BLOCKS]);
        }
        rows[row * BLOCKS..][..BLOCKS].copy_from_slice(&derived);
    }
}

fn shards(count: usize, rows: &mut [[u8; 64]]) -> ShardsRefMut<'_> {
    ShardsRefMut::new(count, BLOCKS, rows)
}
