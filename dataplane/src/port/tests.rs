//! Both ports against each other and against the kernel, on loopback and in network namespaces.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::udp::UdpPort;
use super::uring::UringPort;
use super::*;
use crate::sys::ring::Mode;
use crate::sys::socket::refuse_segmentation;

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";
const RUNGS: [Transport; 2] = [Transport::Uring, Transport::Udp];

/// A port whose descriptor a test may reach.
trait TestPort: Port + AsRawFd {}
impl<P: Port + AsRawFd> TestPort for P {}

fn bind(rung: Transport, address: &str, config: &PortConfig) -> Option<Box<dyn TestPort>> {
    let address: SocketAddr = address.parse().expect("an address");
    match rung {
        Transport::Udp => Some(Box::new(UdpPort::bind(address, config).expect("UDP works everywhere"))),
        _ => match UringPort::bind(address, config) {
            Ok(port) => Some(Box::new(port)),
            Err(error @ PortError::Ring { .. }) => {
                eprintln!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        },
    }
}

/// Runs `test` for each pair of rungs that this kernel has.
fn for_pairs(address: &str, config: &PortConfig, test: impl Fn(&mut dyn TestPort, &mut dyn TestPort)) {
    for left in RUNGS {
        for right in RUNGS {
            if let (Some(mut a), Some(mut b)) = (bind(left, address, config), bind(right, address, config)) {
                test(&mut *a, &mut *b);
            }
        }
    }
}

fn for_rungs(config: &PortConfig, test: impl Fn(&mut dyn TestPort)) {
    RUNGS.into_iter().filter_map(|rung| bind(rung, V4, config)).for_each(|mut port| test(&mut *port));
}

/// Length and bytes of datagram `number`: a mix of sizes with runs of equal ones.
fn datagram(number: usize) -> Vec<u8> {
    let len = match number % 16 {
        0..=7 => 1372,
        8..=11 => 64,
        12 => 2048,
        _ => 8 + number * 37 % 1300,
    };
    let mut bytes: Vec<u8> = (0..len).map(|at| (number * 31 + at * 7) as u8).collect();
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    bytes
}

fn queue(port: &mut dyn TestPort, bytes: &[u8], to: SocketAddr) -> bool {
    let Some(mut frame) = port.tx_frame() else { return false };
    frame[..bytes.len()].copy_from_slice(bytes);
    frame.set_len(bytes.len());
    port.tx(frame, to);
    true
}

/// Fetches and releases everything that is there; returns number -> bytes.
fn collect(port: &mut dyn TestPort, from: SocketAddr, into: &mut HashMap<u64, Vec<u8>>) {
    let mut frames = Vec::new();
    while port.rx_burst(&mut frames, 64) > 0 {
        for frame in frames.drain(..) {
            assert_eq!(frame.peer(), from);
            let number = u64::from_le_bytes(frame[..8].try_into().expect("8 bytes"));
            assert!(into.insert(number, frame.to_vec()).is_none(), "{number} came twice");
            port.release(frame);
        }
    }
}

/// Waits for the port, at most ten seconds: a limit for a broken run, never a measure.
fn settle(port: &mut dyn TestPort) -> Wake {
    port.wait(Some(Duration::from_secs(10)), &[])
}

fn assert_conserved(port: &dyn TestPort) {
    let frames = port.conservation();
    assert!(frames.holds(), "{}: {frames:?}", port.rung());
}

fn exchange(sender: &mut dyn TestPort, receiver: &mut dyn TestPort, count: usize) {
    let (from, to) = (sender.local_addr(), receiver.local_addr());
    let mut came = HashMap::new();
    for first in (0..count).step_by(100) {
        let numbers = first..(first + 100).min(count);
        for number in numbers.clone() {
            assert!(queue(sender, &datagram(number), to), "every frame is home after a flush");
        }
        sender.flush();
        while came.len() < numbers.end {
            assert_eq!(settle(receiver), Wake::Port, "{} of {} after {:?}", came.len(), numbers.end, receiver.stats());
            collect(receiver, from, &mut came);
        }
    }
    for (number, bytes) in came {
        assert_eq!(bytes, datagram(number as usize), "datagram {number}");
    }
    assert_conserved(sender);
    assert_conserved(receiver);
    assert_eq!((sender.conservation().held, sender.conservation().queued, receiver.conservation().held), (0, 0, 0));
    assert_eq!((sender.stats().tx_packets, receiver.stats().rx_packets), (count as u64, count as u64));
    assert_eq!(sender.stats().tx_bytes, receiver.stats().rx_bytes);
}

#[test]
fn ten_thousand_datagrams_of_mixed_sizes_arrive_intact_with_and_without_gso() {
    for gso in [true, false] {
        let config = PortConfig { rx_frames: 256, tx_frames: 256, gso, ..PortConfig::default() };
        for_pairs(V4, &config, |sender, receiver| {
            exchange(sender, receiver, 10_000);
            let stats = sender.stats();
            assert_eq!(stats.gso_batches > 0, gso && stats.gso_refused == 0, "{stats:?}");
            assert_eq!((stats.gso_refused, stats.tx_dropped(), stats.tx_no_frame), (0, 0, 0));
        });
    }
}

#[test]
fn ipv6_works_like_ipv4() {
    if StdSocket::bind(V6).is_err() {
        return eprintln!("skipped: no IPv6 loopback");
    }
    let config = PortConfig { rx_frames: 256, tx_frames: 256, ..PortConfig::default() };
    for_pairs(V6, &config, |sender, receiver| exchange(sender, receiver, 500));
}

#[test]
fn refused_segmentation_falls_back_to_singles_and_loses_nothing() {
    let config = PortConfig { rx_frames: 256, tx_frames: 256, ..PortConfig::default() };
    for_pairs(V4, &config, |sender, receiver| {
        refuse_segmentation(sender.as_raw_fd());
        exchange(sender, receiver, 1000);
        let stats = sender.stats();
        assert!(stats.gso_refused >= 1, "{stats:?}");
        assert_eq!(stats.gso_batches, 0);
    });
}

#[test]
fn the_ring_works_in_every_mode_it_may_fall_back_to() {
    if bind(Transport::Uring, V4, &PortConfig::tiny()).is_none() {
        return;
    }
    let config = PortConfig { rx_frames: 256, tx_frames: 256, ..PortConfig::default() };
    for mode in Mode::LADDER {
        let open = || UringPort::bind_in_mode(V4.parse().expect("an address"), &config, &[mode]);
        let (mut sender, mut receiver) = match (open(), open()) {
            (Ok(sender), Ok(receiver)) => (sender, receiver),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("skipped {mode:?}: {error}");
                continue;
            }
        };
        assert_eq!(receiver.mode(), mode.name());
        exchange(&mut sender, &mut receiver, 1000);
        woken_by_every_packet(&mut receiver);
    }
}

