//! Kernel bypass by AF_XDP, on `libc` alone: nothing is compiled by clang, nothing is loaded from a file.
//!
//! ```text
//!   NIC queue -> driver -> filter (eBPF emitted here) --our UDP port--> XSKMAP[queue] -> RX ring -> frame      no copy behind the driver
//!                                     \--everything else--> kernel -> our UDP socket on the same port        ARP, fragments, loopback
//!   frame -> headers written in front of the payload from a template -> TX ring -> driver                    one copy: the sealing itself
//!   netlink -> thread -> routing tables -> (generation) -> templates by destination
//! ```
//! Rooms: `assembler` and `filter` make the program, `attach` holds it on the interface, `ring` is the index arithmetic, `umem` the frames, `header` reads and
//! writes packet headers, `route` finds the next hop and `netlink` keeps its tables. The port itself is [`crate::port::xdp::XdpPort`]; system calls are in
//! `sys::{bpf, xsk}`.

pub(crate) mod assembler;
pub mod attach;
pub(crate) mod filter;
pub(crate) mod header;
pub(crate) mod hops;
pub(crate) mod netlink;
pub(crate) mod ring;
pub(crate) mod route;
pub(crate) mod umem;

pub use route::{Detour, LinkState};

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::port::{PortConfig, PortError};

/// How packets get from the driver to the socket, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// The driver writes into our memory: needs a driver that can.
    ZeroCopy,
    /// The program runs in the driver, the kernel copies once.
    Native,
    /// The program runs behind the driver on socket buffers: every interface can.
    Skb,
}

impl XdpMode {
    /// Best first.
    pub const LADDER: [XdpMode; 3] = [XdpMode::ZeroCopy, XdpMode::Native, XdpMode::Skb];

    /// Name of the rung: `"xdp-zerocopy"`, `"xdp-native"`, `"xdp-skb"`.
    pub fn rung(self) -> &'static str {
        match self {
            XdpMode::ZeroCopy => "xdp-zerocopy",
            XdpMode::Native => "xdp-native",
            XdpMode::Skb => "xdp-skb",
        }
    }
}

impl FromStr for XdpMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = XdpMode::LADDER.into_iter().find(|mode| mode.rung() == text || mode.rung()["xdp-".len()..] == *text);
        found.ok_or_else(|| format!("XDP mode {text:?}: allowed are zerocopy, native, skb"))
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rung())
    }
}

/// Preferred busy polling: the driver works when we ask and is not interrupted meanwhile. Wants `napi_defer_hard_irqs` and
/// `gro_flush_timeout` set on the interface, and a driver with NAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one call may poll, in whole microseconds.
    pub time: Duration,
    /// Most packets of one call.
    pub budget: u16,
    /// Least time between two calls of an idle port.
    pub interval: Duration,
}

impl Default for BusyPoll {
    /// Start values of the kernel's own documentation: 64 us, 64 packets; a call every 5 us.
    fn default() -> Self {
        BusyPoll { time: Duration::from_micros(64), budget: 64, interval: Duration::from_micros(5) }
    }
}

/// Settings of a port over AF_XDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpConfig {
    /// Interface name.
    pub interface: String,
    /// Receive and send queue of the interface.
    pub queue: u32,
    /// Exactly this mode or an error.
    pub mode: XdpMode,
    /// Frames and the kernel socket beside: [`PortConfig`]. Frames are `chunk_bytes` of UMEM each.
    pub port: PortConfig,
    /// 2,048 (MTU up to 1,700) or 4,096 (MTU up to 3,700).
    pub chunk_bytes: usize,
    /// Preferred busy polling, off by default.
    pub busy_poll: Option<BusyPoll>,
}

impl XdpConfig {
    /// Queue 0 of `interface` with 2,048 frames each way.
    pub fn new(interface: &str, mode: XdpMode) -> XdpConfig {
        let port = PortConfig { rx_frames: 2048, tx_frames: 2048, ..PortConfig::default() };
        XdpConfig { interface: interface.into(), queue: 0, mode, port, chunk_bytes: 2048, busy_poll: None }
    }
}

impl XdpConfig {
    pub(crate) fn check(&self) -> Result<(), PortError> {
        self.port.check()?;
        if self.port.rx_frames < 2 {
            return Err(XdpError::Config { key: "rx_frames", value: self.port.rx_frames, allowed: "2 to 32768" }.into());
        }
        if self.chunk_bytes != 2048 && self.chunk_bytes != 4096 {
            return Err(XdpError::Config { key: "chunk_bytes", value: self.chunk_bytes, allowed: "2048, 4096" }.into());
        }
        Ok(())
    }
}

/// Why AF_XDP could not be had.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// There was no interface to try it on, or no privilege.
    #[error("{0}")]
    NotTried(String),
    /// No mode of the ladder works.
    #[error("{0}")]
    NoMode(String),
    /// No interface of that name.
    #[error("interface {0:?} does not exist")]
    Interface(String),
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
    /// The verifier refused the filter.
    #[error("eBPF program: {source}{}; the verifier says:\n{log}", advice(.source, ""))]
    Verifier {
        /// How.
        source: io::Error,
        /// The verifier's log.
        log: String,
    },
    /// A system call.
    #[error("{step} on {interface}: {source}{}", advice(.source, step))]
    Step {
        /// Interface name.
        interface: String,
        /// Which call.
        step: &'static str,
        /// How.
        source: io::Error,
    },
    /// The netlink tables.
    #[error("netlink: {step}: {source}")]
    Netlink {
        /// Which call.
        step: &'static str,
        /// How.
        source: io::Error,
    },
}

/// What an operator can do about an errno of a step.
fn advice(source: &io::Error, step: &str) -> &'static str {
    match (source.raw_os_error().unwrap_or(0), step) {
        (libc::EPERM | libc::EACCES, _) => " (needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF; before Linux 5.8 CAP_SYS_ADMIN)",
        (libc::ENOSYS, _) => " (this kernel, or the container's seccomp filter, has no bpf(2): AF_XDP needs Linux 5.9)",
        (libc::EAFNOSUPPORT, _) => " (this kernel is built without CONFIG_XDP_SOCKETS)",
        (libc::EPROTO, _) => " (AF_XDP rings without wake-up flags: Linux 5.4 or later is needed)",
        (libc::EBUSY, "BPF_LINK_CREATE") => " (another XDP program is attached: see `ip link`)",
        (libc::EEXIST, "BPF_LINK_CREATE") => " (an XDP program is attached in another mode: see `ip link`)",
        (libc::EINVAL, "BPF_LINK_CREATE") => " (XDP by bpf_link needs Linux 5.9; on a bond, take its members)",
        (libc::EOPNOTSUPP, "BPF_LINK_CREATE") => " (the driver has no native XDP, or refuses it at this MTU or with LRO: try xdp-skb)",
        (libc::ERANGE | libc::EMSGSIZE, "BPF_LINK_CREATE") => " (the MTU is too large for XDP on this interface)",
        (libc::EBUSY, "bind") => " (another AF_XDP socket holds this queue)",
        (libc::EOPNOTSUPP, "bind") => " (the driver has no zero copy: take xdp-native)",
        (libc::EINVAL, "bind") => " (no such queue on the interface, or the driver cannot in this mode)",
        (libc::ENOBUFS, "XDP_UMEM_REG") => " (RLIMIT_MEMLOCK is too small: raise LimitMEMLOCK or give CAP_IPC_LOCK)",
        (libc::ENXIO | libc::EINVAL, "wake-up call") => " (the driver does not work in this mode: take a lower rung)",
        _ => "",
    }
}
