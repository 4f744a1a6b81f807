//! The last inputs of the validator machine, in a ring of fixed size, written to a file when the process panics, stops for a failure, or is asked
//! to by SIGUSR1.
//!
//! ```text
//! Core::input ─> Recorder::input (before the machine sees it) ─> ring of frames, the oldest make room
//!                panic (as the core is dropped), failure, SIGUSR1 ─> DATA/inputs.{panic,failure,asked} ─> samara sim --replay
//! ```
//! As long as nothing had to make room, the file holds the whole life of the machine and can be fed to another one, which then panics at the same
//! input. Otherwise it can be read, input by input, and not be run: what the machine held when the oldest one came is in no file. A ring for
//! a whole test run is a matter of `node.input_ring_bytes`. Nothing secret is in it, but everything that clients and peers said is.

use samara_types::Nanos;
use samara_validator::input_log::{InputLog, Start, file_head};
use samara_validator::{Input, Output};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// See the module.
pub struct Recorder {
    start: Start,
    log: InputLog,
    ring: Ring,
    directory: PathBuf,
    /// Set by SIGUSR1.
    asked: Arc<AtomicBool>,
}

impl Recorder {
    /// Of a machine made from `start`; None if the ring has no room for anything.
    pub fn new(start: Start, ring_bytes: usize, directory: &Path, asked: Arc<AtomicBool>) -> Option<Recorder> {
        let recorder =
            || Recorder { start, log: InputLog::default(), ring: Ring::new(ring_bytes), directory: directory.to_path_buf(), asked };
        (ring_bytes > 0).then(recorder)
    }

    /// Keeps an input that is about to be handled; `deadline` is when the machine wants the next tick.
    pub fn input<T>(&mut self, now: Nanos, input: &Input<'_, T>, deadline: impl FnOnce() -> Option<Nanos>) {
        if let Some(frame) = self.log.frame(now, input, deadline) {
            self.ring.push(frame);
        }
    }

    /// Counts what the machine decided.
    pub fn note<T>(&mut self, output: &Output<T>) {
        self.log.note(output);
    }

    /// Writes the file if somebody asked for it.
    pub fn look_at_request(&mut self) {
        if self.asked.load(Ordering::Relaxed) {
            self.asked.store(false, Ordering::Relaxed);
            self.dump("asked");
        }
    }

    /// Writes `DATA/inputs.WHY`, over an older one. A failure is logged: this is told on the way to something worse.
    pub fn dump(&mut self, why: &str) {
        let path = self.directory.join(format!("inputs.{why}"));
        self.start.forgotten = self.ring.forgotten;
        match self.write(&path) {
            Ok(()) => tracing::warn!(
                path = %path.display(),
                inputs = self.ring.held,
                forgotten = self.ring.forgotten,
                "inputs written (samara sim --replay)"
            ),
            Err(error) => tracing::error!("inputs were not written to {}: {error}", path.display()),
        }
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&file_head(&self.start))?;
        let (older, newer) = self.ring.parts();
        file.write_all(older)?;
        file.write_all(newer)?;
        file.sync_all()
    }
}

impl Drop for Recorder {
    /// The last input of the file is the one that panicked: it is kept before it is handled.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dump("panic");
        }
    }
}

/// Frames in a fixed room, the oldest making place for new ones.
struct Ring {
    bytes: Box<[u8]>,
    /// Where the oldest frame begins.
    head: usize,
    used: usize,
    held: u64,
    forgotten: u64,
}

impl Ring {
    /// The room is zeroed memory, which costs nothing until it is used.
    fn new(bytes: usize) -> Ring {
        Ring { bytes: vec![0; bytes].into_boxed_slice(), head: 0, used: 0, held: 0, forgotten: 0 }
    }

    fn push(&mut self, frame: &[u8]) {
        let needed = LENGTH_BYTES + frame.len();
        while self.used > 0 && self.bytes.len() - self.used < needed {
            self.forget_oldest();
        }
        if self.bytes.len() < needed {
            self.forgotten += 1;
            return;
        }
        self.put(&(frame.len() as u32).to_le_bytes());
        self.put(frame);
        self.held += 1;
    }

    fn put(&mut self, bytes: &[u8]) {
        let at = (self.head + self.used) % self.bytes.len();
        let first = bytes.len().min(self.bytes.len() - at);
        self.bytes[at..at + first].copy_from_slice(&bytes[..first]);
        self.bytes[..bytes.len() - first].copy_from_slice(&bytes[first..]);
        self.used += bytes.len();
    }

    fn forget_oldest(&mut self) {
        let length = std::array::from_fn(|at| self.bytes[(self.head + at) % self.bytes.len()]);
        let length = LENGTH_BYTES + u32::from_le_bytes(length) as usize;
        self.head = (self.head + length) % self.bytes.len();
        self.used -= length;
        (self.held, self.forgotten) = (self.held - 1, self.forgotten + 1);
    }