#[test]
fn an_empty_and_a_full_datagram_pass() {
    for_pairs(V4, &PortConfig::tiny(), |sender, receiver| {
        let to = receiver.local_addr();
        let full = vec![7; 2048];
        for bytes in [&full[..], &[], &full[..], &[]] {
            assert!(queue(sender, bytes, to));
        }
        sender.flush();
        let mut frames = Vec::new();
        while frames.len() < 4 {
            assert_eq!(settle(receiver), Wake::Port);
            receiver.rx_burst(&mut frames, 64);
        }
        let mut lens: Vec<usize> = frames.iter().map(|frame| frame.len()).collect();
        lens.sort_unstable();
        assert_eq!(lens, [0, 0, 2048, 2048]);
        frames.drain(..).for_each(|frame| receiver.release(frame));
        assert_conserved(receiver);
    });
}

#[test]
fn a_datagram_longer_than_a_frame_is_dropped_and_counted() {
    for_rungs(&PortConfig::tiny(), |port| {
        let other = StdSocket::bind(V4).expect("loopback");
        let to = port.local_addr();
        for bytes in [&[1; 2049][..], &[2; 8]] {
            other.send_to(bytes, to).expect("loopback");
        }
        let mut frames = Vec::new();
        while frames.is_empty() {
            assert_eq!(settle(port), Wake::Port);
            port.rx_burst(&mut frames, 64);
        }
        assert_eq!(&frames[0][..], &[2; 8]);
        assert_eq!(port.stats().rx_drop_oversize, 1);
        port.release(frames.remove(0));
        assert_conserved(port);
    });
}

