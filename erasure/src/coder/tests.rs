use super::*;
use proptest::prelude::*;
use proptest::sample::subsequence;

fn payload(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(37).wrapping_add(seed) ^ (i >> 8) as u8).collect()
}

/// One coder of each engine that this CPU can run: what they decide is the same.
fn coders() -> impl Iterator<Item = Coder> {
    Engine::available().map(Coder::with_engine)
}

fn pick<'a>(word: &'a CodeWord, indexes: &[u8]) -> Vec<(ShredIndex, &'a [u8; CHUNK_BYTES])> {
    indexes.iter().map(|&index| (ShredIndex(index), word.chunk(ShredIndex(index)))).collect()
}

/// Committed vectors: a change here is a change of the code.
#[test]
fn code_word_vectors() {
    let expected = [
        (1, 1, 1, "d6fd9de5bccf223f523b316c9cd1cf9a9d87ea42473d68e011dad13f09bf8917"),
        (3000, 3, 5, "ad0d799ea00adfc5d287d9f8aa91875d30d3aebba2e5c2ca90f712ee5d4fb31a"),
        (32 * 1024, 32, 64, "63bb69281693a7df6217fb57770c1bc298cbd6dc401f0a6e820b3427ad04ea14"),
        (28 * 1024 - 5, 28, 70, "4281875755f58dcf37d0356a9cf11f0f69f506a8f89a235031c6e9b990e1311c"),
        (32 * 1024, 32, 128, "a55125995347bc27f6e1e50278bfe9d4f0f3ec39d553beda7487ef7b9c99e931"),
    ];
    for (length, data, total, root) in expected {
        for mut coder in coders() {
            let word = coder.encode(&payload(length, 0), data, total);
            assert_eq!(word.root().hex(), root, "{length} B as {data}:{total}");
        }
    }
}

#[test]
fn the_code_is_that_of_the_library_byte_for_byte() {
    for (data, total) in [(1, 2), (2, 3), (32, 48), (32, 64), (28, 42), (32, 128), (5, 11)] {
        let bytes = payload(usize::from(data) * CHUNK_BYTES, 9);
        let word = Coder::new().encode(&bytes, data, total);
        let parity = reed_solomon_simd::encode(data.into(), usize::from(total - data), bytes.chunks(CHUNK_BYTES)).unwrap();
        for (at, chunk) in parity.iter().enumerate() {
            assert_eq!(word.chunk(ShredIndex(data + at as u8)).as_slice(), chunk);
        }
        assert_eq!(word.payload(), bytes);
    }
}

#[test]
fn too_few_is_not_yet_and_repeats_do_not_count() {
    let mut coder = Coder::new();
    let word = coder.encode(&payload(4 * 1024, 1), 4, 8);
    let decode = |coder: &mut Coder, indexes: &[u8]| coder.decode(word.shape(), &word.root(), &pick(&word, indexes)).map(|_| ());
    assert_eq!(decode(&mut coder, &[5, 6, 7]), Err(DecodeError::TooFew));
    assert_eq!(decode(&mut coder, &[5, 6, 7, 7, 5]), Err(DecodeError::TooFew));
    assert_eq!(decode(&mut coder, &[5, 6, 7, 4]), Ok(()));
    assert_eq!(decode(&mut coder, &[]), Err(DecodeError::TooFew));
}

#[test]
fn without_parity_every_chunk_must_be_there() {
    let mut coder = Coder::new();
    let word = coder.encode(&payload(2000, 1), 2, 2);
    assert_eq!(coder.decode(word.shape(), &word.root(), &pick(&word, &[0])).unwrap_err(), DecodeError::TooFew);
    assert_eq!(coder.decode(word.shape(), &word.root(), &pick(&word, &[1, 0])).unwrap().payload(), word.payload());
}

#[test]
fn padding_that_is_not_zero_is_malformed_even_with_every_chunk() {
    let mut coder = Coder::new();
    let full = coder.encode(&payload(2048, 1), 2, 4);
    let shape = SliceShape { payload_length: 2047, ..full.shape() };
    for indexes in [[0, 1], [0, 2], [2, 3]] {
        assert_eq!(coder.decode(shape, &full.root(), &pick(&full, &indexes)).unwrap_err(), DecodeError::Malformed);
    }
}

#[test]
fn one_coder_serves_shapes_of_every_size_in_turn() {
    for mut coder in coders() {
        for (data, total) in [(32, 64), (1, 3), (32, 128), (7, 7), (3, 5), (32, 33), (1, 1), (16, 48)] {
            let word = coder.encode(&payload(usize::from(data) * CHUNK_BYTES - 3, data), data, total);
            let last: Vec<u8> = (total - data..total).collect();
            assert_eq!(coder.decode(word.shape(), &word.root(), &pick(&word, &last)).unwrap().payload(), word.payload(), "{data}:{total}");
        }
    }
}

/// (data, total, a subset of at least `data` indexes in any order)
fn shape_and_subset() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
    (1u8..=32).prop_flat_map(|data| (Just(data), data..=128)).prop_flat_map(|(data, total)| {
        let subset = subsequence((0..total).collect::<Vec<_>>(), usize::from(data)..=usize::from(total));
        (Just(data), Just(total), subset.prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_subset_of_enough_chunks_gives_the_whole_code_word((data, total, subset) in shape_and_subset(), short in 0usize..1024, seed: u8) {
        for mut coder in coders() {
            let word = coder.encode(&payload(usize::from(data) * CHUNK_BYTES - short, seed), data, total);
            let back = coder.decode(word.shape(), &word.root(), &pick(&word, &subset)).unwrap();
            prop_assert_eq!(back.payload(), word.payload());
            for index in (0..total).map(ShredIndex) {
                prop_assert_eq!(back.chunk(index), word.chunk(index));
            }
        }
    }

    /// Rotor, section 1.4: the verdict is a function of the root, not of which shreds arrived.
    #[test]
    fn any_subset_of_a_malformed_code_word_is_malformed((data, total, subset) in shape_and_subset(), at: usize, flip in 1u8..=255) {
        prop_assume!(total > data);
        let mut coder = Coder::new();
        let word = coder.encode(&payload(usize::from(data) * CHUNK_BYTES, 3), data, total);
        let mut bytes = word.bytes.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let forged = CodeWord::uncoded(word.shape(), bytes);
        for mut coder in coders() {
            prop_assert_eq!(coder.decode(forged.shape(), &forged.root(), &pick(&forged, &subset)).unwrap_err(), DecodeError::Malformed);
        }
    }

    #[test]
    fn any_shape_and_any_chunks_are_judged_without_a_panic(data: u8, total: u8, payload_length: u32, indexes in proptest::collection::vec(any::<u8>(), 0..140)) {
        let chunk = [7; CHUNK_BYTES];
        let chunks: Vec<_> = indexes.iter().map(|&index| (ShredIndex(index), &chunk)).collect();
        let _ = Coder::new().decode(SliceShape { data, total, payload_length }, &Digest::ZERO, &chunks);
    }
}
