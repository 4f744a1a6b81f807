//! Slices and shreds: what the leader signs, and the fixed header in front of every chunk.
//!
//! A block (header, then payload) is cut into slices of at most `DATA_SHREDS_MAX` chunks; each slice becomes one code word of `total`
//! chunks of 1,024 B, and the BLAKE3 tree of the code word is the slice tree. A shred is
//! `ShredHeader ‖ proof (32 B a level, leaf first) ‖ chunk`. The proof length follows from (index, total); data or parity follows from
//! the index; the root is recomputed from the path. None of them is carried.

use crate::digest::Digest;
use crate::numbers::{ShredIndex, SliceIndex, View};
use crate::subject::SigningDomain;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of code word in a shred: exactly one BLAKE3 chunk.
pub const CHUNK_BYTES: usize = 1024;
/// Most data chunks in a slice.
pub const DATA_SHREDS_MAX: usize = 32;
/// Most chunks in a code word: depth 7, the deepest proof that fits a 1,400 B packet.
pub const TOTAL_SHREDS_MAX: usize = 128;
/// Most proof levels.
pub const PROOF_LEVELS_MAX: usize = 7;
/// Most payload bytes of a slice.
pub const SLICE_BYTES_MAX: usize = DATA_SHREDS_MAX * CHUNK_BYTES;
/// Code id of the GF(2^16) code of `reed-solomon-simd`.
pub const CODE_GF16: u8 = 0;

/// How a slice is coded. The leader signs it; receivers re-derive whether the plan allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SliceShape {
    /// Chunks that carry data, 1 to [`DATA_SHREDS_MAX`].
    pub data: u8,
    /// All chunks, `data` to [`TOTAL_SHREDS_MAX`].
    pub total: u8,
    /// Meaningful bytes; the rest of the data chunks is zero. `data == ceil(payload_length / 1024)`.
    pub payload_length: u32,
}

impl SliceShape {
    /// Whether counts and length agree with each other and with the limits.
    pub fn is_canonical(&self) -> bool {
        let (data, total) = (usize::from(self.data), usize::from(self.total));
        (1..=DATA_SHREDS_MAX).contains(&data)
            && (data..=TOTAL_SHREDS_MAX).contains(&total)
            && (self.payload_length as usize).div_ceil(CHUNK_BYTES) == data
    }

    /// Chunks that carry parity.
    pub fn parity(&self) -> usize {
        usize::from(self.total - self.data)
    }
}

/// What the leader signs for one slice, with Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SliceCommitment {
    /// View of the block.
    pub view: View,
    /// Position in the block.
    pub slice: SliceIndex,
    /// Whether it is the block's last slice.
    pub last: bool,
    /// Counts and length.
    pub shape: SliceShape,
    /// Code id.
    pub code: u8,
    /// BLAKE3 of the code word.
    pub root: Digest,
}

/// Length of [`SliceCommitment::signing_bytes`].
pub const COMMITMENT_BYTES: usize = 16 + 40 + 8 + 2 + 1 + 1 + 1 + 4 + 1 + 32;

impl SliceCommitment {
    /// The exact bytes under the leader's signature.
    pub fn signing_bytes(&self, domain: &SigningDomain) -> [u8; COMMITMENT_BYTES] {
        let mut bytes = [0; COMMITMENT_BYTES];
        bytes[..16].copy_from_slice(b"samara slice v1\0");
        bytes[16..56].copy_from_slice(&domain.bytes());
        bytes[56..64].copy_from_slice(&self.view.0.to_le_bytes());
        bytes[64..66].copy_from_slice(&self.slice.0.to_le_bytes());
        bytes[66] = u8::from(self.last);
        bytes[67] = self.shape.data;
        bytes[68] = self.shape.total;
        bytes[69..73].copy_from_slice(&self.shape.payload_length.to_le_bytes());
        bytes[73] = self.code;
        bytes[74..].copy_from_slice(&self.root.0);
        bytes
    }
}

/// Fixed part of a shred (and, without proof and chunk but with a root, of a slice announcement). 84 B, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ShredHeader {
    /// View of the block.
    pub view: U64,
    /// Slice of the block.
    pub slice: U16,
    /// Position in the code word.
    pub index: u8,
    /// Data chunks.
    pub data: u8,
    /// All chunks.
    pub total: u8,
    /// 1 for the last slice of the block, 0 otherwise; anything else is malformed.
    pub last: u8,
    /// Code id.
    pub code: u8,
    /// Zero.
    pub reserved: u8,
    /// Meaningful bytes of the slice.
    pub payload_length: U32,
    /// The leader's Ed25519 signature over the slice commitment.
    pub signature: [u8; 64],
}

/// Bytes of [`ShredHeader`].
pub const SHRED_HEADER_BYTES: usize = 84;
const _: () = assert!(size_of::<ShredHeader>() == SHRED_HEADER_BYTES);

