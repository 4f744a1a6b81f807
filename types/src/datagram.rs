//! The datagram: outer header (clear, authenticated as associated data), AEAD ciphertext, tag.
//!
//! ```text
//! | type 1 | version 1 | reserved 2 | receiver session 4 | counter 8 | ciphertext: kind 1, reserved 3, message | tag 16 |
//! ```
//! `kind` at fixed offset 0 of the plaintext gives the class; the receiver derives the class's limits from it.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Largest IP packet sent.
pub const PACKET_BYTES_MAX: usize = 1400;
/// IPv4 and UDP headers.
pub const IP_UDP_BYTES: usize = 28;
/// Largest UDP payload sent or accepted.
pub const DATAGRAM_BYTES_MAX: usize = PACKET_BYTES_MAX - IP_UDP_BYTES;
/// Bytes of [`OuterHeader`].
pub const OUTER_HEADER_BYTES: usize = 16;
/// Bytes of the AEAD tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of the inner header: kind, then three zero bytes.
pub const INNER_HEADER_BYTES: usize = 4;
/// Largest message behind the inner header.
pub const MESSAGE_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - OUTER_HEADER_BYTES - TAG_BYTES - INNER_HEADER_BYTES;
/// Version of the datagram format.
pub const DATAGRAM_VERSION: u8 = 1;

/// First bytes of every datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct OuterHeader {
    /// [`DatagramType`] as a number.
    pub kind: u8,
    /// [`DATAGRAM_VERSION`].
    pub version: u8,
    /// Zero.
    pub reserved: U16,
    /// The receiver's index for the session.
    pub receiver: U32,
    /// Counter of the session and direction; the AEAD nonce.
    pub counter: U64,
}
const _: () = assert!(size_of::<OuterHeader>() == OUTER_HEADER_BYTES);

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DatagramType {
    /// First Noise IK message.
    HandshakeInit = 1,
    /// Second Noise IK message.
    HandshakeResponse = 2,
    /// "Prove your address first": a cookie.
    Cookie = 3,
    /// A sealed message.
    Data = 4,
}

impl DatagramType {
    /// From the first byte.
    pub fn from_byte(byte: u8) -> Option<DatagramType> {
        [Self::HandshakeInit, Self::HandshakeResponse, Self::Cookie, Self::Data].into_iter().find(|kind| *kind as u8 == byte)
    }
}
