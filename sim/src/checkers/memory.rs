//! I21, I22: what a validator holds stays below bounds that follow from the configuration, restated here.
//!
//! What lies between the view a validator is in and the last final one is held too. Both are as seen: a view it entered (which `quorums` wants proof of)
//! and a block it called final (which `agreement` and `certificates` judge), not what it says of itself.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, Held, What};
use samara_types::{Height, View};
use std::collections::{BTreeMap, BTreeSet};

/// Views ahead and retained, restated from the limits of rotor and consensus.
const REASSEMBLY_VIEWS: u64 = 64 + 32 + 2;
const VIEWS_AHEAD: u64 = 64;

/// See the module.
pub struct Memory {
    bound: Held,
    /// The view each process is in, and of the last block final to it.
    inside: Vec<View>,
    tips: Vec<View>,
    /// The view of every final block, for what a process recovers.
    chain: BTreeMap<Height, View>,
    /// Views each validator has recorded anything of.
    recorded: Vec<BTreeSet<View>>,
    /// Who has lost its disk or a part of it: all that its log says lies above its tip then.
    lost: Vec<bool>,
}

impl Memory {
    /// Bounds of a chain with these parameters.
    pub fn new(facts: &Facts) -> Memory {
        // Sixteen views as large as a view can get: two variants of every slice of 32 shreds of a datagram each, and flat charges.
        let slices = (104 + u64::from(facts.params.payload_bytes_max)).div_ceil(32 * 1_024);
        let view = slices * 2 * (32 * 1_400 + 4_096) + 16_384;
        Memory {
            bound: Held {
                // Certified blocks in repair come on top, 32 of them.
                reassembly_bytes: 16 * view + 32 * view,
                reassembly_views: u64::MAX,
                mempool_transactions: facts.mempool.transactions_max as u64,
                mempool_bytes: facts.mempool.bytes_max as u64,
                open_views: 0,
            },
            inside: vec![View(0); facts.stakes.len()],
            tips: vec![View(0); facts.stakes.len()],
            chain: BTreeMap::from([(Height(0), View(0))]),
            recorded: vec![BTreeSet::new(); facts.stakes.len()],
            lost: vec![false; facts.stakes.len()],
        }
    }
}

impl Checker for Memory {
    fn observe(&mut self, event: &Event, _: Option<&Said>, court: &mut Court) {
        let held = match &event.what {
            What::Held(held) => held,
            What::Started { height, .. } => return self.tips[event.node] = self.chain.get(height).copied().unwrap_or_default(),
            What::Entered(view) => return self.inside[event.node] = *view,
            What::Finalized(finalized) => {
                self.chain.insert(finalized.header.height, finalized.header.view);
                return self.tips[event.node] = finalized.header.view;
            }
            What::Wiped => return self.lost[event.node] = true,
            What::Durable(record) => {
                self.recorded[event.node].insert(record.view());
                return;
            }
            _ => return,
        };
        let bound = &self.bound;
        let span = self.inside[event.node].0.saturating_sub(self.tips[event.node].0);
        let own = if self.lost[event.node] { self.recorded[event.node].len() as u64 } else { 0 };
        let parts = [
            ("reassembly bytes", held.reassembly_bytes, bound.reassembly_bytes),
            ("reassembly views", held.reassembly_views, REASSEMBLY_VIEWS + span),
            ("mempool transactions", held.mempool_transactions, bound.mempool_transactions),
            ("mempool bytes", held.mempool_bytes, bound.mempool_bytes),
            ("open views", held.open_views, span + VIEWS_AHEAD + 1 + own),
        ];
        for (what, value, limit) in parts.into_iter().filter(|(_, value, limit)| value > limit) {
            court.accuse(Promise::Memory, format!("validator {} holds {value} {what}, at most {limit} are allowed", event.node));
        }
    }
}
