//! Named runs: the scenario list of the reference (section 10), each a plan made from a seed, and what must be seen in it.
//!
//! Every scenario is judged twice: by all checkers, as every run, and by its own expectations ([`Expect`]): that what it is about did happen.
//! T1 to T3 (thresholds, exact boundaries, duplicates and strangers) have no network in them: `samara-types` (`set`, quorums of every n),
//! `samara-crypto` (`book`, `certificate`) and `samara-consensus` (`machine`) test them one by one. T40 to T43 are the studies.

mod crash;
pub mod expect;
mod happy;
mod leader;
mod network;
#[cfg(test)]
mod tests;
mod voters;

pub use expect::Expect;

use crate::checkers::Promise;
use crate::hostile::Kind;
use crate::kit::Kit;
use crate::runner;
use crate::swarm::{self, Plan};
use crate::world::Outcome;
use samara_types::Nanos;

/// A named run.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// Its plan for a seed.
    pub plan: fn(u64) -> Plan,
    /// What must be seen.
    pub expects: &'static [Expect],
}

/// Scenarios that are no part of the reference's list.
const OWN: &[Scenario] = &[
    Scenario { name: "swarm", what: "random faults within the model", plan: swarm::draw, expects: &[] },
    Scenario {
        name: "beyond",
        what: "negative control: six validators, two of them hostile; safety must break",
        plan: beyond,
        expects: &[Expect::Broken(Promise::Quorums)],
    },
];

const GROUPS: [&[Scenario]; 6] = [OWN, happy::ALL, leader::ALL, voters::ALL, network::ALL, crash::ALL];
const COUNT: usize = OWN.len() + happy::ALL.len() + leader::ALL.len() + voters::ALL.len() + network::ALL.len() + crash::ALL.len();

/// Every scenario, the default first.
pub const ALL: &[Scenario] = &gathered();

const fn gathered() -> [Scenario; COUNT] {
    let mut all = [OWN[0]; COUNT];
    let (mut filled, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut at = 0;
        while at < GROUPS[group].len() {
            all[filled] = GROUPS[group][at];
            (filled, at) = (filled + 1, at + 1);
        }
        group += 1;
    }
    all
}

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// Runs one seed: what came of it, and the expectations that were not met.
    pub fn run(&self, seed: u64, kit: &mut Kit) -> (Outcome, Vec<String>) {
        self.run_plan(&(self.plan)(seed), kit)
    }

    /// The same for a plan of this scenario that was changed, say by planting a bug.
    pub fn run_plan(&self, plan: &Plan, kit: &mut Kit) -> (Outcome, Vec<String>) {
        if self.expects.is_empty() {
            return (runner::run(plan, kit), Vec::new());
        }
        let (outcome, events) = runner::run_recorded(plan, kit);
        let cluster = kit.cluster(&plan.stakes);
        let seen = expect::Seen::new(plan, &cluster, &outcome, &events);
        let unmet = self.expects.iter().filter_map(|expect| seen.unmet(expect)).collect();
        (outcome, unmet)
    }
}

fn beyond(seed: u64) -> Plan {
    let mut plan = short("beyond", seed, 6);
    plan.hostile = vec![(1, Kind::Equivocator), (4, Kind::AllSigner)];
    plan.beyond_model = true;
    plan.faults_for = Nanos::from_millis(6_000);
    plan.settle_within = Nanos::from_millis(3_000);
    plan
}

/// A calm run of one second of faults, equal stakes.
fn short(name: &str, seed: u64, validators: usize) -> Plan {
    let mut plan = Plan::calm(name, seed, swarm::stakes(validators, 0));
    plan.faults_for = Nanos::from_millis(1_000);
    plan.watch_for = Nanos::from_millis(300);
    plan
}

/// One hostile module in a seat that the seed moves.
fn with(name: &str, seed: u64, validators: usize, kind: Kind) -> Plan {
    let mut plan = short(name, seed, validators);
    plan.hostile = vec![((seed as usize + 1) % validators, kind)];
    plan
}