    /// All frames, oldest first.
    fn parts(&self) -> (&[u8], &[u8]) {
        let first = self.used.min(self.bytes.len() - self.head);
        (&self.bytes[self.head..self.head + first], &self.bytes[..self.used - first])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_types::{Digest, Height, MessageKind, Received, ValidatorIndex};
    use samara_validator::input_log::{Recorded, read_frame, read_head};
    use std::collections::VecDeque;

    fn frames(ring: &Ring) -> Vec<Vec<u8>> {
        let (older, newer) = ring.parts();
        let mut rest = &[older, newer].concat()[..];
        let mut frames = Vec::new();
        while let Some((length, tail)) = rest.split_at_checked(LENGTH_BYTES) {
            let (frame, tail) = tail.split_at(u32::from_le_bytes(length.try_into().unwrap()) as usize);
            frames.push(frame.to_vec());
            rest = tail;
        }
        frames
    }

    #[test]
    fn the_ring_holds_the_newest_frames_that_fit() {
        for room in [16, 64, 100, 257] {
            let mut ring = Ring::new(room);
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            for number in 0..500usize {
                let frame = vec![number as u8; number * 7 % 61];
                ring.push(&frame);
                model.push_back(frame);
                // A frame that is too large for the room drives out all others and is not kept itself.
                while model.iter().map(|frame| LENGTH_BYTES + frame.len()).sum::<usize>() > room {
                    model.pop_front();
                }
                assert_eq!(frames(&ring), Vec::from(model.clone()), "room {room}, frame {number}");
                assert_eq!(ring.held + ring.forgotten, number as u64 + 1);
            }
        }
    }

    fn start() -> Start {
        Start {
            genesis: Digest([3; 32]),
            me: ValidatorIndex(1),
            wall_offset_ns: 9,
            now: Nanos(1),
            mempool: (10, 10),
            height: Height(0),
            amnesia: false,
            records: Vec::new(),
            bodies: Vec::new(),
            forgotten: 0,
        }
    }

    fn recorded(file: &Path) -> (Start, Vec<Recorded>) {
        let bytes = std::fs::read(file).unwrap();
        let (start, at) = read_head(&bytes).unwrap();
        let mut rest = &bytes[at..];
        let inputs = std::iter::from_fn(|| read_frame(&mut rest)).map(|frame| frame.input).collect();
        assert!(rest.is_empty());
        (start, inputs)
    }

    #[test]
    fn a_panic_leaves_a_file_that_ends_with_the_input_that_panicked() {
        let directory = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(start(), 1 << 16, directory.path(), Arc::default()).unwrap();
        let reactor = std::thread::spawn(move || {
            for records in 1..=20 {
                recorder.input(Nanos(records), &Input::<u64>::Persisted(records), || None);
                assert!(records < 20, "as a broken promise of the machine does");
            }
        });
        assert!(reactor.join().is_err());
        let (start, inputs) = recorded(&directory.path().join("inputs.panic"));
        assert_eq!(start.forgotten, 0);
        assert_eq!(inputs, (1..=20).map(Recorded::Persisted).collect::<Vec<_>>());
    }

    #[test]
    fn a_request_writes_once_and_says_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let asked = Arc::new(AtomicBool::new(false));
        let mut recorder = Recorder::new(start(), 200, directory.path(), Arc::clone(&asked)).unwrap();
        let file = directory.path().join("inputs.asked");
        (1..=50).for_each(|records| recorder.input(Nanos(records), &Input::<u64>::Persisted(records), || None));
        recorder.look_at_request();
        assert!(!file.exists(), "nobody asked");
        asked.store(true, Ordering::Relaxed);
        recorder.look_at_request();
        let (start, inputs) = recorded(&file);
        assert_eq!((start.forgotten + inputs.len() as u64, inputs.last()), (50, Some(&Recorded::Persisted(50))));
        assert!(start.forgotten > 0 && !asked.load(Ordering::Relaxed));
    }

    /// Prints what that costs the hot thread, a ring of the default size being full.
    #[test]
    fn every_message_of_a_burst_is_kept() {
        for (kind, bytes) in [(MessageKind::Vote, 136), (MessageKind::Shred, 1_108)] {
            let mut recorder = Recorder::new(start(), 4 << 20, Path::new("."), Arc::default()).unwrap();
            let message = vec![7; bytes];
            let burst = [Received { from: ValidatorIndex(2), kind, bytes: &message }; 64];
            let started = std::time::Instant::now();
            (1..=2_000).for_each(|at| recorder.input(Nanos(at), &Input::<u64>::Burst(&burst), || None));
            println!("{} of {bytes} B: {:.1} ns each", kind.as_str(), started.elapsed().as_nanos() as f64 / 128_000.0);
            assert_eq!(recorder.ring.held + recorder.ring.forgotten, 2_000);
            let newest = frames(&recorder.ring).pop().unwrap();
            let frame = read_frame(&mut &[&(newest.len() as u32).to_le_bytes(), &newest[..]].concat()[..]).unwrap();
            assert_eq!(frame.input, Recorded::Messages(vec![(ValidatorIndex(2), kind, message); 64], true));
        }
    }

    #[test]
    fn a_ring_without_room_records_nothing() {
        assert!(Recorder::new(start(), 0, Path::new("."), Arc::default()).is_none());
    }
}
