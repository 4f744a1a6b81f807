//! Bugs found elsewhere (reference, section 4.1), each a test named for its symptom.

use super::cluster::{Cluster, Packet, params};
use crate::{Input, VoteReject};
use samara_types::message::{CertificateKind, access, encode};
use samara_types::*;
use std::sync::Arc;

fn quiet(n: usize) -> (Cluster, usize) {
    let mut cluster = Cluster::new(n);
    cluster.filter = Box::new(|_, _, _| false);
    let leader = cluster.leader(1);
    let node = (0..n).find(|i| *i != leader).unwrap();
    (cluster, node)
}

fn others(n: usize, node: usize) -> Vec<usize> {
    (0..n).filter(|i| *i != node).collect()
}

#[test]
fn own_nullify_counts_for_the_nullification() {
    let (mut cluster, node) = quiet(6);
    cluster.now = params().view_timeout;
    cluster.input(node, Input::Tick);
    for other in &others(6, node)[..2] {
        cluster.deliver(*other, node, &Packet::Nullify(cluster.nullify_from(*other, 1)));
    }
    assert_eq!(cluster.get(node).view(), View(2));
}

#[test]
fn a_vote_with_an_invalid_signature_is_not_counted_and_names_its_sender() {
    let (mut cluster, node) = quiet(6);
    let voters = others(6, node);
    let mut forged = cluster.vote_from(voters[0], 1, Digest([9; 32]));
    forged.signature = cluster.vote_from(voters[0], 2, Digest([9; 32])).signature;
    cluster.deliver(voters[0], node, &Packet::Vote(forged));
    for voter in &voters[1..3] {
        cluster.deliver(*voter, node, &Packet::Vote(cluster.vote_from(*voter, 1, Digest([9; 32]))));
    }
    assert_eq!(cluster.get(node).view(), View(1));
    let evidence = &cluster.nodes[node].trace.evidence;
    assert!(matches!(&evidence[..], [e] if e.accused.at() == voters[0] && e.offence == Offence::BadVoteSignature), "{evidence:?}");
    cluster.deliver(voters[3], node, &Packet::Vote(cluster.vote_from(voters[3], 1, Digest([9; 32]))));
    assert_eq!(cluster.get(node).view(), View(2), "the honest votes still make the certificate");
}

/// A good vote and a forged second one for another block cost two pairing checks; a sender who does that is not heard again, so that it costs them once.
#[test]
fn a_forged_second_vote_ends_the_senders_credit() {
    let (mut cluster, node) = quiet(6);
    let sender = others(6, node)[0];
    cluster.deliver(sender, node, &Packet::Vote(cluster.vote_from(sender, 1, Digest([9; 32]))));
    let mut forged = cluster.vote_from(sender, 1, Digest([8; 32]));
    forged.signature = cluster.vote_from(sender, 2, Digest([8; 32])).signature;
    cluster.deliver(sender, node, &Packet::Vote(forged));
    let evidence = &cluster.nodes[node].trace.evidence;
    assert!(matches!(&evidence[..], [e] if e.accused.at() == sender && e.offence == Offence::BadVoteSignature), "{evidence:?}");
    let checks = cluster.get(node).stats().pairing_checks;
    assert_eq!(checks, 2);
    for digest in [7, 6] {
        cluster.deliver(sender, node, &Packet::Vote(cluster.vote_from(sender, 2, Digest([digest; 32]))));
    }
    assert_eq!(cluster.get(node).stats().pairing_checks, checks, "the next view costs nothing");
    assert_eq!(cluster.nodes[node].trace.evidence.len(), 1);
}

/// Two good votes in each of 64 views would cost two checks a view and sender.
#[test]
fn who_is_proven_to_have_voted_twice_is_not_judged_again() {
    let mut cluster = Cluster::new(6);
    cluster.filter = Box::new(|_, _, _| false);
    let node = (0..6).find(|i| *i != cluster.leader(1)).unwrap();
    let liar = (0..6).rfind(|i| *i != node).unwrap();
    for view in 1..60 {
        for digest in [3, 4] {
            cluster.deliver(liar, node, &Packet::Vote(cluster.vote_from(liar, view, Digest([digest; 32]))));
        }
    }
    let evidence = &cluster.nodes[node].trace.evidence;
    assert!(matches!(&evidence[..], [e] if e.accused.at() == liar && e.offence == Offence::VoteEquivocation), "{evidence:?}");
    assert_eq!(cluster.get(node).stats().pairing_checks, 2);
}

