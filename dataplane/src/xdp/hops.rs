//! The way to each destination, kept: a template of headers, or the reason for a detour.
//!
//! A small table addressed by a multiplication, four places for a destination. Entries of older tables are made anew when they are next used, so a change of
//! routes costs the hot path one comparison.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::header::Template;
use super::netlink::Reader;
use super::route::Detour;

const PLACES: usize = 512;
const TRIES: usize = 4;
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
    pub(crate) fn way(&mut self, routes: &mut Reader, interface: u32, local: SocketAddr, to: SocketAddr, now: Instant) -> &Way {
        let place = self.find(to);
        let known = self.places[place].as_ref().is_some_and(|entry| entry.to == to && entry.generation == routes.generation());
        if !known {
            routes.refresh();
            self.made += 1;
            let hop = routes.tables().next_hop(interface, local.ip(), to.ip());
            let (way, probe) = match hop {
                Ok(hop) => (Way::Direct(Template::new(&hop, local.port(), to)), hop.stale.then_some(now)),
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
    (mixed >> 55) as usize % PLACES
}
