//! BLAKE3's chunk function for sixteen chunks at a time, each with a counter of its own (BLAKE3, sections 2.2 to 2.4).
//!
//! A vector holds one state word of all sixteen chunks, so the compression function is written once and runs in every lane. The message
//! words of a block lie in rows, one chunk each; a transposition makes them columns. Room for unsafe code: loads, stores and the call into
//! functions compiled for AVX-512.

#![cfg_attr(target_arch = "x86_64", allow(unsafe_code))]

use crate::tree::Node;
use samara_types::CHUNK_BYTES;

/// Chunks in one pass.
pub(crate) const LANES: usize = 16;

/// Proof that this CPU has AVX-512F; only [`Avx512::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

#[cfg(not(target_arch = "x86_64"))]
impl Avx512 {
    pub(crate) fn detect() -> Option<Avx512> {
        None
    }

    pub(crate) fn chunk_values(self, _: &[&[u8; CHUNK_BYTES]; LANES], _: &[u8; LANES]) -> [Node; LANES] {
        unreachable!("there is no AVX-512 here")
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    pub(crate) fn detect() -> Option<Avx512> {
        crate::cpu::has_avx512().then_some(Avx512(()))
    }

    /// Chaining values of `chunks`, chunk `i` with counter `counters[i]`.
    pub(crate) fn chunk_values(self, chunks: &[&[u8; CHUNK_BYTES]; LANES], counters: &[u8; LANES]) -> [Node; LANES] {
        // SAFETY: the CPU has AVX-512F, which `self` proves; the function asks for nothing else.
        unsafe { x86::chunk_values(chunks, counters) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHUNK_BYTES, LANES, Node};
    use crate::tree::{CHUNK_END, CHUNK_START, IV};
    use std::arch::x86_64::*;

    const BLOCK_BYTES: usize = 64;
    const BLOCKS: usize = CHUNK_BYTES / BLOCK_BYTES;
    /// Which message word each step of a round takes, round by round: BLAKE3's permutation (table 2) applied again and again.
    const SCHEDULE: [[usize; 16]; 7] = schedule();

    const fn schedule() -> [[usize; 16]; 7] {
        const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
        let mut rounds = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]; 7];
        let mut round = 1;
        while round < 7 {
            let mut word = 0;
            while word < 16 {
                rounds[round][word] = rounds[round - 1][PERMUTATION[word]];
                word += 1;
            }
            round += 1;
        }
        rounds
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn chunk_values(chunks: &[&[u8; CHUNK_BYTES]; LANES], counters: &[u8; LANES]) -> [Node; LANES] {
        let zero = _mm512_setzero_si512();
        let iv = IV.map(|word| _mm512_set1_epi32(word as i32));
        let words: [i32; LANES] = counters.map(i32::from);
        // SAFETY: the array is 64 readable bytes, and the load asks for no alignment.
        let counter = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
        let length = _mm512_set1_epi32(BLOCK_BYTES as i32);
        let mut value = iv;
        for block in 0..BLOCKS {
            let mut rows = [zero; LANES];
            for (row, chunk) in rows.iter_mut().zip(chunks) {
                let bytes: &[u8; BLOCK_BYTES] = &chunk.as_chunks().0[block];
                // SAFETY: the block is 64 readable bytes, and the load asks for no alignment.
                *row = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
            }
            let message = transpose(rows);
            let flags = if block == 0 { CHUNK_START } else { 0 } | if block == BLOCKS - 1 { CHUNK_END } else { 0 };
            let flags = _mm512_set1_epi32(i32::from(flags));
            value = compress(value, &message, [iv[0], iv[1], iv[2], iv[3], counter, zero, length, flags]);
        }
        let mut columns = [zero; LANES];
        columns[..8].copy_from_slice(&value);
        let rows = transpose(columns);
        let mut nodes = [[0; 32]; LANES];
        for (node, row) in nodes.iter_mut().zip(rows) {
            // SAFETY: a node is 32 writable bytes, and the store asks for no alignment.
            unsafe { _mm256_storeu_si256(node.as_mut_ptr().cast(), _mm512_castsi512_si256(row)) };
        }
        nodes
    }

    /// The compression function, cut to a chaining value, in every lane.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn compress(value: [__m512i; 8], message: &[__m512i; 16], rest: [__m512i; 8]) -> [__m512i; 8] {
        let [mut a0, mut a1, mut a2, mut a3, mut b0, mut b1, mut b2, mut b3] = value;
        let [mut c0, mut c1, mut c2, mut c3, mut d0, mut d1, mut d2, mut d3] = rest;
        macro_rules! mix {
            ($a:ident $b:ident $c:ident $d:ident, $x:expr, $y:expr) => {
                $a = _mm512_add_epi32(_mm512_add_epi32($a, $b), $x);
                $d = _mm512_ror_epi32::<16>(_mm512_xor_si512($d, $a));
                $c = _mm512_add_epi32($c, $d);
                $b = _mm512_ror_epi32::<12>(_mm512_xor_si512($b, $c));
                $a = _mm512_add_epi32(_mm512_add_epi32($a, $b), $y);
                $d = _mm512_ror_epi32::<8>(_mm512_xor_si512($d, $a));
                $c = _mm512_add_epi32($c, $d);
                $b = _mm512_ror_epi32::<7>(_mm512_xor_si512($b, $c));
            };
        }
        macro_rules! round {
            ($($number:literal)*) => {$(
                let m = |word: usize| message[const { SCHEDULE[$number] }[word]];
                mix!(a0 b0 c0 d0, m(0), m(1));
                mix!(a1 b1 c1 d1, m(2), m(3));
                mix!(a2 b2 c2 d2, m(4), m(5));
                mix!(a3 b3 c3 d3, m(6), m(7));
                mix!(a0 b1 c2 d3, m(8), m(9));
                mix!(a1 b2 c3 d0, m(10), m(11));
                mix!(a2 b3 c0 d1, m(12), m(13));
                mix!(a3 b0 c1 d2, m(14), m(15));
            )*};
        }
        round!(0 1 2 3 4 5 6);
        [
            _mm512_xor_si512(a0, c0),
            _mm512_xor_si512(a1, c1),
            _mm512_xor_si512(a2, c2),
            _mm512_xor_si512(a3, c3),
            _mm512_xor_si512(b0, d0),
            _mm512_xor_si512(b1, d1),
            _mm512_xor_si512(b2, d2),
            _mm512_xor_si512(b3, d3),
        ]
    }

    /// Sixteen rows of sixteen words become columns: words, then pairs, then quarters change places.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transpose(r: [__m512i; 16]) -> [__m512i; 16] {
        let zero = _mm512_setzero_si512();
        let (mut a, mut b, mut out) = ([zero; 16], [zero; 16], [zero; 16]);
        for i in 0..8 {
            a[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            a[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        for i in 0..4 {
            b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
            b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
            b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
            b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
        }
        for j in 0..4 {
            let even = _mm512_shuffle_i32x4::<0x88>(b[j], b[4 + j]);
            let odd = _mm512_shuffle_i32x4::<0xdd>(b[j], b[4 + j]);
            let even_below = _mm512_shuffle_i32x4::<0x88>(b[8 + j], b[12 + j]);
            let odd_below = _mm512_shuffle_i32x4::<0xdd>(b[8 + j], b[12 + j]);
            out[j] = _mm512_shuffle_i32x4::<0x88>(even, even_below);
            out[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd, odd_below);
            out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even, even_below);
            out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_below);
        }
        out
    }
}
