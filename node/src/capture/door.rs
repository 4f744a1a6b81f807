//! The validator's side: a Unix socket in the data directory through which its owner looks on.
//!
//! One thread accepts, one thread per connection (at most [`CONNECTIONS_MAX`]) attaches to the taps and forwards their bytes. Neither runs on
//! a reactor, and a reactor waits for neither: what a connection is too slow for is lost in the ring and counted there.
//!
//! Invariants: the socket has mode 0600 from its first moment, and a peer of another user is refused besides; one capture at a time; a
//! connection that ends in any way, or takes nothing of what waits for it for [`TAKING_PATIENCE`], drops its readers, which turns the taps off;
//! a validator that stops waits for all its connections no longer than [`STOP_PATIENCE`], however steadily they read; what was sent ends with a
//! last word that tells all losses, or with none, never with a wrong one.

use super::protocol::{Answer, Hello, LINE_BYTES_MAX, LastWord, Request, record_bytes, split_record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, send};
use samara_dataplane::tap::{TapHandle, TapReader};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Connections at once; more are closed unheard.
const CONNECTIONS_MAX: usize = 8;
/// How long a connection may take for its request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
/// From one look into an empty ring to the next. At 100,000 datagrams a second 300 KiB come in meanwhile, a fraction of any ring.
const IDLE: Duration = Duration::from_millis(2);
/// How long a read or a write waits before it looks whether the validator stops.
const LOOK: Duration = Duration::from_millis(200);
/// How long a capture may take nothing of what is there for it. A stopped one would keep others out for ever.
const TAKING_PATIENCE: Duration = Duration::from_secs(30);
/// How long a stop waits for captures to take what is there for them, last word included. A capture that keeps up needs a few milliseconds.
const STOP_PATIENCE: Duration = Duration::from_millis(500);
/// Bytes sent at once, so that the clock is looked at in between.
const SEND_BYTES_MAX: usize = 256 << 10;

/// The open door of a validator.
pub struct Door {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    listener: UnixListener,
}

/// What a capture is told about its validator.
pub type About = Hello;

struct Shared {
    about: About,
    taps: Vec<TapHandle>,
    patience: Patience,
    /// When the validator began to stop.
    stopped: OnceLock<Instant>,
    connections: AtomicUsize,
}

impl Shared {
    fn stops(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// How much longer a capture that took nothing for `idle` may take; None if it is over.
    fn left(&self, idle: Duration) -> Option<Duration> {
        match self.stopped.get() {
            Some(stopped) => self.patience.stop.checked_sub(stopped.elapsed()),
            None => self.patience.taking.checked_sub(idle),
        }
    }
}

/// [`TAKING_PATIENCE`] and [`STOP_PATIENCE`].
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub taking: Duration,
    pub stop: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { taking: TAKING_PATIENCE, stop: STOP_PATIENCE }
    }
}

impl Door {
    /// Makes the socket at `path` anew. The caller holds the directory (its vote log is locked), so what is there is a dead predecessor's.
    pub fn open(path: &Path, taps: Vec<TapHandle>, about: About) -> io::Result<Door> {
        Door::with_patience(path, taps, about, Patience::default())
    }

