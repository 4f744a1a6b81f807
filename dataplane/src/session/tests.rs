//! Two or more session machines with a virtual clock and a network that loses, reorders, duplicates and remembers.

use super::*;
use crate::class::Rate;
use proptest::prelude::*;
use samara_types::{ChainId, Digest};

const MS: u64 = 1_000_000;

fn at_ms(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + i as u8], 7000))
}

fn secret(i: usize) -> [u8; 32] {
    *blake3::hash(&[i as u8, 77]).as_bytes()
}

fn public(i: usize) -> [u8; 32] {
    x25519_dalek::x25519(secret(i), x25519_dalek::X25519_BASEPOINT_BYTES)
}

/// The validator of 0 and 1 with the lower public key, then the other.
fn ranked() -> (usize, usize) {
    if public(0) < public(1) { (0, 1) } else { (1, 0) }
}

fn config(me: usize, validators: usize, limits: SessionLimits) -> SessionConfig {
    SessionConfig {
        chain: ChainId([9; 32]),
        me: ValidatorIndex(me as u16),
        secret: secret(me),
        peers: (0..validators).map(|i| (public(i), address(i))).collect(),
        cluster_fingerprint: Digest([3; 32]),
        boot_ns: 1_000_000 * MS,
        limits,
    }
}

#[derive(Clone)]
struct Flying {
    due: u64,
    order: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Per cent.
#[derive(Clone, Copy, Default)]
struct Faults {
    loss: u64,
    duplicate: u64,
    delay_ms: u64,
    jitter_ms: u64,
}

struct Net {
    now: u64,
    nodes: Vec<Sessions>,
    flying: Vec<Flying>,
    faults: Faults,
    rng: rng::Rng,
    sent: u64,
    /// (receiver, sender, message)
    delivered: Vec<(usize, ValidatorIndex, Vec<u8>)>,
    recorded: Vec<Flying>,
    drop_if: fn(&Flying) -> bool,
}

impl Net {
    fn new(validators: usize, limits: SessionLimits, faults: Faults, seed: u64) -> Net {
        Net::with(validators, faults, seed, |me| config(me, validators, limits))
    }

    fn with(validators: usize, faults: Faults, seed: u64, configure: impl Fn(usize) -> SessionConfig) -> Net {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let nodes = (0..validators).map(|me| Sessions::new(configure(me), [me as u8 + seed as u8; 32])).collect();
        Net {
            now: 0,
            nodes,
            flying: Vec::new(),
            faults,
            rng: rng::Rng::new(bytes),
            sent: 0,
            delivered: Vec::new(),
            recorded: Vec::new(),
            drop_if: |_| false,
        }
    }

    fn now(&self) -> Nanos {
        Nanos(self.now)
    }

    fn launch(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let copies = if self.rng.below(100) < self.faults.duplicate { 2 } else { 1 };
        for _ in 0..copies {
            self.sent += 1;
            let due = self.now + self.faults.delay_ms * MS + self.rng.below(self.faults.jitter_ms * MS + 1);
            let flying = Flying { due, order: self.sent, from, to, bytes: bytes.to_vec() };
            self.recorded.push(flying.clone());
            if self.rng.below(100) >= self.faults.loss && !(self.drop_if)(&flying) {
                self.flying.push(flying);
            }
        }
    }

    fn transmit(&mut self) {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        for i in 0..self.nodes.len() {
            while let Some((to, len)) = self.nodes[i].poll_transmit(Nanos(self.now), &mut out) {
                assert!(len <= DATAGRAM_BYTES_MAX);
                self.launch(address(i), to, &out[..len]);
            }
        }
    }

    fn arrive(&mut self, flying: Flying) {
        let mut bytes = flying.bytes;
        let Some(i) = (0..self.nodes.len()).find(|i| address(*i) == flying.to) else { return };
        if let Opened::Message { peer, start, len, .. } = self.nodes[i].open(Nanos(self.now), flying.from, &mut bytes) {
            self.delivered.push((i, peer, bytes[start..start + len].to_vec()));
        }
    }

