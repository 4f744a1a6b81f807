//! Transactions waiting for a block: first in, first out, bounded in number and bytes.

use samara_crypto::VerifiedTransaction;
use samara_types::{Height, TransactionId};
use std::collections::{BTreeMap, HashMap};

/// Why a transaction was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MempoolReject {
    /// Here already.
    Duplicate,
    /// Number or bytes at the limit.
    Full,
    /// Final already, at this height.
    Finalized(Height),
}

impl MempoolReject {
    /// Label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "mempool_duplicate",
            Self::Full => "mempool_full",
            Self::Finalized(_) => "mempool_finalized",
        }
    }
}

/// The queue. Order is arrival; removal is by id.
#[derive(Debug)]
pub struct Mempool {
    queue: BTreeMap<u64, VerifiedTransaction>,
    places: HashMap<TransactionId, u64>,
    next: u64,
    bytes: usize,
    transactions_max: usize,
    bytes_max: usize,
}

impl Mempool {
    /// An empty queue with both limits.
    pub fn new(transactions_max: usize, bytes_max: usize) -> Mempool {
        Mempool { queue: BTreeMap::new(), places: HashMap::new(), next: 0, bytes: 0, transactions_max, bytes_max }
    }

    /// Appends a transaction. `share` in percent of both limits: gossip may fill less than clients, so it is shed first.
    pub fn insert(&mut self, transaction: VerifiedTransaction, share: usize) -> Result<(), MempoolReject> {
        if self.places.contains_key(&transaction.id()) {
            return Err(MempoolReject::Duplicate);
        }
        let bytes = self.bytes + transaction.bytes().len();
        if self.queue.len() >= self.transactions_max / 100 * share || bytes > self.bytes_max / 100 * share {
            return Err(MempoolReject::Full);
        }
        self.bytes = bytes;
        self.places.insert(transaction.id(), self.next);
        self.queue.insert(self.next, transaction);
        self.next += 1;
        Ok(())
    }

    /// Removes a transaction; false if it was not here.
    pub fn remove(&mut self, id: &TransactionId) -> bool {
        let Some(place) = self.places.remove(id) else { return false };
        let transaction = self.queue.remove(&place).expect("places and queue hold the same transactions");
        self.bytes -= transaction.bytes().len();
        true
    }

    /// Whether a transaction is here: then its signature has been verified.
    pub fn contains(&self, id: &TransactionId) -> bool {
        self.places.contains_key(id)
    }

    /// A transaction by id.
    pub fn get(&self, id: &TransactionId) -> Option<&VerifiedTransaction> {
        self.places.get(id).and_then(|place| self.queue.get(place))
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &VerifiedTransaction> {
        self.queue.values()
    }

    /// Number of transactions.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of all transactions.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
