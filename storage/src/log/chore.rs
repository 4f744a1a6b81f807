//! Chores beside the votes: the next segment is prepared before it is needed, and pruned ones are deleted. Step by step through the ring,
//! so that no pass of the reactor waits for a file system.
//!
//! ```text
//! open tmp ─► allocate ─► header ─► zeros, 64 KiB at a time ─► fsync ─► rename ─► fsync directory ─► ready
//! unlink ─► fsync directory ─► done
//! ```
//!
//! A segment has its name only once it is whole and durable, so a segment with a bad header is damage, never a crash. Zeros instead of
//! merely reserved space: a durable write into reserved space changes the file's extents and waits for the file system's journal.

use super::format::{BLOCK_BYTES, Header};
use crate::io::{Done, Lane, Operation, Page, Ring, Value, ZEROS_BYTES};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Name of a segment under preparation. At most one exists.
pub const PREPARATION: &str = "votes.tmp";

/// Name of a segment.
pub fn segment_name(index: u64) -> String {
    format!("votes-{index:016x}.log")
}

/// Index of a segment by its name.
pub fn segment_index(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("votes-")?.strip_suffix(".log")?;
    u64::from_str_radix(digits, 16).ok().filter(|index| segment_name(*index) == name)
}

/// What is being done.
pub enum Chore {
    /// Makes a segment.
    Prepare { header: Header, stage: Stage },
    /// Deletes a segment.
    Delete { index: u64, unlinked: bool },
}

/// Next step of a preparation.
pub enum Stage {
    /// Create the temporary file.
    Open,
    /// Reserve its space.
    Allocate(Arc<File>),
    /// Write the header.
    Header(Arc<File>),
    /// Write zeros from this offset.
    Zeros(Arc<File>, u64),
    /// Make it durable.
    Sync(Arc<File>),
    /// Give it its name.
    Rename(Arc<File>),
    /// Make the name durable.
    Directory(Arc<File>),
    /// Nothing is left to do.
    Ready(Arc<File>),
}

impl Chore {
    /// Starts the step this chore stands at.
    pub fn start(&self, ring: &mut Ring, directory: &Arc<File>, open_flags: i32) -> io::Result<()> {
        let directory = Arc::clone(directory);
        let operation = match self {
            Chore::Delete { index, unlinked: false } => Operation::Unlink { directory, name: c_name(&segment_name(*index)) },
            Chore::Delete { unlinked: true, .. } => Operation::Sync { file: directory },
            Chore::Prepare { header, stage } => match stage {
                Stage::Open => Operation::Open {
                    directory,
                    name: c_name(PREPARATION),
                    flags: libc::O_CREAT | libc::O_TRUNC | libc::O_RDWR | open_flags,
                },
                Stage::Allocate(file) => Operation::Allocate { file: Arc::clone(file), bytes: header.segment_bytes },
                Stage::Header(file) => {
                    let page = Box::new(Page(header.to_block()));
                    Operation::Write { file: Arc::clone(file), page, offset: 0, done: Done::Taken }
                }
                Stage::Zeros(file, offset) => {
                    let bytes = (header.segment_bytes - offset).min(ZEROS_BYTES as u64) as usize;
                    Operation::Zero { file: Arc::clone(file), offset: *offset, bytes }
                }
                Stage::Sync(file) => Operation::Sync { file: Arc::clone(file) },
                Stage::Rename(_) => Operation::Rename { directory, from: c_name(PREPARATION), to: c_name(&segment_name(header.index)) },
                Stage::Directory(_) | Stage::Ready(_) => Operation::Sync { file: directory },
            },
        };
        ring.start(Lane::Chore, operation)
    }

    /// The chore after its step succeeded; None if it was the last step of a deletion.
    pub fn advance(self, value: Value) -> Option<Chore> {
        let (header, stage) = match self {
            Chore::Delete { unlinked: true, .. } => return None,
            Chore::Delete { index, .. } => return Some(Chore::Delete { index, unlinked: true }),
            Chore::Prepare { header, stage } => (header, stage),
        };
        let stage = match (stage, value) {
            (Stage::Open, Value::Opened(file)) => Stage::Allocate(Arc::new(file)),
            (Stage::Open, Value::Nothing) => unreachable!("opening returns a file"),
            (Stage::Allocate(file), _) => Stage::Header(file),
            (Stage::Header(file), _) => Stage::Zeros(file, BLOCK_BYTES as u64),
            (Stage::Zeros(file, offset), _) => match offset + ZEROS_BYTES as u64 {
                next if next < header.segment_bytes => Stage::Zeros(file, next),
                _ => Stage::Sync(file),
            },
            (Stage::Sync(file), _) => Stage::Rename(file),
            (Stage::Rename(file), _) => Stage::Directory(file),
            (Stage::Directory(file) | Stage::Ready(file), _) => Stage::Ready(file),
        };
        Some(Chore::Prepare { header, stage })
    }

    /// What it was doing, for errors.
    pub fn action(&self) -> (&'static str, String) {
        match self {
            Chore::Prepare { header, .. } => ("prepare", segment_name(header.index)),
            Chore::Delete { index, .. } => ("delete", segment_name(*index)),
        }
    }
}

fn c_name(name: &str) -> CString {
    CString::new(name).expect("segment names hold no zero byte")
}
