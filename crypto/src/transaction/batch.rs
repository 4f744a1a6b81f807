//! The signatures of a batch in one equation, see [`super`].

use super::keys::KeyCache;
use crate::bisect::{self, Residual};
use crate::identity::is_canonical;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use samara_types::{Transaction, TransactionId};
use sha2::{Digest as _, Sha512};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

/// The transactions of a batch that keep the first line of the rule, as they stand in the equation.
pub(super) struct Batch {
    /// Transactions of the batch, good or bad.
    count: usize,
    terms: Vec<Term>,
    /// One 128-bit coefficient for each term, fixed by all of them.
    coefficients: Vec<Scalar>,
    /// The distinct keys.
    keys: Vec<([u8; 32], EdwardsPoint)>,
}

/// One signature.
struct Term {
    /// Position of its transaction.
    at: usize,
    /// Position of its key among the keys of the batch.
    key: usize,
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
}

impl Batch {
    /// `ids` are those of `transactions`; keys that `known` does not hold are decoded.
    pub(super) fn new(known: &mut KeyCache, transactions: &[Transaction<'_>], ids: &[TransactionId]) -> Batch {
        let (mut positions, mut keys) = (HashMap::new(), Vec::new());
        let mut key_of = |bytes: &[u8; 32]| {
            *positions.entry(*bytes).or_insert_with(|| {
                let point = known.get(bytes).or_else(|| decode_point(bytes))?;
                keys.push((*bytes, point));
                Some(keys.len() - 1)
            })
        };
        let term = |at: usize| Term::new(at, key_of(transactions[at].public_key())?, &transactions[at], &ids[at]);
        let terms: Vec<_> = (0..transactions.len()).filter_map(term).collect();
        let coefficients = coefficients(transactions, ids, &terms);
        Batch { count: transactions.len(), terms, coefficients, keys }
    }

    /// The verdict on each transaction. `known` learns the keys of good ones, so that only those who sign can fill it.
    pub(super) fn verdicts(self, known: &mut KeyCache) -> Vec<bool> {
        let mut good = vec![false; self.count];
        for term in &self.terms {
            good[term.at] = true;
        }
        for bad in bisect::culprits(self.terms.len(), |range| self.error(range)) {
            good[self.terms[bad].at] = false;
        }
        let mut proven = vec![false; self.keys.len()];
        for term in self.terms.iter().filter(|term| good[term.at]) {
            proven[term.key] = true;
        }
        for ((bytes, point), _) in self.keys.iter().zip(proven).filter(|(_, proven)| *proven) {
            known.insert(bytes, point);
        }
        good
    }

    /// How far the terms of `range` are from the equation, but for the cofactor.
    fn error(&self, range: Range<usize>) -> EdwardsPoint {
        let (terms, z) = (&self.terms[range.clone()], &self.coefficients[range]);
        let base: Scalar = terms.iter().zip(z).map(|(term, z)| z * term.s).sum();
        let mut by_key = vec![None; self.keys.len()];
        for (term, z) in terms.iter().zip(z) {
            *by_key[term.key].get_or_insert(Scalar::ZERO) += z * term.k;
        }
        let keys = by_key.iter().zip(&self.keys).filter_map(|(sum, (_, point))| Some(((*sum)?, *point)));
        let terms =
            std::iter::once((-base, ED25519_BASEPOINT_POINT)).chain(keys).chain(z.iter().copied().zip(terms.iter().map(|term| term.r)));
        let (scalars, points): (Vec<_>, Vec<_>) = terms.unzip();
        EdwardsPoint::vartime_multiscalar_mul(scalars, points)
    }
}

impl Residual for EdwardsPoint {
    fn is_zero(&self) -> bool {
        self.mul_by_cofactor().is_identity()
    }

    fn minus(&self, part: &EdwardsPoint) -> EdwardsPoint {
        self - part
    }
}

impl Term {
    /// None where the first line of the rule fails.
    pub(super) fn new(at: usize, key: usize, transaction: &Transaction<'_>, id: &TransactionId) -> Option<Term> {
        let (r_bytes, s_bytes) = transaction.signature().split_first_chunk::<32>().expect("a signature has 64 bytes");
        let s = Scalar::from_canonical_bytes(s_bytes.try_into().expect("the other half")).into_option()?;
        let r = decode_point(r_bytes)?;
        let k = Sha512::new().chain_update(r_bytes).chain_update(transaction.public_key()).chain_update(id.0).finalize();
        Some(Term { at, key, r, s, k: Scalar::from_bytes_mod_order_wide(&k.into()) })
    }
}

/// A canonically encoded point that is not of small order.
pub(super) fn decode_point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    if !is_canonical(bytes) || is_small_order(bytes) {
        return None;
    }
    CompressedEdwardsY(*bytes).decompress()
}

/// Whether a canonical encoding is that of a point of small order, whatever its sign bit: the eight of them have five y.
pub(super) fn is_small_order(bytes: &[u8; 32]) -> bool {
    static SMALL: LazyLock<[[u8; 32]; 8]> = LazyLock::new(|| EIGHT_TORSION.map(|point| unsigned(&point.compress().to_bytes())));
    SMALL.contains(&unsigned(bytes))
}

fn unsigned(bytes: &[u8; 32]) -> [u8; 32] {
    let mut bytes = *bytes;
    bytes[31] &= 0x7f;
    bytes
}

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
