//! The network between the machines: what happens to each datagram.
//!
//! ```text
//! send -> cut? -> egress pipe (bandwidth, bounded queue) -> loss, duplication -> latency + jitter + spikes -> Arrive
//! Arrive -> NIC reset? -> ingress pipe (bandwidth, ring of bounded depth: overrun) -> the process
//! ```
//! Datagrams of members arrive unaltered or not at all: sessions authenticate every byte, so a network that alters one loses it. Links do not
//! keep order. Sessions themselves (handshakes, rekeys) and the class buckets of the dataplane are not simulated.

use crate::dice::Dice;
use crate::plan_file;
use crate::trace::Traffic;
use samara_types::datagram::{INNER_HEADER_BYTES, IP_UDP_BYTES, OUTER_HEADER_BYTES, TAG_BYTES};
use samara_types::{Class, MessageKind, Nanos};
use serde::{Deserialize, Serialize};

/// Bytes around a message on the wire.
const FRAME_BYTES: usize = IP_UDP_BYTES + OUTER_HEADER_BYTES + TAG_BYTES + INNER_HEADER_BYTES;

/// How one direction between two machines behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Every datagram takes at least this.
    #[serde(with = "plan_file::nanos")]
    pub base: Nanos,
    /// Mean of what is added: uniform from zero to twice this.
    #[serde(with = "plan_file::nanos")]
    pub jitter: Nanos,
    /// Deviation of a normal part of the latency; negative draws shorten it down to half of `base`.
    #[serde(with = "plan_file::nanos")]
    pub deviation: Nanos,
    /// Lost, per million.
    pub loss_ppm: u32,
    /// Delivered twice, per million.
    pub duplicate_ppm: u32,
    /// Held back by `spike`, per million: reordering.
    pub spike_ppm: u32,
    /// For how long.
    #[serde(with = "plan_file::nanos")]
    pub spike: Nanos,
}

impl Link {
    /// A link that only takes time.
    pub fn steady(base: Nanos) -> Link {
        Link { base, jitter: Nanos(0), deviation: Nanos(0), loss_ppm: 0, duplicate_ppm: 0, spike_ppm: 0, spike: Nanos(0) }
    }

    fn delay(&self, dice: &mut Dice) -> Nanos {
        let mut delay = self.base.0 + dice.below(2 * self.jitter.0 + 1);
        if self.deviation.0 > 0 {
            let shift = dice.normal_milli() * self.deviation.0 as i64 / 1_000;
            delay = delay.saturating_add_signed(shift).max(self.base.0 / 2);
        }
        if dice.chance(self.spike_ppm) {
            delay += dice.below(self.spike.0 + 1);
        }
        Nanos(delay)
    }
}

/// One machine's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Bytes a second that leave; 0 is without limit.
    pub egress_per_second: u64,
    /// Bytes a second that arrive; 0 is without limit.
    pub ingress_per_second: u64,
    /// What the sender may have queued before it drops shreds and gossip.
    #[serde(with = "plan_file::nanos")]
    pub outbox: Nanos,
    /// What the receive ring holds, as time at full rate, before it overruns.
    #[serde(with = "plan_file::nanos")]
    pub ring: Nanos,
}

impl Nic {
    /// The same rate in both directions.
    pub fn both_ways(bytes_per_second: u64, outbox: Nanos, ring: Nanos) -> Nic {
        Nic { egress_per_second: bytes_per_second, ingress_per_second: bytes_per_second, outbox, ring }
    }

    /// Another rate in both directions.
    pub fn set_rate(&mut self, bytes_per_second: u64) {
        (self.egress_per_second, self.ingress_per_second) = (bytes_per_second, bytes_per_second);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Port {
    egress_free: Nanos,
    ingress_free: Nanos,
    reset_until: Nanos,
    overrun_until: Nanos,
}

/// What the receiving machine does with a datagram that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Hand it to the process.
    Now,
    /// It is through the ring at this time.
    At(Nanos),
    /// Gone.
    Dropped,
}

/// See the module.
pub struct Network {
    links: Vec<Link>,
    nics: Vec<Nic>,
    ports: Vec<Port>,
    cut: Vec<bool>,
    nodes: usize,
    dice: Dice,
    /// Every datagram by its end, as the network counts.
    pub traffic: Traffic,
}

impl Network {
    /// `links[from * nodes + to]`.
    pub fn new(links: Vec<Link>, nics: Vec<Nic>, dice: Dice) -> Network {
        let nodes = nics.len();
        assert_eq!(links.len(), nodes * nodes, "a link for every ordered pair");
        Network {
            links,
            ports: vec![Port::default(); nodes],
            nics,
            cut: vec![false; nodes * nodes],
            nodes,
            dice,
            traffic: Traffic::default(),
        }
    }

