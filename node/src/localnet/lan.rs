//! A network for a cluster: each validator in a network namespace of its own, all on one bridge, the load generator at the bridge.
//!
//! ```text
//!   validator 0: eth0 10.78.0.1 ---veth--- v0 \
//!   validator 1: eth0 10.78.0.2 ---veth--- v1 - br0 10.78.255.254 (clients)          one more namespace, of localnet itself
//!   ...                                       /
//! ```
//! Which network a chain needs is told by the addresses in its genesis, so a directory is continued as it was begun, with any transport.

use crate::exit::Exit;
use crate::genesis::Genesis;
use crate::netns::Namespace;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// Datagrams, clients and sync of every validator lie at the same ports: each has an address of its own.
pub const BASE_PORT: u16 = 27_000;
/// Port of the metrics endpoint, behind those of the chain.
pub const METRICS_PORT: u16 = BASE_PORT + 3;
/// Ports of a bridge.
const MEMBERS_MAX: usize = 1_000;

/// The namespaces of a cluster. They go with this and the processes in them.
pub struct Lan {
    hub: Namespace,
    members: Vec<Namespace>,
}

impl Lan {
    /// The address of a validator.
    pub fn host(index: usize) -> IpAddr {
        Ipv4Addr::new(10, 78, (index / 250) as u8, (index % 250) as u8 + 1).into()
    }

    /// Whether the validators of this chain live on such a network.
    pub fn is_of(genesis: &Genesis) -> bool {
        genesis.addresses.iter().enumerate().all(|(index, addresses)| addresses.datagram.ip() == Lan::host(index))
    }

    /// Makes the namespaces and wires for so many validators.
    pub fn new(validators: usize) -> Result<Lan, Exit> {
        if validators > MEMBERS_MAX {
            return Err(Exit::bad("--validators", validators, format!("6 to {MEMBERS_MAX} on a bridge")));
        }
        let hub = Namespace::new()?;
        let members = (0..validators).map(|_| Namespace::new()).collect::<Result<Vec<_>, _>>()?;
        hub.ip(&hub_script(&members))?;
        for (index, member) in members.iter().enumerate() {
            let host = Lan::host(index);
            member.ip(&format!("link set lo up\naddr add {host}/16 dev eth0\nlink set eth0 up\n"))?;
        }
        Ok(Lan { hub, members })
    }

    /// Moves the calling thread to where clients are.
    pub fn enter(&self) -> Result<(), Exit> {
        self.hub.enter()
    }

    /// Where a validator lives.
    pub fn member(&self, index: usize) -> &Namespace {
        &self.members[index]
    }
}

fn hub_script(members: &[Namespace]) -> String {
    let mut script = String::from(
        "link set lo up\nlink add br0 type bridge stp_state 0 mcast_snooping 0\naddr add 10.78.255.254/16 dev br0\nlink set br0 up\n",
    );
    for (index, member) in members.iter().enumerate() {
        let path = member.path();
        writeln!(
            script,
            "link add v{index} numrxqueues 1 numtxqueues 1 type veth peer name eth0 numrxqueues 1 numtxqueues 1 netns {path}\n\
             link set v{index} master br0\nlink set v{index} up"
        )
        .expect("writing to a String does not fail");
    }
    script
}
