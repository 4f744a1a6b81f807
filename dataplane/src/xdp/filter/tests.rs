//! The filter, run by the kernel over packets (BPF_PROG_TEST_RUN), against a restatement of its rule. Skips, with the reason, without the privilege.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use super::*;
use crate::sys::bpf;
use crate::sys::memory::Region;
use crate::sys::xsk::{RingSizes, Xsk};
use crate::xdp::header;

const PORT: u16 = 9000;
const US_V4: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
const US_V6: Ipv6Addr = Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 2);
const REDIRECT: u32 = 4;
/// The kernel runs no program over less than an Ethernet header.
const SHORTEST: usize = 14;

/// A loaded filter with a socket on queue 0, the queue of a test run.
struct Loaded {
    program: OwnedFd,
    map: OwnedFd,
    _socket: Option<Xsk>,
}

impl Loaded {
    fn new(filter: Filter, with_socket: bool) -> Option<Loaded> {
        let map = match bpf::create_xskmap(4) {
            Ok(map) => map,
            Err(error) => {
                eprintln!("skipped: no XSKMAP: {error}");
                return None;
            }
        };
        let code = filter.program(std::os::fd::AsRawFd::as_raw_fd(&map));
        let program = bpf::load_program(&code).unwrap_or_else(|refused| panic!("{}\n{}", refused.source, refused.log));
        let socket = with_socket.then(|| {
            let (region, _, _) = Region::map(4, 2048).expect("memory");
            let sizes = RingSizes { fill: 4, completion: 4, rx: 4, tx: 4 };
            Xsk::open(&region, 4, 2048, sizes).unwrap_or_else(|(step, error)| panic!("{step}: {error}"))
        });
        if let Some(socket) = &socket {
            bpf::set_socket(&map, 0, socket.fd()).expect("a socket with an RX ring");
        }
        Some(Loaded { program, map, _socket: socket })
    }

    fn takes(&self, packet: &[u8]) -> bool {
        match bpf::test_run(&self.program, packet).unwrap_or_else(|error| panic!("{} B: {error}", packet.len())) {
            REDIRECT => true,
            2 => false,
            other => panic!("verdict {other}"),
        }
    }
}

fn ours() -> Filter {
    Filter { port: PORT, v4: Take::Only(US_V4), v6: Take::Only(US_V6) }
}

/// Ethernet with tags, then what `inner` is.
fn ethernet(tags: &[u16], kind: u16, inner: &[u8]) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        packet.extend(tag.to_be_bytes());
        packet.extend(77_u16.to_be_bytes());
    }
    packet.extend(kind.to_be_bytes());
    packet.extend(inner);
    packet
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for field in [4000, PORT, 8 + payload.len() as u16, 0xbeef] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

fn ipv4(protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 7, 0, 1];
    packet.extend(US_V4.octets());
    packet[2..4].copy_from_slice(&(20 + body.len() as u16).to_be_bytes());
    packet.extend(body);
    summed(packet)
}

/// With the checksum of its IPv4 header.
fn summed(mut packet: Vec<u8>) -> Vec<u8> {
    packet[10..12].fill(0);
    let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    packet[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    packet
}

fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    packet[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
    packet.extend(Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 1).octets());
    packet.extend(US_V6.octets());
    packet.extend(body);
    packet
}

fn good() -> Vec<(&'static str, Vec<u8>)> {
    let (v4, v6) = (ipv4(17, &udp(b"payload")), ipv6(17, &udp(b"payload")));
    let mut padded = ethernet(&[], 0x0800, &v4);
    padded.resize(60, 0);
    let mut any_type_of_service = v4.clone();
    any_type_of_service[1] = 0xb8;
    any_type_of_service[6] = 0; // fragments allowed, none made
    vec![
        ("IPv4", ethernet(&[], 0x0800, &v4)),
        ("IPv4, padded to the least Ethernet frame", padded),
        ("IPv4, type of service", ethernet(&[], 0x0800, &summed(any_type_of_service))),
        ("IPv4, empty datagram", ethernet(&[], 0x0800, &ipv4(17, &udp(b"")))),
        ("IPv4 in a VLAN", ethernet(&[0x8100], 0x0800, &v4)),
        ("IPv4 in a service VLAN", ethernet(&[0x88a8], 0x0800, &v4)),
        ("IPv4 in QinQ", ethernet(&[0x88a8, 0x8100], 0x0800, &v4)),
        ("IPv4 in two VLANs", ethernet(&[0x8100, 0x8100], 0x0800, &v4)),
        ("IPv6", ethernet(&[], 0x86dd, &v6)),
        ("IPv6, empty datagram", ethernet(&[], 0x86dd, &ipv6(17, &udp(b"")))),
        ("IPv6 in a VLAN", ethernet(&[0x8100], 0x86dd, &v6)),
        ("IPv6 in QinQ", ethernet(&[0x88a8, 0x8100], 0x86dd, &v6)),
    ]
}