    /// When the copies of a datagram arrive: none, one or two.
    pub fn send(&mut self, now: Nanos, from: usize, to: usize, kind: MessageKind, bytes: usize) -> [Option<Nanos>; 2] {
        self.traffic.sent += 1;
        if self.cut[from * self.nodes + to] {
            self.traffic.cut += 1;
            return [None; 2];
        }
        if now < self.ports[from].reset_until {
            self.traffic.reset += 1;
            return [None; 2];
        }
        let Some(departs) = self.depart(now, from, kind, bytes) else {
            self.traffic.outbox_full += 1;
            return [None; 2];
        };
        let link = self.links[from * self.nodes + to];
        if self.dice.chance(link.loss_ppm) {
            self.traffic.lost += 1;
            return [None; 2];
        }
        let first = departs.after(link.delay(&mut self.dice));
        let second = self.dice.chance(link.duplicate_ppm).then(|| departs.after(link.delay(&mut self.dice)));
        self.traffic.duplicated += u64::from(second.is_some());
        [Some(first), second]
    }

    /// The end of serialization; None if the outbox is full and the message may be dropped.
    fn depart(&mut self, now: Nanos, from: usize, kind: MessageKind, bytes: usize) -> Option<Nanos> {
        let nic = &self.nics[from];
        if nic.egress_per_second == 0 {
            return Some(now);
        }
        let port = &mut self.ports[from];
        let starts = port.egress_free.max(now);
        let sheds = matches!(kind.class(), Class::Normal | Class::Low);
        if sheds && starts.since(now) > nic.outbox {
            return None;
        }
        port.egress_free = starts.after(wire_time(bytes, nic.egress_per_second));
        Some(port.egress_free)
    }

    /// A datagram is at the receiver's NIC.
    pub fn arrive(&mut self, now: Nanos, to: usize, bytes: usize) -> Arrival {
        let (nic, port) = (&self.nics[to], &mut self.ports[to]);
        if now < port.reset_until {
            self.traffic.reset += 1;
            return Arrival::Dropped;
        }
        if now < port.overrun_until {
            self.traffic.overrun += 1;
            return Arrival::Dropped;
        }
        if nic.ingress_per_second == 0 {
            return Arrival::Now;
        }
        let starts = port.ingress_free.max(now);
        if starts.since(now) > nic.ring {
            self.traffic.overrun += 1;
            return Arrival::Dropped;
        }
        port.ingress_free = starts.after(wire_time(bytes, nic.ingress_per_second));
        Arrival::At(port.ingress_free)
    }

    /// Whether a byte stream from one to the other makes progress. (TCP repairs loss, not a cut.)
    pub fn streams(&self, now: Nanos, from: usize, to: usize) -> bool {
        let at = |a: usize, b: usize| self.cut[a * self.nodes + b];
        !at(from, to) && !at(to, from) && now >= self.ports[from].reset_until && now >= self.ports[to].reset_until
    }

    /// How long a byte stream takes for so many bytes: its way and the narrower of what the two NICs let through.
    pub fn stream_time(&mut self, from: usize, to: usize, bytes: usize) -> Nanos {
        let there = self.links[from * self.nodes + to].delay(&mut self.dice);
        let rates = [self.nics[from].egress_per_second, self.nics[to].ingress_per_second];
        let narrow = rates.into_iter().filter(|rate| *rate > 0).min();
        there.after(narrow.map_or(Nanos(0), |rate| wire_time(bytes, rate)))
    }

