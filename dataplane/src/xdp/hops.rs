//! The way to each destination, kept: a template of headers, or the reason for a detour.
//!
//! A table addressed by a multiplication, eight places for a destination and four times as many as a validator set has members, so that they do not displace
//! each other. Entries of older tables are made anew when they are next used, so a change of routes costs the hot path one comparison.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::header::Template;
use super::netlink::Reader;
use super::route::Detour;

const PLACES: usize = 1 << PLACES_LOG2;
const PLACES_LOG2: u32 = 12;
const TRIES: usize = 8;
/// A stale neighbour gets one datagram through the kernel this often, until the kernel has heard of it.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How datagrams to a destination leave.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Straight to the ring.
    Direct(Template),
    /// Through the kernel's socket.
    Detour(Detour),
}

struct Entry {
    to: SocketAddr,
    generation: u64,
    way: Way,
    /// Of a stale neighbour: when the kernel is made to check it again.
    probe: Option<Instant>,
}

/// Ways by destination.
pub(crate) struct HopCache {
    places: Box<[Option<Entry>]>,
    made: u64,
}

const PROBING: Way = Way::Detour(Detour::Stale);

impl HopCache {
    /// Empty.
    pub(crate) fn new() -> HopCache {
        HopCache { places: std::iter::repeat_with(|| None).take(PLACES).collect(), made: 0 }
    }

    /// Entries made so far.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// The way from `local` over `interface` to `to`, of the same family. `now` may lag by some microseconds.
    pub(crate) fn way(&mut self, routes: &Reader, interface: u32, local: SocketAddr, to: SocketAddr, now: Instant) -> &Way {
        let place = self.find(to);
        let known = self.places[place].as_ref().is_some_and(|entry| entry.to == to && entry.generation == routes.generation());
        if !known {
            self.made += 1;
            let hop = routes.tables().next_hop(interface, local.ip(), to.ip());
            // A change of the tables is no news of a neighbour that was stale before: it keeps its time.
            let due = self.places[place].as_ref().filter(|entry| entry.to == to).and_then(|entry| entry.probe);
            let (way, probe) = match hop {
                Ok(hop) => (Way::Direct(Template::new(&hop, local.port(), to)), hop.stale.then_some(due.unwrap_or(now))),
                Err(reason) => (Way::Detour(reason), None),
            };
            self.places[place] = Some(Entry { to, generation: routes.generation(), way, probe });
        }
        let entry = self.places[place].as_mut().expect("just looked up or made");
        if let Some(due) = entry.probe
            && now >= due
        {
            entry.probe = Some(now + PROBE_EVERY);
            return &PROBING;
        }
        &entry.way
    }

    /// Where the destination stands, or should: its own place, a free one, else the first of its places.
    fn find(&self, to: SocketAddr) -> usize {
        let home = home_of(to);
        let tries = || (0..TRIES).map(|step| (home + step) % PLACES);
        let taken = |place: &usize| self.places[*place].as_ref().is_some_and(|entry| entry.to == to);
        tries().find(taken).or_else(|| tries().find(|place| self.places[*place].is_none())).unwrap_or(home)
    }
}

fn home_of(to: SocketAddr) -> usize {
    let address = match to {
        SocketAddr::V4(to) => u64::from(to.ip().to_bits()),
        SocketAddr::V6(to) => (to.ip().to_bits() ^ (to.ip().to_bits() >> 64)) as u64,
    };
    let mixed = (address ^ (u64::from(to.port()) << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (u64::BITS - PLACES_LOG2)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdp::route::{Link, Neighbour, Route, Tables, Via};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    const OURS: u32 = 2;

    fn local() -> SocketAddr {
        (Ipv4Addr::new(10, 0, 0, 1), 9000).into()
    }

    /// Everything lies behind one gateway.
    fn tables(stale: bool, mtu: u32) -> Tables {
        let gateway = IpAddr::from([10, 0, 0, 254]);
        let via = Via::Interface { index: OURS, gateway: Some(gateway), source: None, mtu: None };
        Tables {
            links: vec![Link { index: OURS, up: true, carrier: true, mtu, mac: [2; 6], over: None }],
            routes: vec![Route { to: Ipv4Addr::UNSPECIFIED.into(), prefix: 0, local_table: false, metric: 0, via }],
            neighbours: vec![Neighbour { interface: OURS, ip: gateway, mac: [3; 6], stale }],
            ..Tables::default()
        }
    }

    #[test]
    fn a_set_of_the_largest_size_stands_side_by_side() {
        let some = |at: u64| (at.wrapping_mul(0xD129_0E3F_9A5C_77B1) >> 32) as u32;
        let v4 = |ip: u32, port| SocketAddr::from((Ipv4Addr::from_bits(ip), port));
        let layouts: [(&str, &dyn Fn(u64) -> SocketAddr); 5] = [
            ("neighbours", &|at| v4(0x0a07_0000 + at as u32, 27_000)),
            ("ports of one host", &|at| v4(0x0a07_0001, 20_000 + at as u16)),
            ("every tenth port", &|at| v4(0x0a07_0001, 20_000 + 10 * at as u16)),
            ("anywhere", &|at| v4(some(at), 8_001)),
            ("anywhere, IPv6", &|at| (Ipv6Addr::from_bits(u128::from(some(at)) << 64 | 1), 8_001).into()),
        ];
        for (name, address) in layouts {
            let (mut cache, routes) = (HopCache::new(), Reader::of(tables(false, 1500)));
            for round in 0..3 {
                for at in 0..samara_types::set::VALIDATORS_MAX as u64 {
                    cache.way(&routes, OURS, local(), address(at), Instant::now());
                }
                assert_eq!(cache.made(), samara_types::set::VALIDATORS_MAX as u64, "{name}, round {round}");
            }
        }
    }

    #[test]
    fn a_stale_neighbour_is_probed_once_a_second_however_often_the_tables_change() {
        let (mut cache, mut routes) = (HopCache::new(), Reader::of(tables(false, 1500)));
        let start = Instant::now();
        let to = (Ipv4Addr::new(192, 0, 2, 1), 9000).into();
        let mut probes = |routes: &mut Reader, from_ms: u64| {
            let at = |ms: u64| start + Duration::from_millis(ms);
            let probed = |ms: &u64| matches!(cache.way(routes, OURS, local(), to, at(*ms)), Way::Detour(Detour::Stale));
            (from_ms..from_ms + 500).step_by(50).filter(probed).count()
        };
        assert_eq!(probes(&mut routes, 0), 0, "known");
        routes.change(tables(true, 1500));
        assert_eq!(probes(&mut routes, 500), 1, "at once when it is stale");
        routes.change(tables(true, 1400));
        assert_eq!(probes(&mut routes, 1_000), 0, "another change is no news of it");
        routes.change(tables(true, 1300));
        assert_eq!(probes(&mut routes, 1_500), 1, "a second later");
        routes.change(tables(false, 1300));
        assert_eq!(probes(&mut routes, 2_500), 0, "heard of");
        routes.change(tables(true, 1300));
        assert_eq!(probes(&mut routes, 3_000), 1, "and stale again");
    }
}
