//! Encoding a slice, and the verdict on a root once enough of its chunks are there.

use crate::locator::SliceEngine;
use crate::tree::Tree;
use reed_solomon_simd::rate::{DefaultRateDecoder, DefaultRateEncoder, RateDecoder, RateEncoder};
use samara_types::{CHUNK_BYTES, Digest, ShredIndex, SliceShape};

/// Encoder and decoder with their working memory, reused from slice to slice (at most about 400 KiB, the largest shape).
pub struct Coder {
    encoder: Option<DefaultRateEncoder<SliceEngine>>,
    decoder: Option<DefaultRateDecoder<SliceEngine>>,
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
    /// Without working memory; the first slice allocates it.
    pub fn new() -> Coder {
        Coder { encoder: None, decoder: None, parity: Vec::new() }
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
        let parity = &mut parity[..shape.parity()];
        let encoder = self.encoder(data.len(), parity.len());
        for chunk in data {
            encoder.add_original_shard(chunk).expect("as many chunks as announced, of the announced size");
        }
        let result = encoder.encode().expect("all chunks were added");
        for (to, from) in parity.iter_mut().zip(result.recovery_iter()) {
            to.copy_from_slice(from);
        }
    }

    /// Restores the data chunks that are not `present`, in place, from those of both kinds that are: at least `data` together.
    pub(crate) fn restore_data(&mut self, shape: SliceShape, data: &mut [[u8; CHUNK_BYTES]], parity: &[[u8; CHUNK_BYTES]], present: u128) {
        let is_present = |index: usize| present & (1 << index) != 0;
        let missing = (0..data.len()).filter(|index| !is_present(*index)).count();
        if missing == 0 {
            return;
        }
        let decoder = self.decoder(data.len(), shape.parity());
        for (index, chunk) in data.iter().enumerate().filter(|(index, _)| is_present(*index)) {
            decoder.add_original_shard(index, chunk).expect("each index once, in range");
        }
        let recovery = parity.iter().enumerate().take(shape.parity());
        for (index, chunk) in recovery.filter(|(index, _)| is_present(data.len() + index)).take(missing) {
            decoder.add_recovery_shard(index, chunk).expect("each index once, in range");
        }
        let result = decoder.decode().expect("exactly `data` chunks were added");
        for (index, restored) in result.restored_original_iter() {
            data[index].copy_from_slice(restored);
        }
    }

    /// Writes the data chunks: copied where present, restored where not.
    fn fill_data(&mut self, shape: SliceShape, chunks: &[(ShredIndex, &[u8; CHUNK_BYTES])], bytes: &mut [u8]) -> Result<(), DecodeError> {
        let (data, total) = (usize::from(shape.data), usize::from(shape.total));
        let mut present = vec![None; total];
        for (index, chunk) in chunks.iter().filter(|(index, _)| index.at() < total) {
            present[index.at()] = Some(*chunk);
        }
        if present.iter().flatten().count() < data {
            return Err(DecodeError::TooFew);
        }
        let out = &mut bytes.as_chunks_mut::<CHUNK_BYTES>().0[..data];
        for (to, chunk) in out.iter_mut().zip(&present) {
            *to = chunk.copied().unwrap_or(*to);
        }
        let missing = present[..data].iter().filter(|chunk| chunk.is_none()).count();
        if missing == 0 {
            return Ok(());
        }
        let decoder = self.decoder(data, shape.parity());
        let (original, recovery) = present.split_at(data);
        for (index, chunk) in original.iter().enumerate().filter_map(|(index, chunk)| chunk.map(|chunk| (index, chunk))) {
            decoder.add_original_shard(index, chunk).expect("each index once, in range");
        }
        for (index, chunk) in recovery.iter().enumerate().filter_map(|(index, chunk)| chunk.map(|chunk| (index, chunk))).take(missing) {
            decoder.add_recovery_shard(index, chunk).expect("each index once, in range");
        }
        let result = decoder.decode().expect("exactly `data` chunks were added");
        for (index, restored) in result.restored_original_iter() {
            out[index].copy_from_slice(restored);
        }
        Ok(())
    }

    fn encoder(&mut self, data: usize, parity: usize) -> &mut DefaultRateEncoder<SliceEngine> {
        const SUPPORTED: &str = "every canonical shape is within the code's limits";
        if let Some(encoder) = &mut self.encoder {
            encoder.reset(data, parity, CHUNK_BYTES).expect(SUPPORTED);
        }
        self.encoder.get_or_insert_with(|| DefaultRateEncoder::new(data, parity, CHUNK_BYTES, SliceEngine::new(), None).expect(SUPPORTED))
    }

    fn decoder(&mut self, data: usize, parity: usize) -> &mut DefaultRateDecoder<SliceEngine> {
        const SUPPORTED: &str = "every canonical shape is within the code's limits";
        if let Some(decoder) = &mut self.decoder {
            decoder.reset(data, parity, CHUNK_BYTES).expect(SUPPORTED);
        }
        self.decoder.get_or_insert_with(|| DefaultRateDecoder::new(data, parity, CHUNK_BYTES, SliceEngine::new(), None).expect(SUPPORTED))
    }
}

#[cfg(test)]
mod tests;
