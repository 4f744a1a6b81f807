//! The slice tree: BLAKE3's own tree over the chunks of a code word, so its root is `blake3::hash(code word)`.
//!
//! BLAKE3 puts the largest power of two of chunks to the left; bottom up this is "pair neighbours, carry an odd last node up". A proof is
//! the chaining values beside the path, leaf first; its length follows from (index, total).
//!
//! Chunks and parents are hashed many at a time through `blake3::platform`, which is public but not stable: the version is pinned, all
//! use of it is in [`hash_chunks`] and [`hash_parents`], and the tests compare both with `blake3::hazmat`.

use blake3::IncrementCounter;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use blake3::platform::Platform;
use samara_types::shred::{TOTAL_SHREDS_MAX, proof_levels};
use samara_types::{CHUNK_BYTES, Digest, ShredIndex};

/// A chaining value: a node of the tree below the root.
pub(crate) type Node = [u8; 32];

/// BLAKE3's initial state, the key of unkeyed hashing (BLAKE3, table 1).
const IV: [u32; 8] = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19];
// Domain flags (BLAKE3, table 3).
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;

/// All nodes below the root: the leaves, then each level above them, a carried node not repeated in the level it skips.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    levels: Vec<Vec<Node>>,
    root: Digest,
}

impl Tree {
    /// The tree of a code word of whole chunks.
    pub(crate) fn new(code_word: &[u8]) -> Tree {
        let (chunks, rest) = code_word.as_chunks::<CHUNK_BYTES>();
        assert!(rest.is_empty() && (1..=TOTAL_SHREDS_MAX).contains(&chunks.len()), "a code word is 1 to 128 whole chunks");
        if let [only] = chunks {
            return Tree { levels: Vec::new(), root: Digest(*blake3::hash(only).as_bytes()) };
        }
        let mut levels = vec![hash_chunks(chunks)];
        while let Some(below) = levels.last().filter(|level| level.len() > 2) {
            let mut level = hash_parents(below);
            if below.len() % 2 == 1 {
                level.extend(below.last());
            }
            levels.push(level);
        }
        let top = levels.last().expect("the leaves at least");
        let root = Digest(*merge_subtrees_root(&top[0], &top[1], Mode::Hash).as_bytes());
        Tree { levels, root }
    }

    pub(crate) fn root(&self) -> Digest {
        self.root
    }

    /// Appends the proof of chunk `index`.
    pub(crate) fn write_proof(&self, index: usize, out: &mut Vec<u8>) {
        let mut at = index;
        for level in &self.levels {
            if let Some(sibling) = level.get(at ^ 1) {
                out.extend_from_slice(sibling);
            }
            at /= 2;
        }
    }
}

/// The root that `chunk` at `index` of `total` leads to through `proof`. None if the index is out of range or the proof does not have
/// exactly the 32 B per level that (index, total) demands.
pub fn root_from_path(chunk: &[u8; CHUNK_BYTES], index: ShredIndex, total: u8, proof: &[u8]) -> Option<Digest> {
    let (mut at, mut width) = (index.at(), usize::from(total));
    if at >= width || proof.len() != 32 * proof_levels(at, width) {
        return None;
    }
    if width == 1 {
        return Some(Digest(*blake3::hash(chunk).as_bytes()));
    }
    let mut node = chunk_value(chunk, at);
    let mut siblings = proof.as_chunks::<32>().0.iter();
    while width > 2 {
        if at ^ 1 < width {
            let sibling = siblings.next()?;
            let (left, right) = if at % 2 == 0 { (&node, sibling) } else { (sibling, &node) };
            node = merge_subtrees_non_root(left, right, Mode::Hash);
        }
        (at, width) = (at / 2, width.div_ceil(2));
    }
    let sibling = siblings.next()?;
    let (left, right) = if at == 0 { (&node, sibling) } else { (sibling, &node) };
    Some(Digest(*merge_subtrees_root(left, right, Mode::Hash).as_bytes()))
}

