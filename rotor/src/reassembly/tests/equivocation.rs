use super::*;
use crate::wire::parse_announcement;

/// Both halves of the proof are announcements the leader signed, and they exclude each other.
fn assert_proves(cluster: &Cluster, evidence: &Evidence) {
    assert_eq!((evidence.offence, evidence.view), (Offence::LeaderEquivocation, VIEW));
    assert_eq!(evidence.accused, cluster.schedule.leader(VIEW));
    let (one, two) = evidence.proof.split_at(evidence.proof.len() / 2);
    let (one, two) = (parse_announcement(one).unwrap(), parse_announcement(two).unwrap());
    for (commitment, signature) in [&one, &two] {
        assert!(cluster.roster.verify_slice(evidence.accused, commitment, signature));
    }
    let same_slice = one.0.slice == two.0.slice && one.0 != two.0;
    let (earlier, later) = if one.0.slice < two.0.slice { (one.0, two.0) } else { (two.0, one.0) };
    assert!(same_slice || (earlier.last && earlier.slice < later.slice));
}

fn equivocations(node: &mut Reassembly) -> Vec<Evidence> {
    let of = |event| if let Event::Equivocation(evidence) = event { Some(evidence) } else { None };
    events(node).into_iter().filter_map(of).collect()
}

/// Reference, section 1.4, hole 2: the second root is noticed, kept as evidence once, sent on; a third is not looked at.
#[test]
fn a_second_root_for_a_slice_is_evidence_once_and_travels_on_and_a_third_is_not_looked_at() {
    let cluster = Cluster::new(6);
    let variants: Vec<ShreddedBlock> = (1..=3).map(|seed| cluster.block(VIEW, 5_000, seed)).collect();
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    let mine: Vec<u8> = seats(&cluster, &variants[0].slices[0]).of(ValidatorIndex(me)).map(|index| index.0).collect();
    let mut results = |variant: usize, index: u8| give(&cluster, &mut node, me, &variants[variant].slices[0], index);
    assert_eq!(results(0, mine[0]), Ok(ShredAccepted { relay: true }));
    assert_eq!(results(1, mine[0]), Ok(ShredAccepted { relay: true }), "the second variant spreads, so that all learn of it");
    assert_eq!(results(2, mine[0]), Err(ShredReject::Variants));
    assert_eq!(results(1, mine[1]), Ok(ShredAccepted { relay: true }));
    assert!(node.is_equivocated(VIEW) && !node.is_equivocated(VIEW.next()));
    let evidence = equivocations(&mut node);
    assert_eq!(evidence.len(), 1);
    assert_proves(&cluster, &evidence[0]);
}

#[test]
fn announcements_alone_show_equivocation() {
    let cluster = Cluster::new(6);
    let mut node = cluster.node(receiver(&cluster, 0));
    let leader = cluster.schedule.leader(VIEW);
    for seed in 1..=2 {
        node.on_announce(NOW, &cluster.roster, leader, &cluster.block(VIEW, 5_000, seed).slices[0].announcement()).unwrap();
    }
    let evidence = equivocations(&mut node);
    assert_eq!(evidence.len(), 1);
    assert_proves(&cluster, &evidence[0]);
}

/// Perfect equivocation (reference, section 1.4): one version ends with the last flag, the other goes on behind it. Whichever slice comes
/// first, the conflict is seen.
#[test]
fn a_slice_beyond_a_last_one_is_equivocation_in_either_order() {
    let cluster = Cluster::new(6);
    let (short, long) = (cluster.block(VIEW, 50_000, 1), cluster.block(VIEW, 120_000, 2));
    let (last_of_short, beyond) = (&short.slices[1], &long.slices[2]);
    assert!(last_of_short.commitment.last && !beyond.commitment.last);
    for order in [[last_of_short, beyond], [beyond, last_of_short]] {
        let me = receiver(&cluster, 0);
        let mut node = cluster.node(me);
        for slice in order {
            give(&cluster, &mut node, me, slice, 0).unwrap();
        }
        let evidence = equivocations(&mut node);
        assert_eq!(evidence.len(), 1);
        assert_proves(&cluster, &evidence[0]);
    }
}

#[test]
fn two_last_slices_at_different_places_are_equivocation() {
    let cluster = Cluster::new(6);
    let (short, long) = (cluster.block(VIEW, 10_000, 1), cluster.block(VIEW, 50_000, 2));
    for order in [[&short.slices[0], &long.slices[1]], [&long.slices[1], &short.slices[0]]] {
        let me = receiver(&cluster, 0);
        let mut node = cluster.node(me);
        for slice in order {
            give(&cluster, &mut node, me, slice, 0).unwrap();
        }
        assert_proves(&cluster, &equivocations(&mut node)[0]);
    }
}

/// Every conflict ends whole or dead: whatever came first, the certified version is fetched.
#[test]
fn whichever_version_came_first_the_certified_one_is_fetched() {
    let cluster = Cluster::new(6);
    let (a, b) = (cluster.block(VIEW, 50_000, 1), cluster.block(VIEW, 120_000, 2));
    let voter = receiver(&cluster, 1);
    let holders: SignerBitmap = [ValidatorIndex(voter)].into_iter().collect();
    for certified in [&a, &b] {
        let mut server = cluster.node(voter);
        give_all(&cluster, &mut server, voter, certified, 0..128);
        for first in [&a, &b] {
            let me = receiver(&cluster, 0);
            let mut node = cluster.node(me);
            give_all(&cluster, &mut node, me, first, 0..20);
            give_all(&cluster, &mut node, me, &a, 0..128);
            give_all(&cluster, &mut node, me, &b, 0..128);
            assert!(node.is_equivocated(VIEW));
            assert!(node.want(NOW, VIEW, certified.block.digest(), holders));
            repair::answer_all(&cluster, &mut node, &mut [(voter, &mut server)], NOW);
            let got = node.block(VIEW, &certified.block.digest());
            assert_eq!(got.map(|block| block.payload()), Some(certified.block.payload()));
            assert_eq!(node.requests_outstanding(), 0);
        }
    }
}
