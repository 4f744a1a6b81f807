//! A segment more, prepared step by step through the ring so that no pass of the reactor waits for a file system.
//!
//! ```text
//! open tmp ─► allocate ─► header ─► zeros, 64 KiB at a time ─► fsync ─► rename ─► fsync directory ─► ready
//! ```
//!
//! As with the vote log, a segment has its name only once it is whole and durable, and holds zeros instead of reserved space, so that
//! writing to it later changes no extent.

use super::format::Header;
use crate::io::{Done, Lane, Operation, PAGE_BYTES, Page, Ring, Value, ZEROS_BYTES};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Name of a segment under preparation. At most one exists.
pub const PREPARATION: &str = "bodies.tmp";

/// Name of a segment.
pub fn segment_name(segment: u32) -> String {
    format!("bodies-{segment:08x}.log")
}

/// Number of a segment by its name.
pub fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("bodies-")?.strip_suffix(".log")?;
    u32::from_str_radix(digits, 16).ok().filter(|segment| segment_name(*segment) == name)
}

/// A segment on its way.
pub struct Preparation {
    pub header: Header,
    pub step: Step,
}

/// What is due next.
pub enum Step {
    Open,
    Allocate(Arc<File>),
    Header(Arc<File>),
    /// Zeros from this offset.
    Zeros(Arc<File>, u64),
    Sync(Arc<File>),
    Rename(Arc<File>),
    Directory(Arc<File>),
    Ready(Arc<File>),
}

impl Preparation {
    pub fn new(header: Header) -> Preparation {
        Preparation { header, step: Step::Open }
    }

    /// Starts the step that is due.
    pub fn start(&self, ring: &mut Ring, directory: &Arc<File>, open_flags: i32) -> io::Result<()> {
        let directory = Arc::clone(directory);
        let bytes = self.header.segment_bytes;
        let operation = match &self.step {
            Step::Open => {
                let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_RDWR | open_flags;
                Operation::Open { directory, name: c_name(PREPARATION), flags }
            }
            Step::Allocate(file) => Operation::Allocate { file: Arc::clone(file), bytes },
            Step::Header(file) => {
                let page = Box::new(Page(self.header.to_page()));
                Operation::Write { file: Arc::clone(file), page, offset: 0, done: Done::Taken }
            }
            Step::Zeros(file, offset) => {
                let bytes = (bytes - offset).min(ZEROS_BYTES as u64) as usize;
                Operation::Zero { file: Arc::clone(file), offset: *offset, bytes }
            }
            Step::Sync(file) => Operation::Sync { file: Arc::clone(file) },
            Step::Rename(_) => Operation::Rename { directory, from: c_name(PREPARATION), to: c_name(&segment_name(self.header.segment)) },
            Step::Directory(_) | Step::Ready(_) => Operation::Sync { file: directory },
        };
        ring.start(Lane::Chore, operation)
    }

    /// After its step succeeded.
    pub fn advance(self, value: Value) -> Preparation {
        let step = match (self.step, value) {
            (Step::Open, Value::Opened(file)) => Step::Allocate(Arc::new(file)),
            (Step::Open, Value::Nothing) => unreachable!("opening returns a file"),
            (Step::Allocate(file), _) => Step::Header(file),
            (Step::Header(file), _) => Step::Zeros(file, PAGE_BYTES as u64),
            (Step::Zeros(file, offset), _) => match offset + ZEROS_BYTES as u64 {
                next if next < self.header.segment_bytes => Step::Zeros(file, next),
                _ => Step::Sync(file),
            },
            (Step::Sync(file), _) => Step::Rename(file),
            (Step::Rename(file), _) => Step::Directory(file),
            (Step::Directory(file) | Step::Ready(file), _) => Step::Ready(file),
        };
        Preparation { step, ..self }
    }

    /// Takes every step, waiting for each: start-up may block.
    pub fn finish_now(mut self, ring: &mut Ring, directory: &Arc<File>, open_flags: i32) -> io::Result<Arc<File>> {
        loop {
            if let Step::Ready(file) = self.step {
                return Ok(file);
            }
            self.start(ring, directory, open_flags)?;
            let finished = loop {
                ring.wait()?;
                if let Some(finished) = ring.reap() {
                    break finished;
                }
            };
            self = self.advance(finished.result?);
        }
    }
}

fn c_name(name: &str) -> CString {
    CString::new(name).expect("segment names hold no zero byte")
}
