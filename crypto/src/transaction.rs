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
//!
//! # Where the time goes
//!
//! A signature alone costs two square roots (decompressing R and A, 3.4 us each) and its share of a multi-scalar product (8 us for two
//! points of a batch of 64). Clients sign more than once, so a [`TransactionVerifier`] remembers the keys it met as points, and terms of
//! one key are added up before the product: `sum z_i k_i A_i` has one point for each distinct key, not for each signature. Neither changes
//! the equation, so the verdicts do not depend on what is remembered.

mod batch;
mod keys;

use crate::identity::IdentitySecret;
use batch::Batch;
use keys::KeyCache;
use samara_types::client::RejectReason;
use samara_types::transaction::{self, transaction_id};
use samara_types::{ChainId, Transaction, TransactionId};
use std::sync::Arc;

/// Most transactions under one equation: from 256 on the product is computed by buckets, which is a third cheaper for each.
pub const BATCH_TRANSACTIONS_MAX: usize = 256;

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

/// Verifies the transactions of one chain, and gets quicker with those whose keys it has met.
#[derive(Clone, Debug)]
pub struct TransactionVerifier {
    chain: ChainId,
    keys: KeyCache,
}

impl TransactionVerifier {
    /// One that knows no keys. Remembers at most 8,192 of them (3 MiB).
    pub fn new(chain: ChainId) -> TransactionVerifier {
        TransactionVerifier { chain, keys: KeyCache::default() }
    }

    /// Verdict on each transaction, in order.
    pub fn verify_transactions(&mut self, transactions: &[Transaction<'_>]) -> Vec<bool> {
        let ids: Vec<_> = transactions.iter().map(|transaction| transaction.id(&self.chain)).collect();
        self.verdicts(transactions, &ids)
    }

    /// Parses and verifies what clients or peers sent; the verdicts are in the order of `raw`.
    pub fn verify_batch(&mut self, raw: Vec<Vec<u8>>) -> Vec<Result<VerifiedTransaction, RejectReason>> {
        let parsed: Vec<_> = raw.iter().map(|bytes| Transaction::parse(bytes)).collect();
        let transactions: Vec<_> = parsed.iter().flatten().copied().collect();
        let ids: Vec<_> = transactions.iter().map(|transaction| transaction.id(&self.chain)).collect();
        let mut verified = self.verdicts(&transactions, &ids).into_iter().zip(ids);
        let verdict = |parsed: &Option<Transaction<'_>>| {
            let transaction = parsed.ok_or(RejectReason::Malformed)?;
            let (good, id) = verified.next().expect("one verdict for each parsed transaction");
            if good { Ok(VerifiedTransaction { bytes: transaction.bytes().into(), id }) } else { Err(RejectReason::BadSignature) }
        };
        parsed.iter().map(verdict).collect()
    }

    fn verdicts(&mut self, transactions: &[Transaction<'_>], ids: &[TransactionId]) -> Vec<bool> {
        let chunks = transactions.chunks(BATCH_TRANSACTIONS_MAX).zip(ids.chunks(BATCH_TRANSACTIONS_MAX));
        chunks.flat_map(|(transactions, ids)| Batch::new(&mut self.keys, transactions, ids).verdicts(&mut self.keys)).collect()
    }
}

/// Verdict on each transaction, in order, by one who has met no key before.
pub fn verify_transactions(chain: &ChainId, transactions: &[Transaction<'_>]) -> Vec<bool> {
    TransactionVerifier::new(*chain).verify_transactions(transactions)
}

/// Parses and verifies what clients or peers sent, by one who has met no key before; the verdicts are in the order of `raw`.
pub fn verify_batch(chain: &ChainId, raw: Vec<Vec<u8>>) -> Vec<Result<VerifiedTransaction, RejectReason>> {
    TransactionVerifier::new(*chain).verify_batch(raw)
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

#[cfg(test)]
mod tests;