impl ShredHeader {
    /// The header of shred `index` of a signed slice.
    pub fn new(commitment: &SliceCommitment, index: ShredIndex, signature: [u8; 64]) -> ShredHeader {
        ShredHeader {
            view: U64::new(commitment.view.0),
            slice: U16::new(commitment.slice.0),
            index: index.0,
            data: commitment.shape.data,
            total: commitment.shape.total,
            last: u8::from(commitment.last),
            code: commitment.code,
            reserved: 0,
            payload_length: U32::new(commitment.shape.payload_length),
            signature,
        }
    }

    /// The view named by a shred message; None if it is too short.
    pub fn view_of(message: &[u8]) -> Option<View> {
        ShredHeader::ref_from_prefix(message).ok().map(|(header, _)| View(header.view.get()))
    }

    /// The commitment it claims, given the root its path leads to. None where a field is malformed.
    pub fn commitment(&self, root: Digest) -> Option<SliceCommitment> {
        let shape = self.shape()?;
        Some(SliceCommitment {
            view: View(self.view.get()),
            slice: SliceIndex(self.slice.get()),
            last: self.last == 1,
            shape,
            code: self.code,
            root,
        })
    }

    /// The shape, if every field is in range: canonical counts, index below total, known code, flags 0 or 1.
    pub fn shape(&self) -> Option<SliceShape> {
        let shape = SliceShape { data: self.data, total: self.total, payload_length: self.payload_length.get() };
        let well_formed = shape.is_canonical() && self.index < self.total && self.last <= 1 && self.code == CODE_GF16 && self.reserved == 0;
        well_formed.then_some(shape)
    }
}

/// Levels of the BLAKE3 tree above chunk `index` of `total`: the proof of that chunk is 32 B for each.
///
/// BLAKE3 puts the largest power of two of chunks in the left subtree, so the last chunks of an odd total have shorter paths.
pub fn proof_levels(index: usize, total: usize) -> usize {
    let (mut index, mut total, mut levels) = (index, total, 0);
    while total > 1 {
        let left = total.next_power_of_two() / 2;
        if index < left {
            total = left;
        } else {
            index -= left;
            total -= left;
        }
        levels += 1;
    }
    levels
}

/// Bytes of a whole shred message.
pub fn shred_bytes(index: usize, total: usize) -> usize {
    SHRED_HEADER_BYTES + 32 * proof_levels(index, total) + CHUNK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_levels_follow_the_left_complete_tree() {
        assert_eq!(proof_levels(0, 1), 0);
        assert!((0..64).all(|i| proof_levels(i, 64) == 6));
        assert_eq!(proof_levels(64, 65), 1);
        assert_eq!(proof_levels(0, 65), 7);
        assert_eq!((0..TOTAL_SHREDS_MAX).map(|i| proof_levels(i, TOTAL_SHREDS_MAX)).max(), Some(PROOF_LEVELS_MAX));
    }

    #[test]
    fn the_largest_shred_fits_the_packet_budget() {
        let largest = shred_bytes(0, TOTAL_SHREDS_MAX);
        assert!(crate::datagram::MESSAGE_BYTES_MAX >= largest, "{largest} B");
    }

    #[test]
    fn shapes_must_be_canonical() {
        let ok = SliceShape { data: 2, total: 4, payload_length: 1025 };
        assert!(ok.is_canonical());
        for bad in [
            SliceShape { data: 0, total: 4, payload_length: 0 },
            SliceShape { data: 2, total: 4, payload_length: 1024 },
            SliceShape { data: 2, total: 4, payload_length: 2049 },
            SliceShape { data: 2, total: 1, payload_length: 1025 },
            SliceShape { data: 33, total: 64, payload_length: 33 * 1024 },
            SliceShape { data: 32, total: 129, payload_length: 32 * 1024 },
        ] {
            assert!(!bad.is_canonical(), "{bad:?}");
        }
    }

    #[test]
    fn every_field_of_a_commitment_is_signed() {
        let shape = SliceShape { data: 2, total: 4, payload_length: 1025 };
        let base = SliceCommitment { view: View(1), slice: SliceIndex(0), last: false, shape, code: CODE_GF16, root: Digest([1; 32]) };
        let domain = SigningDomain::default();
        let variants = [
            SliceCommitment { view: View(2), ..base },
            SliceCommitment { slice: SliceIndex(1), ..base },
            SliceCommitment { last: true, ..base },
            SliceCommitment { shape: SliceShape { data: 3, ..shape }, ..base },
            SliceCommitment { shape: SliceShape { total: 5, ..shape }, ..base },
            SliceCommitment { shape: SliceShape { payload_length: 1026, ..shape }, ..base },
            SliceCommitment { code: 1, ..base },
            SliceCommitment { root: Digest([2; 32]), ..base },
        ];
        for variant in variants {
            assert_ne!(variant.signing_bytes(&domain), base.signing_bytes(&domain), "{variant:?}");
        }
        let other = SigningDomain { epoch: crate::Epoch(1), ..domain };
        assert_ne!(base.signing_bytes(&other), base.signing_bytes(&domain));
    }
}
