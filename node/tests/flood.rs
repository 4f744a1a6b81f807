//! A flood of garbage at one of five validators under load, from outside and through the valid session of the sixth member.
//!
//! ```text
//! outside: random, truncated, bit-flipped and replayed handshakes and sealed datagrams ─> session_* , port_receive_*
//! inside:  random, truncated and bit-flipped messages of every kind, old shreds and votes ─> class_*, malformed_message, shred_*, vote_*, ..
//! ```
//! `SAMARA_FLOOD` sets the number of datagrams, `SAMARA_FLOOD_PACE` how many a second; the default takes a few seconds.

mod support;

use samara_types::message::{
    self, ArchivedCertificateRequest, ArchivedManifestRequest, ArchivedNullify, ArchivedShredRequest, ArchivedStatus, ArchivedVote,
    CertificateRequest, Manifest, ManifestRequest, ShredRequest, Status, access, encode,
};
use samara_types::{Block, Class, MessageKind, ShredHeader, ValidatorIndex, View};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use support::cluster::Honest;
use support::forge::Forge;
use support::puppet::{Conduct, Mouth, Puppet, Saying};
use support::{HONEST, HOSTILE};

/// Datagrams by default.
const DATAGRAMS: u64 = 200_000;
/// Datagrams a second, both ways together: more than honest peers send by far, and what two cores carry beside six validators.
const PACE: u64 = 40_000;
/// The validator under flood.
const TARGET: ValidatorIndex = ValidatorIndex(0);
/// How long it may take until every kind of message was heard.
const READY: Duration = Duration::from_secs(20);
/// Most memory the flood may cost.
const GROWTH_MIB: f64 = 64.0;
/// Blocks that must become final at each of the five while it lasts.
const GROWTH: u64 = 20;

/// SplitMix64: the flood is the same at each run but for what was captured.
#[derive(Default)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    fn cut(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes[..self.below(bytes.len())].to_vec()
    }

    fn flip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut flipped = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let bit = self.below(bytes.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
        flipped
    }
}

/// From plain sockets.
struct Outside {
    sockets: Vec<UdpSocket>,
    to: SocketAddr,
    random: Random,
    /// Handshakes of seat 5, to the target and to others.
    handshakes: Vec<Vec<u8>>,
    /// Datagrams sealed for the target that it has opened before, the last ones.
    sealed: VecDeque<Vec<u8>>,
    sent: u64,
}

impl Outside {
    fn send(&mut self, datagram: &[u8]) {
        let socket = self.random.below(self.sockets.len());
        self.sockets[socket].send_to(datagram, self.to).unwrap();
    }

    fn send_garbage(&mut self) {
        let genuine: &[Vec<u8>] = if self.random.below(2) == 0 { &self.handshakes } else { self.sealed.make_contiguous() };
        let genuine = self.random.pick(genuine).clone();
        let datagram = match self.random.below(4) {
            0 => {
                let len = self.random.below(2_200);
                self.random.bytes(len)
            }
            1 => self.random.cut(&genuine),
            2 => self.random.flip(&genuine),
            _ => genuine,
        };
        self.send(&datagram);
        self.sent += 1;
    }
}

/// Through the session: listens like a member, and sends garbage when told to.
#[derive(Default)]
struct Inside {
    random: Random,
    /// The last genuine messages of each kind.
    genuine: BTreeMap<u8, Vec<Vec<u8>>>,
    /// Shreds and votes of views that are long final.
    old: Vec<(MessageKind, Vec<u8>)>,
    /// How many to send in the next pass.
    due: u64,
    /// One vote over and over: more than its class lets through.
    repeats: bool,
    sent: u64,
    sent_by_kind: BTreeMap<&'static str, u64>,
    /// Messages that were well formed and possibly of use, garbage or not.
    taken_max: u64,
    /// Of the family of shreds.
    shreds: u64,
}

impl Inside {
    fn learn(&mut self, kind: MessageKind, message: &[u8]) {
        let known = self.genuine.entry(kind as u8).or_default();
        known.push(message.to_vec());
        if known.len() > 8 {
            known.remove(0);
        }
        if matches!(kind, MessageKind::Shred | MessageKind::Vote) && self.old.len() < 64 {
            self.old.push((kind, message.to_vec()));
        }
    }

    /// Requests a member could make, from what was announced.
    fn learn_requests(&mut self, message: &[u8]) {
        let Some(view) = ShredHeader::view_of(message) else { return };
        let root: [u8; 32] = *message.last_chunk().unwrap();
        self.learn(MessageKind::ShredRequest, &encode(&ShredRequest { view: view.0, slice: 0, root, wanted: [0xff; 16] }));
        self.learn(MessageKind::CertificateRequest, &encode(&CertificateRequest { from: 0, to: u64::MAX }));
        let status = Status { view: 1, finalized_view: 0, finalized_height: 0, finalized_digest: [0; 32] };
        self.learn(MessageKind::Status, &encode(&status));
    }

