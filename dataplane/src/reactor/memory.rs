//! A port without a kernel: datagrams through queues, with a switch that lets the kernel refuse to send.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::frame::Frame;
use crate::pool::Pool;
use crate::port::xdp::XdpStats;
use crate::port::{Conservation, Port, PortConfig, PortError, PortStats, Wake};

pub(crate) type Wire = Arc<Mutex<VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>>>;

pub(crate) struct MemoryPort {
    address: SocketAddr,
    pool: Pool,
    queued: Vec<(Frame, SocketAddr)>,
    sent: u64,
    pub outgoing: Wire,
    pub incoming: Wire,
    /// What it says of AF_XDP, and its senders too.
    pub bypass: Option<XdpStats>,
}

impl MemoryPort {
    pub fn new(address: SocketAddr, rx: usize, tx: usize) -> MemoryPort {
        MemoryPort {
            address,
            pool: Pool::new(rx, tx),
            queued: Vec::new(),
            sent: 0,
            outgoing: Wire::default(),
            incoming: Wire::default(),
            bypass: None,
        }
    }
}

impl Port for MemoryPort {
    fn rx_burst(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut incoming = self.incoming.lock().expect("no test thread panicked");
        let mut count = 0;
        while count < max && !incoming.is_empty() {
            let Some(mut frame) = self.pool.take_rx() else { break };
            let (from, _, bytes) = incoming.pop_front().expect("not empty");
            frame.received(bytes.len(), from);
            frame.copy_from_slice(&bytes);
            frames.push(frame);
            count += 1;
        }
        self.pool.lent(count);
        count
    }

    fn release(&mut self, frame: Frame) {
        self.pool.returned(&frame);
        self.pool.put(frame);
    }

    fn tx_frame(&mut self) -> Option<Frame> {
        self.pool.lend_tx()
    }

    fn tx(&mut self, frame: Frame, to: SocketAddr) {
        self.pool.returned(&frame);
        self.queued.push((frame, to));
    }

    fn flush(&mut self) {
        let mut outgoing = self.outgoing.lock().expect("no test thread panicked");
        for (frame, to) in self.queued.drain(..) {
            outgoing.push_back((self.address, to, frame.to_vec()));
            self.pool.put(frame);
            self.sent += 1;
        }
    }

    fn wait(&mut self, _timeout: Option<Duration>, _wake: &[RawFd]) -> Wake {
        Wake::Timeout
    }

    fn stats(&self) -> PortStats {
        PortStats { frames: self.conservation(), tx_packets: self.sent, ..PortStats::default() }
    }

    fn bypass(&self) -> Option<XdpStats> {
        self.bypass
    }

    fn conservation(&self) -> Conservation {
        Conservation {
            total: self.pool.total(),
            free: self.pool.free(),
            held: self.pool.held(),
            queued: self.queued.len(),
            ready: 0,
            kernel: 0,
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn rung(&self) -> &'static str {
        "memory"
    }

    fn sender(&self, _number: u32, config: &PortConfig) -> Result<Box<dyn Port>, PortError> {
        let outgoing = Arc::clone(&self.outgoing);
        Ok(Box::new(MemoryPort { outgoing, bypass: self.bypass, ..MemoryPort::new(self.address, 0, config.tx_frames) }))
    }
}
