//! Machines, links and a clock. Messages are real wire bytes with real signatures; bodies travel whole, as if Rotor had delivered them.

use crate::{Application, Config, Consensus, Input, Output, Proposal, Recovery, Tip, To, Verdict};
use samara_crypto::{Certificate, Roster, VoteSecret};
use samara_types::block::{genesis_digest, payload_digest};
use samara_types::message::{self, access, encode};
use samara_types::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// An application whose payload names the view and whose validity the test decides by first byte.
#[derive(Default)]
pub struct Counter {
    pub finalized: Vec<Digest>,
}

impl Application for Counter {
    fn propose(&mut self, proposal: Proposal, _: &[Arc<Block>], _: usize) -> Vec<u8> {
        proposal.view.0.to_le_bytes().to_vec()
    }
    fn verify(&mut self, block: &Block, _: &[Arc<Block>]) -> Verdict {
        if block.payload() == b"invalid" { Verdict::Invalid } else { Verdict::Valid }
    }
    fn finalize(&mut self, block: &Block) {
        self.finalized.push(block.digest());
    }
    fn has_work(&self) -> bool {
        true
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    Vote(message::Vote),
    Nullify(message::Nullify),
    Certificate(message::Certificate),
    Request(message::CertificateRequest),
    Status(message::Status),
    Body(Arc<Block>, bool),
}

/// What one node did, for assertions.
#[derive(Default)]
pub struct Trace {
    pub records: Vec<Record>,
    pub sent: Vec<Packet>,
    pub finalized: Vec<Arc<Block>>,
    pub evidence: Vec<Evidence>,
    pub syncs: usize,
}

pub struct Node {
    pub machine: Option<Consensus<Counter>>,
    pub trace: Trace,
    persisted: u64,
    /// Records reported durable only up to this many when set.
    pub disk_stops_after: Option<u64>,
    pub bodies: BTreeMap<Digest, Arc<Block>>,
}

impl Node {
    /// A new incarnation counts its records from zero.
    pub fn reset_disk(&mut self) {
        self.persisted = 0;
    }
}

pub type Filter = Box<dyn FnMut(usize, usize, &Packet) -> bool>;

pub struct Cluster {
    pub roster: Arc<Roster>,
    pub secrets: Vec<[u8; 32]>,
    pub nodes: Vec<Node>,
    pub now: Nanos,
    pub queue: VecDeque<(usize, usize, Packet)>,
    pub filter: Filter,
}

pub fn params() -> Params {
    Params { view_timeout: Nanos::from_millis(100), block_interval: Nanos(0), idle_interval: Nanos(0), ..Params::default() }
}

impl Cluster {
    pub fn new(validators: usize) -> Cluster {
        let secrets: Vec<[u8; 32]> = (0..validators).map(|i| [i as u8 + 1; 32]).collect();
        let entry = |secret: &[u8; 32]| {
            let vote = VoteSecret::from_bytes(secret).unwrap();
            ValidatorEntry {
                stake: Stake(1),
                vote_key: vote.public_key(),
                possession: vote.possession(),
                identity_key: samara_crypto::IdentitySecret::from_bytes(secret).public_key(),
                session_key: *secret,
            }
        };
        let set = ValidatorSet::new(secrets.iter().map(entry).collect(), None).unwrap();
        let roster = Arc::new(Roster::new(set, SigningDomain { chain: ChainId([7; 32]), epoch: Epoch(0) }).unwrap());
        let mut cluster =
            Cluster { roster, secrets, nodes: Vec::new(), now: Nanos(0), queue: VecDeque::new(), filter: Box::new(|_, _, _| true) };
        for i in 0..validators {
            let machine = cluster.machine(i, cluster.genesis());
            let trace = Trace::default();
            cluster.nodes.push(Node { machine: Some(machine), trace, persisted: 0, disk_stops_after: None, bodies: BTreeMap::new() });
        }
        cluster
    }

    pub fn genesis(&self) -> Recovery {
        let digest = genesis_digest(&self.roster.domain().chain);
        let tip = Tip { view: View(0), height: Height(0), digest };
        Recovery { tip, tip_certificate: None, blocks: vec![], records: vec![], amnesia: false }
    }

    pub fn schedule(&self) -> LeaderSchedule {
        LeaderSchedule::new(self.roster.set(), &Digest::ZERO, Epoch(0))
    }

    pub fn leader(&self, view: u64) -> usize {
        self.schedule().leader(View(view)).at()
    }

