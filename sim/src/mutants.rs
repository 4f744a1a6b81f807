//! Known bugs against the checkers (T44): every [`Mutant`] is killed by a named scenario within a stated number of seeds, by the checker of the
//! promise it breaks, and the same scenarios without it keep every promise.
//!
//! A mutant is planted in the roster of all honest validators of a run ([`samara_crypto::mutant`] says why there). The default swarm is tried
//! as well: what it finds needs no scenario of its own, but how many seeds it takes is worth knowing. Scenarios here are plain plans; what
//! brings a bug out beyond the swarm's faults is a bait ([`crate::hostile::Bait`]).

use crate::checkers::Promise;
use crate::hostile::{Bait, Kind};
use crate::kit::Kit;
use crate::net::Link;
use crate::runner;
use crate::swarm::{self, Fault, Load, Plan};
use samara_crypto::Mutant;
use samara_types::Nanos;
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A scenario made for some mutants.
#[derive(Clone, Copy)]
pub struct Trap {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Its plan for a seed.
    pub plan: fn(u64) -> Plan,
}

/// Who kills a mutant.
#[derive(Clone, Copy)]
pub struct Killer {
    /// The bug.
    pub mutant: Mutant,
    /// The trap.
    pub trap: &'static str,
    /// The promise that breaks in it: the one the bug was planted against.
    pub by: Promise,
    /// It is dead after at most so many seeds.
    pub seeds_max: u64,
}

/// Every trap.
pub const TRAPS: &[Trap] = &[
    Trap { name: "trap_equivocator", what: "n = 6, a leader with two blocks, jitter of a view's length", plan: equivocator },
    Trap { name: "trap_pair", what: "n = 11, a leader with two blocks and one that votes for both", plan: pair },
    Trap { name: "trap_signer", what: "n = 6, one that votes for all and nullifies all, packets late and lost", plan: signer },
    Trap { name: "trap_late", what: "n = 6, packets later than timeouts, and lost", plan: late },
    Trap { name: "trap_vote2", what: "n = 6, links so different that votes overtake blocks", plan: overtaken },
    Trap { name: "trap_skipper", what: "n = 6, a leader that builds over a notarized view, far peers", plan: skipper },
    Trap { name: "trap_repeater", what: "n = 6, a voter that repeats a vote for nothing", plan: repeater },
    Trap { name: "trap_replayer", what: "n = 6, certificates sent again under other views", plan: replayer },
    Trap { name: "trap_crash", what: "n = 6, an equivocating leader, processes killed again and again", plan: crash },
    Trap { name: "trap_split", what: "n = 7, a leader that sends two halves two blocks and falls silent", plan: split },
    Trap { name: "trap_tamperer", what: "n = 6, blocks of several shreds, a relay that alters their type", plan: tamperer },
    Trap { name: "trap_duplicates", what: "n = 6, blocks of several shreds, a network that repeats packets", plan: duplicates },
    Trap { name: "trap_bad_coder", what: "n = 6, blocks of several shreds, a leader with a wrong parity chunk", plan: bad_coder },
    Trap { name: "trap_alone", what: "n = 6, one that alone hears the others loses its log, again and again", plan: alone },
    Trap { name: "trap_restarts", what: "n = 6, processes killed again and again, nobody hostile", plan: restarts },
];

