//! Coding against `reed-solomon-simd`.

use super::Row;
use super::measure::{Effort, compare};
use samara_erasure::Coder;
use std::hint::black_box;

/// The rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let payload: Vec<u8> = (0..32 * 1024).map(|i| (i * 31 % 251) as u8).collect();
    let mut coder = Coder::new();
    let pair = compare(
        effort,
        || coder.encode(black_box(&payload), 32, 64),
        || reed_solomon_simd::encode(32, 32, black_box(payload.chunks(1024))).expect("a known shape"),
    );
    vec![Row::new("encode_32_32", "reed-solomon-simd", 32 * 1024, pair)]
}
