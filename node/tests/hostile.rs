//! One member of six turns hostile: the five others, real processes under load, agree, go on, and hold against it what it did.

mod support;

use samara_types::message::{ArchivedNullify, ArchivedVote, CertificateRequest, ManifestRequest, ShredRequest, access, encode};
use samara_types::{Block, Class, Digest, Height, MessageKind, ShredHeader, ValidatorIndex, View, transaction};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use support::HONEST;
use support::cluster::{Honest, Watcher};
use support::forge::Forge;
use support::puppet::{Conduct, Mouth, Puppet, Saying};

/// Longest time a hostile member gets for its deeds.
const PATIENCE: Duration = Duration::from_secs(30);
/// From one look at the five to the next.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Blocks that must become final at each of the five while it acts.
const GROWTH: u64 = 50;

/// Transactions a second and their size: blocks of a slice, and blocks of several.
const SMALL: (u64, usize) = (300, 512);
const LARGE: (u64, usize) = (600, 1_200);

/// Counts of what a conduct did, so that a test cannot pass without its subject.
trait Deeds: Conduct {
    fn are_done(&self) -> bool;
    fn describe(&self) -> String;
}

/// Runs the five under load beside the hostile member until everything was done, everybody holds `offences` against it, and the chain
/// has grown all along; then stops them and reads what they stored.
fn endure(base_port: u16, (tps, tx_size): (u64, usize), conduct: impl FnOnce(&Honest) -> Box<dyn Deeds>, offences: &[&str]) -> Honest {
    let mut honest = Honest::start(base_port);
    let mut puppet = Puppet::new(&honest);
    let mut conduct = conduct(&honest);
    let load = honest.load(tps, tx_size);
    while puppet.up() < HONEST.len() {
        puppet.pass(conduct.as_mut());
    }
    let sights = watch(honest.watcher.clone(), offences);
    let started = Instant::now();
    let mut grown = Vec::new();
    loop {
        puppet.pass(conduct.as_mut());
        let Ok((now_grown, accused)) = sights.try_recv() else {
            let held = || HONEST.map(|index| honest.evidence(index)).collect::<Vec<_>>();
            assert!(started.elapsed() < PATIENCE, "grown {grown:?}, {}, evidence {:?}", conduct.describe(), held());
            continue;
        };
        honest.assert_alive();
        grown = now_grown;
        if accused && conduct.are_done() {
            break;
        }
    }
    eprintln!("{:.1} s, blocks {grown:?}, {}", started.elapsed().as_secs_f64(), conduct.describe());
    drop(sights);
    load.cease();
    while !load.is_over() {
        puppet.pass(conduct.as_mut());
    }
    let outcome = load.outcome();
    honest.stop();
    let heights = honest.assert_agreement(&outcome);
    eprintln!("heights {heights:?}, {} of {} offered transactions final", outcome.finalized, outcome.offered);
    let chain = honest.inspect("chain", "blocks", 0);
    let differs =
        |(height, digest): (&Height, &Digest)| chain.get(height.0 as usize - 1).is_some_and(|block| block["digest"] != digest.hex());
    assert!(!puppet.finalized.is_empty() && !puppet.finalized.iter().any(differs), "what the hostile member saw final is final");
    assert!(puppet.accused.is_empty(), "the others behaved: {:?}", puppet.accused);
    assert!(honest.accuse_exactly(offences), "after the stop as before it");
    honest
}

