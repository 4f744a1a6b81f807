//! The default application: opaque transactions, each signed with Ed25519, each at most once.
//!
//! Exactly once: a block at height h is invalid if it repeats a transaction of itself or of an ancestor at a height above
//! `h - 1 - dedup_heights`. The rule names heights of the chain only, so every validator judges alike, whatever its tip. A client that
//! submits the very same bytes again after that many heights may see them included again.

use crate::app::{Application, Proposal, Verdict};
use crate::mempool::{Mempool, MempoolReject};
use samara_crypto::{TransactionVerifier, VerifiedTransaction};
use samara_types::{Block, ChainId, Digest, Height, Transaction, TransactionId, transaction};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Share of the mempool that gossip may fill, in percent; the rest is for this validator's own clients.
const GOSSIP_SHARE: usize = 80;

/// Ids of finalized transactions within the retention, with the height they stand at.
///
/// 128 of 256 bits of an id are kept: enough that no two can be made to collide, and half the memory.
#[derive(Debug)]
pub struct Finality {
    retention: u64,
    heights: HashMap<u128, u64>,
    order: VecDeque<(u64, Vec<u128>)>,
}

fn short(id: &TransactionId) -> u128 {
    u128::from_le_bytes(id.0[..16].try_into().expect("16 of 32 bytes"))
}

