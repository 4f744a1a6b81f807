//! T25 to T32: the network.

use super::{Expect, Scenario, short};
use crate::hostile::Kind;
use crate::swarm::{Fault, Plan};
use samara_types::Nanos;

/// See the module.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "loss",
        what: "T25: 1, 10, 30 or 60 % loss by seed, with jitter, reordering and duplicates",
        plan: loss,
        expects: &[Expect::Blocks(3)],
    },
    Scenario {
        name: "partition_3_3",
        what: "T26: three against three: nothing becomes final, then it heals",
        plan: |seed| partition("partition_3_3", seed, &[0, 1, 2]),
        expects: &[Expect::NothingFinal(350, 900), Expect::Blocks(10)],
    },
    Scenario {
        name: "both_proofs",
        what: "T29: three against three, four times: one side notarizes what the other nullifies, and either leads when they meet again",
        plan: both_proofs,
        expects: &[Expect::BothProofs(1), Expect::Blocks(10)],
    },
    Scenario {
        name: "partition_4_2",
        what: "T26: four against two: nothing becomes final, then it heals",
        plan: |seed| partition("partition_4_2", seed, &[1, 4]),
        expects: &[Expect::NothingFinal(350, 900), Expect::Blocks(10)],
    },
    Scenario {
        name: "partition_5_1",
        what: "T26: five against one: the five go on",
        plan: |seed| partition("partition_5_1", seed, &[3]),
        expects: &[Expect::Blocks(15)],
    },
    Scenario { name: "ring", what: "T26: everybody hears two neighbours only", plan: ring, expects: &[Expect::Blocks(5)] },
    Scenario {
        name: "bridge",
        what: "T26: three against two, and a hostile validator that both sides hear",
        plan: bridge,
        expects: &[Expect::Blocks(5)],
    },
    Scenario {
        name: "votes_lost",
        what: "T27: nothing arrives while everybody votes; all are locked until it heals",
        plan: votes_lost,
        expects: &[Expect::NothingFinal(450, 900), Expect::Blocks(10)],
    },
    Scenario {
        name: "split_knowledge",
        what: "T28: short timers, late and lost messages, a validator that votes and nullifies: validators leave views for different reasons",
        plan: split_knowledge,
        expects: &[Expect::Nullified(5), Expect::Blocks(15)],
    },
    Scenario {
        name: "long_absence",
        what: "T30, T39: one validator is away for most of the chain and joins from where the others' tip is",
        plan: long_absence,
        expects: &[Expect::Blocks(60)],
    },
    Scenario {
        name: "slow_node",
        what: "T31: one machine's ring overruns again and again under load",
        plan: slow_node,
        expects: &[Expect::Blocks(15), Expect::Acknowledged(100)],
    },
    Scenario {
        name: "stopped",
        what: "T31: one process after another stands still for up to 600 ms, and finds in its ring what it missed",
        plan: stopped,
        expects: &[Expect::Blocks(15), Expect::PastVotes(1)],
    },
    Scenario {
        name: "deaf_side",
        what: "T26: flapping one-way cuts: two validators are heard and hear nobody",
        plan: deaf_side,
        expects: &[Expect::NothingFinal(420, 480), Expect::Blocks(15)],
    },
    Scenario {
        name: "narrow",
        what: "T32: 100 Mbit/s and blocks of hundreds of kilobytes",
        plan: narrow,
        expects: &[Expect::Blocks(10), Expect::Acknowledged(100)],
    },
];

/// Both directions between a side and the rest.
fn apart(validators: usize, side: &[usize]) -> Vec<(usize, usize)> {
    let rest = (0..validators).filter(|seat| !side.contains(seat));
    rest.flat_map(|out| side.iter().flat_map(move |inside| [(out, *inside), (*inside, out)])).collect()
}

fn loss(seed: u64) -> Plan {
    let mut plan = short("loss", seed, 6);
    let link = &mut plan.network.link;
    link.loss_ppm = [600_000, 300_000, 100_000, 10_000][(seed % 4) as usize];
    (link.duplicate_ppm, link.spike_ppm, link.spike) = (50_000, 50_000, Nanos::from_millis(60));
    plan
}

fn partition(name: &str, seed: u64, side: &[usize]) -> Plan {
    let mut plan = short(name, seed, 6);
    plan.faults = vec![(Nanos::from_millis(300), Fault::Cut(apart(6, side))), (Nanos::from_millis(900), Fault::Join)];
    plan
}

