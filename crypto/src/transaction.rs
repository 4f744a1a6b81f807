//! Ed25519 signatures of transactions, checked together, with one rule however they are grouped.
//!
//! The rule. A signature (R, s) of key A on the transaction id M holds when
//! - A and R are canonical encodings of curve points, neither of small order, and s is below the group order l;
//! - `8 s B = 8 R + 8 k A` with `k = SHA-512(R, A, M) mod l`.
//!
//! The first line depends on one transaction alone. The second is checked for many at once as `8 * sum z_i (s_i B - R_i - k_i A_i) = 0`
//! with 128-bit coefficients z_i. After the multiplication by 8 every term lies in the group of prime order, so a term that is not zero
//! survives a random coefficient except with probability 2^-128, and a batch passes exactly when each member would pass alone. Without
//! the 8 (as in `verify_strict`, and in the batch check of ed25519-dalek) terms of small order vanish in a batch whenever their
//! coefficients cancel modulo 8: a signature could be good in one block and bad in another, and validators would disagree. RFC 8032
//! allows both equations; all honest signatures satisfy both.
//!
//! The coefficients are BLAKE3 output over all ids and signatures of the batch (an id covers chain, key, nonce and data), so they are
//! fixed only after every input is, and the same batch gives the same coefficients everywhere.

use crate::bisect::{self, Residual};
use crate::identity::{IdentitySecret, is_canonical};
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use samara_types::client::RejectReason;
use samara_types::transaction::{self, transaction_id};
use samara_types::{ChainId, Transaction, TransactionId};
use sha2::{Digest as _, Sha512};
use std::ops::Range;
use std::sync::Arc;

/// Most transactions under one equation. Larger groups gain little and lose more when one member is bad.
pub const BATCH_TRANSACTIONS_MAX: usize = 128;

/// A transaction whose signature holds on the chain it was verified for. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedTransaction {
    bytes: Arc<[u8]>,
    id: TransactionId,
}

