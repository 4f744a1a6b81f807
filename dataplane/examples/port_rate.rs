//! One-way rate and round trip of both ports on loopback, with and without segmentation offload.
//!
//! ```text
//! cargo run --release -p samara-dataplane --example port_rate [-- --seconds 1]
//! ```
//! One way: one thread sends bursts of 64 datagrams to one destination, another receives; the figure counts what arrived. Round trip: both ends poll without
//! sleeping (`busy`) or sleep in the kernel (`park`). Pairs of one run compare; runs on a shared machine do not.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use samara_dataplane::port::{self, Port, PortConfig, Transport};

const LOOPBACK: &str = "127.0.0.1:0";
const BURST: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let seconds = match &arguments[1..] {
        [] => 1.0,
        [flag, value] if flag == "--seconds" => value.parse().expect("--seconds takes a number"),
        _ => return eprintln!("usage: port_rate [--seconds S]"),
    };
    let time = Duration::from_secs_f64(seconds);
    println!(
        "{:<6} {:>5} {:>4} {:>10} {:>9} {:>12} {:>12} {:>12}",
        "port", "bytes", "gso", "packets/s", "Gbit/s", "calls/packet", "busy p50 us", "park p50 us"
    );
    for rung in [Transport::Uring, Transport::Udp] {
        for bytes in [64, 1372] {
            for gso in [false, true] {
                row(rung, bytes, gso, time);
            }
        }
    }
}

fn row(rung: Transport, bytes: usize, gso: bool, time: Duration) {
    let config = PortConfig { gso, ..PortConfig::default() };
    let (rate, calls) = one_way(rung, bytes, &config, time);
    let busy = round_trip(rung, bytes, &config, time / 2, false);
    let park = round_trip(rung, bytes, &config, time / 2, true);
    let gbits = rate * bytes as f64 * 8.0 / 1e9;
    println!(
        "{rung:<6} {bytes:>5} {gso:>4} {rate:>10.0} {gbits:>9.2} {calls:>12.3} {busy:>12.2} {park:>12.2}",
        rung = rung.to_string(),
        gso = if gso { "on" } else { "off" }
    );
}

fn open(rung: Transport, config: &PortConfig) -> Box<dyn Port> {
    match port::open(rung, LOOPBACK.parse().expect("an address"), config) {
        Ok((port, _)) => port,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(3);
        }
    }
}

fn send(port: &mut dyn Port, bytes: usize, to: SocketAddr) {
    if let Some(mut frame) = port.tx_frame() {
        frame.set_len(bytes);
        port.tx(frame, to);
    }
}

/// Datagrams received per second, and system calls of both ends per datagram.
fn one_way(rung: Transport, bytes: usize, config: &PortConfig, time: Duration) -> (f64, f64) {
    let (mut sender, mut receiver) = (open(rung, config), open(rung, config));
    let to = receiver.local_addr();
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut frames = Vec::with_capacity(BURST);
            while !stop.load(Ordering::Relaxed) {
                if receiver.rx_burst(&mut frames, BURST) == 0 {
                    std::hint::spin_loop();
                }
                frames.drain(..).for_each(|frame| receiver.release(frame));
            }
        });
        while started.elapsed() < time {
            (0..BURST).for_each(|_| send(&mut *sender, bytes, to));
            sender.flush();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (sent, received) = (sender.stats(), receiver.stats());
    let calls = sent.syscalls as f64 / sent.tx_packets as f64 + received.syscalls as f64 / received.rx_packets.max(1) as f64;
    (received.rx_packets as f64 / started.elapsed().as_secs_f64(), calls)
}

/// Median round trip in microseconds.
fn round_trip(rung: Transport, bytes: usize, config: &PortConfig, time: Duration, park: bool) -> f64 {
    let (mut near, mut far) = (open(rung, config), open(rung, config));
    let (near_address, far_address) = (near.local_addr(), far.local_addr());
    let stop = AtomicBool::new(false);
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut frames = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                if park && frames.is_empty() {
                    far.wait(Some(Duration::from_millis(10)), &[]);
                }
                far.rx_burst(&mut frames, BURST);
                frames.drain(..).for_each(|frame| far.tx(frame, near_address));
                far.flush();
            }
        });
        let started = Instant::now();
        let mut frames = Vec::new();
        while started.elapsed() < time {
            let sent = Instant::now();
            send(&mut *near, bytes, far_address);
            near.flush();
            while near.rx_burst(&mut frames, BURST) == 0 {
                if park {
                    near.wait(Some(Duration::from_millis(10)), &[]);
                }
            }
            times.push(sent.elapsed());
            frames.drain(..).for_each(|frame| near.release(frame));
        }
        stop.store(true, Ordering::Relaxed);
    });
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}