#[test]
fn a_proposal_of_somebody_else_than_the_leader_is_not_accepted() {
    let (mut cluster, node) = quiet(6);
    let block = cluster.block(1, &cluster.genesis().tip, b"x");
    let header = BlockHeader { leader: ValidatorIndex(((cluster.leader(1) + 1) % 6) as u16), ..*block.header() };
    let foreign = Block::new(header, block.roots().to_vec(), block.payload().to_vec()).unwrap();
    cluster.deliver(0, node, &Packet::Body(Arc::new(foreign), true));
    assert!(cluster.nodes[node].trace.records.is_empty());
}

#[test]
fn a_finalized_view_emits_no_contradiction_nullify() {
    let (mut cluster, node) = quiet(6);
    let block = cluster.block(1, &cluster.genesis().tip, b"x");
    cluster.deliver(0, node, &Packet::Body(Arc::clone(&block), true));
    for voter in &others(6, node)[..4] {
        cluster.deliver(*voter, node, &Packet::Vote(cluster.vote_from(*voter, 1, block.digest())));
    }
    assert_eq!(cluster.nodes[node].trace.finalized.len(), 1);
    for other in others(6, node) {
        cluster.deliver(other, node, &Packet::Nullify(cluster.nullify_from(other, 1)));
        cluster.deliver(other, node, &Packet::Vote(cluster.vote_from(other, 1, Digest([other as u8; 32]))));
    }
    assert!(!cluster.nodes[node].trace.records.contains(&Record::Nullify(View(1))));
}

#[test]
fn the_timeout_runs_in_a_view_entered_by_certificate() {
    let (mut cluster, node) = quiet(6);
    let proof = cluster.certificate(Subject::Nullify(View(4)), &[0, 1, 2], CertificateKind::Nullification);
    cluster.deliver(0, node, &Packet::Certificate(proof.to_message()));
    cluster.now = cluster.now.after(params().view_timeout);
    cluster.input(node, Input::Tick);
    assert!(cluster.nodes[node].trace.records.contains(&Record::Nullify(View(5))) || cluster.leader(5) == node);
}

#[test]
fn split_votes_and_one_nullify_contradict() {
    let (mut cluster, node) = quiet(6);
    let block = cluster.block(1, &cluster.genesis().tip, b"x");
    cluster.deliver(0, node, &Packet::Body(block, true));
    let voters = others(6, node);
    cluster.deliver(voters[0], node, &Packet::Vote(cluster.vote_from(voters[0], 1, Digest([1; 32]))));
    cluster.deliver(voters[1], node, &Packet::Vote(cluster.vote_from(voters[1], 1, Digest([2; 32]))));
    assert!(!cluster.nodes[node].trace.records.contains(&Record::Nullify(View(1))));
    cluster.deliver(voters[2], node, &Packet::Nullify(cluster.nullify_from(voters[2], 1)));
    assert!(cluster.nodes[node].trace.records.contains(&Record::Nullify(View(1))));
}

#[test]
fn one_conflicting_voter_repeating_himself_contradicts_nobody() {
    let (mut cluster, node) = quiet(6);
    let block = cluster.block(1, &cluster.genesis().tip, b"x");
    cluster.deliver(0, node, &Packet::Body(block, true));
    let voter = others(6, node)[0];
    for digest in [[1; 32], [2; 32], [1; 32], [3; 32]] {
        cluster.deliver(voter, node, &Packet::Vote(cluster.vote_from(voter, 1, Digest(digest))));
    }
    cluster.deliver(voter, node, &Packet::Nullify(cluster.nullify_from(voter, 1)));
    assert!(!cluster.nodes[node].trace.records.contains(&Record::Nullify(View(1))));
}

#[test]
fn m_and_l_certificates_both_come_of_votes_in_bulk() {
    let (mut cluster, node) = quiet(6);
    for voter in others(6, node) {
        cluster.deliver(voter, node, &Packet::Vote(cluster.vote_from(voter, 1, Digest([9; 32]))));
    }
    let sent = &cluster.nodes[node].trace.sent;
    assert!(sent.iter().any(|p| matches!(p, Packet::Certificate(c) if c.kind == CertificateKind::M as u8)));
    assert_eq!(cluster.get(node).view(), View(2));
}

#[test]
fn votes_of_one_view_do_not_count_in_another() {
    let (mut cluster, node) = quiet(6);
    for (at, voter) in others(6, node).into_iter().enumerate() {
        cluster.deliver(voter, node, &Packet::Vote(cluster.vote_from(voter, 1 + at as u64 % 3, Digest([9; 32]))));
    }
    assert_eq!(cluster.get(node).view(), View(1));
}

