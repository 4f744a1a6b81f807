//! Finds the bad members of a batch that fails as a whole, with few evaluations.
//!
//! Every batch check of this crate is linear: a member has an error in some abelian group (zero for a good one), a group of members has the
//! sum of their errors, and the check asks whether that sum, the *residual*, is zero. Evaluating a residual is dear (a pairing product, a
//! multi-scalar product); subtracting two is cheap. So a failing group costs one evaluation, of its left half: the residual of the right
//! half is the difference. The whole costs one evaluation and one more for each failing group of two or more in the halving tree:
//! `1 + ceil(log2 n)` for one culprit among `n`, `n` if all are bad.

use std::ops::Range;

/// The error of a group of members.
pub(crate) trait Residual {
    /// Whether the group passes.
    fn is_zero(&self) -> bool;

    /// The error of the rest, when `part` is that of a part.
    fn minus(&self, part: &Self) -> Self;
}

/// Positions of the bad members among `count`, ascending; empty if the whole batch passes. `evaluate` must be linear as said above.
pub(crate) fn culprits<R: Residual>(count: usize, mut evaluate: impl FnMut(Range<usize>) -> R) -> Vec<usize> {
    let mut bad = Vec::new();
    if count > 0 {
        let whole = evaluate(0..count);
        search(0..count, &whole, &mut evaluate, &mut bad);
    }
    bad
}

/// Appends the bad members of a group whose residual is known.
fn search<R: Residual>(group: Range<usize>, residual: &R, evaluate: &mut impl FnMut(Range<usize>) -> R, bad: &mut Vec<usize>) {
    if residual.is_zero() {
        return;
    }
    if group.len() == 1 {
        return bad.push(group.start);
    }
    let middle = group.start + group.len() / 2;
    let left = evaluate(group.start..middle);
    search(group.start..middle, &left, evaluate, bad);
    search(middle..group.end, &residual.minus(&left), evaluate, bad);
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Residual for i32 {
        fn is_zero(&self) -> bool {
            *self == 0
        }

        fn minus(&self, part: &i32) -> i32 {
            self - part
        }
    }

    fn run(errors: &[i32]) -> (Vec<usize>, usize) {
        let mut evaluations = 0;
        let found = culprits(errors.len(), |group| {
            evaluations += 1;
            errors[group].iter().sum::<i32>()
        });
        (found, evaluations)
    }

    #[test]
    fn every_set_of_culprits_is_found_exactly() {
        for count in 0..=9usize {
            for mask in 0..1u32 << count {
                let errors: Vec<i32> = (0..count).map(|at| i32::from(mask >> at & 1 == 1) << at).collect();
                let expected: Vec<usize> = (0..count).filter(|at| mask >> at & 1 == 1).collect();
                let (found, evaluations) = run(&errors);
                assert_eq!(found, expected);
                assert!(evaluations <= count, "{count} members, mask {mask:b}: {evaluations} evaluations");
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
                let (found, evaluations) = run(&errors);
                assert_eq!(found, [at]);
                assert!(evaluations <= 1 + levels, "culprit {at} of {count}: {evaluations} evaluations");
            }
        }
    }

    #[test]
    fn errors_that_cancel_inside_a_passing_group_accuse_nobody_innocent() {
        assert_eq!(run(&[5, -5, 0, 0]).0, [] as [usize; 0]);
        assert_eq!(run(&[5, 0, -5, 7]).0, [0, 2, 3]);
    }
}
