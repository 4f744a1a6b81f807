//! What an application is asked. The default one is [`crate::TransactionApp`].

use samara_types::{Block, Height, View};
use std::sync::Arc;

/// Where a block will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// View of the block.
    pub view: View,
    /// Height of the block.
    pub height: Height,
}

/// What an application says of a proposed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// May be voted for.
    Valid,
    /// Must never be voted for. Every correct validator must come to the same verdict for the same block on the same ancestors.
    Invalid,
}

/// The replicated application behind consensus. Calls are synchronous and must be deterministic functions of the chain.
///
/// `ancestors` are the blocks above the finalized tip up to the parent, oldest first.
pub trait Application {
    /// The payload of a block on top of `ancestors`, at most `bytes_max` long.
    fn propose(&mut self, proposal: Proposal, ancestors: &[Arc<Block>], bytes_max: usize) -> Vec<u8>;

    /// Whether a block may stand on top of `ancestors`.
    fn verify(&mut self, block: &Block, ancestors: &[Arc<Block>]) -> Verdict;

    /// A block became final. Called once per height, in order.
    fn finalize(&mut self, block: &Block);

    /// Whether there is anything to propose; an idle leader waits for the idle interval.
    fn has_work(&self) -> bool;
}
