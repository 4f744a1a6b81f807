//! The engine behind the library's interface: same transforms, same codes as `Naive`, for any chunk length and beyond our own limits.
#![cfg(target_arch = "x86_64")]

use proptest::prelude::*;
use reed_solomon_simd::engine::{Engine, Naive, ShardsRefMut};
use reed_solomon_simd::rate::{HighRate, LowRate, Rate, RateDecoder, RateEncoder};
use samara_erasure::GfniEngine;

/// The engine, or None with the reason printed.
fn engine() -> Option<GfniEngine> {
    let engine = GfniEngine::new();
    if engine.is_none() {
        eprintln!("skipped: this CPU has no AVX-512 with GFNI");
    }
    engine
}

fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; count];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Parity, then the data restored from it after the first chunks are lost.
fn round_trip<R: Rate<E>, E: Engine>(engine: fn() -> E, data: &[Vec<u8>], parity: usize, lost: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut encoder = R::encoder(data.len(), parity, data[0].len(), engine(), None).unwrap();
    data.iter().for_each(|chunk| encoder.add_original_shard(chunk).unwrap());
    let parity: Vec<Vec<u8>> = encoder.encode().unwrap().recovery_iter().map(<[u8]>::to_vec).collect();
    let mut decoder = R::decoder(data.len(), parity.len(), data[0].len(), engine(), None).unwrap();
    data.iter().enumerate().skip(lost).for_each(|(index, chunk)| decoder.add_original_shard(index, chunk).unwrap());
    parity.iter().enumerate().rev().take(lost).for_each(|(index, chunk)| decoder.add_recovery_shard(index, chunk).unwrap());
    let restored = decoder.decode().unwrap().restored_original_iter().map(|(_, chunk)| chunk.to_vec()).collect();
    (parity, restored)
}

fn gfni() -> GfniEngine {
    GfniEngine::new().expect("asked before")
}

fn agree<RateOurs: Rate<GfniEngine>, RateNaive: Rate<Naive>>(data: usize, parity: usize, length: usize, lost: usize) {
    let data: Vec<Vec<u8>> = bytes(data * length, (data + parity) as u64).chunks(length).map(<[u8]>::to_vec).collect();
    let ours = round_trip::<RateOurs, _>(gfni, &data, parity, lost);
    assert!(ours == round_trip::<RateNaive, _>(Naive::new, &data, parity, lost), "{}:{parity} of {length} B", data.len());
    assert!(ours.1 == data[..lost]);
}

#[test]
fn both_rates_agree_for_chunks_with_and_without_a_tail() {
    if engine().is_none() {
        return;
    }
    for length in [2, 30, 62, 64, 66, 126, 128, 130, 1022, 1024, 1026] {
        for (data, parity) in [(1, 1), (2, 3), (3, 2), (5, 8), (8, 5), (32, 33), (33, 32)] {
            agree::<HighRate<_>, HighRate<_>>(data, parity, length, data.min(parity));
            agree::<LowRate<_>, LowRate<_>>(data, parity, length, data.min(parity));
        }
    }
}

#[test]
fn both_rates_agree_for_large_codes() {
    if engine().is_none() {
        return;
    }
    for (data, parity) in [(256, 256), (256, 31), (31, 256), (1000, 300), (300, 1000)] {
        agree::<HighRate<_>, HighRate<_>>(data, parity, 64, data.min(parity));
        agree::<LowRate<_>, LowRate<_>>(data, parity, 64, data.min(parity));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Rows up to the truncation are those of the naive engine; behind it, inputs are zero and outputs are nobody's.
    #[test]
    fn transforms_agree_at_any_size_and_place(
        bits in 0u32..=8, before in 0usize..3, cut in 0.0f64..=1.0, blocks in 1usize..=3, place in 0usize..200, seed: u64,
    ) {
        let Some(engine) = engine() else { return Ok(()) };
        let size = 1usize << bits;
        let truncated = ((size as f64 * cut).ceil() as usize).max(1);
        let delta = place * size;
        let rows = before + size + 1;
        let start = bytes(rows * blocks * 64, seed).as_chunks::<64>().0.to_vec();
        let valid = before * blocks..(before + truncated) * blocks;
        let run = |engine: &dyn Engine, inverse: bool| {
            let mut data = start.clone();
            let mut shards = ShardsRefMut::new(rows, blocks, &mut data);
            if inverse {
                shards.zero(before + truncated..before + size);
                engine.ifft(&mut shards, before, size, truncated, delta);
            } else {
                engine.fft(&mut shards, before, size, truncated, delta);
            }
            data
        };
        let (ours, naive) = (run(&engine, false), run(&Naive::new(), false));
        prop_assert!(ours[valid.clone()] == naive[valid.clone()], "forward {} of {} at {}", truncated, size, delta);
        let (ours, naive) = (run(&engine, true), run(&Naive::new(), true));
        prop_assert!(ours == naive, "inverse {} of {} at {}", truncated, size, delta);
    }

    #[test]
    fn products_agree(log: u16, seed: u64) {
        let Some(engine) = engine() else { return Ok(()) };
        let mut ours = bytes(192, seed).as_chunks::<64>().0.to_vec();
        let mut naive = ours.clone();
        engine.mul(&mut ours, log);
        Naive::new().mul(&mut naive, log);
        prop_assert!(ours == naive);
    }
}
