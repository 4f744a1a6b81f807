//! What relaying costs the hot core, alone and with send shards: `cargo run --release -p samara-dataplane --example relay [SHARDS..]`.
//!
//! A reactor on the first core sends shreds of full size to 63 peers over the kernel's UDP; shards take the cores behind it, round robin. Printed: time of the hot core
//! for a shred when one is due every 400 us, and copies per second when there is always one. The peers are one socket that nobody reads.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use samara_dataplane::counters::HotStats;
use samara_dataplane::port::{Port, PortConfig, udp::UdpPort};
use samara_dataplane::reactor::{Handler, HotConfig, HotReactor, Outbox, ShardConfig, WaitPolicy};
use samara_dataplane::session::{Opened, SessionConfig, SessionLimits, Sessions};
use samara_types::datagram::{DATAGRAM_BYTES_MAX, MESSAGE_BYTES_MAX};
use samara_types::{ChainId, Class, Digest, MessageKind, Nanos, ValidatorIndex};

const PEERS: u16 = 63;
const PAUSE: Duration = Duration::from_micros(400);
const SPAN: Duration = Duration::from_secs(1);

/// Where a seat listens: each at an address of its own, all of which the sink takes.
fn address(seat: u16, sink: u16) -> SocketAddr {
    ([127, 0, 0, seat as u8 + 1], sink).into()
}

/// The machine of the seat at `me` among these, which are all it knows.
fn machine(me: usize, seats: &[u16], sink: u16) -> Sessions {
    let secret = |seat: u16| *blake3::hash(&seat.to_le_bytes()).as_bytes();
    let public = |seat| x25519_dalek::x25519(secret(seat), x25519_dalek::X25519_BASEPOINT_BYTES);
    let config = SessionConfig {
        chain: ChainId([1; 32]),
        me: ValidatorIndex(me as u16),
        secret: secret(seats[me]),
        peers: seats.iter().map(|seat| (public(*seat), address(*seat, sink))).collect(),
        cluster_fingerprint: Digest([2; 32]),
        boot_ns: 1,
        limits: SessionLimits::default(),
    };
    Sessions::new(config, [seats[me] as u8; 32])
}

/// The relay's sessions with every peer.
fn relay(sink: u16) -> Sessions {
    let mut hub = machine(0, &(0..=PEERS).collect::<Vec<_>>(), sink);
    let mut peers: Vec<Sessions> = (1..=PEERS).map(|seat| machine(1, &[0, seat], sink)).collect();
    let mut out = [0; DATAGRAM_BYTES_MAX];
    for now in (0..2_000).map(Nanos::from_millis) {
        while let Some((to, len)) = hub.poll_transmit(now, &mut out) {
            let seat = (1..=PEERS).find(|seat| address(*seat, sink) == to).expect("a peer");
            peers[usize::from(seat) - 1].open(now, address(0, sink), &mut out[..len]);
        }
        for (peer, seat) in peers.iter_mut().zip(1..) {
            while let Some((_, len)) = peer.poll_transmit(now, &mut out) {
                assert!(!matches!(hub.open(now, address(seat, sink), &mut out[..len]), Opened::Message { .. }));
            }
        }
    }
    assert_eq!(hub.up(), usize::from(PEERS), "handshakes in memory succeed");
    hub
}

/// Sends a shred to everybody whenever one is due.
struct Relay {
    shred: Vec<u8>,
    pause: Duration,
    due: Instant,
    until: Instant,
    relayed: bool,
}

impl Handler for Relay {
    fn on_message(&mut self, _: Nanos, _: ValidatorIndex, _: MessageKind, _: &[u8], _: &mut Outbox<'_>) {}

    fn on_pass(&mut self, _: Nanos, out: &mut Outbox<'_>) {
        let now = Instant::now();
        self.relayed = now >= self.due;
        if self.relayed {
            self.shred[8] = self.shred[8].wrapping_add(1); // the next slice
            out.broadcast(MessageKind::Shred, &self.shred);
            self.due = now + self.pause;
        }
    }

    fn worked(&self) -> bool {
        self.relayed
    }

    fn next_deadline(&self) -> Option<Nanos> {
        None
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn running(&self) -> bool {
        Instant::now() < self.until
    }

    fn on_housekeeping(&mut self, _: Nanos, _: &HotStats) {}
}

/// A reactor with so many shards, and the zero of its clock.
fn reactor(shards: u32, pause: Duration, sink: u16) -> (HotReactor<Relay>, Instant) {
    let config = PortConfig { gso: false, ..PortConfig::default() };
    let port = UdpPort::bind("127.0.0.1:0".parse().expect("an address"), &config).expect("a socket");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let own = |number: u32| ShardConfig {
        core: Some((1 + number as usize % (cores - 1).max(1)) % cores),
        wait: WaitPolicy::Adaptive { spin: Duration::from_millis(1) },
        slice: None,
    };
    let ports = (0..shards).map(|number| (port.sender(number, &config).expect("a port to send from"), own(number))).collect();
    let sessions = relay(sink);
    let begin = Instant::now();
    let handler = Relay { shred: vec![7; MESSAGE_BYTES_MAX], pause, due: begin, until: begin + SPAN, relayed: false };
    // Behind the clock of the handshakes.
    let base = begin.checked_sub(Duration::from_millis(2_100)).unwrap_or(begin);
    let hot = HotConfig { core: Some(0), wait: WaitPolicy::Busy, base, ..HotConfig::default() };
    let mut reactor = HotReactor::new(Box::new(port), sessions, handler, hot);
    reactor.shard(ports).expect("rings and threads");
    (reactor, base)
}

/// Median time of a pass that relays a shred, ns.
fn pass_ns(shards: u32, sink: u16) -> u64 {
    let (mut reactor, base) = reactor(shards, PAUSE, sink);
    core_affinity::set_for_current(core_affinity::CoreId { id: 0 });
    let (began, mut samples) = (Instant::now(), Vec::new());
    while began.elapsed() < SPAN {
        let start = Instant::now();
        if reactor.pass(Nanos(base.elapsed().as_nanos() as u64)) {
            samples.push(start.elapsed().as_nanos() as u64);
        }
    }
    samples.sort_unstable();
    samples[samples.len() / 2]
}

/// Copies sent per second when a shred is always due.
fn rate(shards: u32, sink: u16) -> f64 {
    let (reactor, _) = reactor(shards, Duration::ZERO, sink);
    let stats = reactor.stats();
    reactor.run();
    stats.snapshot().sent[Class::Normal as usize] as f64 / SPAN.as_secs_f64()
}

/// Pinning is for good, so every measurement has a thread of its own.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(work).join().expect("no panic")
}

fn main() {
    let sink = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let to = sink.local_addr().expect("bound").port();
    let named: Vec<u32> = std::env::args().skip(1).map(|word| word.parse().expect("a number of shards")).collect();
    let cases = if named.is_empty() { vec![0, 1, 2] } else { named };
    for shards in cases {
        let (pass_us, rate_k) = (apart(move || pass_ns(shards, to)) as f64 / 1e3, apart(move || rate(shards, to)) / 1e3);
        println!("{shards} shards: a shred to {PEERS} peers takes {pass_us:.1} us of the hot core; {rate_k:.0} k copies/s at most");
    }
}
