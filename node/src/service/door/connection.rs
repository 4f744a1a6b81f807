//! One client connection: what it has in flight, what it has not read, why it ends.

use futures_lite::future::poll_fn;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use samara_types::client::{Response, write_response};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Bytes taken from a socket at once.
const READ_BYTES: usize = 16 << 10;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// The client left, or its socket broke.
    Gone,
    /// It sent what is no frame.
    MalformedFrame,
    /// It does not read its answers.
    SlowReader,
    /// It was idle, and its place was wanted.
    Idle,
    /// The validator stops.
    Stopping,
}

impl Close {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Close::Gone => "gone",
            Close::MalformedFrame => "malformed_frame",
            Close::SlowReader => "slow_reader",
            Close::Idle => "idle",
            Close::Stopping => "stopping",
        }
    }
}

/// The part of a connection that other tasks see.
pub(super) struct Connection {
    pub(super) number: u64,
    /// Submissions without their last answer.
    pub(super) in_flight: Cell<usize>,
    /// When it was accepted, or sent its last whole request.
    pub(super) heard: Cell<Instant>,
    out: RefCell<Vec<u8>>,
    close: Cell<Option<Close>>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    pub(super) fn new(number: u64) -> Connection {
        Connection {
            number,
            in_flight: Cell::new(0),
            heard: Cell::new(Instant::now()),
            out: RefCell::default(),
            close: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// Whether it has asked nothing and waits for nothing for so long. One that is being closed is not: its place is given away already.
    pub(super) fn is_idle(&self, after: Duration) -> bool {
        self.in_flight.get() == 0 && self.close.get().is_none() && self.heard.get().elapsed() >= after
    }

    /// Queues an answer; a client with more than `unread_max` bytes unread is disconnected.
    pub(super) fn write(&self, request: u64, response: &Response, unread_max: usize) {
        if self.close.get().is_some() {
            return;
        }
        let unread = {
            let mut out = self.out.borrow_mut();
            write_response(&mut out, request, response);
            out.len()
        };
        if unread > unread_max {
            self.close.set(Some(Close::SlowReader));
        }
        self.wake();
    }

    /// Ends the connection at its task's next turn.
    pub(super) fn close(&self, close: Close) {
        self.close.set(Some(close));
        self.wake();
    }

    /// Whether answers wait for the client's reading.
    pub(super) fn has_unread(&self) -> bool {
        !self.out.borrow().is_empty() && self.close.get().is_none()
    }

    /// Writes answers until something was read, which is appended to `input`.
    pub(super) async fn next(&self, stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<(), Close> {
        poll_fn(|context| {
            self.register(context.waker());
            if let Some(close) = self.close.get() {
                return Poll::Ready(Err(close));
            }
            if self.flush(stream, context).is_err() {
                return Poll::Ready(Err(Close::Gone));
            }
            read_some(stream, input, context).map(|read| match read {
                Ok(1..) => Ok(()),
                Ok(0) | Err(_) => Err(Close::Gone),
            })
        })
        .await
    }

    fn flush(&self, stream: &mut TcpStream, context: &mut Context<'_>) -> std::io::Result<()> {
        let mut out = self.out.borrow_mut();
        let mut written = 0;
        while written < out.len() {
            match Pin::new(&mut *stream).poll_write(context, &out[written..]) {
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => written += bytes,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        out.drain(..written);
        Ok(())
    }

    fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn read_some(stream: &mut TcpStream, input: &mut Vec<u8>, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
    let start = input.len();
    input.resize(start + READ_BYTES, 0);
    let read = Pin::new(stream).poll_read(context, &mut input[start..]);
    let bytes = if let Poll::Ready(Ok(bytes)) = &read { *bytes } else { 0 };
    input.truncate(start + bytes);
    read
}