    fn is_ready(&self) -> bool {
        MessageKind::ALL.iter().all(|kind| self.genuine.contains_key(&(*kind as u8))) && self.old.len() == 64
    }

    fn garbage(&mut self) -> (MessageKind, Vec<u8>) {
        let kind = *self.random.pick(MessageKind::ALL);
        let genuine = self.random.pick(&self.genuine[&(kind as u8)]).clone();
        match self.random.below(4) {
            0 => {
                let len = self.random.below(kind.bytes_max() + 1);
                (kind, self.random.bytes(len))
            }
            1 => (kind, self.random.cut(&genuine)),
            2 => (kind, self.random.flip(&genuine)),
            _ => self.random.pick(&self.old).clone(),
        }
    }

    fn next(&mut self) -> (MessageKind, Vec<u8>) {
        if self.repeats { self.old.iter().find(|(kind, _)| *kind == MessageKind::Vote).unwrap().clone() } else { self.garbage() }
    }

    fn count(&mut self, view: View, kind: MessageKind, message: &[u8]) {
        self.sent += 1;
        *self.sent_by_kind.entry(kind.as_str()).or_default() += 1;
        self.shreds += u64::from(matches!(kind, MessageKind::Shred | MessageKind::RepairShred | MessageKind::Announce));
        self.taken_max += u64::from(may_be_taken(view, kind, message));
    }
}

/// Whether a validator near `view` could take the message without a word: requests and statuses have no refusal, a vote of a view under
/// way is stored before it is verified, and gossip is judged by the service reactor.
fn may_be_taken(view: View, kind: MessageKind, bytes: &[u8]) -> bool {
    let near = |of: u64| of + 32 >= view.0 && of <= view.0 + 128;
    match kind {
        MessageKind::Vote => access::<ArchivedVote>(bytes).is_some_and(|vote| near(vote.view.to_native())),
        MessageKind::Nullify => access::<ArchivedNullify>(bytes).is_some_and(|nullify| near(nullify.view.to_native())),
        MessageKind::Status => access::<ArchivedStatus>(bytes).is_some(),
        MessageKind::ManifestRequest => access::<ArchivedManifestRequest>(bytes).is_some(),
        MessageKind::ShredRequest => access::<ArchivedShredRequest>(bytes).is_some(),
        MessageKind::CertificateRequest => access::<ArchivedCertificateRequest>(bytes).is_some(),
        MessageKind::Transactions => access::<message::ArchivedTransactionBatch>(bytes).is_some(),
        _ => false,
    }
}

impl Conduct for Inside {
    fn on_message(&mut self, _from: ValidatorIndex, kind: MessageKind, message: &[u8], _mouth: &mut Mouth<'_>) {
        self.learn(kind, message);
        match kind {
            MessageKind::Shred => self.learn(MessageKind::RepairShred, message),
            MessageKind::Announce => self.learn_requests(message),
            _ => {}
        }
    }

    /// Asks for what it lacks, and votes for nothing: the flooded validator's own vote is needed for every block.
    fn on_saying(&mut self, saying: Saying, mouth: &mut Mouth<'_>) {
        if saying.kind.class() == Class::High {
            mouth.say(&saying);
        }
    }

    fn on_own_block(&mut self, block: &Block, _mouth: &mut Mouth<'_>) {
        let roots = block.roots().iter().map(|root| root.0).collect();
        self.learn(MessageKind::Manifest, &encode(&Manifest { header: block.header().to_bytes().to_vec(), roots }));
        let header = block.header();
        self.learn(MessageKind::ManifestRequest, &encode(&ManifestRequest { view: header.parent_view.0, digest: header.parent_digest.0 }));
    }

    fn on_pass(&mut self, view: View, mouth: &mut Mouth<'_>) {
        for _ in 0..std::mem::take(&mut self.due) {
            let (kind, message) = self.next();
            if mouth.send(TARGET, kind, &message) {
                self.count(view, kind, &message);
            }
        }
    }
}

/// Sums of what a metrics file counts as dropped.
struct Books(Value);

