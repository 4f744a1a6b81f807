//! Encoding a slice, and the verdict on a root once enough of its chunks are there.

use crate::code::Code;
use crate::engine::Engine;
use crate::tree::Tree;
use samara_types::shred::TOTAL_SHREDS_MAX;
use samara_types::{CHUNK_BYTES, Digest, ShredIndex, SliceShape};

/// The code with its working memory, reused from slice to slice (at most about 150 KiB, the largest shape).
pub struct Coder {
    code: Code,
    /// Parity chunks of the slice in hand.
    parity: Vec<[u8; CHUNK_BYTES]>,
}

/// Why a slice cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not yet: fewer than `data` different chunks.
    #[error("fewer chunks than the slice has data")]
    TooFew,
    /// Final, and the same for every subset of chunks: the root is not that of a code word, or the padding is not zero.
    #[error("the root is not that of a canonical code word")]
    Malformed,
}

/// All chunks of a slice with their tree.
#[derive(Clone, Debug)]
pub struct CodeWord {
    shape: SliceShape,
    bytes: Box<[u8]>,
    tree: Tree,
}

impl CodeWord {
    /// A tree over any chunks, whether they form a code word or not: what a hostile leader could commit to. Honest code calls
    /// [`Coder::encode`]; panics if `bytes` is not `total` chunks.
    pub fn uncoded(shape: SliceShape, bytes: Vec<u8>) -> CodeWord {
        assert_eq!(bytes.len(), usize::from(shape.total) * CHUNK_BYTES, "a code word is `total` chunks");
        CodeWord { shape, tree: Tree::new(&bytes), bytes: bytes.into_boxed_slice() }
    }

    /// Counts and length.
    pub fn shape(&self) -> SliceShape {
        self.shape
    }

    /// BLAKE3 of all chunks: what the leader signs.
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// The meaningful bytes of the data chunks.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..self.shape.payload_length as usize]
    }

    /// Chunk `index`. Panics if it is not below `total`.
    pub fn chunk(&self, index: ShredIndex) -> &[u8; CHUNK_BYTES] {
        &self.bytes.as_chunks().0[index.at()]
    }

    /// Appends the proof of chunk `index`, leaf first. Panics if it is not below `total`.
    pub fn write_proof(&self, index: ShredIndex, out: &mut Vec<u8>) {
        assert!(index.0 < self.shape.total, "a proof is for a chunk of the code word");
        self.tree.write_proof(index.at(), out);
    }
}

impl Default for Coder {
    fn default() -> Self {
        Coder::new()
    }
}

impl Coder {
    /// With the engine of the process ([`Engine::chosen`]) and without working memory; the first slice allocates it.
    pub fn new() -> Coder {
        Coder::with_engine(Engine::chosen())
    }

    /// With this engine. Panics if the CPU cannot run it.
    pub fn with_engine(engine: Engine) -> Coder {
        Coder { code: Code::new(engine), parity: Vec::new() }
    }

    /// The code word of `payload`. Panics if the counts are not canonical for its length (see [`SliceShape::is_canonical`]): they come
    /// from our own plan.
    pub fn encode(&mut self, payload: &[u8], data: u8, total: u8) -> CodeWord {
        let shape = SliceShape { data, total, payload_length: u32::try_from(payload.len()).expect("a slice is short") };
        assert!(shape.is_canonical(), "the plan gives canonical shapes: {shape:?}");
        let mut bytes = vec![0; usize::from(total) * CHUNK_BYTES];
        bytes[..payload.len()].copy_from_slice(payload);
        self.fill_parity(shape, &mut bytes);
        CodeWord { shape, tree: Tree::new(&bytes), bytes: bytes.into_boxed_slice() }
    }