#[test]
fn a_received_frame_can_be_sent_on_and_goes_home_to_the_receive_side() {
    for_pairs(V4, &PortConfig::tiny(), |relay, end| {
        let (relay_address, end_address) = (relay.local_addr(), end.local_addr());
        let mut frames = Vec::new();
        for round in 0..100_u8 {
            assert!(queue(end, &[round; 100], relay_address));
            end.flush();
            while relay.rx_burst(&mut frames, 1) == 0 {
                assert_eq!(settle(relay), Wake::Port);
            }
            relay.tx(frames.remove(0), end_address);
            relay.flush();
            while end.rx_burst(&mut frames, 1) == 0 {
                assert_eq!(settle(end), Wake::Port);
            }
            assert_eq!(&frames[0][..], &[round; 100]);
            end.release(frames.remove(0));
        }
        assert_conserved(relay);
        assert_conserved(end);
        assert_eq!(relay.conservation().held, 0);
    });
}

#[test]
fn a_slow_consumer_costs_counted_drops_and_recovers() {
    let config = PortConfig { rx_frames: 16, tx_frames: 64, socket_buffer_bytes: 4096, gso: true };
    for_pairs(V4, &config, |sender, receiver| {
        let (from, to) = (sender.local_addr(), receiver.local_addr());
        let mut held = Vec::new();
        receiver.rx_burst(&mut held, 64); // the ring is armed from its first use
        for number in 0..640 {
            assert!(queue(sender, &datagram(number), to));
            sender.flush();
            receiver.rx_burst(&mut held, 64);
        }
        assert_eq!(held.len(), 16, "the caller holds every receive frame");
        let stats = receiver.stats();
        assert!(stats.rx_drop_kernel > 0 && stats.rx_starved > 0, "{stats:?}");
        assert_eq!(receiver.wait(Some(Duration::ZERO), &[]), Wake::Timeout, "no frame to receive into, so nothing to do");
        assert_conserved(receiver);

        held.drain(..).for_each(|frame| receiver.release(frame));
        let mut came = HashMap::new();
        collect(receiver, from, &mut came);
        let buffered = 640 - 16 - receiver.stats().rx_drop_kernel as usize;
        assert_eq!(came.len(), buffered, "what the kernel did not drop is still there");
        if receiver.rung() == "uring" {
            let stats = receiver.stats();
            assert!(stats.rx_enobufs >= 1 && stats.rx_armed >= 2, "it ran dry and was armed again: {stats:?}");
        }
        came.clear();
        for number in 1000..1100 {
            assert!(queue(sender, &datagram(number), to));
            sender.flush();
            while !came.contains_key(&number.try_into().expect("small")) {
                assert_eq!(settle(receiver), Wake::Port);
                collect(receiver, from, &mut came);
            }
        }
        assert_conserved(receiver);
        assert_conserved(sender);
        assert_eq!(receiver.conservation().held, 0);
    });
}

#[test]
fn frames_are_conserved_after_a_flood_to_a_port_that_is_gone() {
    let gone = StdSocket::bind(V4).expect("loopback").local_addr().expect("bound");
    for_pairs(V4, &PortConfig::default(), |sender, receiver| {
        for number in 0..5000 {
            if !queue(sender, &datagram(number), gone) {
                sender.flush();
            }
        }
        sender.flush();
        assert_conserved(sender);
        assert_eq!(sender.conservation().queued, 0);
        exchange_after(sender, receiver);
    });
}

/// The sender still reaches a live destination.
fn exchange_after(sender: &mut dyn TestPort, receiver: &mut dyn TestPort) {
    let mut came = HashMap::new();
    assert!(queue(sender, &datagram(1), receiver.local_addr()));
    sender.flush();
    while came.is_empty() {
        assert_eq!(settle(receiver), Wake::Port);
        collect(receiver, sender.local_addr(), &mut came);
    }
    assert_eq!(came[&1], datagram(1));
}

