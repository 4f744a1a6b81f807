//! The outbox over a port in memory, and two reactors over real sockets.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

mod shards;

use super::memory::{MemoryPort, Wire};
use super::*;
use crate::class::{ClassRates, ClassReject, Rate};
use crate::counters::{HotStats, Regime};
use crate::port::{self, Port, PortConfig, Transport};
use crate::ring::{Receiver, Sender, ring};
use crate::session::{DropReason, Opened, SessionConfig, SessionLimits, Sessions};
use samara_types::datagram::DATAGRAM_BYTES_MAX;
use samara_types::{ChainId, Class, Digest, MessageKind, Nanos, Received, ValidatorIndex};

mod tap;

fn sessions(me: usize, addresses: &[SocketAddr]) -> Sessions {
    let secret = |i: usize| *blake3::hash(&[i as u8]).as_bytes();
    let public = |i: usize| x25519_dalek::x25519(secret(i), x25519_dalek::X25519_BASEPOINT_BYTES);
    let config = SessionConfig {
        chain: ChainId([1; 32]),
        me: ValidatorIndex(me as u16),
        secret: secret(me),
        peers: addresses.iter().enumerate().map(|(i, address)| (public(i), *address)).collect(),
        cluster_fingerprint: Digest([2; 32]),
        boot_ns: 1,
        limits: SessionLimits::default(),
    };
    Sessions::new(config, [me as u8; 32])
}

fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, i as u8], 7000))
}

/// Shakes hands among machines without a network.
fn introduce(machines: &mut [Sessions]) {
    let mut out = [0; DATAGRAM_BYTES_MAX];
    for ms in 0..1_000 {
        let now = Nanos::from_millis(ms);
        for from in 0..machines.len() {
            while let Some((to, len)) = machines[from].poll_transmit(now, &mut out) {
                let at = (0..machines.len()).find(|i| address(*i) == to).expect("a known address");
                machines[at].open(now, address(from), &mut out[..len].to_vec());
            }
        }
    }
    assert!(machines.iter().all(|machine| machine.up() + 1 == machine.validators()));
}

/// One sender with an outbox over few frames, and who receives.
struct Bench {
    machines: Vec<Sessions>,
    queues: OutboxQueues,
    port: MemoryPort,
}

const LIMITS: OutboxLimits = OutboxLimits { queued: [4, 4, 4, 4], reserve: 2, flush: 6, share: 2 };
const NOW: Nanos = Nanos::from_millis(2_000);

impl Bench {
    fn new(validators: usize, tx_frames: usize, limits: OutboxLimits) -> Bench {
        let addresses: Vec<_> = (0..validators).map(address).collect();
        let mut machines: Vec<_> = (0..validators).map(|i| sessions(i, &addresses)).collect();
        introduce(&mut machines);
        let order = (1..validators).rev().map(|i| ValidatorIndex(i as u16)).collect();
        let mut bench = Bench { machines, queues: OutboxQueues::new(limits, order), port: MemoryPort::new(address(0), 4, tx_frames) };
        bench.queues.flush(&mut bench.port);
        bench
    }