impl Books {
    fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap()
    }

    fn drops(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        let drops = self.0["drops"].as_object().unwrap();
        drops.iter().filter(|(reason, _)| is_meant(reason)).map(|(_, count)| count.as_u64().unwrap()).sum()
    }

    fn classes(&self, what: &str) -> u64 {
        self.0["classes"].as_object().unwrap().values().map(|class| class[what].as_u64().unwrap()).sum()
    }

    /// Every datagram that was opened is a message, admitted or refused, or served the session layer, or was dropped for one reason.
    fn assert_balanced(&self) {
        let sum = self.classes("received") + self.classes("refused") + self.number("datagrams_consumed") + self.drops(is_session);
        assert_eq!(self.number("datagrams_opened"), sum, "{}", self.0);
    }
}

fn is_session(reason: &str) -> bool {
    reason.starts_with("session_")
}

/// What changed from one file to a later one.
struct Change {
    before: Books,
    after: Books,
}

impl Change {
    fn number(&self, key: &str) -> u64 {
        self.after.number(key) - self.before.number(key)
    }

    fn drops(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        self.after.drops(&is_meant) - self.before.drops(&is_meant)
    }

    fn classes(&self, what: &str) -> u64 {
        self.after.classes(what) - self.before.classes(what)
    }
}

/// What no honest validator's traffic is refused for.
const GARBAGE_REASONS: [&str; 17] = [
    "session_too_short",
    "session_too_long",
    "session_bad_type",
    "session_bad_version",
    "session_bad_header",
    "session_bad_length",
    "session_bad_mac",
    "session_cookie_asked",
    "session_handshake_rate",
    "session_replayed_init",
    "session_unknown_session",
    "session_bad_tag",
    "session_replayed",
    "class_critical_rate",
    "malformed_message",
    "shred_malformed",
    "shred_unrequested",
];

/// Everything in one place: the five, seat 5, the plain sockets.
struct Flood {
    honest: Honest,
    puppet: Puppet,
    inside: Inside,
    outside: Outside,
}

/// What was seen while the flood lasted.
struct Course {
    seconds: f64,
    grown: Vec<u64>,
    resident_mib: (/* before */ f64, /* at most */ f64),
}

impl Flood {
    /// A cluster under load, and seat 5 with something genuine of every kind to spoil.
    fn prepare(honest: Honest) -> Flood {
        let mut puppet = Puppet::new(&honest);
        let mut inside = Inside { random: Random(5), ..Inside::default() };
        let ready = Instant::now() + READY;
        while !inside.is_ready() {
            puppet.pass(&mut inside);
            assert!(Instant::now() < ready, "heard kinds {:?} only", inside.genuine.keys());
        }
        let handshakes: Vec<Vec<u8>> = HONEST.map(|to| Forge::handshake(&honest, ValidatorIndex(to as u16))).collect();
        let mut outside = Outside {
            sockets: (0..4).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect(),
            to: honest.genesis.addresses[TARGET.at()].datagram,
            random: Random(6),
            // Those to others come now and then too.
            handshakes: handshakes.iter().cloned().chain(vec![handshakes[TARGET.at()].clone(); 6]).collect(),
            sealed: VecDeque::new(),
            sent: 0,
        };
        outside.send(&handshakes[TARGET.at()]);
        let mut flood = Flood { honest, puppet, inside, outside };
        (0..64).for_each(|_| flood.overhear());
        flood
    }

    /// A sealed datagram passes by; it is genuine once, afterwards it is a replay.
    fn overhear(&mut self) {
        let status = &self.inside.genuine[&(MessageKind::Status as u8)][0];
        let datagram = self.puppet.seal(TARGET, MessageKind::Status, status);
        self.outside.send(&datagram);
        self.outside.sealed.push_back(datagram);
        if self.outside.sealed.len() > 64 {
            self.outside.sealed.pop_front();
        }
    }

    /// The target's books from after this moment: a file may hold a snapshot of before it, the third one does not.
    fn books(&mut self) -> Books {
        let (mut last, mut files) = (0, 0);
        loop {
            self.puppet.pass(&mut self.inside);
            let Some(metrics) = self.honest.metrics(TARGET.at()) else { continue };
            let written = metrics["written_unix_ms"].as_u64().unwrap();
            if std::mem::replace(&mut last, written) < written {
                files += 1;
            }
            if files == 4 {
                return Books(metrics);
            }
        }
    }