#[test]
fn a_destination_that_cannot_be_sent_to_is_counted_and_blocks_no_other() {
    let forbidden: SocketAddr = "255.255.255.255:9".parse().expect("an address"); // no SO_BROADCAST: EACCES
    let other_family: SocketAddr = "[::1]:9".parse().expect("an address");
    for_pairs(V4, &PortConfig::default(), |sender, receiver| {
        let (from, to) = (sender.local_addr(), receiver.local_addr());
        for number in 0..300 {
            let target = [to, forbidden, other_family][number % 3];
            assert!(queue(sender, &datagram(number), target));
        }
        sender.flush();
        let mut came = HashMap::new();
        while came.len() < 100 {
            assert_eq!(settle(receiver), Wake::Port);
            collect(receiver, from, &mut came);
        }
        assert!(came.keys().all(|number| number % 3 == 0));
        let stats = sender.stats();
        assert_eq!((stats.tx_packets, stats.tx_drop_forbidden, stats.tx_drop_family), (100, 100, 100));
        assert_conserved(sender);
        assert_eq!(sender.conservation().free + sender.conservation().kernel, sender.conservation().total);
    });
}

#[test]
fn without_a_free_frame_tx_frame_is_none_and_counted() {
    for_rungs(&PortConfig::tiny(), |port| {
        let held: Vec<Frame> = std::iter::from_fn(|| port.tx_frame()).collect();
        assert_eq!((held.len(), port.stats().tx_no_frame), (16, 1));
        assert_conserved(port);
        held.into_iter().for_each(|frame| port.release(frame));
        assert!(port.tx_frame().is_some());
    });
}

#[test]
fn a_frame_that_is_dropped_comes_home_as_lost() {
    for_pairs(V4, &PortConfig::tiny(), |sender, receiver| {
        let to = receiver.local_addr();
        drop(sender.tx_frame());
        assert!(queue(sender, &datagram(8), to));
        sender.flush();
        let mut frames = Vec::new();
        while receiver.rx_burst(&mut frames, 64) == 0 {
            assert_eq!(settle(receiver), Wake::Port);
        }
        frames.clear();
        receiver.rx_burst(&mut frames, 64);
        for port in [&*sender as &dyn TestPort, &*receiver as &dyn TestPort] {
            assert_eq!((port.stats().frames_lost, port.conservation().held), (1, 0));
            assert_conserved(port);
        }
    });
}

fn wake_pair() -> (UnixStream, UnixStream, RawFd) {
    let (near, far) = UnixStream::pair().expect("a socket pair");
    let fd = far.as_raw_fd();
    (near, far, fd)
}

#[test]
fn wait_says_what_ended_it() {
    for_pairs(V4, &PortConfig::tiny(), |sender, port| {
        let (mut near, _far, fd) = wake_pair();
        assert_eq!(port.wait(Some(Duration::ZERO), &[fd]), Wake::Timeout);
        assert_eq!(port.wait(Some(Duration::from_millis(1)), &[]), Wake::Timeout);
        near.write_all(b"x").expect("room for a byte");
        assert_eq!(port.wait(None, &[fd]), Wake::Descriptor);

        let (_near, _far, quiet) = wake_pair();
        assert!(queue(sender, &datagram(3), port.local_addr()));
        sender.flush();
        assert_eq!(port.wait(None, &[quiet]), Wake::Port);
        assert_eq!(port.wait(None, &[quiet]), Wake::Port, "still pending: returns at once");
        assert_eq!(port.wait(Some(Duration::ZERO), &[fd]), Wake::Port, "frames come before descriptors");
        let mut came = HashMap::new();
        collect(port, sender.local_addr(), &mut came);
        assert_eq!(came.len(), 1);
        assert_eq!(port.wait(Some(Duration::ZERO), &[quiet]), Wake::Timeout);
    });
}

/// Returns once the thread sleeps in the kernel.
fn until_asleep(thread: libc::pid_t) {
    let path = format!("/proc/self/task/{thread}/stat");
    // The state is the first field behind the parenthesised name.
    while !std::fs::read_to_string(&path).expect("procfs").rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')) {
        std::thread::yield_now();
    }
}

