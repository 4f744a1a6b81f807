//! Hostile modules by name.

mod all_signer;
mod equivocator;
pub mod puppet;
mod silent;

pub use all_signer::AllSigner;
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
        }
    }

    /// The module.
    pub fn make(self) -> Box<dyn Hostile> {
        match self {
            Kind::Silent => Box::new(Silent),
            Kind::Equivocator => Box::new(Equivocator::default()),
            Kind::AllSigner => Box::new(AllSigner::default()),
        }
    }
}