/// Chaining value of one chunk.
fn chunk_value(chunk: &[u8; CHUNK_BYTES], index: usize) -> Node {
    blake3::Hasher::new().set_input_offset((index * CHUNK_BYTES) as u64).update(chunk).finalize_non_root()
}

/// Chaining values of consecutive chunks from index 0.
fn hash_chunks(chunks: &[[u8; CHUNK_BYTES]]) -> Vec<Node> {
    let inputs: Vec<&[u8; CHUNK_BYTES]> = chunks.iter().collect();
    let mut out = vec![[0; 32]; chunks.len()];
    let flat = out.as_flattened_mut();
    Platform::detect().hash_many(&inputs, &IV, 0, IncrementCounter::Yes, 0, CHUNK_START, CHUNK_END, flat);
    out
}

/// Chaining values of the parents of neighbouring pairs; an odd last node has none.
fn hash_parents(nodes: &[Node]) -> Vec<Node> {
    let (pairs, _) = nodes.as_chunks::<2>();
    let blocks: Vec<&[u8; 64]> = pairs.iter().map(|pair| pair.as_flattened().try_into().expect("two nodes are 64 B")).collect();
    let mut out = vec![[0; 32]; pairs.len()];
    let flat = out.as_flattened_mut();
    Platform::detect().hash_many(&blocks, &IV, 0, IncrementCounter::No, PARENT, 0, 0, flat);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_word(total: usize) -> Vec<u8> {
        (0..total * CHUNK_BYTES).map(|i| (i * 31 + i / 1024) as u8).collect()
    }

    #[test]
    fn the_burst_hash_agrees_with_hazmat() {
        let bytes = code_word(TOTAL_SHREDS_MAX);
        let chunks = bytes.as_chunks::<CHUNK_BYTES>().0;
        let leaves = hash_chunks(chunks);
        for (index, chunk) in chunks.iter().enumerate() {
            assert_eq!(leaves[index], chunk_value(chunk, index), "chunk {index}");
        }
        for (pair, parent) in leaves.as_chunks::<2>().0.iter().zip(hash_parents(&leaves)) {
            assert_eq!(parent, merge_subtrees_non_root(&pair[0], &pair[1], Mode::Hash));
        }
    }

    #[test]
    fn the_root_is_the_digest_of_the_code_word_and_every_proof_leads_to_it_for_every_total() {
        for total in 1..=TOTAL_SHREDS_MAX {
            let bytes = code_word(total);
            let tree = Tree::new(&bytes);
            assert_eq!(tree.root(), Digest(*blake3::hash(&bytes).as_bytes()), "total {total}");
            for (index, chunk) in bytes.as_chunks::<CHUNK_BYTES>().0.iter().enumerate() {
                let mut proof = Vec::new();
                tree.write_proof(index, &mut proof);
                assert_eq!(proof.len(), 32 * proof_levels(index, total));
                assert_eq!(root_from_path(chunk, ShredIndex(index as u8), total as u8, &proof), Some(tree.root()), "{index} of {total}");
            }
        }
    }

    #[test]
    fn a_proof_of_another_length_index_or_total_does_not_lead_to_the_root() {
        let bytes = code_word(11);
        let tree = Tree::new(&bytes);
        let chunk = bytes.first_chunk().unwrap();
        let mut proof = Vec::new();
        tree.write_proof(0, &mut proof);
        for length in (0..=8 * 32).filter(|length| *length != proof.len()) {
            let other: Vec<u8> = proof.iter().copied().cycle().take(length).collect();
            assert_eq!(root_from_path(chunk, ShredIndex(0), 11, &other), None, "{length} B");
        }
        assert_eq!(root_from_path(chunk, ShredIndex(11), 11, &proof), None);
        assert_eq!(root_from_path(chunk, ShredIndex(0), 0, &[]), None);
        assert_ne!(root_from_path(chunk, ShredIndex(1), 11, &proof), Some(tree.root()));
        for bit in 0..proof.len() * 8 {
            let mut forged = proof.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(root_from_path(chunk, ShredIndex(0), 11, &forged), Some(tree.root()));
        }
    }
}
