//! Costs of the session layer, the rings and the heartbeat on this host: `cargo run --release -p samara-dataplane --example dataplane_costs`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use samara_dataplane::reactor::{Handler, HotConfig, HotReactor, Outbox, WaitPolicy};
use samara_dataplane::ring::{Receiver, Sender, ring};
use samara_dataplane::session::{CipherSet, Opened, SEAL_BYTES, SessionConfig, SessionLimits, Sessions};
use samara_dataplane::tap::{SNAPLEN_MAX, Tap, TapFilter, TapSettings};
use samara_dataplane::{counters::HotStats, port, service};
use samara_types::datagram::{DATAGRAM_BYTES_MAX, MESSAGE_BYTES_MAX};
use samara_types::{ChainId, Digest, MessageKind, Nanos, ValidatorIndex};

fn secret(i: u8) -> [u8; 32] {
    *blake3::hash(&[i]).as_bytes()
}

fn address(i: u8) -> SocketAddr {
    ([10, 0, 0, i], 7000).into()
}

fn machine(me: u8, ciphers: CipherSet, boot_ns: u64) -> Sessions {
    let public = |i| x25519_dalek::x25519(secret(i), x25519_dalek::X25519_BASEPOINT_BYTES);
    let config = SessionConfig {
        chain: ChainId([1; 32]),
        me: ValidatorIndex(me.into()),
        secret: secret(me),
        peers: (0..2).map(|i| (public(i), address(i))).collect(),
        cluster_fingerprint: Digest([2; 32]),
        boot_ns,
        limits: SessionLimits { ciphers, ..SessionLimits::default() },
    };
    Sessions::new(config, [me; 32])
}

fn settle(machines: &mut [Sessions; 2]) {
    let mut out = [0; DATAGRAM_BYTES_MAX];
    for ms in 0..500 {
        for from in 0..2 {
            while let Some((_, len)) = machines[from].poll_transmit(Nanos::from_millis(ms), &mut out) {
                machines[1 - from].open(Nanos::from_millis(ms), address(from as u8), &mut out[..len]);
            }
        }
        if machines.iter().all(|machine| machine.up() == 1) {
            return;
        }
    }
}

fn data(name: &str, ciphers: CipherSet, bytes: usize) {
    const ROUNDS: usize = 400;
    const BATCH: usize = 256;
    let mut machines = [machine(0, ciphers, 1), machine(1, ciphers, 1)];
    settle(&mut machines);
    let [sender, receiver] = &mut machines;
    let now = Nanos::from_millis(600);
    let message = vec![7; bytes];
    let mut buffers = vec![[0u8; DATAGRAM_BYTES_MAX]; BATCH];
    let (mut seal, mut open) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for buffer in &mut buffers {
            sender.seal(now, ValidatorIndex(1), MessageKind::Shred, &message, buffer).expect("up");
        }
        seal.push(start.elapsed().as_nanos() as u64 / BATCH as u64);
        let start = Instant::now();
        for buffer in &mut buffers {
            receiver.open(now, address(0), &mut buffer[..bytes + SEAL_BYTES]);
        }
        open.push(start.elapsed().as_nanos() as u64 / BATCH as u64);
    }
    assert_eq!(receiver.counters().messages, (ROUNDS * BATCH) as u64);
    println!("{name}, datagram of {} B: seal {}, open {}", bytes + SEAL_BYTES, spread(&mut seal), spread(&mut open));
}

/// What a received datagram of the largest size costs besides, while nobody looks on and while somebody does.
fn tapped(name: &str, view: Option<bool>) {
    const ROUNDS: usize = 400;
    const BATCH: usize = 256;
    let mut tap = Tap::default();
    let mut reader = view.map(|opened| {
        let settings = TapSettings { opened, snaplen: SNAPLEN_MAX, ring_bytes: 4 << 20, filter: TapFilter::ALL, reactor: 0 };
        tap.handle().attach(settings).expect("nobody reads")
    });
    tap.refresh();
    let datagram = vec![7u8; DATAGRAM_BYTES_MAX];
    let message = Opened::Message { peer: ValidatorIndex(1), kind: MessageKind::Shred, start: 20, len: MESSAGE_BYTES_MAX };
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..BATCH {
            tap.arriving(std::hint::black_box(&datagram));
            tap.arrived(address(1), std::hint::black_box(&datagram), message, None);
        }
        // In tenths: a branch is below a nanosecond.
        samples.push(start.elapsed().as_nanos() as u64 * 10 / BATCH as u64);
        if let Some(reader) = &mut reader {
            assert_eq!(reader.lost(), 0);
            while reader.waiting() > 0 {
                reader.read(usize::MAX, |part| Ok::<_, ()>(part.len())).expect("taking never fails");
            }
        }
    }
    samples.sort_unstable();
    let at = |part: f64| samples[((samples.len() - 1) as f64 * part) as usize] as f64 / 10.0;
    println!("tap {name}, datagram of {DATAGRAM_BYTES_MAX} B: p50 {} ns, p99 {} ns, max {} ns", at(0.5), at(0.99), at(1.0));
}

