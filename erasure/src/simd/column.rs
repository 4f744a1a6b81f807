//! 64 field elements in two registers, and what is done to them.
//!
//! The library stores elements in blocks of 64 B, 32 low bytes then the 32 high bytes. Two neighbouring blocks, halves regrouped, are
//! one column: all low bytes in one register, all high bytes in the other, so that a product is four `gf2p8affineqb` for 64 elements.

use super::matrix::Matrix;
use crate::code::Chunk;
use samara_types::CHUNK_BYTES;
use std::arch::x86_64::*;

/// Columns of a chunk.
pub(super) const COLUMNS: usize = CHUNK_BYTES / 128;

/// 64 elements.
#[derive(Clone, Copy)]
pub(super) struct Column {
    low: __m512i,
    high: __m512i,
}

impl Column {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    pub fn zero() -> Column {
        Column { low: _mm512_setzero_si512(), high: _mm512_setzero_si512() }
    }

    /// Column `at` of a chunk.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    pub fn load(chunk: &Chunk, at: usize) -> Column {
        let (first, second) = (load(&chunk.as_chunks().0[2 * at]), load(&chunk.as_chunks().0[2 * at + 1]));
        Column { low: _mm512_shuffle_i64x2::<0x44>(first, second), high: _mm512_shuffle_i64x2::<0xee>(first, second) }
    }

    /// Writes it back.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    pub fn store(self, chunk: &mut Chunk, at: usize) {
        let blocks = chunk.as_chunks_mut().0;
        store(&mut blocks[2 * at], _mm512_shuffle_i64x2::<0x44>(self.low, self.high));
        store(&mut blocks[2 * at + 1], _mm512_shuffle_i64x2::<0xee>(self.low, self.high));
    }

    /// `self + other`
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    pub fn plus(self, other: Column) -> Column {
        Column { low: _mm512_xor_si512(self.low, other.low), high: _mm512_xor_si512(self.high, other.high) }
    }

    /// `self * matrix`
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    pub fn times(self, matrix: &Matrix) -> Column {
        Column {
            low: _mm512_xor_si512(affine(self.low, matrix.low_low), affine(self.high, matrix.high_low)),
            high: _mm512_xor_si512(affine(self.low, matrix.low_high), affine(self.high, matrix.high_high)),
        }
    }

    /// `self + other * matrix`
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
    pub fn plus_times(self, other: Column, matrix: &Matrix) -> Column {
        Column {
            low: sum(self.low, affine(other.low, matrix.low_low), affine(other.high, matrix.high_low)),
            high: sum(self.high, affine(other.low, matrix.low_high), affine(other.high, matrix.high_high)),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn affine(bytes: __m512i, matrix: u64) -> __m512i {
    _mm512_gf2p8affine_epi64_epi8::<0>(bytes, _mm512_set1_epi64(matrix as i64))
}

/// `a ^ b ^ c`
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
fn sum(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// 64 B.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn load(block: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

/// 64 B.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni")]
pub(super) fn store(block: &mut [u8; 64], value: __m512i) {
    // SAFETY: the reference is to 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(block.as_mut_ptr().cast(), value) }
}
