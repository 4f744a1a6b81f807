//! Waits for several sockets at once. The one unsafe room of the load generator.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// What a socket is waited for; always readability, and writability if asked.
pub struct Interest<'a> {
    /// The socket.
    pub stream: &'a TcpStream,
    /// Whether unsent bytes wait for room.
    pub write: bool,
}

/// Sleeps until one of the sockets is ready or `timeout` has passed. Errors (a signal) count as a wake-up: callers look at every
/// socket anyway.
pub fn wait(interests: &[Interest<'_>], timeout: Duration) {
    let entry = |interest: &Interest<'_>| libc::pollfd {
        fd: interest.stream.as_raw_fd(),
        events: libc::POLLIN | if interest.write { libc::POLLOUT } else { 0 },
        revents: 0,
    };
    let mut entries: Vec<libc::pollfd> = interests.iter().map(entry).collect();
    let timeout = libc::timespec { tv_sec: timeout.as_secs().min(3600) as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    // SAFETY: `entries` is a live array of `entries.len()` pollfds, `timeout` outlives the call, a null mask is allowed. The borrowed
    // streams keep their descriptors open for the duration of the call.
    unsafe { libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, &raw const timeout, std::ptr::null()) };
}
