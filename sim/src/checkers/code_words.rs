//! T16: a body that a correct validator stands behind is what its digest says, down to the coding: cut into slices and coded again, each root is the
//! BLAKE3 hash of its code word.
//!
//! A root that is no code word has no right content, only the contents that one or another set of its chunks decodes to. Whoever takes such a
//! slice has a verdict that depends on which shreds came first, and the cluster falls apart over it.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};
use samara_erasure::Coder;
use samara_rotor::Planner;
use samara_types::{Block, Digest, ShredIndex, SliceIndex};
use std::collections::BTreeSet;

/// See the module.
pub struct CodeWords {
    hostile: Vec<bool>,
    planner: Planner,
    coder: Coder,
    good: BTreeSet<Digest>,
}

impl CodeWords {
    /// No body seen.
    pub fn new(facts: &Facts) -> CodeWords {
        let planner = Planner::new(&facts.params, facts.cluster.plain.set());
        CodeWords { hostile: facts.hostile.clone(), planner, coder: Coder::new(), good: BTreeSet::new() }
    }

    /// The first slice whose root is not that of its code word.
    fn wrong_slice(&mut self, block: &Block) -> Option<String> {
        let Some(plan) = self.planner.plan(block.header().block_bytes()) else { return Some("a size that no block has".to_string()) };
        if plan.slices() != block.roots().len() {
            return Some(format!("{} roots for {} slices", block.roots().len(), plan.slices()));
        }
        let bytes = [&block.header().to_bytes()[..], block.payload()].concat();
        for (root, slice) in block.roots().iter().zip((0..).map(SliceIndex)) {
            let shape = plan.shape(slice);
            let word = self.coder.encode(&bytes[plan.range(slice)], shape.data, shape.total);
            let mut hasher = blake3::Hasher::new();
            (0..shape.total).for_each(|index| {
                hasher.update(word.chunk(ShredIndex(index)));
            });
            if hasher.finalize().as_bytes() != &root.0 {
                return Some(format!("slice {slice} is not the code word of its root {root}"));
            }
        }
        None
    }
}

impl Checker for CodeWords {
    fn observe(&mut self, event: &Event, _: Option<&Said>, court: &mut Court) {
        let What::BodyDurable(block) = &event.what else { return };
        if self.hostile[event.node] || self.good.contains(&block.digest()) {
            return;
        }
        match self.wrong_slice(block) {
            None => {
                self.good.insert(block.digest());
            }
            Some(how) => {
                let (node, view) = (event.node, block.header().view);
                court.accuse(Promise::Agreement, format!("T16: validator {node} stands behind a body of view {view} with {how}"));
            }
        }
    }
}
