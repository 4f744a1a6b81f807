//! The slice tree: BLAKE3's own tree over the chunks of a code word, so its root is `blake3::hash(code word)`.
//!
//! BLAKE3 puts the largest power of two of chunks to the left; bottom up this is "pair neighbours, carry an odd last node up". A proof is
//! the chaining values beside the path, leaf first; its length follows from (index, total).
//!
//! Chunks and parents are hashed many at a time through `blake3::platform`, which is public but not stable: the version is pinned, all
//! use of it is here and in [`crate::leaves`], and the tests compare both with `blake3::hazmat`.

use crate::engine::Engine;
use crate::leaves::{Leaf, hash_run};
use blake3::IncrementCounter;
use blake3::platform::{MAX_SIMD_DEGREE, Platform};
use samara_types::shred::{TOTAL_SHREDS_MAX, proof_levels};
use samara_types::{CHUNK_BYTES, Digest, ShredIndex};

/// A chaining value: a node of the tree below the root.
pub(crate) type Node = [u8; 32];

/// BLAKE3's initial state, the key of unkeyed hashing (BLAKE3, table 1).
pub(crate) const IV: [u32; 8] = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19];
// Domain flags (BLAKE3, table 3).
pub(crate) const CHUNK_START: u8 = 1;
pub(crate) const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;
pub(crate) const ROOT: u8 = 8;

/// The vector instructions to hash with: the best of this CPU, unless the process chose an engine that asks for less.
pub(crate) fn platform() -> Platform {
    match Engine::chosen() {
        Engine::Portable => Platform::portable(),
        Engine::Library if Engine::best() == Engine::Gfni || crate::cpu::is_avx512_off() => without_avx512(),
        Engine::Library | Engine::Gfni => Platform::detect(),
    }
}

/// What hashes a single chunk or node fastest: see [`crate::leaves`].
pub(crate) fn alone() -> Platform {
    Platform::portable()
}

#[cfg(target_arch = "x86_64")]
fn without_avx512() -> Platform {
    Platform::avx2().or_else(Platform::sse41).unwrap_or_else(Platform::portable)
}

#[cfg(not(target_arch = "x86_64"))]
fn without_avx512() -> Platform {
    Platform::detect()
}

/// All nodes below the root in one list: the leaves, then each level above them. A carried node stands in every level it skips, so that the
/// parent of node `i` is always node `i / 2` of the next level.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    total: usize,
    nodes: Box<[Node]>,
    root: Digest,
}

impl Tree {
    /// The tree of a code word of whole chunks.
    pub(crate) fn new(code_word: &[u8]) -> Tree {
        let (chunks, rest) = code_word.as_chunks::<CHUNK_BYTES>();
        assert!(rest.is_empty() && (1..=TOTAL_SHREDS_MAX).contains(&chunks.len()), "a code word is 1 to 128 whole chunks");
        let mut nodes = vec![[0; 32]; node_count(chunks.len())].into_boxed_slice();
        let root = if let [only] = chunks {
            Digest(Leaf::of(only, ShredIndex(0), 1).0)
        } else {
            hash_chunks(chunks, &mut nodes[..chunks.len()]);
            fill_parents(&mut nodes, chunks.len())
        };
        Tree { total: chunks.len(), nodes, root }
    }

    /// A tree whose nodes and root are known.
    pub(crate) fn of_nodes(total: usize, nodes: Box<[Node]>, root: Digest) -> Tree {
        Tree { total, nodes, root }
    }

    pub(crate) fn root(&self) -> Digest {
        self.root
    }

    /// Appends the proof of chunk `index`.
    pub(crate) fn write_proof(&self, index: usize, out: &mut Vec<u8>) {
        write_proof(&self.nodes, self.total, index, out);
    }
}

/// Nodes below the root of a tree over `total` chunks.
pub(crate) fn node_count(total: usize) -> usize {
    levels(total).map(|level| level.width).sum()
}

/// A level of the node list.
#[derive(Clone, Copy)]
pub(crate) struct Level {
    /// Position of its first node.
    pub(crate) start: usize,
    /// Its nodes, at least 2.
    pub(crate) width: usize,
}

/// The levels below the root, leaves first; none for a single chunk, which is its own root.
pub(crate) fn levels(total: usize) -> impl Iterator<Item = Level> {
    let leaves = (total > 1).then_some(Level { start: 0, width: total });
    let above = |below: &Level| (below.width > 2).then(|| Level { start: below.start + below.width, width: below.width.div_ceil(2) });
    std::iter::successors(leaves, above)
}

/// Fills in every level above the leaves; returns the root.
pub(crate) fn fill_parents(nodes: &mut [Node], total: usize) -> Digest {
    for level in levels(total).filter(|level| level.width > 2) {
        let (below, above) = nodes[level.start..].split_at_mut(level.width);
        hash_parents(below, &mut above[..level.width / 2]);
        if level.width % 2 == 1 {
            above[level.width / 2] = below[level.width - 1];
        }
    }
    let top = &nodes[nodes.len() - 2..];
    Digest(merge(&top[0], &top[1], true))
}

