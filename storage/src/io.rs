//! The one room with unsafe code: an io_uring that owns what its operations point to.
//!
//! There are two lanes, one for votes and one for chores (preparing and deleting segments), each with at most one operation in flight. An
//! operation is moved in by [`Ring::start`] and comes back out of [`Ring::reap`] when the kernel is done with it, so buffers, names and
//! files outlive every use. Dropping the ring waits for what is in flight.

#![allow(unsafe_code)]

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;

/// Unit of direct I/O.
pub const PAGE_BYTES: usize = 4096;
/// Bytes of zeros written at a time.
pub const ZEROS_BYTES: usize = 64 << 10;

/// A page-aligned page.
#[repr(C, align(4096))]
pub struct Page(pub [u8; PAGE_BYTES]);

#[repr(C, align(4096))]
struct Zeros([u8; ZEROS_BYTES]);
static ZEROS: Zeros = Zeros([0; ZEROS_BYTES]);

/// When a write is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// When the kernel has the bytes.
    Taken,
    /// When they are durable: RWF_DSYNC, which is O_DSYNC for one write.
    Durable,
    /// When a linked fdatasync has made them durable.
    Synced,
}

/// Something the kernel does for us.
pub enum Operation {
    /// One page at an offset.
    Write { file: Arc<File>, page: Box<Page>, offset: u64, done: Done },
    /// The first `count` pages of a buffer, at an offset.
    WritePages { file: Arc<File>, pages: Vec<Page>, count: usize, offset: u64, done: Done },
    /// Zeros, at most [`ZEROS_BYTES`].
    Zero { file: Arc<File>, offset: u64, bytes: usize },
    /// Opens (see [`Value::Opened`]) a file of a directory.
    Open { directory: Arc<File>, name: CString, flags: i32 },
    /// Reserves space.
    Allocate { file: Arc<File>, bytes: u64 },
    /// fsync.
    Sync { file: Arc<File> },
    /// Renames within a directory.
    Rename { directory: Arc<File>, from: CString, to: CString },
    /// Deletes from a directory.
    Unlink { directory: Arc<File>, name: CString },
}

/// Which slot of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Durable writes.
    Vote = 0,
    /// Everything else.
    Chore = 1,
}

/// What a finished operation returned.
pub enum Value {
    /// Nothing but success.
    Nothing,
    /// The opened file.
    Opened(File),
}

/// A finished operation.
pub struct Finished {
    pub lane: Lane,
    pub operation: Operation,
    pub result: io::Result<Value>,
}

struct Flight {
    operation: Operation,
    completions_left: u8,
    opened: Option<File>,
    failure: Option<io::Error>,
}

/// See the module.
pub struct Ring {
    ring: IoUring,
    lanes: [Option<Flight>; 2],
}

impl Ring {
    pub fn new() -> io::Result<Ring> {
        Ok(Ring { ring: IoUring::builder().build(8)?, lanes: [None, None] })
    }

    /// Polls readable while a completion waits.
    pub fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    pub fn is_free(&self, lane: Lane) -> bool {
        self.lanes[lane as usize].is_none()
    }

    /// Starts an operation on a free lane. An error leaves it uncertain whether the operation runs.
    pub fn start(&mut self, lane: Lane, operation: Operation) -> io::Result<()> {
        assert!(self.is_free(lane), "one operation per lane");
        let flight = self.lanes[lane as usize].insert(Flight { operation, completions_left: 1, opened: None, failure: None });
        let (entry, then) = entries(&flight.operation);
        flight.completions_left += u8::from(then.is_some());
        for entry in [Some(entry), then].into_iter().flatten() {
            // SAFETY: what the entry points to (pages, names) is heap memory owned by the flight in `self.lanes`, or static, and the files
            // are held open by it; `reap` gives the flight up only after its last completion, and `drop` waits for that or leaks it.
            unsafe { self.ring.submission().push(&entry.user_data(lane as u64)) }.expect("8 entries hold both lanes");
        }
        self.enter(0)
    }

    /// The next finished operation, if any. Costs no system call.
    pub fn reap(&mut self) -> Option<Finished> {
        loop {
            let completion = self.ring.completion().next()?;
            let lane = if completion.user_data() == Lane::Vote as u64 { Lane::Vote } else { Lane::Chore };
            let flight = self.lanes[lane as usize].as_mut().expect("a completion belongs to an operation in flight");
            flight.complete(completion.result());
            if flight.completions_left == 0 {
                let Flight { operation, opened, failure, .. } = self.lanes[lane as usize].take().expect("just seen");
                let result = failure.map_or_else(|| Ok(opened.map_or(Value::Nothing, Value::Opened)), Err);
                return Some(Finished { lane, operation, result });
            }
        }
    }

    /// Sleeps until a completion is there.
    pub fn wait(&mut self) -> io::Result<()> {
        self.enter(1)
    }

    fn enter(&mut self, want: usize) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(want) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return result.map(drop),
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.lanes.iter().any(Option::is_some) {
            while self.reap().is_some() {}
            if self.lanes.iter().any(Option::is_some) && self.wait().is_err() {
                self.lanes.iter_mut().for_each(|lane| std::mem::forget(lane.take()));
            }
        }
    }
}

