//! Bytes of a segment. Integers little-endian, nothing straddles a 512 B sector.
//!
//! ```text
//! segment  = header block, then blocks of 4,096 B, zeros until written
//! header   = as in `segment`, magic "SAMVLOG1"
//! block    = half, the same half again                one durable write is one block, and no block is ever written twice
//! half     = up to 32 slots of 64 B, then zeros
//! slot     = length u16 | kind u8 | flags u8 | crc32c u32 | sequence u64 | crc of the slot before u32 | segment u32 | view u64 | digest 32
//! ```
//!
//! A slot parses only in the segment it was written for (stale bytes of another file never do), and carries the checksum of the slot
//! before it, across blocks and segments. Flag bit 0 marks the last slot of a write, so a half that ends without it is known to be torn.
//!
//! The second half costs nothing (a device writes whole blocks) and makes the end of the log robust: a single damaged sector in the last
//! block, which could not be told from a torn write, does not lose the vote.

use crate::segment::array;
use samara_types::{Digest, Record, View};

/// Unit of durable writes: page size and largest common sector size, as direct I/O asks for.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes of one record.
pub const SLOT_BYTES: usize = 64;
/// Bytes of one copy of the records of a block.
pub const HALF_BYTES: usize = BLOCK_BYTES / 2;
/// Most records of one durable write.
pub const RECORDS_PER_BLOCK: usize = HALF_BYTES / SLOT_BYTES;
/// Header and two blocks.
pub const SEGMENT_BYTES_MIN: u64 = 3 * BLOCK_BYTES as u64;

const FLAG_LAST: u8 = 1;

/// Place of a record in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub sequence: u64,
    /// Checksum of the slot before; 0 for the first of a log.
    pub chain: u32,
    /// Checksum of this slot.
    pub crc: u32,
    pub record: Record,
}

/// The next slot to write: sequence and checksum of the slot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub sequence: u64,
    pub chain: u32,
}

impl Link {
    pub const FIRST: Link = Link { sequence: 1, chain: 0 };
}

/// Writes up to [`RECORDS_PER_BLOCK`] records into a zeroed block, both halves. Returns the link of the next record.
pub fn write_block(block: &mut [u8; BLOCK_BYTES], segment: u64, mut link: Link, records: &[Record]) -> Link {
    assert!(!records.is_empty() && records.len() <= RECORDS_PER_BLOCK, "one block holds 1 to 32 records");
    block.fill(0);
    for (at, record) in records.iter().enumerate() {
        let flags = if at + 1 == records.len() { FLAG_LAST } else { 0 };
        let slot = slot_bytes(segment, link, record, flags);
        block[at * SLOT_BYTES..][..SLOT_BYTES].copy_from_slice(&slot);
        link = Link { sequence: link.sequence + 1, chain: u32::from_le_bytes(array(&slot, 4).expect("a slot has its checksum")) };
    }
    block.copy_within(..HALF_BYTES, HALF_BYTES);
    link
}

fn slot_bytes(segment: u64, link: Link, record: &Record, flags: u8) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..2].copy_from_slice(&(SLOT_BYTES as u16).to_le_bytes());
    slot[2] = match record {
        Record::Vote(..) => 1,
        Record::Nullify(..) => 2,
        Record::Proposal(..) => 3,
    };
    slot[3] = flags;
    slot[8..16].copy_from_slice(&link.sequence.to_le_bytes());
    slot[16..20].copy_from_slice(&link.chain.to_le_bytes());
    slot[20..24].copy_from_slice(&(segment as u32).to_le_bytes());
    slot[24..32].copy_from_slice(&record.view().0.to_le_bytes());
    slot[32..].copy_from_slice(&record.digest().0);
    let crc = crc32c::crc32c(&slot);
    slot[4..8].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// None for anything that was not written for this segment. The checksum covers the slot with its own field zero, and the slot is
