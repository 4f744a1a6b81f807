//! Reading a journal back: every whole entry is found, whatever lies around it.
//!
//! Pages are read in order. A first page whose entry is whole gives a block; anything else is passed page by page until the next one, so
//! damage costs only the entry it is in.
//!
//! **Why what is not whole may be skipped.** A vote leaves only after `poll_durable` has reported its body, which happens after the
//! completion that said "durable", and a completed write is whole on the disk. So an entry that a crash left incomplete was never reported
//! and no vote depended on it. Damage of an entry after it was durable can not be told from that; it is counted, and the body has to come
//! from a peer, as the disk of this one validator failed.
//!
//! **Why stale entries may be skipped.** A segment is written over only when each of its bodies has a view up to `finalized`. Entries that
//! are still whole behind the new ones are known by a smaller number than an entry before them, or by a view that a later entry names as
//! finalized. Nobody needs them from here ([`super::BodyLog::prune`]).

use super::format::{Entry, SEGMENT_BYTES_MIN, Tag, read_entry};
use crate::io::PAGE_BYTES;
use crate::log::{LogError, LogIdentity};
use crate::segment::{BODIES, Header};
use samara_types::View;
use std::path::Path;

/// What opening a journal found. Only `whole` entries became blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveredBodies {
    /// Entries returned.
    pub whole: usize,
    /// Entries that were whole or partly overwritten, and final.
    pub stale: usize,
    /// Stretches of pages that are no whole entry: torn by a crash before they were reported, or damaged. Neighbours may count as one.
    pub damaged: usize,
}

/// One segment, read.
#[derive(Debug)]
pub struct Parsed {
    pub header: Header,
    /// Whole entries in order, with the offset behind each.
    pub entries: Vec<(Entry, u64)>,
    /// Highest entry number of any whole page.
    pub number_max: u64,
    pub stale: usize,
    pub damaged: usize,
}

/// Reads one segment.
pub fn read_segment(dir: &Path, number: u64, expected: &LogIdentity) -> Result<Parsed, LogError> {
    let (path, bytes) = BODIES.read(dir, number)?;
    let header = BODIES.check(&path, number, &bytes, Some(expected))?;
    let corrupt = |reason| Err(LogError::Corrupt { path: path.clone(), offset: 0, reason });
    if header.segment_bytes < SEGMENT_BYTES_MIN {
        return corrupt("a segment too short for the largest block");
    }
    if header.number > u64::from(u32::MAX) {
        return corrupt("a segment number that no page can carry");
    }
    Ok(parse(header, &bytes))
}

/// Finds the entries of a segment.
pub fn parse(header: Header, bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed { header, entries: Vec::new(), number_max: 0, stale: 0, damaged: 0 };
    let segment = parsed.number();
    let mut rest = Rest::default();
    let mut offset = PAGE_BYTES;
    while offset < bytes.len() {
        let whole = read_entry(&bytes[offset..], segment);
        let pages = whole.as_ref().map_or(1, |(_, pages)| *pages);
        let page = &bytes[offset..][..PAGE_BYTES];
        offset += pages * PAGE_BYTES;
        match whole {
            Some((entry, _)) => {
                rest.end(&mut parsed);
                parsed.number_max = parsed.number_max.max(entry.number);
                parsed.take(entry, offset as u64);
            }
            None if page.iter().all(|byte| *byte == 0) => rest.end(&mut parsed),
            None => rest.add(Tag::of(page, segment).map(|tag| tag.number), &mut parsed),
        }
    }
    rest.end(&mut parsed);
    parsed
}

impl Parsed {
    /// Number of the segment as its pages carry it.
    pub fn number(&self) -> u32 {
        u32::try_from(self.header.number).expect("read_segment refuses larger ones")
    }

    /// Keeps a whole entry unless one written later stands before it.
    fn take(&mut self, entry: Entry, end: u64) {
        if self.is_older(entry.number) {
            self.stale += 1;
        } else {
            self.entries.push((entry, end));
        }
    }

    fn is_older(&self, number: u64) -> bool {
        self.entries.last().is_some_and(|(last, _)| number < last.number)
    }

    /// Drops entries of final views.
    pub fn drop_final(&mut self, finalized: View) {
        let before = self.entries.len();
        self.entries.retain(|(entry, _)| entry.block.header().view > finalized);
        self.stale += before - self.entries.len();
    }
}

/// A stretch of pages that are no whole entry.
#[derive(Default)]
struct Rest {
    pages: usize,
    /// The entry they belong to, as far as a whole page tells.
    number: Option<u64>,
}

impl Rest {
    fn add(&mut self, number: Option<u64>, parsed: &mut Parsed) {
        parsed.number_max = parsed.number_max.max(number.unwrap_or(0));
        if self.number.is_some() && number.is_some() && self.number != number {
            self.end(parsed);
        }
        self.pages += 1;
        self.number = self.number.or(number);
    }

    fn end(&mut self, parsed: &mut Parsed) {
        let rest = std::mem::take(self);
        match rest.number {
            _ if rest.pages == 0 => {}
            Some(number) if parsed.is_older(number) => parsed.stale += 1,
            _ => parsed.damaged += 1,
        }
    }
}
