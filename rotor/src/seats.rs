//! Who relays which shred: partition sampling (PS-P, white paper Definition 46) in integers.
//!
//! With the leader excluded, `rest` is the stake of everybody else and a slice has `total` seats:
//! 1. each relay gets `floor(stake * total / rest)` seats outright;
//! 2. the residues `stake * total mod rest`, in random order, form a line that is exactly (seats left) x `rest` long; it is cut into bins
//!    of equal width `rest`, and one point drawn in each bin names a holder (a residue is shorter than a bin and touches at most two);
//! 3. the seats are permuted, so that no relay always carries data.
//!
//! So everybody gets floor to floor + 2 seats, in expectation exactly its share, and equal stakes with `total` a multiple of the relays
//! share exactly. All randomness of a slice is one ChaCha20 stream keyed with H(beacon, epoch, view, slice, leader): nobody can choose it by
//! choosing the content, and every node computes the same seats, which lets receivers check that a sender holds the seat.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use samara_types::{Digest, Epoch, ShredIndex, SliceIndex, ValidatorIndex, ValidatorSet, View};
use std::sync::Arc;

/// Committees kept: three views of the longest blocks, because every shred asks for its slice's.
const CACHED_COMMITTEES: usize = 128;

/// The holders of the seats of one slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seats {
    holders: Arc<[ValidatorIndex]>,
}

impl Seats {
    /// Who relays shred `index`; None beyond the code word.
    pub fn holder(&self, index: ShredIndex) -> Option<ValidatorIndex> {
        self.holders.get(index.at()).copied()
    }

    /// The seats of one validator, ascending.
    pub fn of(&self, holder: ValidatorIndex) -> impl Iterator<Item = ShredIndex> + '_ {
        self.holders.iter().enumerate().filter(move |(_, other)| **other == holder).map(|(index, _)| ShredIndex(index as u8))
    }

    /// All holders, seat by seat.
    pub fn holders(&self) -> &[ValidatorIndex] {
        &self.holders
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Committee {
    view: View,
    slice: SliceIndex,
    leader: ValidatorIndex,
    total: u8,
}

/// Stakes and beacon of an epoch, frozen, with the last committees drawn from them.
pub struct RelayTable {
    stakes: Vec<u64>,
    stake_total: u64,
    beacon: Digest,
    epoch: Epoch,
    cache: Vec<Option<(Committee, Seats)>>,
    draws: u64,
}

impl RelayTable {
    /// The table of a set. One chain has one epoch, number 0; `beacon` is its randomness, fixed before anybody leads.
    pub fn new(set: &ValidatorSet, beacon: Digest) -> RelayTable {
        let stakes = set.indexes().map(|index| set.stake(index).0).collect();
        RelayTable { stakes, stake_total: set.quorums().total.0, beacon, epoch: Epoch(0), cache: vec![None; CACHED_COMMITTEES], draws: 0 }
    }

    /// The seats of one slice with `total` shreds. Panics if `leader` is not in the set; it comes from the schedule.
    pub fn seats(&mut self, view: View, slice: SliceIndex, leader: ValidatorIndex, total: u8) -> Seats {
        let committee = Committee { view, slice, leader, total };
        let slot = (view.0.wrapping_mul(37).wrapping_add(slice.0.into()) % CACHED_COMMITTEES as u64) as usize;
        if let Some((cached, seats)) = &self.cache[slot]
            && *cached == committee
        {
            return seats.clone();
        }
        self.draws += 1;
        let seats = self.draw(committee);
        self.cache[slot] = Some((committee, seats.clone()));
        seats
    }

    /// Committees drawn so far: how often the last ones remembered did not do.
    pub fn draws(&self) -> u64 {
        self.draws
    }

    fn draw(&self, committee: Committee) -> Seats {
        let mut stream = Stream::new(self.seed(committee));
        let rest = self.stake_total - self.stakes[committee.leader.at()];
        let relays = (0..self.stakes.len() as u16).map(ValidatorIndex).filter(|&relay| relay != committee.leader);
        let mut holders = Vec::with_capacity(committee.total.into());
        let mut residues: Vec<(ValidatorIndex, u128)> = Vec::new();
        for relay in relays {
            // Below 2^62 * 2^8.
            let share = u128::from(self.stakes[relay.at()]) * u128::from(committee.total);
            holders.extend(std::iter::repeat_n(relay, (share / u128::from(rest)) as usize));
            residues.push((relay, share % u128::from(rest)));
        }
        let bins = usize::from(committee.total) - holders.len();
        stream.shuffle(&mut residues);
        let mut line = residues.into_iter();
        let (mut holder, mut end) = (committee.leader, 0);
        for bin in 0..bins {
            let point = bin as u128 * u128::from(rest) + u128::from(stream.below(rest));
            while end <= point {
                let (next, residue) = line.next().expect("the residues add up to all bins");
                (holder, end) = (next, end + residue);
            }
            holders.push(holder);
        }
        stream.shuffle(&mut holders);
        Seats { holders: holders.into() }
    }

    fn seed(&self, committee: Committee) -> Digest {
        let parts: [&[u8]; 5] = [
            &self.beacon.0,
            &self.epoch.0.to_le_bytes(),
            &committee.view.0.to_le_bytes(),
            &committee.slice.0.to_le_bytes(),
            &committee.leader.0.to_le_bytes(),
        ];
        Digest::of("samara 2026 relay seats", &parts)
    }
}

/// ChaCha20 as 64-bit little-endian numbers, with rejection sampling that is part of the protocol.
struct Stream(ChaCha20Rng);

impl Stream {
    fn new(seed: Digest) -> Stream {
        Stream(ChaCha20Rng::from_seed(seed.0))
    }

    /// Uniform below `bound` (at least 1): the first number below the largest multiple of `bound` that fits, modulo `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        let beyond = (u64::MAX % bound + 1) % bound;
        loop {
            let number = self.0.next_u64();
            if number <= u64::MAX - beyond {
                return number % bound;
            }
        }
    }

    /// Fisher-Yates from the last element down.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests;
