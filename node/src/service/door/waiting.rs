//! Which request waits for which transaction, and which transactions are final already.
//!
//! A transaction is asked of the hot reactor once, however many requests name it; its answer goes to all of them. `Finalized` goes out
//! only from [`Waiting::finalized`], which is called after the synced commit. A request that arrives for a final transaction is answered
//! from the recent ones: a bounded map, oldest block out first, rebuilt from the store at start.

use samara_types::TransactionId;
use samara_types::client::{RejectReason, Response};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// One request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    /// The door's number of the connection.
    pub(super) connection: u64,
    /// The client's id of the request.
    pub(super) request: u64,
}

/// What becomes of a request for a transaction with a good signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    /// Final and durable here already.
    Final { height: u64, index: u32 },
    /// Somebody asked before; `accepted` if the hot reactor has said yes.
    Joined { accepted: bool },
    /// To be asked of the hot reactor under this number.
    Ask(u64),
    /// No room for another waiting transaction.
    Full,
}

struct Entry {
    asked: u64,
    since: Instant,
    accepted: bool,
    waiters: Vec<Waiter>,
}

/// All waiting requests.
pub(super) struct Waiting {
    entries: HashMap<TransactionId, Entry>,
    asked: HashMap<u64, TransactionId>,
    next_asked: u64,
    entries_max: usize,
    recent: Recent,
}

impl Waiting {
    pub(super) fn new(entries_max: usize, recent_max: usize) -> Waiting {
        Waiting { entries: HashMap::new(), asked: HashMap::new(), next_asked: 0, entries_max, recent: Recent::new(recent_max) }
    }

    /// Takes a request in that was read at `read_at`.
    pub(super) fn admit(&mut self, id: TransactionId, waiter: Waiter, read_at: Instant) -> Admit {
        if let Some((height, index)) = self.recent.find(&id) {
            return Admit::Final { height, index };
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.waiters.push(waiter);
            return Admit::Joined { accepted: entry.accepted };
        }
        if self.entries.len() >= self.entries_max {
            return Admit::Full;
        }
        let asked = self.next_asked;
        self.next_asked += 1;
        self.entries.insert(id, Entry { asked, since: read_at, accepted: false, waiters: vec![waiter] });
        self.asked.insert(asked, id);
        Admit::Ask(asked)
    }

    /// The hot reactor's answer to `asked`, appended to `answers` for everybody who waits. An answer to nothing is ignored: the transaction
    /// was final before it came.
    pub(super) fn answered(&mut self, asked: u64, response: Response, answers: &mut Vec<(Waiter, Response)>) {
        let Some(id) = self.asked.get(&asked).copied() else { return };
        match response {
            Response::Accepted => {
                let entry = self.entries.get_mut(&id).expect("asked names only ids in entries");
                if !std::mem::replace(&mut entry.accepted, true) {
                    answers.extend(entry.waiters.iter().map(|&waiter| (waiter, Response::Accepted)));
                }
            }
            Response::Rejected(_) => {
                let entry = self.remove(&id).expect("asked names only ids in entries");
                answers.extend(entry.waiters.into_iter().map(|waiter| (waiter, response)));
            }
            Response::Finalized { .. } => self.finish(&id, response, answers),
            Response::Status { .. } => {}
        }
    }

    /// A durable block: answers everybody who waits for one of `ids`, and remembers them. `waited` gets each transaction's first request.
    pub(super) fn finalized(
        &mut self,
        height: u64,
        ids: &[TransactionId],
        answers: &mut Vec<(Waiter, Response)>,
        mut waited: impl FnMut(Instant),
    ) {
        for (index, id) in ids.iter().enumerate() {
            if let Some(entry) = self.entries.get(id) {
                waited(entry.since);
            }
            self.finish(id, Response::Finalized { height, index: index as u32 }, answers);
        }
        self.recent.remember(height, ids);
    }

    /// Remembers a block of an earlier run.
    pub(super) fn remember(&mut self, height: u64, ids: &[TransactionId]) {
        self.recent.remember(height, ids);
    }

    /// Gives every request up: `Dropped` where it was accepted, `Unavailable` where it was not.
    pub(super) fn give_up(&mut self, answers: &mut Vec<(Waiter, Response)>) {
        self.asked.clear();
        for (_, entry) in self.entries.drain() {
            let reason = if entry.accepted { RejectReason::Dropped } else { RejectReason::Unavailable };
            answers.extend(entry.waiters.into_iter().map(|waiter| (waiter, Response::Rejected(reason))));
        }
    }

    /// Drops the requests of connections that are gone; a transaction nobody waits for is forgotten.
    pub(super) fn sweep(&mut self, is_open: impl Fn(u64) -> bool) {
        self.entries.retain(|_, entry| {
            entry.waiters.retain(|waiter| is_open(waiter.connection));
            if entry.waiters.is_empty() {
                self.asked.remove(&entry.asked);
            }
            !entry.waiters.is_empty()
        });
    }

    /// Transactions somebody waits for.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// `Accepted` first where the hot reactor's answer has not come yet: a request has one first answer and one last.
    fn finish(&mut self, id: &TransactionId, last: Response, answers: &mut Vec<(Waiter, Response)>) {
        let Some(entry) = self.remove(id) else { return };
        for waiter in entry.waiters {
            if !entry.accepted {
                answers.push((waiter, Response::Accepted));
            }
            answers.push((waiter, last));
        }
    }