    pub fn secret(&self, i: usize) -> VoteSecret {
        VoteSecret::from_bytes(&self.secrets[i]).unwrap()
    }

    pub fn machine(&self, i: usize, recovery: Recovery) -> Consensus<Counter> {
        let config = Config { me: ValidatorIndex(i as u16), params: params() };
        let (roster, schedule) = (Arc::clone(&self.roster), self.schedule());
        Consensus::new(config, roster, schedule, self.secret(i), Counter::default(), recovery, self.now)
    }

    pub fn get(&mut self, i: usize) -> &mut Consensus<Counter> {
        self.nodes[i].machine.as_mut().expect("node is up")
    }

    pub fn vote_from(&self, i: usize, view: u64, digest: Digest) -> message::Vote {
        let signature = self.secret(i).sign(self.roster.domain(), &Subject::Vote(View(view), digest));
        message::Vote { view, digest: digest.0, signature }
    }

    pub fn nullify_from(&self, i: usize, view: u64) -> message::Nullify {
        let signature = self.secret(i).sign(self.roster.domain(), &Subject::Nullify(View(view)));
        message::Nullify { view, signature }
    }

    /// A certificate made outside any machine.
    pub fn certificate(&self, subject: Subject, signers: &[usize], kind: message::CertificateKind) -> Certificate {
        let mut book = samara_crypto::ViewBook::new(subject.view(), self.secrets.len());
        for &i in signers {
            book.add(subject, ValidatorIndex(i as u16), self.secret(i).sign(self.roster.domain(), &subject));
        }
        book.settle(&self.roster, &subject);
        book.certificate(&self.roster, &subject, kind).expect("enough signers")
    }

    /// A block of the leader of `view` on the given parent.
    pub fn block(&self, view: u64, parent: &Tip, payload: &[u8]) -> Arc<Block> {
        let header = BlockHeader {
            view: View(view),
            parent_view: parent.view,
            parent_digest: parent.digest,
            height: parent.height.next(),
            timestamp_ns: 0,
            payload_length: payload.len() as u32,
            leader: ValidatorIndex(self.leader(view) as u16),
            payload_digest: payload_digest(payload),
        };
        Arc::new(Block::new(header, vec![payload_digest(payload)], payload.to_vec()).unwrap())
    }

    pub fn tip_of(block: &Block) -> Tip {
        Tip { view: block.header().view, height: block.header().height, digest: block.digest() }
    }

    /// Feeds one packet and carries out what the machine wants.
    pub fn deliver(&mut self, from: usize, to: usize, packet: &Packet) {
        let (now, from) = (self.now, ValidatorIndex(from as u16));
        let Some(machine) = self.nodes[to].machine.as_mut() else { return };
        match packet {
            Packet::Vote(vote) => machine.handle(now, Input::Vote(from, access(&encode(vote)).unwrap())),
            Packet::Nullify(nullify) => machine.handle(now, Input::Nullify(from, access(&encode(nullify)).unwrap())),
            Packet::Certificate(c) => machine.handle(now, Input::Certificate(from, access(&encode(c)).unwrap())),
            Packet::Request(r) => machine.handle(now, Input::CertificateRequest(from, access(&encode(r)).unwrap())),
            Packet::Status(s) => machine.handle(now, Input::Status(from, access(&encode(s)).unwrap())),
            Packet::Body(block, true) => machine.handle(now, Input::Proposal(Arc::clone(block))),
            Packet::Body(block, false) => machine.handle(now, Input::Fetched(Arc::clone(block))),
        }
        self.drain(to);
    }

    pub fn input(&mut self, to: usize, input: Input<'_>) {
        let now = self.now;
        self.get(to).handle(now, input);
        self.drain(to);
    }

    fn send(&mut self, from: usize, to: To, packet: Packet) {
        self.nodes[from].trace.sent.push(packet.clone());
        for peer in 0..self.nodes.len() {
            let wanted = match to {
                To::All => peer != from,
                To::One(one) => one.at() == peer,
            };
            if wanted && (self.filter)(from, peer, &packet) {
                self.queue.push_back((from, peer, packet.clone()));
            }
        }
    }

    pub fn drain(&mut self, i: usize) {
        while let Some(output) = self.nodes[i].machine.as_mut().and_then(|machine| machine.poll()) {
            self.act(i, output);
        }
    }