/// The table: each mutant and its killer.
pub const KILLERS: &[Killer] = &[
    Killer { mutant: Mutant::ContradictionAtFPlus1, trap: "trap_pair", by: Promise::Quorums, seeds_max: 4 },
    Killer { mutant: Mutant::FinalityAtTwoFLess, trap: "trap_equivocator", by: Promise::Certificates, seeds_max: 4 },
    Killer { mutant: Mutant::QuorumAtThreeFLess, trap: "trap_split", by: Promise::Liveness, seeds_max: 2 },
    Killer { mutant: Mutant::VoteAfterNullify, trap: "trap_late", by: Promise::OneVote, seeds_max: 4 },
    Killer { mutant: Mutant::TimeoutAfterVote, trap: "trap_late", by: Promise::Quorums, seeds_max: 4 },
    Killer { mutant: Mutant::NoVote2, trap: "trap_vote2", by: Promise::Timing, seeds_max: 4 },
    Killer { mutant: Mutant::NoGapCheck, trap: "trap_skipper", by: Promise::Quorums, seeds_max: 8 },
    Killer { mutant: Mutant::RepeatedSigner, trap: "trap_repeater", by: Promise::Quorums, seeds_max: 2 },
    Killer { mutant: Mutant::CrossViewReplay, trap: "trap_replayer", by: Promise::Quorums, seeds_max: 2 },
    Killer { mutant: Mutant::ForgetsAtRestart, trap: "trap_crash", by: Promise::OneVote, seeds_max: 4 },
    Killer { mutant: Mutant::SendsBeforeSync, trap: "trap_late", by: Promise::Durability, seeds_max: 1 },
    Killer { mutant: Mutant::FirstCertificateOnly, trap: "trap_equivocator", by: Promise::Timing, seeds_max: 8 },
    Killer { mutant: Mutant::CurrentViewFlags, trap: "trap_equivocator", by: Promise::OneVote, seeds_max: 8 },
    Killer { mutant: Mutant::UnsignedLastSlice, trap: "trap_tamperer", by: Promise::Evidence, seeds_max: 4 },
    Killer { mutant: Mutant::RelaysDuplicates, trap: "trap_duplicates", by: Promise::Conservation, seeds_max: 2 },
    Killer { mutant: Mutant::VerdictByArrivals, trap: "trap_bad_coder", by: Promise::Agreement, seeds_max: 4 },
    Killer { mutant: Mutant::SpeaksTooEarly, trap: "trap_alone", by: Promise::Quorums, seeds_max: 4 },
    Killer { mutant: Mutant::ForgetsTransactions, trap: "trap_restarts", by: Promise::Transactions, seeds_max: 2 },
];

/// The trap of this name.
pub fn find(name: &str) -> Option<&'static Trap> {
    TRAPS.iter().find(|trap| trap.name == name)
}

/// A plan with a mutant planted.
pub fn planted(plan: Plan, mutant: Mutant) -> Plan {
    Plan { mutant: Some(mutant), ..plan }
}

/// How a mutant died, or did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Death {
    /// Seeds it took; None if it lived through all.
    pub seeds: Option<u64>,
    /// Seeds that were run.
    pub tried: u64,
    /// The promises that broke on the last one.
    pub checkers: Vec<&'static str>,
    /// The first violation of the promise it was made to break, or of any.
    pub detail: String,
}

/// Runs seeds from 0 on until a promise breaks: `by` if it says which.
pub fn hunt(mutant: Mutant, plan: fn(u64) -> Plan, by: Option<Promise>, seeds_max: u64, kit: &mut Kit) -> Death {
    for seed in 0..seeds_max {
        let outcome = runner::run(&planted(plan(seed), mutant), kit);
        if let Some(shown) = outcome.violations.iter().find(|violation| by.is_none_or(|by| violation.promise == by)) {
            let mut checkers: Vec<_> = outcome.violations.iter().map(|violation| violation.promise.as_str()).collect();
            checkers.sort_unstable();
            checkers.dedup();
            return Death { seeds: Some(seed + 1), tried: seed + 1, checkers, detail: shown.detail.clone() };
        }
    }
    Death { seeds: None, tried: seeds_max, checkers: Vec::new(), detail: String::new() }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The mutant.
    pub mutant: &'static str,
    /// Its trap.
    pub scenario: &'static str,
    /// The promise it must break there.
    pub checker: &'static str,
    /// Seeds it is promised to be dead within.
    pub seeds_max: u64,
    /// What became of it there.
    pub trap: Death,
    /// What became of it in every trap, in the order of [`TRAPS`], by any checker.
    pub traps: Vec<Death>,
    /// What became of it in the default swarm, by any checker.
    pub swarm: Death,
}

