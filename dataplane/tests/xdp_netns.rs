//! What happens to a running AF_XDP port: floods, links that go down and up, MTU and neighbours that change, fragments, VLANs, several queues, a kill.
//!
//! Needs root (namespaces, XDP); skips with the reason otherwise. Waiting is always for an event, with a limit that only a broken run reaches.

mod xdp_net;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use samara_dataplane::frame::Frame;
use samara_dataplane::port::xdp::XdpPort;
use samara_dataplane::port::{Port, PortConfig, PortError};
use samara_dataplane::xdp::attach::is_forbidden;
use samara_dataplane::xdp::{Detour, LinkState, XdpConfig, XdpMode};
use xdp_net::{Namespace, veth_pair};

const LIMIT: Duration = Duration::from_secs(20);
const CHILD: &str = "SAMARA_XDP_CHILD";

fn bind(side: &Namespace, address: &str, config: XdpConfig) -> Option<XdpPort> {
    bind_queues(side, address, config, &[0]).and_then(|mut ports| ports.pop())
}

fn bind_queues(side: &Namespace, address: &str, config: XdpConfig, queues: &'static [u32]) -> Option<Vec<XdpPort>> {
    let address: SocketAddr = address.parse().expect("an address");
    match side.run(move || XdpPort::bind_queues(address, &config, queues)) {
        Ok(ports) => Some(ports),
        Err(PortError::Xdp(error)) if is_forbidden(&error) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn offer(port: &mut dyn Port, bytes: usize, to: SocketAddr) -> bool {
    let Some(mut frame) = port.tx_frame() else { return false };
    frame.set_len(bytes);
    frame.fill(bytes as u8);
    port.tx(frame, to);
    true
}

fn drain(port: &mut XdpPort) -> Vec<(usize, SocketAddr)> {
    let mut frames: Vec<Frame> = Vec::new();
    while port.rx_burst(&mut frames, 64) > 0 {}
    port.wait(Some(Duration::ZERO), &[]);
    while port.rx_burst(&mut frames, 64) > 0 {}
    frames
        .drain(..)
        .map(|frame| {
            assert!(frame.iter().all(|byte| *byte == frame.len() as u8), "bytes arrive as they left");
            let got = (frame.len(), frame.peer());
            port.release(frame);
            got
        })
        .collect()
}

/// Repeats `attempt` until it says yes.
fn until(what: &str, mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < LIMIT, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// Sends until `bytes` arrive straight through the ring.
fn until_direct(from: &mut XdpPort, to: &mut XdpPort, bytes: usize) {
    let (address, before) = (to.local_addr(), from.xdp_stats().kicks);
    until("a datagram through the ring", || {
        offer(from, bytes, address);
        from.flush();
        let came = !drain(to).is_empty();
        came && from.xdp_stats().kicks > before
    });
}

/// Waits until the port knows how its interface is.
fn until_link(port: &mut XdpPort, state: LinkState) {
    until("news of the link", || {
        port.flush();
        port.xdp_stats().link == state
    });
}

/// Every datagram that was offered has left or was dropped for a reason, and no frame is anywhere but home.
fn assert_settled(port: &mut XdpPort, offered: u64) {
    until("everything offered to be settled", || {
        port.flush();
        let frames = port.conservation();
        frames.queued == 0 && port.stats().tx_packets + port.stats().tx_dropped() == offered
    });
    let frames = port.conservation();
    assert!(frames.holds() && frames.held == 0, "{frames:?}");
}

fn ports(near: &Namespace, far: &Namespace, rx_frames: usize) -> Option<(XdpPort, XdpPort)> {
    let mut small = XdpConfig::new("far", XdpMode::Native);
    small.port.rx_frames = rx_frames;
    Some((bind(near, "10.7.0.1:9000", XdpConfig::new("near", XdpMode::Native))?, bind(far, "10.7.0.2:9001", small)?))
}

#[test]
fn a_flood_is_accounted_for_to_the_last_datagram() {
    let Some((a, b)) = veth_pair() else { return };
    let Some((mut near, mut far)) = ports(&a, &b, 256) else { return };
    until_direct(&mut near, &mut far, 64);
    let (to, before) = (far.local_addr(), near.stats().tx_packets);
    let mut offered = before;
    for round in 0..400 {
        for _ in 0..64 {
            offered += u64::from(offer(&mut near, 64, to));
        }
        near.flush();
        if round % 4 == 0 {
            drain(&mut far); // too seldom for 256 frames
        }
    }
    assert_settled(&mut near, offered);
    let sent = near.stats().tx_packets;
    let mut account = (0, 0, 0);
    until("the far side to have accounted for everything", || {
        drain(&mut far);
        let (stats, xdp) = (far.stats(), far.xdp_stats());
        account = (stats.rx_packets, xdp.rx_drop_no_frame + xdp.rx_drop_ring_full, stats.rx_drop_malformed + xdp.descriptors_bad);
        account.0 + account.1 == sent
    });
    assert!(account.1 > 0 && account.0 > 256 && account.2 == 0, "received, dropped for want of frames, malformed: {account:?} of {sent}");
    assert_eq!(far.stats().rx_drop_kernel, account.1, "the port's own counter says the same");
    assert!(far.conservation().holds() && far.conservation().held == 0);
    // And it goes on.
    until_direct(&mut near, &mut far, 100);
}

#[test]
fn a_link_that_goes_down_and_up_costs_counted_datagrams_and_nothing_else() {
    let Some((a, b)) = veth_pair() else { return };
    let Some((mut near, mut far)) = ports(&a, &b, 1024) else { return };
    until_direct(&mut near, &mut far, 64);
    let to = far.local_addr();
    for (side, name) in [(&a, "near"), (&b, "far")] {
        let before = near.stats();
        let settled = before.tx_packets + before.tx_dropped();
        side.must(&format!("link set {name} down"));
        let mut offered = settled;
        for round in 0..64 {
            for _ in 0..16 {
                offered += u64::from(offer(&mut near, 64, to));
            }
            near.flush();
            if round == 32 {
                near.wait(Some(Duration::from_millis(1)), &[]);
            }
        }
        let (stats, frames) = (near.stats(), near.conservation());
        assert!(frames.holds() && frames.held == 0, "{frames:?}");
        assert!(stats.tx_dropped() > before.tx_dropped(), "{name}: drops are counted: {stats:?} {:?}", near.xdp_stats());
        until_link(&mut near, if name == "near" { LinkState::Down } else { LinkState::NoCarrier });
        side.must(&format!("link set {name} up"));
        until_link(&mut near, LinkState::Up);
        assert_settled(&mut near, offered); // what stood in the ring of a link that was down leaves when it is up
        until_direct(&mut near, &mut far, 64);
        until_direct(&mut far, &mut near, 64);
    }
}

#[test]
fn a_port_whose_interface_is_deleted_says_so_and_drops_with_a_count_what_has_no_way() {
    let Some((a, b)) = veth_pair() else { return };
    let Some((mut near, mut far)) = ports(&a, &b, 1024) else { return };
    until_direct(&mut near, &mut far, 64);
    let before = near.stats();
    a.must("link del near");
    until_link(&mut near, LinkState::Gone);
    until_link(&mut far, LinkState::Gone);
    let mut offered = before.tx_packets + before.tx_dropped();
    for _ in 0..100 {
        offered += u64::from(offer(&mut near, 64, far.local_addr()));
        near.flush();
    }
    assert_settled(&mut near, offered);
    assert_eq!(near.stats().tx_packets, before.tx_packets, "there is no way at all");
}

/// What was made of the interfaces under two ports that talked; the ports were not asked meanwhile.
fn goes_on_through_the_kernel(what: &str, make: impl Fn(&Namespace, &Namespace)) {
    let Some((a, b)) = veth_pair() else { return };
    let Some((mut near, mut far)) = ports(&a, &b, 1024) else { return };
    until_direct(&mut near, &mut far, 64);
    let mut offered = near.stats().tx_packets + near.stats().tx_dropped();
    make(&a, &b);
    let (kernel, detours) = (far.xdp_stats().rx_kernel, near.xdp_stats().tx_detour[Detour::Down as usize]);
    until(&format!("{what}: a datagram through the kernel, both ways"), || {
        offered += u64::from(offer(&mut near, 64, far.local_addr()));
        near.flush();
        drain(&mut far);
        offer(&mut far, 64, near.local_addr());
        far.flush();
        let back = drain(&mut near).len();
        far.xdp_stats().rx_kernel > kernel && near.xdp_stats().tx_detour[Detour::Down as usize] > detours && back > 0
    });
    assert_eq!([near.xdp_stats().link, far.xdp_stats().link], [LinkState::Gone; 2], "{what}: and it stays said");
    assert_settled(&mut near, offered);
    for (side, name) in [(&a, "near"), (&b, "far")] {
        let shown = side.output(&format!("ip -d link show {name}"));
        assert!(!shown.contains("prog/xdp"), "{what}: a filter stayed on {name}, and what it takes no socket receives: {shown}");
    }
}

fn address(a: &Namespace, b: &Namespace) {
    for (side, name, number) in [(a, "near", 1), (b, "far", 2)] {
        side.must(&format!("addr add 10.7.0.{number}/24 dev {name}"));
        side.must(&format!("link set {name} up"));
    }
}

#[test]
fn an_interface_made_anew_is_another_even_with_the_same_name_address_and_number() {
    goes_on_through_the_kernel("made anew", |a, b| {
        a.must("link del near");
        a.must("link add near type veth peer name far");
        a.must(&format!("link set far netns {}", b.id()));
        address(a, b);
    });
    goes_on_through_the_kernel("the same number", |a, b| {
        let number = |side: &Namespace, name: &str| side.output(&format!("ip -o link show {name}")).split(':').next().map(String::from);
        let (near, far) = (number(a, "near").expect("a number"), number(b, "far").expect("a number"));
        a.must("link del near");
        a.must(&format!("link add near index {near} type veth peer name far index {far} netns {}", b.id()));
        address(a, b);
    });
}

#[test]
fn an_interface_that_was_moved_away_and_back_keeps_no_filter() {
    goes_on_through_the_kernel("moved and back", |a, b| {
        for (side, name) in [(a, "near"), (b, "far")] {
            let elsewhere = Namespace::new().expect("as the two others");
            side.must(&format!("link set {name} netns {}", elsewhere.id()));
            elsewhere.must(&format!("link set {name} netns {}", side.id()));
        }
        address(a, b);
    });
}

#[test]
fn rules_of_policy_routing_leave_the_way_to_the_kernel_until_they_are_gone() {
    let Some((a, b)) = veth_pair() else { return };
    let Some((mut near, mut far)) = ports(&a, &b, 1024) else { return };
    until_direct(&mut near, &mut far, 64);
    for rule in ["from 10.7.0.1 to 10.7.0.2 lookup 100", "fwmark 7 lookup main", "-6 iif near lookup main"] {
        let (family, words) = rule.strip_prefix("-6 ").map_or(("", rule), |words| ("-6 ", words));
        a.must(&format!("{family}rule add {words}"));
        let before = near.xdp_stats().tx_detour[Detour::Undecided as usize];
        until(rule, || {
            offer(&mut near, 64, far.local_addr());
            near.flush();
            drain(&mut far);
            near.xdp_stats().tx_detour[Detour::Undecided as usize] > before
        });
        a.must(&format!("{family}rule del {words}"));
        until_direct(&mut near, &mut far, 64);
    }
}

#[test]
fn a_changed_mtu_is_obeyed() {
    let Some((a, b)) = veth_pair() else { return };
    let Some((mut near, mut far)) = ports(&a, &b, 1024) else { return };
    until_direct(&mut near, &mut far, 1400);
    let to = far.local_addr();
    a.must("link set near mtu 1000");
    until("a datagram too large", || {
        offer(&mut near, 1400, to);
        near.flush();
        drain(&mut far);
        near.stats().tx_drop_oversize > 0
    });
    let oversize = near.stats().tx_drop_oversize;
    until_direct(&mut near, &mut far, 972); // exactly what fits: 1000 - 20 - 8
    assert_eq!(near.stats().tx_drop_oversize, oversize);
    offer(&mut near, 973, to);
    assert_eq!(near.stats().tx_drop_oversize, oversize + 1);
    a.must("link set near mtu 1500");
    until_direct(&mut near, &mut far, 1472);
}

#[test]
fn a_neighbour_that_changes_its_address_silently_is_found_again() {
    let Some((a, b)) = veth_pair() else { return };
    // The far end is a kernel socket, which takes nothing that is addressed to another station.
    let far = b.run(|| UdpSocket::bind("10.7.0.2:9001")).expect("a socket");
    far.set_nonblocking(true).expect("non-blocking");
    for (name, value) in [("delay_first_probe_time", "1"), ("ucast_solicit", "1"), ("retrans_time_ms", "100")] {
        a.sysctl(&format!("ipv4/neigh/near/{name}"), value);
    }
    let Some(mut near) = bind(&a, "10.7.0.1:9000", XdpConfig::new("near", XdpMode::Native)) else { return };
    let to: SocketAddr = "10.7.0.2:9001".parse().expect("an address");
    let mut receive_direct = |what: &str| {
        let kicks = near.xdp_stats().kicks;
        until(what, || {
            while far.recv(&mut [0; 2048]).is_ok() {}
            let detours: u64 = near.xdp_stats().tx_detour.iter().sum();
            offer(&mut near, 64, to);
            near.wait(Some(Duration::from_millis(1)), &[]);
            let through_the_ring = near.xdp_stats().tx_detour.iter().sum::<u64>() == detours && near.xdp_stats().kicks > kicks;
            through_the_ring && far.recv(&mut [0; 2048]).is_ok()
        });
    };
    receive_direct("the first datagram through the ring");
    b.sysctl("ipv4/conf/far/arp_notify", "0");
    // As after half a minute in which the kernel itself sent nothing to it.
    a.must("neigh change 10.7.0.2 lladdr 02:00:00:00:00:02 dev near nud stale");
    b.must("link set far address 02:00:00:00:00:99");
    receive_direct("a datagram to the new address through the ring");
    assert!(near.xdp_stats().tx_detour[Detour::Stale as usize] > 0, "the kernel was made to check: {:?}", near.xdp_stats());
}

#[test]
fn what_the_filter_passes_arrives_through_the_kernel_socket() {
    let Some((a, b)) = veth_pair() else { return };
    let Some((_near, mut far)) = ports(&a, &b, 1024) else { return };
    let to = far.local_addr();
    // A datagram of two fragments; frames hold 1,920 B.
    let other = a.run(|| UdpSocket::bind("10.7.0.1:9005")).expect("a socket");
    let whole_path: i32 = libc::IP_PMTUDISC_DONT;
    // SAFETY: the option value lives across the call.
    let rc = unsafe {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&other);
        libc::setsockopt(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, (&raw const whole_path).cast(), 4)
    };
    assert_eq!(rc, 0);
    let mut came = Vec::new();
    other.send_to(&[1800_usize as u8; 1800], to).expect("sent");
    until("the fragmented datagram", || {
        came.extend(drain(&mut far));
        !came.is_empty()
    });
    assert_eq!(came, [(1800, other.local_addr().expect("bound"))]);
    // To itself.
    offer(&mut far, 77, to);
    far.flush();
    came.clear();
    until("the datagram to itself", || {
        came.extend(drain(&mut far));
        !came.is_empty()
    });
    assert_eq!((came, far.xdp_stats().rx_kernel, far.xdp_stats().tx_detour[Detour::Local as usize]), (vec![(77, to)], 2, 1));
}

#[test]
fn a_vlan_on_the_interface_is_sent_tagged_and_received() {
    let Some((a, b)) = veth_pair() else { return };
    for (side, name, number) in [(&a, "near", 1), (&b, "far", 2)] {
        if !side.ip(&format!("link add link {name} name {name}.9 type vlan id 9")) {
            return eprintln!("skipped: no VLAN interfaces here");
        }
        side.must(&format!("addr add 10.9.0.{number}/24 dev {name}.9"));
        side.must(&format!("link set {name}.9 up"));
    }
    let open = |side, name| bind(side, "0.0.0.0:9000", XdpConfig::new(name, XdpMode::Native));
    let (Some(mut near), Some(mut far)) = (open(&a, "near"), open(&b, "far")) else { return };
    let to: SocketAddr = "10.9.0.2:9000".parse().expect("an address");
    let (kicks, mut direct) = (near.xdp_stats().kicks, false);
    until("a tagged datagram through both rings", || {
        offer(&mut near, 64, to);
        near.flush();
        let ring = far.xdp_stats().rx_ring;
        for (len, from) in drain(&mut far) {
            assert_eq!((len, from), (64, "10.9.0.1:9000".parse().expect("an address")));
            direct |= near.xdp_stats().kicks > kicks && far.xdp_stats().rx_ring > ring;
        }
        direct
    });
}

#[test]
fn each_queue_has_its_port() {
    const QUEUES: &[u32] = &[0, 1];
    let Some((a, b)) = veth_pair() else { return };
    a.must(&format!("link add wide numtxqueues 2 numrxqueues 2 type veth peer name vast numtxqueues 2 numrxqueues 2 netns {}", b.id()));
    for (side, name, number) in [(&a, "wide", 1), (&b, "vast", 2)] {
        side.must(&format!("link set {name} address 02:00:00:00:01:0{number}"));
        side.must(&format!("addr add 10.8.0.{number}/24 dev {name}"));
        side.must(&format!("link set {name} up"));
        let other = 3 - number;
        side.must(&format!("neigh replace 10.8.0.{other} lladdr 02:00:00:00:01:0{other} dev {name} nud permanent"));
    }
    let Some(mut wide) = bind_queues(&a, "10.8.0.1:9000", XdpConfig::new("wide", XdpMode::Native), QUEUES) else { return };
    let Some(mut vast) = bind_queues(&b, "10.8.0.2:9000", XdpConfig::new("vast", XdpMode::Native), QUEUES) else { return };
    for (queue, (from, to)) in wide.iter_mut().zip(&mut vast).enumerate() {
        let address = to.local_addr();
        for _ in 0..=queue {
            offer(from, 64, address);
        }
        from.flush();
        let mut came = 0;
        until("the datagrams of this queue", || {
            came += drain(to).len();
            came == queue + 1
        });
        assert_eq!((to.xdp_stats().rx_ring, from.xdp_stats().tx_detour), (queue as u64 + 1, [0; Detour::ALL.len()]));
    }
    assert_eq!(wide[0].local_addr(), wide[1].local_addr());
}

#[test]
fn a_sender_has_a_queue_of_its_own_or_the_kernels_socket() {
    let Some((a, b)) = veth_pair() else { return };
    a.must(&format!("link add wide numtxqueues 2 numrxqueues 2 type veth peer name vast numtxqueues 2 numrxqueues 2 netns {}", b.id()));
    for (side, name, number) in [(&a, "wide", 1), (&b, "vast", 2)] {
        side.must(&format!("link set {name} address 02:00:00:00:01:0{number}"));
        side.must(&format!("addr add 10.8.0.{number}/24 dev {name}"));
        side.must(&format!("link set {name} up"));
        let other = 3 - number;
        side.must(&format!("neigh replace 10.8.0.{other} lladdr 02:00:00:00:01:0{other} dev {name} nud permanent"));
    }
    let Some(mut wide) = bind(&a, "10.8.0.1:9000", XdpConfig::new("wide", XdpMode::Native)) else { return };
    let Some(mut vast) = bind(&b, "10.8.0.2:9000", XdpConfig::new("vast", XdpMode::Native)) else { return };
    let to = vast.local_addr();
    let config = PortConfig { rx_frames: 64, tx_frames: 64, ..PortConfig::default() };
    // The second has no queue left: two are all there are.
    for (number, rung) in [(0, "xdp-native"), (1, "udp")] {
        let (port, config) = (wide, config.clone());
        let opened = a.run(move || (port.sender(number, &config), port));
        wide = opened.1;
        let mut sender = opened.0.expect("a way to send");
        assert_eq!((sender.rung(), sender.local_addr()), (rung, wide.local_addr()));
        offer(sender.as_mut(), 64, to);
        sender.flush();
        let mut came = Vec::new();
        until("the datagram of a sender", || {
            came.extend(drain(&mut vast));
            !came.is_empty()
        });
        assert_eq!(came, [(64, wide.local_addr())]);
        assert!(sender.conservation().holds() && sender.rx_burst(&mut Vec::new(), 64) == 0);
    }
}

/// Not a test by itself: what the next one starts as a process of its own, and kills.
#[test]
fn a_child_that_holds_a_port_until_it_is_killed() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let port = XdpPort::bind("10.7.0.1:9000".parse().expect("an address"), &XdpConfig::new("near", XdpMode::Native));
    println!("\n{CHILD} {}", port.as_ref().map_or_else(ToString::to_string, |_| "bound".into()));
    std::thread::sleep(Duration::from_secs(60));
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_process_leaves_no_program_and_its_queue_can_be_bound_again() {
    let Some((a, _b)) = veth_pair() else { return };
    let child = a.run(|| {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "a_child_that_holds_a_port_until_it_is_killed", "--nocapture"]).env(CHILD, "1");
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("spawned")
    });
    let mut child = Killed(child);
    let lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
    let said = lines.map_while(Result::ok).find(|line| line.starts_with(CHILD)).expect("the child speaks");
    if !said.ends_with(" bound") {
        return eprintln!("skipped: {said}");
    }
    assert!(a.output("ip link show dev near").contains("xdp"), "the program is attached while the process lives");
    child.0.kill().expect("killed");
    child.0.wait().expect("reaped");
    until("the program to be gone", || !a.output("ip link show dev near").contains("xdp"));
    let again = bind(&a, "10.7.0.1:9000", XdpConfig::new("near", XdpMode::Native)).expect("it could before");
    assert!(again.conservation().holds());
}
