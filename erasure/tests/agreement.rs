//! Every engine gives the bytes of the library's `Naive` engine: the code itself, on code words and on garbage.

use proptest::prelude::*;
use reed_solomon_simd::engine::Naive;
use reed_solomon_simd::rate::{DefaultRateDecoder, DefaultRateEncoder, RateDecoder, RateEncoder};
use samara_erasure::{CODE_CHUNKS_MAX, Chunk, Code, Engine, TooFew};

/// Chunks of a fixed, incompressible content.
fn chunks(count: usize, seed: u64) -> Vec<Chunk> {
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut chunks = vec![[0; 1024]; count];
    chunks.iter_mut().for_each(|chunk| reader.fill(chunk));
    chunks
}

fn naive_parity(data: &[Chunk], parity: usize) -> Vec<Chunk> {
    let mut encoder = DefaultRateEncoder::new(data.len(), parity, 1024, Naive::new(), None).unwrap();
    data.iter().for_each(|chunk| encoder.add_original_shard(chunk).unwrap());
    encoder.encode().unwrap().recovery_iter().map(|chunk| chunk.try_into().unwrap()).collect()
}

/// What the library's naive engine restores from exactly as many chunks as data.
fn naive_data(word: &[Chunk], data: usize, received: &[bool]) -> Vec<Chunk> {
    let mut decoder = DefaultRateDecoder::new(data, word.len() - data, 1024, Naive::new(), None).unwrap();
    for (index, chunk) in word.iter().enumerate().filter(|(index, _)| received[*index]) {
        if index < data {
            decoder.add_original_shard(index, chunk).unwrap()
        } else {
            decoder.add_recovery_shard(index - data, chunk).unwrap()
        }
    }
    let mut out = word[..data].to_vec();
    for (index, chunk) in decoder.decode().unwrap().restored_original_iter() {
        out[index].copy_from_slice(chunk);
    }
    out
}

/// The data as `code` restores it; what was not received is overwritten before.
fn restored(code: &mut Code, word: &[Chunk], data: usize, received: &[bool]) -> Result<Vec<Chunk>, TooFew> {
    let mut out: Vec<Chunk> = (0..data).map(|index| if received[index] { word[index] } else { [0xd1; 1024] }).collect();
    let parity: Vec<Option<&Chunk>> = (data..word.len()).map(|index| received[index].then(|| &word[index])).collect();
    code.restore(&mut out, |index| received[index], &parity).map(|()| out)
}

fn codes() -> Vec<Code> {
    Engine::available().map(Code::new).collect()
}

#[test]
fn every_loss_pattern_of_every_small_code_is_restored_by_every_engine() {
    let mut patterns = 0;
    for code in &mut codes() {
        for (data, parity) in (1..=9).flat_map(|data| (1..=10 - data).map(move |parity| (data, parity))) {
            let mut word = chunks(data, (data * 16 + parity) as u64);
            word.extend(naive_parity(&word, parity));
            let mut ours = vec![[0x5a; 1024]; parity];
            code.encode(&word[..data], &mut ours);
            assert!(ours == word[data..], "parity of {data}:{parity} by {}", code.engine());
            for pattern in 0..1usize << word.len() {
                let received: Vec<bool> = (0..word.len()).map(|index| pattern >> index & 1 == 1).collect();
                let out = restored(code, &word, data, &received);
                if (pattern.count_ones() as usize) < data {
                    assert_eq!(out, Err(TooFew), "{data}:{parity} from {pattern:b}");
                } else {
                    assert!(out.unwrap() == word[..data], "{data}:{parity} from {pattern:b} by {}", code.engine());
                    patterns += 1;
                }
            }
        }
    }
    assert!(patterns > 8_000);
}

#[test]
fn every_shape_of_a_slice_has_the_parity_of_the_naive_engine() {
    // A column of 64 B of a naive chunk costs as much as a whole one of ours: one seed, all shapes of the largest sizes.
    let data = chunks(32, 7);
    let mut codes = codes();
    for count in 1..=32 {
        for parity in [1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 33, 64, 65, 96] {
            let expected = naive_parity(&data[..count], parity);
            for code in &mut codes {
                let mut ours = vec![[0; 1024]; parity];
                code.encode(&data[..count], &mut ours);
                assert!(ours == expected, "parity of {count}:{parity} by {}", code.engine());
            }
        }
    }
}

