//! The packet filter: which frames leave the kernel's path for our socket.
//!
//! ```text
//!   Ethernet [802.1Q or 802.1ad [802.1Q]] -> IPv4 without options, whole | IPv6 without extension headers -> UDP -> our address -> our port
//!     -> redirect to the socket of the receiving queue          anything else, or no socket on that queue -> pass to the kernel
//! ```
//! Only a datagram whose lengths agree is taken: the frame holds the IP packet, the IP packet holds the UDP datagram. Fragments, IPv4 options, IPv6
//! extension headers, an IPv6 datagram without checksum, a third VLAN tag, truncated and malformed frames stay with the kernel, whose answer to each is the right
//! one; our own kernel socket on the same port receives what comes of them. Port and address are immediates: no look-up per packet.

use std::net::{IpAddr, SocketAddr};

use super::assembler::{Assembler, Label, Register::*, When, Width};
use crate::sys::bpf::Instruction;

/// Verdict: the kernel's path.
pub(crate) const PASS: i32 = 2;
const HELPER_REDIRECT_MAP: i32 = 51;

const CONTEXT_DATA: i16 = 0;
const CONTEXT_DATA_END: i16 = 4;
const CONTEXT_QUEUE: i16 = 16;

const ETHERNET_BYTES: i32 = 14;
const TAG_BYTES: i32 = 4;
const IPV4_BYTES: i32 = 20;
const IPV6_BYTES: i32 = 40;
const UDP_BYTES: i32 = 8;
const PROTOCOL_UDP: u32 = 17;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_QINQ: u16 = 0x88a8;
/// All of the IPv4 flags and offset but "do not fragment".
const FRAGMENT_BITS: u16 = 0xbfff;

/// Which datagrams of one address family are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take<A> {
    /// None.
    No,
    /// To any address.
    Any,
    /// To this address.
    Only(A),
}

/// What the filter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// UDP destination port.
    pub(crate) port: u16,
    /// Of IPv4.
    pub(crate) v4: Take<std::net::Ipv4Addr>,
    /// Of IPv6.
    pub(crate) v6: Take<std::net::Ipv6Addr>,
}