/// Sends single packets to a port that is asleep in `wait` without a time limit. A port that sleeps on is ended by a watchdog, and fails.
fn woken_by_every_packet(port: &mut dyn TestPort) {
    let to = port.local_addr();
    let (mut near, _far, watchdog) = wake_pair();
    let (done, finished) = std::sync::mpsc::channel::<()>();
    // SAFETY: no arguments.
    let sleeper = unsafe { libc::gettid() };
    let mut frames = Vec::new();
    std::thread::scope(|scope| {
        let overslept = scope.spawn(move || {
            let overslept = finished.recv_timeout(Duration::from_secs(10)) == Err(RecvTimeoutError::Timeout);
            near.write_all(b"x").expect("room for a byte");
            overslept
        });
        for round in 0..10 {
            scope.spawn(move || {
                until_asleep(sleeper);
                StdSocket::bind(V4).and_then(|socket| socket.send_to(&[round; 9], to)).expect("loopback");
            });
            assert_eq!(port.wait(None, &[watchdog]), Wake::Port);
            assert_eq!(port.rx_burst(&mut frames, 8), 1);
            assert_eq!(&frames[0][..], &[round; 9]);
            port.release(frames.remove(0));
        }
        drop(done);
        assert!(!overslept.join().expect("it does not panic"), "{}: a packet did not wake the port", port.rung());
    });
}

#[test]
fn a_sleeping_port_is_woken_by_every_packet_and_by_a_descriptor() {
    for_rungs(&PortConfig::tiny(), |port| {
        woken_by_every_packet(port);
        let (mut near, _far, fd) = wake_pair();
        // SAFETY: no arguments.
        let sleeper = unsafe { libc::gettid() };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                until_asleep(sleeper);
                near.write_all(b"x").expect("room for a byte");
            });
            assert_eq!(port.wait(Some(Duration::from_secs(10)), &[fd]), Wake::Descriptor);
        });
    });
}

#[test]
fn wait_flushes_what_is_queued() {
    for_pairs(V4, &PortConfig::tiny(), |sender, receiver| {
        assert!(queue(sender, &datagram(3), receiver.local_addr()));
        sender.wait(Some(Duration::ZERO), &[]);
        assert_eq!(settle(receiver), Wake::Port);
        assert_eq!(sender.stats().tx_packets, 1);
    });
}

#[test]
fn a_port_opened_here_may_be_used_and_closed_there() {
    for rung in RUNGS {
        let Ok((mut port, _)) = open(rung, V4.parse().expect("an address"), &PortConfig::tiny()) else { continue };
        std::thread::spawn(move || {
            StdSocket::bind(V4).and_then(|socket| socket.send_to(&[9; 9], port.local_addr())).expect("loopback");
            assert_eq!(port.wait(Some(Duration::from_secs(10)), &[]), Wake::Port);
            let mut frames = Vec::new();
            assert_eq!(port.rx_burst(&mut frames, 8), 1);
            drop(port);
            assert_eq!(&frames[0][..], &[9; 9], "a frame outlives its port");
        })
        .join()
        .expect("the other thread passed");
    }
}

#[test]
fn open_names_the_rung_and_why_and_refuses_bad_limits() {
    let address: SocketAddr = V4.parse().expect("an address");
    let (port, why) = open(Transport::Auto, address, &PortConfig::default()).expect("some rung works");
    assert!(why.starts_with(port.rung()) && why.lines().count() == 1, "{why}");
    assert_eq!(open(Transport::Udp, address, &PortConfig::default()).expect("UDP").0.rung(), "udp");
    for config in [PortConfig { rx_frames: 0, ..PortConfig::tiny() }, PortConfig { tx_frames: 32_769, ..PortConfig::tiny() }] {
        let refused = open(Transport::Auto, address, &config).err().expect("out of limits").to_string();
        assert!(refused.contains("frames") && refused.contains("1 to 32768"), "{refused}");
    }
    let taken = port.local_addr();
    let refused = open(Transport::Auto, taken, &PortConfig::default()).err().expect("the address is taken").to_string();
    assert!(refused.contains("bind") && refused.contains(&taken.to_string()), "{refused}");
    assert!("xyz".parse::<Transport>().is_err());
}

