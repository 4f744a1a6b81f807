//! T4-T32 of the reference, as far as one machine's rules decide them.

use super::cluster::{Cluster, Packet, params};
use crate::{Input, Tip};
use samara_types::message::CertificateKind;
use samara_types::*;
use std::sync::Arc;

fn genesis(cluster: &Cluster) -> Tip {
    cluster.genesis().tip
}

#[test]
fn six_correct_validators_finalize_every_view() {
    let mut cluster = Cluster::new(6);
    cluster.run(40);
    let heights = cluster.heights();
    assert!(heights.iter().all(|h| *h > 20), "{heights:?}");
    for node in &cluster.nodes {
        let finalized = &node.trace.finalized;
        assert!(finalized.windows(2).all(|pair| pair[1].header().view == pair[0].header().view.next()), "a view was lost");
        assert!(node.trace.evidence.is_empty());
    }
}

#[test]
fn eleven_validators_with_two_dead_go_on() {
    let mut cluster = Cluster::new(11);
    cluster.nodes[3].machine = None;
    cluster.nodes[7].machine = None;
    cluster.run(200);
    let heights = cluster.heights();
    assert!(heights.iter().enumerate().all(|(i, h)| [3, 7].contains(&i) || *h > 20), "{heights:?}");
}

#[test]
fn six_validators_stop_safely_with_two_dead() {
    let mut cluster = Cluster::new(6);
    cluster.nodes[0].machine = None;
    cluster.nodes[1].machine = None;
    cluster.run(60);
    assert!(cluster.heights().iter().all(|h| *h == 0));
}

#[test]
fn a_silent_leader_costs_the_full_timeout_once_and_less_afterwards() {
    let mut cluster = Cluster::new(6);
    let dead = cluster.leader(1);
    cluster.nodes[dead].machine = None;
    let other = (dead + 1) % 6;
    let mut waits = Vec::new();
    let mut entered = (cluster.get(other).view(), cluster.now);
    while waits.len() < 3 {
        cluster.run(1);
        let view = cluster.get(other).view();
        if view > entered.0 {
            if cluster.leader(entered.0.0) == dead {
                waits.push(cluster.now.since(entered.1));
            }
            entered = (view, cluster.now);
        }
    }
    let timeout = params().view_timeout;
    assert!(waits[0] >= timeout, "{waits:?}");
    assert!(waits[1..].iter().all(|wait| *wait < Nanos(timeout.0 / 2)), "{waits:?}");
}

#[test]
fn an_m_notarization_before_the_proposal_is_voted_for_without_the_body() {
    let mut cluster = Cluster::new(6);
    let block = cluster.block(1, &genesis(&cluster), b"x");
    let m = cluster.certificate(Subject::Vote(View(1), block.digest()), &[0, 1, 2], CertificateKind::M);
    cluster.filter = Box::new(|_, _, _| false);
    cluster.deliver(0, 5, &Packet::Certificate(m.to_message()));
    assert_eq!(cluster.nodes[5].trace.records, [Record::Vote(View(1), block.digest())]);
    assert_eq!(cluster.get(5).view(), View(2));
    assert!(cluster.nodes[5].trace.sent.contains(&Packet::Certificate(m.to_message())), "a received certificate is forwarded");
}

#[test]
fn skip_ahead_then_d2_votes_for_skipped_views() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let nullification = cluster.certificate(Subject::Nullify(View(9)), &[0, 1, 2], CertificateKind::Nullification);
    cluster.deliver(0, 5, &Packet::Certificate(nullification.to_message()));
    assert_eq!(cluster.get(5).view(), View(10));
    let block = cluster.block(4, &genesis(&cluster), b"x");
    let m = cluster.certificate(Subject::Vote(View(4), block.digest()), &[0, 1, 2], CertificateKind::M);
    cluster.deliver(0, 5, &Packet::Certificate(m.to_message()));
    assert_eq!(cluster.nodes[5].trace.records, [Record::Vote(View(4), block.digest())]);
    assert_eq!(cluster.get(5).view(), View(10), "an older proof moves nobody back");
}

