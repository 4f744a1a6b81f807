//! Every transaction is in at most one block of a chain, and what a client was told to be final is in that block everywhere, for ever.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};
use samara_types::{Digest, Height, TransactionId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub struct Transactions {
    hostile: Vec<bool>,
    /// Where each transaction is final.
    places: BTreeMap<TransactionId, Height>,
    /// Blocks whose transactions are booked.
    booked: BTreeSet<(Height, Digest)>,
    contents: BTreeMap<Height, (Digest, BTreeSet<TransactionId>)>,
    offered: BTreeSet<TransactionId>,
    acknowledged: BTreeMap<TransactionId, (usize, Height)>,
    /// The lowest stored chain of a correct validator at the end need not hold it, its acknowledger's must.
    chains: BTreeMap<usize, Vec<Digest>>,
    /// What each block store reaches to, where it was lost once: it need not hold again what it held.
    reaches: BTreeMap<usize, Height>,
}

impl Transactions {
    /// Nothing offered.
    pub fn new(facts: &Facts) -> Transactions {
        Transactions {
            hostile: facts.hostile.clone(),
            places: BTreeMap::new(),
            booked: BTreeSet::new(),
            contents: BTreeMap::new(),
            offered: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            chains: BTreeMap::new(),
            reaches: BTreeMap::new(),
        }
    }
}

impl Checker for Transactions {
    fn observe(&mut self, event: &Event, _: Option<&Said>, court: &mut Court) {
        match &event.what {
            What::Offered(id) => {
                self.offered.insert(*id);
            }
            What::Finalized(finalized) => {
                let height = finalized.header.height;
                if !self.booked.insert((height, finalized.digest)) {
                    return;
                }
                for id in &finalized.transactions {
                    if let Some(before) = self.places.insert(*id, height) {
                        court.accuse(Promise::Transactions, format!("{id:?} is final at heights {before} and {height}"));
                    }
                    if !self.offered.contains(id) {
                        court.accuse(Promise::Transactions, format!("{id:?} at height {height} was never offered"));
                    }
                }
                let ids = finalized.transactions.iter().copied().collect();
                self.contents.insert(height, (finalized.digest, ids));
            }
            What::Acknowledged(id, height) => {
                if self.places.get(id) != Some(height) {
                    court.accuse(Promise::Transactions, format!("{id:?} was acknowledged at height {height}, where it is not"));
                }
                self.acknowledged.insert(*id, (event.node, *height));
            }
            What::Wiped => {
                self.reaches.insert(event.node, Height(0));
            }
            What::Stored(height) => {
                self.reaches.entry(event.node).and_modify(|reached| *reached = *height);
            }
            What::Chain(digests) if !self.hostile[event.node] => {
                self.chains.insert(event.node, digests.clone());
            }
            _ => {}
        }
    }

    fn finish(&mut self, court: &mut Court) {
        for (id, (node, height)) in &self.acknowledged {
            let Some((digest, ids)) = self.contents.get(height) else { continue };
            let at = height.0 as usize - 1;
            let holders = self.chains.values().filter(|chain| chain.get(at) == Some(digest)).count();
            let by_acknowledger = self.chains.get(node).is_some_and(|chain| chain.get(at) == Some(digest));
            let lost = self.reaches.get(node).is_some_and(|reached| reached < height);
            if !ids.contains(id) || holders == 0 || !(by_acknowledger || lost) {
                let text = format!("{id:?}, acknowledged by validator {node} at height {height}, is lost: {holders} hold its block");
                court.accuse(Promise::Transactions, text);
            }
        }
    }
}