    /// Runs to `until`, from event to event.
    fn run(&mut self, until: Nanos) {
        loop {
            self.transmit();
            let arrival = self.flying.iter().map(|flying| flying.due).min();
            let timer = self.nodes.iter().filter_map(Sessions::next_deadline).map(|deadline| deadline.0).min();
            let next = [arrival, timer].into_iter().flatten().min().unwrap_or(u64::MAX).max(self.now);
            if next > until.0 {
                self.now = until.0;
                return;
            }
            self.now = next;
            let mut due: Vec<Flying>;
            (due, self.flying) = std::mem::take(&mut self.flying).into_iter().partition(|flying| flying.due <= next);
            due.sort_by_key(|flying| (flying.due, flying.order));
            due.into_iter().for_each(|flying| self.arrive(flying));
        }
    }

    fn send(&mut self, from: usize, to: usize, message: &[u8]) -> Result<(), SealError> {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        let (len, destination) =
            self.nodes[from].seal(Nanos(self.now), ValidatorIndex(to as u16), MessageKind::Shred, message, &mut out)?;
        self.launch(address(from), destination, &out[..len]);
        Ok(())
    }

    fn all_up(&self) -> bool {
        let all = |i: usize| (0..self.nodes.len()).all(|j| i == j || self.nodes[i].is_up(ValidatorIndex(j as u16)));
        (0..self.nodes.len()).all(all)
    }

    /// Runs until all sessions are up; panics at `limit`.
    fn settle(&mut self, limit: Nanos) {
        while !self.all_up() {
            assert!(self.now() < limit, "not up at {:?}", self.now());
            self.run(Nanos(self.now + 5 * MS));
        }
    }

    fn check_books(&self) {
        for node in &self.nodes {
            let counters = node.counters();
            assert_eq!(counters.received, counters.messages + counters.consumed + counters.dropped.iter().sum::<u64>());
        }
    }

    fn dropped(&self, node: usize, reason: DropReason) -> u64 {
        self.nodes[node].counters().dropped_for(reason)
    }

