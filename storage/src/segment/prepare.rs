//! A segment more, step by step through the ring, so that no pass of the reactor waits for a file system.
//!
//! ```text
//! open tmp ─► allocate ─► header ─► zeros, 64 KiB at a time ─► fsync ─► rename ─► fsync directory ─► ready
//! ```
//!
//! Zeros instead of merely reserved space: a durable write into reserved space changes the file's extents and waits for the file system's
//! journal.

use super::{Header, Series, WriteMode};
use crate::io::{Done, Lane, Operation, PAGE_BYTES, Page, Ring, Value, ZEROS_BYTES};
use crate::log::LogError;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A segment on its way.
pub struct Preparation {
    series: &'static Series,
    header: Header,
    mode: WriteMode,
    step: Step,
}

/// What is due next.
enum Step {
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
    pub fn new(series: &'static Series, header: Header, mode: WriteMode) -> Preparation {
        Preparation { series, header, mode, step: Step::Open }
    }

    /// Header of the segment.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Name of the segment.
    pub fn file_name(&self) -> String {
        self.series.name(self.header.number)
    }

    /// Starts the step that is due.
    pub fn start(&self, ring: &mut Ring, directory: &Arc<File>) -> io::Result<()> {
        let directory = Arc::clone(directory);
        let bytes = self.header.segment_bytes;
        let operation = match &self.step {
            Step::Open => {
                let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_RDWR | self.mode.open_flags();
                Operation::Open { directory, name: c_name(self.series.preparation), flags }
            }
            Step::Allocate(file) => Operation::Allocate { file: Arc::clone(file), bytes },
            Step::Header(file) => {
                let page = Box::new(Page(self.header.to_page(self.series)));
                Operation::Write { file: Arc::clone(file), page, offset: 0, done: Done::Taken }
            }
            Step::Zeros(file, offset) => {
                let bytes = (bytes - offset).min(ZEROS_BYTES as u64) as usize;
                Operation::Zero { file: Arc::clone(file), offset: *offset, bytes }
            }
            Step::Sync(file) => Operation::Sync { file: Arc::clone(file) },
            Step::Rename(_) => Operation::Rename { directory, from: c_name(self.series.preparation), to: c_name(&self.file_name()) },
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

    /// The finished segment.
    pub fn ready(&self) -> Option<Arc<File>> {
        match &self.step {
            Step::Ready(file) => Some(Arc::clone(file)),
            _ => None,
        }
    }

    /// Takes every step, waiting for each: start-up may block.
    pub fn finish_now(mut self, ring: &mut Ring, dir: &Path, directory: &Arc<File>) -> Result<Arc<File>, LogError> {
        let path = dir.join(self.file_name());
        let failed = |source| LogError::Io { action: "prepare", path: path.clone(), source };
        loop {
            if let Some(file) = self.ready() {
                return Ok(file);
            }
            self.start(ring, directory).map_err(failed)?;
            let finished = loop {
                ring.wait().map_err(failed)?;
                if let Some(finished) = ring.reap() {
                    break finished;
                }
            };
            self = self.advance(finished.result.map_err(failed)?);
        }
    }
}

/// A name as the kernel takes it.
pub fn c_name(name: &str) -> CString {
    CString::new(name).expect("segment names hold no zero byte")
}
