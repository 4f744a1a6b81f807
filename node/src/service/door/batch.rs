//! Signature verification of submissions, many at a time.
//!
//! A batch closes after [`BATCH_WAIT`] or at [`BATCH_MAX`] submissions: a lone transaction waits two milliseconds, a flood pays for one batch
//! per 64. Between batches every other task has its turn.

use super::super::link::{breathe, within};
use super::waiting::Admit;
use super::{Door, Submission};
use crate::bridge::{Ticket, ToHot};
use samara_crypto::{TransactionVerifier, VerifiedTransaction};
use samara_types::client::{RejectReason, Response};
use std::rc::Rc;
use std::time::Duration;

/// Submissions of one batch. An Ed25519 batch gains little beyond this, and it is the longest the executor is held (about 2 ms).
pub(super) const BATCH_MAX: usize = 64;
/// How long the first submission of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_millis(2);

impl Door {
    /// Verifies submissions for ever.
    pub(in super::super) async fn verify(self: Rc<Self>) {
        let mut verifier = TransactionVerifier::new(self.chain);
        loop {
            self.queued.wait().await;
            if self.queue.borrow().len() < BATCH_MAX {
                within(BATCH_WAIT, self.batch_full.wait()).await;
            }
            loop {
                let batch = self.take_batch();
                if batch.is_empty() {
                    break;
                }
                self.verify_one_batch(&mut verifier, batch);
                breathe().await;
            }
        }
    }

    fn take_batch(&self) -> Vec<Submission> {
        let mut queue = self.queue.borrow_mut();
        let size = queue.len().min(BATCH_MAX);
        queue.drain(..size).collect()
    }

    fn verify_one_batch(&self, verifier: &mut TransactionVerifier, mut batch: Vec<Submission>) {
        let raw = batch.iter_mut().map(|submission| std::mem::take(&mut submission.transaction)).collect();
        let verdicts = verifier.verify_batch(raw);
        self.counters.borrow_mut().verify_batches += 1;
        for (submission, verdict) in batch.iter().zip(verdicts) {
            match verdict {
                Ok(transaction) => self.admit(submission, transaction),
                Err(reason) => self.send(submission.waiter, Response::Rejected(reason)),
            }
            let micros = submission.read_at.elapsed().as_micros() as u64;
            self.counters.borrow_mut().ingress_us.record(micros);
        }
    }

    fn admit(&self, submission: &Submission, transaction: VerifiedTransaction) {
        let waiter = submission.waiter;
        let admitted = self.waiting.borrow_mut().admit(transaction.id(), waiter, submission.read_at);
        match admitted {
            Admit::Final { height, index } => {
                self.counters.borrow_mut().resubmissions += 1;
                self.send(waiter, Response::Accepted);
                self.send(waiter, Response::Finalized { height, index });
            }
            Admit::Joined { accepted: true } => self.send(waiter, Response::Accepted),
            Admit::Joined { accepted: false } => {}
            Admit::Ask(asked) => {
                let ticket = Ticket { connection: waiter.connection, request: asked };
                if !self.hot.offer(ToHot::Submit { ticket, transaction }) {
                    self.answered(asked, Response::Rejected(RejectReason::MempoolFull));
                }
            }
            Admit::Full => self.send(waiter, Response::Rejected(RejectReason::MempoolFull)),
        }
    }
}