    /// The first quarter is one vote through the session, the rest garbage from both sides.
    fn run(&mut self, total: u64, pace: u64) -> Course {
        self.outside.sent = 0;
        self.honest.begin_measuring();
        let (resident_before, _) = self.honest.resident_mib(TARGET.at());
        let before = self.honest.heights().unwrap();
        let started = Instant::now();
        let (mut sent, mut look) = (0, started);
        while sent < total {
            let due = (started.elapsed().as_micros() as u64 * pace / 1_000_000).min(total).saturating_sub(sent).min(512);
            self.inside.repeats = sent < total / 4;
            self.inside.due = if self.inside.repeats { due } else { due.div_ceil(2) };
            (self.inside.due..due).for_each(|_| self.outside.send_garbage());
            self.puppet.pass(&mut self.inside);
            sent = self.outside.sent + self.inside.sent;
            if Instant::now() >= look {
                look = Instant::now() + Duration::from_millis(100);
                self.honest.assert_alive();
                self.honest.resident_mib(TARGET.at());
                (0..8).for_each(|_| self.overhear());
            }
        }
        let grown = self.honest.heights().unwrap().iter().zip(&before).map(|(after, before)| after - before).collect();
        let (_, resident_most) = self.honest.resident_mib(TARGET.at());
        Course { seconds: started.elapsed().as_secs_f64(), grown, resident_mib: (resident_before, resident_most) }
    }

    fn describe(&self, course: &Course, change: &Change) {
        let (outside, inside) = (self.outside.sent, self.inside.sent);
        eprintln!(
            "{outside} datagrams from outside and {inside} through the session in {:.1} s: {:?}",
            course.seconds, self.inside.sent_by_kind
        );
        eprintln!("blocks meanwhile {:?}, resident MiB before and at most {:.1?}", course.grown, course.resident_mib);
        eprintln!("opened {}, delivered {}, dropped:", change.number("datagrams_opened"), change.classes("received"));
        for reason in change.after.0["drops"].as_object().unwrap().keys() {
            eprintln!("  {reason:<34} {}", change.drops(|other| other == reason));
        }
        eprintln!("  gossip (service reactor): {}", change.after.0["service"]["gossip_dropped"]);
        eprintln!("  of what came through the session, at most {} were taken without a word", self.inside.taken_max);
    }

    /// What came from outside was dropped by the kernel, by the port, or for a reason of the session layer, and nothing else was. What
    /// came through the session was refused by its class or by a handler, unless it could be of use.
    fn assert_counted(&self, change: &Change) {
        let kernel = change.drops(|reason| reason == "port_receive_kernel");
        let outside = change.drops(|reason| is_session(reason) || reason == "port_receive_oversize");
        assert!(outside <= self.outside.sent && outside + kernel >= self.outside.sent, "{outside} + {kernel} of {}", self.outside.sent);
        let refused = change.classes("refused");
        let shreds = change.drops(|reason| reason.starts_with("shred_"));
        assert!(shreds + refused + kernel >= self.inside.shreds, "{shreds} + {refused} + {kernel} of {}", self.inside.shreds);
        let handlers = change.drops(|reason| !["session_", "port_", "class_", "unsent_"].iter().any(|room| reason.starts_with(room)));
        let inside = handlers + refused + self.inside.taken_max;
        assert!(inside + kernel >= self.inside.sent, "{inside} + {kernel} of {}", self.inside.sent);
        for reason in GARBAGE_REASONS {
            assert!(change.drops(|other| other == reason) > 0, "nothing was dropped as {reason}");
        }
    }
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} = {text}: allowed is a number")))
}

#[test]
fn a_flood_from_outside_and_through_a_session_is_counted_by_reason_and_stops_nothing() {
    let (total, pace) = (number_from("SAMARA_FLOOD", DATAGRAMS), number_from("SAMARA_FLOOD_PACE", PACE));
    let honest = Honest::start(24_400);
    let load = honest.load(300, 512);
    let mut flood = Flood::prepare(honest);
    let before = flood.books();
    let course = flood.run(total, pace);
    let after = flood.books();
    load.cease();
    while !load.is_over() {
        flood.puppet.pass(&mut flood.inside);
    }
    let outcome = load.outcome();
    flood.honest.stop();

    before.assert_balanced();
    after.assert_balanced();
    let change = Change { before, after };
    flood.describe(&course, &change);
    flood.assert_counted(&change);
    assert!(course.grown.iter().all(|grown| *grown >= GROWTH), "finality went on everywhere: {:?}", course.grown);
    let (resident_before, resident_most) = course.resident_mib;
    assert!(resident_most - resident_before < GROWTH_MIB, "{resident_before} MiB grew to {resident_most} MiB");
    flood.honest.assert_agreement(&outcome);
    eprintln!("{} of {} offered transactions final", outcome.finalized, outcome.offered);
    for index in HONEST {
        let evidence = flood.honest.evidence(index);
        assert!(evidence.keys().all(|(accused, _)| *accused == u64::from(HOSTILE.0)), "{evidence:?}");
    }
}
