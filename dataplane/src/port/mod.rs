//! Ports: datagrams in and out of one UDP socket, in bursts of frames.
//!
//! ```text
//!   rx_burst -> frames held by the caller -> release
//!   tx_frame -> written by the caller -> tx (queued, gathered by destination) -> flush -> kernel
//! ```
//! [`Port`] is the seam between the reactor and the kernel. Behind it stand [`xdp::XdpPort`] (AF_XDP in three modes), [`uring::UringPort`]
//! (multishot receive into a ring of provided buffers, batched sends) and [`udp::UdpPort`] (recvmmsg, sendmmsg); [`ladder`] chooses. The last
//! two take UDP segmentation offload (GSO) when several queued frames go to one destination.
//!
//! Invariants: every frame is in exactly one place and [`Conservation::holds`]; each drop has a counter; no error of one destination delays
//! or loses a datagram to another; nothing here blocks but [`Port::wait`]. A port may be opened on one thread and used on another, but once used it stays
//! there.

pub mod ladder;
pub(crate) mod queue;
mod settle;
mod stats;
pub mod udp;
pub mod uring;
pub mod xdp;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::str::FromStr;
use std::time::Duration;

pub use stats::{Conservation, PortStats};

use crate::frame::Frame;

/// Most datagrams or groups moved by one system call.
pub const BURST_MAX: usize = 64;

/// What ended a [`Port::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Frames can be received, or queued frames can be sent.
    Port,
    /// A wake descriptor is readable.
    Descriptor,
    /// The time is over.
    Timeout,
    /// A signal came.
    Signal,
}

/// Datagrams in and out of one UDP socket.
pub trait Port: Send {
    /// Appends up to `max` received frames and returns how many. The caller gives each back by [`Port::release`] or [`Port::tx`].
    fn rx_burst(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize;

    /// Takes a frame back unsent.
    fn release(&mut self, frame: Frame);

    /// A frame to fill, its length set to its whole capacity; `None` (counted) when all are queued or held.
    fn tx_frame(&mut self) -> Option<Frame>;

    /// Queues a frame for `to`. Frames to one destination leave in order; the order between destinations may change within one flush.
    fn tx(&mut self, frame: Frame, to: SocketAddr);

    /// Hands queued frames to the kernel. What it cannot take now stays queued for the next flush.
    fn flush(&mut self);

    /// Flushes, then sleeps until there is something to do or a wake descriptor is readable. `None` has no time limit, a zero duration
    /// only looks. Returns at once when frames are pending.
    fn wait(&mut self, timeout: Option<Duration>, wake: &[RawFd]) -> Wake;

    /// Counters since the port was opened. Costs a system call: for housekeeping.
    fn stats(&self) -> PortStats;

    /// What AF_XDP counts beside, where the port is one. Costs a system call: for housekeeping.
    fn bypass(&self) -> Option<xdp::XdpStats> {
        None
    }

    /// Where the frames are.
    fn conservation(&self) -> Conservation;

    /// The address the socket is bound to.
    fn local_addr(&self) -> SocketAddr;

    /// `"uring"`, `"udp"`, or `"xdp-zerocopy"`, `"xdp-native"`, `"xdp-skb"`.
    fn rung(&self) -> &'static str;

    /// Another port that sends from the address of this one and receives nothing, for another thread; `number` tells several apart. Over AF_XDP it has the
    /// queue so many behind this port's, or, where the interface has no such queue, the kernel socket.
    fn sender(&self, number: u32, config: &PortConfig) -> Result<Box<dyn Port>, PortError>;
}

/// Limits and switches of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Frames for received datagrams, 1 to 32,768; 2,112 B of memory each.
    pub rx_frames: usize,
    /// Frames for datagrams to send, 1 to 32,768; 2,112 B of memory each.
    pub tx_frames: usize,
    /// Wanted size of the kernel's receive and send buffer. Above `net.core.{r,w}mem_max` it needs CAP_NET_ADMIN; what the kernel gave is in
    /// [`PortStats::receive_buffer_bytes`] (it reports twice the granted size).
    pub socket_buffer_bytes: usize,
    /// Gather frames of one destination into one send call with UDP segmentation offload.
    pub gso: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        PortConfig { rx_frames: 4096, tx_frames: 4096, socket_buffer_bytes: 8 << 20, gso: true }
    }
}

impl PortConfig {
    /// Few frames, so that a short test runs out of them.
    pub fn tiny() -> Self {
        PortConfig { rx_frames: 16, tx_frames: 16, socket_buffer_bytes: 1 << 16, gso: true }
    }

    pub(crate) fn check(&self) -> Result<(), PortError> {
        for (key, value) in [("rx_frames", self.rx_frames), ("tx_frames", self.tx_frames)] {
            if !(1..=1 << 15).contains(&value) {
                return Err(PortError::Config { key, value, allowed: "1 to 32768" });
            }
        }
        if !(4096..=1 << 30).contains(&self.socket_buffer_bytes) {
            return Err(PortError::Config { key: "socket_buffer_bytes", value: self.socket_buffer_bytes, allowed: "4096 to 1073741824" });
        }
        Ok(())
    }
}

/// Which port to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transport {
    /// The best rung that works here; AF_XDP only with consent (see [`ladder`]).
    #[default]
    Auto,
    /// AF_XDP or an error.
    Xdp,
    /// io_uring or an error.
    Uring,
    /// recvmmsg and sendmmsg.
    Udp,
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Transport::Auto),
            "xdp" => Ok(Transport::Xdp),
            "uring" => Ok(Transport::Uring),
            "udp" => Ok(Transport::Udp),
            other => Err(format!("transport {other:?}: allowed are auto, xdp, uring, udp")),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Auto => "auto",
            Transport::Xdp => "xdp",
            Transport::Uring => "uring",
            Transport::Udp => "udp",
        })
    }
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A value outside its limits.
    #[error("{key} = {value}: allowed are {allowed}")]
    Config {
        /// Name of the setting.
        key: &'static str,
        /// Its value.
        value: usize,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The socket.
    #[error("UDP socket on {address}: {step}: {source}")]
    Socket {
        /// Where it should listen.
        address: SocketAddr,
        /// Which call failed.
        step: &'static str,
        /// How.
        source: io::Error,
    },
    /// AF_XDP.
    #[error("AF_XDP: {0}")]
    Xdp(#[from] crate::xdp::XdpError),
    /// The ring.
    #[error("io_uring: {step}: {source}")]
    Ring {
        /// Which call failed.
        step: &'static str,
        /// How.
        source: io::Error,
    },
}

/// Opens a port on `address` and says in one line which rung it took and why: [`ladder::open`] with defaults for AF_XDP.
pub fn open(transport: Transport, address: SocketAddr, config: &PortConfig) -> Result<(Box<dyn Port>, String), PortError> {
    let wish = ladder::Wish { transport, port: config.clone(), ..ladder::Wish::default() };
    ladder::open(&wish, address).map(|opened| (opened.port, opened.why))
}
