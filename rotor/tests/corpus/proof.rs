//! Proofs of chunks, of every number of chunks: only an untouched chunk with its own index and an untouched path leads to the root.

use crate::reader::Reader;
use samara_erasure::{Coder, Leaf, Unhashed, hash_burst, root_from_leaf, root_from_path};
use samara_types::shred::{DATA_SHREDS_MAX, TOTAL_SHREDS_MAX};
use samara_types::{CHUNK_BYTES, ShredIndex};

/// Shape, content and index of a chunk, then patches to index, proof and chunk.
pub fn run(input: &[u8]) {
    let mut reader = Reader::new(input);
    let total = reader.below(TOTAL_SHREDS_MAX) + 1;
    let data = reader.below(total.min(DATA_SHREDS_MAX)) + 1;
    let fill = reader.byte();
    let payload: Vec<u8> = (0..data * CHUNK_BYTES).map(|at| (at as u8).wrapping_mul(fill) ^ (at >> 8) as u8).collect();
    let word = Coder::new().encode(&payload, data as u8, total as u8);
    let index = ShredIndex(reader.below(total) as u8);
    let (mut chunk, mut proof) = (word.chunk(index).to_vec(), Vec::new());
    word.write_proof(index, &mut proof);
    let original = (index, chunk.clone(), proof.clone());
    let claimed = if reader.byte() & 1 == 1 { ShredIndex(reader.byte()) } else { index };
    reader.patch(&mut proof);
    reader.patch(&mut chunk);
    let Ok(patched) = <&[u8; CHUNK_BYTES]>::try_from(chunk.as_slice()) else { return };
    let root = root_from_path(patched, claimed, total as u8, &proof);
    let untouched = (claimed, chunk.clone(), proof.clone()) == original;
    assert_eq!(root == Some(word.root()), untouched, "index {claimed} of {total}");
    if claimed.at() < total {
        let single = Leaf::of(patched, claimed, total as u8);
        assert_eq!(root_from_leaf(&single, claimed, total as u8, &proof), root, "a leaf of its own leads where the chunk leads");
        let neighbour = Unhashed { chunk: word.chunk(index), index, total: total as u8 };
        let mut roots = Vec::new();
        hash_burst(&[neighbour, Unhashed { chunk: patched, index: claimed, total: total as u8 }], |at, leaf| {
            roots.push((at, root_from_leaf(&leaf, claimed, total as u8, &proof)));
        });
        assert!(roots.contains(&(1, root)), "hashed beside another it is the same leaf");
    }
}
