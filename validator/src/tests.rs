//! Six whole validators over links in memory: real shreds, real signatures, real transactions, a virtual clock.

mod playback;

use crate::{Config, Input, Milestone, Outlet, Output, Stage, Validator};
use samara_consensus::{MempoolReject, Recovery, Tip, TransactionApp};
use samara_crypto::{IdentitySecret, Keyring, Roster, VerifiedTransaction, VoteSecret, sign_transaction, verify_batch};
use samara_types::block::genesis_digest;
use samara_types::*;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const CHAIN: ChainId = ChainId([5; 32]);

/// Collects what one call sends.
#[derive(Default)]
struct Post {
    me: u16,
    validators: u16,
    sent: Vec<(ValidatorIndex, MessageKind, Vec<u8>)>,
}

impl Outlet for Post {
    fn send(&mut self, to: ValidatorIndex, kind: MessageKind, message: &[u8]) {
        self.sent.push((to, kind, message.to_vec()));
    }
    fn broadcast(&mut self, kind: MessageKind, message: &[u8]) {
        let me = self.me;
        for to in (0..self.validators).filter(|to| *to != me) {
            self.send(ValidatorIndex(to), kind, message);
        }
    }
    fn spent(&mut self, _: Stage) {}
}

struct Node {
    validator: Validator<u64>,
    persisted: u64,
    disk: bool,
    finalized: Vec<Arc<Block>>,
    evidence: Vec<Evidence>,
    answers: Vec<(u64, Result<(), MempoolReject>)>,
    milestones: Vec<(View, Milestone)>,
    sent: Vec<MessageKind>,
}

type Filter = Box<dyn FnMut(usize, usize, MessageKind, &mut Vec<u8>) -> bool>;

/// One validator over the set of `roster`, with instant views.
fn validator(roster: &Arc<Roster>, me: usize, secrets: (VoteSecret, IdentitySecret), recovery: Recovery) -> Validator<u64> {
    let schedule = LeaderSchedule::new(roster.set(), &Digest([9; 32]), Epoch(0));
    let params = Params { view_timeout: Nanos::from_millis(200), block_interval: Nanos(0), idle_interval: Nanos(0), ..Params::default() };
    let config = Config { me: ValidatorIndex(me as u16), params, beacon: Digest([9; 32]), wall_offset_ns: 0 };
    let app = TransactionApp::new(CHAIN, params.dedup_heights, 10_000, 1 << 24);
    Validator::new(config, Arc::clone(roster), schedule, secrets, app, recovery, Nanos(0))
}

struct Net {
    nodes: Vec<Node>,
    roster: Arc<Roster>,
    now: Nanos,
    queue: VecDeque<(usize, usize, MessageKind, Vec<u8>)>,
    filter: Filter,
    /// Messages a validator gets at a time.
    burst: usize,
    recording: Option<playback::Recording>,
}

impl Net {
    fn new(validators: usize) -> Net {
        let keys: Vec<Keyring> = (0..validators).map(|_| Keyring::generate()).collect();
        let entry = |keys: &Keyring| ValidatorEntry {
            stake: Stake(1),
            vote_key: keys.vote.public_key(),
            possession: keys.vote.possession(),
            identity_key: keys.identity.public_key(),
            session_key: keys.session.public_key(),
        };
        let set = ValidatorSet::new(keys.iter().map(entry).collect(), None).unwrap();
        let roster = Arc::new(Roster::new(set, SigningDomain { chain: CHAIN, epoch: Epoch(0) }).unwrap());
        let node = |(me, keys): (usize, Keyring)| {
            let tip = Tip { view: View(0), height: Height(0), digest: genesis_digest(&CHAIN) };
            let recovery = Recovery { tip, tip_certificate: None, blocks: vec![], records: vec![], amnesia: false };
            let validator = validator(&roster, me, (keys.vote, keys.identity), recovery);
            let (finalized, evidence, answers, milestones, sent) = (vec![], vec![], vec![], vec![], vec![]);
            Node { validator, persisted: 0, disk: true, finalized, evidence, answers, milestones, sent }
        };
        let nodes = keys.into_iter().enumerate().map(node).collect();
        Net { nodes, roster, now: Nanos(0), queue: VecDeque::new(), filter: Box::new(|_, _, _, _| true), burst: 1, recording: None }
    }