/// Where the cut falls into a view of which each side has two votes, neither has a proof until it heals: hence four.
fn both_proofs(seed: u64) -> Plan {
    let mut plan = short("both_proofs", seed, 6);
    let cut = |at| [(Nanos::from_millis(at), Fault::Cut(apart(6, &[0, 1, 2]))), (Nanos::from_millis(at + 300), Fault::Join)];
    plan.faults_for = Nanos::from_millis(2_200);
    plan.faults = [300, 800, 1_300, 1_800].into_iter().flat_map(cut).collect();
    plan
}

fn ring(seed: u64) -> Plan {
    let mut plan = short("ring", seed, 6);
    let pairs = (0..6).flat_map(|at| (2..5).map(move |apart| (at, (at + apart) % 6))).collect();
    plan.faults = vec![(Nanos::from_millis(300), Fault::Cut(pairs)), (Nanos::from_millis(900), Fault::Join)];
    plan
}

fn bridge(seed: u64) -> Plan {
    let mut plan = short("bridge", seed, 6);
    plan.hostile = vec![(5, if seed.is_multiple_of(2) { Kind::Twins } else { Kind::AllSigner })];
    let pairs = apart(6, &[0, 1]).into_iter().filter(|(from, to)| *from != 5 && *to != 5).collect();
    plan.faults = vec![(Nanos::from_millis(300), Fault::Cut(pairs)), (Nanos::from_millis(900), Fault::Join)];
    plan
}

fn votes_lost(seed: u64) -> Plan {
    let mut plan = short("votes_lost", seed, 6);
    plan.faults = vec![(Nanos::from_millis(400), Fault::Loss(1_000_000)), (Nanos::from_millis(900), Fault::Loss(0))];
    plan
}

fn split_knowledge(seed: u64) -> Plan {
    let mut plan = short("split_knowledge", seed, 7);
    plan.hostile = vec![(2, if seed.is_multiple_of(2) { Kind::AllSigner } else { Kind::Nuller })];
    plan.params.view_timeout = Nanos::from_millis(60);
    plan.network.link.spike_ppm = 250_000;
    plan.network.link.spike = Nanos::from_millis(90);
    plan.network.link.loss_ppm = 100_000;
    plan.faults_for = Nanos::from_millis(2_000);
    plan
}

fn long_absence(seed: u64) -> Plan {
    let mut plan = short("long_absence", seed, 6);
    plan.params.idle_interval = Nanos::from_millis(1);
    plan.faults_for = Nanos::from_millis(3_000);
    plan.faults = vec![(Nanos::from_millis(50), Fault::Down(4)), (Nanos::from_millis(2_900), Fault::Start(4))];
    plan
}

fn slow_node(seed: u64) -> Plan {
    let mut plan = short("slow_node", seed, 6);
    plan.load.per_second = 600;
    plan.faults = (1..9).map(|at| (Nanos::from_millis(100 * at), Fault::Overrun(3, Nanos::from_millis(60)))).collect();
    plan
}

fn stopped(seed: u64) -> Plan {
    let mut plan = short("stopped", seed, 6);
    plan.faults_for = Nanos::from_millis(3_000);
    plan.faults = (0..10u64)
        .map(|at| (Nanos::from_millis(150 + 220 * at), Fault::Pause(((at * 5 + seed) % 6) as usize, Nanos::from_millis(60 * (at + 1)))))
        .collect();
    plan
}

fn deaf_side(seed: u64) -> Plan {
    let mut plan = short("deaf_side", seed, 6);
    let deaf = (0..6).flat_map(|from| [0, 3].map(|to| (from, to))).filter(|(from, to)| from != to).collect::<Vec<_>>();
    plan.faults = (0..4u64)
        .flat_map(|flap| {
            let at = 300 + 200 * flap;
            [(Nanos::from_millis(at), Fault::Cut(deaf.clone())), (Nanos::from_millis(at + 180), Fault::Join)]
        })
        .collect();
    plan
}

fn narrow(seed: u64) -> Plan {
    let mut plan = short("narrow", seed, 6);
    plan.network.nic.set_rate(12_500_000);
    plan.load.per_second = 1_500;
    plan.load.data_bytes_max = 1_000;
    plan.params.block_interval = Nanos::from_millis(80);
    plan.params.idle_interval = Nanos::from_millis(100);
    plan
}
