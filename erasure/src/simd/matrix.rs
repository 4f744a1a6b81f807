//! Multiplication in GF(2^16) as four 8x8 bit matrices.
//!
//! Multiplying by a constant is linear over GF(2): each bit of the product is the parity of some bits of the factor. Split into low and high
//! bytes, as the library stores elements, that is four maps from a byte to a byte, the form `gf2p8affineqb` applies to 64 bytes at a
//! time. The matrix is linear in the constant as well, so that of any of the 65,536 constants is the sum of four out of 64: a table
//! of 2 KiB instead of the library's 8 MiB.

use crate::plan::POSITIONS_MAX;
use reed_solomon_simd::engine::{GF_MODULUS, GfElement, tables};
use std::sync::OnceLock;

/// Multiplication by one constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(32))]
pub(crate) struct Matrix {
    /// Low byte of the factor to low byte of the product.
    pub low_low: u64,
    /// High to low.
    pub high_low: u64,
    /// Low to high.
    pub low_high: u64,
    /// High to high.
    pub high_high: u64,
}

impl Matrix {
    #[inline]
    fn sum(self, other: Matrix) -> Matrix {
        Matrix {
            low_low: self.low_low ^ other.low_low,
            high_low: self.high_low ^ other.high_low,
            low_high: self.low_high ^ other.low_high,
            high_high: self.high_high ^ other.high_high,
        }
    }

    /// From the products of the 16 basis elements.
    fn of_columns(columns: [GfElement; 16]) -> Matrix {
        // Row `bit` of a part says which bits of the factor's byte count; `gf2p8affineqb` wants row 0 in the highest byte.
        let part = |from: usize, to: usize| {
            (0..8).fold(0, |matrix, bit| {
                let row = (0..8).fold(0, |row, of| row | u64::from(columns[from + of] >> (to + bit) & 1) << of);
                matrix | row << (8 * (7 - bit))
            })
        };
        Matrix { low_low: part(0, 0), high_low: part(8, 0), low_high: part(0, 8), high_high: part(8, 8) }
    }
}

/// What is computed once per process: 18 KiB.
pub(crate) struct Tables {
    /// `parts[n][v]` multiplies by `v << 4 n`.
    parts: [[Matrix; 16]; 4],
    /// The transforms' multipliers for every position of the largest code.
    pub skew: [Matrix; POSITIONS_MAX],
}

impl Tables {
    /// The tables.
    pub fn get() -> &'static Tables {
        static TABLES: OnceLock<Box<Tables>> = OnceLock::new();
        TABLES.get_or_init(|| {
            let mut tables = Box::new(Tables { parts: [[Matrix::default(); 16]; 4], skew: [Matrix::default(); POSITIONS_MAX] });
            for (at, part) in tables.parts.iter_mut().enumerate() {
                for (value, matrix) in part.iter_mut().enumerate() {
                    *matrix = slowly((value << (4 * at)) as GfElement);
                }
            }
            let skew = tables::get_skew();
            for (at, &log) in skew[..POSITIONS_MAX].iter().enumerate() {
                tables.skew[at] = tables.skew_of(log);
            }
            tables
        })
    }

    /// Multiplication by the element with this logarithm; the modulus stands for 1, like 0.
    #[inline]
    pub fn of_log(&self, log: GfElement) -> Matrix {
        let element = usize::from(tables::get_exp_log().exp[usize::from(log)]);
        let [first, second, third, fourth] = &self.parts;
        first[element & 15].sum(second[element >> 4 & 15]).sum(third[element >> 8 & 15].sum(fourth[element >> 12]))
    }

    /// Multiplication by a transform's multiplier, where the modulus stands for zero.
    #[inline]
    pub fn skew_of(&self, log: GfElement) -> Matrix {
        if log == GF_MODULUS { Matrix::default() } else { self.of_log(log) }
    }
}

/// By 16 products.
fn slowly(element: GfElement) -> Matrix {
    let tables = tables::get_exp_log();
    let product = |bit: usize| match element {
        0 => 0,
        _ => tables::mul(1 << bit, tables.log[usize::from(element)], &tables.exp, &tables.log),
    };
    Matrix::of_columns(std::array::from_fn(product))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parity_of_rows(matrix: u64, byte: u8) -> u8 {
        (0..8).fold(0, |out, bit| out | ((((matrix >> (8 * (7 - bit))) as u8 & byte).count_ones() as u8 & 1) << bit))
    }

    #[test]
    fn every_constant_multiplies_as_the_library_does() {
        let tables = tables::get_exp_log();
        for log in 0..=GF_MODULUS {
            let matrix = Tables::get().of_log(log);
            for factor in [1, 0x80, 0x100, 0x8000, 0xffff, log ^ 0x5aa5] {
                let (low, high) = (factor as u8, (factor >> 8) as u8);
                let product = [
                    parity_of_rows(matrix.low_low, low) ^ parity_of_rows(matrix.high_low, high),
                    parity_of_rows(matrix.low_high, low) ^ parity_of_rows(matrix.high_high, high),
                ];
                assert_eq!(u16::from_le_bytes(product), tables::mul(factor, log, &tables.exp, &tables.log), "{factor:#x} by log {log}");
            }
        }
    }
}
