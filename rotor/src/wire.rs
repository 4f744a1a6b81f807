//! Shreds and announcements as bytes: `ShredHeader ‖ proof ‖ chunk`, and `ShredHeader (index 0) ‖ root`.

use samara_erasure::{Leaf, Unhashed, root_from_leaf};
use samara_types::shred::{SHRED_HEADER_BYTES, proof_levels};
use samara_types::{CHUNK_BYTES, Digest, ShredHeader, ShredIndex, SliceCommitment, SliceIndex, SliceShape, View};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of an announcement.
pub(crate) const ANNOUNCEMENT_BYTES: usize = SHRED_HEADER_BYTES + 32;

/// The signature of a repaired shred whose slice is known from a certified block only.
pub(crate) const UNSIGNED: [u8; 64] = [0; 64];

/// A shred whose length and fields are in range. Nothing about its content is known yet.
pub(crate) struct ReceivedShred<'a> {
    header: &'a ShredHeader,
    pub(crate) view: View,
    pub(crate) slice: SliceIndex,
    pub(crate) index: ShredIndex,
    pub(crate) last: bool,
    pub(crate) shape: SliceShape,
    /// The nodes beside its path, leaf first.
    pub(crate) proof: &'a [u8],
    /// Its part of the code word.
    pub(crate) chunk: &'a [u8; CHUNK_BYTES],
}

impl<'a> ReceivedShred<'a> {
    /// None if any field is out of range or the length is not the one that index and total demand.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<ReceivedShred<'a>> {
        let (header, body) = ShredHeader::ref_from_prefix(bytes).ok()?;
        let shape = header.shape()?;
        let index = ShredIndex(header.index);
        let (proof, chunk) = body.split_last_chunk()?;
        (proof.len() == 32 * proof_levels(index.at(), shape.total.into())).then_some(ReceivedShred {
            header,
            view: View(header.view.get()),
            slice: SliceIndex(header.slice.get()),
            index,
            last: header.last == 1,
            shape,
            proof,
            chunk,
        })
    }

    pub(crate) fn signature(&self) -> &'a [u8; 64] {
        &self.header.signature
    }

    /// Its leaf of the slice tree. Costs a hash of the chunk.
    pub(crate) fn leaf(&self) -> Leaf {
        Leaf::of(self.chunk, self.index, self.shape.total)
    }

    /// The same for many at a time.
    pub(crate) fn unhashed(&self) -> Unhashed<'a> {
        Unhashed { chunk: self.chunk, index: self.index, total: self.shape.total }
    }

    /// The root that its leaf and proof lead to.
    pub(crate) fn root(&self, leaf: &Leaf) -> Option<Digest> {
        root_from_leaf(leaf, self.index, self.shape.total, self.proof)
    }

    /// The commitment its header claims for `root`.
    pub(crate) fn commitment(&self, root: Digest) -> Option<SliceCommitment> {
        self.header.commitment(root)
    }

    /// Whether its header is that of `commitment`, root aside.
    pub(crate) fn claims(&self, commitment: &SliceCommitment) -> bool {
        self.last == commitment.last && self.shape == commitment.shape && self.slice == commitment.slice && self.view == commitment.view
    }
}

/// Writes an announcement.
pub(crate) fn announcement(commitment: &SliceCommitment, signature: [u8; 64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ANNOUNCEMENT_BYTES);
    bytes.extend_from_slice(ShredHeader::new(commitment, ShredIndex(0), signature).as_bytes());
    bytes.extend_from_slice(&commitment.root.0);
    bytes
}

/// Reads an announcement. None for another length or a field out of range.
pub(crate) fn parse_announcement(bytes: &[u8]) -> Option<(SliceCommitment, [u8; 64])> {
    let (header, root) = ShredHeader::ref_from_prefix(bytes).ok()?;
    let root = Digest(root.try_into().ok()?);
    let commitment = header.commitment(root)?;
    (header.index == 0).then_some((commitment, header.signature))
}

/// Writes the header of a shred; its proof and its chunk follow.
pub(crate) fn write_header(commitment: &SliceCommitment, index: ShredIndex, signature: [u8; 64], out: &mut Vec<u8>) {
    out.extend_from_slice(ShredHeader::new(commitment, index, signature).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commitment() -> SliceCommitment {
        let shape = SliceShape { data: 2, total: 5, payload_length: 1500 };
        SliceCommitment { view: View(3), slice: SliceIndex(0), last: true, shape, code: 0, root: Digest([4; 32]) }
    }

    #[test]
    fn announcements_round_trip_and_other_lengths_are_refused() {
        let bytes = announcement(&commitment(), [7; 64]);
        assert_eq!(bytes.len(), ANNOUNCEMENT_BYTES);
        assert_eq!(parse_announcement(&bytes), Some((commitment(), [7; 64])));
        for cut in 0..bytes.len() {
            assert_eq!(parse_announcement(&bytes[..cut]), None);
        }
        assert_eq!(parse_announcement(&[bytes, vec![0]].concat()), None);
    }

    /// Reference, section 1.4, hole 5: the length follows from (index, total) and is checked before anything is hashed.
    #[test]
    fn a_shred_of_another_length_is_refused() {
        for index in 0..5 {
            let proof_bytes = 32 * proof_levels(index, 5);
            for length in 0..proof_bytes + CHUNK_BYTES + 64 {
                let mut bytes = Vec::new();
                write_header(&commitment(), ShredIndex(index as u8), [0; 64], &mut bytes);
                bytes.resize(bytes.len() + length, 0);
                assert_eq!(ReceivedShred::parse(&bytes).is_some(), length == proof_bytes + CHUNK_BYTES, "index {index}, {length} B");
            }
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            if let Some(shred) = ReceivedShred::parse(&bytes) {
                let _ = shred.root(&shred.leaf());
            }
            let _ = parse_announcement(&bytes);
        }

        #[test]
        fn flipped_headers_never_panic(at in 0usize..84, byte: u8, index in 0u8..5) {
            let mut bytes = Vec::new();
            write_header(&commitment(), ShredIndex(index), [0; 64], &mut bytes);
            bytes.resize(bytes.len() + 32 * proof_levels(index.into(), 5) + CHUNK_BYTES, 0);
            bytes[at] = byte;
            if let Some(shred) = ReceivedShred::parse(&bytes) {
                prop_assert!(shred.root(&shred.leaf()).is_some());
            }
        }
    }
}
