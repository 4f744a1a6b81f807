use super::*;
use blake3::hazmat::HasherExt;
use proptest::prelude::*;

/// The value by the documented interface, one chunk at a time.
fn by_hazmat(chunk: &[u8; CHUNK_BYTES], index: u8) -> Node {
    blake3::Hasher::new().set_input_offset(u64::from(index) * CHUNK_BYTES as u64).update(chunk).finalize_non_root()
}

fn chunk(seed: usize) -> [u8; CHUNK_BYTES] {
    std::array::from_fn(|i| (i * 31 + i / 64 + seed * 101) as u8)
}

/// Every way this host can take.
fn ways() -> Vec<Way> {
    let mut ways: Vec<Way> = lanes::Avx512::detect().into_iter().map(Way::Lanes).collect();
    ways.push(Way::Windows(Platform::portable()));
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = Platform::avx512().filter(|_| !crate::cpu::is_avx512_off());
        ways.extend([Platform::sse2(), Platform::sse41(), Platform::avx2(), avx512].into_iter().flatten().map(Way::Windows));
    }
    ways
}

#[test]
fn every_counter_in_every_lane_agrees_with_hazmat() {
    let chunks: Vec<_> = (0..lanes::LANES).map(chunk).collect();
    let expected: Vec<Vec<Node>> = chunks.iter().map(|chunk| (0..128).map(|index| by_hazmat(chunk, index)).collect()).collect();
    for way in ways() {
        for shift in 0..128usize {
            let index = |lane: usize| ((lane * 37 + shift) % 128) as u8;
            let burst: Vec<_> =
                chunks.iter().enumerate().map(|(l, chunk)| Unhashed { chunk, index: ShredIndex(index(l)), total: 128 }).collect();
            let mut seen = 0;
            burst_on(way, &burst, &mut |at, node| {
                assert_eq!(node, expected[at][usize::from(index(at))], "{way:?} lane {at} counter {}", index(at));
                seen += 1;
            });
            assert_eq!(seen, lanes::LANES);
        }
    }
}

#[test]
fn a_lone_chunk_is_its_code_words_root() {
    let only = chunk(1);
    let leaf = Leaf::of(&only, ShredIndex(0), 1);
    assert_eq!(leaf.0, *blake3::hash(&only).as_bytes());
    let mut burst = Vec::new();
    hash_burst(&[Unhashed { chunk: &only, index: ShredIndex(0), total: 1 }], |at, leaf| burst.push((at, leaf)));
    assert_eq!(burst, [(0, leaf)]);
    assert_ne!(Leaf::of(&only, ShredIndex(0), 2), leaf);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_burst_of_any_size_and_any_counters_is_hashed_once_each(indexes in proptest::collection::vec((0u8..128, any::<bool>()), 0..70)) {
        let chunks: Vec<_> = (0..indexes.len()).map(chunk).collect();
        let burst: Vec<_> = chunks
            .iter()
            .zip(&indexes)
            .map(|(chunk, &(index, lone))| Unhashed { chunk, index: ShredIndex(if lone { 0 } else { index }), total: if lone { 1 } else { 128 } })
            .collect();
        for way in ways() {
            let mut got = vec![None; burst.len()];
            burst_on(way, &burst, &mut |at, node| assert!(got[at].replace(node).is_none(), "twice"));
            for (wanted, node) in burst.iter().zip(&got) {
                let expected = if wanted.total == 1 { *blake3::hash(wanted.chunk).as_bytes() } else { by_hazmat(wanted.chunk, wanted.index.0) };
                prop_assert_eq!(*node, Some(expected), "{:?}", way);
            }
        }
    }
}
