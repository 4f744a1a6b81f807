//! Signed transactions, made ahead of time on a thread of their own so that signing never delays a send.

use crossbeam::channel::{Receiver, bounded};
use samara_crypto::{IdentitySecret, sign_transaction};
use samara_types::transaction::{TRANSACTION_BYTES_MAX, TRANSACTION_HEADER_BYTES};
use samara_types::{ChainId, Transaction, TransactionId};
use std::sync::Arc;

/// Transactions made ahead.
const AHEAD: usize = 4096;

/// Most keys that sign in turn.
pub const SENDERS_MAX: usize = 1_000_000;

/// What the data of the transactions is.
#[derive(Clone, Debug)]
pub enum Content {
    /// Pseudo-random bytes that fill a transaction up to `tx_size`.
    Random {
        /// Bytes of the whole transaction.
        tx_size: usize,
        /// Seed of the bytes.
        seed: u64,
    },
    /// These bytes.
    Fixed(Vec<u8>),
}

/// A signed transaction and its name.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its id on the chain.
    pub id: TransactionId,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// Checks a size argument.
pub fn check_size(tx_size: u64) -> Result<usize, crate::exit::Exit> {
    let allowed = TRANSACTION_HEADER_BYTES as u64..=TRANSACTION_BYTES_MAX as u64;
    if allowed.contains(&tx_size) {
        return Ok(tx_size as usize);
    }
    Err(crate::exit::Exit::bad("--tx-size", tx_size, format!("{TRANSACTION_HEADER_BYTES} to {TRANSACTION_BYTES_MAX} (header included)")))
}

/// Starts the signer; it ends when the receiver is dropped. So many keys sign in turn, each made for its first transaction: validators
/// remember keys, so with one key they check faster than they would for the public. The keys are fresh, so two runs never make the same
/// transaction.
pub fn start(chain: ChainId, content: Content, senders: usize) -> Receiver<Signed> {
    let (sender, receiver) = bounded(AHEAD);
    let work = move || {
        let mut secrets = Vec::new();
        for nonce in 0u64.. {
            let turn = (nonce % senders.max(1) as u64) as usize;
            if turn == secrets.len() {
                secrets.push(IdentitySecret::generate());
            }
            if sender.send(sign(&chain, &secrets[turn], nonce, &data(&content, nonce))).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signer".into()).spawn(work).expect("a thread can be started");
    receiver
}

fn sign(chain: &ChainId, secret: &IdentitySecret, nonce: u64, data: &[u8]) -> Signed {
    let bytes = sign_transaction(chain, secret, nonce, data);
    let id = Transaction::parse(&bytes).expect("what was signed is well formed").id(chain);
    Signed { id, bytes: bytes.into() }
}

fn data(content: &Content, nonce: u64) -> Vec<u8> {
    match content {
        Content::Fixed(bytes) => bytes.clone(),
        Content::Random { tx_size, seed } => {
            let mut bytes = vec![0; tx_size - TRANSACTION_HEADER_BYTES];
            let mut hasher = blake3::Hasher::new_derive_key("samara 2026 load content");
            hasher.update(&seed.to_le_bytes()).update(&nonce.to_le_bytes());
            hasher.finalize_xof().fill(&mut bytes);
            bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_have_the_size_asked_for_and_distinct_ids() {
        let chain = ChainId([7; 32]);
        for tx_size in [TRANSACTION_HEADER_BYTES, 512, TRANSACTION_BYTES_MAX] {
            let made: Vec<Signed> = start(chain, Content::Random { tx_size, seed: 1 }, 1).iter().take(3).collect();
            assert!(made.iter().all(|signed| signed.bytes.len() == tx_size));
            assert!(made[0].id != made[1].id && made[1].id != made[2].id);
            let parsed: Vec<_> = made.iter().map(|signed| Transaction::parse(&signed.bytes).unwrap()).collect();
            assert_eq!(samara_crypto::verify_transactions(&chain, &parsed), [true; 3]);
        }
        assert!(check_size(104).is_err() && check_size(105).is_ok() && check_size(1232).is_ok() && check_size(1233).is_err());
    }

    #[test]
    fn so_many_keys_sign_in_turn() {
        for senders in [1, 3] {
            let made: Vec<Signed> = start(ChainId([7; 32]), Content::Fixed(vec![1; 8]), senders).iter().take(7).collect();
            let keys: Vec<[u8; 32]> = made.iter().map(|signed| *Transaction::parse(&signed.bytes).unwrap().public_key()).collect();
            let distinct: std::collections::HashSet<_> = keys.iter().collect();
            assert_eq!(distinct.len(), senders);
            assert!(keys.iter().zip(&keys[senders..]).all(|(key, next)| key == next), "after all others each signs again");
        }
    }
}