#[test]
fn late_votes_finalize_a_past_view_and_its_ancestors() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let one = cluster.block(1, &genesis(&cluster), b"1");
    let two = cluster.block(2, &Cluster::tip_of(&one), b"2");
    for block in [&two, &one] {
        cluster.deliver(0, 5, &Packet::Body(Arc::clone(block), false));
    }
    let l = cluster.certificate(Subject::Vote(View(2), two.digest()), &[0, 1, 2, 3, 4], CertificateKind::L);
    cluster.deliver(0, 5, &Packet::Certificate(l.to_message()));
    let finalized: Vec<_> = cluster.nodes[5].trace.finalized.iter().map(|b| b.digest()).collect();
    assert_eq!(finalized, [one.digest(), two.digest()]);
}

#[test]
fn a_view_we_nullified_is_still_finalized_when_enough_others_voted() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let slow = (cluster.leader(1) + 1) % 6;
    cluster.now = params().view_timeout;
    cluster.input(slow, Input::Tick);
    assert_eq!(cluster.nodes[slow].trace.records, [Record::Nullify(View(1))]);
    let block = cluster.block(1, &genesis(&cluster), b"x");
    cluster.deliver(0, slow, &Packet::Body(Arc::clone(&block), true));
    for voter in (0..6).filter(|voter| *voter != slow) {
        cluster.deliver(voter, slow, &Packet::Vote(cluster.vote_from(voter, 1, block.digest())));
    }
    assert_eq!(cluster.nodes[slow].trace.finalized.len(), 1);
    let of_view_1 = cluster.nodes[slow].trace.records.iter().filter(|record| record.view() == View(1)).count();
    assert_eq!(of_view_1, 1, "no vote after the nullify");
}

#[test]
fn a_voter_never_nullifies_by_timeout() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let voter = (cluster.leader(1) + 1) % 6;
    let block = cluster.block(1, &genesis(&cluster), b"x");
    cluster.deliver(cluster.leader(1), voter, &Packet::Body(block, true));
    for _ in 0..50 {
        cluster.now = cluster.now.after(params().view_timeout);
        cluster.input(voter, Input::Tick);
    }
    assert_eq!(cluster.nodes[voter].trace.records.len(), 1);
}

#[test]
fn an_equivocating_leader_splits_no_one_and_the_chain_goes_on() {
    for split in [vec![0, 0, 0, 1, 1, 1], vec![0, 0, 1, 1, 1, 1], vec![0, 1, 1, 1, 1, 1]] {
        let mut cluster = Cluster::new(6);
        let liar = cluster.leader(1);
        let blocks = [cluster.block(1, &genesis(&cluster), b"a"), cluster.block(1, &genesis(&cluster), b"b")];
        cluster.nodes[liar].machine = None;
        for node in (0..6).filter(|node| *node != liar) {
            cluster.deliver(liar, node, &Packet::Body(Arc::clone(&blocks[split[node]]), true));
            for (which, block) in blocks.iter().enumerate() {
                if which == split[node] {
                    cluster.nodes[node].bodies.insert(block.digest(), Arc::clone(block));
                }
                let vote = cluster.vote_from(liar, 1, block.digest());
                cluster.deliver(liar, node, &Packet::Vote(vote));
            }
        }
        cluster.run(150);
        let heights = cluster.heights();
        assert!(heights.iter().enumerate().all(|(i, h)| i == liar || *h > 5), "split {split:?}: {heights:?}");
        for node in (0..6).filter(|node| *node != liar) {
            let evidence = &cluster.nodes[node].trace.evidence;
            let guilty = |e: &Evidence| e.accused.at() == liar && e.offence == Offence::VoteEquivocation;
            assert!(evidence.iter().any(guilty) && evidence.iter().all(|e| e.accused.at() == liar), "node {node}: {evidence:?}");
        }
    }
}