    fn remove(&mut self, id: &TransactionId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.asked.remove(&entry.asked);
        Some(entry)
    }
}

/// 16 of the 32 bytes of an id: half the memory, and a wrong hit still needs a collision of 2^64 work made on purpose.
type Key = [u8; 16];

/// Where recent transactions became final. About 60 B each.
struct Recent {
    places: HashMap<Key, (u64, u32)>,
    blocks: VecDeque<Vec<Key>>,
    places_max: usize,
}

impl Recent {
    fn new(places_max: usize) -> Recent {
        Recent { places: HashMap::new(), blocks: VecDeque::new(), places_max }
    }

    fn find(&self, id: &TransactionId) -> Option<(u64, u32)> {
        self.places.get(&key(id)).copied()
    }

    fn remember(&mut self, height: u64, ids: &[TransactionId]) {
        if ids.is_empty() {
            return;
        }
        let fresh = |(index, id): (usize, &TransactionId)| {
            let key = key(id);
            self.places.insert(key, (height, index as u32));
            key
        };
        let keys = ids.iter().enumerate().map(fresh).collect();
        self.blocks.push_back(keys);
        while self.places.len() > self.places_max && self.blocks.len() > 1 {
            for key in self.blocks.pop_front().expect("more than one block") {
                self.places.remove(&key);
            }
        }
    }
}

fn key(id: &TransactionId) -> Key {
    id.0[..16].try_into().expect("16 of 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Waiter = Waiter { connection: 1, request: 7 };
    const B: Waiter = Waiter { connection: 2, request: 7 };

    fn id(byte: u8) -> TransactionId {
        TransactionId([byte; 32])
    }

    fn final_at(height: u64, index: u32) -> Response {
        Response::Finalized { height, index }
    }

    #[test]
    fn two_requests_for_one_transaction_ask_once_and_both_get_both_answers() {
        let mut waiting = Waiting::new(10, 10);
        let mut answers = Vec::new();
        assert_eq!(waiting.admit(id(1), A, Instant::now()), Admit::Ask(0));
        assert_eq!(waiting.admit(id(1), B, Instant::now()), Admit::Joined { accepted: false });
        waiting.answered(0, Response::Accepted, &mut answers);
        assert_eq!(answers, [(A, Response::Accepted), (B, Response::Accepted)]);
        answers.clear();
        waiting.finalized(5, &[id(9), id(1)], &mut answers, |_| {});
        assert_eq!(answers, [(A, final_at(5, 1)), (B, final_at(5, 1))]);
        assert_eq!(waiting.admit(id(1), A, Instant::now()), Admit::Final { height: 5, index: 1 });
        assert_eq!((waiting.len(), waiting.asked.len()), (0, 0));
    }

    #[test]
    fn finality_before_the_hot_reactors_answer_accepts_first_and_the_late_answer_is_ignored() {
        let mut waiting = Waiting::new(10, 10);
        let mut answers = Vec::new();
        waiting.admit(id(1), A, Instant::now());
        waiting.finalized(3, &[id(1)], &mut answers, |_| {});
        assert_eq!(answers, [(A, Response::Accepted), (A, final_at(3, 0))]);
        answers.clear();
        waiting.answered(0, Response::Accepted, &mut answers);
        assert!(answers.is_empty());
    }

    #[test]
    fn a_transaction_given_up_after_acceptance_is_reported_and_may_be_asked_again() {
        let mut waiting = Waiting::new(10, 10);
        let mut answers = Vec::new();
        waiting.admit(id(1), A, Instant::now());
        waiting.answered(0, Response::Accepted, &mut answers);
        waiting.answered(0, Response::Rejected(RejectReason::Dropped), &mut answers);
        assert_eq!(answers[1], (A, Response::Rejected(RejectReason::Dropped)));
        assert_eq!(waiting.admit(id(1), A, Instant::now()), Admit::Ask(1));
    }

    #[test]
    fn waiting_transactions_and_recent_ones_are_bounded() {
        let mut waiting = Waiting::new(2, 3);
        waiting.admit(id(1), A, Instant::now());
        waiting.admit(id(2), A, Instant::now());
        assert_eq!(waiting.admit(id(3), A, Instant::now()), Admit::Full);
        assert_eq!(waiting.admit(id(2), B, Instant::now()), Admit::Joined { accepted: false });
        waiting.remember(1, &[id(11), id(12)]);
        waiting.remember(2, &[id(13)]);
        assert_eq!(waiting.admit(id(11), A, Instant::now()), Admit::Final { height: 1, index: 0 });
        waiting.remember(3, &[id(14)]);
        assert_eq!(waiting.recent.find(&id(11)), None);
        assert_eq!(waiting.recent.find(&id(13)), Some((2, 0)));
        assert_eq!(waiting.recent.places.len(), 2);
    }

    #[test]
    fn sweeping_forgets_requests_of_closed_connections_only() {
        let mut waiting = Waiting::new(10, 10);
        waiting.admit(id(1), A, Instant::now());
        waiting.admit(id(1), B, Instant::now());
        waiting.admit(id(2), A, Instant::now());
        waiting.sweep(|connection| connection == B.connection);
        assert_eq!((waiting.len(), waiting.asked.len()), (1, 1));
        let mut answers = Vec::new();
        waiting.give_up(&mut answers);
        assert_eq!(answers, [(B, Response::Rejected(RejectReason::Unavailable))]);
    }
}
