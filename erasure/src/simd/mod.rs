//! The only room of this crate with `unsafe` code: AVX-512 and GFNI.
//!
//! `matrix` writes multiplication by a field element as a 16x16 bit matrix in four 8x8 parts; `column` has the registers and butterflies;
//! `transform` whole transforms; `gfni` carries plans out, one column of the chunks after the other; `engine` is the same arithmetic behind
//! the library's `Engine`. All but `matrix` is compiled for x86-64 only; [`is_available`] asks the CPU.
//!
//! Unsafe blocks are of two kinds: calling a function that needs CPU features, which holding a [`Features`] proves present, and loads and
//! stores of 64 B through a reference to exactly 64 B.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod column;
#[cfg(target_arch = "x86_64")]
mod engine;
#[cfg(target_arch = "x86_64")]
mod gfni;
#[cfg(target_arch = "x86_64")]
mod matrix;
#[cfg(target_arch = "x86_64")]
mod transform;

#[cfg(target_arch = "x86_64")]
pub use engine::GfniEngine;
#[cfg(target_arch = "x86_64")]
pub(crate) use gfni::Gfni;

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use absent::Gfni;

/// Proof that this CPU has the features of this room; made by [`Features::detect`] only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features(());

impl Features {
    /// Asks [`crate::cpu`].
    #[cfg(target_arch = "x86_64")]
    pub fn detect() -> Option<Features> {
        crate::cpu::has_avx512_gfni().then_some(Features(()))
    }

    /// Another architecture has none of them.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn detect() -> Option<Features> {
        None
    }
}

/// Whether this CPU can run the engine.
pub(crate) fn is_available() -> bool {
    Features::detect().is_some()
}
