//! The figures published with `reed-solomon-simd`: our parity, by every engine, has their digests.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reed_solomon_simd::engine::Engine as LibraryEngine;
use reed_solomon_simd::rate::{DefaultRate, HighRate, LowRate, Rate, RateEncoder};
use samara_erasure::{CODE_CHUNKS_MAX, Code, Engine};
use sha2::{Digest, Sha256};

struct Vector<'a> {
    rate: &'a str,
    data: usize,
    parity: usize,
    bytes: usize,
    seed: u8,
    digest: &'a str,
}

fn vectors() -> impl Iterator<Item = Vector<'static>> {
    include_str!("vectors/parity.txt").lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [rate, data, parity, bytes, seed, digest] = line.split(' ').collect::<Vec<_>>().try_into().expect("six fields");
        let number = |text: &str| text.parse().unwrap();
        Vector { rate, data: number(data), parity: number(parity), bytes: number(bytes), seed: number(seed) as u8, digest }
    })
}

impl Vector<'_> {
    fn data(&self) -> Vec<Vec<u8>> {
        let mut random = ChaCha8Rng::from_seed([self.seed; 32]);
        let mut data = vec![vec![0; self.bytes]; self.data];
        data.iter_mut().for_each(|chunk| random.fill_bytes(chunk));
        data
    }

    fn assert_parity<'c>(&self, parity: impl Iterator<Item = &'c [u8]>, by: &str) {
        let mut hash = Sha256::new();
        parity.for_each(|chunk| hash.update(chunk));
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, self.digest, "{} {}:{} of {} B by {by}", self.rate, self.data, self.parity, self.bytes);
    }
}

#[test]
fn the_code_has_the_published_digests_with_every_engine() {
    let mut checked = 0;
    for engine in Engine::available() {
        let mut code = Code::new(engine);
        for vector in vectors().filter(|vector| vector.rate == "default" && vector.bytes == 1024 && vector.data <= CODE_CHUNKS_MAX) {
            let data: Vec<[u8; 1024]> = vector.data().into_iter().map(|chunk| chunk.try_into().unwrap()).collect();
            let mut parity = vec![[0xee; 1024]; vector.parity];
            code.encode(&data, &mut parity);
            vector.assert_parity(parity.iter().map(<[u8; 1024]>::as_slice), engine.as_str());
            checked += 1;
        }
    }
    assert_eq!(checked, 54 * Engine::available().count());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_engine_has_the_published_digests_in_both_rates_and_at_all_sizes() {
    fn check<R: Rate<E>, E: LibraryEngine>(vector: &Vector<'_>, engine: E) {
        let mut encoder = R::encoder(vector.data, vector.parity, vector.bytes, engine, None).unwrap();
        vector.data().iter().for_each(|chunk| encoder.add_original_shard(chunk).unwrap());
        vector.assert_parity(encoder.encode().unwrap().recovery_iter(), "the gfni engine");
    }
    let Some(engine) = samara_erasure::GfniEngine::new() else {
        eprintln!("skipped: this CPU has no AVX-512 with GFNI");
        return;
    };
    for vector in vectors() {
        match vector.rate {
            "high" => check::<HighRate<_>, _>(&vector, engine),
            "low" => check::<LowRate<_>, _>(&vector, engine),
            _ => check::<DefaultRate<_>, _>(&vector, engine),
        }
    }
}
