//! Every hostile module alone and in pairs.

use super::Kind;
use crate::swarm::{self, Plan};
use crate::{report, runner};

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