    /// Sends both ways now and says whether both arrived within a round trip.
    fn talk(&mut self) -> bool {
        self.delivered.clear();
        let sent = self.send(0, 1, b"to one").is_ok() & self.send(1, 0, b"to zero").is_ok();
        self.run(Nanos(self.now + (self.faults.delay_ms + self.faults.jitter_ms + 1) * MS));
        sent && self.delivered.len() == 2
    }
}

fn pair(limits: SessionLimits, faults: Faults, seed: u64) -> Net {
    Net::new(2, limits, faults, seed)
}

fn established() -> Net {
    let mut net = pair(SessionLimits::default(), Faults { delay_ms: 1, ..Faults::default() }, 1);
    net.settle(at_ms(100));
    net
}

#[test]
fn a_quiet_network_needs_one_handshake() {
    let mut net = established();
    net.run(at_ms(3_000));
    assert!(net.talk());
    let counters = [net.nodes[0].counters(), net.nodes[1].counters()];
    assert_eq!(counters[0].inits_sent + counters[1].inits_sent, 1);
    assert_eq!(counters.map(|counters| counters.sessions_established), [1, 1]);
    assert_eq!(counters.map(|counters| counters.dropped.iter().sum::<u64>()), [0, 0]);
    net.check_books();
}

#[test]
fn messages_arrive_whole_with_their_kind_and_sender() {
    let mut net = established();
    for size in [0, 1, 15, 16, 17, MessageKind::Shred.bytes_max() - 1, MessageKind::Shred.bytes_max()] {
        let message: Vec<u8> = (0..size).map(|i| i as u8).collect();
        net.send(0, 1, &message).expect("the session is up");
        net.run(Nanos(net.now + 2 * MS));
        assert_eq!(net.delivered.pop(), Some((1, ValidatorIndex(0), message)));
    }
    assert_eq!(net.send(0, 1, &vec![0; MessageKind::Shred.bytes_max() + 1]), Err(SealError::TooLong));
    assert_eq!(net.send(0, 0, b""), Err(SealError::NoSuchPeer));
    assert_eq!(net.send(0, 2, b""), Err(SealError::NoSuchPeer));
}

#[test]
fn without_a_session_nothing_is_sealed() {
    let mut net = pair(SessionLimits::default(), Faults::default(), 1);
    assert_eq!(net.send(0, 1, b"early"), Err(SealError::NoSession));
    assert_eq!(net.sent, 0);
}

#[test]
fn handshakes_finish_under_loss_reordering_and_duplication() {
    for seed in 0..40 {
        let faults = Faults { loss: 40, duplicate: 20, delay_ms: 5, jitter_ms: 60 };
        let mut net = Net::new(4, SessionLimits::default(), faults, seed);
        net.settle(at_ms(30_000));
        net.check_books();
    }
}

#[test]
fn handshakes_finish_when_the_round_trip_is_longer_than_the_first_retries() {
    let mut net = pair(SessionLimits::default(), Faults { delay_ms: 300, ..Faults::default() }, 3);
    net.settle(at_ms(6_000));
}

#[test]
fn simultaneous_handshakes_end_in_one_session_used_by_both() {
    let limits = SessionLimits { stagger: Nanos(0), ..SessionLimits::default() };
    for seed in 0..20 {
        let mut net = pair(limits, Faults { delay_ms: 20, ..Faults::default() }, seed);
        net.settle(at_ms(500));
        net.run(at_ms(2_000));
        let (lower, higher) = ranked();
        assert_eq!(net.dropped(lower, DropReason::Simultaneous), 1);
        assert_eq!(net.nodes.iter().map(|node| node.counters().sessions_established).sum::<u64>(), 2);
        assert!(net.nodes[higher].counters().consumed > 0 && net.talk());
    }
}

#[test]
fn a_tie_is_resolved_even_if_the_winning_side_cannot_be_answered() {
    // The lower key's stamps are refused, as after its clock was set back: the other side's handshake must get through.
    let (lower, higher) = ranked();
    let limits = SessionLimits { stagger: Nanos(0), ..SessionLimits::default() };
    let mut net = pair(limits, Faults { delay_ms: 5, ..Faults::default() }, 1);
    net.nodes[higher].peers[lower].stamp = u64::MAX;
    net.settle(at_ms(3_000));
    assert!(net.dropped(higher, DropReason::ReplayedInit) > 0 && net.talk());
}

#[test]
fn a_restarted_side_is_back_within_a_second_and_the_other_loses_nothing_before() {
    for restarted in 0..2 {
        let mut net = established();
        net.run(at_ms(2_000));
        let mut again = config(restarted, 2, SessionLimits::default());
        again.boot_ns += 2_000 * MS;
        net.nodes[restarted] = Sessions::new(again, [200 + restarted as u8; 32]);
        let began = net.now;
        while !net.talk() {
            assert!(net.now - began < 1_000 * MS, "{restarted} is not back");
        }
        assert!(net.dropped(restarted, DropReason::UnknownSession) > 0, "the other side went on under the old session");
        net.check_books();
    }
}

#[test]
fn a_restart_with_the_clock_set_back_recovers_too() {
    let mut net = established();
    net.run(at_ms(2_000));
    let mut again = config(1, 2, SessionLimits::default());
    again.boot_ns = 1;
    net.nodes[1] = Sessions::new(again, [201; 32]);
    let began = net.now;
    while !net.talk() {
        assert!(net.now - began < 8_000 * MS);
    }
}

#[test]
fn rekeying_by_age_loses_no_message_on_a_slow_reordering_link() {
    let mut net = pair(SessionLimits::tiny(), Faults { delay_ms: 10, jitter_ms: 30, ..Faults::default() }, 5);
    net.settle(at_ms(2_000));
    net.delivered.clear();
    let mut sent = 0;
    for step in 0..4_000u64 {
        for (from, to) in [(0, 1), (1, 0)] {
            net.send(from, to, &step.to_le_bytes()).expect("a sender always has a session");
            sent += 1;
        }
        net.run(Nanos(net.now + 5 * MS));
    }
    net.run(Nanos(net.now + 100 * MS));
    assert_eq!(net.delivered.len(), sent);
    assert!(net.nodes[0].counters().sessions_established >= 8, "{:?}", net.nodes[0].counters());
    net.check_books();
}

#[test]
fn rekeying_by_count_replaces_the_session_and_frees_the_old_ones() {
    let limits = SessionLimits { rekey_after: at_ms(5_000), ..SessionLimits::tiny() };
    let mut net = pair(limits, Faults { delay_ms: 1, ..Faults::default() }, 6);
    net.settle(at_ms(500));
    for _ in 0..640 {
        net.send(0, 1, b"count").expect("a sender always has a session");
        net.run(Nanos(net.now + MS));
    }
    assert!(net.nodes[0].counters().sessions_established >= 5);
    assert!(net.nodes.iter().all(|node| node.table.used() <= SESSIONS_PER_PEER + 1));
    net.run(Nanos(net.now + 4_500 * MS));
    assert!(net.nodes.iter().all(|node| node.table.used() <= 3), "replaced sessions end");
}

#[test]
fn a_session_refuses_to_seal_past_its_limit() {
    let limits = SessionLimits { rekey_messages: 10, reject_messages: 20, ..SessionLimits::default() };
    let mut net = pair(limits, Faults::default(), 7);
    net.settle(at_ms(500));
    let refused = (0..40).filter(|_| net.send(0, 1, b"x") == Err(SealError::Exhausted)).count();
    assert!((20..=25).contains(&refused), "{refused}");
    net.run(Nanos(net.now + 200 * MS));
    assert!(net.talk(), "the next session takes over");
}

/// Seals a message by the directory, as a send shard does, and lets node 1 open it.
fn seal_elsewhere(net: &mut Net, seen: &mut u64, legs: &mut Legs) -> (Arc<transport::Sealer>, Opened) {
    let (now, peer) = (net.now(), ValidatorIndex(1));
    net.nodes[0].hand_over(now, peer, MessageKind::Vote, 5).expect("a session");
    net.nodes[0].directory().refresh(seen, legs);
    let leg = legs[1].clone().expect("handed over, so there is a session");
    let mut datagram = [7; 5 + SEAL_BYTES];
    let (len, to) = leg.seal(MessageKind::Vote, 5, &mut datagram).expect("the session is young");
    assert_eq!((len, to), (5 + SEAL_BYTES, address(1)));
    let opened = net.nodes[1].open(now, address(0), &mut datagram[..len]);
    assert_eq!(datagram[Leg::MESSAGE_AT..][..5], [7; 5]);
    (leg.sealer, opened)
}

#[test]
fn another_thread_seals_under_the_session_of_the_moment() {
    let mut net = pair(SessionLimits::default(), Faults::default(), 8);
    let (mut seen, mut legs): (u64, Legs) = (0, Arc::new([]));
    net.nodes[0].directory().refresh(&mut seen, &mut legs);
    assert!(legs.len() == 2 && legs.iter().all(Option::is_none));
    let early = net.nodes[0].hand_over(Nanos(0), ValidatorIndex(1), MessageKind::Vote, 5);
    assert_eq!(early, Err(SealError::NoSession));
    net.settle(at_ms(500));
    let message = Opened::Message { peer: ValidatorIndex(0), kind: MessageKind::Vote, start: Leg::MESSAGE_AT, len: 5 };
    let (before, opened) = seal_elsewhere(&mut net, &mut seen, &mut legs);
    assert_eq!(opened, message);
    // Both ways of sealing share one row of counters: a nonce used twice would be dropped as replayed.
    assert!(net.talk());
    assert_eq!(seal_elsewhere(&mut net, &mut seen, &mut legs).1, message);
    let mut again = config(1, 2, SessionLimits::default());
    again.boot_ns += 2_000 * MS;
    net.nodes[1] = Sessions::new(again, [201; 32]);
    while !net.talk() {}
    let (after, opened) = seal_elsewhere(&mut net, &mut seen, &mut legs);
    assert_eq!(opened, message, "the peer restarted and has a new session");
    assert!(!Arc::ptr_eq(&before, &after));
    net.check_books();
}

#[test]
fn what_other_threads_seal_wears_a_session_out_too() {
    let limits = SessionLimits { rekey_messages: 64, ..SessionLimits::default() };
    let mut net = pair(limits, Faults::default(), 9);
    net.settle(at_ms(500));
    let established = net.nodes[0].counters().sessions_established;
    let (mut seen, mut legs): (u64, Legs) = (0, Arc::new([]));
    for _ in 0..80 {
        seal_elsewhere(&mut net, &mut seen, &mut legs);
    }
    net.run(Nanos(net.now + 200 * MS));
    assert_eq!(net.nodes[0].counters().sessions_established, established + 1);
}

#[test]
fn threads_that_seal_never_share_a_nonce_and_stop_at_the_limit() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    const LIMIT: u64 = 12_345;
    let mut net = pair(SessionLimits::default(), Faults::default(), 10);
    net.settle(at_ms(500));
    let sealer = seal_elsewhere(&mut net, &mut 0, &mut (Arc::new([]) as Legs)).0;
    let before = sealer.sealed();
    let seal = || {
        let mut out = [0; SEAL_BYTES];
        let one = |_| {
            sealer.seal_in_place(LIMIT, [0; 4], 0, &mut out)?;
            Some(OuterHeader::read_from_prefix(&out).expect("it is long enough").0.counter.get())
        };
        (0..EACH).filter_map(one).collect::<Vec<u64>>()
    };
    let mut counters: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(seal)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    counters.sort_unstable();
    assert_eq!(counters, (before..LIMIT).collect::<Vec<_>>());
}