    fn outbox(&mut self) -> Outbox<'_> {
        Outbox::new(NOW, &mut self.queues, &mut self.machines[0], &mut self.port)
    }

    fn send(&mut self, kind: MessageKind, mark: u8) {
        self.outbox().send(ValidatorIndex(1), kind, &[mark]);
    }

    /// Flushes one pass and returns what arrives: receiver, kind, first byte.
    fn flush(&mut self) -> Vec<(usize, MessageKind, u8)> {
        self.queues.flush(&mut self.port);
        self.port.flush();
        let sent: Vec<_> = self.port.outgoing.lock().expect("one thread").drain(..).collect();
        sent.into_iter()
            .map(|(from, to, mut bytes)| {
                let at = (0..self.machines.len()).find(|i| address(*i) == to).expect("a validator");
                match self.machines[at].open(NOW, from, &mut bytes) {
                    Opened::Message { kind, start, .. } => (at, kind, bytes[start]),
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    }

    fn unsent(&self, class: Class, reason: Unsent) -> u64 {
        self.queues.unsent[class as usize][reason as usize]
    }
}

use MessageKind::{Announce, Shred, Transactions, Vote};

#[test]
fn critical_leaves_first_and_the_rest_has_its_share() {
    let mut bench = Bench::new(2, 32, OutboxLimits { queued: [16; 4], ..LIMITS });
    for mark in 0..6 {
        bench.send(Transactions, mark);
        bench.send(Shred, mark);
        bench.send(Vote, mark);
    }
    bench.send(Announce, 0);
    let first: Vec<_> = bench.flush().into_iter().map(|(_, kind, mark)| (kind, mark)).collect();
    assert_eq!(first, [(Vote, 0), (Vote, 1), (Vote, 2), (Vote, 3), (Announce, 0), (Shred, 0)]);
    let second: Vec<_> = bench.flush().into_iter().map(|(_, kind, mark)| (kind, mark)).collect();
    assert_eq!(second, [(Vote, 4), (Vote, 5), (Shred, 1), (Shred, 2), (Shred, 3), (Shred, 4)]);
}

#[test]
fn without_other_work_critical_takes_the_whole_flush() {
    let mut bench = Bench::new(2, 32, OutboxLimits { queued: [16; 4], ..LIMITS });
    (0..8).for_each(|mark| bench.send(Vote, mark));
    assert_eq!(bench.flush().len(), 6);
}

#[test]
fn a_full_queue_drops_its_oldest_and_counts_it() {
    let mut bench = Bench::new(2, 32, LIMITS);
    (0..6).for_each(|mark| bench.send(Shred, mark));
    assert_eq!(bench.unsent(Class::Normal, Unsent::Displaced), 2);
    let marks: Vec<_> = bench.flush().into_iter().map(|(_, _, mark)| mark).collect();
    assert_eq!(marks, [2, 3, 4, 5]);
}

#[test]
fn a_full_critical_queue_goes_to_the_port_and_loses_nothing() {
    let mut bench = Bench::new(2, 32, LIMITS);
    (0..20).for_each(|mark| bench.send(Vote, mark));
    let mut marks: Vec<_> = bench.flush().into_iter().map(|(_, _, mark)| mark).collect();
    marks.extend(bench.flush().into_iter().map(|(_, _, mark)| mark));
    assert_eq!(marks, (0..20).collect::<Vec<_>>());
}

#[test]
fn without_frames_the_oldest_low_goes_then_normal_then_high_and_critical_never() {
    // Eight frames, two of them the reserve.
    let mut bench = Bench::new(2, 8, OutboxLimits { queued: [16; 4], flush: 64, ..LIMITS });
    for mark in 0..2 {
        bench.send(Transactions, mark);
        bench.send(Shred, mark);
        bench.send(Announce, mark);
    }
    (0..8).for_each(|mark| bench.send(Vote, mark));
    assert_eq!([Class::Low, Class::Normal, Class::High].map(|class| bench.unsent(class, Unsent::Displaced)), [2, 2, 2]);
    assert_eq!(bench.unsent(Class::Critical, Unsent::NoFrame), 0);
    bench.send(Vote, 8);
    assert_eq!(bench.unsent(Class::Critical, Unsent::NoFrame), 1, "every frame holds a vote");
    let sent = bench.flush();
    assert_eq!(sent.iter().map(|(_, kind, mark)| (*kind, *mark)).collect::<Vec<_>>(), (0..8).map(|mark| (Vote, mark)).collect::<Vec<_>>());
    bench.flush();
    assert_eq!(bench.queues.held(), 2, "the reserve is filled again when frames come back");
}

#[test]
fn only_critical_takes_the_reserve_and_nothing_less_urgent_is_displaced() {
    let mut bench = Bench::new(2, 4, OutboxLimits { queued: [16; 4], ..LIMITS });
    (0..2).for_each(|mark| bench.send(Shred, mark));
    bench.send(Transactions, 9);
    assert_eq!(bench.unsent(Class::Low, Unsent::NoFrame), 1);
    bench.send(Shred, 2);
    assert_eq!(bench.unsent(Class::Normal, Unsent::Displaced), 1, "the oldest of its own class");
    bench.send(Vote, 1);
    bench.send(Vote, 2);
    let sent: Vec<_> = bench.flush().into_iter().map(|(_, kind, mark)| (kind, mark)).collect();
    assert_eq!(sent, [(Vote, 1), (Vote, 2), (Shred, 1), (Shred, 2)]);
}

#[test]
fn what_cannot_be_sealed_takes_no_frame_and_is_counted() {
    let mut bench = Bench::new(3, 8, LIMITS);
    let addresses: Vec<_> = (0..3).map(address).collect();
    bench.machines[0] = sessions(0, &addresses);
    let mut out = bench.outbox();
    out.broadcast(Vote, &[1]);
    out.send(ValidatorIndex(0), Vote, &[1]);
    out.send(ValidatorIndex(9), Vote, &[1]);
    out.send(ValidatorIndex(1), Vote, &vec![0; Vote.bytes_max() + 1]);
    let counts = [Unsent::NoSession, Unsent::NoSuchPeer, Unsent::TooLong].map(|reason| bench.unsent(Class::Critical, reason));
    assert_eq!((counts, bench.queues.waiting()), ([2, 2, 1], 0));
}

#[test]
fn a_broadcast_goes_to_all_in_the_given_order_and_send_to_in_the_callers() {
    let mut bench = Bench::new(4, 32, OutboxLimits { queued: [16; 4], flush: 64, ..LIMITS });
    bench.outbox().broadcast(Vote, &[7]);
    assert_eq!(bench.flush().iter().map(|sent| sent.0).collect::<Vec<_>>(), [3, 2, 1]);
    bench.outbox().send_to([1, 3].map(ValidatorIndex), Shred, &[8]);
    assert_eq!(bench.flush().iter().map(|sent| sent.0).collect::<Vec<_>>(), [1, 3]);
}

/// Notes what it is given, call by call.
#[derive(Default)]
struct Calls(Vec<Vec<(MessageKind, Vec<u8>)>>);

impl Handler for Calls {
    fn on_message(&mut self, _: Nanos, _: ValidatorIndex, _: MessageKind, _: &[u8], _: &mut Outbox<'_>) {
        unreachable!("this handler takes bursts");
    }
    fn on_burst(&mut self, _: Nanos, burst: &[Received<'_>], _: &mut Outbox<'_>) {
        assert!(burst.iter().all(|message| message.from == ValidatorIndex(1)));
        self.0.push(burst.iter().map(|message| (message.kind, message.bytes.to_vec())).collect());
    }
    fn on_pass(&mut self, _: Nanos, _: &mut Outbox<'_>) {}
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }
    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }
    fn running(&self) -> bool {
        true
    }
    fn on_housekeeping(&mut self, _: Nanos, _: &HotStats) {}
}

#[test]
fn a_burst_is_handed_over_at_once_in_order_without_what_was_refused() {
    let addresses: Vec<_> = (0..2).map(address).collect();
    let mut machines: Vec<_> = (0..2).map(|i| sessions(i, &addresses)).collect();
    introduce(&mut machines);
    let mut peer = machines.remove(1);
    let port = MemoryPort::new(address(0), 64, 8);
    let incoming = Arc::clone(&port.incoming);
    let mut reactor =
        HotReactor::new(Box::new(port), machines.remove(0), Calls::default(), HotConfig { burst: 16, ..HotConfig::default() });
    let mut expected = Vec::new();
    for mark in 0..40u8 {
        let kind = [Shred, Shred, Vote, Transactions][usize::from(mark) % 4];
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        let (len, _) = peer.seal(NOW, ValidatorIndex(0), kind, &[mark; 60], &mut datagram).expect("a session");
        let mut bytes = datagram[..len].to_vec();
        if mark % 5 == 3 {
            bytes[len - 1] ^= 1;
        } else {
            expected.push((mark / 16, kind, vec![mark; 60]));
        }
        incoming.lock().expect("one thread").push_back((address(1), address(0), bytes));
    }
    for _ in 0..3 {
        assert!(reactor.pass(NOW));
    }
    assert!(!reactor.pass(NOW), "nothing is left, and an empty burst is not handed over");
    let calls = &reactor.handler.0;
    let got: Vec<_> =
        (0u8..).zip(calls).flat_map(|(call, burst)| burst.iter().map(move |(kind, bytes)| (call, *kind, bytes.clone()))).collect();
    assert_eq!(got, expected);
    reactor.housekeep(NOW);
}

/// Sends `count` messages of a class pattern as fast as sessions and flow allow, and counts what comes.
struct Talker {
    peer: ValidatorIndex,
    total: u64,
    sent: u64,
    received: [u64; 4],
    /// What the other side has received: the window that keeps this test from overrunning socket buffers.
    theirs: Arc<AtomicU64>,
    mine: Arc<AtomicU64>,
    done: mpsc::Sender<()>,
    stop: Arc<AtomicBool>,
    progress: bool,
}

const KINDS: [MessageKind; 4] = [Vote, Announce, Shred, Transactions];
const WINDOW: u64 = 256;

impl Handler for Talker {
    fn on_message(&mut self, _now: Nanos, from: ValidatorIndex, kind: MessageKind, message: &[u8], _out: &mut Outbox<'_>) {
        assert_eq!(from, self.peer);
        assert!(message.len() == 90 && message.iter().all(|byte| *byte == kind as u8), "bytes arrive as they left");
        self.received[kind.class() as usize] += 1;
        if self.mine.fetch_add(1, Ordering::Release) + 1 == self.total {
            self.done.send(()).expect("the test waits");
        }
    }

    fn on_pass(&mut self, _now: Nanos, out: &mut Outbox<'_>) {
        self.progress = false;
        while out.is_up(self.peer) && self.sent < self.total && self.sent < self.theirs.load(Ordering::Acquire) + WINDOW {
            let kind = KINDS[self.sent as usize % 4];
            out.send(self.peer, kind, &[kind as u8; 90]);
            self.sent += 1;
            self.progress = true;
        }
    }

    fn worked(&self) -> bool {
        self.progress
    }

    fn next_deadline(&self) -> Option<Nanos> {
        None
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn on_housekeeping(&mut self, _now: Nanos, _stats: &HotStats) {}
}

fn two_reactors_exchange(transport: Transport, wait: WaitPolicy, total: u64) {
    exchange(transport, wait, total, 0);
}

/// Ports for so many shards.
fn senders(port: &dyn Port, shards: u32, config: &PortConfig) -> Vec<(Box<dyn Port>, ShardConfig)> {
    let settings = ShardConfig { core: None, wait: WaitPolicy::Adaptive { spin: Duration::from_micros(20) }, slice: None };
    (0..shards).map(|number| (port.sender(number, config).expect("a port to send from"), settings.clone())).collect()
}

/// Two reactors, each with so many send shards that wait as it does.
fn exchange(transport: Transport, wait: WaitPolicy, total: u64, shards: u32) {
    let ports = PortConfig { rx_frames: 1024, tx_frames: 1024, ..PortConfig::default() };
    let open = || match port::open(transport, "127.0.0.1:0".parse().expect("an address"), &ports) {
        Ok((port, _)) => Some(port),
        Err(error) => {
            println!("SKIPPED: no {transport} port here: {error}");
            None
        }
    };
    let (Some(a), Some(b)) = (open(), open()) else { return };
    let addresses = [a.local_addr(), b.local_addr()];
    let counts = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let (done, both_done) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let base = Instant::now();
    let mut stats = Vec::new();
    let threads: Vec<_> = [a, b]
        .into_iter()
        .enumerate()
        .map(|(me, port): (usize, Box<dyn Port>)| {
            let talker = Talker {
                peer: ValidatorIndex(1 - me as u16),
                total,
                sent: 0,
                received: [0; 4],
                theirs: Arc::clone(&counts[1 - me]),
                mine: Arc::clone(&counts[me]),
                done: done.clone(),
                stop: Arc::clone(&stop),
                progress: false,
            };
            let config = HotConfig { wait, base, rates: ClassRates([Rate::new(10_000_000, 100_000); 4]), ..HotConfig::default() };
            let ports = senders(port.as_ref(), shards, &ports).into_iter().map(|(port, settings)| (port, ShardConfig { wait, ..settings }));
            let mut reactor = HotReactor::new(port, sessions(me, &addresses), talker, config);
            reactor.shard(ports.collect()).expect("rings and threads");
            stats.push(reactor.stats());
            std::thread::spawn(move || reactor.run())
        })
        .collect();
    let began = Instant::now();
    for _ in 0..2 {
        both_done.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("stuck: {:?}", stats[0].snapshot()));
    }
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let talkers: Vec<Talker> = threads.into_iter().map(|thread| thread.join().expect("no reactor panicked")).collect();
    for (talker, stats) in talkers.iter().zip(&stats) {
        let seen = stats.snapshot();
        assert_eq!(talker.received, [total / 4; 4]);
        assert_eq!((seen.admitted, seen.sent), ([total / 4; 4], [total / 4; 4]));
        assert_eq!(seen.messages[0], total);
        assert_eq!(seen.received[0], seen.messages[0] + seen.consumed[0] + seen.dropped.iter().sum::<u64>());
        assert_eq!(seen.refused, [0; 8]);
        assert_eq!(seen.sessions_up, [1]);
        assert!(seen.regime_ns[Regime::Busy as usize] > 0 && seen.stage_ns.iter().all(|ns| *ns > 0));
        assert_eq!(seen.frames[0], seen.frames[1..].iter().sum::<u64>());
    }
    println!("{transport} {wait:?}: {total} messages each way in {took:?}, {:?}", stats[0].snapshot());
}

#[test]
fn two_reactors_exchange_100k_messages_over_udp() {
    two_reactors_exchange(Transport::Udp, WaitPolicy::Adaptive { spin: Duration::from_micros(20) }, 100_000);
}

#[test]
fn two_reactors_exchange_100k_messages_over_io_uring() {
    two_reactors_exchange(Transport::Uring, WaitPolicy::Adaptive { spin: Duration::from_micros(20) }, 100_000);
}

#[test]
fn a_parked_reactor_wakes_for_every_datagram() {
    two_reactors_exchange(Transport::Udp, WaitPolicy::Park, 4_000);
}

/// Counts messages; never speaks.
struct Listener(u64);

impl Handler for Listener {
    fn on_message(&mut self, _: Nanos, _: ValidatorIndex, _: MessageKind, _: &[u8], _: &mut Outbox<'_>) {
        self.0 += 1;
    }
    fn on_pass(&mut self, _: Nanos, _: &mut Outbox<'_>) {}
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }
    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }
    fn running(&self) -> bool {
        true
    }
    fn on_housekeeping(&mut self, _: Nanos, _: &HotStats) {}
}

/// A reactor over memory with one established peer, and the peer.
fn reactor_and_peer(rates: ClassRates) -> (HotReactor<Listener>, Sessions, Wire) {
    let addresses = [address(0), address(1)];
    let mut machines: Vec<_> = (0..2).map(|i| sessions(i, &addresses)).collect();
    introduce(&mut machines);
    let peer = machines.pop().expect("two");
    let own = machines.pop().expect("one left");
    let port = MemoryPort::new(address(0), 128, 128);
    let wire = Arc::clone(&port.incoming);
    (HotReactor::new(Box::new(port), own, Listener(0), HotConfig { rates, ..HotConfig::default() }), peer, wire)
}

#[test]
fn floods_from_outside_and_inside_are_counted_by_reason_and_nothing_is_lost() {
    let (mut reactor, mut peer, wire) = reactor_and_peer(ClassRates([Rate::new(1, 100); 4]));
    let mut out = [0; DATAGRAM_BYTES_MAX];
    let before = *reactor.sessions.counters();
    let mut noise = blake3::Hasher::new().finalize_xof();
    let (mut offered, mut genuine) = (0u64, 0u64);
    for round in 0..2_000u32 {
        let mut wire = wire.lock().expect("one thread");
        for i in 0..20u32 {
            let mut bytes = vec![0; (round + i) as usize % 1_500];
            noise.fill(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first %= 6;
            }
            if bytes.len() > 1 {
                bytes[1] = 1;
            }
            wire.push_back((SocketAddr::from(([9, 9, 9, 9], 9)), address(0), bytes));
            offered += 1;
        }
        let (len, to) = peer.seal(NOW, ValidatorIndex(0), Vote, &[1; 90], &mut out).expect("up");
        wire.extend([(address(1), to, out[..len].to_vec()), (address(1), to, out[..len].to_vec())]);
        offered += 2;
        genuine += 1;
        drop(wire);
        reactor.pass(NOW);
    }
    let counters = reactor.sessions.counters();
    assert_eq!(counters.received - before.received, offered);
    assert_eq!(counters.messages, genuine);
    assert_eq!(counters.dropped_for(DropReason::Replayed), genuine);
    assert_eq!(counters.dropped.iter().sum::<u64>() + counters.messages + counters.consumed - before.consumed, offered);
    assert_eq!(reactor.handler.0, 100, "the burst of the class, as the clock stands still");
    let refused = reactor.admission.refused[Class::Critical as usize];
    assert_eq!(refused[ClassReject::Rate as usize], genuine - 100);
    assert!(reactor.port.conservation().holds());
    assert_eq!(counters.handshakes_computed, before.handshakes_computed, "noise passes no mac");
}

/// Adds one to what a ring brings and sends it back through another.
struct Echo {
    taken: Receiver<u64>,
    back: Sender<u64>,
}

impl Handler for Echo {
    fn on_message(&mut self, _: Nanos, _: ValidatorIndex, _: MessageKind, _: &[u8], _: &mut Outbox<'_>) {}
    fn on_pass(&mut self, _: Nanos, _: &mut Outbox<'_>) {
        while let Some(item) = self.taken.pop() {
            self.back.push(item + 1).expect("one at a time");
        }
    }
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }
    fn wake_fds(&self) -> Vec<RawFd> {
        vec![self.taken.wake_fd()]
    }
    fn running(&self) -> bool {
        !self.taken.is_finished()
    }
    fn on_housekeeping(&mut self, _: Nanos, _: &HotStats) {}
    fn prepare_sleep(&mut self) -> bool {
        self.taken.declare_sleep()
    }
    fn end_sleep(&mut self) {
        self.taken.declare_awake();
    }
}

#[test]
fn a_parked_reactor_wakes_for_its_ring() {
    let (mut out, taken) = ring(8).expect("an eventfd");
    let (back, mut returned) = ring(8).expect("an eventfd");
    let port = port::udp::UdpPort::bind("127.0.0.1:0".parse().expect("an address"), &PortConfig::tiny()).expect("a socket");
    let own = sessions(0, &[port.local_addr()]);
    // Neither housekeeping nor a session timer ends a sleep here: only the ring does.
    let config = HotConfig { wait: WaitPolicy::Park, housekeeping: Duration::from_secs(3600), ..HotConfig::default() };
    let reactor = HotReactor::new(Box::new(port), own, Echo { taken, back }, config);
    let stats = reactor.stats();
    let thread = std::thread::spawn(move || reactor.run());
    for item in 0..5_000 {
        out.push(item).expect("room");
        let began = Instant::now();
        let answer = loop {
            match returned.pop() {
                Some(answer) => break answer,
                None => assert!(began.elapsed() < Duration::from_secs(30), "asleep for good at {item}"),
            }
            std::thread::yield_now();
        };
        assert_eq!(answer, item + 1);
    }
    drop(out);
    thread.join().expect("no panic");
    assert!(stats.snapshot().sleeps[0] > 0, "the reactor never slept, so nothing was shown");
}

#[test]
#[should_panic(expected = "only the outbox holds frames")]
fn housekeeping_finds_a_frame_that_nobody_holds() {
    let (mut reactor, _, _) = reactor_and_peer(ClassRates::default());
    std::mem::forget(reactor.port.tx_frame());
    reactor.housekeep(NOW);
}
