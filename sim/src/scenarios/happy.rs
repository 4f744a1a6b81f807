//! T4 to T9: nobody is hostile.

use super::{Expect, Scenario, short};
use crate::swarm::{self, Fault, Plan};
use samara_types::Nanos;

/// See the module.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "calm",
        what: "T4: everybody online on a good network, 6 to 16 validators by seed",
        plan: calm,
        expects: &[Expect::NoneNullified, Expect::Blocks(40), Expect::Acknowledged(20)],
    },
    Scenario { name: "calm_50", what: "T4: fifty validators online", plan: calm_50, expects: &[Expect::NoneNullified, Expect::Blocks(5)] },
    Scenario {
        name: "slow_ear",
        what: "T5, T6, T7: one validator hears shreds late: certificates come before proposals, votes after views",
        plan: slow_ear,
        expects: &[Expect::PastVotes(1), Expect::Blocks(15)],
    },
    Scenario {
        name: "skip_ahead",
        what: "T8: one validator hears nobody for a while, jumps to a far view, and votes for past ones",
        plan: skip_ahead,
        expects: &[Expect::Skipped, Expect::PastVotes(1)],
    },
    Scenario {
        name: "indirect",
        what: "T9: blocks that are final only through a descendant",
        plan: indirect,
        expects: &[Expect::Indirect(1)],
    },
];

fn calm(seed: u64) -> Plan {
    Plan::calm("calm", seed, swarm::stakes(swarm::SIZES[(seed % 4) as usize], 0))
}

fn calm_50(seed: u64) -> Plan {
    let mut plan = short("calm_50", seed, 50);
    plan.faults_for = Nanos::from_millis(300);
    plan.watch_for = Nanos::from_millis(100);
    plan.params.idle_interval = Nanos::from_millis(40);
    plan.load.per_second = 20;
    plan
}

/// Shreds wait in everybody's way now and then, votes with them: whoever is last finds its view decided.
fn slow_ear(seed: u64) -> Plan {
    let mut plan = short("slow_ear", seed, 6);
    plan.network.link.spike_ppm = 100_000;
    plan.network.link.spike = Nanos::from_millis(80);
    plan
}

fn skip_ahead(seed: u64) -> Plan {
    let mut plan = short("skip_ahead", seed, 6);
    let deaf = (0..6).filter(|seat| *seat != 2).map(|seat| (seat, 2)).collect();
    plan.faults = vec![(Nanos::from_millis(200), Fault::Cut(deaf)), (Nanos::from_millis(600), Fault::Join)];
    plan
}

fn indirect(seed: u64) -> Plan {
    let mut plan = short("indirect", seed, 6);
    // With so many votes lost 2f+1 are often there and S-f not until the next block.
    plan.network.link.loss_ppm = 350_000;
    plan
}
