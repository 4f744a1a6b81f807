//! What several tests of this crate need: a set, its keys, blocks signed by the right leader.

use crate::plan::Planner;
use crate::reassembly::{Reassembly, ReassemblyConfig};
use crate::shredder::{ShreddedBlock, Shredder};
use samara_crypto::{Keyring, Roster};
use samara_types::block::payload_digest;
use samara_types::{
    BlockHeader, ChainId, Digest, Epoch, Height, LeaderSchedule, Params, SigningDomain, Stake, ValidatorEntry, ValidatorIndex,
    ValidatorSet, View,
};

/// A set with these stakes and keys that are distinct but open nothing.
pub(crate) fn set_of(stakes: &[u64]) -> ValidatorSet {
    let entry = |(at, &stake): (usize, &u64)| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(at as u64 + 1).to_le_bytes());
        let mut vote_key = [0; 96];
        vote_key[..8].copy_from_slice(&(at as u64 + 1).to_le_bytes());
        ValidatorEntry { stake: Stake(stake), vote_key, possession: [0; 48], identity_key: key, session_key: key }
    };
    ValidatorSet::new(stakes.iter().enumerate().map(entry).collect(), None).expect("a valid set")
}

/// Seeds the relay seats of every test cluster.
pub(crate) const BEACON: Digest = Digest([1; 32]);

/// Equal validators with real keys.
pub(crate) struct Cluster {
    pub(crate) keys: Vec<Keyring>,
    pub(crate) roster: Roster,
    pub(crate) schedule: LeaderSchedule,
}

impl Cluster {
    pub(crate) fn new(validators: usize) -> Cluster {
        let keys: Vec<Keyring> = (0..validators).map(|_| Keyring::generate()).collect();
        let entries = keys.iter().map(|key| ValidatorEntry {
            stake: Stake(1),
            vote_key: key.vote.public_key(),
            possession: key.vote.possession(),
            identity_key: key.identity.public_key(),
            session_key: key.session.public_key(),
        });
        let set = ValidatorSet::new(entries.collect(), None).expect("a valid set");
        let schedule = LeaderSchedule::new(&set, &Digest([9; 32]), Epoch(0));
        let domain = SigningDomain { chain: ChainId([5; 32]), epoch: Epoch(0) };
        Cluster { keys, roster: Roster::new(set, domain).expect("good keys"), schedule }
    }

    pub(crate) fn planner(&self) -> Planner {
        Planner::new(&Params::default(), self.roster.set())
    }

    /// A header of the leader of `view` for a payload of `length` bytes made from `seed`.
    pub(crate) fn header(&self, view: View, length: usize, seed: u8) -> (BlockHeader, Vec<u8>) {
        let payload: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_mul(29) ^ (i >> 7) as u8 ^ seed).collect();
        let header = BlockHeader {
            view,
            parent_view: view.previous(),
            parent_digest: Digest([3; 32]),
            height: Height(view.0),
            timestamp_ns: seed.into(),
            payload_length: length as u32,
            leader: self.schedule.leader(view),
            payload_digest: payload_digest(&payload),
        };
        (header, payload)
    }

    /// The honest leader's block.
    pub(crate) fn block(&self, view: View, length: usize, seed: u8) -> ShreddedBlock {
        let (header, payload) = self.header(view, length, seed);
        let mut shredder = Shredder::new(self.planner(), *self.roster.domain());
        shredder.shred(header, payload, self.secret(header.leader)).expect("a plan for this size")
    }

    /// The reassembly of one member.
    pub(crate) fn node(&self, me: u16) -> Reassembly {
        self.node_with(me, |_| ())
    }

    /// The same with other limits.
    pub(crate) fn node_with(&self, me: u16, change: impl FnOnce(&mut ReassemblyConfig)) -> Reassembly {
        let mut config = ReassemblyConfig::new(ValidatorIndex(me), Params::default(), self.roster.set());
        change(&mut config);
        Reassembly::new(config, self.roster.set(), self.schedule.clone(), BEACON)
    }

    pub(crate) fn secret(&self, validator: ValidatorIndex) -> &samara_crypto::IdentitySecret {
        &self.keys[validator.at()].identity
    }
}
