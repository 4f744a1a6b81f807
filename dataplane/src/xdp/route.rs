//! The next hop of a destination, from immutable tables.
//!
//! The rule is the kernel's own for a host without policy routing (with it, the kernel decides): the local table, then the main table, longest prefix, then lowest metric. What is not a
//! plain unicast route over our interface (or a VLAN on top of it) to a neighbour whose address is known takes a detour through the kernel's socket: the
//! kernel resolves the neighbour, refuses, or sends by another interface, and it does so with the packet that needed it.

use std::net::IpAddr;

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// A VLAN tag: protocol (0x8100 or 0x88a8) and identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) protocol: u16,
    pub(crate) id: u16,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) up: bool,
    /// Whether a cable is in, or what stands for it.
    pub(crate) carrier: bool,
    pub(crate) mtu: u32,
    pub(crate) mac: Mac,
    /// A VLAN on top of another interface.
    pub(crate) over: Option<(u32, Tag)>,
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) interface: u32,
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Via {
    /// Out of an interface, to a gateway or to the destination itself.
    Interface { index: u32, gateway: Option<IpAddr>, source: Option<IpAddr>, mtu: Option<u32> },
    /// To this host.
    Local,
    /// Several paths, a tunnel, a refusal, multicast: the kernel's business.
    Kernel,
}

/// One entry of the routing tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) to: IpAddr,
    pub(crate) prefix: u8,
    /// The local table comes before the main table.
    pub(crate) local_table: bool,
    pub(crate) metric: u32,
    pub(crate) via: Via,
}

/// A neighbour whose Ethernet address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Neighbour {
    pub(crate) interface: u32,
    pub(crate) ip: IpAddr,
    pub(crate) mac: Mac,
    /// Not confirmed for a while: the kernel checks it when it sends to it.
    pub(crate) stale: bool,
}

/// Everything of one moment. Lists are sorted, so that equal tables are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) links: Vec<Link>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) routes: Vec<Route>,
    pub(crate) neighbours: Vec<Neighbour>,
    /// These tables do not decide: the host has rules of policy routing, or more entries than are kept.
    pub(crate) undecided: bool,
}

/// How to reach a destination directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextHop {
    pub(crate) source: IpAddr,
    pub(crate) source_mac: Mac,
    pub(crate) to_mac: Mac,
    pub(crate) tag: Option<Tag>,
    /// IP packet bytes that the path takes.
    pub(crate) mtu: u16,
    pub(crate) stale: bool,
}

/// Why a datagram goes through the kernel's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detour {
    /// To this host itself.
    Local,
    /// No route at all; the kernel will say so.
    NoRoute,
    /// Out of another interface.
    OtherInterface,
    /// The interface is down or gone.
    Down,
    /// The neighbour's Ethernet address is not known yet; the kernel asks for it.
    Unresolved,
    /// The neighbour was not heard of for a while; one datagram a second makes the kernel check it.
    Stale,
    /// Multicast, broadcast, link-local, several paths, a tunnel.
    Special,
    /// The host has rules of policy routing (other than the kernel's own for the tables local, main and default), or more than 65,536 routes or neighbours.
    Undecided,
    /// A send shard has no queue of its own.
    NoQueue,
}

impl Detour {
    /// All of them, in the order of their counters.
    pub const ALL: [Detour; 9] = [
        Detour::Local,
        Detour::NoRoute,
        Detour::OtherInterface,
        Detour::Down,
        Detour::Unresolved,
        Detour::Stale,
        Detour::Special,
        Detour::Undecided,
        Detour::NoQueue,
    ];

    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Detour::Local => "local",
            Detour::NoRoute => "no_route",
            Detour::OtherInterface => "other_interface",
            Detour::Down => "down",
            Detour::Unresolved => "unresolved",
            Detour::Stale => "stale",
            Detour::Special => "special",
            Detour::Undecided => "undecided",
            Detour::NoQueue => "no_queue",
        }
    }
}