impl Flight {
    fn complete(&mut self, result: i32) {
        let first = self.completions_left == 2 || !self.operation.has_linked_sync();
        self.completions_left -= 1;
        let outcome = match (&self.operation, result) {
            (_, ..0) => Err(io::Error::from_raw_os_error(-result)),
            (operation, _) if first && operation.write_bytes().is_some_and(|bytes| result as usize != bytes) => Err(short_write()),
            (Operation::Open { .. }, descriptor) => {
                // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
                self.opened = Some(unsafe { File::from_raw_fd(descriptor) });
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            // The first failure is the cause: the sync behind a failed write is only cancelled.
            self.failure.get_or_insert(error);
        }
    }
}

impl Operation {
    /// Bytes a write must take.
    fn write_bytes(&self) -> Option<usize> {
        match self {
            Operation::Write { .. } => Some(PAGE_BYTES),
            Operation::WritePages { count, .. } => Some(count * PAGE_BYTES),
            Operation::Zero { bytes, .. } => Some(*bytes),
            _ => None,
        }
    }

    fn has_linked_sync(&self) -> bool {
        matches!(self, Operation::Write { done: Done::Synced, .. } | Operation::WritePages { done: Done::Synced, .. })
    }
}

fn short_write() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "short write")
}

fn entries(operation: &Operation) -> (Entry, Option<Entry>) {
    let entry = match operation {
        Operation::Write { file, page, offset, done } => return write(file, page.0.as_ptr(), PAGE_BYTES, *offset, *done),
        Operation::WritePages { file, pages, count, offset, done } => {
            assert!(*count > 0 && *count <= pages.len(), "the pages are there");
            return write(file, pages.as_ptr().cast(), count * PAGE_BYTES, *offset, *done);
        }
        Operation::Zero { file, offset, bytes } => {
            assert!(*bytes <= ZEROS_BYTES, "there are only so many zeros");
            opcode::Write::new(fd(file), ZEROS.0.as_ptr(), *bytes as u32).offset(*offset).build()
        }
        Operation::Open { directory, name, flags } => {
            opcode::OpenAt::new(fd(directory), name.as_ptr()).flags(flags | libc::O_CLOEXEC).mode(0o600).build()
        }
        Operation::Allocate { file, bytes } => opcode::Fallocate::new(fd(file), *bytes).build(),
        Operation::Sync { file } => opcode::Fsync::new(fd(file)).build(),
        Operation::Rename { directory, from, to } => {
            opcode::RenameAt::new(fd(directory), from.as_ptr(), fd(directory), to.as_ptr()).build()
        }
        Operation::Unlink { directory, name } => opcode::UnlinkAt::new(fd(directory), name.as_ptr()).build(),
    };
    (entry, None)
}

fn write(file: &File, from: *const u8, bytes: usize, offset: u64, done: Done) -> (Entry, Option<Entry>) {
    let write = opcode::Write::new(fd(file), from, bytes as u32).offset(offset);
    match done {
        Done::Taken => (write.build(), None),
        Done::Durable => (write.rw_flags(libc::RWF_DSYNC).build(), None),
        Done::Synced => {
            let sync = opcode::Fsync::new(fd(file)).flags(types::FsyncFlags::DATASYNC).build();
            (write.build().flags(Flags::IO_LINK), Some(sync))
        }
    }
}

fn fd(file: &File) -> types::Fd {
    types::Fd(file.as_raw_fd())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Sleeps until the descriptor is readable; false after ten seconds.
    pub fn becomes_readable(fd: RawFd) -> bool {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is one valid pollfd for the duration of the call.
        let ready = unsafe { libc::poll(&mut poll, 1, 10_000) };
        ready == 1 && poll.revents & libc::POLLIN != 0
    }

    fn write(done: Done) -> Flight {
        let file = Arc::new(File::open("/dev/null").unwrap());
        let operation = Operation::Write { file, page: Box::new(Page([0; PAGE_BYTES])), offset: 0, done };
        Flight { operation, completions_left: if done == Done::Synced { 2 } else { 1 }, opened: None, failure: None }
    }

    #[test]
    fn a_short_write_is_a_failure() {
        for (done, result) in [(Done::Durable, 4095), (Done::Durable, 0), (Done::Taken, 512), (Done::Synced, 2048)] {
            let mut flight = write(done);
            flight.complete(result);
            assert_eq!(flight.failure.unwrap().kind(), io::ErrorKind::WriteZero);
        }
        let mut whole = write(Done::Durable);
        whole.complete(4096);
        assert!(whole.failure.is_none());
    }

    #[test]
    fn a_write_of_several_pages_is_short_if_any_byte_is_missing() {
        for (result, whole) in [(3 * PAGE_BYTES, true), (3 * PAGE_BYTES - 512, false), (PAGE_BYTES, false), (4 * PAGE_BYTES, false)] {
            let pages = (0..4).map(|_| Page([0; PAGE_BYTES])).collect();
            let file = Arc::new(File::open("/dev/null").unwrap());
            let operation = Operation::WritePages { file, pages, count: 3, offset: 0, done: Done::Durable };
            let mut flight = Flight { operation, completions_left: 1, opened: None, failure: None };
            flight.complete(result as i32);
            assert_eq!(flight.failure.is_none(), whole, "{result}");
        }
    }

    #[test]
    fn a_failed_sync_fails_the_write_and_the_first_cause_is_kept() {
        let mut flight = write(Done::Synced);
        flight.complete(4096);
        flight.complete(-libc::EIO);
        assert_eq!(flight.failure.unwrap().raw_os_error(), Some(libc::EIO));

        let mut flight = write(Done::Synced);
        flight.complete(-libc::ENOSPC);
        flight.complete(-libc::ECANCELED);
        assert_eq!(flight.failure.unwrap().raw_os_error(), Some(libc::ENOSPC));

        let mut synced = write(Done::Synced);
        synced.complete(4096);
        synced.complete(0);
        assert!(synced.failure.is_none());
    }
}
