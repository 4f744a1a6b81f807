//! See `crypto/tests/corpus/certificate.rs`, which plain `cargo test` runs too.
#![no_main]

#[path = "../shared/reader.rs"]
#[allow(dead_code)]
mod reader;
#[path = "../../crypto/tests/corpus/certificate.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::run(input));
