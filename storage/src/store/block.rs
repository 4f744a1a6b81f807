//! Stored blocks: the rkyv bytes that were written are the bytes that sync serves, and reading them checks without copying.

use rkyv::{Archive, Deserialize, Serialize};
use samara_types::{BLOCK_HEADER_BYTES, Block, BlockHeader, Digest, message};

/// Header bytes, slice roots in order, payload.
#[derive(Archive, Serialize, Deserialize)]
struct BlockRecord {
    header: [u8; BLOCK_HEADER_BYTES],
    roots: Vec<[u8; 32]>,
    payload: Vec<u8>,
}

/// A block as stored: well-formed bytes whose header parses. Digests are recomputed by [`StoredBlock::digest`] and
/// [`StoredBlock::to_block`], not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    bytes: Vec<u8>,
    header: BlockHeader,
}

impl StoredBlock {
    /// Checks the form of `bytes`. None for anything [`encode_block`] could not have made in form.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<StoredBlock> {
        let header = BlockHeader::from_bytes(&message::access::<ArchivedBlockRecord>(&bytes)?.header)?;
        Some(StoredBlock { bytes, header })
    }

    /// The bytes as stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes as stored, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The header.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// Slice roots in order.
    pub fn roots(&self) -> Vec<Digest> {
        self.record().roots.iter().map(|root| Digest(*root)).collect()
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.record().payload
    }

    /// Digest of header and roots, recomputed.
    pub fn digest(&self) -> Digest {
        self.header.digest(&self.roots())
    }

    /// The block, with all digests recomputed. None if the payload is not the one the header names.
    pub fn to_block(&self) -> Option<Block> {
        Block::new(self.header, self.roots(), self.payload().to_vec())
    }

    fn record(&self) -> &ArchivedBlockRecord {
        message::access(&self.bytes).expect("the constructor has checked these bytes")
    }
}

/// Bytes of a block for the store and for sync streams.
pub fn encode_block(block: &Block) -> Vec<u8> {
    let record = BlockRecord {
        header: block.header().to_bytes(),
        roots: block.roots().iter().map(|root| root.0).collect(),
        payload: block.payload().to_vec(),
    };
    message::encode(&record).into_vec()
}

/// A block from bytes of anybody. None if malformed or if a digest differs.
pub fn decode_block(bytes: &[u8]) -> Option<Block> {
    let record = message::access::<ArchivedBlockRecord>(bytes)?;
    let header = BlockHeader::from_bytes(&record.header)?;
    Block::new(header, record.roots.iter().map(|root| Digest(*root)).collect(), record.payload.to_vec())
}