impl Finality {
    /// Nothing finalized yet.
    pub fn new(retention: u32) -> Finality {
        Finality { retention: retention.into(), heights: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether a block at `height` may not carry this transaction because an ancestor does.
    pub fn repeats(&self, id: &TransactionId, height: Height) -> bool {
        self.repeated_at(id, height).is_some()
    }

    /// The height at which an ancestor within the retention carries it.
    pub fn repeated_at(&self, id: &TransactionId, height: Height) -> Option<Height> {
        self.heights.get(&short(id)).filter(|at| **at + self.retention >= height.0).map(|at| Height(*at))
    }

    fn add(&mut self, height: Height, ids: impl Iterator<Item = TransactionId>) {
        let ids: Vec<u128> = ids.map(|id| short(&id)).collect();
        for id in &ids {
            self.heights.insert(*id, height.0);
        }
        self.order.push_back((height.0, ids));
        while self.order.front().is_some_and(|(oldest, _)| oldest + self.retention < height.0) {
            let (oldest, ids) = self.order.pop_front().expect("a front was just seen");
            for id in ids {
                if self.heights.get(&id) == Some(&oldest) {
                    self.heights.remove(&id);
                }
            }
        }
    }

    /// Number of ids remembered.
    pub fn len(&self) -> usize {
        self.heights.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.heights.is_empty()
    }
}

/// Mempool, deduplication and block rules of opaque transactions.
#[derive(Debug)]
pub struct TransactionApp {
    chain: ChainId,
    verifier: TransactionVerifier,
    mempool: Mempool,
    finality: Finality,
    /// Ids of each judged or built block above the tip, by block digest.
    included: HashMap<Digest, (Height, Arc<HashSet<TransactionId>>)>,
    /// How many blocks above the tip carry a transaction.
    carried: HashMap<TransactionId, u32>,
}

impl TransactionApp {
    /// An application with nothing finalized.
    pub fn new(chain: ChainId, dedup_heights: u32, transactions_max: usize, bytes_max: usize) -> TransactionApp {
        TransactionApp {
            chain,
            verifier: TransactionVerifier::new(chain),
            mempool: Mempool::new(transactions_max, bytes_max),
            finality: Finality::new(dedup_heights),
            included: HashMap::new(),
            carried: HashMap::new(),
        }
    }

    /// Takes a verified transaction of a client of this validator.
    pub fn submit(&mut self, transaction: VerifiedTransaction, next: Height) -> Result<(), MempoolReject> {
        self.insert(transaction, next, 100)
    }

    /// Takes a verified transaction from a peer.
    pub fn gossip(&mut self, transaction: VerifiedTransaction, next: Height) -> Result<(), MempoolReject> {
        self.insert(transaction, next, GOSSIP_SHARE)
    }

    fn insert(&mut self, transaction: VerifiedTransaction, next: Height, share: usize) -> Result<(), MempoolReject> {
        if let Some(height) = self.finality.repeated_at(&transaction.id(), next) {
            return Err(MempoolReject::Finalized(height));
        }
        self.mempool.insert(transaction, share)
    }

    /// The queue.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Ids remembered as final.
    pub fn finality(&self) -> &Finality {
        &self.finality
    }

    fn ids_of(&mut self, block: &Block) -> Arc<HashSet<TransactionId>> {
        if let Some((_, known)) = self.included.get(&block.digest()) {
            return Arc::clone(known);
        }
        let ids: HashSet<_> = transaction::iterate(block.payload()).flatten().map(|t| t.id(&self.chain)).collect();
        self.remember(block, ids)
    }

    fn remember(&mut self, block: &Block, ids: HashSet<TransactionId>) -> Arc<HashSet<TransactionId>> {
        if let Some((_, known)) = self.included.get(&block.digest()) {
            return Arc::clone(known);
        }
        for id in &ids {
            *self.carried.entry(*id).or_default() += 1;
        }
        let ids = Arc::new(ids);
        self.included.insert(block.digest(), (block.header().height, Arc::clone(&ids)));
        ids
    }

    fn forget_up_to(&mut self, height: Height) {
        let gone: Vec<Digest> = self.included.iter().filter(|(_, (at, _))| *at <= height).map(|(digest, _)| *digest).collect();
        for digest in gone {
            let (_, ids) = self.included.remove(&digest).expect("collected from this map");
            for id in ids.iter() {
                let count = self.carried.get_mut(id).expect("every included id is counted");
                *count -= 1;
                if *count == 0 {
                    self.carried.remove(id);
                }
            }
        }
    }
}

impl Application for TransactionApp {
    fn propose(&mut self, proposal: Proposal, ancestors: &[Arc<Block>], bytes_max: usize) -> Vec<u8> {
        let taken: Vec<_> = ancestors.iter().map(|block| self.ids_of(block)).collect();
        let mut payload = Vec::new();
        for transaction in self.mempool.iter() {
            let id = transaction.id();
            if taken.iter().any(|ids| ids.contains(&id)) || self.finality.repeats(&id, proposal.height) {
                continue;
            }
            if payload.len() + 2 + transaction.bytes().len() > bytes_max {
                break;
            }
            transaction::append(&mut payload, transaction.bytes());
        }
        payload
    }

    fn verify(&mut self, block: &Block, ancestors: &[Arc<Block>]) -> Verdict {
        let Ok(transactions) = transaction::iterate(block.payload()).collect::<Result<Vec<Transaction<'_>>, _>>() else {
            return Verdict::Invalid;
        };
        let taken: Vec<_> = ancestors.iter().map(|ancestor| self.ids_of(ancestor)).collect();
        let mut ids = HashSet::with_capacity(transactions.len());
        let mut unverified = Vec::new();
        for transaction in &transactions {
            let id = transaction.id(&self.chain);
            let repeated = self.finality.repeats(&id, block.header().height) || taken.iter().any(|taken| taken.contains(&id));
            if repeated || !ids.insert(id) {
                return Verdict::Invalid;
            }
            // The id does not cover the signature, so only the very bytes that were verified before are verified already.
            if !self.mempool_holds(&id, transaction) {
                unverified.push(*transaction);
            }
        }
        if !self.verifier.verify_transactions(&unverified).into_iter().all(|valid| valid) {
            return Verdict::Invalid;
        }
        self.remember(block, ids);
        Verdict::Valid
    }

    fn finalize(&mut self, block: &Block) {
        let ids = self.ids_of(block);
        self.finality.add(block.header().height, ids.iter().copied());
        for id in ids.iter() {
            self.mempool.remove(id);
        }
        self.forget_up_to(block.header().height);
    }

    fn has_work(&self) -> bool {
        self.mempool.iter().any(|transaction| !self.carried.contains_key(&transaction.id()))
    }
}

impl TransactionApp {
    fn mempool_holds(&self, id: &TransactionId, transaction: &Transaction<'_>) -> bool {
        self.mempool.get(id).is_some_and(|held| held.bytes() == transaction.bytes())
    }
}

#[cfg(test)]
mod tests;
