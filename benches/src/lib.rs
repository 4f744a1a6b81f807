//! What the benches share: a fixed set of validators with fixed keys, so that two runs measure the same bytes.

use samara_crypto::{IdentitySecret, Roster, VoteSecret};
use samara_types::{ChainId, Epoch, SigningDomain, Stake, ValidatorEntry, ValidatorSet};

/// Keys and roster of `validators` members with unit stake.
pub struct Members {
    /// Vote keys in index order.
    pub votes: Vec<VoteSecret>,
    /// Identity keys in index order.
    pub identities: Vec<IdentitySecret>,
    /// The decoded set.
    pub roster: Roster,
}

impl Members {
    /// The same members every time. At most 200: the seed is one byte.
    pub fn new(validators: u8) -> Members {
        // A vote key is below the order of the curve, which starts with 0x73.
        let seeds: Vec<[u8; 32]> = (1..=validators).map(|seed| std::array::from_fn(|at| if at == 0 { 1 } else { seed })).collect();
        let votes: Vec<_> = seeds.iter().map(|seed| VoteSecret::from_bytes(seed).expect("a small scalar is a secret key")).collect();
        let identities: Vec<_> = seeds.iter().map(IdentitySecret::from_bytes).collect();
        let entry = |(vote, identity): (&VoteSecret, &IdentitySecret)| ValidatorEntry {
            stake: Stake(1),
            vote_key: vote.public_key(),
            possession: vote.possession(),
            identity_key: identity.public_key(),
            session_key: samara_crypto::SessionSecret::from_bytes(&vote.to_bytes()).public_key(),
        };
        let set = ValidatorSet::new(votes.iter().zip(&identities).map(entry).collect(), None).expect("unit stakes of six or more");
        let domain = SigningDomain { chain: ChainId([7; 32]), epoch: Epoch(0) };
        Members { roster: Roster::new(set, domain).expect("these keys are genuine"), votes, identities }
    }
}
