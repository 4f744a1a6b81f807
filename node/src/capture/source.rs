//! The capturing side of the door: connects, asks, and takes records apart.

use super::door::{ShortPath, hang_up};
use super::protocol::{Answer, Hello, LINE_BYTES_MAX, LastWord, Request, record_bytes, split_record};
use crate::exit::Exit;
use samara_dataplane::tap::RecordHeader;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often limits and signals are looked at while nothing comes.
const LOOK: Duration = Duration::from_millis(50);
/// How long the validator may take to answer, and to end after it was told.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// A stream of records.
pub struct Source {
    stream: UnixStream,
    hello: Hello,
    buffer: Vec<u8>,
    /// Records before this were taken.
    taken: usize,
    hung_up: Option<Instant>,
}

/// What [`Source::next_record`] found.
pub enum Next<'a> {
    /// A record.
    Record(RecordHeader, &'a [u8]),
    /// Nothing at the moment.
    Quiet,
    /// The validator's last word, if it got to say it: what was lost is unknown otherwise.
    End(Option<LastWord>),
}

impl Source {
    /// Connects to the door that `find` finds, for `wait` or until `signalled` if it is not there yet, and begins the capture.
    pub fn connect(
        find: impl Fn() -> Result<PathBuf, Exit>,
        request: &Request,
        wait: Option<Duration>,
        signalled: &AtomicBool,
    ) -> Result<Source, Exit> {
        let (began, wait) = (Instant::now(), wait.unwrap_or_default());
        let (stream, path) = loop {
            match find().and_then(|path| Ok((knock(&path)?, path))) {
                Ok(connected) => break connected,
                Err(Exit::Usage(_)) if began.elapsed() < wait && !signalled.load(Ordering::Relaxed) => {
                    std::thread::sleep(LOOK / 10);
                }
                Err(exit) => return Err(exit),
            }
        };
        let ask = || -> std::io::Result<(Vec<u8>, Vec<u8>)> {
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut line = serde_json::to_string(request).expect("plain values serialize");
            line.push('\n');
            (&stream).write_all(line.as_bytes())?;
            let answer = read_answer(&stream)?;
            stream.set_read_timeout(Some(LOOK))?;
            Ok(answer)
        };
        let (line, buffer) = ask().map_err(|error| Exit::failed(format!("{}: {error}", path.display())))?;
        match serde_json::from_slice(&line) {
            Ok(Answer::Hello(hello)) => Ok(Source { stream, hello, buffer, taken: 0, hung_up: None }),
            Ok(Answer::Error { error }) => Err(Exit::failed(format!("{}: {error}", path.display()))),
            Err(error) => Err(Exit::failed(format!("{}: not a validator's answer: {error}", path.display()))),
        }
    }

    /// Who answered.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Tells the validator to end; what it still sends is taken by [`Self::next_record`].
    pub fn hang_up(&mut self) {
        if self.hung_up.is_none() {
            // An error means that it is gone, which the next read finds.
            let _ = hang_up(&self.stream);
            self.hung_up = Some(Instant::now());
        }
    }

    /// The next record, after at most [`LOOK`].
    pub fn next_record(&mut self) -> Result<Next<'_>, Exit> {
        if split_record(&self.buffer[self.taken..]).map_err(Exit::failed)?.is_none() {
            self.buffer.drain(..self.taken);
            self.taken = 0;
            if let Some(end) = self.refill()? {
                return Ok(end);
            }
        }
        let Some((header, datagram)) = split_record(&self.buffer[self.taken..]).map_err(Exit::failed)? else { return Ok(Next::Quiet) };
        self.taken += record_bytes(datagram);
        Ok(match LastWord::of(&header) {
            Some(word) => Next::End(Some(word)),
            None => Next::Record(header, datagram),
        })
    }

    /// Reads more. Some: there is no more to read.
    fn refill(&mut self) -> Result<Option<Next<'static>>, Exit> {
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let read = self.stream.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Ok(Some(Next::End(None))),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                let stuck = self.hung_up.is_some_and(|since| since.elapsed() > PATIENCE);
                Ok(stuck.then_some(Next::End(None)))
            }
            // The validator was killed: what it sent before is complete as far as it goes.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Some(Next::End(None))),
            Err(error) => Err(Exit::failed(format!("the validator's door: {error}"))),
            Ok(_) => Ok(None),
        }
    }
}

/// A connection, or whose fault it is that there is none.
fn knock(path: &Path) -> Result<UnixStream, Exit> {
    let connected = ShortPath::of(path).and_then(|short| UnixStream::connect(short.path()));
    connected.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Exit::Host(format!("{}: {error}; capture as the validator's user or as root", path.display())),
        _ => Exit::bad("--dir", path.display(), format!("the directory of a running validator ({error})")),
    })
}

/// The line, and what came behind it.
fn read_answer(mut stream: &UnixStream) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = stream.read(&mut part)?;
        bytes.extend_from_slice(&part[..read]);
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let rest = bytes.split_off(end + 1);
            return Ok((bytes, rest));
        }
        if read == 0 || bytes.len() > LINE_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
    }
}