/// What the kernel says of the interface that AF_XDP is attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// It carries packets.
    #[default]
    Up,
    /// It is up and nothing is at its other end.
    NoCarrier,
    /// It was set down.
    Down,
    /// It was deleted, or moved to another network namespace. The port is detached for good, whatever is made anew under its name or number.
    Gone,
}

impl LinkState {
    /// All of them, in the order of their gauges.
    pub const ALL: [LinkState; 4] = [LinkState::Up, LinkState::NoCarrier, LinkState::Down, LinkState::Gone];

    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            LinkState::Up => "up",
            LinkState::NoCarrier => "no_carrier",
            LinkState::Down => "down",
            LinkState::Gone => "gone",
        }
    }
}

impl Tables {
    /// Sorts what was gathered.
    pub(crate) fn sort(&mut self) {
        self.links.sort_unstable();
        self.addresses.sort_unstable();
        self.routes.sort_unstable();
        self.neighbours.sort_unstable();
    }

    /// The way from `bound` (an address, or unspecified) to `to` when it leads directly out of interface `ours`.
    pub(crate) fn next_hop(&self, ours: u32, bound: IpAddr, to: IpAddr) -> Result<NextHop, Detour> {
        if is_special(to) {
            return Err(Detour::Special);
        }
        if self.undecided {
            return Err(Detour::Undecided);
        }
        let route = self.route(to).ok_or(Detour::NoRoute)?;
        let (index, gateway, source, mtu) = match route.via {
            Via::Local => return Err(Detour::Local),
            Via::Kernel => return Err(Detour::Special),
            Via::Interface { index, gateway, source, mtu } => (index, gateway, source, mtu),
        };
        let link = self.link(index).ok_or(Detour::NoRoute)?;
        let tag = match link.over {
            _ if index == ours => None,
            Some((parent, tag)) if parent == ours => Some(tag),
            _ => return Err(Detour::OtherInterface),
        };
        if !link.up || !self.link(ours).is_some_and(|link| link.up) {
            return Err(Detour::Down);
        }
        let next = gateway.unwrap_or(to);
        let neighbour = self.neighbours.iter().find(|known| known.interface == index && known.ip == next).ok_or(Detour::Unresolved)?;
        let chosen = if bound.is_unspecified() { source.or_else(|| self.source(index, next)) } else { Some(bound) };
        let path_mtu = mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
        Ok(NextHop {
            source: chosen.filter(|source| source.is_ipv4() == to.is_ipv4()).ok_or(Detour::NoRoute)?,
            source_mac: link.mac,
            to_mac: neighbour.mac,
            tag,
            mtu: u16::try_from(path_mtu).unwrap_or(u16::MAX),
            stale: neighbour.stale,
        })
    }

    /// How interface `index` is.
    pub(crate) fn link_state(&self, index: u32) -> LinkState {
        match self.link(index) {
            None => LinkState::Gone,
            Some(link) if !link.up => LinkState::Down,
            Some(link) if !link.carrier => LinkState::NoCarrier,
            Some(_) => LinkState::Up,
        }
    }

    fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    fn route(&self, to: IpAddr) -> Option<&Route> {
        let fits = self.routes.iter().filter(|route| covers(route.to, route.prefix, to));
        fits.max_by_key(|route| (route.local_table, route.prefix, std::cmp::Reverse(route.metric)))
    }

    /// The address of the interface in the neighbour's network, or any of its family.
    fn source(&self, interface: u32, next: IpAddr) -> Option<IpAddr> {
        let mine = || self.addresses.iter().filter(|address| address.interface == interface && address.ip.is_ipv4() == next.is_ipv4());
        let near = mine().find(|address| covers(address.ip, address.prefix, next));
        near.or_else(|| mine().find(|address| !is_special(address.ip))).map(|address| address.ip)
    }
}

fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified() || ip.is_unicast_link_local(),
    }
}