#[test]
fn a_certificate_replayed_under_another_view_is_refused_and_its_sender_barred() {
    let (mut cluster, node) = quiet(6);
    let nullification = cluster.certificate(Subject::Nullify(View(1)), &[0, 1, 2], CertificateKind::Nullification);
    let mut replayed = nullification.to_message();
    replayed.view = 7;
    let sender = others(6, node)[0];
    cluster.deliver(sender, node, &Packet::Certificate(replayed));
    assert_eq!(cluster.get(node).view(), View(1));
    assert_eq!(cluster.get(node).stats().rejects[VoteReject::BadCertificate as usize], 1);
    assert!(cluster.nodes[node].trace.evidence.iter().any(|e| e.accused.at() == sender && e.offence == Offence::BadCertificate));
    let checks = cluster.get(node).stats().pairing_checks;
    let mut another = nullification.to_message();
    another.view = 8;
    cluster.deliver(sender, node, &Packet::Certificate(another));
    assert_eq!(cluster.get(node).stats().pairing_checks, checks, "a second bad certificate costs no pairing");
    cluster.deliver(others(6, node)[1], node, &Packet::Certificate(nullification.to_message()));
    assert_eq!(cluster.get(node).view(), View(2), "others' certificates still count");
}

/// What a laggard gets in answer to a request comes in one burst: one equation for all that is new in it.
#[test]
fn certificates_of_one_burst_share_one_equation_and_the_rest_costs_nothing() {
    let (mut cluster, node) = quiet(6);
    let peers = others(6, node);
    let nullified = |view: u64| cluster.certificate(Subject::Nullify(View(view)), &[0, 1, 2], CertificateKind::Nullification).to_message();
    let known = nullified(1);
    let fresh: Vec<_> = (2..12).map(nullified).collect();
    let unknown_kind = samara_types::message::Certificate { kind: 9, ..nullified(40) };
    cluster.deliver(peers[0], node, &Packet::Certificate(known.clone()));
    let messages: Vec<_> = [known, unknown_kind].into_iter().chain(fresh.iter().cloned()).chain(fresh.iter().cloned()).collect();
    let wires: Vec<_> = messages.iter().map(encode).collect();
    let burst: Vec<_> = wires.iter().map(|wire| (ValidatorIndex(peers[1] as u16), access(wire).unwrap())).collect();
    let before = cluster.get(node).stats().pairing_checks;
    let verdicts = cluster.get(node).verify_together(&burst);
    assert_eq!(cluster.get(node).stats().pairing_checks, before + 1);
    let decided: Vec<bool> = verdicts.iter().map(|verdict| matches!(verdict, Some(Ok(_)))).collect();
    assert_eq!(
        decided,
        [vec![false; 2], vec![true; 10], vec![false; 10]].concat(),
        "what is known, malformed or there already is left out"
    );
    for ((from, wire), verdict) in burst.into_iter().zip(verdicts) {
        let input = verdict.map_or(Input::Certificate(from, wire), |verdict| Input::Verified(from, wire, verdict));
        if wire.kind != 9 {
            cluster.input(node, input);
        }
    }
    assert_eq!((cluster.get(node).view(), cluster.get(node).stats().pairing_checks), (View(12), before + 1));
}

/// A liar's certificates among others' cost one equation and one check, once, and nobody else's are lost.
#[test]
fn a_bad_certificate_in_a_burst_ends_its_senders_credit_and_harms_no_other() {
    let (mut cluster, node) = quiet(6);
    let (honest, liar) = (ValidatorIndex(others(6, node)[0] as u16), ValidatorIndex(others(6, node)[1] as u16));
    let nullified = |view: u64| cluster.certificate(Subject::Nullify(View(view)), &[0, 1, 2], CertificateKind::Nullification).to_message();
    let good: Vec<_> = (1..4).map(nullified).collect();
    let forged: Vec<_> = (5..9).map(|view| samara_types::message::Certificate { view, ..good[0].clone() }).collect();
    let messages: Vec<_> = forged.iter().chain(&good).map(encode).collect();
    let sender = |at: usize| if at < forged.len() { liar } else { honest };
    let burst: Vec<_> = messages.iter().enumerate().map(|(at, wire)| (sender(at), access(wire).unwrap())).collect();
    let verdicts = cluster.get(node).verify_together(&burst);
    let checks = cluster.get(node).stats().pairing_checks;
    assert_eq!(checks, 1 + 1 + good.len() as u64, "the equation, the first of the liar, each of the others");
    for ((from, wire), verdict) in burst.iter().zip(verdicts) {
        cluster.input(node, verdict.map_or(Input::Certificate(*from, wire), |verdict| Input::Verified(*from, wire, verdict)));
    }
    assert_eq!((cluster.get(node).view(), cluster.get(node).stats().pairing_checks), (View(4), checks));
    let rejects = cluster.get(node).stats().rejects;
    assert_eq!((rejects[VoteReject::BadCertificate as usize], rejects[VoteReject::Barred as usize]), (1, 3));
    assert!(cluster.get(node).verify_together(&burst[..forged.len()]).iter().all(Option::is_none));
    assert_eq!(cluster.get(node).stats().pairing_checks, checks, "once");
}