/// A trap without a mutant: nothing may break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Control {
    /// The trap.
    pub scenario: &'static str,
    /// Seeds that were run.
    pub seeds: u64,
    /// What broke, with its seed.
    pub violations: Vec<String>,
}

/// Mutants against traps, and traps against themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// A row for each mutant.
    pub mutants: Vec<Row>,
    /// A row for each trap.
    pub controls: Vec<Control>,
}

/// How much is run for a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Seeds of each trap without a mutant.
    pub control_seeds: u64,
    /// Most seeds of a trap for a mutant that is not its own.
    pub other_seeds: u64,
    /// Most seeds of the default swarm for each mutant.
    pub swarm_seeds: u64,
    /// Threads.
    pub threads: usize,
}

/// One cell of the table's work.
enum Cell {
    Own(usize),
    Other(usize, usize),
    Swarm(usize),
    Control(usize),
}

/// What came of a cell.
enum Finding {
    Hunted(Death),
    Controlled((u64, Vec<String>)),
}

impl Table {
    /// Runs everything; `done` hears how many of how many cells are done.
    pub fn run(effort: &Effort, done: impl Fn(usize, usize) + Sync) -> Table {
        let mut cells: Vec<Cell> = Vec::new();
        for killer in 0..KILLERS.len() {
            cells.push(Cell::Swarm(killer));
            cells.push(Cell::Own(killer));
            cells.extend((0..TRAPS.len()).map(|trap| Cell::Other(killer, trap)));
        }
        cells.extend((0..TRAPS.len()).map(Cell::Control));
        let finished = AtomicUsize::new(0);
        let results = runner::each(cells.len(), effort.threads, |at, kit| {
            let result = cells[at].run(effort, kit);
            done(finished.fetch_add(1, Ordering::Relaxed) + 1, cells.len());
            result
        });
        Table::gathered(cells.iter().zip(results))
    }

    fn gathered<'a>(results: impl Iterator<Item = (&'a Cell, Finding)>) -> Table {
        let unknown = Death { seeds: None, tried: 0, checkers: Vec::new(), detail: String::new() };
        let row = |killer: &Killer| Row {
            mutant: killer.mutant.as_str(),
            scenario: killer.trap,
            checker: killer.by.as_str(),
            seeds_max: killer.seeds_max,
            trap: unknown.clone(),
            traps: vec![unknown.clone(); TRAPS.len()],
            swarm: unknown.clone(),
        };
        let mut table = Table { mutants: KILLERS.iter().map(row).collect(), controls: Vec::new() };
        for (cell, result) in results {
            match (cell, result) {
                (Cell::Own(killer), Finding::Hunted(death)) => table.mutants[*killer].trap = death,
                (Cell::Other(killer, trap), Finding::Hunted(death)) => table.mutants[*killer].traps[*trap] = death,
                (Cell::Swarm(killer), Finding::Hunted(death)) => table.mutants[*killer].swarm = death,
                (Cell::Control(trap), Finding::Controlled((seeds, violations))) => {
                    table.controls.push(Control { scenario: TRAPS[*trap].name, seeds, violations });
                }
                _ => unreachable!("a hunt is a hunt, a control a control"),
            }
        }
        table
    }

    /// Mutants that live, and traps that break without one: what the table must not show.
    pub fn failures(&self) -> Vec<String> {
        let alive = self.mutants.iter().filter(|row| row.trap.seeds.is_none());
        let alive = alive.map(|row| format!("{} lives through {} seeds of {}", row.mutant, row.trap.tried, row.scenario));
        let broken = self.controls.iter().filter_map(|control| Some((control.scenario, control.violations.first()?)));
        alive.chain(broken.map(|(scenario, how)| format!("{scenario} breaks without a planted bug: {how}"))).collect()
    }
}