/// Whether `to` lies in `network/prefix`.
fn covers(network: IpAddr, prefix: u8, to: IpAddr) -> bool {
    let (network, to, width) = match (network, to) {
        (IpAddr::V4(network), IpAddr::V4(to)) => (u128::from(network.to_bits()), u128::from(to.to_bits()), 32),
        (IpAddr::V6(network), IpAddr::V6(to)) => (network.to_bits(), to.to_bits(), 128),
        _ => return false,
    };
    let free = u32::from(width) - u32::from(prefix.min(width));
    free == 128 || (network ^ to) >> free == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: u32 = 2;
    const VLAN: u32 = 3;
    const OTHER: u32 = 4;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn via(index: u32, gateway: Option<&str>) -> Via {
        Via::Interface { index, gateway: gateway.map(ip), source: None, mtu: None }
    }

    fn route(to: &str, prefix: u8, metric: u32, via: Via) -> Route {
        Route { to: ip(to), prefix, local_table: false, metric, via }
    }

    fn neighbour(interface: u32, text: &str, last: u8) -> Neighbour {
        Neighbour { interface, ip: ip(text), mac: [2, 0, 0, 0, 0, last], stale: false }
    }

    fn tables() -> Tables {
        let link = |index, over| Link { index, up: true, carrier: true, mtu: 1500, mac: [2, 0, 0, 0, 1, index as u8], over };
        let mut tables = Tables {
            links: vec![link(OURS, None), link(VLAN, Some((OURS, Tag { protocol: 0x8100, id: 9 }))), link(OTHER, None)],
            addresses: vec![
                Address { interface: OURS, ip: ip("10.7.0.1"), prefix: 24 },
                Address { interface: OURS, ip: ip("10.8.0.1"), prefix: 24 },
                Address { interface: VLAN, ip: ip("10.9.0.1"), prefix: 24 },
                Address { interface: OURS, ip: ip("fd07::1"), prefix: 64 },
            ],
            routes: vec![
                route("0.0.0.0", 0, 100, via(OURS, Some("10.7.0.254"))),
                route("0.0.0.0", 0, 50, via(OURS, Some("10.8.0.254"))),
                route("10.7.0.0", 24, 0, via(OURS, None)),
                route("10.9.0.0", 24, 0, via(VLAN, None)),
                route("10.10.0.0", 16, 0, via(OTHER, None)),
                route("10.10.7.0", 24, 0, via(OURS, Some("10.7.0.254"))),
                route("10.11.0.0", 16, 0, Via::Kernel),
                route("fd07::", 64, 256, via(OURS, None)),
                Route { to: ip("10.7.0.1"), prefix: 32, local_table: true, metric: 0, via: Via::Local },
            ],
            neighbours: vec![
                neighbour(OURS, "10.7.0.2", 2),
                neighbour(OURS, "10.7.0.254", 0xfe),
                neighbour(OURS, "10.8.0.254", 0x8f),
                neighbour(VLAN, "10.9.0.2", 9),
                neighbour(OURS, "fd07::2", 6),
                neighbour(OTHER, "10.7.0.3", 0xbb),
            ],
            undecided: false,
        };
        tables.sort();
        tables
    }

    fn hop(tables: &Tables, bound: &str, to: &str) -> Result<(u8, IpAddr), Detour> {
        tables.next_hop(OURS, ip(bound), ip(to)).map(|hop| (hop.to_mac[5], hop.source))
    }

    #[test]
    fn the_longest_prefix_then_the_lowest_metric_then_the_gateways_mac() {
        let tables = tables();
        assert_eq!(hop(&tables, "0.0.0.0", "10.7.0.2"), Ok((2, ip("10.7.0.1"))));
        assert_eq!(hop(&tables, "0.0.0.0", "192.0.2.1"), Ok((0x8f, ip("10.8.0.1"))), "metric 50 before metric 100");
        assert_eq!(hop(&tables, "0.0.0.0", "10.10.7.9"), Ok((0xfe, ip("10.7.0.1"))), "the gateway's network chooses the source");
        assert_eq!(hop(&tables, "10.7.0.1", "192.0.2.1"), Ok((0x8f, ip("10.7.0.1"))), "a bound address is the source");
        assert_eq!(hop(&tables, "::", "fd07::2"), Ok((6, ip("fd07::1"))));
    }

    #[test]
    fn what_is_not_direct_takes_a_detour_and_says_why() {
        let tables = tables();
        for (to, why) in [
            ("10.7.0.1", Detour::Local),
            ("10.7.0.9", Detour::Unresolved),
            ("10.7.0.3", Detour::Unresolved),
            ("10.10.0.1", Detour::OtherInterface),
            ("10.11.0.1", Detour::Special),
            ("224.0.0.1", Detour::Special),
            ("255.255.255.255", Detour::Special),
        ] {
            assert_eq!(hop(&tables, "0.0.0.0", to), Err(why), "{to}");
        }
        for (to, why) in [("fe80::1", Detour::Special), ("fd08::1", Detour::NoRoute), ("fd07::3", Detour::Unresolved)] {
            assert_eq!(hop(&tables, "::", to), Err(why), "{to}");
        }
    }

    #[test]
    fn tables_that_do_not_decide_leave_everything_to_the_kernel() {
        let tables = Tables { undecided: true, ..tables() };
        for to in ["10.7.0.2", "10.7.0.1", "192.0.2.1"] {
            assert_eq!(hop(&tables, "0.0.0.0", to), Err(Detour::Undecided), "{to}");
        }
    }

    #[test]
    fn a_vlan_over_our_interface_is_ours_with_its_tag() {
        let hop = tables().next_hop(OURS, ip("0.0.0.0"), ip("10.9.0.2")).expect("direct");
        assert_eq!((hop.tag, hop.source, hop.source_mac[5]), (Some(Tag { protocol: 0x8100, id: 9 }), ip("10.9.0.1"), VLAN as u8));
        assert_eq!(tables().next_hop(OTHER, ip("0.0.0.0"), ip("10.9.0.2")), Err(Detour::OtherInterface));
    }

    #[test]
    fn a_link_that_is_down_is_no_way_and_a_route_may_lower_the_mtu() {
        let mut tables = tables();
        tables.routes.push(Route {
            via: Via::Interface { index: OURS, gateway: None, source: Some(ip("10.8.0.1")), mtu: Some(1300) },
            ..route("10.7.0.2", 32, 0, Via::Local)
        });
        let hop = tables.next_hop(OURS, ip("0.0.0.0"), ip("10.7.0.2")).expect("direct");
        assert_eq!((hop.mtu, hop.source), (1300, ip("10.8.0.1")));
        tables.links.iter_mut().for_each(|link| link.up = link.index != OURS);
        assert_eq!(tables.next_hop(OURS, ip("0.0.0.0"), ip("10.7.0.2")), Err(Detour::Down));
        assert_eq!(tables.next_hop(OURS, ip("0.0.0.0"), ip("10.9.0.2")), Err(Detour::Down), "a VLAN goes down with its parent");
    }

    #[test]
    fn the_state_of_a_link_is_the_worst_that_is_known() {
        let mut tables = tables();
        assert_eq!((tables.link_state(OURS), tables.link_state(99)), (LinkState::Up, LinkState::Gone));
        tables.links.iter_mut().for_each(|link| link.carrier = false);
        assert_eq!(tables.link_state(OURS), LinkState::NoCarrier);
        tables.links.iter_mut().for_each(|link| link.up = false);
        assert_eq!(tables.link_state(OURS), LinkState::Down);
        tables.links.retain(|link| link.index != OURS);
        assert_eq!(tables.link_state(OURS), LinkState::Gone);
    }

    #[test]
    fn prefixes_of_every_length_cover_what_shares_their_bits() {
        let network = ip("10.7.128.0");
        for prefix in 0..=32 {
            for bit in 0..32 {
                let to = IpAddr::V4((0x0a07_8000_u32 ^ 1 << (31 - bit)).into());
                assert_eq!(covers(network, prefix, to), bit >= prefix, "/{prefix}, bit {bit}");
            }
        }
        assert!(covers(ip("::"), 0, ip("fd07::1")) && covers(ip("fd07::1"), 128, ip("fd07::1")));
        assert!(!covers(ip("::"), 0, ip("10.0.0.1")) && !covers(ip("fd07::1"), 128, ip("fd07::2")));
    }
}
