//! Persist before send, and restarts.

use super::cluster::{Cluster, Node, Packet, params};
use crate::{Input, Output, Recovery};
use samara_types::*;
use std::sync::Arc;

fn recovery_of(cluster: &Cluster, node: &Node) -> Recovery {
    let tip = node.trace.finalized.last().map_or(cluster.genesis().tip, |block| Cluster::tip_of(block));
    let blocks = node.bodies.values().filter(|b| b.header().view > tip.view).cloned().collect();
    Recovery { tip, tip_certificate: None, blocks, records: node.trace.records.clone(), amnesia: false }
}

fn restart(cluster: &mut Cluster, i: usize) {
    let recovery = recovery_of(cluster, &cluster.nodes[i]);
    let machine = cluster.machine(i, recovery);
    cluster.nodes[i].machine = Some(machine);
    cluster.nodes[i].reset_disk();
    cluster.drain(i);
}

#[test]
fn vote_is_not_sent_or_counted_before_it_is_durable() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let node = (0..6).find(|i| *i != cluster.leader(1)).unwrap();
    cluster.nodes[node].disk_stops_after = Some(0);
    let block = cluster.block(1, &cluster.genesis().tip, b"x");
    cluster.deliver(0, node, &Packet::Body(Arc::clone(&block), true));
    let others: Vec<usize> = (0..6).filter(|i| *i != node).collect();
    for voter in &others[..2] {
        cluster.deliver(*voter, node, &Packet::Vote(cluster.vote_from(*voter, 1, block.digest())));
    }
    assert_eq!(cluster.nodes[node].trace.records.len(), 1, "the record was asked for");
    assert!(!cluster.nodes[node].trace.sent.iter().any(|p| matches!(p, Packet::Vote(_))), "nothing signed leaves");
    assert_eq!(cluster.get(node).view(), View(1), "our own vote does not count yet");
    cluster.input(node, Input::Persisted(1));
    assert!(cluster.nodes[node].trace.sent.iter().any(|p| matches!(p, Packet::Vote(_))));
    assert_eq!(cluster.get(node).view(), View(2));
}

#[test]
fn a_proposal_is_not_sent_before_its_record_is_durable() {
    let mut cluster = Cluster::new(6);
    let leader = cluster.leader(1);
    cluster.nodes[leader].disk_stops_after = Some(0);
    cluster.input(leader, Input::Tick);
    let bodies = |cluster: &Cluster| cluster.nodes[leader].trace.sent.iter().filter(|p| matches!(p, Packet::Body(..))).count();
    assert_eq!(bodies(&cluster), 0);
    assert!(matches!(cluster.nodes[leader].trace.records[..], [Record::Proposal(..), Record::Vote(..)]));
    cluster.input(leader, Input::Persisted(1));
    assert_eq!(bodies(&cluster), 1);
    assert!(!cluster.nodes[leader].trace.sent.iter().any(|p| matches!(p, Packet::Vote(_))), "the vote has a record of its own");
}

/// Else a failure of all could leave a quorum of vote records for a block whose body nobody holds, and the chain would stop for good.
#[test]
fn a_block_is_not_sent_before_its_body_is_durable_at_its_leader() {
    let mut cluster = Cluster::new(6);
    let (now, leader, tip) = (cluster.now, cluster.leader(1), cluster.genesis().tip);
    let block = cluster.block(1, &tip, b"x");
    let machine = cluster.get(leader);
    machine.handle(now, Input::Proposed(Arc::clone(&block)));
    let outputs: Vec<Output> = std::iter::from_fn(|| machine.poll()).collect();
    let persisted = outputs.iter().find_map(|output| match output {
        Output::Persist(record, body) => Some((*record, body.clone())),
        _ => None,
    });
    assert_eq!(persisted, Some((Record::Proposal(View(1), block.digest()), Some(block))), "dissemination waits for this one");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Disseminate(..))));
}

#[test]
fn a_restarted_leader_does_not_propose_twice_in_a_view() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let leader = cluster.leader(1);
    cluster.input(leader, Input::Tick);
    restart(&mut cluster, leader);
    for _ in 0..20 {
        cluster.now = cluster.now.after(params().view_timeout);
        cluster.input(leader, Input::Tick);
    }
    let proposals = cluster.nodes[leader].trace.records.iter().filter(|r| matches!(r, Record::Proposal(View(1), _))).count();
    assert_eq!(proposals, 1);
    cluster.check();
}

#[test]
fn votes_sent_again_after_a_restart_are_byte_identical() {
    let mut cluster = Cluster::new(6);
    cluster.run(10);
    let before: Vec<Packet> = cluster.nodes[2].trace.sent.iter().filter(|p| matches!(p, Packet::Vote(_))).cloned().collect();
    cluster.nodes[2].trace.sent.clear();
    // Everything above genesis counts as unfinalized for this restart, so every vote goes out again.
    let recovery = Recovery { records: cluster.nodes[2].trace.records.clone(), ..cluster.genesis() };
    let machine = cluster.machine(2, recovery);
    cluster.nodes[2].machine = Some(machine);
    cluster.drain(2);
    let again: Vec<Packet> = cluster.nodes[2].trace.sent.iter().filter(|p| matches!(p, Packet::Vote(_))).cloned().collect();
    assert!(!again.is_empty() && again.iter().all(|vote| before.contains(vote)));
}