    fn input(&mut self, i: usize, input: Input<'_, u64>) {
        let mut post = Post { me: i as u16, validators: self.nodes.len() as u16, sent: vec![] };
        let mut recording = self.recording.as_mut().filter(|recording| recording.of == i);
        if let Some(recording) = &mut recording {
            recording.take(self.now, &input, &self.nodes[i].validator);
        }
        self.nodes[i].validator.handle(self.now, input, &mut post);
        for (to, kind, mut bytes) in post.sent {
            self.nodes[i].sent.push(kind);
            if (self.filter)(i, to.at(), kind, &mut bytes) {
                self.queue.push_back((i, to.at(), kind, bytes));
            }
        }
        let mut verify = Vec::new();
        let node = &mut self.nodes[i];
        while let Some(output) = node.validator.poll() {
            if let Some(recording) = &mut recording {
                recording.log.note(&output);
            }
            match output {
                Output::Persist(..) => node.persisted += 1,
                Output::Answer(ticket, taken) => node.answers.push((ticket, taken)),
                Output::Verify(_, payload) => verify.push(payload),
                Output::Finalized(block, _) => node.finalized.push(block),
                Output::Evidence(evidence) => node.evidence.push(evidence),
                Output::Milestone(view, milestone) => node.milestones.push((view, milestone)),
                Output::Sync(..) | Output::Entered(_) | Output::Nullified(_) => {}
                Output::SafetyViolation(view, _) => panic!("safety violation in view {view}"),
            }
        }
        for payload in verify {
            let raw = transaction::iterate(&payload).flatten().map(|t| t.bytes().to_vec()).collect();
            let good = verify_batch(&CHAIN, raw).into_iter().flatten().collect();
            self.input(i, Input::Gossip(good));
        }
    }

    fn submit_and_run(&mut self) {
        for nonce in 0..12 {
            self.input(0, Input::Submit(nonce, transaction(nonce, 300)));
        }
        self.run(20);
    }

    fn disks(&mut self) {
        for i in 0..self.nodes.len() {
            let (persisted, disk) = (self.nodes[i].persisted, self.nodes[i].disk);
            if disk {
                self.input(i, Input::Persisted(persisted));
            }
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.now = self.now.after(Nanos::from_millis(1));
            for i in 0..self.nodes.len() {
                self.input(i, Input::Tick);
            }
            self.disks();
            self.deliver();
            self.disks();
        }
        self.agree();
    }

    fn deliver(&mut self) {
        let mut left = 3_000;
        while left > 0 && !self.queue.is_empty() {
            let to = self.queue[0].1;
            let mine: Vec<_> = (0..self.queue.len()).filter(|at| self.queue[*at].1 == to).take(self.burst.min(left)).collect();
            // Back to front, so that the positions ahead stay what they are.
            let mut taken: Vec<_> = mine.iter().rev().filter_map(|at| self.queue.remove(*at)).collect();
            taken.reverse();
            left -= taken.len();
            if let [(from, _, kind, bytes)] = &taken[..] {
                self.input(to, Input::Message(ValidatorIndex(*from as u16), *kind, bytes));
            } else {
                let burst: Vec<_> = taken
                    .iter()
                    .map(|(from, _, kind, bytes)| Received { from: ValidatorIndex(*from as u16), kind: *kind, bytes })
                    .collect();
                self.input(to, Input::Burst(&burst));
            }
        }
    }

    fn agree(&self) {
        for a in &self.nodes {
            for b in &self.nodes {
                assert!(a.finalized.iter().zip(&b.finalized).all(|(x, y)| x.digest() == y.digest()), "two chains");
            }
        }
    }

    fn accused(&self) -> BTreeSet<u16> {
        self.nodes.iter().flat_map(|node| node.evidence.iter().map(|evidence| evidence.accused.0)).collect()
    }

    fn heights(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.finalized.len()).collect()
    }

    fn ids(&self, i: usize) -> Vec<TransactionId> {
        let blocks = self.nodes[i].finalized.iter();
        blocks.flat_map(|b| transaction::iterate(b.payload()).map(|t| t.unwrap().id(&CHAIN)).collect::<Vec<_>>()).collect()
    }
}

fn transaction(nonce: u64, bytes: usize) -> VerifiedTransaction {
    let secret = IdentitySecret::from_bytes(&[7; 32]);
    verify_batch(&CHAIN, vec![sign_transaction(&CHAIN, &secret, nonce, &vec![3; bytes])]).remove(0).unwrap()
}

#[test]
fn messages_that_come_in_bursts_lead_to_the_same_chain_and_accuse_nobody() {
    for burst in [2, 16, 100] {
        let mut net = Net::new(6);
        net.burst = burst;
        // A tenth of the shreds is lost, so that answers to requests come in bursts too.
        let mut count = 0;
        net.filter = Box::new(move |_, _, kind, _| {
            count += usize::from(kind == MessageKind::Shred);
            kind != MessageKind::Shred || count % 10 != 0
        });
        let sent: BTreeSet<_> = (0..90).map(|nonce| transaction(nonce, 900).id()).collect();
        for nonce in 0..90 {
            net.input(nonce as usize % 6, Input::Submit(nonce, transaction(nonce, 900)));
        }
        net.run(60);
        let got: Vec<_> = net.ids(0);
        assert_eq!(got.len(), sent.len(), "each once, in bursts of {burst}");
        assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), sent);
        assert!(net.heights().iter().all(|height| *height > 3), "{:?}", net.heights());
        assert!(net.accused().is_empty(), "{:?}", net.accused());
    }
}

