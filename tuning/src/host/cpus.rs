//! Sets of CPUs in the two forms of the kernel: lists (`0,2-5`) and hexadecimal masks (`00000000,0000003d`).

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

/// CPU numbers accepted; above every kernel's `NR_CPUS` (8192), so that a hostile range cannot fill memory.
const CPU_MAX: u32 = 16_384;

/// A set of CPU numbers; prints as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<u32>);

impl CpuSet {
    /// `0,2-5`, or nothing at all for the empty set.
    pub fn parse_list(text: &str) -> Option<CpuSet> {
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, 10)?, number(last, 10)?);
            if first > last || last >= CPU_MAX {
                return None;
            }
            cpus.extend(first..=last);
        }
        Some(CpuSet(cpus))
    }

    /// `3` or `00000000,0000003d`: groups of 32 bits, the last one the lowest.
    pub fn parse_mask(text: &str) -> Option<CpuSet> {
        let groups: Vec<&str> = text.trim().split(',').collect();
        if groups.len() > CPU_MAX as usize / 32 {
            return None;
        }
        let mut cpus = BTreeSet::new();
        for (place, group) in groups.iter().rev().enumerate() {
            let bits = number(group, 16)?;
            cpus.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| place as u32 * 32 + bit));
        }
        Some(CpuSet(cpus))
    }

    /// As a mask that every kernel file of masks takes.
    pub fn to_mask(&self) -> String {
        let groups = self.0.last().map_or(1, |last| last / 32 + 1);
        let bits = |group: u32| (0..32).filter(|bit| self.0.contains(&(group * 32 + bit))).fold(0u32, |bits, bit| bits | 1 << bit);
        (0..groups).rev().map(|group| format!("{:08x}", bits(group))).collect::<Vec<_>>().join(",")
    }

    /// CPUs in it.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are not in `other`.
    pub fn without(&self, other: &CpuSet) -> CpuSet {
        CpuSet(self.0.difference(&other.0).copied().collect())
    }

    /// True when all are in `other`.
    pub fn within(&self, other: &CpuSet) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> CpuSet {
        CpuSet(cpus.into_iter().collect())
    }
}

impl Display for CpuSet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for cpu in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        let text = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        f.write_str(&ranges.iter().map(text).collect::<Vec<_>>().join(","))
    }
}

/// Digits only: `u32::from_str_radix` alone would take a sign.
fn number(text: &str, radix: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    digits.then(|| u32::from_str_radix(text, radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernels_forms_are_read_and_written() {
        let set = CpuSet::parse_list("0,2-5,40").unwrap();
        assert_eq!((set.to_string(), set.to_mask(), set.count()), ("0,2-5,40".into(), "00000100,0000003d".into(), 6));
        assert_eq!(CpuSet::parse_mask("100,0000003d"), Some(set));
        assert_eq!(CpuSet::parse_list(" \n"), Some(CpuSet::default()));
        assert_eq!(CpuSet::default().to_mask(), "00000000");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["a", "3-1", "1-", "-1", "0-99999999", "+1", "1,,2"] {
            assert_eq!(CpuSet::parse_list(text), None, "{text}");
        }
        for text in ["", "g", "123456789", "+1"] {
            assert_eq!(CpuSet::parse_mask(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn both_forms_come_back(cpus in prop::collection::btree_set(0u32..300, 0..40)) {
            let set = CpuSet(cpus);
            prop_assert_eq!(CpuSet::parse_list(&set.to_string()), Some(set.clone()));
            prop_assert_eq!(CpuSet::parse_mask(&set.to_mask()), Some(set));
        }
    }
}