#[test]
fn a_silent_peer_goes_down_and_comes_back() {
    let mut net = established();
    net.drop_if = |_| true;
    net.run(at_ms(6_000));
    assert!(!net.nodes[0].is_up(ValidatorIndex(1)) && !net.nodes[1].is_up(ValidatorIndex(0)));
    net.drop_if = |_| false;
    net.run(at_ms(8_500));
    assert!(net.all_up() && net.talk());
}

#[test]
fn a_quiet_link_is_kept_alive() {
    let mut net = established();
    net.run(at_ms(100_000));
    assert!(net.all_up());
    assert_eq!(net.nodes.iter().map(|node| node.counters().inits_sent).sum::<u64>(), 1);
}

#[test]
fn a_data_datagram_is_taken_once() {
    let mut net = established();
    for _ in 0..50 {
        net.send(0, 1, b"once").expect("the session is up");
    }
    net.run(Nanos(net.now + 5 * MS));
    let data: Vec<Flying> = net.recorded.iter().filter(|flying| flying.to == address(1) && flying.bytes[0] == 4).cloned().collect();
    let (before, count) = (net.delivered.len(), data.len() as u64);
    let already = net.dropped(1, DropReason::Replayed);
    data.into_iter().for_each(|flying| net.arrive(flying));
    assert_eq!((net.delivered.len(), net.dropped(1, DropReason::Replayed) - already), (before, count));
}