#[test]
fn six_validators_finalize_every_transaction_once() {
    let mut net = Net::new(6);
    let sent: BTreeSet<_> = (0..60).map(|nonce| transaction(nonce, 300).id()).collect();
    for nonce in 0..60 {
        net.input((nonce % 6) as usize, Input::Submit(nonce, transaction(nonce, 300)));
    }
    net.run(40);
    for i in 0..6 {
        let ids = net.ids(i);
        assert_eq!(ids.len(), sent.len(), "validator {i}");
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), sent);
        assert_eq!(net.nodes[i].answers.iter().filter(|(_, taken)| taken.is_ok()).count(), 10);
        assert!(net.nodes[i].evidence.is_empty());
    }
}

#[test]
fn blocks_of_every_class_travel() {
    for (transactions, bytes) in [(0, 0), (3, 100), (30, 1000), (400, 1000)] {
        let mut net = Net::new(6);
        for nonce in 0..transactions {
            net.input(0, Input::Submit(nonce, transaction(nonce, bytes)));
        }
        net.run(30);
        assert_eq!(net.ids(5).len(), transactions as usize, "{transactions} x {bytes} B");
        assert!(net.heights().iter().all(|height| *height > 5));
    }
}

#[test]
fn nothing_signed_leaves_a_validator_whose_disk_stands_still() {
    let mut net = Net::new(6);
    net.nodes[2].disk = false;
    for nonce in 0..40 {
        net.input(2, Input::Submit(nonce, transaction(nonce, 900)));
    }
    net.run(400);
    let signed = [MessageKind::Vote, MessageKind::Nullify, MessageKind::Announce];
    let own = net.nodes[2].sent.iter().filter(|kind| signed.contains(kind)).count();
    assert_eq!(own, 0, "no vote, no nullify, no announcement");
    assert!(net.nodes[2].milestones.iter().all(|(_, milestone)| *milestone != Milestone::Sent));
    assert!(net.heights().iter().all(|height| *height > 3), "the others go on: {:?}", net.heights());
    let relayed = net.nodes[2].validator.counters().relayed;
    let shreds = net.nodes[2].sent.iter().filter(|kind| **kind == MessageKind::Shred).count() as u64;
    assert!(shreds <= relayed * 4, "only what others proposed is sent on");
}

#[test]
fn a_lossy_network_delivers_every_transaction() {
    let mut net = Net::new(6);
    let mut state = 7u64;
    net.filter = Box::new(move |_, _, _, _| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % 100 >= 10
    });
    for nonce in 0..60 {
        net.input((nonce % 6) as usize, Input::Submit(nonce, transaction(nonce, 900)));
    }
    net.run(1_500);
    assert!(net.heights().iter().all(|height| *height > 10), "{:?}", net.heights());
    let best = (0..6).max_by_key(|i| net.nodes[*i].finalized.len()).unwrap();
    assert_eq!(net.ids(best).into_iter().collect::<BTreeSet<_>>().len(), 60);
    assert_eq!(net.ids(best).len(), 60, "exactly once");
    assert!(net.accused().is_empty(), "loss accuses nobody: {:?}", net.accused());
}

#[test]
fn a_withheld_seat_costs_nothing_but_its_shreds() {
    let mut net = Net::new(6);
    net.filter = Box::new(|from, _, kind, _| from != 3 || kind != MessageKind::Shred);
    for nonce in 0..300 {
        net.input(0, Input::Submit(nonce, transaction(nonce, 900)));
    }
    // Long enough for the views it leads itself to time out.
    net.run(700);
    assert!(net.accused().is_empty(), "silence accuses nobody: {:?}", net.accused());
    assert!(net.ids(1).len() == 300 && net.heights().iter().all(|height| *height > 5), "{:?}", net.heights());
}

#[test]
fn garbage_of_every_kind_is_refused_without_harm() {
    let mut net = Net::new(6);
    net.run(5);
    let mut state = 99u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    for kind in MessageKind::ALL {
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..random() % (kind.bytes_max() + 1)).map(|_| random() as u8).collect();
            net.input(random() % 5, Input::Message(ValidatorIndex(5), *kind, &bytes));
        }
    }
    let before = net.heights();
    net.run(30);
    assert!(net.heights().iter().zip(before).all(|(after, before)| *after > before));
    assert!(net.accused().iter().all(|accused| *accused == 5), "{:?}", net.accused());
    let malformed: u64 = net.nodes.iter().map(|node| node.validator.counters().malformed).sum();
    assert!(malformed > 500, "{malformed} of 2,400 counted as malformed");
}

