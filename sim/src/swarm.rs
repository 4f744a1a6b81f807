//! What one run is made of: drawn from its seed, or written down by a scenario.
//!
//! Every kind of fault is switched on or off by itself (swarm testing): most bugs need some faults to be absent. A plan is data; it is printed
//! first in the report of a failing seed, and shrinking removes its parts.

use crate::dice::Dice;
use crate::disk::DiskSpeed;
use crate::hostile;
use crate::kit;
use crate::net::{Link, Nic};
use crate::node::{MEMPOOL, PersistPoint};
use crate::plan_file;
use samara_crypto::Mutant;
use samara_types::{Nanos, Params};
use samara_validator::restart::MempoolLimits;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something the world does to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The process dies, and starts again after a while.
    Kill(usize),
    /// Every honest process dies at once.
    KillAll,
    /// The process dies at the so-many-th visit of a point on the way to the disk.
    KillAt(usize, PersistPoint, u32),
    /// The process dies and stays down until [`Fault::Start`] or the end of the faults.
    Down(usize),
    /// A process that is down starts.
    Start(usize),
    /// The data directory is lost: amnesia.
    Wipe(usize),
    /// The vote log is damaged beyond use, blocks stay: amnesia.
    LoseLog(usize),
    /// The block store is lost, vote log and journal stay.
    LoseStore(usize),
    /// The block store becomes an older copy of itself that holds so many per cent of its blocks; vote log and journal stay.
    OlderStore(usize, u8),
    /// The process dies, and one of its journaled bodies is unreadable afterwards.
    DamageBody(usize),
    /// The next write of log (0), journal (1) or store (2) fails; the process stops, and starts again after a while.
    FailWrite(usize, u64),
    /// Nothing passes from the one to the other, for each pair.
    Cut(Vec<(usize, usize)>),
    /// All cuts end.
    Join,
    /// Nothing in or out of a machine for this long.
    ResetNic(usize, #[serde(with = "plan_file::nanos")] Nanos),
    /// A machine's receive ring is full for this long.
    Overrun(usize, #[serde(with = "plan_file::nanos")] Nanos),
    /// A process's clock jumps ahead.
    Jump(usize, #[serde(with = "plan_file::nanos")] Nanos),
    /// Every link loses so many per million from here on.
    Loss(u32),
    /// A process stands still for this long, what arrives waits in its ring: a stopped virtual machine.
    Pause(usize, #[serde(with = "plan_file::nanos")] Nanos),
}

/// How good the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPlan {
    /// One-way latency of a pair is drawn from this range once, ms.
    pub base_ms: (u64, u64),
    /// What every link adds to it.
    pub link: Link,
    /// Every machine's connection.
    pub nic: Nic,
    /// One machine's that is worse.
    pub narrow: Option<(usize, Nic)>,
}

/// Where the machines stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// One-way latency of each pair from [`NetworkPlan::base_ms`].
    Drawn,
    /// Evenly over the ten regions of [`crate::study::regions`], with their latencies and deviations.
    Regions,
}

/// What work costs on a machine's one core. All zero: nothing takes time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// A datagram that arrives: receiving, opening, admission.
    #[serde(with = "plan_file::nanos")]
    pub receive: Nanos,
    /// A datagram that leaves: sealing and sending.
    #[serde(with = "plan_file::nanos")]
    pub send: Nanos,
    /// A vote or nullify that is signed.
    #[serde(with = "plan_file::nanos")]
    pub sign: Nanos,
    /// A pairing check.
    #[serde(with = "plan_file::nanos")]
    pub pairing_check: Nanos,
}

