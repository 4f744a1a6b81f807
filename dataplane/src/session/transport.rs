//! One established session: AEAD keys of both directions, counters, replay window. Its sending half may be shared with threads that seal under it.
//!
//! The nonce is the 64-bit counter of the direction; the outer header is associated data; directions have keys of their own, so a
//! datagram reflected to its sender does not open. Works in place: no copy besides the message's own, no allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use samara_types::Nanos;
use samara_types::datagram::{INNER_HEADER_BYTES, OUTER_HEADER_BYTES, OuterHeader, TAG_BYTES};
use zerocopy::IntoBytes;

use super::reason::DropReason;
use super::window::{COUNTER_LIMIT, Counter, ReplayWindow};
use super::wire;

/// AEAD of the data datagrams. The byte on the wire is the one of the handshake's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cipher {
    /// AES-256-GCM, for CPUs with AES instructions on both sides.
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305, everywhere.
    ChaCha20Poly1305 = 2,
}

/// Ciphers a validator would use, as a bit set on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherSet(pub u8);

impl CipherSet {
    /// Only ChaCha20-Poly1305.
    pub const CHACHA: CipherSet = CipherSet(Cipher::ChaCha20Poly1305 as u8);
    /// Both.
    pub const ALL: CipherSet = CipherSet(Cipher::Aes256Gcm as u8 | Cipher::ChaCha20Poly1305 as u8);

    /// What this CPU does at speed and in constant time.
    pub fn of_this_cpu() -> CipherSet {
        #[cfg(target_arch = "x86_64")]
        let aes = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let aes = std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let aes = false;
        if aes { CipherSet::ALL } else { CipherSet::CHACHA }
    }

    /// The responder's choice among what both have; None if they share nothing.
    pub fn choose(self, other: CipherSet) -> Option<Cipher> {
        let both = self.0 & other.0;
        [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305].into_iter().find(|cipher| both & *cipher as u8 != 0)
    }

    /// Whether `byte` names one cipher of the set.
    pub fn member(self, byte: u8) -> Option<Cipher> {
        [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305].into_iter().find(|cipher| *cipher as u8 == byte && self.0 & byte != 0)
    }
}

/// Where the message starts in a data datagram.
pub const MESSAGE_AT: usize = OUTER_HEADER_BYTES + INNER_HEADER_BYTES;

/// Keys of a finished handshake.
pub struct TransportKeys {
    pub send: LessSafeKey,
    pub receive: LessSafeKey,
}

impl TransportKeys {
    /// From Noise's two raw keys, initiator's direction first; each is hashed with its cipher so that no key ever serves two ciphers.
    pub fn derive(cipher: Cipher, initiator_sends: &[u8; 32], responder_sends: &[u8; 32], initiator: bool) -> TransportKeys {
        let (send, receive) = if initiator { (initiator_sends, responder_sends) } else { (responder_sends, initiator_sends) };
        TransportKeys { send: aead_key(cipher, send), receive: aead_key(cipher, receive) }
    }
}

fn aead_key(cipher: Cipher, raw: &[u8; 32]) -> LessSafeKey {
    let (algorithm, context) = match cipher {
        Cipher::Aes256Gcm => (&AES_256_GCM, "samara session v1 aes-256-gcm"),
        Cipher::ChaCha20Poly1305 => (&CHACHA20_POLY1305, "samara session v1 chacha20-poly1305"),
    };
    let key = zeroize::Zeroizing::new(blake3::derive_key(context, raw));
    LessSafeKey::new(UnboundKey::new(algorithm, key.as_slice()).expect("both ciphers take 32-byte keys"))
}

/// The sending half of a session. Whichever thread seals, each datagram takes its counter from one place, so no nonce is used twice.
pub struct Sealer {
    key: LessSafeKey,
    /// The peer's index for this session.
    peer_index: u32,
    next_counter: AtomicU64,
}

impl Sealer {
    /// Datagrams sealed so far.
    pub fn sealed(&self) -> u64 {
        self.next_counter.load(Ordering::Relaxed)
    }