#[test]
fn all_crash_at_once_and_go_on_from_the_same_chain() {
    for steps in [1, 2, 3, 5, 9, 14] {
        let mut cluster = Cluster::new(6);
        cluster.run(steps);
        // Stop in the middle of a burst of messages.
        for _ in 0..steps * 7 {
            if let Some((from, to, packet)) = cluster.queue.pop_front() {
                cluster.deliver(from, to, &packet);
            }
        }
        let before = cluster.heights();
        cluster.queue.clear();
        for i in 0..6 {
            restart(&mut cluster, i);
        }
        cluster.run(50);
        let after = cluster.heights();
        assert!((0..6).all(|i| after[i] > before[i]), "{steps} steps: {before:?} -> {after:?}");
    }
}

#[test]
fn all_crash_after_nullify_and_go_on() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    cluster.run(12);
    assert!(cluster.nodes.iter().all(|node| !node.trace.records.is_empty()));
    cluster.queue.clear();
    for i in 0..6 {
        restart(&mut cluster, i);
    }
    cluster.filter = Box::new(|_, _, _| true);
    cluster.run(80);
    assert!(cluster.heights().iter().all(|h| *h > 3), "{:?}", cluster.heights());
}

#[test]
fn a_validator_without_its_log_signs_nothing_until_the_cluster_is_past_it() {
    let mut cluster = Cluster::new(6);
    cluster.run(20);
    let lost = std::mem::take(&mut cluster.nodes[4].trace.records);
    let seen = lost.iter().map(|r| r.view()).max().unwrap();
    let mut recovery = recovery_of(&cluster, &cluster.nodes[4]);
    recovery.amnesia = true;
    let machine = cluster.machine(4, recovery);
    cluster.nodes[4].machine = Some(machine);
    cluster.nodes[4].reset_disk();
    cluster.run(400);
    let records = &cluster.nodes[4].trace.records;
    assert!(records.iter().all(|r| r.view() > seen), "signed in a view it may have signed in before");
    assert!(!records.is_empty(), "it takes part again once the cluster is past it");
}

/// Its block store was lost and its log was not: the vote is there, and 2f+1 are against it. It tried to nullify for ever, within one call (swarm seed 16).
#[test]
fn a_validator_that_may_not_sign_does_not_answer_a_contradiction_of_its_old_vote() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let vote = Record::Vote(View(1), Digest([1; 32]));
    let recovery = Recovery { records: vec![vote], amnesia: true, ..cluster.genesis() };
    let machine = cluster.machine(4, recovery);
    cluster.nodes[4].machine = Some(machine);
    for voter in [0, 1, 2] {
        cluster.deliver(voter, 4, &Packet::Vote(cluster.vote_from(voter, 1, Digest([2; 32]))));
    }
    assert!(!cluster.get(4).has_voice());
    assert!(cluster.nodes[4].trace.records.is_empty(), "nothing is signed");
    assert_eq!(cluster.get(4).view(), View(2), "what the others prove is believed");
}

/// The highest view anybody claimed to be in counted as seen, so one lie kept such a validator silent for ever.
#[test]
fn claims_of_far_views_do_not_silence_a_validator_without_its_log_for_ever() {
    let mut cluster = Cluster::new(6);
    cluster.run(20);
    let mut recovery = recovery_of(&cluster, &cluster.nodes[4]);
    recovery.amnesia = true;
    cluster.nodes[4].trace.records.clear();
    let machine = cluster.machine(4, recovery);
    cluster.nodes[4].machine = Some(machine);
    cluster.nodes[4].reset_disk();
    let status = message::Status { view: u64::MAX, finalized_view: 0, finalized_height: 0, finalized_digest: [0; 32] };
    cluster.deliver(5, 4, &Packet::Status(status));
    cluster.deliver(5, 4, &Packet::Vote(cluster.vote_from(5, u64::MAX - 1, Digest([1; 32]))));
    cluster.deliver(5, 4, &Packet::Nullify(cluster.nullify_from(5, 1 << 40)));
    cluster.run(400);
    assert!(!cluster.nodes[4].trace.records.is_empty(), "it takes part again");
}

/// Certificates live in memory only. Views 1 and 2 were nullified by three each, one of whom does not come back; the others skipped them
/// with a certificate that nobody holds any more.
#[test]
fn a_nullification_that_nobody_holds_any_more_is_made_again() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    for (view, signers) in [(1, [0, 1, 2]), (2, [0, 1, 3])] {
        let proof = cluster.certificate(Subject::Nullify(View(view)), &signers, message::CertificateKind::Nullification);
        for node in 0..6 {
            if signers.contains(&node) {
                cluster.nodes[node].trace.records.push(Record::Nullify(View(view)));
            }
            cluster.deliver((node + 1) % 6, node, &Packet::Certificate(proof.to_message()));
        }
    }
    cluster.queue.clear();
    for i in 0..6 {
        cluster.nodes[i].trace.records.retain(|record| matches!(record, Record::Nullify(View(1 | 2))));
        cluster.nodes[i].trace.records.dedup();
        restart(&mut cluster, i);
    }
    cluster.nodes[0].machine = None;
    cluster.filter = Box::new(|_, _, _| true);
    cluster.run(300);
    assert!(cluster.heights()[1..].iter().all(|h| *h > 2), "{:?}", cluster.heights());
}