#[test]
fn an_invalid_payload_is_refused_by_all_and_nullified_at_once() {
    let mut cluster = Cluster::new(6);
    let liar = cluster.leader(1);
    cluster.nodes[liar].machine = None;
    let block = cluster.block(1, &genesis(&cluster), b"invalid");
    let start = cluster.now;
    for node in (0..6).filter(|node| *node != liar) {
        cluster.deliver(liar, node, &Packet::Body(Arc::clone(&block), true));
    }
    cluster.settle();
    assert_eq!(cluster.now, start);
    for node in (0..6).filter(|node| *node != liar) {
        assert!(cluster.get(node).view() >= View(2), "nobody waits for the timeout");
        assert!(cluster.nodes[node].trace.evidence.iter().any(|e| e.offence == Offence::InvalidBlock && e.accused.at() == liar));
    }
}

#[test]
fn a_proposal_waits_for_the_nullifications_of_the_gap() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let node = (0..6).find(|node| (1..=3).all(|view| cluster.leader(view) != *node)).unwrap();
    let proof = cluster.certificate(Subject::Nullify(View(2)), &[0, 1, 2], CertificateKind::Nullification);
    cluster.deliver(0, node, &Packet::Certificate(proof.to_message()));
    let block = cluster.block(3, &genesis(&cluster), b"x");
    cluster.deliver(cluster.leader(3), node, &Packet::Body(block, true));
    assert!(cluster.nodes[node].trace.records.is_empty(), "view 1 is not proven empty yet");
    let asked = cluster.nodes[node].trace.sent.iter().any(|packet| matches!(packet, Packet::Request(r) if r.from == 0 && r.to == 1));
    assert!(asked, "the missing certificates were not asked for");
    let gap = cluster.certificate(Subject::Nullify(View(1)), &[0, 1, 2], CertificateKind::Nullification);
    cluster.deliver(0, node, &Packet::Certificate(gap.to_message()));
    assert!(matches!(cluster.nodes[node].trace.records[..], [Record::Vote(View(3), _)]));
}

#[test]
fn a_proposal_on_an_unnotarized_parent_is_not_voted_for() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let node = (0..6).find(|node| (1..=2).all(|view| cluster.leader(view) != *node)).unwrap();
    let good = cluster.block(1, &genesis(&cluster), b"good");
    let other = cluster.block(1, &genesis(&cluster), b"other");
    let m = cluster.certificate(Subject::Vote(View(1), good.digest()), &[0, 1, 2], CertificateKind::M);
    for block in [&good, &other] {
        cluster.deliver(0, node, &Packet::Body(Arc::clone(block), false));
    }
    cluster.deliver(0, node, &Packet::Certificate(m.to_message()));
    let child = cluster.block(2, &Cluster::tip_of(&other), b"child");
    cluster.deliver(cluster.leader(2), node, &Packet::Body(child, true));
    assert_eq!(cluster.nodes[node].trace.records, [Record::Vote(View(1), good.digest())]);
}

#[test]
fn every_certificate_of_a_view_is_forwarded_per_block_and_once() {
    let mut cluster = Cluster::new(11);
    cluster.filter = Box::new(|_, _, _| false);
    let blocks = [cluster.block(1, &genesis(&cluster), b"a"), cluster.block(1, &genesis(&cluster), b"b")];
    for (block, signers) in blocks.iter().zip([[0, 1, 2, 3, 4], [0, 1, 5, 6, 7]]) {
        let m = cluster.certificate(Subject::Vote(View(1), block.digest()), &signers, CertificateKind::M);
        for _ in 0..3 {
            cluster.deliver(0, 9, &Packet::Certificate(m.to_message()));
        }
        let forwarded = cluster.nodes[9].trace.sent.iter().filter(|p| **p == Packet::Certificate(m.to_message())).count();
        assert_eq!(forwarded, 1);
    }
    let votes = cluster.nodes[9].trace.records.iter().filter(|r| matches!(r, Record::Vote(..))).count();
    assert_eq!(votes, 1);
    assert!(cluster.nodes[9].trace.records.contains(&Record::Nullify(View(1))), "F': a second notarization contradicts our vote");
}