/// Requests that are none had no counter: in a flood they were the difference between what came and what was accounted for.
#[test]
fn a_truncated_message_of_any_kind_is_counted_once() {
    let mut net = Net::new(6);
    let refused = |net: &Net| {
        let validator = &net.nodes[0].validator;
        validator.counters().malformed + validator.counters().repair_rejects + validator.reassembly().rejects().iter().sum::<u64>()
    };
    for kind in MessageKind::ALL {
        let before = refused(&net);
        net.input(0, Input::Message(ValidatorIndex(5), *kind, &[7; 3]));
        assert_eq!(refused(&net), before + 1, "{}", kind.as_str());
    }
}

#[test]
fn bit_flips_on_the_way_kill_no_block() {
    let mut net = Net::new(6);
    let mut state = 3u64;
    net.filter = Box::new(move |from, _, kind, bytes| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        if from == 4 && kind == MessageKind::Shred {
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] ^= 1 << (state % 8);
        }
        true
    });
    for nonce in 0..200 {
        net.input(0, Input::Submit(nonce, transaction(nonce, 900)));
    }
    net.run(700);
    assert!(net.heights().iter().all(|height| *height > 5), "{:?}", net.heights());
    assert_eq!(net.ids(0).len(), 200);
    assert_eq!(net.accused(), BTreeSet::from([4]), "only the sender of flipped bits is named");
}

#[test]
fn a_restarted_validator_serves_its_last_final_blocks() {
    let mut net = Net::new(6);
    net.submit_and_run();
    let blocks: Vec<_> = net.nodes[0].finalized.iter().rev().take(32).cloned().collect();
    let last = blocks[0].header();
    let tip = Tip { view: last.view, height: last.height, digest: blocks[0].digest() };
    let wanted = blocks[5].clone();
    let recovery = Recovery { tip, tip_certificate: None, blocks, records: vec![], amnesia: false };
    let keys = Keyring::generate();
    let mut restarted = validator(&net.roster, 0, (keys.vote, keys.identity), recovery);
    let request = message::ManifestRequest { view: wanted.header().view.0, digest: wanted.digest().0 };
    let mut post = Post { me: 0, validators: 6, sent: vec![] };
    restarted.handle(net.now, Input::Message(ValidatorIndex(3), MessageKind::ManifestRequest, &message::encode(&request)), &mut post);
    assert!(matches!(post.sent[..], [(ValidatorIndex(3), MessageKind::Manifest, _)]));
}

/// As a laggard gets them in answer to a request.
#[test]
fn certificates_that_come_in_one_burst_are_verified_under_one_equation() {
    const LAGGARD: usize = 5;
    let mut net = Net::new(6);
    /// Datagrams by their recipient.
    type Captured = std::cell::RefCell<Vec<(usize, Vec<u8>)>>;
    let captured: std::rc::Rc<Captured> = std::rc::Rc::default();
    let seen = std::rc::Rc::clone(&captured);
    net.filter = Box::new(move |from, to, kind, bytes| {
        let is_new = |bytes: &Vec<u8>| seen.borrow().iter().all(|(_, other)| other != bytes);
        if to == LAGGARD && kind == MessageKind::Certificate && is_new(bytes) {
            seen.borrow_mut().push((from, bytes.clone()));
        }
        to != LAGGARD && from != LAGGARD
    });
    net.run(600);
    let wires: Vec<_> = captured.borrow().iter().take(20).cloned().collect();
    assert!(wires.len() > 3, "{} certificates", wires.len());
    let received = |(from, bytes): &'_ (usize, Vec<u8>)| (ValidatorIndex(*from as u16), bytes.clone());
    let wires: Vec<_> = wires.iter().map(received).collect();
    let burst: Vec<_> = wires.iter().map(|(from, bytes)| Received { from: *from, kind: MessageKind::Certificate, bytes }).collect();
    let before = net.nodes[LAGGARD].validator.consensus().stats().pairing_checks;
    net.input(LAGGARD, Input::Burst(&burst));
    net.input(LAGGARD, Input::Tick);
    let consensus = net.nodes[LAGGARD].validator.consensus();
    let newest = wires.iter().map(|(_, bytes)| message::access::<message::ArchivedCertificate>(bytes).unwrap().view.to_native()).max();
    assert_eq!((consensus.stats().pairing_checks - before, consensus.view().0), (1, newest.unwrap() + 1));
    assert!(net.nodes[LAGGARD].evidence.is_empty());
}
