//! Noise IK between static X25519 keys of the validator set (`snow`), prologue = chain.
//!
//! The cluster fingerprint travels sealed in both payloads and is compared on both sides. The initiator offers ciphers, the responder
//! chooses. After message 2 both sides have the raw keys of the two directions.

use samara_types::datagram::OUTER_HEADER_BYTES;
use samara_types::{ChainId, Digest, Nanos};
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};
use zeroize::Zeroizing;

use super::reason::DropReason;
use super::transport::{CipherSet, Transport, TransportKeys};
use super::wire::{InitPayload, NOISE_INIT_BYTES, NOISE_RESPONSE_BYTES, RESPONSE_BYTES, ResponsePayload};

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const DOMAIN: &[u8; 16] = b"samara session 1";

/// What both sides' handshakes need from this validator.
pub struct Identity {
    params: NoiseParams,
    secret: Zeroizing<[u8; 32]>,
    prologue: [u8; 48],
    fingerprint: Digest,
    ciphers: CipherSet,
}

/// An init that was read: who, and how to answer.
pub struct Incoming {
    noise: HandshakeState,
    payload: InitPayload,
}

impl Identity {
    pub fn new(chain: &ChainId, secret: [u8; 32], fingerprint: Digest, ciphers: CipherSet) -> Identity {
        let params = PATTERN.parse().expect("the pattern is a constant that snow knows");
        let mut prologue = [0; 48];
        prologue[..16].copy_from_slice(DOMAIN);
        prologue[16..].copy_from_slice(&chain.0);
        Identity { params, secret: Zeroizing::new(secret), prologue, fingerprint, ciphers }
    }

    fn builder(&self) -> Builder<'_> {
        Builder::new(self.params.clone())
            .prologue(&self.prologue)
            .and_then(|builder| builder.local_private_key(self.secret.as_slice()))
            .expect("each parameter is set once")
    }

    /// Starts a handshake with the holder of `peer_key`; message 1 is written behind the outer header of `out`.
    pub fn initiate(&self, peer_key: &[u8; 32], stamp: u64, index: u32, out: &mut [u8]) -> HandshakeState {
        let payload =
            InitPayload { fingerprint: self.fingerprint.0, stamp: U64::new(stamp), index: U32::new(index), ciphers: self.ciphers.0 };
        let builder = self.builder().remote_public_key(peer_key).expect("set once");
        let mut noise = builder.build_initiator().expect("all keys are there");
        let written = noise
            .write_message(payload.as_bytes(), &mut out[OUTER_HEADER_BYTES..][..NOISE_INIT_BYTES])
            .expect("message 1 fits the space computed for it");
        assert_eq!(written, NOISE_INIT_BYTES);
        noise
    }

    /// Reads message 1: two Diffie-Hellman computations.
    pub fn read_init(&self, message: &[u8]) -> Result<Incoming, DropReason> {
        let mut noise = self.builder().build_responder().expect("all keys are there");
        let mut bytes = [0; size_of::<InitPayload>() + 16];
        let read = noise.read_message(message, &mut bytes).map_err(|_| DropReason::BadHandshake)?;
        let payload = InitPayload::read_from_bytes(&bytes[..read]).map_err(|_| DropReason::BadHandshake)?;
        Ok(Incoming { noise, payload })
    }

    /// Answers a message 1 that passed all checks: three more Diffie-Hellman computations. Message 2 goes behind the outer header of `out`.
    pub fn respond(&self, mut incoming: Incoming, index: u32, now: Nanos, out: &mut [u8; RESPONSE_BYTES]) -> Result<Transport, DropReason> {
        let cipher = self.ciphers.choose(CipherSet(incoming.payload.ciphers)).ok_or(DropReason::BadHandshake)?;
        let payload = ResponsePayload { fingerprint: self.fingerprint.0, index: U32::new(index), cipher: cipher as u8 };
        let written = incoming
            .noise
            .write_message(payload.as_bytes(), &mut out[OUTER_HEADER_BYTES..][..NOISE_RESPONSE_BYTES])
            .map_err(|_| DropReason::BadHandshake)?;
        assert_eq!(written, NOISE_RESPONSE_BYTES);
        let (initiator, responder) = raw_keys(&mut incoming.noise);
        let keys = TransportKeys::derive(cipher, &initiator, &responder, false);
        Ok(Transport::new(keys, incoming.payload.index.get(), false, now))
    }

    /// Reads message 2 of a handshake of ours. On an error the handshake goes on waiting: a forged answer must not end it.
    pub fn read_response(&self, noise: &mut HandshakeState, message: &[u8], now: Nanos) -> Result<Transport, DropReason> {
        let mut bytes = [0; size_of::<ResponsePayload>() + 16];
        let read = noise.read_message(message, &mut bytes).map_err(|_| DropReason::BadHandshake)?;
        let payload = ResponsePayload::read_from_bytes(&bytes[..read]).map_err(|_| DropReason::BadHandshake)?;
        if payload.fingerprint != self.fingerprint.0 {
            return Err(DropReason::WrongCluster);
        }
        let cipher = self.ciphers.member(payload.cipher).ok_or(DropReason::BadHandshake)?;
        let (initiator, responder) = raw_keys(noise);
        let keys = TransportKeys::derive(cipher, &initiator, &responder, true);
        Ok(Transport::new(keys, payload.index.get(), true, now))
    }

    /// Whether the peer runs on the same genesis.
    pub fn is_same_cluster(&self, incoming: &Incoming) -> bool {
        incoming.payload.fingerprint == self.fingerprint.0
    }
}

impl Incoming {
    /// The initiator's static key; it proved to hold the secret.
    pub fn key(&self) -> [u8; 32] {
        let key = self.noise.get_remote_static().expect("message 1 of IK carries it");
        key.try_into().expect("an X25519 key has 32 bytes")
    }

    /// Its stamp.
    pub fn stamp(&self) -> u64 {
        self.payload.stamp.get()
    }

    /// Its session index.
    pub fn index(&self) -> u32 {
        self.payload.index.get()
    }
}

type RawKey = Zeroizing<[u8; 32]>;

fn raw_keys(noise: &mut HandshakeState) -> (RawKey, RawKey) {
    let (initiator, responder) = noise.dangerously_get_raw_split();
    (Zeroizing::new(initiator), Zeroizing::new(responder))
}
