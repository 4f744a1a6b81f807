//! Exactly at, just under, just over: 2f, 2f+1, n-f-1, n-f.

use super::cluster::{Cluster, Packet};
use samara_types::*;
use std::sync::Arc;

fn sizes() -> [(usize, usize, usize); 3] {
    // n, 2f+1, n-f, written down instead of computed by the code under test.
    [(6, 3, 5), (7, 3, 6), (11, 5, 9)]
}

/// A node that takes no part itself: it leads nothing early and nothing it sends arrives.
fn observer(cluster: &mut Cluster) -> usize {
    cluster.filter = Box::new(|_, _, _| false);
    let leader = cluster.leader(1);
    (0..cluster.nodes.len()).find(|i| *i != leader).unwrap()
}

#[test]
fn m_notarization_needs_2f_plus_1_votes() {
    for (n, m, _) in sizes() {
        let mut cluster = Cluster::new(n);
        let node = observer(&mut cluster);
        let voters: Vec<usize> = (0..n).filter(|i| *i != node).collect();
        for voter in &voters[..m - 1] {
            cluster.deliver(*voter, node, &Packet::Vote(cluster.vote_from(*voter, 1, Digest([9; 32]))));
        }
        assert_eq!(cluster.get(node).view(), View(1), "n = {n}: 2f votes");
        assert_eq!(cluster.get(node).standing(View(1)), Some((Stake(m as u64 - 1), Stake(0))));
        assert_eq!(cluster.get(node).standing(View(9)), None);
        cluster.deliver(voters[m - 1], node, &Packet::Vote(cluster.vote_from(voters[m - 1], 1, Digest([9; 32]))));
        assert_eq!(cluster.get(node).view(), View(2), "n = {n}: 2f+1 votes");
    }
}

#[test]
fn nullification_needs_2f_plus_1_nullifies() {
    for (n, m, _) in sizes() {
        let mut cluster = Cluster::new(n);
        let node = observer(&mut cluster);
        let voters: Vec<usize> = (0..n).filter(|i| *i != node).collect();
        for voter in &voters[..m - 1] {
            cluster.deliver(*voter, node, &Packet::Nullify(cluster.nullify_from(*voter, 1)));
        }
        assert_eq!(cluster.get(node).view(), View(1), "n = {n}: 2f nullifies");
        assert_eq!(cluster.get(node).standing(View(1)), Some((Stake(0), Stake(m as u64 - 1))));
        cluster.deliver(voters[m - 1], node, &Packet::Nullify(cluster.nullify_from(voters[m - 1], 1)));
        assert_eq!(cluster.get(node).view(), View(2), "n = {n}: 2f+1 nullifies");
    }
}

#[test]
fn finality_needs_n_minus_f_votes() {
    for (n, _, l) in sizes() {
        let mut cluster = Cluster::new(n);
        let node = observer(&mut cluster);
        let block = cluster.block(1, &cluster.genesis().tip, b"x");
        cluster.deliver(0, node, &Packet::Body(Arc::clone(&block), true));
        let others: Vec<usize> = (0..n).filter(|i| *i != node).collect();
        // The node's own vote is one of them.
        for voter in &others[..l - 2] {
            cluster.deliver(*voter, node, &Packet::Vote(cluster.vote_from(*voter, 1, block.digest())));
        }
        assert!(cluster.nodes[node].trace.finalized.is_empty(), "n = {n}: n-f-1 votes");
        cluster.deliver(others[l - 2], node, &Packet::Vote(cluster.vote_from(others[l - 2], 1, block.digest())));
        assert_eq!(cluster.nodes[node].trace.finalized.len(), 1, "n = {n}: n-f votes");
    }
}

#[test]
fn contradiction_needs_2f_plus_1_distinct_others_votes_and_nullifies_mixed() {
    for (n, m, _) in sizes() {
        for votes in 0..=m {
            let mut cluster = Cluster::new(n);
            let node = observer(&mut cluster);
            let block = cluster.block(1, &cluster.genesis().tip, b"x");
            cluster.deliver(0, node, &Packet::Body(Arc::clone(&block), true));
            let others: Vec<usize> = (0..n).filter(|i| *i != node).collect();
            let mut nullified = false;
            for (at, other) in others[..m].iter().enumerate() {
                assert!(!nullified, "n = {n}, {votes} votes: nullified after {at} contradicting");
                // A different block for each voter, so that no other certificate can form.
                let packet = if at < votes {
                    Packet::Vote(cluster.vote_from(*other, 1, Digest([at as u8 + 1; 32])))
                } else {
                    Packet::Nullify(cluster.nullify_from(*other, 1))
                };
                for _ in 0..3 {
                    cluster.deliver(*other, node, &packet);
                }
                nullified = cluster.nodes[node].trace.records.contains(&Record::Nullify(View(1)));
            }
            assert!(nullified, "n = {n}, {votes} votes: 2f+1 distinct others contradict");
        }
    }
}
