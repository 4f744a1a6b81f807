//! A frame: the move-only token of one packet buffer.
//!
//! Whoever holds the token owns the bytes; nothing is shared and nothing is counted per hand-over. A frame travels
//! `pool -> port -> reactor -> port -> pool`, and the port checks that the sum over these places stays the pool
//! ([`crate::port::Conservation`]). A frame that is dropped instead of released finds its way back too, but as `frames_lost`
//! of the port's counters: it is a mistake of ours, and it must be seen.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};

use crate::sys::memory::{Buffer, HEADROOM_BYTES, PAYLOAD_BYTES};

/// Payload bytes that a frame can hold.
pub const FRAME_BYTES: usize = PAYLOAD_BYTES;

const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// One packet buffer. Dereferences to its current bytes.
pub struct Frame {
    buffer: Buffer,
    len: u32,
    peer: SocketAddr,
}

impl Frame {
    pub(crate) fn new(buffer: Buffer) -> Frame {
        Frame { buffer, len: FRAME_BYTES as u32, peer: NOBODY }
    }

    /// Largest length.
    pub fn capacity(&self) -> usize {
        FRAME_BYTES
    }

    /// Sets the current length. A frame of [`crate::port::Port::tx_frame`] starts with its whole capacity.
    ///
    /// Panics above the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= FRAME_BYTES, "{len} B do not fit a frame");
        self.len = len as u32;
    }

    /// Who sent a received frame; the unspecified address for a frame that was not received.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn received(&mut self, len: usize, peer: SocketAddr) {
        self.set_len(len);
        self.peer = peer;
    }

    #[cfg(test)]
    pub(crate) fn headroom_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.bytes_mut()[..HEADROOM_BYTES]
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer.bytes()[HEADROOM_BYTES..HEADROOM_BYTES + self.len as usize]
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.bytes_mut()[HEADROOM_BYTES..HEADROOM_BYTES + self.len as usize]
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame").field("index", &self.buffer.index()).field("len", &self.len).field("peer", &self.peer).finish()
    }
}