    /// Seals the datagram whose message lies in `out` behind the room for both headers: writes header and `inner`, seals in place and returns the datagram's
    /// length. None when the counters reached `counter_max`. `out` is long enough: the caller checked.
    pub fn seal_in_place(&self, counter_max: u64, inner: [u8; INNER_HEADER_BYTES], message_bytes: usize, out: &mut [u8]) -> Option<usize> {
        let end = counter_max.min(COUNTER_LIMIT);
        // Looked at first, so that vain attempts do not count; taken from the counter itself, so that two threads never share one.
        let counter = if self.sealed() < end { self.next_counter.fetch_add(1, Ordering::Relaxed) } else { end };
        if counter >= end {
            return None;
        }
        let text_end = OUTER_HEADER_BYTES + INNER_HEADER_BYTES + message_bytes;
        let header = wire::data_header(self.peer_index, counter);
        out[..OUTER_HEADER_BYTES].copy_from_slice(header.as_bytes());
        out[OUTER_HEADER_BYTES..][..INNER_HEADER_BYTES].copy_from_slice(&inner);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(header.as_bytes()), &mut out[OUTER_HEADER_BYTES..text_end])
            .expect("a datagram is far below the AEAD's limit");
        out[text_end..text_end + TAG_BYTES].copy_from_slice(tag.as_ref());
        Some(text_end + TAG_BYTES)
    }
}

/// An established session of one peer.
pub struct Transport {
    sealer: Arc<Sealer>,
    receive: LessSafeKey,
    window: ReplayWindow,
    /// When its handshake finished here.
    pub born: Nanos,
    /// Last authentic datagram under it.
    pub heard: Option<Nanos>,
    /// This side initiated it.
    pub initiator: bool,
    /// The other side is known to have the keys: an initiator saw the response, a responder saw data.
    pub confirmed: bool,
}

impl Transport {
    pub fn new(keys: TransportKeys, peer_index: u32, initiator: bool, born: Nanos) -> Transport {
        let sealer = Arc::new(Sealer { key: keys.send, peer_index, next_counter: AtomicU64::new(0) });
        Transport { sealer, receive: keys.receive, window: ReplayWindow::new(), born, heard: None, initiator, confirmed: initiator }
    }

    /// The sending half.
    pub fn sealer(&self) -> &Arc<Sealer> {
        &self.sealer
    }

    /// (datagrams the peer sealed up to the newest one that came, those that came).
    pub fn tally(&self) -> (u64, u64) {
        self.window.tally()
    }

    /// Datagrams sealed so far.
    pub fn sealed(&self) -> u64 {
        self.sealer.sealed()
    }

    /// [`Sealer::seal_in_place`] with the message copied in.
    pub fn seal(&self, counter_max: u64, inner: [u8; INNER_HEADER_BYTES], message: &[u8], out: &mut [u8]) -> Option<usize> {
        out[MESSAGE_AT..][..message.len()].copy_from_slice(message);
        self.sealer.seal_in_place(counter_max, inner, message.len(), out)
    }

    /// Opens a data datagram in place; the plaintext starts behind the outer header. Marks its counter only when it is authentic.
    pub fn open(&mut self, now: Nanos, header: &OuterHeader, datagram: &mut [u8]) -> Result<usize, DropReason> {
        let counter = header.counter.get();
        if counter >= COUNTER_LIMIT {
            return Err(DropReason::CounterLimit);
        }
        match self.window.check(counter) {
            Counter::Fresh => {}
            Counter::Seen => return Err(DropReason::Replayed),
            Counter::TooOld => return Err(DropReason::TooOld),
        }
        let plain = self
            .receive
            .open_in_place(nonce(counter), Aad::from(header.as_bytes()), &mut datagram[OUTER_HEADER_BYTES..])
            .map_err(|_| DropReason::BadTag)?;
        self.window.accept(counter);
        self.heard = Some(now);
        Ok(plain.len())
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