fn patched(mut packet: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

fn foreign() -> Vec<(&'static str, Vec<u8>)> {
    let (v4, v6) = (|| ethernet(&[], 0x0800, &ipv4(17, &udp(b"payload"))), || ethernet(&[], 0x86dd, &ipv6(17, &udp(b"payload"))));
    let mut options = ipv4(17, &udp(b"payload"));
    options.splice(20..20, [1, 1, 1, 1]);
    (options[0], options[3]) = (0x46, options[3] + 4);
    let fragment_header: Vec<u8> = [&[17, 0, 0, 1, 0, 0, 0, 9][..], &udp(b"payload")].concat();
    let hop_by_hop: Vec<u8> = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp(b"payload")].concat();
    vec![
        ("ARP", ethernet(&[], 0x0806, &[0; 28])),
        ("ARP in a VLAN", ethernet(&[0x8100], 0x0806, &[0; 28])),
        ("three VLAN tags", ethernet(&[0x88a8, 0x8100, 0x8100], 0x0800, &ipv4(17, &udp(b"payload")))),
        ("a service tag inside", ethernet(&[0x8100, 0x88a8], 0x0800, &ipv4(17, &udp(b"payload")))),
        ("IPv4 options", ethernet(&[], 0x0800, &options)),
        ("IPv4 header shorter than its least", patched(v4(), 14, &[0x44])),
        ("IPv4 of another version", patched(v4(), 14, &[0x55])),
        ("IPv4 first fragment", patched(v4(), 20, &[0x20, 0])),
        ("IPv4 middle fragment", patched(v4(), 20, &[0x20, 9])),
        ("IPv4 last fragment", patched(v4(), 20, &[0, 9])),
        ("IPv4 with the reserved flag", patched(v4(), 20, &[0xc0, 0])),
        ("TCP", ethernet(&[], 0x0800, &ipv4(6, &udp(b"payload")))),
        ("ICMP", ethernet(&[], 0x0800, &ipv4(1, &udp(b"payload")))),
        ("another port", patched(v4(), 36, &(PORT + 1).to_be_bytes())),
        ("our port with its bytes swapped", patched(v4(), 36, &PORT.to_le_bytes())),
        ("from our port", patched(patched(v4(), 36, &[0, 1]), 34, &PORT.to_be_bytes())),
        ("another IPv4 address", patched(v4(), 33, &[3])),
        ("IPv4 longer than its frame", patched(v4(), 16, &36_u16.to_be_bytes())),
        ("IPv4 shorter than its headers", patched(v4(), 16, &27_u16.to_be_bytes())),
        ("UDP longer than its packet", patched(v4(), 38, &16_u16.to_be_bytes())),
        ("UDP shorter than its header", patched(v4(), 38, &7_u16.to_be_bytes())),
        ("IPv6 of another version", patched(v6(), 14, &[0x50])),
        ("IPv6 TCP", ethernet(&[], 0x86dd, &ipv6(6, &udp(b"payload")))),
        ("IPv6 fragment", ethernet(&[], 0x86dd, &ipv6(44, &fragment_header))),
        ("IPv6 hop-by-hop", ethernet(&[], 0x86dd, &ipv6(0, &hop_by_hop))),
        ("IPv6 without checksum", patched(v6(), 60, &[0, 0])),
        ("another IPv6 address", patched(v6(), 53, &[3])),
        ("another IPv6 network", patched(v6(), 38, &[0xfe])),
        ("another IPv6 port", patched(v6(), 56, &(PORT ^ 1).to_be_bytes())),
        ("IPv6 longer than its frame", patched(v6(), 18, &16_u16.to_be_bytes())),
        ("IPv6 jumbogram", patched(v6(), 18, &[0, 0])),
        ("IPv6 UDP longer than its packet", patched(v6(), 58, &16_u16.to_be_bytes())),
        ("IPv6 UDP shorter than its header", patched(v6(), 58, &7_u16.to_be_bytes())),
    ]
}

