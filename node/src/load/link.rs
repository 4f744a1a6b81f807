//! One connection to a client door: pipelined requests out, responses in, never blocking its owner.
//!
//! A lost connection is made again by a thread of its own; what was in flight on it is the owner's business.

use super::poll::Interest;
use crossbeam::channel::{Receiver, bounded};
use samara_types::client::{Request, Response, read_response, split_frame, write_request};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Unsent bytes beyond which a door counts as congested.
const OUT_BYTES_MAX: usize = 4 << 20;
/// Wait between two attempts to connect.
const RETRY: Duration = Duration::from_millis(50);

enum State {
    Up(TcpStream),
    Connecting(Receiver<TcpStream>),
}

/// A connection that comes back by itself.
pub struct Link {
    address: SocketAddr,
    state: State,
    stop: Arc<AtomicBool>,
    out: Vec<u8>,
    written: usize,
    inbox: Vec<u8>,
}

/// What a pass over a link brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pumped {
    /// The connection was lost in this pass.
    pub lost: bool,
}

impl Link {
    /// Starts connecting.
    pub fn new(address: SocketAddr) -> Link {
        let stop = Arc::new(AtomicBool::new(false));
        let state = State::Connecting(connect(address, stop.clone()));
        Link { address, state, stop, out: Vec::new(), written: 0, inbox: Vec::new() }
    }

    /// Whether requests can be written.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether the door takes bytes more slowly than they come.
    pub fn is_congested(&self) -> bool {
        self.out.len() - self.written > OUT_BYTES_MAX
    }

    /// Takes over a connection that was made meanwhile; true when it just came up.
    pub fn poll_connected(&mut self) -> bool {
        let State::Connecting(receiver) = &self.state else { return false };
        let Ok(stream) = receiver.try_recv() else { return false };
        self.state = State::Up(stream);
        true
    }

    /// Queues a request; [`Link::pump`] sends it.
    pub fn push(&mut self, id: u64, request: &Request<'_>) {
        write_request(&mut self.out, id, request);
    }

    /// What to wait for, if connected.
    pub fn interest(&self) -> Option<Interest<'_>> {
        match &self.state {
            State::Up(stream) => Some(Interest { stream, write: self.written < self.out.len() }),
            State::Connecting(_) => None,
        }
    }

    /// Writes what the socket takes, reads what is there and hands over every response.
    pub fn pump(&mut self, mut on_response: impl FnMut(u64, Response)) -> Pumped {
        let State::Up(stream) = &mut self.state else { return Pumped::default() };
        let alive = write_out(stream, &mut self.out, &mut self.written) && read_in(stream, &mut self.inbox);
        // Responses that arrived before the connection broke still count.
        let well_formed = take_responses(&mut self.inbox, &mut on_response);
        if !(alive && well_formed) {
            self.reconnect();
            return Pumped { lost: true };
        }
        Pumped { lost: false }
    }

    fn reconnect(&mut self) {
        self.out.clear();
        self.inbox.clear();
        self.written = 0;
        self.state = State::Connecting(connect(self.address, self.stop.clone()));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn connect(address: SocketAddr, stop: Arc<AtomicBool>) -> Receiver<TcpStream> {
    let (sender, receiver) = bounded(1);
    let work = move || {
        while !stop.load(Ordering::Relaxed) {
            if let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2))
                && stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).is_ok()
            {
                // The owner may be gone; then the stream is closed here.
                let _ = sender.send(stream);
                return;
            }
            std::thread::sleep(RETRY);
        }
    };
    std::thread::Builder::new().name("connect".into()).spawn(work).expect("a thread can be started");
    receiver
}

/// False if the connection is gone.
fn write_out(stream: &mut TcpStream, out: &mut Vec<u8>, written: &mut usize) -> bool {
    while *written < out.len() {
        match stream.write(&out[*written..]) {
            Ok(count) if count > 0 => *written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
    if *written == out.len() {
        out.clear();
        *written = 0;
    } else if *written > OUT_BYTES_MAX {
        out.drain(..*written);
        *written = 0;
    }
    true
}

/// False if the connection is gone.
fn read_in(stream: &mut TcpStream, inbox: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 16 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return false,
            Ok(count) => {
                inbox.extend_from_slice(&chunk[..count]);
                // A short read emptied the socket; asking again would be one more system call per pass and door.
                if count < chunk.len() {
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// False if the other side breaks the format.
fn take_responses(inbox: &mut Vec<u8>, on_response: &mut impl FnMut(u64, Response)) -> bool {
    let mut at = 0;
    let well_formed = loop {
        match split_frame(&inbox[at..]) {
            Ok(None) => break true,
            Ok(Some((used, id, kind, body))) => {
                let Ok(response) = read_response(kind, body) else { break false };
                on_response(id, response);
                at += used;
            }
            Err(_) => break false,
        }
    };
    inbox.drain(..at);
    well_formed
}
