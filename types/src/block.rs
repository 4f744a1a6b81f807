//! Blocks: a fixed header, then a payload the application understands.
//!
//! The block digest covers the header and the ordered slice roots, so a vote binds the content, its parent and its coding. The header
//! travels at the front of slice 0.

use crate::digest::Digest;
use crate::numbers::{Height, ValidatorIndex, View};
use crate::shred::SLICE_BYTES_MAX;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a block header.
pub const BLOCK_HEADER_BYTES: usize = 104;
/// Most slices of a block: header and roots still fit one manifest datagram.
pub const SLICES_MAX: usize = 36;
/// Most payload bytes of a block.
pub const PAYLOAD_BYTES_MAX: usize = SLICES_MAX * SLICE_BYTES_MAX - BLOCK_HEADER_BYTES;

/// What a block says about itself. 104 B on the wire, integers little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockHeader {
    /// View it was proposed in.
    pub view: View,
    /// View of its parent, smaller than `view`.
    pub parent_view: View,
    /// Digest of its parent.
    pub parent_digest: Digest,
    /// Parent's height plus one.
    pub height: Height,
    /// The leader's wall clock, nanoseconds since 1970. Informative: no rule depends on it.
    pub timestamp_ns: u64,
    /// Bytes of payload.
    pub payload_length: u32,
    /// Who proposed it.
    pub leader: ValidatorIndex,
    /// BLAKE3 of the payload.
    pub payload_digest: Digest,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Wire {
    view: U64,
    parent_view: U64,
    parent_digest: [u8; 32],
    height: U64,
    timestamp_ns: U64,
    payload_length: U32,
    leader: U16,
    reserved: U16,
    payload_digest: [u8; 32],
}
const _: () = assert!(size_of::<Wire>() == BLOCK_HEADER_BYTES);

impl BlockHeader {
    /// Wire form.
    pub fn to_bytes(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let wire = Wire {
            view: U64::new(self.view.0),
            parent_view: U64::new(self.parent_view.0),
            parent_digest: self.parent_digest.0,
            height: U64::new(self.height.0),
            timestamp_ns: U64::new(self.timestamp_ns),
            payload_length: U32::new(self.payload_length),
            leader: U16::new(self.leader.0),
            reserved: U16::new(0),
            payload_digest: self.payload_digest.0,
        };
        wire.as_bytes().try_into().expect("the wire form has the header's size")
    }

    /// From the first [`BLOCK_HEADER_BYTES`] of `bytes`. None if too short or malformed (parent not older, reserved bits, too long).
    pub fn from_bytes(bytes: &[u8]) -> Option<BlockHeader> {
        let (wire, _) = Wire::ref_from_prefix(bytes).ok()?;
        let header = BlockHeader {
            view: View(wire.view.get()),
            parent_view: View(wire.parent_view.get()),
            parent_digest: Digest(wire.parent_digest),
            height: Height(wire.height.get()),
            timestamp_ns: wire.timestamp_ns.get(),
            payload_length: wire.payload_length.get(),
            leader: ValidatorIndex(wire.leader.get()),
            payload_digest: Digest(wire.payload_digest),
        };
        let well_formed = header.parent_view < header.view
            && header.height.0 > 0
            && header.payload_length as usize <= PAYLOAD_BYTES_MAX
            && wire.reserved.get() == 0;
        well_formed.then_some(header)
    }

    /// Digest of the block with these slice roots.
    pub fn digest(&self, roots: &[Digest]) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("samara 2026 block");
        hasher.update(&self.to_bytes());
        for root in roots {
            hasher.update(&root.0);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// Bytes of header and payload together.
    pub fn block_bytes(&self) -> usize {
        BLOCK_HEADER_BYTES + self.payload_length as usize
    }
}

/// Digest of a payload, as the header carries it.
pub fn payload_digest(payload: &[u8]) -> Digest {
    Digest(*blake3::hash(payload).as_bytes())
}

/// A whole block with the digest that names it. The one constructor recomputes the digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    header: BlockHeader,
    roots: Vec<Digest>,
    payload: Vec<u8>,
    digest: Digest,
}

impl Block {
    /// A block whose payload is the one its header names. None if length or digest differ.
    pub fn new(header: BlockHeader, roots: Vec<Digest>, payload: Vec<u8>) -> Option<Block> {
        let matches = payload.len() == header.payload_length as usize && payload_digest(&payload) == header.payload_digest;
        matches.then(|| Block { digest: header.digest(&roots), header, roots, payload })
    }

    /// The header.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// Slice roots in order.
    pub fn roots(&self) -> &[Digest] {
        &self.roots
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The digest votes name.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Digest of the genesis block of a chain: parent of height 1, final by definition.
pub fn genesis_digest(chain: &crate::ChainId) -> Digest {
    Digest::of("samara 2026 genesis block", &[&chain.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BlockHeader {
        BlockHeader {
            view: View(9),
            parent_view: View(7),
            parent_digest: Digest([3; 32]),
            height: Height(5),
            timestamp_ns: 11,
            payload_length: 3,
            leader: ValidatorIndex(2),
            payload_digest: payload_digest(b"abc"),
        }
    }

    #[test]
    fn header_round_trips_and_refuses_malformed() {
        let header = header();
        assert_eq!(BlockHeader::from_bytes(&header.to_bytes()), Some(header));
        assert_eq!(BlockHeader::from_bytes(&header.to_bytes()[..103]), None);
        let parent_not_older = BlockHeader { parent_view: View(9), ..header };
        assert_eq!(BlockHeader::from_bytes(&parent_not_older.to_bytes()), None);
        let too_long = BlockHeader { payload_length: PAYLOAD_BYTES_MAX as u32 + 1, ..header };
        assert_eq!(BlockHeader::from_bytes(&too_long.to_bytes()), None);
    }

    #[test]
    fn same_payload_with_another_parent_is_another_block() {
        let roots = [Digest([1; 32])];
        let other = BlockHeader { parent_digest: Digest([4; 32]), ..header() };
        assert_ne!(other.digest(&roots), header().digest(&roots));
        assert_ne!(header().digest(&[]), header().digest(&roots));
    }

    #[test]
    fn a_block_has_the_payload_its_header_names() {
        assert!(Block::new(header(), vec![], b"abc".to_vec()).is_some());
        assert!(Block::new(header(), vec![], b"abd".to_vec()).is_none());
        assert!(Block::new(header(), vec![], b"abcd".to_vec()).is_none());
    }
}