#[test]
fn what_is_ours_is_taken_and_nothing_else() {
    let Some(filter) = Loaded::new(ours(), true) else { return };
    for (name, packet) in good() {
        assert!(filter.takes(&packet), "{name}");
        let parsed = header::parse(&packet, 0).unwrap_or_else(|| panic!("{name}: taken but not read"));
        assert!(packet[parsed.start..][..parsed.len].is_empty() || &packet[parsed.start..][..parsed.len] == b"payload", "{name}");
    }
    for (name, packet) in foreign() {
        assert!(!filter.takes(&packet), "{name}");
    }
}

#[test]
fn a_packet_cut_at_any_length_is_passed() {
    let Some(filter) = Loaded::new(ours(), true) else { return };
    for (name, packet) in good() {
        let whole = packet.len() - if name.contains("padded") { 60 - 49 } else { 0 };
        for len in SHORTEST..whole {
            assert!(!filter.takes(&packet[..len]), "{name} cut to {len} of {whole}");
            assert_eq!(header::parse(&packet[..len], 0), None, "{name} cut to {len} of {whole}");
        }
        assert!(filter.takes(&packet[..whole]), "{name}");
    }
}

/// The rule once more, in plain words over bytes.
fn rule(packet: &[u8]) -> bool {
    let word = |at: usize| packet.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let (mut at, mut kind) = (14, word(12));
    if matches!(kind, Some(0x8100 | 0x88a8)) {
        (at, kind) = (18, word(16));
        if kind == Some(0x8100) {
            (at, kind) = (22, word(20));
        }
    }
    let inside = |end: usize| end <= packet.len();
    let (body, end) = match kind {
        Some(0x0800) => {
            let (Some(total), Some(fragment)) = (word(at + 2), word(at + 6)) else { return false };
            let header_fits = packet[at] == 0x45 && inside(at + 20) && packet[at + 9] == 17 && packet[at + 16..at + 20] == US_V4.octets();
            if !header_fits || fragment & 0xbfff != 0 {
                return false;
            }
            (at + 20, at + usize::from(total))
        }
        Some(0x86dd) => {
            let Some(length) = word(at + 4) else { return false };
            let header_fits = packet[at] >> 4 == 6 && inside(at + 40) && packet[at + 6] == 17 && packet[at + 24..at + 40] == US_V6.octets();
            if !header_fits || matches!(word(at + 46), Some(0)) {
                return false;
            }
            (at + 40, at + 40 + usize::from(length))
        }
        _ => return false,
    };
    let Some(length) = word(body + 4).map(usize::from) else { return false };
    inside(end) && inside(body + 8) && length >= 8 && body + length <= end && word(body + 2) == Some(PORT)
}

#[test]
fn every_value_of_every_header_byte_is_judged_by_the_rule_and_read_only_if_taken() {
    let Some(filter) = Loaded::new(ours(), true) else { return };
    for (name, packet) in good().into_iter().chain(foreign()) {
        for at in 12..packet.len().min(70) {
            // All values where a decision hangs on them, a few elsewhere.
            for value in (0..=255_u8).filter(|value| name.starts_with("IPv") && !name.contains("in ") || value % 17 == 0) {
                let mutant = patched(packet.clone(), at, &[value]);
                let taken = filter.takes(&mutant);
                assert_eq!(taken, rule(&mutant), "{name}: byte {at} = {value:#x}");
                if let Some(parsed) = header::parse(&mutant, 0) {
                    assert!(parsed.start + parsed.len <= mutant.len(), "{name}: byte {at} = {value:#x}");
                }
            }
        }
    }
}

/// A jump that always or never happens, which neither the structure check nor the verifier takes for dead code: on the frame pointer, which is never 0.
fn forced(jump: Instruction, taken: bool) -> Instruction {
    const JUMP_IF_EQUAL: u8 = 0x15;
    const JUMP_IF_NOT_EQUAL: u8 = 0x55;
    const FRAME_POINTER: u8 = 10;
    let code = if taken { JUMP_IF_NOT_EQUAL } else { JUMP_IF_EQUAL };
    Instruction { code, registers: FRAME_POINTER, offset: jump.offset, immediate: 0 }
}

