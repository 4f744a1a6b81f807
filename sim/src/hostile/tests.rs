//! Every hostile module alone and in pairs; what each is accused of.

use super::Kind;
use crate::swarm::{self, Load, Plan};
use crate::trace::What;
use crate::{report, runner};
use samara_types::Offence;
use std::collections::BTreeSet;

fn plan(seed: u64, stakes: Vec<u64>, kinds: &[Kind]) -> Plan {
    let mut plan = Plan::calm("hostile", seed, stakes);
    plan.faults_for = samara_types::Nanos::from_millis(800);
    plan.watch_for = samara_types::Nanos::from_millis(400);
    plan.hostile = kinds.iter().enumerate().map(|(at, kind)| (1 + 3 * at, *kind)).collect();
    plan
}

fn check(plans: &[Plan]) {
    let outcomes = runner::sweep(plans.len(), 2, |at| plans[at].clone(), |_| {});
    for (plan, outcome) in plans.iter().zip(&outcomes) {
        assert!(outcome.violations.is_empty(), "{}", report::failure(plan, outcome));
    }
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Kind::ALL.to_vec();
    kinds.dedup();
    kinds
}

#[test]
fn each_hostile_module_alone_breaks_no_promise() {
    let alone: Vec<Plan> = kinds().iter().map(|kind| plan(1, swarm::stakes(6, 0), &[*kind])).collect();
    check(&alone);
}

#[test]
fn each_hostile_module_beside_another_breaks_no_promise() {
    let kinds = kinds();
    let pair = |at: usize| [kinds[at], kinds[(at + 7) % kinds.len()]];
    let pairs: Vec<Plan> = (0..kinds.len()).map(|at| plan(at as u64, swarm::stakes(11, 0), &pair(at))).collect();
    check(&pairs);
}

/// What a module must be accused of, and what else it may be; whoever only withholds or delays is accused of nothing.
fn offences(kind: Kind) -> (Vec<Offence>, Vec<Offence>) {
    use Offence::*;
    match kind {
        // Its votes go to parts; who is stuck hears all of them again.
        Kind::Equivocator | Kind::TripleEquivocator => (vec![LeaderEquivocation], vec![VoteEquivocation]),
        Kind::AllSigner => (vec![], vec![VoteEquivocation]),
        Kind::Conflicter => (vec![VoteEquivocation], vec![]),
        Kind::Impersonator => (vec![BadCertificate], vec![BadVoteSignature, WrongSeat, BadProof]),
        Kind::Flooder => (vec![], vec![BadVoteSignature, BadCertificate, WrongSeat, BadProof, LeaderEquivocation]),
        Kind::WrongEpoch => (vec![BadVoteSignature], vec![BadProof, BadCertificate]),
        // Only whoever asks it is lied to.
        Kind::Liar => (vec![], vec![BadProof]),
        Kind::Miscoder => (vec![MalformedBlock], vec![LeaderEquivocation]),
        Kind::BadProposer => (vec![InvalidBlock], vec![MalformedBlock, VoteEquivocation, WrongSeat]),
        Kind::Twins => (vec![LeaderEquivocation], vec![VoteEquivocation]),
        _ => (vec![], vec![]),
    }
}

#[test]
fn each_hostile_module_is_accused_of_what_it_does_and_of_nothing_else() {
    let kinds = kinds();
    let seen = runner::each(kinds.len(), 2, |at, kit| {
        let mut plan = plan(2, swarm::stakes(6, 0), &[kinds[at]]);
        plan.load = Load { per_second: 400, data_bytes_max: 1_000 };
        plan.network.link.loss_ppm = 20_000;
        let (outcome, events) = runner::run_recorded(&plan, kit);
        assert!(outcome.violations.is_empty(), "{}", report::failure(&plan, &outcome));
        let offence = |what: &What| if let What::Accused(evidence) = what { Some(evidence.offence) } else { None };
        events.iter().filter_map(|event| offence(&event.what)).collect::<BTreeSet<_>>()
    });
    let wrong = |(kind, seen): &(&Kind, BTreeSet<Offence>)| {
        let (must, may) = offences(**kind);
        !must.iter().all(|offence| seen.contains(offence)) || !seen.iter().all(|offence| must.contains(offence) || may.contains(offence))
    };
    let wrong: Vec<_> = kinds.iter().zip(seen).filter(wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
