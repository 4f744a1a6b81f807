//! XDP features of a driver, asked of the generic netlink family `netdev` (Linux 6.3 and later; needs no privilege).
//!
//! ```text
//! message: length u32, type u16, flags u16, sequence u32, port u32 | command u8, version u8, 0 u16 | attributes
//! attribute: length u16 (with these four bytes), type u16, value, padding to four bytes
//! ```

use crate::sys::probe;
use std::fs::File;
use std::io::{self, Read, Write};

/// Family that finds families, its command, and its attributes.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Command and attributes of `netdev`.
const DEVICE_GET: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;

const REQUEST: u16 = 1;
const ERROR: u16 = 2;
const HEADER: usize = 20;
/// Bits of the answer in order, as `linux/netdev.h` names them.
const FEATURES: [&str; 7] = ["basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"];

/// Names of what the driver of an interface does for XDP; "no such device or family" becomes an error of the operating system.
pub(super) fn xdp_features(interface: &str) -> io::Result<Vec<String>> {
    let missing = || io::Error::from_raw_os_error(libc::ENODEV);
    let index: u32 = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?.trim().parse().map_err(|_| missing())?;
    let socket = probe::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_NONBLOCK, libc::NETLINK_GENERIC)?;
    let mut socket = File::from(socket);
    let family = ask(&mut socket, CONTROL, GET_FAMILY, (FAMILY_NAME, b"netdev\0"))?;
    let family = number(&attribute(&family, FAMILY_ID).ok_or_else(missing)?);
    let device = ask(&mut socket, family as u16, DEVICE_GET, (DEVICE_INDEX, &index.to_ne_bytes()))?;
    let bits = attribute(&device, DEVICE_XDP_FEATURES).map_or(0, |value| number(&value));
    Ok(FEATURES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name.to_string()).collect())
}

/// One request with one attribute; the bytes of attributes that came back.
fn ask(socket: &mut File, family: u16, command: u8, (kind, value): (u16, &[u8])) -> io::Result<Vec<u8>> {
    let mut request = vec![0u8; HEADER];
    request.extend((4 + value.len() as u16).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(value);
    request.resize(request.len().next_multiple_of(4), 0);
    let length = request.len() as u32;
    request[0..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&family.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    request[16] = command;
    request[17] = 1;
    socket.write_all(&request)?;
    // The kernel answers before the write returns; a message of these families has some hundred bytes.
    let mut answer = vec![0u8; 16 << 10];
    let length = socket.read(&mut answer)?;
    answer.truncate(length);
    if answer.len() < HEADER {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if u16::from_ne_bytes([answer[4], answer[5]]) == ERROR {
        let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    Ok(answer.split_off(HEADER))
}

/// The value of the first attribute of a kind.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<Vec<u8>> {
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes([bytes[2], bytes[3]]) == kind {
            return Some(value.to_vec());
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// An unsigned number of up to eight bytes.
fn number(value: &[u8]) -> u64 {
    let mut bytes = [0u8; 8];
    let taken = value.len().min(8);
    if cfg!(target_endian = "little") {
        bytes[..taken].copy_from_slice(&value[..taken]);
    } else {
        bytes[8 - taken..].copy_from_slice(&value[..taken]);
    }
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_padding_and_never_outside() {
        let bytes = [5, 0, 9, 0, 1, 0, 0, 0, 8, 0, 3, 0, 7, 0, 0, 0];
        assert_eq!(attribute(&bytes, 3), Some(vec![7, 0, 0, 0]));
        assert_eq!(attribute(&bytes, 4), None);
        for cut in 0..bytes.len() {
            assert!(attribute(&bytes[..cut], 3).is_none());
        }
        assert_eq!(attribute(&[2, 0, 3, 0], 3), None, "a length below its own header");
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert_eq!(xdp_features("samara-none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_family_that_is_not_there_is_the_kernels_error() {
        let socket = probe::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_NONBLOCK, libc::NETLINK_GENERIC).unwrap();
        let error = ask(&mut File::from(socket), CONTROL, GET_FAMILY, (FAMILY_NAME, b"samara-none\0")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
