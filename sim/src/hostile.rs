//! Hostile modules by name.

mod all_signer;
mod bait;
mod equivocator;
pub mod puppet;
mod silent;

pub use all_signer::AllSigner;
pub use bait::Bait;
pub use equivocator::Equivocator;
pub use silent::Silent;

use crate::actor::Hostile;

/// Every hostile module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Sends nothing at all.
    Silent,
    /// Proposes two blocks to two parts of the cluster and votes for both, otherwise honest.
    Equivocator,
    /// Votes for every block and nullifies every view it hears of.
    AllSigner,
    /// One of those that bring a planted bug out; not in the swarm.
    Bait(Bait),
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Silent, Kind::Equivocator, Kind::AllSigner];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Silent => "silent",
            Kind::Equivocator => "equivocator",
            Kind::AllSigner => "all_signer",
            Kind::Bait(bait) => bait.as_str(),
        }
    }

    /// The module.
    pub fn make(self) -> Box<dyn Hostile> {
        match self {
            Kind::Silent => Box::new(Silent),
            Kind::Equivocator => Box::new(Equivocator::default()),
            Kind::AllSigner => Box::new(AllSigner::default()),
            Kind::Bait(bait) => bait.make(),
        }
    }
}
