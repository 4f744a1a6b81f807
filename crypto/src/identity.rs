//! Ed25519 identities (slice commitments, transactions) and X25519 session keys.
//!
//! An identity key is accepted only in its canonical encoding and never of small order: under a small-order key a signature can hold for
//! many messages. Slices have one signer and one path, `verify_strict`; transactions go through [`crate::transaction`].

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// 32 bytes of operating-system randomness.
///
/// # Panics
/// If the operating system has none to give: a key made without it would be worthless.
pub(crate) fn random_bytes() -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).expect("the operating system provides randomness");
    bytes
}

/// The key a validator signs its slices with, or a client its transactions. Erased when dropped.
#[derive(Clone)]
pub struct IdentitySecret(SigningKey);

impl IdentitySecret {
    /// A fresh key from operating-system randomness.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn generate() -> IdentitySecret {
        IdentitySecret::from_bytes(&random_bytes())
    }

    /// From 32 bytes; any are a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> IdentitySecret {
        IdentitySecret(SigningKey::from_bytes(bytes))
    }

    /// The 32 bytes it was made from; erased when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs. The same message gives the same bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for IdentitySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentitySecret(..)")
    }
}

/// The static key of a validator's sessions. Erased when dropped.
#[derive(Clone)]
pub struct SessionSecret(StaticSecret);

impl SessionSecret {
    /// A fresh key from operating-system randomness.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn generate() -> SessionSecret {
        SessionSecret::from_bytes(&random_bytes())
    }

    /// From 32 bytes; any are a key (X25519 clamps when it multiplies).
    pub fn from_bytes(bytes: &[u8; 32]) -> SessionSecret {
        SessionSecret(StaticSecret::from(*bytes))
    }

    /// The 32 bytes it was made from; erased when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

/// Decodes an identity key: canonical, on the curve, not of small order.
pub(crate) fn decode_identity_key(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    if !is_canonical(bytes) {
        return None;
    }
    VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak())
}

/// Whether a session key contributes to a shared secret, i.e. is not of small order.
pub(crate) fn is_session_key(bytes: &[u8; 32]) -> bool {
    // X25519 multiplies by a multiple of 8, so the secret chosen here does not matter: small-order points all go to zero.
    StaticSecret::from([1; 32]).diffie_hellman(&PublicKey::from(*bytes)).was_contributory()
}

/// Whether an encoded Edwards point has its y below 2^255 - 19. (The other freedom, a sign bit on x = 0, exists only for two points of
/// small order, which are refused as such.)
pub(crate) fn is_canonical(bytes: &[u8; 32]) -> bool {
    !(bytes[31] & 0x7f == 0x7f && bytes[1..31].iter().all(|&byte| byte == 0xff) && bytes[0] >= 0xed)
}

/// The rule for everything but transactions: `verify_strict` of ed25519-dalek (RFC 8032 without the cofactor, reduced scalar, no
/// small-order points).
pub(crate) fn verify_strict(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_types::digest::from_hex;

    /// The eight points of small order, canonical, from curve25519-dalek.
    fn small_order() -> Vec<[u8; 32]> {
        curve25519_dalek::constants::EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect()
    }

    #[test]
    fn small_order_and_non_canonical_keys_are_refused() {
        for bytes in small_order() {
            assert!(decode_identity_key(&bytes).is_none());
        }
        // y from p to 2^255 - 1, both signs: the whole non-canonical range, some of it on the curve and of large order.
        let mut on_curve = 0;
        for low in 0xed..=0xffu8 {
            for high in [0x7f, 0xff] {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (low, high);
                on_curve += usize::from(VerifyingKey::from_bytes(&bytes).is_ok_and(|key| !key.is_weak()));
                assert!(!is_canonical(&bytes) && decode_identity_key(&bytes).is_none());
            }
        }
        assert!(on_curve > 0, "the range holds points that only the canonical rule refuses");
        let mut largest = [0xff; 32];
        (largest[0], largest[31]) = (0xec, 0x7f);
        assert!(is_canonical(&largest), "y = p - 1 is canonical");
        assert!(decode_identity_key(&IdentitySecret::from_bytes(&[7; 32]).public_key()).is_some());
    }

    #[test]
    fn session_keys_of_small_order_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        assert!(!is_session_key(&[0; 32]) && !is_session_key(&one));
        assert!(is_session_key(&SessionSecret::from_bytes(&[9; 32]).public_key()));
    }

    #[test]
    fn session_public_keys_agree_with_rfc_7748() {
        // RFC 7748, section 5.2: one iteration from scalar 9 and u = 9, the base point.
        let mut nine = [0; 32];
        nine[0] = 9;
        let public = from_hex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079").unwrap();
        assert_eq!(SessionSecret::from_bytes(&nine).public_key().to_vec(), public);
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?} {:?}", IdentitySecret::generate(), SessionSecret::generate()), "IdentitySecret(..) SessionSecret(..)");
    }
}
