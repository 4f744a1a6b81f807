//! BLS12-381 in the `min_sig` arrangement: signatures in G1 (48 B), public keys in G2 (96 B).
//!
//! Votes and proofs of possession hash to the curve under tags of their own (RFC 9380 suite `BLS12381G1_XMD:SHA-256_SSWU_RO_`), so
//! neither is ever valid as the other. A vote covers `Subject::signing_bytes`; a proof of possession covers the compressed public key.
//!
//! # One check for many signatures on one subject
//!
//! All signatures of a group are over the same message `m`, so the group is checked by one pairing equation,
//! `e(sum of signatures, g2) = e(H(m), sum of public keys)`, on the plain sums. Two shortcuts in it need an argument.
//!
//! **No random coefficients.** Write each signature as `S_i + E_i`, where `S_i` is the one valid signature of member i. The equation holds
//! exactly when the errors `E_i` sum to zero. A lone bad signature always fails, and an honest member has `E_i = 0`, so errors can only
//! cancel between members who *both* chose to deviate. Nothing is gained by that: both said, over their authenticated sessions, that
//! they vote for this subject, and both could have sent valid signatures with the same effect. The sum is the aggregate of their valid
//! signatures, so the certificate built from it verifies everywhere, and by the proofs of possession no aggregate over a bitmap
//! verifies unless every honest member in it signed. What does not follow is that each of the two verifies alone: a verified group is
//! never split (a certificate carries all verified signers of its subject), and evidence checks each signature by itself.
//!
//! **One subgroup check, on the sum.** Decoding puts points on the curve but not into the subgroup of prime order r, and the pairing
//! equation means something for subgroup members only; so the sum is checked. Write the curve group as subgroup times cofactor part:
//! members whose cofactor parts are not zero but cancel are the case above again, colluders only, with a sum inside the subgroup. The
//! group verdict stays linear in the errors (over the whole curve group), which is what the bisection relies on.
//!
//! A single signature, a certificate's aggregate and a proof of possession get their own subgroup check. Infinity is never a valid
//! signature of one member (no key is zero) and is refused at decoding.

use crate::memo::Memo;
use blst::min_sig::{AggregatePublicKey, AggregateSignature, PublicKey, SecretKey, Signature};
use blst::{BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine};
use samara_types::{SigningDomain, Subject};
use std::fmt;
use std::sync::{Arc, LazyLock};
use zeroize::Zeroizing;

/// Hash-to-curve tag of votes and nullifies.
pub const VOTE_TAG: &[u8] = b"samara-v1-vote:BLS12381G1_XMD:SHA-256_SSWU_RO_";
/// Hash-to-curve tag of proofs of possession.
pub const POSSESSION_TAG: &[u8] = b"samara-v1-possession:BLS12381G1_XMD:SHA-256_SSWU_RO_";

/// Bytes of a compressed signature.
pub const SIGNATURE_BYTES: usize = 48;
/// Bytes of a compressed public key.
pub const PUBLIC_KEY_BYTES: usize = 96;

/// The key a validator votes with. Erased when dropped.
#[derive(Clone)]
pub struct VoteSecret {
    secret: SecretKey,
    /// With the public key it signs under.
    memo: Option<(Arc<Memo>, [u8; PUBLIC_KEY_BYTES])>,
}

impl VoteSecret {
    /// A fresh key from operating-system randomness.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn generate() -> VoteSecret {
        let material = crate::identity::random_bytes();
        VoteSecret { secret: SecretKey::key_gen(&*material, &[]).expect("32 bytes of key material are enough"), memo: None }
    }

    /// From 32 bytes, big-endian. None unless it is from 1 to r-1.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<VoteSecret> {
        SecretKey::from_bytes(bytes).ok().map(|secret| VoteSecret { secret, memo: None })
    }

    /// Remembers what it signs in `memo`, see [`crate::memo`].
    pub fn with_memo(self, memo: Arc<Memo>) -> VoteSecret {
        let key = self.public_key();
        VoteSecret { memo: Some((memo, key)), ..self }
    }

    /// 32 bytes, big-endian; erased when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes())
    }

    /// The public key, compressed.
    pub fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.secret.sk_to_pk().compress()
    }

    /// Proof that whoever publishes the public key holds this secret.
    pub fn possession(&self) -> [u8; SIGNATURE_BYTES] {
        self.secret.sign(&self.public_key(), POSSESSION_TAG, &[]).compress()
    }

    /// Signs a subject. The same subject gives the same bytes.
    pub fn sign(&self, domain: &SigningDomain, subject: &Subject) -> [u8; SIGNATURE_BYTES] {
        let message = subject.signing_bytes(domain);
        let sign = || self.secret.sign(&message, VOTE_TAG, &[]).compress();
        match &self.memo {
            Some((memo, key)) => memo.sign(key, &message, sign),
            None => sign(),
        }
    }
}

