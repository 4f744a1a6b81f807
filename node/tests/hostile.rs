//! One member of six turns hostile: the five others, real processes under load, agree, go on, and hold against it what it did.

mod support;

use samara_types::message::{ArchivedNullify, ArchivedVote, access};
use samara_types::{Block, Digest, Height, MessageKind, ShredHeader, ValidatorIndex, View, transaction};
use std::time::{Duration, Instant};
use support::HONEST;
use support::cluster::Honest;
use support::forge::Forge;
use support::puppet::{Conduct, Mouth, Puppet, Saying};

/// Longest time a hostile member gets for its deeds.
const PATIENCE: Duration = Duration::from_secs(25);
/// Blocks that must become final at each of the five while it acts.
const GROWTH: u64 = 100;

/// Counts of what a conduct did, so that a test cannot pass without its subject.
trait Deeds: Conduct {
    fn are_done(&self) -> bool;
    fn describe(&self) -> String;
}

/// Runs the five under load beside the hostile member until everything was done, everybody holds `offences` against it, and the chain
/// has grown all along; then stops them and reads what they stored.
fn endure(base_port: u16, conduct: impl FnOnce(&Honest) -> Box<dyn Deeds>, offences: &[&str]) -> (Honest, Box<dyn Deeds>) {
    let mut honest = Honest::start(base_port);
    let mut puppet = Puppet::new(&honest);
    let mut conduct = conduct(&honest);
    let load = honest.load(300, 512);
    while puppet.up() < HONEST.len() {
        puppet.pass(conduct.as_mut());
    }
    let before = honest.heights().unwrap();
    let started = Instant::now();
    let mut look = started;
    loop {
        puppet.pass(conduct.as_mut());
        if Instant::now() < look {
            continue;
        }
        look = Instant::now() + Duration::from_millis(500);
        honest.assert_alive();
        let grown: Vec<u64> = honest.heights().unwrap().iter().zip(&before).map(|(now, before)| now - before).collect();
        if grown.iter().all(|grown| *grown >= GROWTH) && conduct.are_done() && honest.accuse_exactly(offences) {
            eprintln!("{:.1} s, blocks {grown:?}, {}", started.elapsed().as_secs_f64(), conduct.describe());
            break;
        }
        let held: Vec<_> = HONEST.map(|index| honest.evidence(index)).collect();
        assert!(started.elapsed() < PATIENCE, "grown {grown:?}, {}, evidence {held:?}", conduct.describe());
    }
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
    (honest, conduct)
}

/// As leader: two validly signed blocks, different ones to different peers, and a vote for both to everybody. Apart from that, an honest
/// member.
struct Equivocator {
    forge: Forge,
    relayed: usize,
    direct: usize,
}

impl Conduct for Equivocator {
    fn on_own_block(&mut self, block: &Block, mouth: &mut Mouth<'_>) {
        let direct = self.relayed > self.direct;
        let (count, bytes) = if direct { (1, 100) } else { (6, 300) };
        *(if direct { &mut self.direct } else { &mut self.relayed }) += 1;
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
        self.relayed >= 3 && self.direct >= 3
    }

    fn describe(&self) -> String {
        format!("equivocated {} times with relayed and {} times with direct blocks", self.relayed, self.direct)
    }
}

#[test]
fn a_leader_with_two_blocks_and_two_votes_is_convicted_and_splits_nobody() {
    let conduct = |honest: &Honest| Box::new(Equivocator { forge: Forge::new(honest), relayed: 0, direct: 0 }) as Box<dyn Deeds>;
    let (honest, _) = endure(24_100, conduct, &["leader_equivocation", "vote_equivocation"]);
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
            let payload = self.forge.payload(8, 300);
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
        self.bad_votes >= 20 && self.certificates >= 60 && self.foreign_seats >= 3 && self.malformed >= 3 && self.invalid >= 3
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
    let (honest, _) = endure(24_200, conduct, &offences);
    assert_eq!(honest.hostile_blocks(), 0, "nothing it proposed became final");
}

/// Receives and never relays, votes or answers.
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

    fn on_saying(&mut self, _saying: Saying, _mouth: &mut Mouth<'_>) {
        self.unsaid += 1;
    }

    fn on_own_block(&mut self, _block: &Block, _mouth: &mut Mouth<'_>) {
        self.turns += 1;
    }
}

impl Deeds for Withholder {
    fn are_done(&self) -> bool {
        self.seats >= 50 && self.turns >= 5 && self.unsaid >= 100
    }

    fn describe(&self) -> String {
        format!("withheld {} shreds of own seats, {} own blocks, {} messages in all", self.seats, self.turns, self.unsaid)
    }
}

/// Silence cannot be told from loss, so nobody is accused of it.
#[test]
fn withheld_relay_seats_and_votes_stop_nobody_and_accuse_nobody() {
    let conduct = |honest: &Honest| Box::new(Withholder { forge: Forge::new(honest), seats: 0, turns: 0, unsaid: 0 }) as Box<dyn Deeds>;
    let (honest, _) = endure(24_300, conduct, &[]);
    assert_eq!(honest.hostile_blocks(), 0);
    let nullified = honest.metrics(0).unwrap()["nullified_views"].as_u64().unwrap();
    assert!(nullified >= 5, "its views end by nullification: {nullified}");
}
