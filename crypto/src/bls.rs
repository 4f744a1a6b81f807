//! BLS12-381 in the `min_sig` arrangement: signatures in G1, public keys in G2 (96 B compressed).
//!
//! Votes and proofs of possession hash to the curve under tags of their own (RFC 9380 suite `BLS12381G1_XMD:SHA-256_SSWU_RO_`), so
//! neither is ever valid as the other. A vote covers `Subject::signing_bytes`; a proof of possession covers the compressed public key.
//!
//! A vote travels with both coordinates (96 B): decompressing takes a square root, 9.6 us, which was two thirds of the cost of 128 votes;
//! reading both coordinates and checking the curve equation takes 0.17 us. Certificates and proofs of possession stay compressed (48 B):
//! one square root drowns in the pairing that follows.
//!
//! # One check for many signatures on one subject
//!
//! All signatures of a group are over the same message `m`, so the group is checked by one pairing equation,
//! `e(sum of signatures, g2) = e(H(m), sum of public keys)`, on the plain sums. Two shortcuts in it need an argument.
//!
//! **No random coefficients.** Write each signature as `S_i + E_i`, where `S_i` is the one valid signature of member i. The equation holds
//! exactly when the errors `E_i` sum to zero. A lone bad signature always fails, and an honest member has `E_i = 0`, so errors can only
//! cancel between members who *both* chose to deviate. Nothing but deniability is gained by that: both said, over their authenticated sessions, that
//! they vote for this subject, and both could have sent valid signatures with the same effect. The sum is the aggregate of their valid
//! signatures, so the certificate built from it verifies everywhere, and by the proofs of possession no aggregate over a bitmap
//! verifies unless every honest member in it signed. What does not follow is that each of the two verifies alone. Hence three rules:
//!
//! - a verified group is never split: a certificate carries all verified signers of its subject. Whoever wants a certificate over fewer
//!   signers than were checked together has to check those fewer again;
//! - single votes are never forwarded or stored as proof of anything by others than their signer; aggregates are;
//! - evidence (equivocation) checks each of its signatures by itself.
//!
//! Without authenticated sessions the argument falls: somebody could send `S_i + E` in the name of i and `S_j - E` in the name of j, and
//! later deny the one or accuse the other.
//!
//! **One subgroup check, on the sum.** Decoding puts points on the curve but not into the subgroup of prime order r, and the pairing
//! equation means something for subgroup members only; so the sum is checked. Write the curve group as subgroup times cofactor part:
//! members whose cofactor parts are not zero but cancel are the case above again, colluders only, with a sum inside the subgroup. The
//! group verdict stays linear in the errors (over the whole curve group), which is what the search for culprits relies on: the pairing
//! does not see cofactor parts (it is bilinear on the whole curve and their order is prime to r), the subgroup check of the sum does.
//!
//! A single signature, a certificate's aggregate and a proof of possession get their own subgroup check. Infinity is never a valid
//! signature of one member (no key is zero) and is refused at decoding. Sums may be infinity (colluders may hold keys x and -x); a pair
//! with infinity then contributes nothing to the product, on either side.
//!
//! # Measured and left out
//!
//! Precomputed lines for the generator (`blst_precompute_lines`): 133 us for that loop and 176 us for the other are more than the 296 us of
//! one loop over both pairs, which shares its squarings, and blst has no joint loop with lines.

pub(crate) mod curve;

use crate::bisect::Residual;
use crate::memo::Memo;
use blst::BLST_ERROR;
use blst::min_sig::{PublicKey, SecretKey};
use curve::{G1, G1Affine, G2Affine, Gt, pairing_product};
use samara_types::{SigningDomain, Subject};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

pub use samara_types::message::{AGGREGATE_BYTES, VOTE_SIGNATURE_BYTES};

