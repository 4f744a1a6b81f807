//! The validator's side: a Unix socket in the data directory through which its owner looks on.
//!
//! One thread accepts, one thread per connection (at most [`CONNECTIONS_MAX`]) attaches to the taps and forwards their bytes. Neither runs on
//! a reactor, and a reactor waits for neither: what a connection is too slow for is lost in the ring and counted there.
//!
//! Invariants: the socket has mode 0600 from its first moment, and a peer of another user is refused besides; one capture at a time; a
//! connection that ends in any way, or takes nothing of what waits for it for [`TAKING_PATIENCE`], drops its readers, which turns the taps off.

use super::protocol::{Answer, Hello, LINE_BYTES_MAX, Request, end_record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use samara_dataplane::tap::{TapHandle, TapReader};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    taking_patience: Duration,
    stop: AtomicBool,
    connections: AtomicUsize,
}

impl Door {
    /// Makes the socket at `path` anew. The caller holds the directory (its vote log is locked), so what is there is a dead predecessor's.
    pub fn open(path: &Path, taps: Vec<TapHandle>, about: About) -> io::Result<Door> {
        Door::with_patience(path, taps, about, TAKING_PATIENCE)
    }

    /// The same for captures that may take nothing for `taking_patience`.
    pub(super) fn with_patience(path: &Path, taps: Vec<TapHandle>, about: About, taking_patience: Duration) -> io::Result<Door> {
        let listener = listen(path)?;
        let (stop, connections) = (AtomicBool::new(false), AtomicUsize::new(0));
        let shared = Arc::new(Shared { about, taps, taking_patience, stop, connections });
        let (accepting, serving) = (listener.try_clone()?, Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("door".into()).spawn(move || accept(&accepting, &serving))?;
        Ok(Door { path: path.to_owned(), shared, thread: Some(thread), listener })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
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
    while !shared.stop.load(Ordering::SeqCst) {
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
    let (mut readers, answer) = match attach(client, &line, shared) {
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
    let outcome = forward(client, &mut readers, shared);
    let lost: u64 = readers.iter().map(TapReader::lost).sum();
    drop(readers);
    match &outcome {
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            tracing::warn!(lost, patience_s = shared.taking_patience.as_secs(), "capture ends: it took nothing for too long");
        }
        _ => tracing::info!(lost, "capture ends"),
    }
    outcome?;
    (&mut &*client).write_all(end_record(lost).as_bytes())
}

/// One deadline for the whole line, however slowly its bytes come.
fn read_line(mut client: &UnixStream, shared: &Shared) -> io::Result<Vec<u8>> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    let deadline = Instant::now() + REQUEST_PATIENCE;
    while line.len() < LINE_BYTES_MAX && Instant::now() < deadline && !shared.stop.load(Ordering::SeqCst) {
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

/// Until the client ends or shuts its side, or the validator stops.
fn forward(client: &UnixStream, readers: &mut [TapReader], shared: &Shared) -> io::Result<()> {
    loop {
        let mut moved = 0;
        for reader in readers.iter_mut() {
            moved += forward_waiting(client, reader, shared)?;
        }
        let ending = shared.stop.load(Ordering::SeqCst) || is_done(client, if moved > 0 { Duration::ZERO } else { IDLE })?;
        if ending {
            return readers.iter_mut().try_for_each(|reader| forward_waiting(client, reader, shared).map(drop));
        }
    }
}

/// Forwards what waits in one ring: whole records, so that those of several reactors do not mix. `TimedOut`: the client takes nothing.
fn forward_waiting(mut client: &UnixStream, reader: &mut TapReader, shared: &Shared) -> io::Result<usize> {
    let waiting = reader.waiting();
    let mut left = waiting;
    let mut took = Instant::now();
    while left > 0 {
        let taken = reader.read(left, |bytes| match client.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && !shared.stop.load(Ordering::SeqCst) => Ok(0),
            written => written,
        })?;
        if taken > 0 {
            (left, took) = (left - taken, Instant::now());
        } else if took.elapsed() > shared.taking_patience {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(waiting)
}

/// Whether the client says or sends anything within `patience`: it does so only to end.
fn is_done(client: &UnixStream, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
    match poll(&mut [PollFd::from_borrowed_fd(client.as_fd(), PollFlags::IN | PollFlags::RDHUP)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Tells the door that no more is wanted.
pub fn hang_up(client: &UnixStream) -> io::Result<()> {
    client.shutdown(Shutdown::Write)
}