impl Filter {
    /// What a socket bound to `address` would receive.
    pub(crate) fn of(address: SocketAddr) -> Filter {
        let (v4, v6) = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Take::Any, Take::No),
            IpAddr::V4(ip) => (Take::Only(ip), Take::No),
            IpAddr::V6(ip) if ip.is_unspecified() => (Take::No, Take::Any),
            IpAddr::V6(ip) => (Take::No, Take::Only(ip)),
        };
        Filter { port: address.port(), v4, v6 }
    }

    /// The program over the sockets in the map behind `map_fd`.
    ///
    /// R6 context, R2 packet, R3 its end, R4 the IP header, R5, R7, R8 scratch. The verifier follows R4 on each of the three ways through the tags.
    pub(crate) fn program(&self, map_fd: i32) -> Vec<Instruction> {
        let mut p = Assembler::default();
        let (pass, redirect, v6) = (p.label(), p.label(), p.label());
        p.copy(R6, R1);
        p.load(Width::Four, R2, R1, CONTEXT_DATA);
        p.load(Width::Four, R3, R1, CONTEXT_DATA_END);
        p.copy(R4, R2);
        p.add(R4, ETHERNET_BYTES);
        p.jump_if_register(When::Greater, R4, R3, pass);
        p.load(Width::Two, R5, R2, ETHERNET_BYTES as i16 - 2);
        skip_tags(&mut p, pass);
        p.jump_if(When::Equal, R5, wire_16(TYPE_IPV6), v6);
        p.jump_if(When::NotEqual, R5, wire_16(TYPE_IPV4), pass);
        self.judge_v4(&mut p, redirect, pass);
        p.place(v6);
        self.judge_v6(&mut p, redirect, pass);
        p.place(redirect);
        p.load(Width::Four, R2, R6, CONTEXT_QUEUE);
        p.load_map(R1, map_fd);
        p.set(R3, PASS); // the verdict when the map has no socket for the queue
        p.call(HELPER_REDIRECT_MAP);
        p.exit();
        p.place(pass);
        p.set(R0, PASS);
        p.exit();
        p.finish()
    }

    fn judge_v4(&self, p: &mut Assembler, redirect: Label, pass: Label) {
        if self.v4 == Take::No {
            return p.jump(pass);
        }
        need(p, IPV4_BYTES + UDP_BYTES, pass);
        expect(p, Width::One, 0, 0x45, pass); // version 4, no options
        expect(p, Width::One, 9, PROTOCOL_UDP, pass);
        p.load(Width::Two, R5, R4, 6);
        p.jump_if(When::AnyBit, R5, wire_16(FRAGMENT_BITS), pass);
        if let Take::Only(address) = self.v4 {
            expect(p, Width::Four, 16, u32::from_ne_bytes(address.octets()), pass);
        }
        // R7 = bytes of header and datagram, R8 = bytes of the datagram.
        load_length(p, R7, 2);
        self.judge_udp(p, IPV4_BYTES, redirect, pass);
    }

    fn judge_v6(&self, p: &mut Assembler, redirect: Label, pass: Label) {
        if self.v6 == Take::No {
            return p.jump(pass);
        }
        need(p, IPV6_BYTES + UDP_BYTES, pass);
        p.load(Width::One, R5, R4, 0);
        p.and(R5, 0xf0);
        p.jump_if(When::NotEqual, R5, 0x60, pass);
        expect(p, Width::One, 6, PROTOCOL_UDP, pass);
        if let Take::Only(address) = self.v6 {
            for (word, bytes) in address.octets().chunks_exact(4).enumerate() {
                expect(p, Width::Four, 24 + 4 * word as i16, u32::from_ne_bytes(bytes.try_into().expect("4 bytes")), pass);
            }
        }
        p.load(Width::Two, R5, R4, IPV6_BYTES as i16 + 6);
        p.jump_if(When::Equal, R5, 0, pass); // a checksum of zero is forbidden
        load_length(p, R7, 4);
        p.add(R7, IPV6_BYTES);
        self.judge_udp(p, IPV6_BYTES, redirect, pass);
    }

    /// With the length of the IP packet in R7: the frame holds it, it holds the datagram (so it is no shorter than the headers), and the datagram
    /// is for our port.
    fn judge_udp(&self, p: &mut Assembler, header_bytes: i32, redirect: Label, pass: Label) {
        p.copy(R5, R4);
        p.add_register(R5, R7);
        p.jump_if_register(When::Greater, R5, R3, pass);
        load_length(p, R8, header_bytes as i16 + 4);
        p.jump_if(When::Less, R8, UDP_BYTES as u32, pass);
        p.add(R8, header_bytes);
        p.jump_if_register(When::Greater, R8, R7, pass);
        expect(p, Width::Two, header_bytes as i16 + 2, wire_16(self.port), pass);
        p.jump(redirect);
    }
}

/// Moves R4 behind up to two VLAN tags and leaves the type of what follows in R5.
fn skip_tags(p: &mut Assembler, pass: Label) {
    let (tagged, done) = (p.label(), p.label());
    p.jump_if(When::Equal, R5, wire_16(TYPE_VLAN), tagged);
    p.jump_if(When::NotEqual, R5, wire_16(TYPE_QINQ), done);
    p.place(tagged);
    skip_tag(p, pass);
    p.jump_if(When::NotEqual, R5, wire_16(TYPE_VLAN), done);
    skip_tag(p, pass);
    p.place(done);
}

fn skip_tag(p: &mut Assembler, pass: Label) {
    p.add(R4, TAG_BYTES);
    p.jump_if_register(When::Greater, R4, R3, pass);
    p.load(Width::Two, R5, R4, -2);
}

/// Passes unless the packet has `bytes` from R4 on.
fn need(p: &mut Assembler, bytes: i32, pass: Label) {
    p.copy(R5, R4);
    p.add(R5, bytes);
    p.jump_if_register(When::Greater, R5, R3, pass);
}

/// Passes unless the field at R4 + `offset` is `value`, given as it is loaded.
fn expect(p: &mut Assembler, width: Width, offset: i16, value: u32, pass: Label) {
    p.load(width, R5, R4, offset);
    p.jump_if(When::NotEqual, R5, value, pass);
}

fn load_length(p: &mut Assembler, to: super::assembler::Register, offset: i16) {
    p.load(Width::Two, to, R4, offset);
    p.big_endian_16(to);
}

/// A big-endian half word as a load delivers it.
fn wire_16(value: u16) -> u32 {
    u32::from(u16::from_ne_bytes(value.to_be_bytes()))
}

#[cfg(test)]
mod tests;
