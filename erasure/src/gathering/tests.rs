use super::*;
use crate::{CodeWord, root_from_path};
use proptest::prelude::*;

fn word_of(data: u8, total: u8, seed: u8) -> CodeWord {
    let payload: Vec<u8> = (0..usize::from(data) * CHUNK_BYTES - 7).map(|i| (i as u8).wrapping_mul(37) ^ (i >> 8) as u8 ^ seed).collect();
    Coder::new().encode(&payload, data, total)
}

fn proof_of(word: &CodeWord, index: u8) -> Vec<u8> {
    let mut proof = Vec::new();
    word.write_proof(ShredIndex(index), &mut proof);
    proof
}

fn leaf_of(word: &CodeWord, index: u8) -> Leaf {
    Leaf::of(word.chunk(ShredIndex(index)), ShredIndex(index), word.shape().total)
}

/// Checks and takes in one chunk.
fn give(gathering: &mut Gathering, word: &CodeWord, index: u8) -> bool {
    assert!(gathering.check(ShredIndex(index), &leaf_of(word, index), &proof_of(word, index)), "chunk {index}");
    gathering.insert(ShredIndex(index), word.chunk(ShredIndex(index)))
}

#[test]
fn every_total_proves_every_chunk_in_any_order_and_ends_with_the_tree_of_the_code_word() {
    for total in 1..=TOTAL_SHREDS_MAX as u8 {
        let word = word_of(total.min(32), total, total);
        for step in [1, 7, 11] {
            // Steps that have no factor in common with the total visit every index.
            let step = (step..).find(|step| (2..=*step).all(|d| step % d != 0 || usize::from(total) % d != 0)).unwrap();
            let mut gathering = Gathering::new(word.shape(), word.root());
            for turn in 0..usize::from(total) {
                let index = (turn * step % usize::from(total)) as u8;
                let taken = give(&mut gathering, &word, index);
                assert_eq!(taken, turn < usize::from(word.shape().data));
            }
            let mut coder = Coder::new();
            let finished = gathering.finish(&mut coder).unwrap();
            for index in 0..total {
                assert_eq!(finished.chunk(ShredIndex(index)), word.chunk(ShredIndex(index)), "{index} of {total}");
                let mut proof = Vec::new();
                finished.write_proof(ShredIndex(index), &mut proof);
                assert_eq!(proof, proof_of(&word, index));
            }
            assert_eq!(finished.into_payload(), word.payload());
        }
    }
}

/// Every bit of every proof, before and after others made its nodes known: nothing false is accepted, and nothing false is learned.
#[test]
fn a_false_proof_is_refused_whatever_is_known_and_leaves_no_trace() {
    let word = word_of(5, 11, 1);
    for known in [vec![], vec![0], vec![1], vec![10], vec![3, 8], (0..11).filter(|i| i % 2 == 0).collect::<Vec<u8>>()] {
        let mut gathering = Gathering::new(word.shape(), word.root());
        for &index in &known {
            assert!(gathering.check(ShredIndex(index), &leaf_of(&word, index), &proof_of(&word, index)));
        }
        let before = (gathering.nodes.clone(), gathering.proven);
        for index in 0..11 {
            let proof = proof_of(&word, index);
            for bit in 0..proof.len() * 8 {
                let mut forged = proof.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(!gathering.check(ShredIndex(index), &leaf_of(&word, index), &forged), "{known:?}: bit {bit} of proof {index}");
            }
            let mut chunk = *word.chunk(ShredIndex(index));
            chunk[500] ^= 1;
            assert!(!gathering.check(ShredIndex(index), &Leaf::of(&chunk, ShredIndex(index), 11), &proof));
            for other in (0..11).filter(|other| *other != index) {
                assert!(!gathering.check(ShredIndex(other), &leaf_of(&word, index), &proof_of(&word, other)));
            }
            for length in (0..=8 * 32).filter(|length| *length != proof.len()) {
                let other: Vec<u8> = proof.iter().copied().cycle().take(length).collect();
                assert!(!gathering.check(ShredIndex(index), &leaf_of(&word, index), &other), "{length} B");
            }
        }
        assert!(!gathering.check(ShredIndex(11), &leaf_of(&word, 0), &proof_of(&word, 0)));
        assert!(!gathering.check(ShredIndex(255), &leaf_of(&word, 0), &proof_of(&word, 0)));
        assert_eq!((gathering.nodes.clone(), gathering.proven), before, "nothing was learned from what was refused");
        for index in 0..11 {
            assert!(gathering.check(ShredIndex(index), &leaf_of(&word, index), &proof_of(&word, index)));
        }
    }
}

