//! The lower rung: recvmmsg and sendmmsg on one socket. Works on every Linux.
//!
//! Receive frames lie ready in a batch before the call, so the kernel writes straight into the frames handed out.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::queue::SendQueue;
use super::settle::Cause;
use super::{BURST_MAX, Conservation, Port, PortConfig, PortError, PortStats, Wake};
use crate::frame::Frame;
use crate::pool::Pool;
use crate::sys::message::{ReceiveBatch, Received, SendBatch};
use crate::sys::socket::{Sleeper, Slept, UdpSocket};

/// A port over recvmmsg and sendmmsg.
pub struct UdpPort {
    socket: Arc<UdpSocket>,
    receive: ReceiveBatch,
    send: SendBatch,
    queue: SendQueue,
    pool: Pool,
    sleeper: Sleeper,
    stats: PortStats,
}

impl UdpPort {
    /// Binds `address`.
    pub fn bind(address: SocketAddr, config: &PortConfig) -> Result<UdpPort, PortError> {
        config.check()?;
        let socket = Arc::new(UdpSocket::bind(address, config.socket_buffer_bytes)?);
        Ok(UdpPort::over(socket, config.rx_frames, config))
    }

    /// A port that only sends, over the socket of another one.
    pub(crate) fn sender(socket: &Arc<UdpSocket>, config: &PortConfig) -> Result<UdpPort, PortError> {
        config.check()?;
        Ok(UdpPort::over(Arc::clone(socket), 0, config))
    }

    fn over(socket: Arc<UdpSocket>, rx_frames: usize, config: &PortConfig) -> UdpPort {
        UdpPort {
            socket,
            receive: ReceiveBatch::new(),
            send: SendBatch::new(),
            queue: SendQueue::new(config.gso),
            pool: Pool::new(rx_frames, config.tx_frames),
            sleeper: Sleeper::default(),
            stats: PortStats::default(),
        }
    }

    /// One recvmmsg; returns true when more may be waiting.
    fn receive_once(&mut self, frames: &mut Vec<Frame>, wanted: usize) -> bool {
        let (pool, stats) = (&mut self.pool, &mut self.stats);
        self.receive.fill(wanted, || pool.take_rx());
        let asked = wanted.min(self.receive.len());
        if asked == 0 {
            stats.rx_starved += 1;
            return false;
        }
        stats.syscalls += 1;
        let came = self.receive.receive(self.socket.fd(), asked, |received| match received {
            Received::Datagram(frame) => {
                stats.rx_packets += 1;
                stats.rx_bytes += frame.len() as u64;
                pool.lent(1);
                frames.push(frame);
            }
            Received::Oversize(frame) => {
                stats.rx_drop_oversize += 1;
                pool.put(frame);
            }
            Received::Malformed(frame) => {
                stats.rx_drop_malformed += 1;
                pool.put(frame);
            }
        });
        match came {
            Ok(came) => came == asked,
            Err(error) => {
                stats.rx_errors += u64::from(error.kind() != ErrorKind::WouldBlock);
                false
            }
        }
    }
}

impl Port for UdpPort {
    fn rx_burst(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.pool.reclaim();
        let before = frames.len();
        while frames.len() - before < max {
            let wanted = (max - (frames.len() - before)).min(BURST_MAX);
            if !self.receive_once(frames, wanted) {
                break;
            }
        }
        frames.len() - before
    }

    fn release(&mut self, frame: Frame) {
        self.pool.returned(&frame);
        self.pool.put(frame);
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
            self.pool.put(frame);
        }
    }

    fn flush(&mut self) {
        self.pool.reclaim();
        while !self.queue.is_empty() {
            self.stats.syscalls += 1;
            let taken = self.send.send(self.socket.fd(), self.queue.iter());
            let (pool, stats) = (&mut self.pool, &mut self.stats);
            match taken {
                Ok(count) => {
                    for _ in 0..count {
                        let message = self.queue.pop().expect("the kernel took messages that were queued");
                        self.queue.sent(message, stats, |frame| pool.put(frame));
                    }
                }
                Err(error) => {
                    let message = self.queue.pop().expect("an error is that of the first message");
                    let errno = error.raw_os_error().unwrap_or(0);
                    if let Some(message) = self.queue.refused(message, errno, stats, |frame| pool.put(frame)) {
                        self.queue.restore(message);
                        break;
                    }
                }
            }
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, wake: &[RawFd]) -> Wake {
        self.flush();
        let can_receive = self.receive.len() + self.pool.rx_free() > 0;
        let events = if can_receive { libc::POLLIN } else { 0 } | if self.queue.is_empty() { 0 } else { libc::POLLOUT };
        self.stats.syscalls += 1;
        match self.sleeper.sleep(&[(self.socket.fd(), events)], wake, timeout) {
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
            ready: 0,
            kernel: self.receive.len(),
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.socket.local()
    }

    fn rung(&self) -> &'static str {
        "udp"
    }

    fn sender(&self, _number: u32, config: &PortConfig) -> Result<Box<dyn Port>, PortError> {
        Ok(Box::new(UdpPort::sender(&self.socket, config)?))
    }
}

impl AsRawFd for UdpPort {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.fd()
    }
}
