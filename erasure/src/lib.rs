//! Reed-Solomon over slices, and the BLAKE3 slice tree that authenticates every chunk (Rotor, sections 1.1 and 1.4).
//!
//! ```text
//! payload ─ cut ─> data chunks ─ encode ─> data ‖ parity = code word ─ BLAKE3 ─> root, and a proof for each chunk
//! any `data` chunks of one root ─ decode ─> data ─ encode ─> code word ─ BLAKE3 ─> same root? padding zero? ─> payload
//! ```
//! One chunk is 1,024 B, exactly a BLAKE3 chunk, so the slice tree *is* the BLAKE3 tree of the code word: the root is its BLAKE3 digest
//! and the chunk counter binds a chunk to its index. The verdict on a root depends on the root alone: whoever collects enough chunks
//! of it, and whichever they are, either gets the one payload or learns that nobody ever will.

#![deny(unsafe_code)]

mod code;
mod coder;
mod cpu;
mod engine;
mod gathering;
mod leaves;
mod library;
mod locator;
mod plan;
mod simd;
mod tree;

pub use code::{Chunk, Code, TooFew};
pub use coder::{CodeWord, Coder, DecodeError};
pub use cpu::{AVX512_VARIABLE, is_avx512_off};
pub use engine::{Engine, EngineError, set_engine};
pub use gathering::{Finished, Gathering, Malformed};
pub use leaves::{Leaf, Unhashed, hash_burst};
pub use plan::CODE_CHUNKS_MAX;
#[cfg(target_arch = "x86_64")]
pub use simd::GfniEngine;
pub use tree::{root_from_leaf, root_from_path};
