//! Packet headers: read behind the receive ring, written in front of a payload.
//!
//! Reading repeats the filter's checks, because a frame is input whoever checked it before, and adds the IPv4 header checksum, which the kernel would have
//! verified. It does not verify the UDP checksum: on a virtual link the sender leaves it to "hardware" that never comes, and every datagram of
//! ours is authenticated.
//!
//! Writing copies a template made once per destination and fills in two lengths and a checksum. IPv4 leaves without UDP checksum (zero is allowed, the
//! datagram is authenticated), IPv6 with one (it is mandatory).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::route::NextHop;
use crate::frame::Frame;

/// Room in front of a payload that the longest header fits: Ethernet, two tags, IPv6, UDP; and a payload starts on a cache line.
pub(crate) const HEADROOM_BYTES: usize = 128;
const HEADER_BYTES_MAX: usize = ETHERNET_BYTES + 2 * TAG_BYTES + IPV6_BYTES + UDP_BYTES;
const _: () = assert!(HEADER_BYTES_MAX <= HEADROOM_BYTES);

const ETHERNET_BYTES: usize = 14;
const TAG_BYTES: usize = 4;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;
const UDP: u8 = 17;
const TTL: u8 = 64;

/// A received datagram inside its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) from: SocketAddr,
    /// Where the payload starts, from the start of the packet.
    pub(crate) start: usize,
    /// Payload bytes.
    pub(crate) len: usize,
}

/// Reads the headers of a packet; `None` for anything but a whole UDP datagram. `interface` is the scope of link-local senders.
pub(crate) fn parse(packet: &[u8], interface: u32) -> Option<Parsed> {
    let mut at = ETHERNET_BYTES;
    let mut kind = be16(packet, 12)?;
    for _ in 0..2 {
        if kind == 0x8100 || kind == 0x88a8 {
            kind = be16(packet, at + 2)?;
            at += TAG_BYTES;
        }
    }
    match kind {
        0x0800 => parse_v4(packet, at),
        0x86dd => parse_v6(packet, at, interface),
        _ => None,
    }
}

/// Whether no packet from a network can have this source: the kernel calls it martian and drops it (ip_route_input_slow, ip6_rcv_core), since an answer
/// would go to a service of this host, or to everybody.
pub(crate) fn is_martian(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_multicast() || ip.is_broadcast() || ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || ip.to_ipv4_mapped().is_some(),
    }
}

fn parse_v4(packet: &[u8], at: usize) -> Option<Parsed> {
    let header: &[u8; IPV4_BYTES] = packet.get(at..at + IPV4_BYTES)?.try_into().ok()?;
    let total = usize::from(be16(header, 2)?);
    if header[0] != 0x45 || header[9] != UDP || be16(header, 6)? & 0xbfff != 0 || fold(sum(header, 0)) != 0xffff {
        return None;
    }
    let ip = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let (port, len) = parse_udp(packet.get(at + IPV4_BYTES..at + total)?)?;
    Some(Parsed { from: (ip, port).into(), start: at + IPV4_BYTES + UDP_BYTES, len })
}

fn parse_v6(packet: &[u8], at: usize, interface: u32) -> Option<Parsed> {
    let header: &[u8; IPV6_BYTES] = packet.get(at..at + IPV6_BYTES)?.try_into().ok()?;
    if header[0] >> 4 != 6 || header[6] != UDP {
        return None;
    }
    let ip = Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?);
    let body = at + IPV6_BYTES;
    let (port, len) = parse_udp(packet.get(body..body + usize::from(be16(header, 4)?))?)?;
    let scope = if ip.is_unicast_link_local() { interface } else { 0 };
    Some(Parsed { from: SocketAddrV6::new(ip, port, 0, scope).into(), start: body + UDP_BYTES, len })
}

/// Source port and payload length of a datagram within `body`.
fn parse_udp(body: &[u8]) -> Option<(u16, usize)> {
    let len = usize::from(be16(body, 4)?);
    if len < UDP_BYTES || len > body.len() {
        return None;
    }
    Some((be16(body, 0)?, len - UDP_BYTES))
}

/// Everything in front of a payload to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
    v6: bool,
    payload_max: u16,
    /// Of the IPv4 header without its length, or of the IPv6 pseudo header and the ports without the length.
    partial_sum: u32,
}