#[test]
fn replayed_handshakes_disturb_no_live_session() {
    let mut net = established();
    net.run(at_ms(1_000));
    let handshakes: Vec<Flying> = net.recorded.iter().filter(|flying| flying.bytes[0] <= 2).cloned().collect();
    assert!(handshakes.len() >= 2);
    for round in 0..200 {
        handshakes.iter().cloned().for_each(|flying| net.arrive(flying));
        net.run(Nanos(net.now + 5 * MS));
        assert!(round % 20 != 0 || net.talk());
    }
    assert_eq!(net.nodes.iter().map(|node| node.counters().sessions_established).sum::<u64>(), 2);
    net.check_books();
}

#[test]
fn a_replay_against_a_restarted_receiver_neither_confirms_nor_blocks_the_real_peer() {
    let mut net = established();
    let (lower, higher) = ranked();
    let init =
        net.recorded.iter().find(|flying| flying.bytes[0] == 1 && flying.to == address(higher)).cloned().expect("the lower side dials");
    net.run(at_ms(1_000));
    let mut again = config(higher, 2, SessionLimits::default());
    again.boot_ns += 1_000 * MS;
    net.nodes[higher] = Sessions::new(again, [9; 32]);
    net.arrive(init);
    assert!(!net.nodes[higher].is_up(ValidatorIndex(lower as u16)), "a replay proves nothing");
    net.settle(at_ms(3_000));
    assert!(net.talk());
}

#[test]
fn a_reflected_datagram_does_not_open() {
    let mut net = established();
    net.send(0, 1, b"mine").expect("the session is up");
    let mut bytes = net.flying.pop().expect("just sent").bytes;
    let header = OuterHeader::read_from_prefix(&bytes).expect("long enough").0;
    // Even with the sender's own index in the header, the other direction's key does not fit.
    let own = net.nodes[0].peers[1].sending.expect("up");
    assert_ne!(header.receiver.get(), own);
    bytes[4..8].copy_from_slice(&own.to_le_bytes());
    assert_eq!(net.nodes[0].open(at_ms(200), address(1), &mut bytes), Opened::Dropped(DropReason::BadTag));
}

