//! Clients: each has one transaction, gives it to a validator, and to another one if it hears nothing.

use crate::dice::Dice;
use crate::swarm::Plan;
use samara_types::{Nanos, TransactionId};
use std::collections::BTreeMap;

/// A client asks elsewhere after this long.
const PATIENCE: Nanos = Nanos::from_millis(2_000);
/// A refused connection is noticed at once.
const REFUSED: Nanos = Nanos::from_millis(50);
/// Then it gives up.
const ATTEMPTS_MAX: u32 = 20;

struct Client {
    data_bytes: usize,
    attempts: u32,
    acknowledged: bool,
}

/// All clients of a run, by the nonce of their transaction.
pub struct Clients {
    clients: BTreeMap<u64, Client>,
    by_id: BTreeMap<TransactionId, u64>,
    dice: Dice,
    starts: Vec<(Nanos, u64)>,
    validators: usize,
    data_bytes_max: u64,
}

impl Clients {
    /// The clients of a plan.
    pub fn new(plan: &Plan, dice: Dice) -> Clients {
        let mut clients = Clients {
            clients: BTreeMap::new(),
            by_id: BTreeMap::new(),
            dice,
            starts: Vec::new(),
            validators: plan.validators(),
            data_bytes_max: plan.load.data_bytes_max,
        };
        let offered = plan.load.per_second * plan.faults_for.0 / 1_000_000_000;
        for _ in 0..offered {
            let at = Nanos(clients.dice.below(plan.faults_for.0));
            clients.add(at);
        }
        clients
    }

    fn add(&mut self, at: Nanos) -> u64 {
        let nonce = self.clients.len() as u64;
        let data_bytes = self.dice.below(self.data_bytes_max + 1) as usize;
        self.clients.insert(nonce, Client { data_bytes, attempts: 0, acknowledged: false });
        self.starts.push((at, nonce));
        nonce
    }

    /// When each first speaks.
    pub fn schedule(&self) -> Vec<(Nanos, u64)> {
        self.starts.clone()
    }

    /// One client more at every validator, for the time after the faults.
    pub fn final_round(&mut self, now: Nanos) -> Vec<(Nanos, u64)> {
        (0..self.validators).map(|_| (now, self.add(now))).collect()
    }

    /// Whom a client turns to, and when it looks again. `up` says which honest validators listen.
    pub fn turn(&mut self, nonce: u64, up: &[bool]) -> (Option<usize>, Option<Nanos>) {
        let Some(client) = self.clients.get_mut(&nonce).filter(|client| !client.acknowledged && client.attempts < ATTEMPTS_MAX) else {
            return (None, None);
        };
        client.attempts += 1;
        let seat = self.dice.below(up.len() as u64) as usize;
        if up[seat] { (Some(seat), Some(PATIENCE)) } else { (None, Some(REFUSED)) }
    }

    /// Bytes of data in a client's transaction.
    pub fn data_bytes(&self, nonce: u64) -> usize {
        self.clients.get(&nonce).map_or(0, |client| client.data_bytes)
    }

    /// What a client's transaction is called.
    pub fn named(&mut self, nonce: u64, id: TransactionId) {
        self.by_id.insert(id, nonce);
    }

    /// A client heard that its transaction is final.
    pub fn acknowledged(&mut self, id: &TransactionId) {
        if let Some(client) = self.by_id.get(id).and_then(|nonce| self.clients.get_mut(nonce)) {
            client.acknowledged = true;
        }
    }
}