#[test]
fn the_largest_codes_agree() {
    let mut codes = codes();
    for (data, parity) in [(256, 256), (256, 1), (1, 256), (129, 200), (200, 129), (128, 128), (255, 16), (17, 255)] {
        let mut word = chunks(data, 3);
        word.extend(naive_parity(&word, parity));
        let lost = data.min(parity);
        for received in [
            (0..word.len()).map(|index| index >= lost).collect::<Vec<_>>(),
            (0..word.len()).map(|index| index < data - lost || index >= word.len() - lost).collect(),
            (0..word.len()).map(|index| index % data != 0 || index > 0).collect(),
        ] {
            for code in &mut codes {
                assert!(restored(code, &word, data, &received).unwrap() == word[..data], "{data}:{parity} by {}", code.engine());
            }
        }
    }
}

#[test]
#[should_panic(expected = "a code of 257 and 1 chunks")]
fn a_code_beyond_the_largest_is_refused() {
    Code::new(Engine::Library).encode(&chunks(CODE_CHUNKS_MAX + 1, 0), &mut [[0; 1024]]);
}

/// (data, parity, which chunks are received: at least `data`), small shapes as likely as large ones.
fn shape_and_received() -> impl Strategy<Value = (usize, usize, Vec<bool>)> {
    let count = || prop_oneof![1usize..=8, 1usize..=40, 1usize..=256];
    (count(), count()).prop_flat_map(|(data, parity)| {
        let fewest = data..=data + parity;
        (Just(data), Just(parity), proptest::sample::subsequence((0..data + parity).collect::<Vec<_>>(), fewest)).prop_map(
            |(data, parity, received)| {
                let mut flags = vec![false; data + parity];
                received.into_iter().for_each(|index| flags[index] = true);
                (data, parity, flags)
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_received_part_of_any_code_word_gives_the_data((data, parity, received) in shape_and_received(), seed: u64) {
        let mut word = chunks(data, seed);
        word.resize(data + parity, [0; 1024]);
        for mut code in codes() {
            let (from, to) = word.split_at_mut(data);
            code.encode(from, to);
            prop_assert!(restored(&mut code, &word, data, &received).unwrap() == word[..data], "{}:{} by {}", data, parity, code.engine());
        }
    }

    /// From exactly as many chunks as data, code word or not, all engines and the library restore the same.
    #[test]
    fn garbage_is_restored_alike((data, parity, mut received) in shape_and_received(), seed: u64) {
        let word = chunks(data + parity, seed);
        let surplus = received.iter().filter(|received| **received).count() - data;
        let mut parity_flags: Vec<&mut bool> = received.iter_mut().rev().filter(|received| **received).collect();
        parity_flags.iter_mut().take(surplus).for_each(|flag| **flag = false);
        let expected = naive_data(&word, data, &received);
        for mut code in codes() {
            prop_assert!(restored(&mut code, &word, data, &received).unwrap() == expected, "{}:{} by {}", data, parity, code.engine());
        }
    }

    /// One coder goes from shape to shape: nothing of an earlier one shows.
    #[test]
    fn a_code_keeps_nothing_from_one_slice_to_the_next(shapes in proptest::collection::vec(shape_and_received(), 2..5)) {
        for mut code in codes() {
            for (data, parity, received) in &shapes {
                let mut word = chunks(*data, 1);
                word.resize(data + parity, [0; 1024]);
                let (from, to) = word.split_at_mut(*data);
                code.encode(from, to);
                let mut fresh = vec![[0; 1024]; *parity];
                Code::new(code.engine()).encode(from, &mut fresh);
                prop_assert!(fresh == to);
                prop_assert!(restored(&mut code, &word, *data, received).unwrap() == word[..*data]);
            }
        }
    }
}
