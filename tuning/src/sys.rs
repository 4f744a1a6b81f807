//! The one room with `unsafe`: the ethtool request of `ioctl(2)`, and in [`probe`] the calls that try what the kernel permits.
//!
//! A request is a block of memory that starts with the command number; the kernel reads and writes the structure of that command in it
//! (`linux/ethtool.h`). Obligation of this room: the block is larger than whatever the kernel may write for the command. The kernel sizes
//! its answers by what the request says (features, indirection table, rules) or by counts of its own (names and statistics); blocks have
//! [`SLACK`] bytes beyond what the caller asked for, so that a count which grew since it was read does no harm.

pub(crate) mod probe;

use std::io;
use std::os::fd::AsRawFd;

/// Bytes behind every request: 2,048 more names of 32 bytes.
const SLACK: usize = 64 << 10;
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// A request and, after [`Request::perform`], its answer. Offsets are in bytes, as in the kernel's structure.
pub(crate) struct Request {
    words: Vec<u64>,
}

impl Request {
    /// A request of `bytes` bytes for a command, all zero behind its number.
    pub(crate) fn new(command: u32, bytes: usize) -> Request {
        let mut request = Request { words: vec![0; (bytes + SLACK).div_ceil(8)] };
        request.set_u32(0, command);
        request
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes::<4>(at))
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes::<8>(at))
    }

    pub(crate) fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|offset| self.words[(at + offset) / 8].to_ne_bytes()[(at + offset) % 8])
    }

    pub(crate) fn set_u32(&mut self, at: usize, value: u32) {
        self.set_bytes(at, &value.to_ne_bytes());
    }

    pub(crate) fn set_u64(&mut self, at: usize, value: u64) {
        self.set_bytes(at, &value.to_ne_bytes());
    }

    pub(crate) fn set_bytes(&mut self, at: usize, bytes: &[u8]) {
        for (place, byte) in (at..).zip(bytes) {
            let mut word = self.words[place / 8].to_ne_bytes();
            word[place % 8] = *byte;
            self.words[place / 8] = u64::from_ne_bytes(word);
        }
    }

    /// Hands the request to the kernel for an interface. An interface name the kernel cannot have is "no such device".
    pub(crate) fn perform(&mut self, interface: &str) -> io::Result<()> {
        let name = interface.as_bytes();
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(&0) {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
        // SAFETY: `ifreq` is plain data for which all zeroes is a valid value.
        let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in ifreq.ifr_name.iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        ifreq.ifr_ifru.ifru_data = self.words.as_mut_ptr().cast();
        // SAFETY: the descriptor is open, `ifreq` lives through the call, and `ifru_data` points to `words`, exclusively borrowed and
        // larger by `SLACK` than the structure of the command (upheld by this module's blocks, see above).
        let rc = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut ifreq) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_structure_has_them() {
        let mut request = Request::new(7, 64);
        request.set_u32(12, 0x0102_0304);
        request.set_u64(16, u64::MAX - 1);
        request.set_bytes(29, b"abc");
        assert_eq!((request.u32(0), request.u32(12), request.u64(16)), (7, 0x0102_0304, u64::MAX - 1));
        assert_eq!((request.bytes::<3>(29), request.u32(24)), (*b"abc", 0));
    }

    #[test]
    fn a_name_no_interface_can_have_is_no_such_device() {
        for name in ["", "a-name-of-16-char", "no\0body", "samara-none"] {
            let error = Request::new(0x3c, 36).perform(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name:?}");
        }
    }
}