impl Cell {
    fn run(&self, effort: &Effort, kit: &mut Kit) -> Finding {
        match *self {
            Cell::Own(killer) => {
                let killer = &KILLERS[killer];
                let plan = find(killer.trap).expect("killers name traps").plan;
                Finding::Hunted(hunt(killer.mutant, plan, Some(killer.by), killer.seeds_max, kit))
            }
            Cell::Other(killer, trap) => Finding::Hunted(hunt(KILLERS[killer].mutant, TRAPS[trap].plan, None, effort.other_seeds, kit)),
            Cell::Swarm(killer) => Finding::Hunted(hunt(KILLERS[killer].mutant, swarm::draw, None, effort.swarm_seeds, kit)),
            Cell::Control(trap) => Finding::Controlled((effort.control_seeds, control(&TRAPS[trap], effort.control_seeds, kit))),
        }
    }
}

/// What breaks in so many seeds of a trap without a mutant.
pub fn control(trap: &Trap, seeds: u64, kit: &mut Kit) -> Vec<String> {
    let broken = |seed| {
        let outcome = runner::run(&(trap.plan)(seed), kit);
        outcome.violations.first().map(|violation| format!("seed {seed}: {}: {}", violation.promise.as_str(), violation.detail))
    };
    (0..seeds).filter_map(broken).collect()
}

fn base(name: &str, seed: u64, validators: usize) -> Plan {
    let mut plan = Plan::calm(name, seed, vec![1; validators]);
    plan.faults_for = Nanos::from_millis(800);
    plan.settle_within = Nanos::from_millis(8_000);
    plan
}

/// Links that differ a lot from packet to packet.
fn shaky(plan: &mut Plan, base_ms: (u64, u64), jitter_ms: u64) {
    plan.network.base_ms = base_ms;
    plan.network.link = Link { jitter: Nanos::from_millis(jitter_ms), ..plan.network.link };
}

fn equivocator(seed: u64) -> Plan {
    let mut plan = base("trap_equivocator", seed, 6);
    plan.hostile = vec![((seed % 6) as usize, Kind::Equivocator)];
    shaky(&mut plan, (1, 20), 5);
    plan.watch_for = Nanos::from_millis(2_000);
    plan
}

fn signer(seed: u64) -> Plan {
    let mut plan = late(seed);
    plan.name = "trap_signer".to_string();
    plan.hostile = vec![((seed % 6) as usize, Kind::AllSigner)];
    plan
}

/// While there are faults a packet in ten takes two timeouts, and one in twenty never comes.
fn late(seed: u64) -> Plan {
    let mut plan = base("trap_late", seed, 6);
    plan.params.view_timeout = Nanos::from_millis(100);
    plan.params.idle_interval = Nanos::from_millis(10);
    shaky(&mut plan, (1, 8), 4);
    let link = &mut plan.network.link;
    (link.loss_ppm, link.spike_ppm, link.spike) = (50_000, 100_000, Nanos::from_millis(200));
    plan.faults_for = Nanos::from_millis(2_000);
    plan
}

fn overtaken(seed: u64) -> Plan {
    let mut plan = base("trap_vote2", seed, 6);
    shaky(&mut plan, (1, 40), 5);
    plan
}

fn pair(seed: u64) -> Plan {
    let mut plan = base("trap_pair", seed, 11);
    plan.hostile = vec![((seed % 11) as usize, Kind::Equivocator), (((seed + 4) % 11) as usize, Kind::AllSigner)];
    plan.params.idle_interval = Nanos(0);
    plan.load.per_second = 0;
    shaky(&mut plan, (1, 10), 3);
    plan
}

fn skipper(seed: u64) -> Plan {
    let mut plan = base("trap_skipper", seed, 6);
    plan.hostile = vec![((seed % 6) as usize, Kind::Bait(Bait::Skipper))];
    plan.params.idle_interval = Nanos(0);
    plan.params.block_interval = Nanos(0);
    shaky(&mut plan, (1, 60), 10);
    plan.faults_for = Nanos::from_millis(3_000);
    plan
}

