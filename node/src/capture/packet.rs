//! Datagrams as IP packets, and back: what a tap records has no headers, a capture file needs them.

use samara_dataplane::tap::RecordHeader;
use samara_types::datagram::DATAGRAM_BYTES_MAX;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UDP_BYTES: usize = 8;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP: u8 = 17;
const HOPS: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;

/// An IP packet around a datagram, perhaps cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What is there of it.
    pub bytes: Vec<u8>,
    /// Bytes it had.
    pub wire_len: usize,
}

impl Packet {
    /// The packet that carried `datagram`, of which `wire_len` bytes travelled.
    pub fn new(from: SocketAddr, to: SocketAddr, datagram: &[u8], wire_len: usize) -> Packet {
        let (from, to) = same_family(from, to);
        let udp_len = (UDP_BYTES + wire_len) as u16;
        let mut bytes = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, udp_len),
            (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from, to, udp_len),
            _ => unreachable!("both are of one family"),
        };
        let at = bytes.len();
        for field in [from.port(), to.port(), udp_len, 0] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(datagram);
        if datagram.len() == wire_len {
            let checksum = udp_checksum(from.ip(), to.ip(), &bytes[at..]);
            bytes[at + 6..at + 8].copy_from_slice(&checksum.to_be_bytes());
        }
        Packet { wire_len: at + UDP_BYTES + wire_len, bytes }
    }
}

/// Addresses, UDP payload and whether it is whole, of a raw IP packet. None for anything else.
pub fn unwrap(packet: &[u8]) -> Option<(SocketAddr, SocketAddr, &[u8], bool)> {
    let (from, to, udp): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let fragment = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x3fff;
            if header < IPV4_BYTES || fragment != 0 || *packet.get(9)? != UDP {
                return None;
            }
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            (address(12)?.into(), address(16)?.into(), packet.get(header..)?)
        }
        6 => {
            if *packet.get(6)? != UDP {
                return None;
            }
            let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            (address(8)?.into(), address(24)?.into(), packet.get(IPV6_BYTES..)?)
        }
        _ => return None,
    };
    let field = |at: usize| Some(u16::from_be_bytes(udp.get(at..at + 2)?.try_into().ok()?));
    let (from, to) = (SocketAddr::new(from, field(0)?), SocketAddr::new(to, field(2)?));
    let len = usize::from(field(4)?).checked_sub(UDP_BYTES)?;
    let payload = udp.get(UDP_BYTES..)?;
    Some((from, to, &payload[..len.min(payload.len())], payload.len() >= len))
}

/// The datagram in a record as it stood in the network: from, to.
pub fn ends(header: &RecordHeader, local: SocketAddr, sent: bool) -> (SocketAddr, SocketAddr) {
    if sent { (local, header.other_end()) } else { (header.other_end(), local) }
}

/// The UDP payload of a packet, if it is one that a validator could have sent and is whole.
pub fn datagram_of(packet: &[u8]) -> Option<&[u8]> {
    let (_, _, datagram, whole) = unwrap(packet)?;
    (whole && datagram.len() <= DATAGRAM_BYTES_MAX).then_some(datagram)
}

/// A socket may be bound to "any address", of the other family than its peer's; the packet needs two of one.
fn same_family(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    if from.is_ipv4() == to.is_ipv4() {
        return (from, to);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (mapped(from), mapped(to))
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, udp_len: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(IPV4_BYTES + usize::from(udp_len));
    let total = IPV4_BYTES as u16 + udp_len;
    for field in [0x4500, total, 0, DONT_FRAGMENT, u16::from_be_bytes([HOPS, UDP]), 0] {
        header.extend_from_slice(&field.to_be_bytes());
    }
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    let checksum = !fold(sum(&header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, udp_len: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(IPV6_BYTES + usize::from(udp_len));
    header.extend_from_slice(&[0x60, 0, 0, 0]);
    header.extend_from_slice(&udp_len.to_be_bytes());
    header.extend_from_slice(&[UDP, HOPS]);
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    header
}

/// RFC 768 and RFC 8200 8.1: pseudo header, header, data; a sum of zero is sent as all ones.
fn udp_checksum(from: IpAddr, to: IpAddr, udp: &[u8]) -> u16 {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => sum(&ip.octets()),
        IpAddr::V6(ip) => sum(&ip.octets()),
    };
    let total = address(from) + address(to) + u64::from(UDP) + udp.len() as u64 + sum(udp);
    match !fold(total) {
        0 => u16::MAX,
        checksum => checksum,
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 7000 + u16::from(last)))
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, last], 7000 + last))
    }

    /// The header of the example in many textbooks (and RFC 1071's method): 4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7.
    #[test]
    fn the_header_checksum_is_that_of_the_textbook() {
        let header = ipv4(Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::new(192, 168, 0, 199), 0x73 - 20);
        assert_eq!(header[10..12], [0xb8, 0x61]);
    }

    #[test]
    fn checksums_of_a_whole_packet_add_up_to_all_ones() {
        for (from, to) in [(v4(1), v4(2)), (v6(1), v6(2))] {
            let packet = Packet::new(from, to, &[1, 2, 3, 4, 5], 5);
            let (address, at) = if from.is_ipv4() { (12..20, 20) } else { (8..40, 40) };
            let udp = &packet.bytes[at..];
            assert_eq!(fold(sum(&packet.bytes[address]) + u64::from(UDP) + udp.len() as u64 + sum(udp)), 0xffff);
        }
    }

    #[test]
    fn a_cut_packet_says_how_long_it_was() {
        let packet = Packet::new(v4(1), v4(2), &[9; 10], 100);
        assert_eq!((packet.bytes.len(), packet.wire_len), (38, 128));
        assert_eq!(unwrap(&packet.bytes), Some((v4(1), v4(2), &[9; 10][..], false)));
        assert_eq!(datagram_of(&packet.bytes), None);
    }

    #[test]
    fn two_families_meet_in_the_larger() {
        let packet = Packet::new(SocketAddr::from(([0u16; 8], 7000)), v4(2), &[1], 1);
        let (_, to, datagram, whole) = unwrap(&packet.bytes).unwrap();
        assert_eq!((to.ip().to_canonical(), to.port(), datagram, whole), (v4(2).ip(), v4(2).port(), &[1][..], true));
    }

    proptest! {
        #[test]
        fn what_was_wrapped_comes_out(datagram in proptest::collection::vec(any::<u8>(), 0..1400), six in any::<bool>()) {
            let (from, to) = if six { (v6(1), v6(2)) } else { (v4(1), v4(2)) };
            let packet = Packet::new(from, to, &datagram, datagram.len());
            prop_assert_eq!(packet.wire_len, packet.bytes.len());
            prop_assert_eq!(unwrap(&packet.bytes), Some((from, to, &datagram[..], true)));
        }

        #[test]
        fn foreign_bytes_are_refused_or_read_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..128), first in any::<u8>()) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.first_mut() {
                *byte = if first % 2 == 0 { 0x45 } else { 0x60 };
            }
            let _ = unwrap(&bytes);
        }
    }
}