/// Transactions offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// In a second, over the whole cluster; 0 for none.
    pub per_second: u64,
    /// Bytes of data in each: drawn up to this.
    pub data_bytes_max: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Where its chance comes from.
    pub seed: u64,
    /// What it is called.
    pub name: String,
    /// Stake of every seat.
    pub stakes: Vec<u64>,
    /// The chain's parameters.
    #[serde(with = "plan_file::ParamsText")]
    pub params: Params,
    /// Who is hostile, and how.
    pub hostile: Vec<(usize, hostile::Kind)>,
    /// Honest validators that may lose or damage what is on their disks. With the hostile ones their stake stays within f.
    pub fragile: Vec<usize>,
    /// Where the machines stand.
    pub placement: Placement,
    /// What their work costs.
    pub cpu: Cpu,
    /// What they hold of transactions that wait.
    #[serde(with = "plan_file::MempoolText")]
    pub mempool: MempoolLimits,
    /// The network while there are faults.
    pub network: NetworkPlan,
    /// Every disk.
    pub speed: DiskSpeed,
    /// From a message to the end of its burst.
    #[serde(with = "plan_file::nanos")]
    pub burst: Nanos,
    /// What arrives within a burst is handed over together, as the reactor does; otherwise message by message.
    pub bursts: bool,
    /// Wall clocks are ahead by up to this, drawn anew at every start of a process: they may step back in between.
    #[serde(with = "plan_file::nanos")]
    pub wall_skew: Nanos,
    /// Clocks run fast or slow by up to this.
    pub drift_ppm: i64,
    /// Faults by time.
    #[serde(with = "plan_file::faults")]
    pub faults: Vec<(Nanos, Fault)>,
    /// From death to the next start, ms.
    pub restart_ms: (u64, u64),
    /// Transactions.
    pub load: Load,
    /// How long faults go on.
    #[serde(with = "plan_file::nanos")]
    pub faults_for: Nanos,
    /// Once healed, all correct validators must be together on a longer chain within this.
    #[serde(with = "plan_file::nanos")]
    pub settle_within: Nanos,
    /// How long timing bounds are watched after that.
    #[serde(with = "plan_file::nanos")]
    pub watch_for: Nanos,
    /// And for as long as a transaction may take, if that is longer.
    #[serde(default)]
    pub watches_transactions: bool,
    /// More hostile stake than the model bears: nobody promises to go on.
    pub beyond_model: bool,
    /// A known bug planted in every honest validator.
    #[serde(with = "plan_file::mutant")]
    pub mutant: Option<Mutant>,
}

impl Plan {
    /// A calm run of a cluster: a base for scenarios.
    pub fn calm(name: &str, seed: u64, stakes: Vec<u64>) -> Plan {
        let params = Params {
            view_timeout: Nanos::from_millis(300),
            block_interval: Nanos::from_millis(5),
            idle_interval: Nanos::from_millis(20),
            ..kit::params()
        };
        let link = Link { jitter: Nanos::from_millis(1), ..Link::steady(Nanos(0)) };
        let nic = Nic::both_ways(0, Nanos::from_millis(20), Nanos::from_millis(5));
        Plan {
            seed,
            name: name.to_string(),
            stakes,
            params,
            hostile: Vec::new(),
            fragile: Vec::new(),
            placement: Placement::Drawn,
            cpu: Cpu::default(),
            mempool: MEMPOOL,
            network: NetworkPlan { base_ms: (2, 10), link, nic, narrow: None },
            speed: DiskSpeed { base: Nanos(80_000), jitter: Nanos(200_000), stall_ppm: 0, stall: Nanos(0) },
            burst: Nanos(20_000),
            bursts: true,
            wall_skew: Nanos::from_millis(2_000),
            drift_ppm: 0,
            faults: Vec::new(),
            restart_ms: (50, 500),
            load: Load { per_second: 40, data_bytes_max: 400 },
            faults_for: Nanos::from_millis(2_000),
            settle_within: Nanos::from_millis(20_000),
            watch_for: Nanos::from_millis(1_000),
            watches_transactions: false,
            beyond_model: false,
            mutant: None,
        }
    }

    /// Number of validators.
    pub fn validators(&self) -> usize {
        self.stakes.len()
    }

    /// The stake that may be faulty: restated from the paper.
    pub fn fault_stake(&self) -> u64 {
        (self.stakes.iter().sum::<u64>() - 1) / 5
    }

