//! Where a measurement happens: two network namespaces joined by a veth pair, or loopback.
//!
//! ```text
//!   near namespace                                        far namespace
//!   core A: near0 10.77.0.1  <--- veth --->  far0 10.77.0.2 :core B     10.77.1.0/24 is local here: the peers of a fan-out
//!           cnear0           <--- veth --->  cfar0                      a pair of its own for the C floor: its XDP program stays attached
//! ```
//! The namespaces have no names and no holder but descriptors and threads of this process: however it ends, `kill -9` included, the kernel takes
//! them away, and with them the interfaces and the XDP programs on them. Nothing is made in the namespace the command was started in.

use crate::exit::Exit;
use rustix::thread::{CpuSet, LinkNameSpaceType, UnshareFlags};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// Port of both ends in the namespaces.
const PORT: u16 = 7_000;
/// Most peers of a fan-out.
pub const PEERS_MAX: usize = 63;

/// One end of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Side {
    /// The measuring end.
    Near = 0,
    /// Its peer.
    Far = 1,
}

impl Side {
    /// Both.
    pub const BOTH: [Side; 2] = [Side::Near, Side::Far];

    /// The other end.
    pub fn other(self) -> Side {
        if self == Side::Near { Side::Far } else { Side::Near }
    }

    /// The interface of this end.
    pub fn interface(self) -> &'static str {
        ["near0", "far0"][self as usize]
    }

    /// The interface of this end that is the C floor's.
    pub fn floor_interface(self) -> &'static str {
        ["cnear0", "cfar0"][self as usize]
    }
}

/// The two ends and the wire between them.
pub struct Net {
    spaces: Option<[File; 2]>,
    cores: [usize; 2],
    addresses: [SocketAddr; 2],
}

impl Net {
    /// Two namespaces and their wires. Fails without privileges.
    pub fn veth(cores: [usize; 2]) -> Result<Net, Exit> {
        let spaces = [new_namespace()?, new_namespace()?];
        let addresses = [([10, 77, 0, 1], PORT).into(), ([10, 77, 0, 2], PORT).into()];
        let net = Net { spaces: Some(spaces), cores, addresses };
        let task = std::process::id();
        let far = format!("/proc/{task}/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&net.spaces.as_ref().expect("just made")[1]));
        net.ip(
            Side::Near,
            &format!(
                "link add near0 address 02:00:00:00:77:01 type veth peer name far0 address 02:00:00:00:77:02 netns {far}\n\
                 link add cnear0 type veth peer name cfar0 netns {far}\n\
                 link set near0 addrgenmode none\nlink set cnear0 addrgenmode none\n\
                 addr add 10.77.0.1/24 dev near0\n\
                 link set lo up\nlink set near0 up\nlink set cnear0 up\n\
                 neigh add 10.77.0.2 lladdr 02:00:00:00:77:02 dev near0 nud permanent\n\
                 route add 10.77.1.0/24 via 10.77.0.2 dev near0\n"
            ),
        )?;
        net.ip(
            Side::Far,
            "link set far0 addrgenmode none\nlink set cfar0 addrgenmode none\n\
             addr add 10.77.0.2/24 dev far0\n\
             link set lo up\nlink set far0 up\nlink set cfar0 up\n\
             neigh add 10.77.0.1 lladdr 02:00:00:00:77:01 dev far0 nud permanent\n\
             route add local 10.77.1.0/24 dev lo\n",
        )?;
        Ok(net)
    }

    /// Loopback, for hosts and users without the privilege to make namespaces.
    pub fn loopback(cores: [usize; 2]) -> Result<Net, Exit> {
        let free = || UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr().map(|address| (socket, address)));
        let ends = free().and_then(|one| free().map(|two| [one, two]));
        let addresses = ends.map_err(|error| Exit::Host(format!("no UDP socket on 127.0.0.1: {error}")))?.map(|(_, address)| address);
        Ok(Net { spaces: None, cores, addresses })
    }

    /// `veth` or `loopback`.
    pub fn kind(&self) -> &'static str {
        if self.spaces.is_some() { "veth" } else { "loopback" }
    }

    /// Whether AF_XDP has an interface of its own here.
    pub fn has_interfaces(&self) -> bool {
        self.spaces.is_some()
    }

    /// The core of an end.
    pub fn core(&self, side: Side) -> usize {
        self.cores[side as usize]
    }

    /// The address of an end.
    pub fn address(&self, side: Side) -> SocketAddr {
        self.addresses[side as usize]
    }

    /// Where peer `index` of a fan-out listens: all at the far end, each with an address of its own.
    pub fn peer(&self, index: usize) -> SocketAddr {
        assert!(index < PEERS_MAX, "a fan-out has at most {PEERS_MAX} peers");
        let last = index as u8 + 1;
        let host = if self.has_interfaces() { Ipv4Addr::new(10, 77, 1, last) } else { Ipv4Addr::new(127, 77, 1, last) };
        SocketAddr::new(host.into(), self.address(Side::Far).port())
    }

    /// Moves the calling thread into the namespace of `side` and onto its core. What it starts inherits both.
    pub fn enter(&self, side: Side) -> Result<(), Exit> {
        if let Some(spaces) = &self.spaces {
            let space = spaces[side as usize].as_fd();
            rustix::thread::move_into_link_name_space(space, Some(LinkNameSpaceType::Network))
                .map_err(|error| Exit::Host(format!("setns: {error}")))?;
        }
        let mut cores = CpuSet::new();
        cores.set(self.core(side));
        rustix::thread::sched_setaffinity(None, &cores).map_err(|error| Exit::Host(format!("core {}: {error}", self.core(side))))
    }

    fn ip(&self, side: Side, script: &str) -> Result<(), Exit> {
        let run = || {
            self.enter(side)?;
            let failed = |error: std::io::Error| Exit::Host(format!("ip (iproute2) makes the veth pair and cannot run: {error}"));
            let mut command = Command::new("ip");
            command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(failed)?;
            // A child that ended early says why on stderr.
            let _ = child.stdin.take().expect("it is piped").write_all(script.as_bytes());
            let output = child.wait_with_output().map_err(failed)?;
            if output.status.success() {
                return Ok(());
            }
            let text = crate::exit::one_line(&String::from_utf8_lossy(&output.stderr));
            Err(Exit::Host(format!("ip could not make the veth pair: {text}")))
        };
        on_a_thread(run)
    }
}

/// The first two cores this process may use; one core serves both ends if there is no other.
pub fn cores() -> [usize; 2] {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let first = cores.next().unwrap_or(0);
    [first, cores.next().unwrap_or(first)]
}

/// A namespace that lives as long as the returned descriptor.
fn new_namespace() -> Result<File, Exit> {
    on_a_thread(|| {
        // SAFETY: only the network namespace of this thread is unshared; the table of descriptors stays that of the process.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(|error| Exit::Host(format!("a network namespace: {error}; run as root (CAP_SYS_ADMIN)")))?;
        File::open("/proc/thread-self/ns/net").map_err(|error| Exit::Host(format!("/proc/thread-self/ns/net: {error}")))
    })
}

/// Runs `work` on a thread of its own, which may change its namespace and core.
pub fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T, Exit> + Send) -> Result<T, Exit> {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|_| Err(Exit::failed("a thread of the harness panicked"))))
}
