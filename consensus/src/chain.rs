//! Blocks above the finalized tip, and how they hang together.

use samara_types::{Block, BlockHeader, Digest, Height, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The last finalized block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its view.
    pub view: View,
    /// Its height.
    pub height: Height,
    /// Its digest.
    pub digest: Digest,
}

/// What lies between the tip and a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lineage {
    /// All blocks above the tip up to and including the one asked for, oldest first. Empty for the tip itself.
    Complete(Vec<Arc<Block>>),
    /// The body of this ancestor (or of the block itself) is not here yet.
    Missing(View, Digest),
    /// The block does not descend from the tip.
    Fork,
}

/// Bodies of unfinalized blocks by (view, digest).
#[derive(Debug)]
pub struct Chain {
    tip: Tip,
    blocks: BTreeMap<(View, Digest), Arc<Block>>,
}

impl Chain {
    /// An empty tree above `tip`.
    pub fn new(tip: Tip) -> Chain {
        Chain { tip, blocks: BTreeMap::new() }
    }

    /// The finalized tip.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Keeps a body. Blocks at or below the tip are of no use and ignored.
    pub fn insert(&mut self, block: Arc<Block>) {
        if block.header().view > self.tip.view {
            self.blocks.insert((block.header().view, block.digest()), block);
        }
    }

    /// A body.
    pub fn get(&self, view: View, digest: &Digest) -> Option<&Arc<Block>> {
        self.blocks.get(&(view, *digest))
    }

    /// Number of bodies held.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether no body is held.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The blocks above the tip up to (`view`, `digest`).
    pub fn lineage(&self, view: View, digest: &Digest) -> Lineage {
        let (mut view, mut digest) = (view, *digest);
        let mut path = Vec::new();
        loop {
            if view <= self.tip.view {
                let on_tip = view == self.tip.view && digest == self.tip.digest;
                path.reverse();
                return if on_tip && self.heights_follow(&path) { Lineage::Complete(path) } else { Lineage::Fork };
            }
            let Some(block) = self.blocks.get(&(view, digest)) else { return Lineage::Missing(view, digest) };
            path.push(Arc::clone(block));
            (view, digest) = (block.header().parent_view, block.header().parent_digest);
        }
    }

    fn heights_follow(&self, path: &[Arc<Block>]) -> bool {
        path.iter().zip(self.tip.height.0 + 1..).all(|(block, height)| block.header().height.0 == height)
    }

    /// Whether `header` names the tip as its parent, one height below.
    pub fn extends_tip(&self, header: &BlockHeader) -> bool {
        header.parent_view == self.tip.view && header.parent_digest == self.tip.digest && header.height == self.tip.height.next()
    }

    /// Moves the tip to a finalized child and drops everything at or below it.
    pub fn finalize(&mut self, block: &Block) {
        assert!(self.extends_tip(block.header()), "only a child of the tip is finalized");
        self.tip = Tip { view: block.header().view, height: block.header().height, digest: block.digest() };
        let keep = self.blocks.split_off(&(self.tip.view.next(), Digest::ZERO));
        self.blocks = keep;
    }

    /// Drops bodies nobody can build on: those of views in which `dead` says no certificate ever named them.
    pub fn retain(&mut self, mut keep: impl FnMut(View, &Digest) -> bool) {
        self.blocks.retain(|(view, digest), _| keep(*view, digest));
    }
}