    /// The code word with this root, from any `data` of its chunks. The chunks must have been verified against the root
    /// ([`crate::root_from_path`]); then the verdict is a function of the root alone, because a decode from other chunks gives either
    /// the same data or data whose code word has another root. Repeated indexes count once; an index out of range is ignored.
    pub fn decode(
        &mut self,
        shape: SliceShape,
        root: &Digest,
        chunks: &[(ShredIndex, &[u8; CHUNK_BYTES])],
    ) -> Result<CodeWord, DecodeError> {
        if !shape.is_canonical() {
            return Err(DecodeError::Malformed);
        }
        let mut bytes = vec![0; usize::from(shape.total) * CHUNK_BYTES];
        self.fill_data(shape, chunks, &mut bytes)?;
        let data_bytes = usize::from(shape.data) * CHUNK_BYTES;
        if bytes[shape.payload_length as usize..data_bytes].iter().any(|&byte| byte != 0) {
            return Err(DecodeError::Malformed);
        }
        self.fill_parity(shape, &mut bytes);
        let tree = Tree::new(&bytes);
        if tree.root() != *root {
            return Err(DecodeError::Malformed);
        }
        Ok(CodeWord { shape, tree, bytes: bytes.into_boxed_slice() })
    }

    /// Writes the parity chunks behind the data chunks.
    fn fill_parity(&mut self, shape: SliceShape, bytes: &mut [u8]) {
        let (data, parity) = bytes.as_chunks_mut::<CHUNK_BYTES>().0.split_at_mut(usize::from(shape.data));
        self.encode_parity(shape, data, parity);
    }

    /// Room for the parity of a slice, with whatever was in it; given back by [`Self::put_parity`].
    pub(crate) fn take_parity(&mut self, chunks: usize) -> Vec<[u8; CHUNK_BYTES]> {
        let mut parity = std::mem::take(&mut self.parity);
        parity.resize(chunks.max(parity.len()), [0; CHUNK_BYTES]);
        parity
    }

    pub(crate) fn put_parity(&mut self, parity: Vec<[u8; CHUNK_BYTES]>) {
        self.parity = parity;
    }

    /// The first `chunks` of what was put back last.
    pub(crate) fn parity(&self, chunks: usize) -> &[[u8; CHUNK_BYTES]] {
        &self.parity[..chunks]
    }

    /// Writes the parity chunks of `data`.
    pub(crate) fn encode_parity(&mut self, shape: SliceShape, data: &[[u8; CHUNK_BYTES]], parity: &mut [[u8; CHUNK_BYTES]]) {
        if shape.parity() == 0 {
            return;
        }
        self.code.encode(data, &mut parity[..shape.parity()]);
    }

    /// Restores the data chunks that are not `present`, in place, from those of both kinds that are: at least `data` together.
    pub(crate) fn restore_data(&mut self, shape: SliceShape, data: &mut [[u8; CHUNK_BYTES]], parity: &[[u8; CHUNK_BYTES]], present: u128) {
        let is_present = |index: usize| present & (1 << index) != 0;
        let mut received = [None; TOTAL_SHREDS_MAX];
        let first_parity = data.len();
        for (index, chunk) in parity.iter().enumerate().take(shape.parity()).filter(|(index, _)| is_present(first_parity + index)) {
            received[index] = Some(chunk);
        }
        self.code.restore(data, is_present, &received[..shape.parity()]).expect("the caller holds as many chunks as data");
    }

    /// Writes the data chunks: copied where present, restored where not.
    fn fill_data(&mut self, shape: SliceShape, chunks: &[(ShredIndex, &[u8; CHUNK_BYTES])], bytes: &mut [u8]) -> Result<(), DecodeError> {
        let (data, total) = (usize::from(shape.data), usize::from(shape.total));
        let mut received = [None; TOTAL_SHREDS_MAX];
        for (index, chunk) in chunks.iter().filter(|(index, _)| index.at() < total) {
            received[index.at()] = Some(*chunk);
        }
        if received.iter().flatten().count() < data {
            return Err(DecodeError::TooFew);
        }
        let out = &mut bytes.as_chunks_mut::<CHUNK_BYTES>().0[..data];
        let (received_data, received_parity) = received[..total].split_at(data);
        for (to, chunk) in out.iter_mut().zip(received_data) {
            *to = chunk.copied().unwrap_or(*to);
        }
        self.code.restore(out, |index| received_data[index].is_some(), received_parity).map_err(|_| DecodeError::TooFew)
    }
}

#[cfg(test)]
mod tests;
