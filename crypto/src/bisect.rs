//! Finds the bad members of a batch that fails as a whole, with few checks.
//!
//! Both batch checks of this crate are linear: every member has an error (zero for a good one) and a group passes exactly when the
//! errors of its members sum to zero. So when a group fails and its left half passes, its right half fails, and no check is spent on
//! learning that. One culprit among `n` costs at most `1 + 2 * ceil(log2 n)` checks, all bad at most `2n - 1`.

use std::ops::Range;

/// Positions of the bad members among `count`, ascending; empty if the whole batch passes. `check` must be linear as said above.
pub(crate) fn culprits(count: usize, mut check: impl FnMut(Range<usize>) -> bool) -> Vec<usize> {
    let mut bad = Vec::new();
    if count > 0 {
        search(0..count, false, &mut check, &mut bad);
    }
    bad
}

/// Whether the group passes; its bad members are appended to `bad`.
fn search(group: Range<usize>, known_bad: bool, check: &mut impl FnMut(Range<usize>) -> bool, bad: &mut Vec<usize>) -> bool {
    if !known_bad && check(group.clone()) {
        return true;
    }
    if group.len() == 1 {
        bad.push(group.start);
        return false;
    }
    let middle = group.start + group.len() / 2;
    let left_passes = search(group.start..middle, false, check, bad);
    search(middle..group.end, left_passes, check, bad);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(errors: &[i32]) -> (Vec<usize>, usize) {
        let mut checks = 0;
        let found = culprits(errors.len(), |group| {
            checks += 1;
            errors[group].iter().sum::<i32>() == 0
        });
        (found, checks)
    }

    #[test]
    fn every_set_of_culprits_is_found_exactly() {
        for count in 0..=9usize {
            for mask in 0..1u32 << count {
                let errors: Vec<i32> = (0..count).map(|at| i32::from(mask >> at & 1 == 1)).collect();
                let expected: Vec<usize> = (0..count).filter(|at| mask >> at & 1 == 1).collect();
                let (found, checks) = run(&errors);
                assert_eq!(found, expected);
                assert!(checks <= (2 * count).max(1), "{count} members, mask {mask:b}: {checks} checks");
            }
        }
    }

    #[test]
    fn one_culprit_costs_a_logarithm() {
        for count in 1..=300usize {
            let levels = count.next_power_of_two().trailing_zeros() as usize;
            for at in 0..count {
                let mut errors = vec![0; count];
                errors[at] = 1;
                let (found, checks) = run(&errors);
                assert_eq!(found, [at]);
                assert!(checks <= 1 + 2 * levels, "culprit {at} of {count}: {checks} checks");
            }
        }
    }

    #[test]
    fn errors_that_cancel_inside_a_passing_group_accuse_nobody_innocent() {
        assert_eq!(run(&[5, -5, 0, 0]).0, [] as [usize; 0]);
        assert_eq!(run(&[5, 0, -5, 7]).0, [0, 2, 3]);
    }
}
