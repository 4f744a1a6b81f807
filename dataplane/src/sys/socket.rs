//! The UDP socket of a port: options, drop counter, sleeping.
//!
//! Kernel drops are read with SO_MEMINFO instead of SO_RXQ_OVFL control messages: it costs nothing per packet, and it also shows drops after which
//! no further packet came.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::port::PortError;

const SK_MEMINFO_DROPS: usize = 8;
const SK_MEMINFO_VARS: usize = 9;

/// A bound UDP socket.
pub(crate) struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    receive_buffer: usize,
    send_buffer: usize,
}

impl UdpSocket {
    /// Binds `address` and asks for kernel buffers of `buffer_bytes`. The socket is left in blocking mode: each call says MSG_DONTWAIT, and io_uring arms
    /// its own wait on it.
    pub(crate) fn bind(address: SocketAddr, buffer_bytes: usize) -> Result<UdpSocket, PortError> {
        let failed = |step| move |source| PortError::Socket { address, step, source };
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).map_err(failed("socket"))?;
        if address.is_ipv6() {
            socket.set_only_v6(true).map_err(failed("IPV6_V6ONLY"))?;
        }
        keep_packets_whole(&socket, address).map_err(failed("IP_MTU_DISCOVER"))?;
        let bytes = i32::try_from(buffer_bytes).unwrap_or(i32::MAX);
        grow(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, bytes).map_err(failed("SO_RCVBUF"))?;
        grow(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, bytes).map_err(failed("SO_SNDBUF"))?;
        bind_when_free(&socket, address).map_err(failed("bind"))?;
        let local = socket.local_addr().map_err(failed("getsockname"))?.as_socket().expect("an IP socket has an IP address");
        let receive_buffer = socket.recv_buffer_size().map_err(failed("SO_RCVBUF"))?;
        let send_buffer = socket.send_buffer_size().map_err(failed("SO_SNDBUF"))?;
        Ok(UdpSocket { socket, local, receive_buffer, send_buffer })
    }

    /// The address it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Receive and send buffer as the kernel reports them.
    pub(crate) fn buffers(&self) -> (usize, usize) {
        (self.receive_buffer, self.send_buffer)
    }

    /// Datagrams the kernel dropped at this socket (32-bit counter of the kernel).
    pub(crate) fn drops(&self) -> u64 {
        let mut info = [0_u32; SK_MEMINFO_VARS];
        let mut len = size_of_val(&info) as libc::socklen_t;
        // SAFETY: `info` is writable for `len` bytes, and `len` is ours.
        let rc = unsafe { libc::getsockopt(self.fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, info.as_mut_ptr().cast(), &mut len) };
        if rc == 0 { u64::from(info[SK_MEMINFO_DROPS]) } else { 0 }
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// How long an address that is taken may still be a dead predecessor's: the kernel ends the ring of a killed process, which holds its socket,
/// after the process itself is gone.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

fn bind_when_free(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + BIND_PATIENCE;
    loop {
        match socket.bind(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10))
            }
            result => return result,
        }
    }
}

/// Packets carry DF and are never cut, and a forged "fragmentation needed" cannot shrink the path: 1,400 B is a promise of the operator's network.
fn keep_packets_whole(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
    }
}

/// Beyond the system limit with privilege, up to it without.
fn grow(socket: &Socket, force: i32, plain: i32, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, force, bytes).or_else(|_| set_option(socket, libc::SOL_SOCKET, plain, bytes))
}

fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` lives across the call and `len` is its size.
    let rc = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
pub(crate) fn refuse_segmentation(fd: RawFd) {
    let on = 1_i32;
    // SAFETY: as in `set_option`.
    let rc = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_NO_CHECK, (&raw const on).cast(), 4) };
    assert_eq!(rc, 0, "SO_NO_CHECK: {}", io::Error::last_os_error());
}

/// What ended a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// One of the port's own descriptors, and whether the last of them is ready.
    Own {
        /// See above.
        last: bool,
    },
    /// One of the caller's descriptors.
    Wake,
    /// The time.
    Timeout,
    /// A signal.
    Signal,
}

/// Sleeps on descriptors; keeps its list between calls.
#[derive(Default)]
pub(crate) struct Sleeper {
    list: Vec<libc::pollfd>,
}

impl Sleeper {
    /// Waits until one of `own` (descriptor, poll events) or one of `wake` is ready, or the time is over.
    pub(crate) fn sleep(&mut self, own: &[(RawFd, i16)], wake: &[RawFd], timeout: Option<Duration>) -> Slept {
        self.list.clear();
        self.list.extend(own.iter().map(|(fd, events)| libc::pollfd { fd: *fd, events: *events, revents: 0 }));
        self.list.extend(wake.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }));
        let limit = timeout.map(|time| libc::timespec {
            tv_sec: time.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: libc::c_long::from(time.subsec_nanos()),
        });
        let limit_ptr = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the list and the time limit live across the call; a null limit means none, a null mask leaves signals alone.
        let rc = unsafe { libc::ppoll(self.list.as_mut_ptr(), self.list.len() as libc::nfds_t, limit_ptr, std::ptr::null()) };
        match rc {
            0 => Slept::Timeout,
            rc if rc < 0 => Slept::Signal,
            _ if self.list[..own.len()].iter().any(|entry| entry.revents != 0) => {
                Slept::Own { last: self.list[own.len() - 1].revents != 0 }
            }
            _ => Slept::Wake,
        }
    }
}