    /// Whether a seat is hostile.
    pub fn is_hostile(&self, seat: usize) -> bool {
        self.hostile.iter().any(|(hostile, _)| *hostile == seat)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seed {}: {} validators, stakes {:?}", self.name, self.seed, self.validators(), self.stakes)?;
        writeln!(f, "  hostile {:?}, fragile {:?}, beyond the model: {}", self.hostile, self.fragile, self.beyond_model)?;
        if let Some(mutant) = self.mutant {
            writeln!(f, "  with the planted bug {}", mutant.as_str())?;
        }
        writeln!(f, "  params {:?}", self.params)?;
        writeln!(f, "  network {:?}", self.network)?;
        writeln!(f, "  disk {:?}, load {:?}", self.speed, self.load)?;
        let (burst, handed) = (self.burst, if self.bursts { "handed over together" } else { "one by one" });
        writeln!(f, "  burst {burst:?} {handed}, drift {} ppm, wall clocks within {:?}", self.drift_ppm, self.wall_skew)?;
        writeln!(f, "  faults until {} ms, restarts after {:?} ms:", self.faults_for.0 / 1_000_000, self.restart_ms)?;
        for (at, fault) in &self.faults {
            writeln!(f, "    {:>8.3} ms  {fault:?}", at.0 as f64 / 1e6)?;
        }
        Ok(())
    }
}

/// Cluster sizes of the default swarm.
pub const SIZES: [usize; 4] = [6, 7, 11, 16];

/// Stakes of a profile: 0 equal, 1 nearly equal, 2 (11 and more members) up to fivefold.
pub fn stakes(validators: usize, profile: u64) -> Vec<u64> {
    (0..validators as u64)
        .map(|index| match profile {
            0 => 1,
            2 if validators >= 11 => 1 + (index * 7) % 5,
            _ => 10 + index % 3,
        })
        .collect()
}

/// The default swarm: faults within the model.
pub fn draw(seed: u64) -> Plan {
    let mut dice = Dice::new(seed, "swarm");
    let dice = &mut dice;
    let size = *dice.pick(&SIZES);
    let profile = if dice.percent(60) { 0 } else { dice.range(1, 2) };
    let mut plan = Plan::calm("swarm", seed, stakes(size, profile));
    plan.params.view_timeout = dice.millis(250, 500);
    plan.params.block_interval = *dice.pick(&[Nanos(0), Nanos::from_millis(10)]);
    plan.params.idle_interval = Nanos::from_millis(*dice.pick(&[10, 30]));
    plan.faults_for = dice.millis(1_500, 4_000);
    plan.watches_transactions = true;
    draw_faulty(&mut plan, dice);
    draw_network(&mut plan, dice);
    draw_machines(&mut plan, dice);
    draw_load(&mut plan, dice);
    draw_faults(&mut plan, dice);
    draw_wiring(&mut plan, &mut Dice::new(seed, "swarm wiring"));
    draw_more_losses(&mut plan, &mut Dice::new(seed, "swarm losses"));
    plan.faults.sort_by_key(|(at, _)| *at);
    plan
}

/// Hostile and fragile validators, together within f.
fn draw_faulty(plan: &mut Plan, dice: &mut Dice) {
    let mut left = plan.fault_stake();
    let (hostile, fragile) = (dice.percent(60), dice.percent(40));
    for seat in dice.shuffled(plan.validators()) {
        let stake = plan.stakes[seat];
        if stake > left || !(hostile || fragile) || dice.percent(20) {
            continue;
        }
        left -= stake;
        if hostile && (!fragile || dice.percent(60)) {
            plan.hostile.push((seat, *dice.pick(&hostile::Kind::ALL)));
        } else {
            plan.fragile.push(seat);
        }
    }
}

fn draw_network(plan: &mut Plan, dice: &mut Dice) {
    let network = &mut plan.network;
    network.base_ms = *dice.pick(&[(0, 1), (1, 5), (5, 25), (1, 40)]);
    let link = &mut network.link;
    link.jitter = dice.millis(0, 8);
    if dice.percent(30) {
        link.deviation = dice.millis(0, 3);
    }
    if dice.percent(50) {
        link.loss_ppm = *dice.pick(&[1_000, 20_000, 100_000, 300_000]);
    }
    if dice.percent(40) {
        link.duplicate_ppm = *dice.pick(&[1_000, 50_000, 200_000]);
    }
    if dice.percent(40) {
        (link.spike_ppm, link.spike) = (*dice.pick(&[1_000, 20_000, 100_000]), dice.millis(10, 400));
    }
    if dice.percent(25) {
        network.nic.set_rate(*dice.pick(&[2_000_000, 12_500_000, 125_000_000]));
    }
}

