use super::*;

fn entries(stakes: &[u64]) -> Vec<ValidatorEntry> {
    stakes
        .iter()
        .enumerate()
        .map(|(i, &stake)| ValidatorEntry {
            stake: Stake(stake),
            vote_key: [i as u8 + 1; 96],
            possession: [0; 48],
            identity_key: [i as u8 + 1; 32],
            session_key: [i as u8 + 1; 32],
        })
        .collect()
}

/// Restates the paper's table for unit stakes: n=6: 3/3/5. n=11: 5/5/9. n=50: 19/19/41. n=100: 39/39/81.
#[test]
fn quorums_match_the_paper() {
    for (n, f, m, l) in [(6, 1, 3, 5), (7, 1, 3, 6), (10, 1, 3, 9), (11, 2, 5, 9), (16, 3, 7, 13), (50, 9, 19, 41), (100, 19, 39, 81)] {
        let quorums = Quorums::new(Stake(n), None).unwrap();
        assert_eq!((quorums.fault.0, quorums.m.0, quorums.l.0), (f, m, l), "n = {n}");
    }
}

#[test]
#[expect(clippy::int_plus_one, reason = "the guards stand as the paper writes them")]
fn guards_hold_for_every_total_and_fault_bound() {
    for s in 1..400u64 {
        for f in 0..80u64 {
            let (m, l) = (2 * f + 1, s.saturating_sub(f));
            let safe_and_live = f >= 1 && s >= 5 * f + 1 && 2 * m <= l + 1 && m + l > s + f;
            assert_eq!(Quorums::new(Stake(s), Some(Stake(f))).is_ok(), safe_and_live, "S = {s}, f = {f}");
        }
    }
}

#[test]
fn different_notarizations_in_one_view_are_bounded() {
    assert_eq!(Quorums::new(Stake(6), None).unwrap().notarizations_per_view_max(), 2);
    for f in 2..20 {
        assert_eq!(Quorums::new(Stake(5 * f + 1), None).unwrap().notarizations_per_view_max(), 3);
    }
}

#[test]
fn sets_that_cannot_tolerate_a_fault_are_refused() {
    assert_eq!(ValidatorSet::new(entries(&[1; 5]), None), Err(SetError::Size(5)));
    assert!(matches!(ValidatorSet::new(entries(&[3, 1, 1, 1, 1, 1]), None), Err(SetError::Outweighs { index: 0, .. })));
    assert!(matches!(ValidatorSet::new(entries(&[1, 1, 0, 1, 1, 1]), None), Err(SetError::NoStake(2))));
    assert!(matches!(ValidatorSet::new(entries(&[1; 6]), Some(Stake(2))), Err(SetError::Fault { most: 1, .. })));
    assert!(matches!(ValidatorSet::new(entries(&[u64::MAX / 2; 6]), None), Err(SetError::Overflow)));
    assert!(ValidatorSet::new(entries(&[10, 10, 10, 10, 10, 11]), None).is_ok());
}

#[test]
fn members_may_not_share_a_key() {
    let mut set = entries(&[1; 6]);
    set[4].session_key = set[1].session_key;
    assert_eq!(ValidatorSet::new(set, None), Err(SetError::SharedKey(1, 4)));
}

#[test]
fn an_index_outside_the_set_weighs_nothing() {
    let set = ValidatorSet::new(entries(&[1; 6]), None).unwrap();
    assert_eq!(set.stake(ValidatorIndex(6)), Stake(0));
    assert_eq!(set.weight(&[ValidatorIndex(1), ValidatorIndex(900)].into_iter().collect()), Stake(1));
}
