//! What several tests of this crate need.

use samara_types::{Stake, ValidatorEntry, ValidatorSet};

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
