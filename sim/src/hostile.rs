//! Hostile modules by name.
//!
//! Most are an honest machine ([`puppet`]) whose words a manner (`led`) drops, delays, changes or doubles; the others sign without following.

mod bad_leader;
mod bait;
mod equivocator;
mod flooder;
mod impersonator;
mod led;
mod liar;
mod muzzle;
mod proposals;
pub mod puppet;
mod signer;
mod silent;
#[cfg(test)]
mod tests;
mod twins;

pub use bait::Bait;

use crate::actor::Hostile;
use bad_leader::{BadLeader, Breaks};
use equivocator::Equivocator;
use led::Led;
use muzzle::{Habit, Muzzle};
use serde::{Deserialize, Serialize};
use signer::{Hand, Signer};

/// Every hostile module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Sends nothing at all.
    Silent,
    /// Proposes two blocks to two random parts of the cluster and votes for both, otherwise honest.
    Equivocator,
    /// The same with three blocks.
    TripleEquivocator,
    /// The same with parts of these sizes, in seat order; who is left over gets nothing.
    Split([u8; 3]),
    /// Votes for every block and nullifies every view it hears of.
    AllSigner,
    /// Votes for every block it hears of, and thrice for one that nobody has.
    Conflicter,
    /// Votes for the first block it hears of in a view, and nullifies the view.
    Nuller,
    /// Nullifies every view, never votes.
    NullifyOnly,
    /// Others' signatures as its own, forged certificates, proposals in views it does not lead.
    Impersonator,
    /// Messages of past and future views, and requests without bound.
    Flooder,
    /// Signs for the next epoch.
    WrongEpoch,
    /// Votes and nullifies go to a half drawn for every view.
    VotesToHalf,
    /// Certificates go to one seat.
    CertificatesToOne,
    /// Relays nothing, repairs nothing.
    SeatWithholder,
    /// Its proposals reach a random part; repairs nothing.
    BodyWithholder,
    /// Its proposals and its vote for them reach this many seats after its own; repairs nothing.
    ProposalTo(u8),
    /// Proposes when timers run out.
    Late,
    /// Wrong answers to everything it is asked.
    Liar,
    /// Slices that are no code words, blocks that do not end.
    Miscoder,
    /// Invalid payloads, heights, parents.
    BadProposer,
    /// Two machines with one key.
    Twins,
    /// One of those that bring a planted bug out; not in the swarm.
    Bait(Bait),
}

impl Kind {
    /// What the swarm picks from: a kind stands here as often as its weight. What attacks safety is drawn twice as often as what only withholds,
    /// twins most.
    pub const ALL: [Kind; 35] = [
        Kind::Silent,
        Kind::Equivocator,
        Kind::Equivocator,
        Kind::Equivocator,
        Kind::TripleEquivocator,
        Kind::TripleEquivocator,
        Kind::AllSigner,
        Kind::AllSigner,
        Kind::Conflicter,
        Kind::Conflicter,
        Kind::Nuller,
        Kind::Nuller,
        Kind::NullifyOnly,
        Kind::Impersonator,
        Kind::Impersonator,
        Kind::Flooder,
        Kind::Flooder,
        Kind::WrongEpoch,
        Kind::VotesToHalf,
        Kind::VotesToHalf,
        Kind::CertificatesToOne,
        Kind::SeatWithholder,
        Kind::BodyWithholder,
        Kind::BodyWithholder,
        Kind::Late,
        Kind::Liar,
        Kind::Liar,
        Kind::Miscoder,
        Kind::Miscoder,
        Kind::BadProposer,
        Kind::BadProposer,
        Kind::Twins,
        Kind::Twins,
        Kind::Twins,
        Kind::Twins,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        self.make().name()
    }

    /// The module.
    pub fn make(self) -> Box<dyn Hostile> {
        let muzzle = |habit| Box::new(Led::new(Muzzle::new(habit)));
        match self {
            Kind::Silent => Box::new(silent::Silent),
            Kind::Equivocator => Box::new(Led::new(Equivocator::random(2))),
            Kind::TripleEquivocator => Box::new(Led::new(Equivocator::random(3))),
            Kind::Split(sizes) => Box::new(Led::new(Equivocator::exact(sizes))),
            Kind::AllSigner => Box::new(Signer::new(Hand::All)),
            Kind::Conflicter => Box::new(Signer::new(Hand::Conflicter)),
            Kind::Nuller => Box::new(Signer::new(Hand::Nuller)),
            Kind::NullifyOnly => Box::new(Signer::new(Hand::NullifyOnly)),
            Kind::Impersonator => Box::new(impersonator::Impersonator::default()),
            Kind::Flooder => Box::new(flooder::Flooder::default()),
            Kind::WrongEpoch => muzzle(Habit::WrongEpoch),
            Kind::VotesToHalf => muzzle(Habit::VotesToHalf),
            Kind::CertificatesToOne => muzzle(Habit::CertificatesToOne),
            Kind::SeatWithholder => muzzle(Habit::SeatWithholder),
            Kind::BodyWithholder => muzzle(Habit::BodyWithholder),
            Kind::ProposalTo(count) => muzzle(Habit::ProposalTo(count)),
            Kind::Late => muzzle(Habit::Late),
            Kind::Liar => Box::new(Led::new(liar::Liar::default())),
            Kind::Miscoder => Box::new(Led::new(BadLeader::new(Breaks::Code))),
            Kind::BadProposer => Box::new(Led::new(BadLeader::new(Breaks::Content))),
            Kind::Twins => Box::new(twins::Twins::default()),
            Kind::Bait(bait) => bait.make(),
        }
    }
}
