//! Socket addresses as the kernel lays them out.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the longest address: `sockaddr_in6`.
pub(crate) const NAME_BYTES: usize = 28;

const V4_BYTES: usize = 16;
const _: () = assert!(size_of::<libc::sockaddr_in>() == V4_BYTES && size_of::<libc::sockaddr_in6>() == NAME_BYTES);

/// A `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy)]
#[repr(C, align(4))]
pub(crate) struct Name {
    pub(crate) bytes: [u8; NAME_BYTES],
    pub(crate) len: u32,
}

impl Name {
    /// Room for any address.
    pub(crate) const EMPTY: Name = Name { bytes: [0; NAME_BYTES], len: NAME_BYTES as u32 };

    /// Lays out `address`.
    pub(crate) fn new(address: SocketAddr) -> Name {
        let mut name = Name::EMPTY;
        name.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                name.len = V4_BYTES as u32;
                name.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                name.bytes[4..8].copy_from_slice(&v4.ip().octets());
            }
            SocketAddr::V6(v6) => {
                name.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                name.bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                name.bytes[8..24].copy_from_slice(&v6.ip().octets());
                name.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            }
        }
        name
    }

    /// Reads an address that the kernel wrote; `None` when it is none of ours.
    pub(crate) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
        let family = u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]);
        let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        match i32::from(family) {
            libc::AF_INET if bytes.len() >= V4_BYTES => {
                Some(SocketAddrV4::new(Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]), port).into())
            }
            libc::AF_INET6 if bytes.len() >= NAME_BYTES => {
                let ip: [u8; 16] = bytes[8..24].try_into().expect("16 bytes");
                let scope = u32::from_ne_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_kernel_layout() {
        for text in ["127.0.0.1:1", "203.0.113.9:65535", "[::1]:9000", "[2001:db8::7]:2"] {
            let address: SocketAddr = text.parse().expect("an address");
            let name = Name::new(address);
            assert_eq!(Name::parse(&name.bytes[..name.len as usize]), Some(address));
        }
        let scoped: SocketAddr = SocketAddrV6::new("fe80::1".parse().expect("an address"), 5, 0, 3).into();
        assert_eq!(Name::parse(&Name::new(scoped).bytes), Some(scoped));
    }

    #[test]
    fn a_short_or_foreign_name_is_none() {
        let name = Name::new("127.0.0.1:1".parse().expect("an address"));
        assert_eq!(Name::parse(&name.bytes[..15]), None);
        assert_eq!(Name::parse(&[]), None);
        assert_eq!(Name::parse(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