    /// Cuts or joins one direction.
    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        self.cut[from * self.nodes + to] = cut;
    }

    /// Joins everything.
    pub fn join_all(&mut self) {
        self.cut.fill(false);
    }

    /// Changes every link.
    pub fn relink(&mut self, mut change: impl FnMut(usize, usize, &mut Link)) {
        for from in 0..self.nodes {
            for to in 0..self.nodes {
                change(from, to, &mut self.links[from * self.nodes + to]);
            }
        }
    }

    /// Changes every NIC.
    pub fn renic(&mut self, mut change: impl FnMut(usize, &mut Nic)) {
        for (node, nic) in self.nics.iter_mut().enumerate() {
            change(node, nic);
        }
    }

    /// A link.
    pub fn link(&self, from: usize, to: usize) -> &Link {
        &self.links[from * self.nodes + to]
    }

    /// Nothing goes in or out of a machine until then.
    pub fn reset_nic(&mut self, node: usize, until: Nanos) {
        self.ports[node].reset_until = until;
    }

    /// Nothing that arrives finds room in a machine's ring until then.
    pub fn overrun(&mut self, node: usize, until: Nanos) {
        self.ports[node].overrun_until = until;
    }
}

fn wire_time(bytes: usize, bytes_per_second: u64) -> Nanos {
    Nanos(((bytes + FRAME_BYTES) as u128 * 1_000_000_000 / u128::from(bytes_per_second)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn network(link: Link, nic: Nic) -> Network {
        Network::new(vec![link; 4], vec![nic; 2], Dice::new(1, "test"))
    }

    fn free() -> Nic {
        Nic::both_ways(0, Nanos(0), Nanos(0))
    }

    #[test]
    fn loss_and_duplication_follow_their_rates() {
        let link = Link { loss_ppm: 250_000, duplicate_ppm: 100_000, ..Link::steady(Nanos(MS)) };
        let mut network = network(link, free());
        let copies: usize = (0..20_000).map(|_| network.send(Nanos(0), 0, 1, MessageKind::Vote, 90).iter().flatten().count()).sum();
        assert!((15_900..17_100).contains(&copies), "{copies} copies of 20,000");
        let traffic = network.traffic;
        assert_eq!(traffic.sent + traffic.duplicated, copies as u64 + traffic.lost);
    }

    #[test]
    fn bandwidth_delays_and_a_full_outbox_drops_shreds_but_never_votes() {
        let nic = Nic::both_ways(1_000_000, Nanos(2 * MS), Nanos(2 * MS));
        let mut network = network(Link::steady(Nanos(MS)), nic);
        let sent: Vec<_> = (0..10).map(|_| network.send(Nanos(0), 0, 1, MessageKind::Shred, 936)[0]).collect();
        assert_eq!(sent[..3], [Some(Nanos(2 * MS)), Some(Nanos(3 * MS)), Some(Nanos(4 * MS))]);
        assert_eq!(sent[4..], [None; 6]);
        assert!(network.send(Nanos(0), 0, 1, MessageKind::Vote, 90)[0].is_some());
        // The ring of the receiver is as deep as its limit.
        let arrived: Vec<_> = (0..5).map(|_| network.arrive(Nanos(0), 1, 936)).collect();
        assert_eq!(arrived[..2], [Arrival::At(Nanos(MS)), Arrival::At(Nanos(2 * MS))]);
        assert_eq!(arrived[4], Arrival::Dropped);
    }

    #[test]
    fn cuts_are_one_way_and_streams_need_both() {
        let mut network = network(Link::steady(Nanos(MS)), free());
        network.set_cut(0, 1, true);
        assert_eq!(network.send(Nanos(0), 0, 1, MessageKind::Vote, 90), [None; 2]);
        assert!(network.send(Nanos(0), 1, 0, MessageKind::Vote, 90)[0].is_some());
        assert!(!network.streams(Nanos(0), 1, 0));
        network.join_all();
        assert!(network.streams(Nanos(0), 1, 0));
        network.reset_nic(0, Nanos(9));
        assert!(!network.streams(Nanos(8), 1, 0) && network.streams(Nanos(9), 1, 0));
    }
}