impl Template {
    /// From `source_port` over `hop` to `to`; both addresses are of one family.
    pub(crate) fn new(hop: &NextHop, source_port: u16, to: SocketAddr) -> Template {
        let mut bytes = [0; HEADER_BYTES_MAX];
        bytes[..6].copy_from_slice(&hop.to_mac);
        bytes[6..12].copy_from_slice(&hop.source_mac);
        let mut at = 12;
        if let Some(tag) = hop.tag {
            bytes[at..at + 2].copy_from_slice(&tag.protocol.to_be_bytes());
            bytes[at + 2..at + 4].copy_from_slice(&tag.id.to_be_bytes());
            at += TAG_BYTES;
        }
        let kind: u16 = if to.is_ipv6() { 0x86dd } else { 0x0800 };
        bytes[at..at + 2].copy_from_slice(&kind.to_be_bytes());
        at += 2;
        let (ip_bytes, partial_sum) = match (hop.source, to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(to)) => (IPV4_BYTES, write_v4(&mut bytes[at..], source, to)),
            (IpAddr::V6(source), IpAddr::V6(to_ip)) => {
                let sum = write_v6(&mut bytes[at..], source, to_ip);
                (IPV6_BYTES, sum + u32::from(source_port) + u32::from(to.port()))
            }
            _ => unreachable!("a route leads to an address of its own family"),
        };
        at += ip_bytes;
        bytes[at..at + 2].copy_from_slice(&source_port.to_be_bytes());
        bytes[at + 2..at + 4].copy_from_slice(&to.port().to_be_bytes());
        let payload_max = usize::from(hop.mtu).saturating_sub(ip_bytes + UDP_BYTES);
        Template { bytes, len: (at + UDP_BYTES) as u8, v6: to.is_ipv6(), payload_max: payload_max as u16, partial_sum }
    }

    /// Most payload bytes that the path takes.
    pub(crate) fn payload_max(&self) -> usize {
        usize::from(self.payload_max)
    }

    /// Writes the headers in front of the frame's payload and returns where the packet starts and how long it is.
    pub(crate) fn write(&self, frame: &mut Frame) -> (usize, usize) {
        let (offset, payload_len, header_len) = (frame.offset(), frame.len(), usize::from(self.len));
        let start = offset - header_len;
        let packet = &mut frame.whole_mut()[start..offset + payload_len];
        packet[..header_len].copy_from_slice(&self.bytes[..header_len]);
        let udp_len = (UDP_BYTES + payload_len) as u16;
        let udp = header_len - UDP_BYTES;
        packet[udp + 4..udp + 6].copy_from_slice(&udp_len.to_be_bytes());
        if self.v6 {
            let ip = udp - IPV6_BYTES;
            packet[ip + 4..ip + 6].copy_from_slice(&udp_len.to_be_bytes());
            let checksum = match !fold(sum(&packet[header_len..], self.partial_sum + 2 * u32::from(udp_len))) {
                0 => 0xffff, // zero would mean "none"
                checksum => checksum,
            };
            packet[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
        } else {
            let ip = udp - IPV4_BYTES;
            let total = udp_len + IPV4_BYTES as u16;
            packet[ip + 2..ip + 4].copy_from_slice(&total.to_be_bytes());
            let checksum = !fold(u64::from(self.partial_sum + u32::from(total)));
            packet[ip + 10..ip + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        (start, header_len + payload_len)
    }
}

/// Version, no options, "do not fragment", TTL, UDP, addresses. Returns the sum of its half words.
fn write_v4(header: &mut [u8], source: Ipv4Addr, to: Ipv4Addr) -> u32 {
    header[0] = 0x45;
    header[6] = 0x40;
    header[8] = TTL;
    header[9] = UDP;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&to.octets());
    u32::from(fold(sum(&header[..IPV4_BYTES], 0)))
}

/// Version, UDP, hop limit, addresses. Returns the sum of the pseudo header without length and ports.
fn write_v6(header: &mut [u8], source: Ipv6Addr, to: Ipv6Addr) -> u32 {
    header[0] = 0x60;
    header[6] = UDP;
    header[7] = TTL;
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&to.octets());
    u32::from(fold(sum(&header[8..40], u32::from(UDP))))
}