fn handshakes() {
    let mut whole = Vec::new();
    for boot in 0..200 {
        let mut machines = [machine(0, CipherSet::ALL, boot * 1_000_000_000), machine(1, CipherSet::ALL, boot * 1_000_000_000)];
        let start = Instant::now();
        settle(&mut machines);
        whole.push(start.elapsed().as_nanos() as u64);
    }
    println!("handshake, both sides together: {}", spread(&mut whole));
}

fn spread(samples: &mut [u64]) -> String {
    samples.sort_unstable();
    let at = |part: f64| samples[((samples.len() - 1) as f64 * part) as usize];
    format!("p50 {} ns, p99 {} ns, max {} ns", at(0.5), at(0.99), at(1.0))
}

struct Echo {
    taken: Receiver<Instant>,
    back: Sender<Instant>,
}

impl Handler for Echo {
    fn on_message(&mut self, _: Nanos, _: ValidatorIndex, _: MessageKind, _: &[u8], _: &mut Outbox<'_>) {}
    fn on_pass(&mut self, _: Nanos, _: &mut Outbox<'_>) {
        while let Some(item) = self.taken.pop() {
            let _ = self.back.push(item);
        }
    }
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }
    fn wake_fds(&self) -> Vec<std::os::fd::RawFd> {
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

const TRIPS: usize = 5_000;

/// Round trips main thread -> other side -> main thread, which busy-polls; `pause` lets the other side fall asleep.
fn trips(name: &str, mut out: Sender<Instant>, mut back: Receiver<Instant>, pause: Duration) {
    let mut samples = Vec::new();
    for _ in 0..TRIPS {
        let idle = Instant::now();
        while idle.elapsed() < pause {
            std::hint::spin_loop();
        }
        if out.push(Instant::now()).is_err() {
            return println!("{name}: the other side ended");
        }
        let sent = loop {
            if let Some(sent) = back.pop() {
                break sent;
            }
            std::hint::spin_loop();
        };
        samples.push(sent.elapsed().as_nanos() as u64);
    }
    println!("{name}: {}", spread(&mut samples));
}

fn ring_to_hot(name: &str, wait: WaitPolicy, pause: Duration) {
    let (out, taken) = ring(8).expect("an eventfd");
    let (back, returned) = ring(8).expect("an eventfd");
    let port = port::udp::UdpPort::bind("127.0.0.1:0".parse().expect("an address"), &port::PortConfig::tiny()).expect("a socket");
    let handler = Echo { taken, back };
    let config = HotConfig { wait, ..HotConfig::default() };
    let reactor = HotReactor::new(Box::new(port), machine(0, CipherSet::ALL, 1), handler, config);
    let thread = std::thread::spawn(move || reactor.run());
    trips(name, out, returned, pause);
    thread.join().expect("no panic");
}

fn ring_to_glommio(pause: Duration) {
    let (out, mut taken) = ring::<Instant>(8).expect("an eventfd");
    let (mut back, returned) = ring(8).expect("an eventfd");
    let started = service::start(service::ServiceConfig::default(), move || async move {
        while let Some(item) = taken.recv().await {
            let _ = back.push(item);
        }
    });
    let (service, _pulse) = started.expect("an executor");
    trips(&format!("ring -> sleeping glommio task -> ring, {pause:?} apart"), out, returned, pause);
    service.join().expect("a clean end");
}

fn heartbeat(seconds: u64) {
    let (mut tell, mut told) = ring::<()>(1).expect("an eventfd");
    let config = service::ServiceConfig { beat_every: Duration::from_millis(1), ..Default::default() };
    let (running, pulse) = service::start(config, move || async move { told.recv().await }).expect("an executor");
    let began = Instant::now();
    let (mut last, mut moved, mut longest) = (0, Instant::now(), Duration::ZERO);
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_micros(200));
        if pulse.beats() != last {
            longest = longest.max(moved.elapsed());
            (last, moved) = (pulse.beats(), Instant::now());
        }
    }
    println!("heartbeat every 1 ms for {seconds} s: {last} beats, longest gap {longest:?}");
    let _ = tell.push(());
    running.join().expect("a clean end");
}

fn main() {
    let full = MESSAGE_BYTES_MAX;
    for (name, ciphers) in [("aes-256-gcm", CipherSet::ALL), ("chacha20-poly1305", CipherSet::CHACHA)] {
        data(name, ciphers, full);
        data(name, ciphers, 96);
    }
    tapped("off", None);
    tapped("sealed", Some(false));
    tapped("opened", Some(true));
    handshakes();
    ring_to_hot("ring -> busy hot reactor -> ring", WaitPolicy::Busy, Duration::ZERO);
    ring_to_hot("ring -> parked hot reactor -> ring, 100us apart", WaitPolicy::Park, Duration::from_micros(100));
    ring_to_glommio(Duration::ZERO);
    ring_to_glommio(Duration::from_micros(200));
    heartbeat(10);
}