#[test]
fn what_is_proven_has_its_sibling_and_its_parent_proven() {
    for total in 2..=64u8 {
        let word = word_of(total.min(32), total, 3);
        let mut gathering = Gathering::new(word.shape(), word.root());
        for index in (0..total).filter(|index| index % 5 == 2 || *index == total - 1) {
            assert!(gathering.check(ShredIndex(index), &leaf_of(&word, index), &proof_of(&word, index)));
            for level in levels(total.into()) {
                for at in (0..level.width).filter(|at| gathering.is_proven(level.start + at)) {
                    assert!(at ^ 1 >= level.width || gathering.is_proven(level.start + (at ^ 1)), "sibling of {at} of {total}");
                    assert!(level.width == 2 || gathering.is_proven(level.start + level.width + at / 2), "parent of {at} of {total}");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "checked before")]
fn an_unchecked_chunk_is_not_taken_in() {
    let word = word_of(5, 11, 1);
    Gathering::new(word.shape(), word.root()).insert(ShredIndex(3), word.chunk(ShredIndex(3)));
}

#[test]
fn what_is_there_can_be_served_and_repeats_change_nothing() {
    let word = word_of(6, 14, 1);
    let mut gathering = Gathering::new(word.shape(), word.root());
    // Parity first, so that data chunks drive it from place to place.
    for index in [13, 8, 9, 0, 5] {
        assert!(give(&mut gathering, &word, index));
        assert!(!give(&mut gathering, &word, index));
    }
    assert_eq!(gathering.count(), 5);
    for index in 0..14 {
        let there = [13, 8, 9, 0, 5].contains(&index);
        assert_eq!(gathering.chunk(ShredIndex(index)), there.then(|| word.chunk(ShredIndex(index))));
        if there {
            let mut proof = Vec::new();
            gathering.write_proof(ShredIndex(index), &mut proof);
            assert_eq!(proof, proof_of(&word, index));
        }
    }
    assert_eq!(gathering.chunk(ShredIndex(255)), None);
}

fn shape_and_order() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
    (1u8..=32).prop_flat_map(|data| (Just(data), data..=128)).prop_flat_map(|(data, total)| {
        let order = Just((0..total).collect::<Vec<_>>()).prop_shuffle();
        (Just(data), Just(total), order)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    /// The oracle is the whole path, hashed every time.
    #[test]
    fn a_check_says_what_the_whole_path_says((data, total, order) in shape_and_order(), forge in any::<[u16; 8]>()) {
        let word = word_of(data, total, 5);
        let mut gathering = Gathering::new(word.shape(), word.root());
        for (turn, &index) in order.iter().enumerate() {
            let (mut chunk, mut proof) = (*word.chunk(ShredIndex(index)), proof_of(&word, index));
            match forge[turn % 8] % 4 {
                0 if !proof.is_empty() => { let at = usize::from(forge[turn % 8]) % proof.len(); proof[at] ^= 4; }
                1 => chunk[usize::from(forge[turn % 8]) % CHUNK_BYTES] ^= 32,
                _ => {}
            }
            let expected = root_from_path(&chunk, ShredIndex(index), total, &proof) == Some(word.root());
            let leaf = Leaf::of(&chunk, ShredIndex(index), total);
            prop_assert_eq!(gathering.check(ShredIndex(index), &leaf, &proof), expected, "{} of {}", index, total);
            if expected {
                gathering.insert(ShredIndex(index), &chunk);
            }
        }
    }

    #[test]
    fn any_data_chunks_in_any_order_finish_the_code_word((data, total, order) in shape_and_order(), seed: u8) {
        let word = word_of(data, total, seed);
        let mut gathering = Gathering::new(word.shape(), word.root());
        for &index in &order[..usize::from(data)] {
            prop_assert!(give(&mut gathering, &word, index));
        }
        let mut coder = Coder::new();
        let finished = gathering.finish(&mut coder).unwrap();
        for index in (0..total).map(ShredIndex) {
            prop_assert_eq!(finished.chunk(index), word.chunk(index));
        }
        prop_assert_eq!(finished.into_payload(), word.payload());
        // In memory that held something else nothing of it shows.
        let mut again = Gathering::new_in(word.shape(), word.root(), vec![[0xA5; CHUNK_BYTES]; usize::from(seed) % 40]);
        for &index in order.iter().rev().take(data.into()) {
            prop_assert!(give(&mut again, &word, index));
        }
        let whole = again.finish(&mut coder).unwrap().into_data();
        prop_assert!(whole.as_flattened().starts_with(word.payload()));
        prop_assert!(whole.as_flattened()[word.payload().len()..].iter().all(|byte| *byte == 0));
    }

    /// Rotor, section 1.4: the verdict is a function of the root, not of which shreds arrived.
    #[test]
    fn any_data_chunks_of_a_malformed_code_word_are_malformed((data, total, order) in shape_and_order(), at: usize, flip in 1u8..=255) {
        prop_assume!(total > data);
        let word = word_of(data, total, 3);
        let mut bytes: Vec<u8> = (0..total).flat_map(|index| *word.chunk(ShredIndex(index))).collect();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let forged = CodeWord::uncoded(word.shape(), bytes);
        let mut gathering = Gathering::new(forged.shape(), forged.root());
        for &index in &order[..usize::from(data)] {
            prop_assert!(give(&mut gathering, &forged, index));
        }
        prop_assert_eq!(gathering.finish(&mut Coder::new()).err(), Some(Malformed));
    }

    #[test]
    fn padding_that_is_not_zero_is_malformed((data, total, order) in shape_and_order(), short in 1usize..1024) {
        let word = word_of(data, total, 3);
        let mut bytes: Vec<u8> = (0..total).flat_map(|index| *word.chunk(ShredIndex(index))).collect();
        bytes[usize::from(data) * CHUNK_BYTES - 1] = 1;
        let full = Coder::new().encode(&bytes[..usize::from(data) * CHUNK_BYTES], data, total);
        let shape = SliceShape { payload_length: (usize::from(data) * CHUNK_BYTES - short) as u32, ..full.shape() };
        let mut gathering = Gathering::new(shape, full.root());
        for &index in &order[..usize::from(data)] {
            prop_assert!(give(&mut gathering, &full, index));
        }
        prop_assert_eq!(gathering.finish(&mut Coder::new()).err(), Some(Malformed));
    }
}
