//! The upper rung: io_uring with a multishot receive into provided buffers and batched sends.
//!
//! The provided buffers *are* the frames handed out: the kernel copies a datagram once, into the frame the reactor reads, and a released frame goes straight back
//! into the ring. An idle [`Port::rx_burst`] reads two words of shared memory and makes no system call.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::queue::{Message, SendQueue};
use super::settle::Cause;
use super::udp::UdpPort;
use super::{Conservation, Port, PortConfig, PortError, PortStats, Wake};
use crate::frame::Frame;
use crate::pool::Pool;
use crate::sys::message::Received;
use crate::sys::ring::{Completion, Mode, Ring};
use crate::sys::socket::{Sleeper, Slept, UdpSocket};

/// A port over io_uring. Belongs to the thread that first uses it.
pub struct UringPort {
    ring: Ring,
    socket: Arc<UdpSocket>,
    pool: Pool,
    queue: SendQueue,
    ready: VecDeque<Frame>,
    sleeper: Sleeper,
    stats: PortStats,
    deferred: Vec<Message>,
    paused: bool,
}

impl UringPort {
    /// Binds `address` after a trial that this kernel really receives this way.
    pub fn bind(address: SocketAddr, config: &PortConfig) -> Result<UringPort, PortError> {
        config.check()?;
        try_receive()?;
        Self::bind_in_mode(address, config, &Mode::LADDER)
    }

    /// Without a trial, in the first of `modes` that the kernel takes.
    pub(crate) fn bind_in_mode(address: SocketAddr, config: &PortConfig, modes: &[Mode]) -> Result<UringPort, PortError> {
        let socket = Arc::new(UdpSocket::bind(address, config.socket_buffer_bytes)?);
        let mut ring = Ring::new(socket.fd(), config.rx_frames, modes)?;
        let mut pool = Pool::new(config.rx_frames, config.tx_frames);
        while let Some(frame) = pool.take_rx() {
            ring.post(frame);
        }
        Ok(UringPort {
            ring,
            socket,
            pool,
            queue: SendQueue::new(config.gso),
            ready: VecDeque::with_capacity(config.rx_frames),
            sleeper: Sleeper::default(),
            stats: PortStats::default(),
            deferred: Vec::new(),
            paused: false,
        })
    }

    /// How the kernel delivers completions, in words.
    pub fn mode(&self) -> &'static str {
        self.ring.mode().name()
    }

    /// Arms the receive when needed, enters the kernel when it has something to do, and takes what is complete. False when the kernel refused the call.
    fn pump(&mut self) -> bool {
        self.stats.rx_armed += u64::from(self.ring.arm());
        let mut entered = true;
        if self.ring.needs_enter() {
            self.stats.syscalls += 1;
            entered = self.ring.enter().is_ok();
        }
        self.complete();
        entered
    }

    fn complete(&mut self) {
        let UringPort { ring, pool, queue, ready, stats, deferred, paused, .. } = self;
        // Frames go home after the loop: the ring is borrowed while it reports.
        let mut idle_rx: Option<Vec<Frame>> = None;
        ring.complete(|completion| match completion {
            Completion::Received(Received::Datagram(frame)) => {
                stats.rx_packets += 1;
                stats.rx_bytes += frame.len() as u64;
                ready.push_back(frame);
            }
            Completion::Received(Received::Oversize(frame)) => {
                stats.rx_drop_oversize += 1;
                idle_rx.get_or_insert_default().push(frame);
            }
            Completion::Received(Received::Malformed(frame)) => {
                stats.rx_drop_malformed += 1;
                idle_rx.get_or_insert_default().push(frame);
            }
            Completion::Disarmed(libc::ENOBUFS) => stats.rx_enobufs += 1,
            Completion::Disarmed(errno) => stats.rx_errors += u64::from(errno != 0),
            Completion::Foreign => stats.rx_drop_malformed += 1,
            Completion::Sent(message, errno) => {
                let home = |frame: Frame| {
                    if pool.is_rx(&frame) { idle_rx.get_or_insert_default().push(frame) } else { pool.put(frame) }
                };
                if errno == 0 {
                    queue.sent(message, stats, home);
                } else {
                    deferred.extend(queue.refused(message, errno, stats, home));
                }
            }
        });
        idle_rx.into_iter().flatten().for_each(|frame| ring.post(frame));
        *paused |= !deferred.is_empty();
        while let Some(message) = deferred.pop() {
            queue.restore(message); // last first, so that the first leaves first
        }
    }

    /// What to sleep on. With deferred task run the kernel does not wake a poll on the ring when a datagram comes (the receive has not run yet), but the
    /// socket is readable until it has run; in the other modes it runs while we sleep, and the ring is readable.
    fn descriptors(&self) -> [(RawFd, i16); 2] {
        let readable = if self.ring.posted() > 0 { libc::POLLIN } else { 0 };
        let writable = if self.queue.is_empty() { 0 } else { libc::POLLOUT };
        [(self.socket.fd(), readable | writable), (self.ring.fd(), libc::POLLIN)]
    }

    fn go_home(&mut self, frame: Frame) {
        if self.pool.is_rx(&frame) { self.ring.post(frame) } else { self.pool.put(frame) }
    }

    /// Brings frames home that were dropped instead of released.
    fn reclaim(&mut self) {
        self.pool.reclaim();
        while let Some(frame) = self.pool.take_rx() {
            self.ring.post(frame);
        }
    }
}

