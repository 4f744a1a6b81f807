//! Transactions on their way to the leaders that come next.
//!
//! A client's transaction waits in the mempool of the validator that took it and travels, once, to the leaders of the next views, so that the
//! next proposal can carry it. A lost batch costs time, not the transaction: it is proposed when its own validator leads.

use samara_types::message::{TransactionBatch, encode};
use samara_types::{MessageKind, Nanos, transaction};

/// Leaders of this many coming views get new transactions. In sets up to this size that is everybody.
pub const LEADERS: u64 = 8;

/// How long a batch waits to be filled.
pub const WAIT: Nanos = Nanos::from_millis(2);

/// A batch in the making, always of a size that fits one datagram.
#[derive(Default)]
pub struct Batch {
    payload: Vec<u8>,
    /// When the oldest transaction in it has waited enough.
    due: Option<Nanos>,
}

/// Room for transactions in one batch: the message minus the archive's frame of 8 B.
fn room() -> usize {
    MessageKind::Transactions.bytes_max() - 8
}

impl Batch {
    /// Adds a transaction; returns the full batch it no longer fitted into.
    pub fn push(&mut self, now: Nanos, bytes: &[u8]) -> Option<Vec<u8>> {
        let full = (self.payload.len() + 2 + bytes.len() > room()).then(|| self.take()).flatten();
        self.due.get_or_insert(now.after(WAIT));
        transaction::append(&mut self.payload, bytes);
        full
    }

    /// The batch so far as a message; None if it is empty.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.due = None;
        let payload = std::mem::take(&mut self.payload);
        (!payload.is_empty()).then(|| encode(&TransactionBatch { payload }).to_vec())
    }

    /// When the batch should leave, if anything waits in it.
    pub fn due(&self) -> Option<Nanos> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_types::message::{ArchivedTransactionBatch, access};

    #[test]
    fn batches_hold_every_transaction_once_and_fit_their_limit() {
        let transactions: Vec<Vec<u8>> =
            (0..200usize).map(|i| transaction::assemble(&[i as u8; 32], &[2; 64], &vec![7; 8 + (i * 37) % 1100])).collect();
        let mut batch = Batch::default();
        let mut messages: Vec<Vec<u8>> = transactions.iter().filter_map(|t| batch.push(Nanos(0), t)).collect();
        messages.extend(batch.take());
        assert!(batch.take().is_none());
        let mut back = Vec::new();
        for message in &messages {
            assert!(message.len() <= MessageKind::Transactions.bytes_max());
            let archived = access::<ArchivedTransactionBatch>(message).unwrap();
            back.extend(transaction::iterate(&archived.payload).map(|t| t.unwrap().bytes().to_vec()));
        }
        assert_eq!(back, transactions);
    }
}