/// Growth of the five since now and, once it suffices, whether everybody holds exactly `offences`; from a thread of its own, because the
/// hostile member must not wait for what it takes to look. Ends when nobody listens.
fn watch(watcher: Watcher, offences: &[&str]) -> Receiver<(Vec<u64>, bool)> {
    let offences: Vec<String> = offences.iter().map(|offence| offence.to_string()).collect();
    let before = watcher.heights().unwrap();
    let (sender, sights) = channel();
    std::thread::spawn(move || {
        let offences: Vec<&str> = offences.iter().map(String::as_str).collect();
        loop {
            let Some(heights) = watcher.heights() else { continue };
            let grown: Vec<u64> = heights.iter().zip(&before).map(|(now, before)| now - before).collect();
            let accused = grown.iter().all(|grown| *grown >= GROWTH) && watcher.accuse_exactly(&offences);
            if sender.send((grown, accused)).is_err() {
                return;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    });
    sights
}

/// As leader: two validly signed blocks, different ones to different peers, and a vote for both to everybody. Apart from that, an honest
/// member.
struct Equivocator {
    forge: Forge,
    /// By [`SIZES`].
    turns: [usize; 3],
}

/// Transactions and their data bytes: blocks that travel direct, hybrid, and in several relayed slices.
const SIZES: [(usize, usize); 3] = [(1, 100), (6, 300), (60, 1_100)];

impl Conduct for Equivocator {
    fn on_own_block(&mut self, block: &Block, mouth: &mut Mouth<'_>) {
        let turn = self.turns.iter().sum::<usize>() % SIZES.len();
        self.turns[turn] += 1;
        let (count, bytes) = SIZES[turn];
        let payloads = [self.forge.payload(count, bytes), self.forge.payload(count, bytes)];
        let twins = payloads.map(|payload| self.forge.block(block.header(), payload));
        self.forge.disseminate(&twins[0], |to| to.0 < 3, mouth);
        self.forge.disseminate(&twins[1], |to| to.0 >= 3, mouth);
        for twin in &twins {
            mouth.broadcast(MessageKind::Vote, &self.forge.vote(block.header().view, twin.block.digest()));
        }
    }

    fn on_saying(&mut self, saying: Saying, mouth: &mut Mouth<'_>) {
        let view = match saying.kind {
            MessageKind::Shred => ShredHeader::view_of(&saying.bytes),
            MessageKind::Vote => access::<ArchivedVote>(&saying.bytes).map(|vote| View(vote.view.to_native())),
            MessageKind::Announce => return,
            _ => None,
        };
        if !view.is_some_and(|view| self.forge.leads(view)) {
            mouth.say(&saying);
        }
    }
}

impl Deeds for Equivocator {
    fn are_done(&self) -> bool {
        self.turns.iter().all(|turns| *turns >= 2)
    }

    fn describe(&self) -> String {
        format!("equivocated {:?} times with direct, hybrid and relayed blocks", self.turns)
    }
}

#[test]
fn a_leader_with_two_blocks_and_two_votes_is_convicted_and_splits_nobody() {
    let conduct = |honest: &Honest| Box::new(Equivocator { forge: Forge::new(honest), turns: [0; 3] }) as Box<dyn Deeds>;
    let honest = endure(24_100, SMALL, conduct, &["leader_equivocation", "vote_equivocation"]);
    for index in HONEST {
        for row in honest.inspect("evidence", "evidence", index) {
            assert!(!row["proof"].as_str().unwrap().is_empty(), "equivocation is provable: {row}");
        }
    }
}

/// Bad votes, bad certificates, foreign seats; as leader malformed code words and blocks the application refuses, in turn.
struct Forger {
    forge: Forge,
    bad_votes: usize,
    certificates: usize,
    foreign_seats: usize,
    malformed: usize,
    invalid: usize,
    last_view: View,
    last_foreign: View,
}

impl Forger {
    fn invalid_payload(&mut self) -> Vec<u8> {
        let mut payload = Vec::new();
        match self.invalid % 3 {
            0 => payload = vec![0xee; 3_000],
            1 => {
                let mut bytes = self.forge.transaction(1_000);
                *bytes.last_mut().unwrap() ^= 1;
                transaction::append(&mut payload, &bytes);
            }
            _ => {
                let bytes = self.forge.transaction(900);
                (0..2).for_each(|_| transaction::append(&mut payload, &bytes));
            }
        }
        payload
    }
}

impl Conduct for Forger {
    /// The first relayed shred of a view goes on to everybody as if its seat were ours.
    fn on_message(&mut self, from: ValidatorIndex, kind: MessageKind, message: &[u8], mouth: &mut Mouth<'_>) {
        let view = ShredHeader::view_of(message).unwrap_or_default();
        let is_relay = kind == MessageKind::Shred && !self.forge.is_leader(from, view) && !self.forge.leads(view);
        if is_relay && view.0 > self.last_foreign.0 + 20 {
            self.last_foreign = view;
            self.foreign_seats += 1;
            mouth.broadcast(MessageKind::Shred, message);
        }
    }

    fn on_saying(&mut self, saying: Saying, mouth: &mut Mouth<'_>) {
        match saying.kind {
            MessageKind::Vote => {
                let vote = access::<ArchivedVote>(&saying.bytes).unwrap();
                let (view, digest) = (View(vote.view.to_native()), Digest(vote.digest));
                self.bad_votes += 1;
                mouth.say(&Saying { bytes: self.forge.bad_vote(view, digest), ..saying });
            }
            MessageKind::Nullify => {
                let view = View(access::<ArchivedNullify>(&saying.bytes).unwrap().view.to_native());
                self.bad_votes += 1;
                mouth.say(&Saying { bytes: self.forge.bad_nullify(view), ..saying });
            }
            MessageKind::Shred if ShredHeader::view_of(&saying.bytes).is_some_and(|view| self.forge.leads(view)) => {}
            MessageKind::Announce => {}
            _ => mouth.say(&saying),
        }
    }

    fn on_own_block(&mut self, block: &Block, mouth: &mut Mouth<'_>) {
        let hostile = if self.malformed <= self.invalid {
            self.malformed += 1;
            let (count, bytes) = SIZES[1 + self.malformed % 2];
            let payload = self.forge.payload(count, bytes);
            let block = self.forge.block(block.header(), payload);
            self.forge.malformed(&block)
        } else {
            let payload = self.invalid_payload();
            self.invalid += 1;
            self.forge.block(block.header(), payload)
        };
        self.forge.disseminate(&hostile, |_| true, mouth);
    }

    /// Each of the five meets another forgery first: the first one ends a sender's credit.
    fn on_pass(&mut self, view: View, mouth: &mut Mouth<'_>) {
        if view.0 < self.last_view.0 + 25 {
            return;
        }
        self.last_view = view;
        let forgeries = self.forge.bad_certificates(View(view.0 + 10));
        for at in 0..forgeries.len() {
            for to in HONEST {
                let forgery = &forgeries[(at + to) % forgeries.len()];
                self.certificates += usize::from(mouth.send(ValidatorIndex(to as u16), MessageKind::Certificate, forgery));
            }
        }
    }
}

impl Deeds for Forger {
    fn are_done(&self) -> bool {
        self.bad_votes >= 20 && self.certificates >= 60 && self.foreign_seats >= 2 && self.malformed >= 3 && self.invalid >= 3
    }

    fn describe(&self) -> String {
        format!(
            "{} bad votes, {} bad certificates, {} foreign seats, {} malformed and {} invalid blocks",
            self.bad_votes, self.certificates, self.foreign_seats, self.malformed, self.invalid
        )
    }
}

#[test]
fn forged_votes_certificates_seats_code_words_and_blocks_are_each_held_against_their_maker() {
    let conduct = |honest: &Honest| {
        Box::new(Forger {
            forge: Forge::new(honest),
            bad_votes: 0,
            certificates: 0,
            foreign_seats: 0,
            malformed: 0,
            invalid: 0,
            last_view: View(0),
            last_foreign: View(0),
        }) as Box<dyn Deeds>
    };
    let offences = ["bad_vote_signature", "bad_certificate", "wrong_seat", "malformed_block", "invalid_block"];
    let honest = endure(24_200, SMALL, conduct, &offences);
    assert_eq!(honest.hostile_blocks(), 0, "nothing it proposed became final");
}

/// Receives and asks, and never relays, votes, proposes or answers.
struct Withholder {
    forge: Forge,
    seats: usize,
    turns: usize,
    unsaid: usize,
}

impl Conduct for Withholder {
    fn on_message(&mut self, from: ValidatorIndex, kind: MessageKind, message: &[u8], _mouth: &mut Mouth<'_>) {
        let view = ShredHeader::view_of(message).unwrap_or_default();
        self.seats += usize::from(kind == MessageKind::Shred && self.forge.is_leader(from, view));
    }

    fn on_saying(&mut self, saying: Saying, mouth: &mut Mouth<'_>) {
        match saying.kind {
            MessageKind::Announce => {}
            kind if kind.class() == Class::High => mouth.say(&saying),
            _ => self.unsaid += 1,
        }
    }

    fn on_own_block(&mut self, _block: &Block, _mouth: &mut Mouth<'_>) {
        self.turns += 1;
    }
}

impl Deeds for Withholder {
    fn are_done(&self) -> bool {
        self.seats >= 50 && self.turns >= 3 && self.unsaid >= 100
    }

    fn describe(&self) -> String {
        format!("withheld {} shreds of own seats, {} own blocks, {} messages in all", self.seats, self.turns, self.unsaid)
    }
}

/// Silence cannot be told from loss, so nobody is accused of it.
#[test]
fn withheld_relay_seats_and_votes_stop_nobody_and_accuse_nobody() {
    let conduct = |honest: &Honest| Box::new(Withholder { forge: Forge::new(honest), seats: 0, turns: 0, unsaid: 0 }) as Box<dyn Deeds>;
    let honest = endure(24_300, LARGE, conduct, &[]);
    assert_eq!(honest.hostile_blocks(), 0);
    let nullified = honest.metrics(0).unwrap()["nullified_views"].as_u64().unwrap();
    assert!(nullified >= 3, "its views end by nullification: {nullified}");
}

/// Asks one validator for whatever it has, faster than the class of requests allows, and votes for nothing.
struct Greedy {
    requests: [Option<(MessageKind, Vec<u8>)>; 3],
    asked: usize,
    answers: usize,
}

impl Conduct for Greedy {
    fn on_message(&mut self, _from: ValidatorIndex, kind: MessageKind, message: &[u8], _mouth: &mut Mouth<'_>) {
        self.answers += usize::from(matches!(kind, MessageKind::RepairShred | MessageKind::Manifest));
        match kind {
            MessageKind::Announce => {
                let (view, root) = (ShredHeader::view_of(message).unwrap(), *message.last_chunk().unwrap());
                let request = encode(&ShredRequest { view: view.0, slice: 0, root, wanted: [0xff; 16] });
                self.requests[0] = Some((MessageKind::ShredRequest, request.to_vec()));
            }
            MessageKind::Vote => {
                let vote = access::<ArchivedVote>(message).unwrap();
                let request = encode(&ManifestRequest { view: vote.view.to_native(), digest: vote.digest });
                self.requests[1] = Some((MessageKind::ManifestRequest, request.to_vec()));
            }
            _ => {}
        }
    }

    fn hears(&self, kind: MessageKind) -> bool {
        !matches!(kind, MessageKind::RepairShred | MessageKind::Manifest)
    }

    fn on_saying(&mut self, saying: Saying, mouth: &mut Mouth<'_>) {
        if saying.kind.class() == Class::High {
            mouth.say(&saying);
        }
    }

    fn on_pass(&mut self, _view: View, mouth: &mut Mouth<'_>) {
        for _ in 0..8 {
            for (kind, request) in self.requests.iter().flatten() {
                self.asked += usize::from(mouth.send(ValidatorIndex(0), *kind, request));
            }
        }
    }
}

impl Deeds for Greedy {
    fn are_done(&self) -> bool {
        self.asked >= 50_000 && self.answers >= 10_000
    }

    fn describe(&self) -> String {
        format!("asked {} times, {} answers came", self.asked, self.answers)
    }
}

/// Its requests are bounded by their class, and its answers yield to whatever else the asked one has to send.
#[test]
fn a_member_that_asks_for_everything_without_end_stops_nobody() {
    let everything = encode(&CertificateRequest { from: 0, to: u64::MAX }).to_vec();
    let requests = [None, None, Some((MessageKind::CertificateRequest, everything))];
    let honest = endure(24_500, SMALL, |_| Box::new(Greedy { requests, asked: 0, answers: 0 }), &[]);
    let drops = honest.metrics(0).unwrap()["drops"].clone();
    assert!(drops["class_high_rate"].as_u64().is_some_and(|refused| refused > 0), "{drops}");
}
