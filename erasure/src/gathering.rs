//! A slice on its way in: chunks where they will be needed, and every node of its tree that is proven.
//!
//! ```text
//! leaf, proof ─ check ─> hashed up to the first proven node, the rest of the proof compared ─> path and siblings are proven too
//! chunk ─ insert ─> data chunk i in its own place, a parity chunk in the place of a data chunk that is not there
//! `data` chunks ─ finish ─> lost data decoded in place ─> parity encoded again ─> every other leaf hashed ─> same root? ─> payload
//! ```
//! Invariants
//! - A proven node lies under the root: it was hashed together with proven ones into one. So its sibling and its parent are proven as well,
//!   and what a proof says above a proven node can only be compared, never learned. An unproven value enters no list.
//! - A check accepts exactly what [`crate::root_from_path`] leads to the root, at the price of the leaf and about one parent: over a whole
//!   slice each parent is hashed at most once.
//! - There are never more chunks than `data`, so every parity chunk finds a place; a data chunk that comes to a taken place moves the
//!   parity chunk on.

use crate::coder::Coder;
use crate::leaves::{Leaf, Unhashed, hash_burst};
use crate::tree::{self, Node, levels, merge_at, node_count};
use samara_types::shred::{PROOF_LEVELS_MAX, TOTAL_SHREDS_MAX, proof_levels};
use samara_types::{CHUNK_BYTES, Digest, ShredIndex, SliceShape};

type Chunk = [u8; CHUNK_BYTES];

/// No chunk.
const NONE: u8 = u8::MAX;

/// Verified chunks of one root, and the proven part of its tree.
#[derive(Clone, Debug)]
pub struct Gathering {
    shape: SliceShape,
    root: Digest,
    /// `data` places.
    places: Vec<Chunk>,
    /// Which chunk lies in a place.
    tenants: Vec<u8>,
    present: u128,
    nodes: Box<[Node]>,
    proven: [u64; 4],
}

/// The root is not that of a canonical code word: final, and the same whichever chunks were gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the root is not that of a canonical code word")]
pub struct Malformed;

impl Gathering {
    /// Nothing yet of the code word with this shape and root. Panics if the shape is not canonical.
    pub fn new(shape: SliceShape, root: Digest) -> Gathering {
        Gathering::new_in(shape, root, Vec::new())
    }

    /// The same in memory that held another slice ([`Finished::into_data`]): whatever is in it is overwritten before it is read.
    pub fn new_in(shape: SliceShape, root: Digest, mut places: Vec<[u8; CHUNK_BYTES]>) -> Gathering {
        assert!(shape.is_canonical(), "only canonical shapes are admitted: {shape:?}");
        let data = usize::from(shape.data);
        places.resize(data, [0; CHUNK_BYTES]);
        Gathering {
            shape,
            root,
            places,
            tenants: vec![NONE; data],
            present: 0,
            nodes: vec![[0; 32]; node_count(shape.total.into())].into_boxed_slice(),
            proven: [0; 4],
        }
    }

    /// Bytes that this one holds: as many as [`Gathering::bytes_of`] its shape, unless the memory it was given has room for more.
    pub fn bytes_held(&self) -> usize {
        Gathering::bytes_of(&self.shape) + (self.places.capacity() - self.places.len()) * CHUNK_BYTES
    }

    /// Bytes that one of this shape needs.
    pub fn bytes_of(shape: &SliceShape) -> usize {
        size_of::<Gathering>() + usize::from(shape.data) * (CHUNK_BYTES + 1) + node_count(shape.total.into()) * size_of::<Node>()
    }

    /// Chunks that are there.
    pub fn count(&self) -> usize {
        self.present.count_ones() as usize
    }

    /// Whether this leaf at `index` was proven before.
    pub fn has_proven(&self, index: ShredIndex, leaf: &Leaf) -> bool {
        index.0 < self.shape.total && self.shape.total > 1 && self.is_proven(index.at()) && self.nodes[index.at()] == leaf.0
    }

    /// Whether chunk `index` is there.
    pub fn contains(&self, index: ShredIndex) -> bool {
        index.at() < TOTAL_SHREDS_MAX && self.present & (1 << index.0) != 0
    }

