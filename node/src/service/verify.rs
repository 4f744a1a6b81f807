//! Gossiped transactions: parsed, verified as one batch, handed to the hot reactor. Low class: the first thing to be shed. The hot reactor
//! hands payloads over many at a time, so that the signatures of one wake-up share a batch.
//!
//! Payloads beyond [`PAYLOADS_MAX`] are dropped and counted, and so is what the hot reactor has no room for; nobody waits for gossip.

use super::Shared;
use super::link::{Signal, breathe};
use super::telemetry::count;
use crate::bridge::ToHot;
use samara_crypto::TransactionVerifier;
use samara_types::ValidatorIndex;
use samara_types::client::RejectReason;
use samara_types::transaction::iterate;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Payloads that may wait, each at most one datagram.
pub(super) const PAYLOADS_MAX: usize = 1_024;
/// Transactions of one batch: the longest this task holds the executor (about 1 ms).
const BATCH_MAX: usize = 64;

/// Payloads that wait for verification.
#[derive(Default)]
pub(super) struct Gossip {
    queue: RefCell<VecDeque<(ValidatorIndex, Vec<u8>)>>,
    queued: Signal,
}

impl Gossip {
    /// Takes a payload; false if it was shed.
    pub(super) fn push(&self, from: ValidatorIndex, payload: Vec<u8>) -> bool {
        let mut queue = self.queue.borrow_mut();
        let room = queue.len() < PAYLOADS_MAX;
        if room {
            queue.push_back((from, payload));
            self.queued.raise();
        }
        room
    }

    /// Transactions of whole payloads, about a batch of them; None if nothing waits. A malformed payload is dropped whole.
    fn take_batch(&self, malformed: &mut Vec<ValidatorIndex>) -> Option<Vec<Vec<u8>>> {
        let mut queue = self.queue.borrow_mut();
        let mut batch = Vec::new();
        if queue.is_empty() {
            return None;
        }
        while batch.len() < BATCH_MAX {
            let Some((from, payload)) = queue.pop_front() else { break };
            match iterate(&payload).map(|parsed| parsed.map(|transaction| transaction.bytes().to_vec())).collect::<Result<Vec<_>, _>>() {
                Ok(transactions) => batch.extend(transactions),
                Err(_) => malformed.push(from),
            }
        }
        Some(batch)
    }
}

/// Verifies for ever.
pub(super) async fn run(shared: Rc<Shared>) {
    let mut verifier = TransactionVerifier::new(shared.chain);
    loop {
        let mut malformed = Vec::new();
        match shared.gossip.take_batch(&mut malformed) {
            None => shared.gossip.queued.wait().await,
            Some(batch) => {
                for from in malformed {
                    tracing::debug!(%from, "malformed gossip payload");
                    count(&mut shared.counters.borrow_mut().gossip_dropped, RejectReason::Malformed.as_str());
                }
                verify_one_batch(&shared, &mut verifier, batch);
                breathe().await;
            }
        }
    }
}

fn verify_one_batch(shared: &Shared, verifier: &mut TransactionVerifier, batch: Vec<Vec<u8>>) {
    if batch.is_empty() {
        return;
    }
    let mut good = Vec::with_capacity(batch.len());
    let verdicts = verifier.verify_batch(batch);
    let mut counters = shared.counters.borrow_mut();
    for verdict in verdicts {
        match verdict {
            Ok(transaction) => good.push(transaction),
            Err(reason) => count(&mut counters.gossip_dropped, reason.as_str()),
        }
    }
    let verified = good.len() as u64;
    if verified > 0 && shared.hot.offer(ToHot::Gossip(good)) {
        counters.gossip_transactions += verified;
    } else if verified > 0 {
        count(&mut counters.gossip_dropped, "ring_full");
    }
}