impl fmt::Debug for VoteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VoteSecret(..)")
    }
}

/// Decodes a signature: on the curve, canonically encoded, not infinity. The subgroup is not checked here.
pub(crate) fn decode_signature(bytes: &[u8; SIGNATURE_BYTES]) -> Option<Signature> {
    const INFINITY_BIT: u8 = 0x40;
    Signature::uncompress(bytes).ok().filter(|_| bytes[0] & INFINITY_BIT == 0)
}

/// Why a public key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyReject {
    /// Not the compressed encoding of a point on the curve.
    Encoding,
    /// Infinity: every signature would verify under it.
    Infinity,
    /// Outside the subgroup of prime order.
    Subgroup,
}

/// Decodes a public key: canonical, on the curve, in the subgroup, not infinity.
pub(crate) fn decode_public_key(bytes: &[u8; PUBLIC_KEY_BYTES]) -> Result<PublicKey, KeyReject> {
    let key = PublicKey::uncompress(bytes).map_err(|_| KeyReject::Encoding)?;
    key.validate().map_err(|error| if error == BLST_ERROR::BLST_PK_IS_INFINITY { KeyReject::Infinity } else { KeyReject::Subgroup })?;
    Ok(key)
}

/// Whether `possession` proves that the owner of `key` (whose encoding is `bytes`) holds its secret.
pub(crate) fn verify_possession(key: &PublicKey, bytes: &[u8; PUBLIC_KEY_BYTES], possession: &[u8; SIGNATURE_BYTES]) -> bool {
    decode_signature(possession).is_some_and(|signature| pairing_check(&signature, key, bytes, POSSESSION_TAG))
}

/// The pairing equation for a (sum of) signature(s) and a (sum of) key(s) over one vote message, subgroup check of the signature included.
pub(crate) fn verify_vote(signature: &Signature, key: &PublicKey, message: &[u8]) -> bool {
    pairing_check(signature, key, message, VOTE_TAG)
}

/// Sum of signatures. Infinity for none.
pub(crate) fn sum<'a>(signatures: impl IntoIterator<Item = &'a Signature>) -> AggregateSignature {
    let mut total = AggregateSignature::from_signature(&Signature::from(blst_p1_affine::default()));
    for signature in signatures {
        total.add_signature(signature, false).expect("without a group check adding cannot fail");
    }
    total
}

/// `e(H(message), key) * e(signature, -g2) = 1` with one shared Miller loop and one final exponentiation, on the calling thread.
///
/// `Signature::verify` of blst hands its work to a thread pool, which a pinned reactor must not do, and `Pairing` by itself runs the loop of
/// the signature apart. Infinity has no place in the loop: the keys of colluders may sum to it, and then so must their signatures.
fn pairing_check(signature: &Signature, key: &PublicKey, message: &[u8], tag: &[u8]) -> bool {
    let at_infinity = (*signature == Signature::from(blst_p1_affine::default()), *key == PublicKey::default());
    if at_infinity != (false, false) {
        return at_infinity == (true, true);
    }
    if !signature.subgroup_check() {
        return false;
    }
    let (point, key): (&blst_p1_affine, &blst_p2_affine) = (signature.into(), key.into());
    let mut pairing = Pairing::new(true, tag);
    let no_signature = &();
    if pairing.aggregate(key, false, no_signature, false, message, &[]) != BLST_ERROR::BLST_SUCCESS {
        return false;
    }
    pairing.raw_aggregate((&*MINUS_GENERATOR).into(), point);
    pairing.commit();
    pairing.finalverify(None)
}

/// The generator of G2, negated.
static MINUS_GENERATOR: LazyLock<PublicKey> = LazyLock::new(|| {
    let mut one = [0; 32];
    one[31] = 1;
    let generator = SecretKey::from_bytes(&one).expect("one is a secret").sk_to_pk();
    let mut total = AggregatePublicKey::from_public_key(&PublicKey::default());
    total.sub_aggregate(&AggregatePublicKey::from_public_key(&generator));
    total.to_public_key()
});

#[cfg(test)]
mod tests;
