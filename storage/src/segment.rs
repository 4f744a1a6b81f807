//! What vote log and block journal have in common: a directory of numbered segments of one identity. A segment has its name only once it is
//! whole and durable ([`Preparation`]), so one with a bad header is damage, never a crash.
//!
//! ```text
//! header page = magic | crc32c of the rest | version u32 | number u64 | segment bytes u64 | chain 32 | vote key 96 | validator u16
//! ```
//! Integers are little-endian; the rest of the page is zeros.

mod mode;
mod prepare;

pub use mode::WriteMode;
pub use prepare::{Preparation, c_name};

use crate::io::PAGE_BYTES;
use crate::log::{LogError, LogIdentity};
use samara_types::{ChainId, ValidatorIndex, digest::hex};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Bounds what recovery reads at once.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

const VERSION: u32 = 1;

/// What tells the files of one kind of log from those of another.
#[derive(Debug)]
pub struct Series {
    magic: &'static [u8; 8],
    prefix: &'static str,
    /// Hexadecimal digits of a number, at least.
    digits: usize,
    /// Name of a segment under preparation. At most one exists.
    pub preparation: &'static str,
}

/// Segments of the vote log.
pub static VOTES: Series = Series { magic: b"SAMVLOG1", prefix: "votes-", digits: 16, preparation: "votes.tmp" };
/// Segments of the block journal.
pub static BODIES: Series = Series { magic: b"SAMBODY1", prefix: "bodies-", digits: 8, preparation: "bodies.tmp" };

impl Series {
    /// Name of a segment.
    pub fn name(&self, number: u64) -> String {
        format!("{}{number:0digits$x}.log", self.prefix, digits = self.digits)
    }

    /// Number of a segment by its name.
    pub fn number(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(self.prefix)?.strip_suffix(".log")?;
        u64::from_str_radix(digits, 16).ok().filter(|number| self.name(*number) == name)
    }

    /// Numbers of the segments in a directory, ascending.
    pub fn list(&self, dir: &Path) -> Result<Vec<u64>, LogError> {
        let failed = |source| LogError::Io { action: "list", path: dir.into(), source };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            numbers.extend(entry.map_err(failed)?.file_name().to_str().and_then(|name| self.number(name)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Path and bytes of a segment.
    pub fn read(&self, dir: &Path, number: u64) -> Result<(PathBuf, Vec<u8>), LogError> {
        let path = dir.join(self.name(number));
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(SEGMENT_BYTES_MAX + 1).read_to_end(&mut bytes));
        read.map_err(|source| LogError::Io { action: "read", path: path.clone(), source })?;
        Ok((path, bytes))
    }

    /// The header of a segment's bytes, if it is the one that belongs there.
    pub fn check(&self, path: &Path, number: u64, bytes: &[u8], expected: Option<&LogIdentity>) -> Result<Header, LogError> {
        let corrupt = |reason| LogError::Corrupt { path: path.into(), offset: 0, reason };
        let header = Header::from_page(self, bytes).ok_or(corrupt("the header does not parse"))?;
        if let Some(expected) = expected {
            check_identity(path, &header.identity, expected)?;
        }
        if header.number != number {
            return Err(corrupt("the header names another segment"));
        }
        if header.segment_bytes != bytes.len() as u64 {
            return Err(corrupt("the file has another length than its header says"));
        }
        Ok(header)
    }

    /// Removes what a crash left of a preparation.
    pub fn remove_leftover(&self, dir: &Path) -> Result<(), LogError> {
        let path = dir.join(self.preparation);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(LogError::Io { action: "remove", path, source }),
            _ => Ok(()),
        }
    }
}

/// First page of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub identity: LogIdentity,
    pub number: u64,
    pub segment_bytes: u64,
}

impl Header {
    pub fn to_page(self, series: &Series) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        page[..8].copy_from_slice(series.magic);
        page[12..16].copy_from_slice(&VERSION.to_le_bytes());
        page[16..24].copy_from_slice(&self.number.to_le_bytes());
        page[24..32].copy_from_slice(&self.segment_bytes.to_le_bytes());
        page[32..64].copy_from_slice(&self.identity.chain.0);
        page[64..160].copy_from_slice(&self.identity.vote_key);
        page[160..162].copy_from_slice(&self.identity.validator.0.to_le_bytes());
        let crc = crc32c::crc32c(&page[12..]);
        page[8..12].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// None for anything that does not begin with a header of this series and version.
    pub fn from_page(series: &Series, bytes: &[u8]) -> Option<Header> {
        let page = bytes.get(..PAGE_BYTES)?;
        let header = Header {
            number: u64::from_le_bytes(array(page, 16)?),
            segment_bytes: u64::from_le_bytes(array(page, 24)?),
            identity: LogIdentity {
                chain: ChainId(array(page, 32)?),
                vote_key: array(page, 64)?,
                validator: ValidatorIndex(u16::from_le_bytes(array(page, 160)?)),
            },
        };
        (page == header.to_page(series)).then_some(header)
    }
}

/// Some bytes of a page, by offset.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Refuses a header of another identity.
fn check_identity(path: &Path, found: &LogIdentity, expected: &LogIdentity) -> Result<(), LogError> {
    let other = |what, found, expected| Err(LogError::OtherIdentity { path: path.into(), what, found, expected });
    if found.chain != expected.chain {
        return other("chain", hex(&found.chain.0), hex(&expected.chain.0));
    }
    if found.validator != expected.validator {
        return other("validator", found.validator.to_string(), expected.validator.to_string());
    }
    if found.vote_key != expected.vote_key {
        return other("vote key", hex(&found.vote_key), hex(&expected.vote_key));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_and_every_other_series_is_refused() {
        let identity = LogIdentity { chain: ChainId([5; 32]), validator: ValidatorIndex(2), vote_key: [6; 96] };
        let header = Header { identity, number: 4, segment_bytes: 12288 };
        for (series, other) in [(&VOTES, &BODIES), (&BODIES, &VOTES)] {
            let page = header.to_page(series);
            assert_eq!(Header::from_page(series, &page), Some(header));
            assert_eq!(Header::from_page(other, &page), None);
            assert_eq!(Header::from_page(series, &page[..4095]), None);
            for bit in 0..PAGE_BYTES * 8 {
                let mut flipped = page;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Header::from_page(series, &flipped), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn a_name_has_one_form_and_one_number() {
        for (series, name) in [(&VOTES, "votes-000000000000000a.log"), (&BODIES, "bodies-0000000a.log")] {
            assert_eq!(series.name(10), name);
            assert_eq!(series.number(name), Some(10));
            for other in [name.to_uppercase(), name.replace("-0", "-"), name.replace("-0", "-+"), format!("{name}x"), String::new()] {
                assert_eq!(series.number(&other), None, "{other}");
            }
        }
    }
}
