//! The validator set of an epoch and its quorums (Minimmit, section 3; weights instead of counts).
//!
//! With total stake S and fault bound f: M-notarization, nullification and contradiction need 2f+1, finality (L) needs S-f. Three
//! guards make these safe and live; [`ValidatorSet::new`] refuses a set that breaks one of them.

use crate::bitmap::SignerBitmap;
use crate::digest::Digest;
use crate::numbers::{Stake, ValidatorIndex};

/// Most validators a set may have. Bounds every bitmap and every per-validator table.
pub const VALIDATORS_MAX: usize = 1024;

/// One member of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorEntry {
    /// Voting weight, at least 1.
    pub stake: Stake,
    /// BLS12-381 G2 public key for votes, compressed.
    pub vote_key: [u8; 96],
    /// Proof of possession of `vote_key`, a compressed G1 point.
    pub possession: [u8; 48],
    /// Ed25519 public key for slice commitments.
    pub identity_key: [u8; 32],
    /// X25519 public key for sessions.
    pub session_key: [u8; 32],
}

/// The thresholds of a set, by stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorums {
    /// Total stake S.
    pub total: Stake,
    /// Fault bound f.
    pub fault: Stake,
    /// M-notarization, nullification and contradiction: 2f+1.
    pub m: Stake,
    /// Finality: S-f.
    pub l: Stake,
}

/// Why a set is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Too few or too many members.
    #[error("validators = {0}: allowed are 6 to {VALIDATORS_MAX}")]
    Size(usize),
    /// A member without weight.
    #[error("stakes[{0}] = 0: allowed is 1 or more")]
    NoStake(u16),
    /// Weights overflow.
    #[error("stakes: their sum must stay below 2^62")]
    Overflow,
    /// f = 0 tolerates nothing.
    #[error("fault_stake = {fault}: with total stake {total} allowed are 1 to {most} (S >= 5f+1)")]
    Fault {
        /// The bound asked for.
        fault: u64,
        /// S.
        total: u64,
        /// floor((S-1)/5).
        most: u64,
    },
    /// One member outweighs the fault bound: its failure alone would stop or split the chain.
    #[error(
        "stakes[{index}] = {stake}: allowed is at most f = {fault} of total {total}, or this validator's failure alone breaks the quorums"
    )]
    Outweighs {
        /// The member.
        index: u16,
        /// Its stake.
        stake: u64,
        /// f.
        fault: u64,
        /// S.
        total: u64,
    },
    /// Two members share a key.
    #[error("validators[{0}] and validators[{1}] share a key: keys must be distinct")]
    SharedKey(u16, u16),
}

impl Quorums {
    /// Thresholds for total stake `total` and fault bound `fault` (default `floor((S-1)/5)`), after checking the three guards.
    pub fn new(total: Stake, fault: Option<Stake>) -> Result<Quorums, SetError> {
        let s = total.0;
        if s >= 1 << 62 {
            return Err(SetError::Overflow);
        }
        let most = s.saturating_sub(1) / 5;
        let f = fault.map_or(most, |fault| fault.0);
        // S >= 5f+1 implies both 2M <= L+1 (liveness) and M+L > S+f (an honest member in every M x L intersection); f >= 1 because
        // a set that tolerates nothing is no use to its operators.
        if f == 0 || f > most {
            return Err(SetError::Fault { fault: f, total: s, most });
        }
        let quorums = Quorums { total, fault: Stake(f), m: Stake(2 * f + 1), l: Stake(s - f) };
        assert!(2 * quorums.m.0 <= quorums.l.0 + 1, "liveness guard follows from S >= 5f+1");
        assert!(quorums.m.0 + quorums.l.0 > s + f, "intersection guard follows from M = 2f+1, L = S-f");
        Ok(quorums)
    }

    /// Most different blocks that can be M-notarized in one view: `floor((S-f)/(f+1))` (reference, section 1.1).
    pub fn notarizations_per_view_max(&self) -> usize {
        usize::try_from((self.total.0 - self.fault.0) / (self.fault.0 + 1)).unwrap_or(VALIDATORS_MAX).min(VALIDATORS_MAX)
    }
}

/// The members of an epoch, in index order, with checked quorums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    entries: Vec<ValidatorEntry>,
    quorums: Quorums,
}

impl ValidatorSet {
    /// Checks sizes, weights, keys and guards. Proofs of possession are checked by `samara-crypto`, which knows the curve.
    pub fn new(entries: Vec<ValidatorEntry>, fault: Option<Stake>) -> Result<ValidatorSet, SetError> {
        if !(6..=VALIDATORS_MAX).contains(&entries.len()) {
            return Err(SetError::Size(entries.len()));
        }
        let mut total = 0u64;
        for (index, entry) in entries.iter().enumerate() {
            if entry.stake.0 == 0 {
                return Err(SetError::NoStake(index as u16));
            }
            total = total.checked_add(entry.stake.0).ok_or(SetError::Overflow)?;
        }
        let quorums = Quorums::new(Stake(total), fault)?;
        for (index, entry) in entries.iter().enumerate() {
            if entry.stake > quorums.fault {
                let (stake, fault) = (entry.stake.0, quorums.fault.0);
                return Err(SetError::Outweighs { index: index as u16, stake, fault, total });
            }
            let twin = entries[..index].iter().position(|other| {
                other.vote_key == entry.vote_key || other.identity_key == entry.identity_key || other.session_key == entry.session_key
            });
            if let Some(twin) = twin {
                return Err(SetError::SharedKey(twin as u16, index as u16));
            }
        }
        Ok(ValidatorSet { entries, quorums })
    }

    /// Number of members.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All members in index order.
    pub fn entries(&self) -> &[ValidatorEntry] {
        &self.entries
    }

    /// A member, if the index names one.
    pub fn get(&self, index: ValidatorIndex) -> Option<&ValidatorEntry> {
        self.entries.get(index.at())
    }

    /// Weight of a member; zero for an index outside the set, so that garbage never counts.
    pub fn stake(&self, index: ValidatorIndex) -> Stake {
        self.get(index).map_or(Stake(0), |entry| entry.stake)
    }

    /// Weight of a set of members.
    pub fn weight(&self, members: &SignerBitmap) -> Stake {
        Stake(members.iter().map(|index| self.stake(index).0).sum())
    }

    /// The thresholds.
    pub fn quorums(&self) -> &Quorums {
        &self.quorums
    }

    /// Every index of the set.
    pub fn indexes(&self) -> impl Iterator<Item = ValidatorIndex> + use<> {
        (0..self.entries.len() as u16).map(ValidatorIndex)
    }

    /// Members by decreasing stake, ties by index: the order in which everything is sent (Rotor, section 1.2).
    pub fn by_stake(&self) -> Vec<ValidatorIndex> {
        let mut order: Vec<_> = self.indexes().collect();
        order.sort_by_key(|&index| (std::cmp::Reverse(self.stake(index)), index));
        order
    }

    /// Digest of members, weights, keys and fault bound.
    pub fn fingerprint(&self) -> Digest {
        let mut bytes = Vec::with_capacity(self.entries.len() * 232 + 8);
        bytes.extend_from_slice(&self.quorums.fault.0.to_le_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.stake.0.to_le_bytes());
            bytes.extend_from_slice(&entry.vote_key);
            bytes.extend_from_slice(&entry.possession);
            bytes.extend_from_slice(&entry.identity_key);
            bytes.extend_from_slice(&entry.session_key);
        }
        Digest::of("samara 2026 validator set", &[&bytes])
    }
}

#[cfg(test)]
mod tests;