impl VerifiedTransaction {
    /// Its name on the chain.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// As it travels and stands in a payload.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Verdict on each transaction, in order.
pub fn verify_transactions(chain: &ChainId, transactions: &[Transaction<'_>]) -> Vec<bool> {
    let ids: Vec<_> = transactions.iter().map(|transaction| transaction.id(chain)).collect();
    verdicts(transactions, &ids)
}

/// Parses and verifies what clients or peers sent; the verdicts are in the order of `raw`.
pub fn verify_batch(chain: &ChainId, raw: Vec<Vec<u8>>) -> Vec<Result<VerifiedTransaction, RejectReason>> {
    let parsed: Vec<_> = raw.iter().map(|bytes| Transaction::parse(bytes)).collect();
    let transactions: Vec<_> = parsed.iter().flatten().copied().collect();
    let ids: Vec<_> = transactions.iter().map(|transaction| transaction.id(chain)).collect();
    let mut verified = verdicts(&transactions, &ids).into_iter().zip(ids);
    let verdict = |parsed: &Option<Transaction<'_>>| {
        let transaction = parsed.ok_or(RejectReason::Malformed)?;
        let (good, id) = verified.next().expect("one verdict for each parsed transaction");
        if good { Ok(VerifiedTransaction { bytes: transaction.bytes().into(), id }) } else { Err(RejectReason::BadSignature) }
    };
    parsed.iter().map(verdict).collect()
}

/// A signed transaction, as it travels.
///
/// # Panics
/// If `data` does not fit `TRANSACTION_BYTES_MAX`.
pub fn sign_transaction(chain: &ChainId, secret: &IdentitySecret, nonce: u64, data: &[u8]) -> Vec<u8> {
    let room = transaction::TRANSACTION_BYTES_MAX - transaction::TRANSACTION_HEADER_BYTES;
    assert!(data.len() <= room, "data of a transaction: {} bytes, allowed are {room}", data.len());
    let public_key = secret.public_key();
    let nonce_and_data = [&nonce.to_le_bytes(), data].concat();
    let id = transaction_id(chain, &public_key, &nonce_and_data);
    transaction::assemble(&public_key, &secret.sign(&id.0), &nonce_and_data)
}

fn verdicts(transactions: &[Transaction<'_>], ids: &[TransactionId]) -> Vec<bool> {
    let mut good = vec![false; transactions.len()];
    for start in (0..transactions.len()).step_by(BATCH_TRANSACTIONS_MAX) {
        let end = (start + BATCH_TRANSACTIONS_MAX).min(transactions.len());
        let terms: Vec<_> = (start..end).filter_map(|at| Term::new(at, &transactions[at], &ids[at])).collect();
        for term in &terms {
            good[term.at] = true;
        }
        let coefficients = coefficients(transactions, ids, &terms);
        for bad in bisect::culprits(terms.len(), |range| error(&terms, &coefficients, range)) {
            good[terms[bad].at] = false;
        }
    }
    good
}

/// One signature as it stands in the equation.
struct Term {
    /// Position of its transaction.
    at: usize,
    r: EdwardsPoint,
    a: EdwardsPoint,
    s: Scalar,
    k: Scalar,
}

impl Term {
    /// None where the rule of the first line fails.
    fn new(at: usize, transaction: &Transaction<'_>, id: &TransactionId) -> Option<Term> {
        let (r_bytes, s_bytes) = transaction.signature().split_first_chunk::<32>().expect("a signature has 64 bytes");
        let s = Scalar::from_canonical_bytes(s_bytes.try_into().expect("the other half")).into_option()?;
        let a = decode_point(transaction.public_key())?;
        let r = decode_point(r_bytes)?;
        let k = Sha512::new().chain_update(r_bytes).chain_update(transaction.public_key()).chain_update(id.0).finalize();
        Some(Term { at, r, a, s, k: Scalar::from_bytes_mod_order_wide(&k.into()) })
    }
}

fn decode_point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    if !is_canonical(bytes) {
        return None;
    }
    CompressedEdwardsY(*bytes).decompress().filter(|point| !point.is_small_order())
}

/// One 128-bit coefficient for each term, fixed by all of them.
fn coefficients(transactions: &[Transaction<'_>], ids: &[TransactionId], terms: &[Term]) -> Vec<Scalar> {
    let mut hasher = blake3::Hasher::new_derive_key("samara 2026 transaction batch");
    for term in terms {
        hasher.update(&ids[term.at].0);
        hasher.update(transactions[term.at].signature());
    }
    let mut stream = hasher.finalize_xof();
    let next = |_: &Term| {
        let mut bytes = [0; 16];
        stream.fill(&mut bytes);
        Scalar::from(u128::from_le_bytes(bytes))
    };
    terms.iter().map(next).collect()
}

/// How far the terms of `range` are from the equation, but for the cofactor.
fn error(terms: &[Term], coefficients: &[Scalar], range: Range<usize>) -> EdwardsPoint {
    let (terms, z) = (&terms[range.clone()], &coefficients[range]);
    let base: Scalar = terms.iter().zip(z).map(|(term, z)| z * term.s).sum();
    let scalars = std::iter::once(-base).chain(z.iter().copied()).chain(terms.iter().zip(z).map(|(term, z)| z * term.k));
    let points = std::iter::once(ED25519_BASEPOINT_POINT).chain(terms.iter().map(|term| term.r)).chain(terms.iter().map(|term| term.a));
    EdwardsPoint::vartime_multiscalar_mul(scalars, points)
}

impl Residual for EdwardsPoint {
    fn is_zero(&self) -> bool {
        self.mul_by_cofactor().is_identity()
    }

    fn minus(&self, part: &EdwardsPoint) -> EdwardsPoint {
        self - part
    }
}

#[cfg(test)]
mod tests;