/// Appends the proof of chunk `index` out of a node list.
pub(crate) fn write_proof(nodes: &[Node], total: usize, index: usize, out: &mut Vec<u8>) {
    let mut at = index;
    for level in levels(total) {
        if at ^ 1 < level.width {
            out.extend_from_slice(&nodes[level.start + (at ^ 1)]);
        }
        at /= 2;
    }
}

/// The root that `chunk` at `index` of `total` leads to through `proof`. None if the index is out of range or the proof does not have
/// exactly the 32 B per level that (index, total) demands.
pub fn root_from_path(chunk: &[u8; CHUNK_BYTES], index: ShredIndex, total: u8, proof: &[u8]) -> Option<Digest> {
    let well_formed = index.0 < total && proof.len() == 32 * proof_levels(index.at(), total.into());
    well_formed.then(|| Leaf::of(chunk, index, total)).and_then(|leaf| root_from_leaf(&leaf, index, total, proof))
}

/// The same for a chunk whose leaf is known.
pub fn root_from_leaf(leaf: &Leaf, index: ShredIndex, total: u8, proof: &[u8]) -> Option<Digest> {
    let (mut at, total) = (index.at(), usize::from(total));
    if at >= total || proof.len() != 32 * proof_levels(at, total) {
        return None;
    }
    let mut node = leaf.0;
    let mut siblings = proof.as_chunks::<32>().0.iter();
    for level in levels(total) {
        if at ^ 1 < level.width {
            node = merge_at(at, &node, siblings.next()?, level.width == 2);
        }
        at /= 2;
    }
    Some(Digest(node))
}

/// The parent of the node at `at` and its sibling.
pub(crate) fn merge_at(at: usize, node: &Node, sibling: &Node, is_root: bool) -> Node {
    let (left, right) = if at.is_multiple_of(2) { (node, sibling) } else { (sibling, node) };
    merge(left, right, is_root)
}

fn merge(left: &Node, right: &Node, is_root: bool) -> Node {
    let mut block = [0; 64];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    let mut words = IV;
    alone().compress_in_place(&mut words, &block, 64, 0, if is_root { PARENT | ROOT } else { PARENT });
    let mut node = [0; 32];
    node.as_chunks_mut::<4>().0.iter_mut().zip(words).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
    node
}

/// Chaining values of consecutive chunks from index 0.
fn hash_chunks(chunks: &[[u8; CHUNK_BYTES]], out: &mut [Node]) {
    let platform = platform();
    for (run, (chunks, out)) in chunks.chunks(MAX_SIMD_DEGREE).zip(out.chunks_mut(MAX_SIMD_DEGREE)).enumerate() {
        let inputs: [&[u8; CHUNK_BYTES]; MAX_SIMD_DEGREE] = std::array::from_fn(|at| &chunks[at.min(chunks.len() - 1)]);
        hash_run(platform, &inputs[..chunks.len()], run * MAX_SIMD_DEGREE, out.as_flattened_mut());
    }
}

/// Chaining values of the parents of neighbouring pairs; an odd last node has none.
fn hash_parents(nodes: &[Node], out: &mut [Node]) {
    let platform = platform();
    let pairs = nodes.as_chunks::<2>().0;
    if let ([[left, right]], [out]) = (pairs, &mut *out) {
        *out = merge(left, right, false);
        return;
    }
    for (pairs, out) in pairs.chunks(MAX_SIMD_DEGREE).zip(out.chunks_mut(MAX_SIMD_DEGREE)) {
        let block = |at: usize| pairs[at.min(pairs.len() - 1)].as_flattened().try_into().expect("two nodes are 64 B");
        let blocks: [&[u8; 64]; MAX_SIMD_DEGREE] = std::array::from_fn(block);
        platform.hash_many(&blocks[..pairs.len()], &IV, 0, IncrementCounter::No, PARENT, 0, 0, out.as_flattened_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

    fn code_word(total: usize) -> Vec<u8> {
        (0..total * CHUNK_BYTES).map(|i| (i * 31 + i / 1024) as u8).collect()
    }

    #[test]
    fn chunks_and_parents_hashed_together_agree_with_hazmat() {
        let bytes = code_word(TOTAL_SHREDS_MAX);
        let chunks = bytes.as_chunks::<CHUNK_BYTES>().0;
        let mut leaves = [[0; 32]; TOTAL_SHREDS_MAX];
        hash_chunks(chunks, &mut leaves);
        for (index, chunk) in chunks.iter().enumerate() {
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset((index * CHUNK_BYTES) as u64).update(chunk);
            assert_eq!(leaves[index], hasher.finalize_non_root(), "chunk {index}");
            assert_eq!(Leaf::of(chunk, ShredIndex(index as u8), 128).0, leaves[index]);
        }
        let mut parents = [[0; 32]; TOTAL_SHREDS_MAX / 2];
        hash_parents(&leaves, &mut parents);
        for (pair, parent) in leaves.as_chunks::<2>().0.iter().zip(parents) {
            assert_eq!(parent, merge_subtrees_non_root(&pair[0], &pair[1], Mode::Hash));
            assert_eq!(parent, merge(&pair[0], &pair[1], false));
            assert_eq!(merge(&pair[0], &pair[1], true), *merge_subtrees_root(&pair[0], &pair[1], Mode::Hash).as_bytes());
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