    /// The same with another patience.
    pub(super) fn with_patience(path: &Path, taps: Vec<TapHandle>, about: About, patience: Patience) -> io::Result<Door> {
        let listener = listen(path)?;
        let shared = Arc::new(Shared { about, taps, patience, stopped: OnceLock::new(), connections: AtomicUsize::new(0) });
        let (accepting, serving) = (listener.try_clone()?, Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("door".into()).spawn(move || accept(&accepting, &serving))?;
        Ok(Door { path: path.to_owned(), shared, thread: Some(thread), listener })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shared.stopped.get_or_init(Instant::now);
        let _ = std::fs::remove_file(&self.path);
        // Ends a blocked accept; Linux lets a listening Unix socket be shut down.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A path through the directory's descriptor, while this value lives: a socket's own name has room for 107 bytes only.
pub struct ShortPath {
    path: PathBuf,
    _directory: File,
}

impl ShortPath {
    /// The short form of `path`.
    pub fn of(path: &Path) -> io::Result<ShortPath> {
        let (parent, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().ok_or(ErrorKind::InvalidInput)?);
        let directory = File::open(parent)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(ShortPath { path, _directory: directory })
    }

    /// It.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The name takes over the socket's mode, so there is no moment at which another user could open it.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    socket.bind(&SockAddr::unix(ShortPath::of(path)?.path())?)?;
    socket.listen(CONNECTIONS_MAX as i32)?;
    Ok(UnixListener::from(std::os::fd::OwnedFd::from(socket)))
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while !shared.stops() {
        let Ok((client, _)) = listener.accept() else {
            // Out of descriptors, or shut down: the loop's condition tells them apart.
            std::thread::sleep(IDLE);
            continue;
        };
        threads.retain(|thread| !thread.is_finished());
        if shared.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let serving = Arc::clone(shared);
        let serve = move || {
            // An error is the other side's end; nobody is left to tell.
            let _ = serve(&client, &serving);
            serving.connections.fetch_sub(1, Ordering::SeqCst);
        };
        match std::thread::Builder::new().name("capture".into()).spawn(serve) {
            Ok(thread) => threads.push(thread),
            Err(_) => drop(shared.connections.fetch_sub(1, Ordering::SeqCst)),
        }
    }
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

fn serve(client: &UnixStream, shared: &Shared) -> io::Result<()> {
    client.set_read_timeout(Some(LOOK))?;
    client.set_write_timeout(Some(LOOK))?;
    let line = read_line(client, shared)?;
    let (readers, answer) = match attach(client, &line, shared) {
        Ok(readers) => (readers, Answer::Hello(shared.about.clone())),
        Err(error) => (Vec::new(), Answer::Error { error }),
    };
    let mut text = serde_json::to_string(&answer).expect("plain values serialize");
    text.push('\n');
    (&mut &*client).write_all(text.as_bytes())?;
    if readers.is_empty() {
        return Ok(());
    }
    tracing::info!(request = %String::from_utf8_lossy(&line), "capture begins");
    stream(client, readers, shared)
}

/// Forwards until an end, then says the last word if it can be understood.
fn stream(client: &UnixStream, mut readers: Vec<TapReader>, shared: &Shared) -> io::Result<()> {
    let mut between_records = true;
    let outcome = forward(client, &mut readers, shared, &mut between_records);
    let late = outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut);
    let evicted = late && !shared.stops();
    let mut lost: u64 = readers.iter().map(TapReader::lost).sum();
    if late && between_records {
        lost += readers.iter_mut().map(discard).sum::<u64>();
    }
    drop(readers);
    let told = between_records && last_word(client, LastWord { lost, evicted }).is_ok();
    if evicted {
        tracing::warn!(lost, told, patience_s = shared.patience.taking.as_secs(), "capture ends: it took nothing for too long");
    } else if late {
        tracing::warn!(
            lost,
            told,
            patience_ms = shared.patience.stop.as_millis() as u64,
            "capture ends: it did not take all before the stop"
        );
    } else {
        tracing::info!(lost, told, "capture ends");
    }
    outcome
}

/// Waits for nothing. A client that took nothing has left no room: the buffer is enlarged for it, as far as the host allows (`net.core.wmem_max`).
fn last_word(client: &UnixStream, word: LastWord) -> io::Result<()> {
    let record = word.record();
    let socket = SockRef::from(client);
    let room = socket.send_buffer_size()?;
    // The kernel makes it twice what is asked for.
    socket.set_send_buffer_size(room)?;
    match send(client, record.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL)? {
        sent if sent == record.as_bytes().len() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

/// Counts the records that nobody gets any more, from a whole one on.
fn discard(reader: &mut TapReader) -> u64 {
    let (mut left, mut records, mut bytes) = (reader.waiting(), 0, Vec::new());
    while left > 0 {
        let taken = reader.read(left.min(SEND_BYTES_MAX), |part| {
            bytes.extend_from_slice(part);
            Ok::<_, Infallible>(part.len())
        });
        let Ok(taken) = taken;
        left -= taken;
        let mut at = 0;
        while let Ok(Some((_, datagram))) = split_record(&bytes[at..]) {
            (at, records) = (at + record_bytes(datagram), records + 1);
        }
        bytes.drain(..at);
    }
    records
}

/// One deadline for the whole line, however slowly its bytes come.
fn read_line(mut client: &UnixStream, shared: &Shared) -> io::Result<Vec<u8>> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    let deadline = Instant::now() + REQUEST_PATIENCE;
    while line.len() < LINE_BYTES_MAX && Instant::now() < deadline && !shared.stops() {
        match client.read(&mut byte) {
            Ok(1) if byte == *b"\n" => return Ok(line),
            Ok(1) => line.push(byte[0]),
            Ok(_) => break,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::InvalidData.into())
}

/// Readers of all reactors, or why there are none.
fn attach(client: &UnixStream, line: &[u8], shared: &Shared) -> Result<Vec<TapReader>, String> {
    let peer = rustix::net::sockopt::socket_peercred(client).map_err(|error| error.to_string())?;
    let own = rustix::process::geteuid();
    if peer.uid != own && !peer.uid.is_root() {
        return Err(format!("user {} may not look on; the validator runs as user {}", peer.uid.as_raw(), own.as_raw()));
    }
    let request: Request = serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))?;
    let one = |(reactor, tap): (usize, &TapHandle)| {
        tap.attach(request.settings(reactor as u8)?).map_err(|_| "another capture of this validator is running".to_string())
    };
    shared.taps.iter().enumerate().map(one).collect()
}

/// Until the client ends or shuts its side, or the validator stops. `TimedOut`: there is more, and patience is over.
fn forward(client: &UnixStream, readers: &mut [TapReader], shared: &Shared, between_records: &mut bool) -> io::Result<()> {
    loop {
        let mut moved = 0;
        for reader in readers.iter_mut() {
            moved += forward_waiting(client, reader, shared, between_records)?;
        }
        let ending = shared.stops() || is_done(client, if moved > 0 { Duration::ZERO } else { IDLE })?;
        if ending {
            return readers.iter_mut().try_for_each(|reader| forward_waiting(client, reader, shared, between_records).map(drop));
        }
    }
}

/// Forwards what waits in one ring: whole records, so that those of several reactors do not mix. `TimedOut`: the client takes nothing, or not all
/// before the stop; `between_records` is then false if some of it went, which may end anywhere.
fn forward_waiting(client: &UnixStream, reader: &mut TapReader, shared: &Shared, between_records: &mut bool) -> io::Result<usize> {
    let waiting = reader.waiting();
    let mut left = waiting;
    let mut took = Instant::now();
    while left > 0 {
        shared.left(Duration::ZERO).ok_or(ErrorKind::TimedOut)?;
        // A blocking send of much would go on for as long as somebody reads a little of it.
        let taken =
            reader.read(left.min(SEND_BYTES_MAX), |bytes| match send(client, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
                sent => sent,
            })?;
        if taken > 0 {
            (left, took) = (left - taken, Instant::now());
            *between_records = left == 0;
        } else {
            let patience = shared.left(took.elapsed()).ok_or(ErrorKind::TimedOut)?;
            wait(client, PollFlags::OUT, patience.min(LOOK))?;
        }
    }
    Ok(waiting)
}

/// Whether the client says or sends anything within `patience`: it does so only to end.
fn is_done(client: &UnixStream, patience: Duration) -> io::Result<bool> {
    wait(client, PollFlags::IN | PollFlags::RDHUP, patience)
}

/// Whether any of `flags` comes within `patience`, less than a second.
fn wait(client: &UnixStream, flags: PollFlags, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
    match poll(&mut [PollFd::from_borrowed_fd(client.as_fd(), flags)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Tells the door that no more is wanted.
pub fn hang_up(client: &UnixStream) -> io::Result<()> {
    client.shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_dataplane::tap::{Tap, TapFilter, TapSettings};

    /// A client that takes nothing while `records` wait for it, and all that it finds afterwards: bytes, and the last word.
    fn evict(records: usize, full: bool) -> (usize, Option<LastWord>) {
        let addresses = vec!["10.0.0.1:7".parse().expect("an address")];
        let about = Hello { version: "0".into(), chain: "ab".into(), seat: 0, local: addresses[0], rung: "udp".into(), addresses };
        let patience = Patience { taking: Duration::ZERO, ..Patience::default() };
        let shared = Shared { about, taps: Vec::new(), patience, stopped: OnceLock::new(), connections: AtomicUsize::new(1) };
        let (client, mut theirs) = UnixStream::pair().unwrap();
        let filler = [7; 500];
        while full && send(&client, &filler, SendFlags::DONTWAIT).is_ok() {}
        let mut tap = Tap::default();
        let settings = TapSettings { opened: false, snaplen: 2048, ring_bytes: 4 << 20, filter: TapFilter::ALL, reactor: 0 };
        let reader = tap.handle().attach(settings).unwrap();
        tap.refresh();
        (0..records).for_each(|_| tap.leaving_session(([10, 0, 0, 1], 7).into(), &[1; 1400]));
        assert_eq!(stream(&client, vec![reader], &shared).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(client);
        let mut bytes = Vec::new();
        theirs.read_to_end(&mut bytes).unwrap();
        let (sent, last) = bytes.split_at(bytes.len() - samara_dataplane::tap::RECORD_BYTES);
        let word = split_record(last).ok().flatten().and_then(|(header, _)| LastWord::of(&header));
        (sent.len() % filler.len(), word)
    }

    #[test]
    fn who_is_evicted_between_two_records_is_told_all_losses() {
        assert_eq!(evict(3, true), (0, Some(LastWord { lost: 3, evicted: true })));
    }

    #[test]
    fn who_is_evicted_in_the_middle_of_a_record_hears_no_last_word() {
        // More than a socket holds.
        assert_eq!(evict(2_000, false).1, None);
    }
}
