//! A frame: the move-only token of one packet buffer.
//!
//! Whoever holds the token owns the bytes; nothing is shared and nothing is counted per hand-over. A frame travels
//! `pool -> port -> reactor -> port -> pool`, and the port checks that the sum over these places stays the pool
//! ([`crate::port::Conservation`]). A frame that is dropped instead of released finds its way back too, but as `frames_lost`
//! of the port's counters: it is a mistake of ours, and it must be seen.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};

use crate::sys::memory::{Buffer, PAYLOAD_BYTES};

/// Payload bytes that a frame of a socket port can hold. A frame of an XDP port holds what [`Frame::capacity`] says.
pub const FRAME_BYTES: usize = PAYLOAD_BYTES;

const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// One packet buffer. Dereferences to its current bytes.
pub struct Frame {
    buffer: Buffer,
    offset: u32,
    len: u32,
    peer: SocketAddr,
}

impl Frame {
    /// Takes a buffer whose payload starts at `offset`.
    pub(crate) fn new(buffer: Buffer, offset: usize) -> Frame {
        let mut frame = Frame { buffer, offset: 0, len: 0, peer: NOBODY };
        frame.reset(offset);
        frame
    }

    /// The payload starts at `offset` and fills the rest of the buffer.
    pub(crate) fn reset(&mut self, offset: usize) {
        assert!(offset <= self.buffer.stride(), "an offset lies inside the buffer");
        self.offset = offset as u32;
        self.len = (self.buffer.stride() - offset) as u32;
    }

    /// Largest length, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.stride() - self.offset as usize
    }

    /// Sets the current length. A frame of [`crate::port::Port::tx_frame`] starts with its whole capacity.
    ///
    /// Panics above the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "{len} B do not fit a frame");
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

    /// Where the payload starts in the buffer.
    pub(crate) fn offset(&self) -> usize {
        self.offset as usize
    }

    /// The whole buffer: what stands in front of the payload included.
    pub(crate) fn whole_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut()
    }

    /// Where the kernel may write a payload of up to the capacity; valid while the caller keeps the frame.
    pub(crate) fn payload_address(&self) -> *mut u8 {
        self.buffer.address().wrapping_add(self.offset as usize)
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..self.offset as usize + self.len as usize
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer.bytes()[self.range()]
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        &mut self.buffer.bytes_mut()[range]
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame").field("index", &self.buffer.index()).field("len", &self.len).field("peer", &self.peer).finish()
    }
}