/// Runs `test` on a thread in a network namespace of its own after `commands` of ip(8); says so and returns when that is not permitted.
pub(super) fn in_namespace(name: &str, commands: &[&str], test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // SAFETY: moves only this thread, which ends with the test.
                if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                    return eprintln!("skipped {name}: no network namespace: {}", io::Error::last_os_error());
                }
                for command in commands {
                    if !ip(command) {
                        return eprintln!("skipped {name}: ip {command}");
                    }
                }
                test();
            })
            .join()
            .expect("the test passed");
    });
}

fn ip(command: &str) -> bool {
    Command::new("ip").args(command.split(' ')).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn an_unreachable_network_is_counted_and_blocks_no_other() {
    in_namespace("unreachable network", &["link set lo up"], || {
        let nowhere: SocketAddr = "203.0.113.1:9".parse().expect("an address");
        for_pairs(V4, &PortConfig::default(), |sender, receiver| {
            for number in 0..200 {
                let target = if number % 2 == 0 { receiver.local_addr() } else { nowhere };
                assert!(queue(sender, &datagram(number), target));
            }
            sender.flush();
            let mut came = HashMap::new();
            while came.len() < 100 {
                assert_eq!(settle(receiver), Wake::Port);
                collect(receiver, sender.local_addr(), &mut came);
            }
            let stats = sender.stats();
            assert_eq!((stats.tx_packets, stats.tx_drop_unreachable), (100, 100), "{stats:?}");
            assert_conserved(sender);
        });
    });
}

#[test]
fn a_full_send_buffer_keeps_frames_queued_until_there_is_room() {
    // A neighbour that does not answer holds packets back, and they count against the send buffer, until its address is known.
    let commands =
        ["link set lo up", "link add near type veth peer name far", "addr add 10.7.0.1/24 dev near", "link set near up", "link set far up"];
    in_namespace("full send buffer", &commands, || {
        for (rung, neighbour) in RUNGS.into_iter().zip(["10.7.0.2", "10.7.0.3"]) {
            let config = PortConfig { rx_frames: 16, tx_frames: 256, socket_buffer_bytes: 16384, gso: true };
            let Some(mut port) = bind(rung, "10.7.0.1:0", &config) else { continue };
            let silent: SocketAddr = format!("{neighbour}:9").parse().expect("an address");
            let sent = (0..256).filter(|number| queue(&mut *port, &[*number as u8; 1372], silent)).count();
            assert_eq!(sent, 256);
            port.flush();
            let stuck = port.stats();
            assert!(stuck.tx_deferred > 0 && stuck.frames.queued > 0, "{stuck:?}");
            assert!(stuck.frames.holds());
            assert_eq!(port.wait(Some(Duration::ZERO), &[]), Wake::Timeout, "the socket cannot take more");

            let (mut near, _far, done) = wake_pair();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    assert!(ip(&format!("neigh replace {neighbour} lladdr 02:00:00:00:00:02 dev near nud permanent")));
                    near.write_all(b"x").expect("room for a byte");
                });
                while port.conservation().queued > 0 {
                    assert_ne!(port.wait(Some(Duration::from_secs(10)), &[done]), Wake::Timeout, "room wakes the port");
                }
            });
            let stats = port.stats();
            assert_eq!((stats.tx_packets, stats.tx_dropped()), (256, 0), "{stats:?}");
            assert_conserved(&*port);
        }
    });
}

#[test]
fn a_datagram_too_large_for_the_path_is_dropped_alone() {
    let commands = [
        "link set lo up",
        "link add near type veth peer name far",
        "addr add 10.7.0.1/24 dev near",
        "link set near mtu 1000 up",
        "link set far up",
        "neigh replace 10.7.0.2 lladdr 02:00:00:00:00:02 dev near nud permanent",
    ];
    in_namespace("path MTU", &commands, || {
        for rung in RUNGS {
            let Some(mut port) = bind(rung, "10.7.0.1:0", &PortConfig::default()) else { continue };
            let to: SocketAddr = "10.7.0.2:9".parse().expect("an address");
            for bytes in [&[1; 1200][..], &[1; 1200], &[1; 1200], &[1; 800]] {
                assert!(queue(&mut *port, bytes, to));
            }
            port.flush();
            let stats = port.stats();
            assert_eq!((stats.tx_packets, stats.tx_drop_oversize, stats.gso_refused), (1, 3, 0), "{stats:?}");
            assert_conserved(&*port);
        }
    });
}
