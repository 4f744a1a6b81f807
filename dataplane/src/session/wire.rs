//! Handshake datagrams on the wire.
//!
//! ```text
//! init      | header: receiver 0, counter = sender's index | Noise IK message 1: 141 | mac 16 | cookie 16 |  189 B
//! response  | header: receiver = initiator's index         | Noise IK message 2:  85 | mac 16 |              117 B
//! cookie    | header: receiver = initiator's index         | cookie 16 | mac of the init answered 16 |         48 B
//! payload 1 : cluster fingerprint 32, stamp 8, sender's index 4, ciphers 1        payload 2 : fingerprint 32, sender's index 4, cipher 1
//! ```
//! Answers are shorter than what they answer: nobody is flooded through us. The mac is keyed with (chain, receiver's key), so what was not
//! made for this validator on this chain costs one hash.

use samara_types::ChainId;
use samara_types::datagram::{DATAGRAM_VERSION, DatagramType, OUTER_HEADER_BYTES, OuterHeader};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a mac and of a cookie.
pub const MAC_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const NOISE_TAG_BYTES: usize = 16;
/// Noise IK message 1: ephemeral key, sealed static key, sealed payload.
pub const NOISE_INIT_BYTES: usize = KEY_BYTES + KEY_BYTES + NOISE_TAG_BYTES + size_of::<InitPayload>() + NOISE_TAG_BYTES;
/// Noise IK message 2: ephemeral key, sealed payload.
pub const NOISE_RESPONSE_BYTES: usize = KEY_BYTES + size_of::<ResponsePayload>() + NOISE_TAG_BYTES;
/// An init datagram.
pub const INIT_BYTES: usize = OUTER_HEADER_BYTES + NOISE_INIT_BYTES + 2 * MAC_BYTES;
/// A response datagram.
pub const RESPONSE_BYTES: usize = OUTER_HEADER_BYTES + NOISE_RESPONSE_BYTES + MAC_BYTES;
/// A cookie datagram.
pub const COOKIE_BYTES: usize = OUTER_HEADER_BYTES + 2 * MAC_BYTES;
const _: () = assert!(RESPONSE_BYTES <= INIT_BYTES && COOKIE_BYTES <= INIT_BYTES);

/// A mac or a cookie.
pub type Mac = [u8; MAC_BYTES];

/// Sealed in the init.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InitPayload {
    pub fingerprint: [u8; 32],
    /// Larger than every stamp this validator sent before.
    pub stamp: U64,
    pub index: U32,
    pub ciphers: u8,
}

/// Sealed in the response.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ResponsePayload {
    pub fingerprint: [u8; 32],
    pub index: U32,
    pub cipher: u8,
}

fn header(kind: DatagramType, receiver: u32, counter: u64) -> OuterHeader {
    OuterHeader {
        kind: kind as u8,
        version: DATAGRAM_VERSION,
        reserved: U16::new(0),
        receiver: U32::new(receiver),
        counter: U64::new(counter),
    }
}

/// Header of a data datagram.
pub fn data_header(receiver: u32, counter: u64) -> OuterHeader {
    header(DatagramType::Data, receiver, counter)
}

/// Key of the macs on handshake datagrams to the holder of `public_key`.
pub fn mac_key(chain: &ChainId, public_key: &[u8; 32]) -> [u8; 32] {
    let mut input = [0; 64];
    input[..32].copy_from_slice(&chain.0);
    input[32..].copy_from_slice(public_key);
    blake3::derive_key("samara session v1 handshake mac", &input)
}

/// First 16 bytes of keyed BLAKE3.
pub fn mac(key: &[u8; 32], bytes: &[u8]) -> Mac {
    blake3::keyed_hash(key, bytes).as_bytes()[..MAC_BYTES].try_into().expect("a hash has 32 bytes")
}

/// Compares without telling how much matched.
pub fn same(a: &Mac, b: &[u8]) -> bool {
    b.len() == MAC_BYTES && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// Splits an init of the right length into (what the mac covers, mac, cookie).
pub fn split_init(datagram: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (covered, rest) = datagram.split_at(OUTER_HEADER_BYTES + NOISE_INIT_BYTES);
    let (mac, cookie) = rest.split_at(MAC_BYTES);
    (covered, mac, cookie)
}

/// Puts header, mac and cookie around the Noise message already in `out`; returns the mac.
pub fn finish_init(key: &[u8; 32], index: u32, cookie: &Mac, out: &mut [u8]) -> Mac {
    let covered = OUTER_HEADER_BYTES + NOISE_INIT_BYTES;
    out[..OUTER_HEADER_BYTES].copy_from_slice(header(DatagramType::HandshakeInit, 0, index.into()).as_bytes());
    let mac = mac(key, &out[..covered]);
    out[covered..covered + MAC_BYTES].copy_from_slice(&mac);
    out[covered + MAC_BYTES..INIT_BYTES].copy_from_slice(cookie);
    mac
}

/// Puts header and mac around the Noise message already in `out`.
pub fn finish_response(key: &[u8; 32], receiver: u32, out: &mut [u8; RESPONSE_BYTES]) {
    let covered = OUTER_HEADER_BYTES + NOISE_RESPONSE_BYTES;
    out[..OUTER_HEADER_BYTES].copy_from_slice(header(DatagramType::HandshakeResponse, receiver, 0).as_bytes());
    let mac = mac(key, &out[..covered]);
    out[covered..].copy_from_slice(&mac);
}

/// A cookie for the init with `init_mac`.
pub fn cookie(receiver: u32, cookie: &Mac, init_mac: &[u8]) -> [u8; COOKIE_BYTES] {
    let mut out = [0; COOKIE_BYTES];
    out[..OUTER_HEADER_BYTES].copy_from_slice(header(DatagramType::Cookie, receiver, 0).as_bytes());
    out[OUTER_HEADER_BYTES..][..MAC_BYTES].copy_from_slice(cookie);
    out[OUTER_HEADER_BYTES + MAC_BYTES..].copy_from_slice(init_mac);
    out
}
