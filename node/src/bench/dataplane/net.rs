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
use crate::netns::Namespace;
pub use crate::netns::on_a_thread;
use rustix::thread::CpuSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

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
    spaces: Option<[Namespace; 2]>,
    cores: [usize; 2],
    addresses: [SocketAddr; 2],
}

impl Net {
    /// Two namespaces and their wires. Fails without privileges.
    pub fn veth(cores: [usize; 2]) -> Result<Net, Exit> {
        let spaces = [Namespace::new()?, Namespace::new()?];
        let addresses = [([10, 77, 0, 1], PORT).into(), ([10, 77, 0, 2], PORT).into()];
        let far = spaces[Side::Far as usize].path();
        spaces[Side::Near as usize].ip(&format!(
            "link add near0 address 02:00:00:00:77:01 type veth peer name far0 address 02:00:00:00:77:02 netns {far}\n\
                 link add cnear0 type veth peer name cfar0 netns {far}\n\
                 addr add 10.77.0.1/24 dev near0\n\
                 link set lo up\nlink set near0 up\nlink set cnear0 up\n\
                 neigh add 10.77.0.2 lladdr 02:00:00:00:77:02 dev near0 nud permanent\n\
                 route add 10.77.1.0/24 via 10.77.0.2 dev near0\n"
        ))?;
        spaces[Side::Far as usize].ip("addr add 10.77.0.2/24 dev far0\n\
             link set lo up\nlink set far0 up\nlink set cfar0 up\n\
             neigh add 10.77.0.1 lladdr 02:00:00:00:77:01 dev far0 nud permanent\n\
             route add local 10.77.1.0/24 dev lo\n")?;
        Ok(Net { spaces: Some(spaces), cores, addresses })
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
            spaces[side as usize].enter()?;
        }
        let mut cores = CpuSet::new();
        cores.set(self.core(side));
        rustix::thread::sched_setaffinity(None, &cores).map_err(|error| Exit::Host(format!("core {}: {error}", self.core(side))))
    }
}

/// The first two cores this process may use; one core serves both ends if there is no other.
pub fn cores() -> [usize; 2] {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let first = cores.next().unwrap_or(0);
    [first, cores.next().unwrap_or(first)]
}
