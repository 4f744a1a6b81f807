//! Six nodes and a network that loses packets; one relay is dead.

use super::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use samara_types::MessageKind;
use std::collections::BinaryHeap;

/// (arrival, number, from, to, kind, message)
type Packet = (Nanos, u64, u16, u16, u8, Vec<u8>);

struct Net<'a> {
    cluster: &'a Cluster,
    nodes: Vec<Reassembly>,
    dead: Vec<u16>,
    random: ChaCha20Rng,
    loss_percent: u64,
    now: Nanos,
    /// Earliest first.
    flying: BinaryHeap<std::cmp::Reverse<Packet>>,
    sent: u64,
    blocks: Vec<Vec<(View, Digest, Origin)>>,
}

impl<'a> Net<'a> {
    fn new(cluster: &'a Cluster, seed: u8, loss_percent: u64, dead: &[u16]) -> Net<'a> {
        let mut nodes: Vec<_> = (0..6).map(|me| cluster.node(me)).collect();
        nodes.iter_mut().for_each(|node| node.advance(View::GENESIS, VIEW));
        let random = ChaCha20Rng::from_seed([seed; 32]);
        Net {
            cluster,
            nodes,
            dead: dead.to_vec(),
            random,
            loss_percent,
            now: NOW,
            flying: BinaryHeap::new(),
            sent: 0,
            blocks: vec![Vec::new(); 6],
        }
    }

    fn send(&mut self, from: u16, to: u16, kind: MessageKind, message: Vec<u8>) {
        self.sent += 1;
        let lost = self.random.next_u64() % 100 < self.loss_percent;
        if !lost && !self.dead.contains(&from) && !self.dead.contains(&to) {
            let at = self.now.after(Nanos(200_000 + self.random.next_u64() % 2_000_000));
            self.flying.push(std::cmp::Reverse((at, self.sent, from, to, kind as u8, message)));
        }
    }

    fn relay(&mut self, me: u16, leader: ValidatorIndex, message: &[u8]) {
        for to in (0..6).filter(|to| *to != me && ValidatorIndex(*to) != leader) {
            self.send(me, to, MessageKind::Shred, message.to_vec());
        }
    }

    /// The leader sends its block; nobody else knows it.
    fn propose(&mut self, shredded: &ShreddedBlock) {
        let leader = shredded.block.header().leader;
        let now = self.now;
        let node = &mut self.nodes[leader.at()];
        node.insert_own(now, shredded);
        let order = shredded.send_order(node.relay_table(), &self.cluster.roster.set().by_stake(), leader);
        if shredded.class == crate::Dissemination::Hybrid {
            for (slice, to) in shredded.slices.iter().flat_map(|slice| (0..6).map(move |to| (slice, to))).filter(|(_, to)| *to != leader.0)
            {
                self.send(leader.0, to, MessageKind::Announce, slice.announcement());
            }
        }
        for shred in order {
            self.send(leader.0, shred.to.0, MessageKind::Shred, message(&shredded.slices[shred.slice.at()], shred.index));
        }
    }

    fn deliver(&mut self, from: u16, to: u16, kind: u8, bytes: &[u8]) {
        let (now, sender, roster) = (self.now, ValidatorIndex(from), &self.cluster.roster);
        let node = &mut self.nodes[usize::from(to)];
        let mut replies = Vec::new();
        match MessageKind::from_byte(kind).unwrap() {
            MessageKind::Shred => {
                if node.on_shred(now, roster, sender, false, bytes).is_ok_and(|accepted| accepted.relay) {
                    self.relay(to, sender, bytes);
                }
            }
            MessageKind::RepairShred => drop(node.on_shred(now, roster, sender, true, bytes)),
            MessageKind::Announce => drop(node.on_announce(now, roster, sender, bytes)),
            MessageKind::ManifestRequest => replies.extend(node.serve_manifest(bytes).map(|manifest| (MessageKind::Manifest, manifest))),
            MessageKind::Manifest => drop(node.on_manifest(now, sender, bytes)),
            MessageKind::ShredRequest => node.serve_shreds(bytes, |shred| replies.push((MessageKind::RepairShred, shred.to_vec()))),
            other => panic!("nobody sends {other:?}"),
        }
        for (kind, reply) in replies {
            self.send(to, from, kind, reply);
        }
    }

    /// Drains a node, and tells the others of a block it has as a certificate would.
    fn drain(&mut self, me: u16, certify: bool) {
        while let Some(event) = self.nodes[usize::from(me)].poll_event() {
            match event {
                Event::Block(block, origin) => self.blocks[usize::from(me)].push((block.header().view, block.digest(), origin)),
                other => panic!("all are honest: {other:?}"),
            }
        }
        while let Some(relay) = self.nodes[usize::from(me)].poll_relay() {
            self.relay(me, relay.leader, &relay.message);
        }
        if certify {
            for (view, digest, _) in self.blocks[usize::from(me)].clone() {
                let holders: SignerBitmap = [ValidatorIndex(me)].into_iter().collect();
                for other in 0..6usize {
                    self.nodes[other].want(self.now, view, digest, holders);
                }
            }
        }
        while let Some((peer, request)) = self.nodes[usize::from(me)].poll_request(self.now) {
            self.send(me, peer.0, request.kind(), request.bytes().to_vec());
        }
    }

    /// Runs until nothing flies and nobody has a deadline, at most `steps` steps.
    fn run(&mut self, certify: bool, steps: usize) {
        for _ in 0..steps {
            (0..6).for_each(|me| self.drain(me, certify));
            let arrival = self.flying.peek().map(|next| next.0.0);
            let deadline = self
                .nodes
                .iter()
                .enumerate()
                .filter(|(me, _)| !self.dead.contains(&(*me as u16)))
                .filter_map(|(_, node)| node.next_deadline())
                .min();
            let Some(next) = arrival.into_iter().chain(deadline).min() else { return };
            self.now = self.now.max(next);
            if arrival.is_some_and(|arrival| arrival <= self.now) {
                let std::cmp::Reverse((_, _, from, to, kind, bytes)) = self.flying.pop().unwrap();
                self.deliver(from, to, kind, &bytes);
            }
        }
        panic!("the cluster did not come to rest");
    }
}

fn all_have(net: &Net<'_>, shredded: &ShreddedBlock) {
    for me in (0..6).filter(|me| !net.dead.contains(me) && ValidatorIndex(*me) != shredded.block.header().leader) {
        let held: Vec<_> = net.blocks[usize::from(me)].iter().map(|(_, digest, _)| *digest).collect();
        assert_eq!(held, [shredded.block.digest()], "node {me}");
    }
}

#[test]
fn without_loss_every_block_comes_by_dissemination_alone_and_a_dead_relay_does_not_matter() {
    let cluster = Cluster::new(6);
    for length in [100, 3_000, 60_000, 200_000] {
        let shredded = cluster.block(VIEW, length, 1);
        for dead in [vec![], vec![receiver(&cluster, 2)], vec![receiver(&cluster, 1), receiver(&cluster, 3)]] {
            let mut net = Net::new(&cluster, 1, 0, &dead);
            net.propose(&shredded);
            net.run(false, 100_000);
            all_have(&net, &shredded);
            assert!(net.blocks.iter().flatten().all(|(_, _, origin)| *origin == Origin::Disseminated));
            let asked: u64 = net.nodes.iter().map(|node| node.rejects()[ShredReject::Unrequested as usize]).sum();
            assert_eq!(asked, 0);
        }
    }
}

#[test]
fn with_random_loss_and_one_dead_relay_every_block_completes_everywhere() {
    let cluster = Cluster::new(6);
    for (seed, loss) in (1..=12).zip([0, 5, 10, 20, 30, 40].into_iter().cycle()) {
        for length in [100, 3_000, 60_000, 150_000] {
            let shredded = cluster.block(VIEW, length, seed);
            let mut net = Net::new(&cluster, seed, loss, &[receiver(&cluster, u16::from(seed) % 5)]);
            net.propose(&shredded);
            // A certificate comes to everybody by other means; here whoever has the block, the leader first, tells.
            let (digest, leader) = (shredded.block.digest(), shredded.block.header().leader);
            for node in &mut net.nodes {
                node.want(NOW, VIEW, digest, [leader].into_iter().collect());
            }
            net.run(true, 400_000);
            all_have(&net, &shredded);
            net.nodes.iter_mut().for_each(assert_charge_is_true);
        }
    }
}

#[test]
fn withheld_seats_are_repaired() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 150_000, 1);
    // Three of five relays withhold their seats, more than the code bears: 26 of 65 shreds remain.
    let dead: Vec<u16> = (0..3).map(|number| receiver(&cluster, number)).collect();
    let mut net = Net::new(&cluster, 3, 0, &dead);
    net.propose(&shredded);
    let holders = [shredded.block.header().leader].into_iter().collect();
    for node in &mut net.nodes {
        node.want(NOW, VIEW, shredded.block.digest(), holders);
    }
    net.run(false, 400_000);
    all_have(&net, &shredded);
}

#[test]
fn every_relay_sends_each_of_its_seats_once() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 60_000, 1);
    let mut net = Net::new(&cluster, 5, 0, &[]);
    net.propose(&shredded);
    net.run(false, 100_000);
    let shreds: u64 = shredded.slices.iter().map(|slice| u64::from(slice.commitment.shape.total)).sum();
    let announcements = shredded.slices.len() as u64 * 5;
    assert_eq!(net.sent, announcements + shreds + shreds * 4, "leader to relays, relays to the four others");
}
