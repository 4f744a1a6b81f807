//! The rival: the same code by its library, a SHA-256 tree, and nothing else.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use sha2::{Digest, Sha256};

const CHUNK: usize = 1024;

type Node = [u8; 32];

/// The library's encoder and decoder with their working memory, kept from slice to slice.
#[derive(Default)]
pub struct Codec {
    encoder: Option<ReedSolomonEncoder>,
    decoder: Option<ReedSolomonDecoder>,
}

impl Codec {
    /// Appends the parity of the chunks in `bytes`.
    fn append_parity(&mut self, bytes: &mut Vec<u8>, data: usize, total: usize) {
        if total == data {
            return;
        }
        match &mut self.encoder {
            Some(encoder) => encoder.reset(data, total - data, CHUNK).expect("a known shape"),
            none => *none = Some(ReedSolomonEncoder::new(data, total - data, CHUNK).expect("a known shape")),
        }
        let encoder = self.encoder.as_mut().expect("it was just made");
        bytes.chunks(CHUNK).for_each(|chunk| encoder.add_original_shard(chunk).expect("data chunks of one size"));
        encoder.encode().expect("every chunk was added").recovery_iter().for_each(|chunk| bytes.extend_from_slice(chunk));
    }

    /// The data chunks, from any `data` chunks.
    fn data(&mut self, received: &[(usize, &[u8])], data: usize, total: usize) -> Vec<u8> {
        let mut bytes = vec![0; data * CHUNK];
        let of_data = || received.iter().filter(|(index, _)| *index < data);
        of_data().for_each(|(index, chunk)| bytes[index * CHUNK..][..CHUNK].copy_from_slice(chunk));
        if of_data().count() == data {
            return bytes;
        }
        match &mut self.decoder {
            Some(decoder) => decoder.reset(data, total - data, CHUNK).expect("a known shape"),
            none => *none = Some(ReedSolomonDecoder::new(data, total - data, CHUNK).expect("a known shape")),
        }
        let decoder = self.decoder.as_mut().expect("it was just made");
        of_data().for_each(|(index, chunk)| decoder.add_original_shard(*index, chunk).expect("each once"));
        let of_parity = received.iter().filter(|(index, _)| *index >= data);
        of_parity.for_each(|(index, chunk)| decoder.add_recovery_shard(index - data, chunk).expect("each once"));
        let result = decoder.decode().expect("enough chunks");
        result.restored_original_iter().for_each(|(index, chunk)| bytes[index * CHUNK..][..CHUNK].copy_from_slice(chunk));
        bytes
    }
}

/// A code word with its tree, signed.
pub struct RivalSlice {
    bytes: Vec<u8>,
    levels: Vec<Vec<Node>>,
    pub root: Node,
    pub signature: [u8; 64],
}

impl RivalSlice {
    pub fn sign(codec: &mut Codec, payload: &[u8], data: usize, total: usize, sign: impl FnOnce(Node) -> [u8; 64]) -> RivalSlice {
        let mut bytes = Vec::with_capacity(total * CHUNK);
        bytes.extend_from_slice(payload);
        bytes.resize(data * CHUNK, 0);
        codec.append_parity(&mut bytes, data, total);
        let levels = tree(&bytes);
        let root = root_of(&levels);
        RivalSlice { bytes, levels, root, signature: sign(root) }
    }

    pub fn chunk(&self, index: usize) -> &[u8] {
        &self.bytes[index * CHUNK..][..CHUNK]
    }

    /// Header-sized zeros, signature, proof and chunk.
    pub fn write_shred(&self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; 20]);
        out.extend_from_slice(&self.signature);
        let mut at = index;
        for level in self.levels.iter().filter(|level| level.len() > 1) {
            if let Some(sibling) = level.get(at ^ 1) {
                out.extend_from_slice(sibling);
            }
            at /= 2;
        }
        out.extend_from_slice(self.chunk(index));
    }
}

/// The slice, if the chunks are of a code word with this root.
pub fn deshred(codec: &mut Codec, received: &[(usize, &[u8])], data: usize, total: usize, root: &Node) -> Option<Vec<u8>> {
    let mut bytes = codec.data(received, data, total);
    codec.append_parity(&mut bytes, data, total);
    let is_genuine = root_of(&tree(&bytes)) == *root;
    bytes.truncate(data * CHUNK);
    is_genuine.then_some(bytes)
}

/// The root a message of [`RivalSlice::write_shred`] leads to.
pub fn root_from_shred(message: &[u8], index: usize, total: usize) -> Node {
    let (proof, chunk) = message[84..].split_at(message.len() - 84 - CHUNK);
    let (mut node, mut at, mut width) = (leaf(chunk), index, total);
    let mut siblings = proof.as_chunks::<32>().0.iter();
    while width > 1 {
        if at ^ 1 < width {
            let sibling = siblings.next().expect("a proof of the right length");
            node = if at % 2 == 0 { parent(&node, sibling) } else { parent(sibling, &node) };
        }
        (at, width) = (at / 2, width.div_ceil(2));
    }
    node
}

fn tree(bytes: &[u8]) -> Vec<Vec<Node>> {
    let mut levels = vec![bytes.chunks(CHUNK).map(leaf).collect::<Vec<Node>>()];
    while let Some(below) = levels.last().filter(|level| level.len() > 1) {
        let level = below.chunks(2).map(|pair| if let [left, right] = pair { parent(left, right) } else { pair[0] }).collect();
        levels.push(level);
    }
    levels
}

fn root_of(levels: &[Vec<Node>]) -> Node {
    levels.last().and_then(|level| level.first()).copied().expect("a tree has a root")
}

fn leaf(chunk: &[u8]) -> Node {
    Sha256::new().chain_update([0]).chain_update(chunk).finalize().into()
}

fn parent(left: &Node, right: &Node) -> Node {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}