/// Branch coverage by mutation: every conditional jump of the program is forced either way. A program that would read outside the packet is refused by
/// the kernel; every other one judges some packet otherwise than the filter does, so that no branch is there for nothing or untested.
#[test]
fn every_branch_of_the_program_decides_some_packet() {
    let Some(filter) = Loaded::new(ours(), true) else { return };
    let cuts = good().into_iter().flat_map(|(_, packet)| (SHORTEST..packet.len()).map(move |len| packet[..len].to_vec()));
    let other_type = ethernet(&[], 0x0801, &ipv4(17, &udp(b"x")));
    // One for each word of the address.
    let other_words = (0..4).map(|word| patched(ethernet(&[], 0x86dd, &ipv6(17, &udp(b"x"))), 14 + 24 + 4 * word, &[9]));
    let packets: Vec<_> =
        good().into_iter().chain(foreign()).map(|(_, packet)| packet).chain(cuts).chain([other_type]).chain(other_words).collect();
    let verdicts: Vec<_> = packets.iter().map(|packet| filter.takes(packet)).collect();
    let code = ours().program(std::os::fd::AsRawFd::as_raw_fd(&filter.map));
    let (mut conditional, mut refused) = (0, 0);
    for (at, jump) in code.iter().copied().enumerate() {
        let (class, operation) = (jump.code & 7, jump.code & 0xf0);
        let is_conditional = matches!(class, 5 | 6) && !matches!(operation, 0x00 | 0x80 | 0x90);
        if !is_conditional {
            continue;
        }
        conditional += 1;
        for taken in [false, true] {
            let mut mutant = code.clone();
            mutant[at] = forced(jump, taken);
            match bpf::load_program(&mutant) {
                Ok(program) => {
                    let differs = packets.iter().zip(&verdicts).any(|(packet, verdict)| {
                        bpf::test_run(&program, packet).unwrap_or_else(|error| panic!("{} B: {error}", packet.len()))
                            != if *verdict { REDIRECT } else { 2 }
                    });
                    assert!(differs, "instruction {at} {jump:?}, taken {taken}: no packet tells");
                }
                Err(error) => {
                    // A comparison of registers is one with the packet's end. The verifier follows a forced jump both ways.
                    let is_bound = jump.code & 8 != 0;
                    assert!(is_bound, "instruction {at} {jump:?}, taken {taken}: {}", error.log);
                    refused += 1;
                }
            }
        }
    }
    println!("{conditional} branches, each forced both ways: {refused} mutants refused by the kernel, all others found by a packet");
    assert!(conditional > 25 && refused <= 2 * 8, "{conditional} branches, {refused} refused");
}

#[test]
fn families_and_addresses_are_taken_as_the_socket_is_bound() {
    let cases = [
        ("0.0.0.0:9000", [true, false, true, false]),
        ("10.7.0.2:9000", [true, false, false, false]),
        ("[::]:9000", [false, true, false, true]),
        ("[fd07::2]:9000", [false, true, false, false]),
        ("0.0.0.0:9001", [false; 4]),
    ];
    let packets = [
        ethernet(&[], 0x0800, &ipv4(17, &udp(b"x"))),
        ethernet(&[], 0x86dd, &ipv6(17, &udp(b"x"))),
        patched(ethernet(&[], 0x0800, &ipv4(17, &udp(b"x"))), 33, &[9]),
        patched(ethernet(&[], 0x86dd, &ipv6(17, &udp(b"x"))), 53, &[9]),
    ];
    for (address, expected) in cases {
        let Some(filter) = Loaded::new(Filter::of(address.parse().expect("an address")), true) else { return };
        assert_eq!(packets.each_ref().map(|packet| filter.takes(packet)), expected, "{address}");
    }
}

#[test]
fn a_queue_without_a_socket_passes_everything() {
    let Some(filter) = Loaded::new(ours(), false) else { return };
    for (name, packet) in good() {
        assert!(!filter.takes(&packet), "{name}");
    }
}

#[test]
fn a_refused_program_comes_with_the_words_of_the_verifier() {
    let mut program = Assembler::default();
    program.load(Width::Four, R0, R2, 0); // R2 was never set
    program.exit();
    let refused = bpf::load_program(&program.finish()).expect_err("an unset register");
    if refused.source.kind() == std::io::ErrorKind::PermissionDenied && refused.log.is_empty() {
        return eprintln!("skipped: {}", refused.source);
    }
    assert!(refused.log.contains("R2"), "{}", refused.log);
}