/// rebuilt from what was read, so exactly one byte string parses as a given entry.
fn read_slot(slot: &[u8], segment: u64) -> Option<(Entry, u8)> {
    let view = View(u64::from_le_bytes(array(slot, 24)?));
    let digest = Digest(array(slot, 32)?);
    let record = match slot[2] {
        1 => Record::Vote(view, digest),
        2 => Record::Nullify(view),
        3 => Record::Proposal(view, digest),
        _ => return None,
    };
    let link = Link { sequence: u64::from_le_bytes(array(slot, 8)?), chain: u32::from_le_bytes(array(slot, 16)?) };
    let crc = u32::from_le_bytes(array(slot, 4)?);
    let entry = Entry { sequence: link.sequence, chain: link.chain, crc, record };
    (slot == slot_bytes(segment, link, &record, slot[3])).then_some((entry, slot[3]))
}

/// What a block holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Zeros: not written.
    Empty,
    /// Both halves whole and equal.
    Clean(Vec<Entry>),
    /// Anything else: a torn write, or damage. `kept` is the longest run of whole records at the front of a half.
    Damaged { kept: Vec<Entry>, half: usize },
}

/// Parses one block of a segment.
pub fn read_block(block: &[u8], segment: u64) -> BlockState {
    if block.iter().all(|byte| *byte == 0) {
        return BlockState::Empty;
    }
    let (first, second) = block.split_at(HALF_BYTES);
    let (kept, whole) = read_half(first, segment);
    if whole && first == second {
        return BlockState::Clean(kept);
    }
    let (other, _) = read_half(second, segment);
    if other.len() > kept.len() { BlockState::Damaged { kept: other, half: 1 } } else { BlockState::Damaged { kept, half: 0 } }
}

/// Whole records at the front, and whether they are all there is: the last one says so and zeros follow.
fn read_half(half: &[u8], segment: u64) -> (Vec<Entry>, bool) {
    let mut entries = Vec::new();
    let mut flags = 0;
    for slot in half.chunks_exact(SLOT_BYTES) {
        let Some((entry, slot_flags)) = read_slot(slot, segment).filter(|_| flags & FLAG_LAST == 0) else { break };
        flags = slot_flags;
        entries.push(entry);
    }
    let rest = &half[entries.len() * SLOT_BYTES..];
    (entries, flags == FLAG_LAST && rest.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        vec![Record::Proposal(View(7), Digest([1; 32])), Record::Vote(View(7), Digest([1; 32])), Record::Nullify(View(8))]
    }

    fn block() -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        write_block(&mut block, 3, Link { sequence: 40, chain: 9 }, &records());
        block
    }

    #[test]
    fn a_block_reads_back_as_written() {
        let BlockState::Clean(entries) = read_block(&block(), 3) else { panic!("clean") };
        assert_eq!(entries.iter().map(|entry| entry.record).collect::<Vec<_>>(), records());
        assert_eq!(entries[0].chain, 9);
        assert_eq!(entries[1].chain, entries[0].crc);
        assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [40, 41, 42]);
    }

    #[test]
    fn bytes_of_another_segment_never_parse() {
        assert_eq!(read_block(&block(), 4), BlockState::Damaged { kept: vec![], half: 0 });
    }

    #[test]
    fn every_flipped_bit_of_a_block_is_seen_and_loses_no_record() {
        let BlockState::Clean(entries) = read_block(&block(), 3) else { panic!("clean") };
        for bit in 0..BLOCK_BYTES * 8 {
            let mut flipped = block();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let BlockState::Damaged { kept, .. } = read_block(&flipped, 3) else { panic!("bit {bit} went unseen") };
            assert_eq!(kept, entries, "bit {bit}");
        }
    }

    #[test]
    fn a_half_without_its_last_record_is_known_to_be_torn() {
        let mut torn = block();
        torn[2 * SLOT_BYTES..HALF_BYTES].fill(0);
        torn.copy_within(..HALF_BYTES, HALF_BYTES);
        let BlockState::Damaged { kept, .. } = read_block(&torn, 3) else { panic!("both halves end early") };
        assert_eq!(kept.len(), 2);
    }
}
