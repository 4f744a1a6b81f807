//! One end of the AF_XDP floor, on our port: `xdp_pair IF echo|ping|flood|sink CPU PAYLOAD_BYTES LOCAL PEER [skb]`.
//!
//! The same work as the plain C program it is compared with (one socket on queue 0, closed loop or flood of 64-datagram bursts), with the port's real
//! headers. Run each end in its own network namespace with permanent neighbours.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use samara_dataplane::port::Port;
use samara_dataplane::port::xdp::XdpPort;
use samara_dataplane::xdp::{XdpConfig, XdpMode};

const ROUNDS: usize = 200_000;
const BATCH: usize = 64;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, interface, role, cpu, bytes, local, peer, ..] = &args[..] else {
        panic!("usage: xdp_pair IF echo|ping|flood|sink CPU PAYLOAD_BYTES LOCAL PEER [skb]");
    };
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu.parse().expect("a CPU") });
    let mode = if args.last().is_some_and(|last| last == "skb") { XdpMode::Skb } else { XdpMode::Native };
    let (bytes, local, peer) = (bytes.parse().expect("a length"), local.parse().expect("an address"), peer.parse().expect("an address"));
    let mut port = XdpPort::bind(local, &XdpConfig::new(interface, mode)).unwrap_or_else(|error| panic!("{error}"));
    match role.as_str() {
        "echo" => echo(&mut port),
        "ping" => ping(&mut port, bytes, peer),
        "flood" => flood(&mut port, bytes, peer),
        "sink" => sink(&mut port, bytes),
        other => panic!("role {other:?}"),
    }
    eprintln!("{:?}\n{:?}", port.stats(), port.xdp_stats());
}

fn send(port: &mut XdpPort, bytes: usize, to: SocketAddr) -> bool {
    let Some(mut frame) = port.tx_frame() else { return false };
    frame.set_len(bytes);
    port.tx(frame, to);
    true
}

fn echo(port: &mut XdpPort) {
    let mut frames = Vec::with_capacity(BATCH);
    let mut last = Instant::now();
    let (mut seen, mut idle) = (false, 0_u32);
    loop {
        if port.rx_burst(&mut frames, BATCH) == 0 {
            idle = idle.wrapping_add(1);
            if idle.is_multiple_of(1 << 16) && seen && last.elapsed() > Duration::from_secs(2) {
                return;
            }
            continue;
        }
        for frame in frames.drain(..) {
            let to = frame.peer();
            port.tx(frame, to);
        }
        port.flush();
        (last, seen) = (Instant::now(), true);
    }
}

fn ping(port: &mut XdpPort, bytes: usize, peer: SocketAddr) {
    let mut frames = Vec::with_capacity(BATCH);
    let mut samples = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let mut start = Instant::now();
        send(port, bytes, peer);
        port.flush();
        while port.rx_burst(&mut frames, BATCH) == 0 {
            if start.elapsed() > Duration::from_millis(100) {
                start = Instant::now();
                send(port, bytes, peer);
                port.flush();
            }
        }
        frames.drain(..).for_each(|frame| port.release(frame));
        samples.push(start.elapsed().as_nanos() as u64);
    }
    samples.sort_unstable();
    println!("port rtt_ns p50 {} p99 {} p99.9 {}", samples[ROUNDS / 2], samples[ROUNDS * 99 / 100], samples[ROUNDS * 999 / 1000]);
}

fn flood(port: &mut XdpPort, bytes: usize, peer: SocketAddr) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        for _ in 0..BATCH {
            if !send(port, bytes, peer) {
                break;
            }
        }
        port.flush();
    }
    println!("port_tx bytes {bytes} mpps {:.3}", port.stats().tx_packets as f64 / 3e6);
}

fn sink(port: &mut XdpPort, bytes: usize) {
    let mut frames = Vec::with_capacity(BATCH);
    let (mut start, mut last, mut packets) = (Instant::now(), Instant::now(), 0_u64);
    loop {
        let count = port.rx_burst(&mut frames, BATCH);
        let now = Instant::now();
        if count == 0 {
            if packets > 0 && now.duration_since(last) > Duration::from_millis(500) {
                break;
            }
            continue;
        }
        if packets == 0 {
            start = now;
        }
        frames.drain(..).for_each(|frame| port.release(frame));
        (packets, last) = (packets + count as u64, now);
    }
    println!("port_rx bytes {bytes} mpps {:.3}", packets as f64 / last.duration_since(start).as_secs_f64() / 1e6);
}