/// Hash-to-curve tag of votes and nullifies.
pub const VOTE_TAG: &[u8] = b"samara-v1-vote:BLS12381G1_XMD:SHA-256_SSWU_RO_";
/// Hash-to-curve tag of proofs of possession.
pub const POSSESSION_TAG: &[u8] = b"samara-v1-possession:BLS12381G1_XMD:SHA-256_SSWU_RO_";

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
    pub fn possession(&self) -> [u8; AGGREGATE_BYTES] {
        self.secret.sign(&self.public_key(), POSSESSION_TAG, &[]).compress()
    }

    /// Signs a subject. The same subject gives the same bytes.
    pub fn sign(&self, domain: &SigningDomain, subject: &Subject) -> [u8; VOTE_SIGNATURE_BYTES] {
        let message = subject.signing_bytes(domain);
        match &self.memo {
            Some((memo, key)) => memo.sign(key, &message, || self.multiply(&memo.hash(&message)).serialize()),
            None => self.secret.sign(&message, VOTE_TAG, &[]).serialize(),
        }
    }

    /// The signature over a message whose hash is known. Not in constant time: a small secret takes less. For owners of a memo, whose keys are no
    /// secrets.
    fn multiply(&self, hash: &G1) -> G1Affine {
        let mut scalar = self.secret.to_bytes();
        let bits = 256 - 8 * scalar.iter().take_while(|byte| **byte == 0).count();
        scalar.reverse();
        hash.times(&scalar, bits).to_affine()
    }
}

impl fmt::Debug for VoteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VoteSecret(..)")
    }
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
pub(crate) fn decode_public_key(bytes: &[u8; PUBLIC_KEY_BYTES]) -> Result<G2Affine, KeyReject> {
    let key = PublicKey::uncompress(bytes).map_err(|_| KeyReject::Encoding)?;
    key.validate().map_err(|error| if error == BLST_ERROR::BLST_PK_IS_INFINITY { KeyReject::Infinity } else { KeyReject::Subgroup })?;
    Ok(G2Affine::from(&key))
}

/// Whether `possession` proves that the owner of `key` (whose encoding is `bytes`) holds its secret.
pub(crate) fn verify_possession(key: &G2Affine, bytes: &[u8; PUBLIC_KEY_BYTES], possession: &[u8; AGGREGATE_BYTES]) -> bool {
    let hash = || G1::minus_hash(bytes, POSSESSION_TAG).to_affine();
    G1Affine::uncompress(possession).is_some_and(|signature| verify(&signature.into(), key, &hash()))
}

/// The point a vote message hashes to, negated. Costs 38 us: kept with the subject.
pub(crate) fn minus_vote_hash(domain: &SigningDomain, subject: &Subject) -> G1Affine {
    G1::minus_hash(&subject.signing_bytes(domain), VOTE_TAG).to_affine()
}

/// The pairing equation for a (sum of) signature(s) and a (sum of) key(s) over one message, the subgroup check of the signature first.
pub(crate) fn verify(signature: &G1, key: &G2Affine, minus_hash: &G1Affine) -> bool {
    signature.in_group() && pairing_product(&[(signature.to_affine(), G2Affine::generator()), (*minus_hash, *key)]).is_one()
}

/// How far a group of signatures on one subject is from its equation. Zero exactly if [`verify`] holds.
pub(crate) struct VoteResidual {
    /// Sum of the signatures, for its cofactor part.
    sum: G1,
    /// `e(sum, g2) / e(H(m), sum of keys)`.
    product: Gt,
}

impl VoteResidual {
    /// Of a group that is known to be good.
    pub(crate) fn zero() -> VoteResidual {
        VoteResidual { sum: G1::default(), product: Gt::one() }
    }

    pub(crate) fn new(sum: G1, key: &G2Affine, minus_hash: &G1Affine) -> VoteResidual {
        VoteResidual { sum, product: pairing_product(&[(sum.to_affine(), G2Affine::generator()), (*minus_hash, *key)]) }
    }
}

impl Residual for VoteResidual {
    fn is_zero(&self) -> bool {
        self.product.is_one() && (self.sum.is_infinity() || self.sum.in_group())
    }

    fn minus(&self, part: &VoteResidual) -> VoteResidual {
        VoteResidual { sum: self.sum.minus(&part.sum), product: self.product.divided_by(&part.product) }
    }
}

#[cfg(test)]
mod tests;
