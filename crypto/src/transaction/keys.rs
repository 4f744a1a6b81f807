//! Keys met before, as points: decoding one takes a square root (3.4 us), finding one here 0.05.
//!
//! Two generations of bounded size. A hit in the old one moves to the young; a full young one becomes the old, whose rest is forgotten. So
//! a key in use stays whatever comes between, as long as less than a generation of others does.

use curve25519_dalek::edwards::EdwardsPoint;
use std::collections::HashMap;

/// Keys of one generation: 192 B each, in a table of 8,192 places (1.5 MiB).
const GENERATION_KEYS_MAX: usize = 4_096;

#[derive(Clone, Debug, Default)]
pub(super) struct KeyCache {
    young: HashMap<[u8; 32], EdwardsPoint>,
    old: HashMap<[u8; 32], EdwardsPoint>,
}

impl KeyCache {
    pub(super) fn get(&mut self, bytes: &[u8; 32]) -> Option<EdwardsPoint> {
        if let Some(point) = self.young.get(bytes) {
            return Some(*point);
        }
        let point = self.old.remove(bytes)?;
        self.insert(bytes, &point);
        Some(point)
    }

    /// Remembers a decoded key.
    pub(super) fn insert(&mut self, bytes: &[u8; 32], point: &EdwardsPoint) {
        if self.young.len() == GENERATION_KEYS_MAX && !self.young.contains_key(bytes) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(*bytes, *point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;

    fn name(index: usize) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        bytes
    }

    #[test]
    fn a_key_in_use_stays_and_the_memory_is_bounded() {
        let mut cache = KeyCache::default();
        for index in 0..10 * GENERATION_KEYS_MAX {
            cache.insert(&name(index), &ED25519_BASEPOINT_POINT);
            assert!(cache.get(&name(0)).is_some(), "after {index} others");
            assert!(cache.young.len() <= GENERATION_KEYS_MAX && cache.old.len() <= GENERATION_KEYS_MAX);
        }
        assert!(cache.get(&name(1)).is_none() && cache.get(&name(10 * GENERATION_KEYS_MAX - 1)).is_some());
    }

    #[test]
    fn a_key_is_found_under_its_own_bytes_only() {
        let mut cache = KeyCache::default();
        let other = ED25519_BASEPOINT_POINT + ED25519_BASEPOINT_POINT;
        cache.insert(&name(1), &ED25519_BASEPOINT_POINT);
        cache.insert(&name(2), &other);
        assert_eq!((cache.get(&name(1)), cache.get(&name(2)), cache.get(&name(3))), (Some(ED25519_BASEPOINT_POINT), Some(other), None));
    }
}