#[test]
fn a_lossy_network_still_finalizes() {
    let mut cluster = Cluster::new(6);
    let mut state = 1u64;
    cluster.filter = Box::new(move |_, _, _| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % 100 >= 30
    });
    cluster.run(400);
    let heights = cluster.heights();
    assert!(heights.iter().all(|h| *h >= 5), "{heights:?}");
}

#[test]
fn all_votes_lost_after_everyone_voted_is_healed_by_retransmission() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, packet| matches!(packet, Packet::Body(..)));
    cluster.run(8);
    assert!(cluster.nodes.iter().all(|node| matches!(node.trace.records.last(), Some(Record::Vote(View(1), _)))));
    assert!(cluster.heights().iter().all(|h| *h == 0));
    cluster.filter = Box::new(|_, _, _| true);
    cluster.run(10);
    assert!(cluster.heights().iter().all(|h| *h > 0), "{:?}", cluster.heights());
}

#[test]
fn a_partition_heals() {
    for groups in [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1]] {
        let mut cluster = Cluster::new(6);
        cluster.filter = Box::new(move |from, to, _| groups[from] == groups[to]);
        cluster.run(60);
        cluster.filter = Box::new(|_, _, _| true);
        let before = cluster.heights();
        cluster.run(80);
        let after = cluster.heights();
        let synced: Vec<_> = cluster.nodes.iter().map(|node| node.trace.syncs).collect();
        let healed = |i: usize| after[i] > before[i] || synced[i] > 0;
        assert!((0..6).all(healed), "{groups:?}: {before:?} -> {after:?}, syncs {synced:?}");
    }
}

#[test]
fn half_hold_the_nullification_and_half_the_notarization_of_a_view() {
    let mut cluster = Cluster::new(6);
    let block = cluster.block(1, &genesis(&cluster), b"x");
    let m = cluster.certificate(Subject::Vote(View(1), block.digest()), &[0, 1, 2], CertificateKind::M);
    let nullification = cluster.certificate(Subject::Nullify(View(1)), &[3, 4, 5], CertificateKind::Nullification);
    for node in 0..6 {
        cluster.nodes[node].bodies.insert(block.digest(), Arc::clone(&block));
        let certificate = if node < 3 { &m } else { &nullification };
        cluster.deliver(0, node, &Packet::Certificate(certificate.to_message()));
    }
    cluster.run(120);
    assert!(cluster.heights().iter().all(|h| *h > 3), "{:?}", cluster.heights());
}

#[test]
fn a_far_laggard_asks_for_the_sync_stream_and_goes_on_from_it() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, to, _| to != 5);
    cluster.run(100);
    assert_eq!(cluster.heights()[5], 0);
    cluster.filter = Box::new(|_, _, _| true);
    for _ in 0..40 {
        cluster.run(1);
        if cluster.nodes[5].trace.syncs > 0 {
            break;
        }
    }
    assert_eq!(cluster.nodes[5].trace.syncs, 1, "asked once");
    let last = cluster.nodes[0].trace.finalized.last().cloned().unwrap();
    let subject = Subject::Vote(last.header().view, last.digest());
    let l = cluster.certificate(subject, &[0, 1, 2, 3, 4], CertificateKind::L);
    let run = cluster.nodes[0].trace.finalized.iter().map(|b| (Arc::clone(b), (b.digest() == last.digest()).then(|| l.clone())));
    let run: Vec<_> = run.collect();
    cluster.input(5, Input::Synced(run));
    cluster.input(5, Input::SyncEnded);
    assert_eq!(cluster.heights()[5], last.header().height.0);
    cluster.run(60);
    assert!(cluster.heights()[5] > last.header().height.0, "{:?}", cluster.heights());
}