/// Sum of big-endian half words, the last byte padded, onto `start`.
fn sum(bytes: &[u8], start: u32) -> u64 {
    // Ones' complement does not care about word size or byte order: sum native 32-bit words, fold, then swap once.
    let mut words = bytes.chunks_exact(4);
    let mut native: u64 = words.by_ref().map(|word| u64::from(u32::from_ne_bytes(word.try_into().expect("4 bytes")))).sum();
    let mut rest = [0; 4];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    native += u64::from(u32::from_ne_bytes(rest));
    u64::from(u16::from_be_bytes(fold(native).to_ne_bytes())) + u64::from(start)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::route::Tag;
    use super::*;
    use crate::pool::Pool;

    fn hop(source: IpAddr, tag: Option<Tag>) -> NextHop {
        NextHop { source, source_mac: [2, 0, 0, 0, 0, 1], to_mac: [2, 0, 0, 0, 0, 2], tag, mtu: 1500, stale: false }
    }

    /// Ones' complement sum of 16-bit words, as RFC 1071 writes it.
    fn checksum_holds(words: &[&[u8]]) -> bool {
        let padded = words.iter().flat_map(|bytes| {
            let mut bytes = bytes.to_vec();
            bytes.resize(bytes.len().next_multiple_of(2), 0);
            bytes
        });
        let bytes: Vec<u8> = padded.collect();
        let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) * 256 + u32::from(pair[1])).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    fn written(hop: &NextHop, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let mut pool = {
            let (region, buffers) = crate::sys::memory::Region::allocate(1, 2048);
            Pool::over(region, buffers, 0, HEADROOM_BYTES)
        };
        let mut frame = pool.lend_tx().expect("one is free");
        frame[..payload.len()].copy_from_slice(payload);
        frame.set_len(payload.len());
        let (start, len) = Template::new(hop, 9000, to).write(&mut frame);
        assert_eq!(start + len, HEADROOM_BYTES + payload.len());
        frame.whole_mut()[start..start + len].to_vec()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_with_sound_checksums(
            payload in prop::collection::vec(any::<u8>(), 0..1472),
            v6: bool,
            tagged: bool,
            address: [u8; 16],
        ) {
            let tag = tagged.then_some(Tag { protocol: 0x88a8, id: 4001 });
            let (source, to): (IpAddr, SocketAddr) = if v6 {
                (Ipv6Addr::from(address).into(), "[fd07::2]:7".parse().expect("an address"))
            } else {
                (Ipv4Addr::from([address[0], address[1], address[2], address[3]]).into(), "10.7.0.2:7".parse().expect("an address"))
            };
            let packet = written(&hop(source, tag), to, &payload);
            let parsed = parse(&packet, 0).expect("a whole datagram");
            prop_assert_eq!(parsed.from, SocketAddr::new(source, 9000));
            prop_assert_eq!(&packet[parsed.start..parsed.start + parsed.len], &payload[..]);
            prop_assert_eq!(&packet[..12], &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
            let ip = 14 + if tagged { 4 } else { 0 };
            prop_assert_eq!(&packet[12..ip - 2], if tagged { &[0x88, 0xa8, 0x0f, 0xa1][..] } else { &[] });
            if v6 {
                let length = (packet.len() - ip - 40) as u32;
                let pseudo: [&[u8]; 4] = [&packet[ip + 8..ip + 40], &length.to_be_bytes(), &[0, 0, 0, 17], &packet[ip + 40..]];
                prop_assert!(checksum_holds(&pseudo));
                prop_assert_ne!(&packet[ip + 46..ip + 48], &[0, 0]);
                prop_assert_eq!(packet[ip + 7], 64);
            } else {
                prop_assert!(checksum_holds(&[&packet[ip..ip + 20]]));
                prop_assert_eq!((packet[ip + 6], packet[ip + 8], &packet[ip + 26..ip + 28]), (0x40, 64, &[0, 0][..]));
            }
            // Any flipped bit of an IPv4 header is noticed.
            if !v6 {
                for at in 0..20 {
                    let mut bad = packet.clone();
                    bad[ip + at] ^= 1 << (at % 8);
                    prop_assert!(parse(&bad, 0).is_none(), "byte {}", at);
                }
            }
        }

        #[test]
        fn garbage_is_read_as_nothing_or_lies_inside(packet in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(parsed) = parse(&packet, 0) {
                prop_assert!(parsed.start + parsed.len <= packet.len());
            }
        }
    }

    #[test]
    fn martians_are_what_the_kernel_drops() {
        let from = |text: &str| is_martian(text.parse().expect("an address"));
        for text in
            ["127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "224.0.0.251", "255.255.255.255", "::", "::1", "ff02::1", "::ffff:10.0.0.1"]
        {
            assert!(from(text), "{text}");
        }
        for text in ["10.7.0.1", "1.0.0.0", "223.255.255.255", "128.0.0.1", "fe80::1", "fd07::1", "2001:db8::1"] {
            assert!(!from(text), "{text}");
        }
    }

    #[test]
    fn a_link_local_sender_carries_its_interface() {
        let packet = written(&hop("fe80::1".parse().expect("an address"), None), "[fd07::2]:7".parse().expect("an address"), b"x");
        let SocketAddr::V6(from) = parse(&packet, 7).expect("whole").from else { panic!("IPv6") };
        assert_eq!((from.scope_id(), from.port()), (7, 9000));
    }

    #[test]
    fn the_path_takes_its_mtu_less_the_headers() {
        let v4 = Template::new(&hop("10.7.0.1".parse().expect("an address"), None), 1, "10.7.0.2:7".parse().expect("an address"));
        let v6 = Template::new(&hop("fd07::1".parse().expect("an address"), None), 1, "[fd07::2]:7".parse().expect("an address"));
        assert_eq!((v4.payload_max(), v6.payload_max()), (1472, 1452));
    }
}
