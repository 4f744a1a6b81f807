//! Time of the slice operations on one core: 32 KiB in 32 data chunks.

use samara_erasure::{Coder, root_from_path};
use samara_types::ShredIndex;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 2_000;

fn time(name: &str, mut work: impl FnMut()) {
    for _ in 0..50 {
        work();
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    println!("{name:<44} {:>9.2} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn main() {
    let payload: Vec<u8> = (0..32 * 1024).map(|i| (i * 7 + i / 999) as u8).collect();
    let mut coder = Coder::new();
    let word = coder.encode(&payload, 32, 64);
    println!("code word 32:64, root {}", word.root());
    time("encode with tree", || drop(black_box(coder.encode(&payload, 32, 64))));
    for lost in [0u8, 1, 16, 32] {
        let chunks: Vec<_> = (lost..lost + 32).map(|i| (ShredIndex(i), word.chunk(ShredIndex(i)))).collect();
        let name = format!("decode with re-encode check, {lost} data chunks lost");
        time(&name, || drop(black_box(coder.decode(word.shape(), &word.root(), &chunks).expect("a code word"))));
    }
    let mut proof = Vec::new();
    word.write_proof(ShredIndex(5), &mut proof);
    time("root from one chunk and its path", || {
        black_box(root_from_path(word.chunk(ShredIndex(5)), ShredIndex(5), 64, &proof));
    });
}
