//! See `rotor/tests/corpus/shred.rs`, which plain `cargo test` runs too.
#![no_main]

#[path = "../../rotor/tests/corpus/cluster.rs"]
#[allow(dead_code)]
mod cluster;
#[path = "../shared/reader.rs"]
#[allow(dead_code)]
mod reader;
#[path = "../../rotor/tests/corpus/shred.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::run(input));