fn strangers(change: impl Fn(&mut SessionConfig)) -> Net {
    let mut net = Net::with(2, Faults { delay_ms: 1, ..Faults::default() }, 1, |me| {
        let mut config = config(me, 2, SessionLimits::default());
        if me == 1 {
            change(&mut config);
        }
        config
    });
    net.run(at_ms(5_000));
    assert!(!net.nodes[0].is_up(ValidatorIndex(1)) && !net.nodes[1].is_up(ValidatorIndex(0)));
    assert_eq!(net.nodes.iter().map(|node| node.counters().sessions_established).sum::<u64>(), 0);
    net.check_books();
    net
}

#[test]
fn another_chain_is_refused_before_any_computation() {
    let net = strangers(|config| config.chain = ChainId([8; 32]));
    assert!(net.dropped(0, DropReason::BadMac) > 0 && net.dropped(1, DropReason::BadMac) > 0);
    assert_eq!(net.nodes[0].counters().handshakes_computed, 0);
}

#[test]
fn another_genesis_is_refused_with_its_own_reason() {
    let net = strangers(|config| config.cluster_fingerprint = Digest([4; 32]));
    assert!(net.dropped(0, DropReason::WrongCluster) > 0 && net.dropped(1, DropReason::WrongCluster) > 0);
}

#[test]
fn a_key_outside_the_set_is_refused() {
    let net = strangers(|config| {
        config.secret = secret(5);
        config.peers[1].0 = public(5);
    });
    assert!(net.dropped(0, DropReason::UnknownKey) > 0);
}

#[test]
fn ciphers_are_negotiated_and_both_work() {
    for (mine, theirs, expected) in [
        (CipherSet::ALL, CipherSet::ALL, Some(Cipher::Aes256Gcm)),
        (CipherSet::ALL, CipherSet::CHACHA, Some(Cipher::ChaCha20Poly1305)),
        (CipherSet::CHACHA, CipherSet::ALL, Some(Cipher::ChaCha20Poly1305)),
        (CipherSet(1), CipherSet(2), None),
    ] {
        assert_eq!(mine.choose(theirs), expected);
        let mut net = Net::with(2, Faults::default(), 1, |me| {
            config(me, 2, SessionLimits { ciphers: if me == 0 { mine } else { theirs }, ..SessionLimits::default() })
        });
        net.run(at_ms(1_000));
        assert_eq!(net.talk(), expected.is_some());
    }
}

/// An init from `source` that is right in all but who sends it: it passes the mac.
fn forged_inits(count: usize) -> Vec<Vec<u8>> {
    let identity = handshake::Identity::new(&ChainId([9; 32]), secret(50), Digest([3; 32]), CipherSet::ALL);
    let key = wire::mac_key(&ChainId([9; 32]), &public(0));
    let mut template = [0; wire::INIT_BYTES];
    identity.initiate(&public(0), 1, 77, &mut template);
    let forge = |i: usize| {
        let mut out = template;
        out[OUTER_HEADER_BYTES + 100..][..8].copy_from_slice(&(i as u64).to_le_bytes());
        wire::finish_init(&key, i as u32, &[0; 16], &mut out);
        out.to_vec()
    };
    (0..count).map(forge).collect()
}

fn tight_gate() -> GateLimits {
    GateLimits { global: Rate::new(10, 20), source: Rate::new(5, 5), validator: Rate::new(5, 5), ..GateLimits::default() }
}

#[test]
fn a_handshake_flood_computes_no_more_than_the_gate_lets_through() {
    let gate = GateLimits { cookies: Rate::new(50, 50), ..tight_gate() };
    let mut net = pair(SessionLimits { gate, ..SessionLimits::default() }, Faults { delay_ms: 1, ..Faults::default() }, 1);
    let inits = forged_inits(20_000);
    for (i, init) in inits.iter().enumerate() {
        let from = SocketAddr::from(([172, (i >> 16) as u8, (i >> 8) as u8, i as u8], 9));
        net.nodes[0].open(Nanos(i as u64 * 50_000), from, &mut init.clone());
    }
    let counters = *net.nodes[0].counters();
    assert!((10..=20 + 10).contains(&counters.handshakes_computed), "burst and one second: {}", counters.handshakes_computed);
    assert_eq!(counters.received, 20_000);
    let by = |reason| counters.dropped_for(reason);
    assert_eq!(
        by(DropReason::BadHandshake) + by(DropReason::CookieAsked) + by(DropReason::HandshakeRate) + by(DropReason::ReplyQueueFull),
        20_000
    );
    assert!(by(DropReason::CookieAsked) <= 100 && net.nodes[0].replies.len() <= REPLIES_MAX);
}