fn repeater(seed: u64) -> Plan {
    let mut plan = base("trap_repeater", seed, 6);
    plan.hostile = vec![((seed % 6) as usize, Kind::Bait(Bait::Repeater))];
    plan
}

fn replayer(seed: u64) -> Plan {
    let mut plan = base("trap_replayer", seed, 6);
    plan.hostile = vec![((seed % 6) as usize, Kind::Bait(Bait::Replayer))];
    plan
}

fn crash(seed: u64) -> Plan {
    let mut plan = base("trap_crash", seed, 6);
    plan.hostile = vec![((seed % 6) as usize, Kind::Equivocator)];
    plan.restart_ms = (1, 5);
    shaky(&mut plan, (1, 20), 20);
    plan.faults_for = Nanos::from_millis(2_000);
    let honest = (0..6).filter(|seat| *seat as u64 != seed % 6);
    plan.faults =
        honest.flat_map(|seat| (0..20).map(move |at| (Nanos::from_millis(50 + 90 * at + 7 * seat as u64), Fault::Kill(seat)))).collect();
    plan.faults.sort_by_key(|(at, _)| *at);
    plan
}

/// Only one validator hears anything: it goes a view ahead, which it sometimes leads, and loses its log there while everybody else stands still for
/// longer than it listens.
fn alone(seed: u64) -> Plan {
    let mut plan = base("trap_alone", seed, 6);
    let seat = (seed % 6) as usize;
    plan.fragile = vec![seat];
    plan.params.view_timeout = Nanos::from_millis(100);
    plan.restart_ms = (1, 5);
    plan.faults_for = Nanos::from_millis(9_800);
    let deaf = (0..6).filter(|to| *to != seat).flat_map(|to| (0..6).filter(move |from| *from != to).map(move |from| (from, to)));
    let deaf: Vec<_> = deaf.collect();
    let round = |at: u64| {
        let after = move |ms| Nanos::from_millis(200 + 1_200 * at + ms);
        [(after(0), Fault::Cut(deaf.clone())), (after(150), Fault::LoseLog(seat)), (after(1_000), Fault::Join)]
    };
    plan.faults = (0..8).flat_map(round).collect();
    plan
}

fn restarts(seed: u64) -> Plan {
    let mut plan = base("trap_restarts", seed, 6);
    plan.restart_ms = (10, 120);
    plan.faults_for = Nanos::from_millis(2_000);
    plan.faults = (0..36u64).map(|at| (Nanos::from_millis(100 + 50 * at), Fault::Kill(((at * 5 + seed) % 6) as usize))).collect();
    plan
}

fn split(seed: u64) -> Plan {
    let mut plan = base("trap_split", seed, 7);
    plan.hostile = vec![((seed % 7) as usize, Kind::Bait(Bait::Splitter))];
    plan
}

/// Enough load that blocks take several shreds and travel through relays.
fn loaded(name: &str, seed: u64) -> Plan {
    let mut plan = base(name, seed, 6);
    plan.load = Load { per_second: 400, data_bytes_max: 1_000 };
    plan
}

/// Blocks of some 50 KiB, two slices: only a full slice can be taken for the last one and for one before it.
fn tamperer(seed: u64) -> Plan {
    let mut plan = loaded("trap_tamperer", seed);
    plan.params.block_interval = Nanos::from_millis(100);
    plan.load.per_second = 1_000;
    plan.hostile = vec![((seed % 6) as usize, Kind::Bait(Bait::Tamperer))];
    plan
}

fn duplicates(seed: u64) -> Plan {
    let mut plan = loaded("trap_duplicates", seed);
    plan.network.link.duplicate_ppm = 300_000;
    plan
}

fn bad_coder(seed: u64) -> Plan {
    let mut plan = loaded("trap_bad_coder", seed);
    plan.hostile = vec![((seed % 6) as usize, Kind::Bait(Bait::BadCoder))];
    plan
}

#[cfg(test)]
mod tests;
