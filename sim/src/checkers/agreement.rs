//! I1: finalized chains are prefixes of one chain; a block is final with its ancestors, each the parent of the next; what was stored stays.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};
use samara_types::block::genesis_digest;
use samara_types::{Digest, Height, View};
use std::collections::BTreeMap;

/// See the module.
pub struct Agreement {
    chain: BTreeMap<Height, (Digest, View)>,
    /// Height of the last block each process finalized, counted from the tip it recovered.
    tips: Vec<Height>,
    stored: Vec<Height>,
}

impl Agreement {
    /// At genesis.
    pub fn new(facts: &Facts) -> Agreement {
        let genesis = genesis_digest(&facts.cluster.chain());
        let validators = facts.stakes.len();
        let chain = BTreeMap::from([(Height(0), (genesis, View(0)))]);
        Agreement { chain, tips: vec![Height(0); validators], stored: vec![Height(0); validators] }
    }
}

impl Checker for Agreement {
    fn observe(&mut self, event: &Event, _: Option<&Said>, court: &mut Court) {
        let node = event.node;
        match &event.what {
            What::Started { height, .. } => {
                if *height < self.stored[node] {
                    let text = format!("validator {node} had stored height {}, recovered {height}", self.stored[node]);
                    court.accuse(Promise::Agreement, text);
                }
                self.tips[node] = *height;
            }
            What::Wiped => self.stored[node] = Height(0),
            What::Stored(height) => self.stored[node] = self.stored[node].max(*height),
            What::Finalized(finalized) => {
                let header = &finalized.header;
                if header.height != self.tips[node].next() {
                    let text = format!("validator {node} finalized height {} after {}", header.height, self.tips[node]);
                    court.accuse(Promise::Agreement, text);
                }
                self.tips[node] = header.height;
                let known = *self.chain.entry(header.height).or_insert((finalized.digest, header.view));
                if known != (finalized.digest, header.view) {
                    let text = format!(
                        "height {}: validator {node} finalized {} of view {}, others {} of view {}",
                        header.height, finalized.digest, header.view, known.0, known.1
                    );
                    court.accuse(Promise::Agreement, text);
                }
                let parent = self.chain.get(&Height(header.height.0.saturating_sub(1))).copied();
                if parent.is_some_and(|parent| parent != (header.parent_digest, header.parent_view)) {
                    let text = format!("height {}: validator {node} finalized a block that is no child of the one below", header.height);
                    court.accuse(Promise::Agreement, text);
                }
            }
            What::Chain(digests) => {
                if (digests.len() as u64) < self.stored[node].0 {
                    let text = format!("validator {node} had stored height {}, holds {}", self.stored[node], digests.len());
                    court.accuse(Promise::Agreement, text);
                }
                for (height, digest) in (1..).map(Height).zip(digests) {
                    if self.chain.get(&height).is_some_and(|(known, _)| known != digest) {
                        court.accuse(Promise::Agreement, format!("validator {node} stores another block at height {height}"));
                    }
                }
            }
            _ => {}
        }
    }
}
