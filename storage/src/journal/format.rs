//! Bytes of a journal segment. Integers little-endian.
//!
//! ```text
//! segment  = header page, then pages of 4,096 B, zeros until first written
//! header   = as in `segment`, magic "SAMBODY1"
//! page     = tag 24 B | 4,072 B of an entry, zeros behind its end
//! tag      = crc32c of the rest of the page u32 | segment u32 | entry number u64 | page of the entry u32 | pages of the entry u32
//! entry    = finalized view u64 | roots u32 | zero u32 | digest 32 | block header 104 | roots 32 each | payload
//! ```
//!
//! Every page says which page of which entry it is, and no byte a peer chose stands where a tag is. So entries are found again behind
//! damage without trusting a length, and a payload that imitates an entry is never taken for one. Entry numbers only grow and are never
//! used twice, so pages of different writes never combine.

use crate::io::{PAGE_BYTES, Page};
use crate::segment::array;
use samara_types::block::{BLOCK_HEADER_BYTES, PAYLOAD_BYTES_MAX, SLICES_MAX};
use samara_types::{Block, BlockHeader, Digest, View};

/// Bytes of the tag of a page.
pub const TAG_BYTES: usize = 24;
/// Bytes of an entry in one page.
pub const CONTENT_BYTES: usize = PAGE_BYTES - TAG_BYTES;
/// Bytes of an entry before the block header.
const PRELUDE_BYTES: usize = 48;
/// Pages of the largest block: 1.2 MiB.
pub const ENTRY_PAGES_MAX: usize = (PRELUDE_BYTES + BLOCK_HEADER_BYTES + 32 * SLICES_MAX + PAYLOAD_BYTES_MAX).div_ceil(CONTENT_BYTES);
/// The header page and the largest block, so that every block fits every segment.
pub const SEGMENT_BYTES_MIN: u64 = ((1 + ENTRY_PAGES_MAX) * PAGE_BYTES) as u64;

/// What a page says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The segment it was written for.
    pub segment: u32,
    /// The entry it belongs to.
    pub number: u64,
    /// Its position in the entry.
    pub page: u32,
    /// Pages of the entry.
    pub pages: u32,
}

impl Tag {
    fn seal(&self, page: &mut [u8; PAGE_BYTES]) {
        page[4..8].copy_from_slice(&self.segment.to_le_bytes());
        page[8..16].copy_from_slice(&self.number.to_le_bytes());
        page[16..20].copy_from_slice(&self.page.to_le_bytes());
        page[20..24].copy_from_slice(&self.pages.to_le_bytes());
        let crc = crc32c::crc32c(&page[4..]);
        page[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// None unless the page is whole and was written for this segment.
    pub fn of(page: &[u8], segment: u32) -> Option<Tag> {
        let tag = Tag {
            segment: u32::from_le_bytes(array(page, 4)?),
            number: u64::from_le_bytes(array(page, 8)?),
            page: u32::from_le_bytes(array(page, 16)?),
            pages: u32::from_le_bytes(array(page, 20)?),
        };
        let crc = u32::from_le_bytes(array(page, 0)?);
        (tag.segment == segment && tag.number < u64::MAX && crc32c::crc32c(page.get(4..PAGE_BYTES)?) == crc).then_some(tag)
    }
}

/// Pages the entry of a block takes.
pub fn entry_pages(block: &Block) -> usize {
    let bytes = PRELUDE_BYTES + BLOCK_HEADER_BYTES + 32 * block.roots().len() + block.payload().len();
    bytes.div_ceil(CONTENT_BYTES)
}

/// Whether [`read_entry`] gives the block back: it is what a peer could have sent.
pub fn is_storable(block: &Block) -> bool {
    block.roots().len() <= SLICES_MAX && BlockHeader::from_bytes(&block.header().to_bytes()) == Some(*block.header())
}

/// Writes the entry of a block: the one copy of its payload. `pages` are exactly [`entry_pages`]. `finalized` is the newest view whose
/// bodies nobody needs any more.
pub fn write_entry(pages: &mut [Page], segment: u32, number: u64, finalized: View, block: &Block) {
    let mut prelude = [0; PRELUDE_BYTES];
    prelude[..8].copy_from_slice(&finalized.0.to_le_bytes());
    prelude[8..12].copy_from_slice(&(block.roots().len() as u32).to_le_bytes());
    prelude[16..].copy_from_slice(&block.digest().0);
    let mut writer = Writer { tag: Tag { segment, number, page: 0, pages: pages.len() as u32 }, pages, filled: 0 };
    writer.put(&prelude);
    writer.put(&block.header().to_bytes());
    block.roots().iter().for_each(|root| writer.put(&root.0));
    writer.put(block.payload());
    writer.end();
}

/// Fills pages one after the other, each sealed while it is still in the cache.
struct Writer<'a> {
    pages: &'a mut [Page],
    tag: Tag,
    /// Content bytes in the page being filled.
    filled: usize,
}

impl Writer<'_> {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == CONTENT_BYTES {
                self.seal();
            }
            let (now, later) = bytes.split_at(bytes.len().min(CONTENT_BYTES - self.filled));
            let at = TAG_BYTES + self.filled;
            self.pages[self.tag.page as usize].0[at..at + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
        }
    }

    fn seal(&mut self) {
        self.tag.seal(&mut self.pages[self.tag.page as usize].0);
        self.tag.page += 1;
        self.filled = 0;
    }

    fn end(mut self) {
        self.pages[self.tag.page as usize].0[TAG_BYTES + self.filled..].fill(0);
        self.seal();
        assert_eq!(self.tag.page, self.tag.pages, "the pages are those of the entry");
    }
}

/// A whole entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub number: u64,
    pub finalized: View,
    pub block: Block,
}

/// The entry whose first page stands at the front of `bytes`, and its pages. None unless all its pages are whole, hold a block whose
/// digests are what they say, and nothing else.
pub fn read_entry(bytes: &[u8], segment: u32) -> Option<(Entry, usize)> {
    let first = Tag::of(bytes, segment).filter(|tag| tag.page == 0 && (1..=ENTRY_PAGES_MAX as u32).contains(&tag.pages))?;
    let count = first.pages as usize;
    let pages = bytes.get(..count * PAGE_BYTES)?.chunks_exact(PAGE_BYTES);
    let mut content = Vec::with_capacity(count * CONTENT_BYTES);
    for (at, page) in (0..).zip(pages) {
        Tag::of(page, segment).filter(|tag| *tag == Tag { page: at, ..first })?;
        content.extend_from_slice(&page[TAG_BYTES..]);
    }
    let (finalized, block) = read_content(&content)?;
    (entry_pages(&block) == count).then_some((Entry { number: first.number, finalized, block }, count))
}

fn read_content(content: &[u8]) -> Option<(View, Block)> {
    let finalized = View(u64::from_le_bytes(array(content, 0)?));
    let roots = u32::from_le_bytes(array(content, 8)?) as usize;
    let digest = Digest(array(content, 16)?);
    let rest = &content[PRELUDE_BYTES..];
    let header = BlockHeader::from_bytes(rest)?;
    if roots > SLICES_MAX {
        return None;
    }
    let (roots, rest) = rest[BLOCK_HEADER_BYTES..].split_at_checked(32 * roots)?;
    let (payload, padding) = rest.split_at_checked(header.payload_length as usize)?;
    let roots = roots.chunks_exact(32).map(|root| Digest(root.try_into().expect("32 bytes"))).collect();
    let block = Block::new(header, roots, payload.to_vec())?;
    (block.digest() == digest && padding.iter().all(|byte| *byte == 0)).then_some((finalized, block))
}