impl Port for UringPort {
    fn rx_burst(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.ring.enable();
        self.reclaim();
        if self.ready.len() < max {
            self.pump();
        }
        let count = max.min(self.ready.len());
        frames.extend(self.ready.drain(..count));
        self.pool.lent(count);
        self.stats.rx_starved += u64::from(count == 0 && max > 0 && self.ring.posted() == 0);
        count
    }

    fn release(&mut self, frame: Frame) {
        self.pool.returned(&frame);
        self.go_home(frame);
    }

    fn tx_frame(&mut self) -> Option<Frame> {
        let frame = self.pool.lend_tx();
        self.stats.tx_no_frame += u64::from(frame.is_none());
        frame
    }

    fn tx(&mut self, frame: Frame, to: SocketAddr) {
        self.pool.returned(&frame);
        if to.is_ipv6() == self.socket.local().is_ipv6() {
            self.queue.push(frame, to);
        } else {
            self.stats.count_dropped(Cause::Family, 1);
            self.go_home(frame);
        }
    }

    fn flush(&mut self) {
        self.ring.enable();
        self.reclaim();
        self.paused = false;
        while !self.queue.is_empty() && !self.paused && self.ring.free_slots() > 0 {
            while let Some(message) = self.queue.pop() {
                if let Err(message) = self.ring.send(message) {
                    self.queue.restore(message);
                    break;
                }
            }
            if !self.pump() {
                break;
            }
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, wake: &[RawFd]) -> Wake {
        self.flush();
        self.pump();
        if !self.ready.is_empty() {
            return Wake::Port;
        }
        self.stats.syscalls += 1;
        let slept = self.sleeper.sleep(&self.descriptors(), wake, timeout);
        self.pump();
        match slept {
            Slept::Own { .. } => Wake::Port,
            Slept::Wake => Wake::Descriptor,
            Slept::Timeout => Wake::Timeout,
            Slept::Signal => Wake::Signal,
        }
    }

    fn stats(&self) -> PortStats {
        let (receive_buffer_bytes, send_buffer_bytes) = self.socket.buffers();
        PortStats {
            rx_drop_kernel: self.socket.drops(),
            cq_overflows: self.ring.overflows(),
            frames_lost: self.pool.lost(),
            receive_buffer_bytes,
            send_buffer_bytes,
            frames: self.conservation(),
            ..self.stats
        }
    }

    fn conservation(&self) -> Conservation {
        Conservation {
            total: self.pool.total(),
            free: self.pool.free(),
            held: self.pool.held(),
            queued: self.queue.frames(),
            ready: self.ready.len(),
            kernel: self.ring.frames(),
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.socket.local()
    }

    fn rung(&self) -> &'static str {
        "uring"
    }

    fn sender(&self, _number: u32, config: &PortConfig) -> Result<Box<dyn Port>, PortError> {
        // Sending alone, a batch is one call either way: the plain one.
        Ok(Box::new(UdpPort::sender(&self.socket, config)?))
    }
}

impl AsRawFd for UringPort {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.fd()
    }
}

/// Arms a receive on a socket of its own: kernels before 6.0 and sandboxes refuse here, at set-up or at once by a completion.
fn try_receive() -> Result<(), PortError> {
    let mut port = UringPort::bind_in_mode(([0, 0, 0, 0], 0).into(), &PortConfig::tiny(), &Mode::LADDER)?;
    port.ring.enable();
    port.ring.arm();
    let refused = |source| PortError::Ring { step: "multishot recvmsg", source };
    port.ring.enter().map_err(refused)?;
    let mut answer = Ok(());
    port.ring.complete(|completion| {
        if let Completion::Disarmed(errno) = completion {
            answer = Err(refused(std::io::Error::from_raw_os_error(errno)));
        }
    });
    answer
}