    fn act(&mut self, i: usize, output: Output) {
        match output {
            Output::Persist(record, body) => {
                self.nodes[i].trace.records.push(record);
                if let Some(body) = body {
                    self.nodes[i].bodies.insert(body.digest(), body);
                }
                self.nodes[i].persisted += 1;
                let persisted = self.nodes[i].persisted;
                if self.nodes[i].disk_stops_after.is_none_or(|most| persisted <= most) {
                    self.input(i, Input::Persisted(persisted));
                }
            }
            Output::SendVote(to, vote) => self.send(i, to, Packet::Vote(vote)),
            Output::SendNullify(to, nullify) => self.send(i, to, Packet::Nullify(nullify)),
            Output::SendCertificate(to, c) => self.send(i, to, Packet::Certificate(c.to_message())),
            Output::SendStatus(to, status) => self.send(i, to, Packet::Status(status)),
            Output::SendCertificateRequest(to, request) => self.send(i, to, Packet::Request(request)),
            Output::Propose { view, parent, ancestors } => {
                let payload = self.get(i).build_payload(view, &parent, &ancestors);
                let block = self.block(view.0, &parent, &payload);
                self.nodes[i].bodies.insert(block.digest(), Arc::clone(&block));
                self.input(i, Input::Proposed(block));
            }
            Output::Disseminate(_, digest) => {
                let block = Arc::clone(&self.nodes[i].bodies[&digest]);
                self.send(i, To::All, Packet::Body(block, true));
            }
            Output::Fetch { digest, holders, .. } => {
                let held = holders.iter().find_map(|peer| self.nodes[peer.at()].bodies.get(&digest).cloned().map(|b| (peer.at(), b)));
                if let Some((peer, block)) = held
                    && (self.filter)(peer, i, &Packet::Body(Arc::clone(&block), false))
                {
                    self.queue.push_back((peer, i, Packet::Body(block, false)));
                }
            }
            Output::Sync { .. } => self.nodes[i].trace.syncs += 1,
            Output::Finalized(block, _) => {
                self.nodes[i].bodies.insert(block.digest(), Arc::clone(&block));
                self.nodes[i].trace.finalized.push(block);
            }
            Output::Evidence(evidence) => self.nodes[i].trace.evidence.push(evidence),
            Output::Entered(_) | Output::Nullified(_) => {}
            Output::SafetyViolation(view, digest) => panic!("node {i}: safety violation in view {view}: {digest}"),
        }
    }

    /// Ticks everybody, then delivers everything in flight; `steps` times, the clock moving to the next deadline in between.
    pub fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            for i in 0..self.nodes.len() {
                if self.nodes[i].machine.is_some() {
                    self.input(i, Input::Tick);
                }
            }
            self.settle();
            let next = self.nodes.iter().filter_map(|node| node.machine.as_ref()?.next_deadline()).min();
            self.now = next.unwrap_or(self.now).max(self.now.after(Nanos(100_000)));
            self.check();
        }
    }

    /// Delivers what is in flight, at most a fair amount of it (with instant links a cluster never falls silent).
    pub fn settle(&mut self) {
        for _ in 0..400 {
            let Some((from, to, packet)) = self.queue.pop_front() else { break };
            self.deliver(from, to, &packet);
        }
    }

    /// Agreement, one vote a view, [nullify, vote] never: over all incarnations, because traces survive restarts.
    pub fn check(&self) {
        for (i, node) in self.nodes.iter().enumerate() {
            let mut voted: BTreeMap<View, Digest> = BTreeMap::new();
            let mut nullified = std::collections::BTreeSet::new();
            for record in &node.trace.records {
                match record {
                    Record::Vote(view, digest) => {
                        assert!(!nullified.contains(view), "node {i} voted after nullify in view {view}");
                        assert!(voted.insert(*view, *digest).is_none(), "node {i} voted twice in view {view}");
                    }
                    Record::Nullify(view) => assert!(nullified.insert(*view), "node {i} nullified view {view} twice"),
                    Record::Proposal(..) => {}
                }
            }
        }
        let longest = self.nodes.iter().max_by_key(|node| self.height(node)).expect("nodes");
        let reference: BTreeMap<_, _> = longest.trace.finalized.iter().map(|b| (b.header().height, b.digest())).collect();
        for (i, node) in self.nodes.iter().enumerate() {
            for block in &node.trace.finalized {
                let at = reference.get(&block.header().height);
                assert!(at.is_none_or(|digest| *digest == block.digest()), "node {i} disagrees at {}", block.header().height);
            }
        }
    }

    fn height(&self, node: &Node) -> u64 {
        node.trace.finalized.last().map_or(0, |block| block.header().height.0)
    }

    pub fn heights(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| self.height(node)).collect()
    }
}