#[test]
fn a_validator_gets_through_a_flood_by_echoing_its_cookie() {
    let gate = tight_gate();
    let mut net = pair(SessionLimits { gate, ..SessionLimits::default() }, Faults { delay_ms: 1, ..Faults::default() }, 1);
    let (lower, higher) = ranked();
    // Only the flooded side can be dialled.
    net.drop_if = if higher == 0 {
        |flying| flying.bytes[0] == 1 && flying.from == address(0)
    } else {
        |flying| flying.bytes[0] == 1 && flying.from == address(1)
    };
    let key = wire::mac_key(&ChainId([9; 32]), &public(higher));
    let mut flood = forged_inits(4_000).into_iter().map(|mut init| {
        let index = u32::from_le_bytes(init[8..12].try_into().expect("four bytes"));
        wire::finish_init(&key, index, &[0; 16], &mut init);
        init
    });
    while !net.all_up() {
        for (i, mut init) in flood.by_ref().take(20).enumerate() {
            net.nodes[higher].open(Nanos(net.now), SocketAddr::from(([172, 1, 2, i as u8], 9)), &mut init);
        }
        net.run(Nanos(net.now + MS));
        assert!(net.now() < at_ms(200), "the flood keeps the validator out");
    }
    assert!(net.nodes[lower].counters().inits_sent >= 2, "the second one carries the cookie");
    assert!(net.nodes[higher].counters().handshakes_computed <= 40);
}

#[test]
fn cookies_that_answer_nothing_are_refused() {
    let mut net = established();
    let mut stray = wire::cookie(12345, &[1; 16], &[2; 16]);
    assert_eq!(net.nodes[0].open(at_ms(50), address(1), &mut stray), Opened::Dropped(DropReason::UnexpectedCookie));
    let own = net.nodes[0].peers[1].sending.expect("up");
    let mut stray = wire::cookie(own, &[1; 16], &[2; 16]);
    assert_eq!(net.nodes[0].open(at_ms(50), address(1), &mut stray), Opened::Dropped(DropReason::UnexpectedCookie));
}

#[test]
fn cookies_make_us_dial_at_once_only_once() {
    let (lower, higher) = ranked();
    let mut net = pair(SessionLimits::default(), Faults { delay_ms: 1, ..Faults::default() }, 1);
    net.drop_if = |_| true;
    for round in 0..40 {
        net.run(Nanos(net.now + MS));
        let init =
            net.recorded.iter().rev().find(|flying| flying.bytes[0] == 1 && flying.from == address(lower)).expect("dials").bytes.clone();
        let index = u32::from_le_bytes(init[8..12].try_into().expect("four bytes"));
        let mut cookie = wire::cookie(index, &[round; 16], wire::split_init(&init).1);
        assert_eq!(net.nodes[lower].open(Nanos(net.now), address(higher), &mut cookie), Opened::Consumed);
    }
    assert_eq!(net.nodes[lower].counters().inits_sent, 2, "back-off goes on: the next one is due after 100 ms");
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    let mut net = established();
    net.send(0, 1, b"whole").expect("the session is up");
    let data = net.flying.pop().expect("just sent").bytes;
    for len in 0..data.len() {
        assert!(matches!(net.nodes[1].open(at_ms(50), address(0), &mut data[..len].to_vec()), Opened::Dropped(_)), "{len}");
    }
    for bit in 0..data.len() * 8 {
        let mut bytes = data.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(net.nodes[1].open(at_ms(50), address(0), &mut bytes), Opened::Dropped(_)), "bit {bit}");
    }
    assert!(matches!(net.nodes[1].open(at_ms(50), address(0), &mut data.clone()), Opened::Message { .. }), "forgeries use up no counter");
    net.check_books();
}

#[test]
fn authenticated_nonsense_is_counted_and_harmless() {
    let mut net = established();
    let index = net.nodes[0].peers[1].sending.expect("up");
    let mut out = [0; 100];
    for (inner, expected) in [
        ([200, 0, 0, 0], DropReason::UnknownKind),
        ([0, 0, 0, 1], DropReason::BadInner),
        ([1, 1, 0, 0], DropReason::BadInner),
        // A keepalive carries nothing.
        ([0, 0, 0, 0], DropReason::UnknownKind),
    ] {
        let len = net.nodes[0].table.live_mut(index).expect("up").seal(1 << 30, inner, b"?", &mut out).expect("far from the limit");
        assert_eq!(net.nodes[1].open(at_ms(60), address(0), &mut out[..len]), Opened::Dropped(expected));
    }
}

