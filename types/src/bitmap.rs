//! Which validators signed: one bit each, so nobody can be counted twice.

use crate::numbers::ValidatorIndex;
use crate::set::VALIDATORS_MAX;

const WORDS: usize = VALIDATORS_MAX / 64;

/// A set of validators. Holds any index below [`VALIDATORS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignerBitmap([u64; WORDS]);

impl Default for SignerBitmap {
    fn default() -> Self {
        SignerBitmap([0; WORDS])
    }
}

impl SignerBitmap {
    /// Adds a validator; false if it was there.
    pub fn insert(&mut self, index: ValidatorIndex) -> bool {
        let fresh = !self.contains(index);
        self.0[index.at() / 64] |= 1 << (index.at() % 64);
        fresh
    }

    /// Removes a validator.
    pub fn remove(&mut self, index: ValidatorIndex) {
        self.0[index.at() / 64] &= !(1 << (index.at() % 64));
    }

    /// Whether a validator is in.
    pub fn contains(&self, index: ValidatorIndex) -> bool {
        self.0.get(index.at() / 64).is_some_and(|word| word & (1 << (index.at() % 64)) != 0)
    }

    /// Number of validators.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether nobody is in.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Validators in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = ValidatorIndex> + '_ {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    ValidatorIndex((at * 64 + bit as usize) as u16)
                })
            })
        })
    }

    /// Both sets together.
    pub fn union(&self, other: &SignerBitmap) -> SignerBitmap {
        SignerBitmap(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// Wire form for a set of `validators` members: `ceil(validators / 8)` bytes, bit i of byte j is validator 8j+i.
    pub fn to_bytes(&self, validators: usize) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).take(validators.div_ceil(8)).collect()
    }

    /// From the wire form. None if the length is not that of `validators` members or a bit lies beyond them.
    pub fn from_bytes(bytes: &[u8], validators: usize) -> Option<SignerBitmap> {
        if bytes.len() != validators.div_ceil(8) || validators > VALIDATORS_MAX {
            return None;
        }
        let mut bitmap = SignerBitmap::default();
        for (at, byte) in bytes.iter().enumerate() {
            bitmap.0[at / 8] |= u64::from(*byte) << (8 * (at % 8));
        }
        let in_range = bitmap.iter().all(|index| index.at() < validators);
        in_range.then_some(bitmap)
    }
}

impl FromIterator<ValidatorIndex> for SignerBitmap {
    fn from_iter<I: IntoIterator<Item = ValidatorIndex>>(indexes: I) -> Self {
        let mut bitmap = SignerBitmap::default();
        for index in indexes {
            bitmap.insert(index);
        }
        bitmap
    }
}

impl std::fmt::Debug for SignerBitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(|index| index.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_validator_counts_once() {
        let mut bitmap = SignerBitmap::default();
        assert!(bitmap.insert(ValidatorIndex(70)));
        assert!(!bitmap.insert(ValidatorIndex(70)));
        assert_eq!(bitmap.count(), 1);
    }

    #[test]
    fn bits_beyond_the_set_are_refused() {
        assert!(SignerBitmap::from_bytes(&[0b0100_0000], 6).is_none());
        assert!(SignerBitmap::from_bytes(&[0b0010_0000], 6).is_some());
        assert!(SignerBitmap::from_bytes(&[0, 0], 6).is_none());
        assert!(SignerBitmap::from_bytes(&[], 6).is_none());
    }

    proptest! {
        #[test]
        fn bytes_round_trip(members in proptest::collection::btree_set(0u16..200, 0..80)) {
            let bitmap: SignerBitmap = members.iter().map(|&i| ValidatorIndex(i)).collect();
            let back = SignerBitmap::from_bytes(&bitmap.to_bytes(200), 200).unwrap();
            prop_assert_eq!(back, bitmap);
            prop_assert_eq!(back.iter().map(|i| i.0).collect::<Vec<_>>(), members.into_iter().collect::<Vec<_>>());
        }
    }
}
