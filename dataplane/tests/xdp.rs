//! The AF_XDP port over a veth pair, both ends real. Skips, with the reason, where namespaces or AF_XDP are not permitted.

mod xdp_net;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use samara_dataplane::port::xdp::XdpPort;
use samara_dataplane::port::{Port, PortError, Wake};
use samara_dataplane::xdp::attach::is_forbidden;
use samara_dataplane::xdp::{XdpConfig, XdpMode};
use xdp_net::{Namespace, veth_pair};

const LIMIT: Duration = Duration::from_secs(10);

fn bind(side: &Namespace, address: &str, config: XdpConfig) -> Option<XdpPort> {
    let address: SocketAddr = address.parse().expect("an address");
    match side.run(move || XdpPort::bind(address, &config)) {
        Ok(port) => Some(port),
        Err(PortError::Xdp(error)) if is_forbidden(&error) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn send(port: &mut dyn Port, bytes: &[u8], to: SocketAddr) {
    let mut frame = port.tx_frame().expect("a frame is free");
    frame[..bytes.len()].copy_from_slice(bytes);
    frame.set_len(bytes.len());
    port.tx(frame, to);
}

/// Waits for one datagram.
fn receive(port: &mut dyn Port) -> (Vec<u8>, SocketAddr) {
    let mut frames = Vec::new();
    while port.rx_burst(&mut frames, 1) == 0 {
        assert_ne!(port.wait(Some(LIMIT), &[]), Wake::Timeout, "nothing came: {:?}", port.stats());
    }
    let frame = frames.pop().expect("one came");
    let got = (frame.to_vec(), frame.peer());
    port.release(frame);
    got
}

fn echo(mode: XdpMode, near: &str, far: &str) {
    let Some((a, b)) = veth_pair() else { return };
    let (Some(mut near), Some(mut far)) = (bind(&a, near, XdpConfig::new("near", mode)), bind(&b, far, XdpConfig::new("far", mode))) else {
        return;
    };
    let (near_address, far_address) = (near.local_addr(), far.local_addr());
    let mut seen = HashSet::new();
    for round in 0..1000_u32 {
        let mut bytes = vec![round as u8; 8 + (round as usize * 37) % 1400];
        bytes[..4].copy_from_slice(&round.to_le_bytes());
        send(&mut near, &bytes, far_address);
        near.flush();
        let (got, from) = receive(&mut far);
        assert_eq!((&got, from), (&bytes, near_address));
        send(&mut far, &got, from);
        far.flush();
        let (back, from) = receive(&mut near);
        assert_eq!((&back, from), (&bytes, far_address));
        assert!(seen.insert(back));
    }
    for port in [&near, &far] {
        let (frames, xdp) = (port.conservation(), port.xdp_stats());
        assert!(frames.holds() && frames.held == 0, "{frames:?}");
        assert_eq!((port.stats().rx_packets, port.stats().tx_packets), (1000, 1000), "{:?}", port.stats());
        assert!(xdp.rx_ring > 990, "all but the first few come through the ring: {xdp:?}");
        eprintln!("{}: {xdp:?}", port.describe());
    }
}

#[test]
fn a_thousand_round_trips_in_native_and_skb_mode_over_ipv4_and_ipv6() {
    for mode in [XdpMode::Native, XdpMode::Skb] {
        echo(mode, "10.7.0.1:9000", "10.7.0.2:9001");
        echo(mode, "[fd07::1]:9000", "[fd07::2]:9001");
    }
}
