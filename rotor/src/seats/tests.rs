use super::*;
use crate::testing::set_of;
use proptest::prelude::*;
use std::fmt::Write;

fn counts(seats: &Seats, validators: usize) -> Vec<u64> {
    (0..validators as u16).map(|holder| seats.of(ValidatorIndex(holder)).count() as u64).collect()
}

/// Committed vectors: a change here is a change of who may relay.
#[test]
fn golden_vectors() {
    let stake_sets: [&[u64]; 4] = [&[1; 6], &[10, 20, 10, 20, 15, 15, 20], &[7, 1, 1, 3, 9, 9, 2, 8, 4, 1, 6], &[1 << 58; 15]];
    let mut computed = String::from("# stakes | beacon | view | slice | leader | total -> holder of each seat\n");
    for stakes in stake_sets {
        for (view, slice, leader, total) in [(1u64, 0u16, 0u16, 65u8), (1, 1, 0, 65), (77, 3, 5, 70), (u64::MAX, 35, 2, 128), (2, 0, 1, 5)]
        {
            let beacon = Digest([view as u8; 32]);
            let seats = RelayTable::new(&set_of(stakes), beacon).seats(View(view), SliceIndex(slice), ValidatorIndex(leader), total);
            let stakes = stakes.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            let holders = seats.holders().iter().map(|holder| holder.0.to_string()).collect::<Vec<_>>().join(",");
            writeln!(computed, "{stakes} | {} | {view} | {slice} | {leader} | {total} -> {holders}", beacon.hex()).unwrap();
        }
    }
    assert_eq!(computed, include_str!("../../vectors/seats.txt"));
}

#[test]
fn equal_stakes_share_a_multiple_of_the_relays_exactly() {
    for (validators, total) in [(6, 65), (11, 70), (15, 70), (15, 42), (65, 64), (129, 128)] {
        let mut table = RelayTable::new(&set_of(&vec![3; validators]), Digest([1; 32]));
        for view in 0..20 {
            let leader = ValidatorIndex((view % validators as u64) as u16);
            let seats = table.seats(View(view), SliceIndex(0), leader, total);
            for (holder, count) in counts(&seats, validators).into_iter().enumerate() {
                let share = u64::from(total) / (validators as u64 - 1);
                assert_eq!(count, if holder == leader.at() { 0 } else { share }, "{holder} of {validators}");
            }
        }
    }
}

#[test]
fn over_many_slices_everybody_gets_its_share() {
    let stakes = [10u64, 20, 10, 20, 15, 15, 20, 1, 3, 6];
    let (leader, total, slices) = (ValidatorIndex(3), 64u64, 20_000u64);
    let table = RelayTable::new(&set_of(&stakes), Digest([5; 32]));
    let mut sums = vec![0u64; stakes.len()];
    for slice in 0..slices {
        let committee = Committee { view: View(slice), slice: SliceIndex(0), leader, total: total as u8 };
        for (sum, count) in sums.iter_mut().zip(counts(&table.draw(committee), stakes.len())) {
            *sum += count;
        }
    }
    let rest: u64 = stakes.iter().sum::<u64>() - stakes[leader.at()];
    for (holder, sum) in sums.iter().enumerate().filter(|(holder, _)| *holder != leader.at()) {
        let expected = stakes[holder] * total * slices / rest;
        // A count varies by at most 2 per slice, so by far less than 1 standard deviation of 1.0 * sqrt(20,000) = 141; allow 5.
        assert!(sum.abs_diff(expected) < 710, "{holder}: {sum}, expected {expected}");
    }
    assert_eq!(sums[leader.at()], 0);
}

#[test]
fn the_seat_of_a_validator_is_not_always_the_same() {
    let mut table = RelayTable::new(&set_of(&[100, 100, 100, 100, 100, 100, 1]), Digest([5; 32]));
    let first: std::collections::BTreeSet<_> =
        (0..50).map(|slice| table.seats(View(1), SliceIndex(slice), ValidatorIndex(6), 6).holders()[0]).collect();
    assert!(first.len() > 3, "{first:?}");
}

#[test]
fn a_cached_committee_is_the_drawn_one_also_after_collisions() {
    let mut table = RelayTable::new(&set_of(&[2, 2, 2, 3, 3, 3, 1]), Digest([8; 32]));
    for round in 0..2 {
        for view in (0..600).map(View) {
            let committee = Committee { view, slice: SliceIndex(round), leader: ValidatorIndex(0), total: 10 };
            let cached = table.seats(view, SliceIndex(round), ValidatorIndex(0), 10);
            assert_eq!(cached, table.draw(committee));
            assert_eq!(cached, table.seats(view, SliceIndex(round), ValidatorIndex(0), 10));
        }
    }
    assert_eq!(table.cache.len(), CACHED_COMMITTEES);
}

#[test]
fn draws_below_a_bound_are_uniform_at_the_edges_of_rejection() {
    let mut stream = Stream::new(Digest([3; 32]));
    assert!((0..100).all(|_| stream.below(1) == 0));
    let bound = (1 << 63) + 1;
    assert!((0..100).all(|_| stream.below(bound) < bound));
    let mut seen = [0u32; 3];
    for _ in 0..30_000 {
        seen[stream.below(3) as usize] += 1;
    }
    assert!(seen.iter().all(|count| (9_500..10_500).contains(count)), "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// White paper, Definition 46: floor(stake * total / rest) seats outright, at most two more; the leader none.
    #[test]
    fn everybody_gets_floor_to_floor_plus_two(
        stakes in proptest::collection::vec(1u64..1_000_000, 40..60), view: u64, slice in 0u16..36, leader in 0usize..40, total in 1u8..=128, scale in 0u32..36,
    ) {
        let even = *stakes.iter().max().unwrap();
        // Lift everybody near the largest so that the set is allowed, but keep the differences.
        let stakes: Vec<u64> = stakes.iter().map(|stake| (stake + even) << scale.min(30)).collect();
        let seats = RelayTable::new(&set_of(&stakes), Digest([2; 32])).seats(View(view), SliceIndex(slice), ValidatorIndex(leader as u16), total);
        prop_assert_eq!(seats.holders().len(), usize::from(total));
        let rest: u128 = stakes.iter().map(|&stake| u128::from(stake)).sum::<u128>() - u128::from(stakes[leader]);
        for (holder, count) in counts(&seats, stakes.len()).into_iter().enumerate() {
            let floor = (u128::from(stakes[holder]) * u128::from(total) / rest) as u64;
            if holder == leader {
                prop_assert_eq!(count, 0);
            } else {
                prop_assert!((floor..=floor + 2).contains(&count), "{} holds {}, floor {}", holder, count, floor);
            }
        }
    }
}