    /// Chunk `index`, if it is there.
    pub fn chunk(&self, index: ShredIndex) -> Option<&[u8; CHUNK_BYTES]> {
        let place = self.tenants.iter().position(|tenant| *tenant == index.0).filter(|_| self.contains(index))?;
        Some(&self.places[place])
    }

    /// Appends the proof of chunk `index`. Panics if it is not there.
    pub fn write_proof(&self, index: ShredIndex, out: &mut Vec<u8>) {
        assert!(self.contains(index), "what is there was checked, and what was checked has its siblings");
        tree::write_proof(&self.nodes, self.shape.total.into(), index.at(), out);
    }

    /// Whether `leaf` at `index` leads to the root through `proof`; what was learned on the way is kept only if it does.
    pub fn check(&mut self, index: ShredIndex, leaf: &Leaf, proof: &[u8]) -> bool {
        let total = usize::from(self.shape.total);
        if index.at() >= total || proof.len() != 32 * proof_levels(index.at(), total) {
            return false;
        }
        let Some((path, climbed)) = self.climb(index.at(), leaf, proof) else { return false };
        let mut siblings = proof.as_chunks::<32>().0.iter();
        let mut at = index.at();
        for (level, node) in levels(total).zip(&path).take(climbed) {
            self.prove(level.start + at, node);
            if at ^ 1 < level.width
                && let Some(sibling) = siblings.next()
            {
                self.prove(level.start + (at ^ 1), sibling);
            }
            at /= 2;
        }
        true
    }

    /// The path from the leaf up, and how many of its nodes were not proven before. None if it does not lead to the root.
    fn climb(&self, index: usize, leaf: &Leaf, proof: &[u8]) -> Option<([Node; PROOF_LEVELS_MAX + 2], usize)> {
        let mut siblings = proof.as_chunks::<32>().0.iter();
        let mut path = [[0; 32]; PROOF_LEVELS_MAX + 2];
        path[0] = leaf.0;
        let (mut at, mut climbed, mut met) = (index, 0, false);
        for level in levels(self.shape.total.into()) {
            let sibling = if at ^ 1 < level.width { Some(siblings.next()?) } else { None };
            if !met && self.is_proven(level.start + at) {
                if self.nodes[level.start + at] != path[climbed] {
                    return None;
                }
                met = true;
            }
            if !met {
                path[climbed + 1] = sibling.map_or(path[climbed], |sibling| merge_at(at, &path[climbed], sibling, level.width == 2));
                climbed += 1;
            } else if sibling.is_some_and(|sibling| self.nodes[level.start + (at ^ 1)] != *sibling) {
                return None;
            }
            at /= 2;
        }
        (met || path[climbed] == self.root.0).then_some((path, climbed))
    }

    fn is_proven(&self, node: usize) -> bool {
        self.proven[node / 64] & (1 << (node % 64)) != 0
    }

    fn prove(&mut self, node: usize, value: &Node) {
        self.proven[node / 64] |= 1 << (node % 64);
        self.nodes[node] = *value;
    }

    /// Takes in a chunk that was checked. False if it is there or enough are. Panics if its leaf is not proven, or the index out of range.
    pub fn insert(&mut self, index: ShredIndex, chunk: &[u8; CHUNK_BYTES]) -> bool {
        assert!(self.shape.total == 1 || self.is_proven(index.at()), "a chunk is checked before it is taken in");
        let full = self.count() == self.places.len();
        if full || self.contains(index) {
            return false;
        }
        let place = if index.0 < self.shape.data { self.vacate(index.at()) } else { self.free_place() };
        self.places[place] = *chunk;
        self.tenants[place] = index.0;
        self.present |= 1 << index.0;
        true
    }

    /// Frees the place of data chunk `place`.
    fn vacate(&mut self, place: usize) -> usize {
        if self.tenants[place] != NONE {
            let free = self.free_place();
            self.tenants[free] = std::mem::replace(&mut self.tenants[place], NONE);
            self.places[free] = self.places[place];
        }
        place
    }

    fn free_place(&self) -> usize {
        self.tenants.iter().rposition(|tenant| *tenant == NONE).expect("fewer chunks than places")
    }