/// A verdict stands whatever became of the subject since: who forged is held to it though nobody needs the certificate any more.
#[test]
fn a_bad_verdict_counts_even_if_the_certificate_is_known_by_then() {
    let (mut cluster, node) = quiet(6);
    let (honest, liar) = (ValidatorIndex(others(6, node)[0] as u16), ValidatorIndex(others(6, node)[1] as u16));
    let nullified = |view: u64| cluster.certificate(Subject::Nullify(View(view)), &[0, 1, 2], CertificateKind::Nullification).to_message();
    let (one, two) = (nullified(3), nullified(4));
    let forged = samara_types::message::Certificate { signature: two.signature, ..one.clone() };
    let wires = [encode(&forged), encode(&two), encode(&one)];
    let burst = [(liar, access(&wires[0]).unwrap()), (honest, access(&wires[1]).unwrap())];
    let verdicts = cluster.get(node).verify_together(&burst);
    cluster.input(node, Input::Certificate(honest, access(&wires[2]).unwrap()));
    assert_eq!(cluster.get(node).view(), View(4));
    for ((from, wire), verdict) in burst.into_iter().zip(verdicts) {
        cluster.input(node, Input::Verified(from, wire, verdict.unwrap()));
    }
    assert_eq!(cluster.get(node).stats().rejects[VoteReject::BadCertificate as usize], 1);
    assert_eq!(cluster.get(node).view(), View(5));
}

/// Every such certificate was held against its sender anew, a line in the log and a row in the store for each view it named.
#[test]
fn certificates_of_an_unknown_kind_do_not_flood_the_evidence() {
    let (mut cluster, node) = quiet(6);
    let nullification = cluster.certificate(Subject::Nullify(View(1)), &[0, 1, 2], CertificateKind::Nullification);
    let sender = others(6, node)[0];
    for view in 1..100 {
        let unknown = samara_types::message::Certificate { view, kind: 9, ..nullification.to_message() };
        cluster.deliver(sender, node, &Packet::Certificate(unknown));
    }
    let evidence = &cluster.nodes[node].trace.evidence;
    assert!(matches!(&evidence[..], [e] if e.accused.at() == sender && e.offence == Offence::BadCertificate), "{evidence:?}");
    let rejects = cluster.get(node).stats().rejects;
    assert_eq!((rejects[VoteReject::BadCertificate as usize], rejects[VoteReject::Barred as usize]), (1, 98));
}

#[test]
fn a_replayed_nullify_is_byte_identical() {
    let (mut cluster, node) = quiet(6);
    cluster.now = params().view_timeout;
    cluster.input(node, Input::Tick);
    cluster.now = cluster.now.after(params().view_timeout);
    cluster.input(node, Input::Tick);
    let nullifies: Vec<_> = cluster.nodes[node].trace.sent.iter().filter(|p| matches!(p, Packet::Nullify(_))).collect();
    assert!(nullifies.len() >= 2 && nullifies.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn duplicates_and_floods_of_far_views_change_nothing() {
    let (mut cluster, node) = quiet(6);
    let voter = others(6, node)[0];
    for view in [u64::MAX, u64::MAX - 1, 10_000, 200] {
        cluster.deliver(voter, node, &Packet::Vote(cluster.vote_from(voter, view, Digest([9; 32]))));
    }
    let stats = cluster.get(node).stats().clone();
    assert_eq!(stats.rejects[VoteReject::Ahead as usize], 4);
    let vote = cluster.vote_from(voter, 1, Digest([9; 32]));
    for _ in 0..5 {
        cluster.deliver(voter, node, &Packet::Vote(vote.clone()));
    }
    assert_eq!(cluster.get(node).stats().rejects[VoteReject::Duplicate as usize], 4);
    assert_eq!(cluster.get(node).stats().pairing_checks, 0, "nothing is verified before a quorum stands behind it");
}

#[test]
fn an_honest_view_costs_each_validator_two_pairing_checks() {
    let mut cluster = Cluster::new(6);
    cluster.run(60);
    for i in 0..6 {
        let blocks = cluster.nodes[i].trace.finalized.len() as u64;
        let checks = cluster.get(i).stats().pairing_checks;
        assert!(checks <= 2 * blocks + 8, "node {i}: {checks} checks for {blocks} blocks");
    }
}