fn draw_machines(plan: &mut Plan, dice: &mut Dice) {
    plan.burst = *dice.pick(&[Nanos(0), Nanos(20_000), Nanos(500_000), Nanos(3_000_000)]);
    plan.speed.base = Nanos(*dice.pick(&[30_000, 100_000, 2_000_000]));
    plan.speed.jitter = Nanos(*dice.pick(&[0, 200_000, 3_000_000]));
    if dice.percent(20) {
        (plan.speed.stall_ppm, plan.speed.stall) = (20_000, dice.millis(10, 300));
    }
    if dice.percent(40) {
        plan.drift_ppm = *dice.pick(&[100, 2_000, 20_000]);
    }
    plan.restart_ms = *dice.pick(&[(1, 20), (50, 500), (200, 1_500)]);
}

/// How messages reach processes, one machine with a poor connection in one direction or both, and processes that stand still.
fn draw_wiring(plan: &mut Plan, dice: &mut Dice) {
    plan.bursts = dice.percent(75);
    if dice.percent(15) {
        let rates = [1_000_000, 5_000_000, 0];
        let nic = Nic { egress_per_second: *dice.pick(&rates), ingress_per_second: *dice.pick(&rates), ..plan.network.nic };
        plan.network.narrow = Some((dice.below(plan.validators() as u64) as usize, nic));
    }
    if dice.percent(20) {
        let honest: Vec<usize> = (0..plan.validators()).filter(|seat| !plan.is_hostile(*seat)).collect();
        for _ in 0..dice.range(1, 4) {
            let at = Nanos(dice.below(plan.faults_for.0));
            let span = dice.millis(1, 1_200).min(plan.faults_for.since(at));
            plan.faults.push((at, Fault::Pause(*dice.pick(&honest), span)));
        }
    }
}

fn draw_load(plan: &mut Plan, dice: &mut Dice) {
    plan.load.per_second = *dice.pick(&[0, 10, 40, 40, 120]);
    plan.load.data_bytes_max = *dice.pick(&[16, 200, 1_000]);
}

fn draw_faults(plan: &mut Plan, dice: &mut Dice) {
    let honest: Vec<usize> = (0..plan.validators()).filter(|seat| !plan.is_hostile(*seat)).collect();
    let until = plan.faults_for;
    let when = |dice: &mut Dice| Nanos(dice.below(until.0));
    let mut faults = Vec::new();
    if dice.percent(50) {
        for _ in 0..dice.range(1, 8) {
            faults.push((when(dice), Fault::Kill(*dice.pick(&honest))));
        }
    }
    if dice.percent(40) {
        for _ in 0..dice.range(1, 8) {
            let point = *dice.pick(&PersistPoint::ALL);
            faults.push((when(dice), Fault::KillAt(*dice.pick(&honest), point, dice.below(4) as u32)));
        }
    }
    if dice.percent(20) {
        faults.push((when(dice), Fault::KillAll));
    }
    if dice.percent(30) {
        draw_cuts(plan.validators(), until, dice, &mut faults);
    }
    if dice.percent(25) {
        for _ in 0..dice.range(1, 4) {
            faults.push((when(dice), Fault::FailWrite(*dice.pick(&honest), dice.any() % 6)));
        }
    }
    if dice.percent(25) {
        for _ in 0..dice.range(1, 4) {
            faults.push((when(dice), Fault::ResetNic(*dice.pick(&honest), dice.millis(1, 400))));
            faults.push((when(dice), Fault::Overrun(*dice.pick(&honest), dice.millis(1, 50))));
        }
    }
    if dice.percent(20) {
        for _ in 0..dice.range(1, 5) {
            faults.push((when(dice), Fault::Jump(*dice.pick(&honest), dice.millis(1, 2_000))));
        }
    }
    for &seat in &plan.fragile {
        let fault = lost(seat, dice);
        faults.push((when(dice), fault));
    }
    plan.faults = faults;
}

/// A disk that fails once may fail again: up to two losses more.
fn draw_more_losses(plan: &mut Plan, dice: &mut Dice) {
    for &seat in &plan.fragile {
        for _ in 0..dice.below(3) {
            let fault = if dice.percent(25) { Fault::OlderStore(seat, dice.below(100) as u8) } else { lost(seat, dice) };
            plan.faults.push((Nanos(dice.below(plan.faults_for.0)), fault));
        }
    }
}