    /// The slice, and its parity for as long as the coder is not used again. Panics with fewer than `data` chunks.
    pub fn finish(self, coder: &mut Coder) -> Result<Finished<'_>, Malformed> {
        self.finish_as(coder, false)
    }

    /// A known bug for `samara-sim`: what was decoded is taken for the slice whatever its root.
    #[doc(hidden)]
    pub fn finish_trusting(self, coder: &mut Coder) -> Result<Finished<'_>, Malformed> {
        self.finish_as(coder, true)
    }

    fn finish_as(mut self, coder: &mut Coder, trusting: bool) -> Result<Finished<'_>, Malformed> {
        let (data, total) = (usize::from(self.shape.data), usize::from(self.shape.total));
        assert_eq!(self.count(), data, "a slice is finished once it has as many chunks as data");
        let mut parity = coder.take_parity(self.shape.parity());
        for (tenant, place) in self.tenants.iter().zip(&self.places).filter(|(tenant, _)| usize::from(**tenant) >= data) {
            parity[usize::from(*tenant) - data] = *place;
        }
        coder.restore_data(self.shape, &mut self.places, &parity, self.present);
        let padding = &self.places.as_flattened()[self.shape.payload_length as usize..];
        let padded = padding.iter().all(|byte| *byte == 0);
        if padded {
            coder.encode_parity(self.shape, &self.places, &mut parity);
        }
        let genuine = padded && (self.rebuild(&parity, total) || trusting);
        coder.put_parity(parity);
        if !genuine {
            return Err(Malformed);
        }
        let nodes = tree::Tree::of_nodes(total, self.nodes, self.root);
        Ok(Finished { shape: self.shape, data: self.places, parity: coder.parity(self.shape.parity()), nodes })
    }

    /// Hashes every leaf that is not there, then the whole tree above; whether its root is the one of the chunks that came.
    ///
    /// A decoded code word holds the gathered chunks by construction: from `data` of them there is exactly one, and this is it. So
    /// their leaves, proven, are its leaves.
    fn rebuild(&mut self, parity: &[Chunk], total: usize) -> bool {
        if total == 1 {
            return true;
        }
        let missing: Vec<Unhashed<'_>> = (0..self.shape.total)
            .filter(|index| self.present & (1 << index) == 0)
            .map(|index| Unhashed { chunk: chunk_of(&self.places, parity, index), index: ShredIndex(index), total: self.shape.total })
            .collect();
        let nodes = &mut self.nodes;
        hash_burst(&missing, |at, leaf| nodes[missing[at].index.at()] = leaf.0);
        tree::fill_parents(nodes, total) == self.root
    }
}

fn chunk_of<'a>(data: &'a [Chunk], parity: &'a [Chunk], index: u8) -> &'a Chunk {
    let index = usize::from(index);
    data.get(index).unwrap_or_else(|| &parity[index - data.len()])
}

/// A slice that its root says, with all its chunks and proofs.
#[derive(Debug)]
pub struct Finished<'a> {
    shape: SliceShape,
    data: Vec<Chunk>,
    parity: &'a [Chunk],
    nodes: tree::Tree,
}

impl Finished<'_> {
    /// Chunk `index`. Panics if it is not below `total`.
    pub fn chunk(&self, index: ShredIndex) -> &[u8; CHUNK_BYTES] {
        chunk_of(&self.data, self.parity, index.0)
    }

    /// Appends the proof of chunk `index`, leaf first. Panics if it is not below `total`.
    pub fn write_proof(&self, index: ShredIndex, out: &mut Vec<u8>) {
        assert!(index.0 < self.shape.total, "a proof is for a chunk of the code word");
        self.nodes.write_proof(index.at(), out);
    }

    /// The data chunks, where they were gathered; behind the meaningful bytes they are zero.
    pub fn into_data(self) -> Vec<[u8; CHUNK_BYTES]> {
        self.data
    }

    /// The meaningful bytes, where they were gathered.
    pub fn into_payload(self) -> Vec<u8> {
        let mut bytes = self.data.into_flattened();
        bytes.truncate(self.shape.payload_length as usize);
        bytes
    }
}

#[cfg(test)]
mod tests;
