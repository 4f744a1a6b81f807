//! Named runs: the scenario list of the reference (section 10), each a plan made from a seed.

use crate::hostile::Kind;
use crate::swarm::{self, Plan};

/// A named run.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// Its plan for a seed.
    pub plan: fn(u64) -> Plan,
}

/// Every scenario, the default first.
pub const ALL: &[Scenario] = &[
    Scenario { name: "swarm", what: "random faults within the model", plan: swarm::draw },
    Scenario { name: "calm", what: "T4: everybody online on a good network", plan: calm },
    Scenario { name: "beyond", what: "negative control: six validators, two of them hostile", plan: beyond },
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

fn calm(seed: u64) -> Plan {
    Plan::calm("calm", seed, swarm::stakes(swarm::SIZES[(seed % 4) as usize], 0))
}

fn beyond(seed: u64) -> Plan {
    let mut plan = Plan::calm("beyond", seed, vec![1; 6]);
    plan.hostile = vec![(1, Kind::Equivocator), (4, Kind::AllSigner)];
    plan.beyond_model = true;
    plan
}