fn lost(seat: usize, dice: &mut Dice) -> Fault {
    match dice.below(4) {
        0 => Fault::Wipe(seat),
        1 => Fault::LoseLog(seat),
        2 => Fault::LoseStore(seat),
        _ => Fault::DamageBody(seat),
    }
}

/// Partitions: two sides, one machine alone, one way only, and links that come and go.
fn draw_cuts(validators: usize, until: Nanos, dice: &mut Dice, faults: &mut Vec<(Nanos, Fault)>) {
    for _ in 0..dice.range(1, 3) {
        let order = dice.shuffled(validators);
        let side = dice.range(1, validators as u64 - 1) as usize;
        let (left, right) = order.split_at(side);
        let both = |pairs: &mut Vec<(usize, usize)>, a: usize, b: usize| pairs.extend([(a, b), (b, a)]);
        let mut pairs = Vec::new();
        match dice.below(3) {
            0 => left.iter().for_each(|a| right.iter().for_each(|b| both(&mut pairs, *a, *b))),
            1 => left.iter().for_each(|a| right.iter().for_each(|b| pairs.push((*a, *b)))),
            _ => (0..validators).for_each(|at| {
                // A ring: everybody hears two neighbours only.
                for other in 0..validators {
                    let apart = (at + validators - other) % validators;
                    if apart > 1 && apart < validators - 1 {
                        pairs.push((order[at], order[other]));
                    }
                }
            }),
        }
        let starts = dice.below(until.0);
        let times = if dice.percent(30) { 6 } else { 1 };
        let span = dice.millis(100, 1_500).0 / times;
        for flap in 0..times {
            faults.push((Nanos(starts + 2 * flap * span), Fault::Cut(pairs.clone())));
            faults.push((Nanos(starts + (2 * flap + 1) * span), Fault::Join));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawn_plan_stays_within_the_model() {
        for seed in 0..500 {
            let plan = draw(seed);
            let faulty = plan.hostile.iter().map(|(seat, _)| *seat).chain(plan.fragile.iter().copied());
            assert!(faulty.map(|seat| plan.stakes[seat]).sum::<u64>() <= plan.fault_stake(), "{plan}");
            for (_, fault) in &plan.faults {
                if let Fault::Wipe(seat)
                | Fault::LoseLog(seat)
                | Fault::LoseStore(seat)
                | Fault::OlderStore(seat, _)
                | Fault::DamageBody(seat) = fault
                {
                    assert!(plan.fragile.contains(seat), "{plan}");
                }
            }
        }
    }

    #[test]
    fn the_swarm_has_every_size_hostile_kind_and_fault() {
        let plans: Vec<Plan> = (0..500).map(draw).collect();
        for size in SIZES {
            assert!(plans.iter().any(|plan| plan.validators() == size));
        }
        for kind in hostile::Kind::ALL {
            assert!(plans.iter().any(|plan| plan.hostile.iter().any(|(_, hostile)| *hostile == kind)));
        }
        let kinds: std::collections::BTreeSet<String> = plans
            .iter()
            .flat_map(|plan| &plan.faults)
            .map(|(_, fault)| format!("{fault:?}").split(['(', ' ']).next().unwrap_or_default().to_string())
            .collect();
        assert_eq!(kinds.len(), 15, "{kinds:?}");
        let loses =
            |plan: &&Plan, seat: usize, is: fn(&Fault) -> Option<usize>| plan.faults.iter().position(|(_, fault)| is(fault) == Some(seat));
        let log = |fault: &Fault| if let Fault::LoseLog(seat) = fault { Some(*seat) } else { None };
        let store = |fault: &Fault| if let Fault::LoseStore(seat) = fault { Some(*seat) } else { None };
        let both =
            |plan: &&Plan| plan.fragile.iter().any(|seat| loses(plan, *seat, log).is_some_and(|at| loses(plan, *seat, store) > Some(at)));
        assert!(plans.iter().any(|plan| both(&plan)), "a log is lost, and then the store");
    }
}