proptest! {
    #[test]
    fn random_datagrams_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..1600), kind in 0u8..6) {
        let mut net = established();
        if let Some(first) = bytes.first_mut() { *first = kind; }
        if let Some(version) = bytes.get_mut(1) { *version = 1; }
        net.nodes[0].open(at_ms(60), address(1), &mut bytes);
        net.check_books();
    }

    #[test]
    fn mutated_datagrams_of_a_whole_conversation_never_panic_nor_break_it(seed in 0u64..1 << 40, flips in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<u8>()), 1..60)) {
        let mut net = established();
        for i in 0..5u8 { net.send(0, 1, &[i; 40]).expect("up"); net.send(1, 0, &[i; 900]).expect("up"); }
        net.run(Nanos(net.now + 5 * MS));
        let recorded = net.recorded.clone();
        for (which, place, value) in flips {
            let mut flying = recorded[usize::from(which) % recorded.len()].clone();
            let place = usize::from(place) % flying.bytes.len();
            flying.bytes[place] ^= value;
            if seed % 3 == 0 { flying.bytes.truncate(place); }
            flying.from = address((seed % 2) as usize);
            net.arrive(flying);
        }
        net.run(Nanos(net.now + 10 * MS));
        prop_assert!(net.talk());
        net.check_books();
    }
}

#[test]
fn both_sides_know_the_round_trip_of_the_newest_handshake_also_after_lost_inits() {
    let mut net = established();
    net.run(at_ms(200));
    for (node, peer) in [(0, 1), (1, 0)] {
        assert_eq!(net.nodes[node].link(ValidatorIndex(peer)).round_trip, Some(at_ms(2)));
        assert_eq!(net.nodes[node].link(ValidatorIndex(node as u16)), Link::default());
    }
    let mut net = pair(SessionLimits::default(), Faults { delay_ms: 7, ..Faults::default() }, 2);
    net.drop_if = |flying| flying.bytes[0] == DatagramType::HandshakeInit as u8 && flying.order < 3;
    net.settle(at_ms(5_000));
    net.run(Nanos(net.now + 100 * MS));
    assert!(net.nodes.iter().map(|node| node.counters().inits_sent).sum::<u64>() >= 3);
    assert_eq!([0, 1].map(|node| net.nodes[node].link(ValidatorIndex(1 - node as u16)).round_trip), [Some(at_ms(14)); 2]);
}

#[test]
fn what_is_lost_of_a_peer_is_counted_over_all_its_sessions() {
    let mut net = pair(SessionLimits::tiny(), Faults { delay_ms: 1, ..Faults::default() }, 9);
    net.settle(at_ms(500));
    let sent = |net: &Net| net.recorded.iter().filter(|it| it.from == address(0) && it.bytes[0] == DatagramType::Data as u8).count() as u64;
    for lossy in [false, true] {
        if lossy {
            net.drop_if =
                |flying| flying.from == address(0) && flying.bytes[0] == DatagramType::Data as u8 && flying.order.is_multiple_of(4);
        }
        let (before, already, sessions) = (net.nodes[1].link(ValidatorIndex(0)), sent(&net), net.nodes[1].counters().sessions_established);
        let already_delivered = net.delivered.len() as u64;
        for _ in 0..800 {
            net.send(0, 1, b"count").expect("a sender always has a session");
            net.run(Nanos(net.now + 10 * MS));
        }
        let link = net.nodes[1].link(ValidatorIndex(0));
        assert!(net.nodes[1].counters().sessions_established > sessions + 3, "the sessions were replaced");
        let (expected, arrived, sent) = (link.expected - before.expected, link.arrived - before.arrived, sent(&net) - already);
        let came = net.delivered.len() as u64 - already_delivered;
        // The rest of `arrived` are keepalives, a few per session.
        assert!((came..came + sent / 10).contains(&arrived), "{arrived} of {came}");
        match lossy {
            false => assert_eq!((expected, arrived), (sent, sent)),
            // A session that ends behind a lost datagram does not know of it.
            true => assert!(expected <= sent && sent - expected < sent / 20 && expected - arrived > sent / 6, "{link:?} of {sent}"),
        }
    }
}
