//! T33 to T39: processes die, disks fail.

use super::{Expect, Scenario, short};
use crate::node::PersistPoint;
use crate::swarm::{Fault, Plan};
use crate::trace::Stop;
use samara_types::Nanos;

/// See the module.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "kill_at_every_point",
        what: "T33: every validator dies once at every point on the way of a record to the disk",
        plan: kill_at_every_point,
        expects: &[Expect::Stopped(Stop::Killed, 40)],
    },
    Scenario {
        name: "all_crash",
        what: "T34: all die at once, four times; after votes, and after nullifies because a leader is dead",
        plan: all_crash,
        expects: &[Expect::Stopped(Stop::Killed, 20), Expect::Nullified(1), Expect::Blocks(5)],
    },
    Scenario {
        name: "hailstorm",
        what: "T35: everybody dies again and again",
        plan: hailstorm,
        expects: &[Expect::Stopped(Stop::Killed, 25), Expect::Blocks(5)],
    },
    Scenario {
        name: "lost_log",
        what: "T36: a log that does not open: amnesia, no word before a block above what it may have voted on is final",
        plan: |seed| fragile("lost_log", seed, Fault::LoseLog),
        expects: &[Expect::Amnesia(1), Expect::Blocks(15)],
    },
    Scenario {
        name: "lost_store",
        what: "T36: the block store is gone, the vote log is not, and has forgotten what the store covered: amnesia",
        plan: lost_store,
        expects: &[Expect::Amnesia(1), Expect::Blocks(200)],
    },
    Scenario {
        name: "lost_log_then_store",
        what: "T36: the log is lost and a new one begun, then the block store is gone: the new log does not know what the old one said; amnesia twice",
        plan: lost_log_then_store,
        expects: &[Expect::Amnesia(2), Expect::Blocks(200)],
    },
    Scenario {
        name: "lost_disk",
        what: "T36: the whole data directory is gone",
        plan: |seed| fragile("lost_disk", seed, Fault::Wipe),
        expects: &[Expect::Amnesia(1), Expect::Blocks(15)],
    },
    Scenario {
        name: "damaged_body",
        what: "T36: a journaled body is unreadable after a crash",
        plan: |seed| fragile("damaged_body", seed, Fault::DamageBody),
        expects: &[Expect::Blocks(15)],
    },
    Scenario {
        name: "disk_fails",
        what: "T37: writes of log, journal and store fail at every validator; each stops at once",
        plan: disk_fails,
        expects: &[Expect::Stopped(Stop::Disk, 6), Expect::Blocks(5)],
    },
    Scenario {
        name: "leader_restarts",
        what: "T38: leaders die after their proposal is durable, or sent, and come back in their view",
        plan: leader_restarts,
        expects: &[Expect::LeaderKilled, Expect::Blocks(5)],
    },
    Scenario { name: "join", what: "T39: one validator starts when the others are far", plan: join, expects: &[Expect::Blocks(30)] },
];

fn kill_at_every_point(seed: u64) -> Plan {
    let mut plan = short("kill_at_every_point", seed, 6);
    plan.restart_ms = (5, 40);
    plan.faults_for = Nanos::from_millis(4_500);
    // One at a time, so that the others go on: 48 deaths, 90 ms apart.
    plan.faults = (0..48u64)
        .map(|at| {
            let (seat, point) = ((at % 6) as usize, PersistPoint::ALL[(at / 6) as usize]);
            (Nanos::from_millis(100 + 90 * at), Fault::KillAt(seat, point, ((seed + at) % 3) as u32))
        })
        .collect();
    plan
}

fn all_crash(seed: u64) -> Plan {
    let mut plan = short("all_crash", seed, 6);
    plan.restart_ms = (1, 60);
    plan.faults_for = Nanos::from_millis(3_000);
    let dead = (seed % 6) as usize;
    let times = [400 + seed % 50, 1_100 + seed % 37, 1_800 + seed % 41, 2_500];
    plan.faults = times.into_iter().map(|at| (Nanos::from_millis(at), Fault::KillAll)).collect();
    plan.faults.push((Nanos::from_millis(500), Fault::Down(dead)));
    plan.faults.sort_by_key(|(at, _)| *at);
    plan
}

fn hailstorm(seed: u64) -> Plan {
    let mut plan = short("hailstorm", seed, 6);
    plan.restart_ms = (10, 120);
    plan.faults_for = Nanos::from_millis(2_000);
    plan.faults = (0..36u64).map(|at| (Nanos::from_millis(100 + 50 * at), Fault::Kill(((at * 5 + seed) % 6) as usize))).collect();
    plan
}

fn fragile(name: &str, seed: u64, fault: fn(usize) -> Fault) -> Plan {
    let mut plan = short(name, seed, 6);
    let seat = (seed % 6) as usize;
    plan.fragile = vec![seat];
    plan.restart_ms = (5, 100);
    plan.faults = [300, 700].into_iter().map(|at| (Nanos::from_millis(at), fault(seat))).collect();
    plan
}

/// Fast views, so that the log has pruned by then; nobody answers while the validator starts from nothing, so that its timer runs out there.
fn lost_store(seed: u64) -> Plan {
    let mut plan = short("lost_store", seed, 6);
    let seat = (seed % 6) as usize;
    plan.fragile = vec![seat];
    plan.restart_ms = (5, 100);
    plan.network.base_ms = (0, 1);
    plan.params.block_interval = Nanos(0);
    plan.params.idle_interval = Nanos(0);
    plan.params.view_timeout = Nanos::from_millis(100);
    plan.faults_for = Nanos::from_millis(2_500);
    let others = (0..6).filter(|other| *other != seat);
    let alone: Vec<_> = others.flat_map(|other| [(seat, other), (other, seat)]).collect();
    plan.faults = vec![
        (Nanos::from_millis(1_500), Fault::Cut(alone)),
        (Nanos::from_millis(1_510), Fault::LoseStore(seat)),
        (Nanos::from_millis(2_000), Fault::Join),
    ];
    plan
}

fn lost_log_then_store(seed: u64) -> Plan {
    let mut plan = Plan { name: "lost_log_then_store".to_string(), ..lost_store(seed) };
    plan.faults.insert(0, (Nanos::from_millis(750), Fault::LoseLog(plan.fragile[0])));
    plan
}

fn disk_fails(seed: u64) -> Plan {
    let mut plan = short("disk_fails", seed, 6);
    plan.restart_ms = (5, 60);
    plan.faults_for = Nanos::from_millis(2_500);
    plan.faults =
        (0..18u64).map(|at| (Nanos::from_millis(150 + 120 * at), Fault::FailWrite((at % 6) as usize, at / 6 + seed % 2 * 3))).collect();
    plan
}

fn leader_restarts(seed: u64) -> Plan {
    let mut plan = short("leader_restarts", seed, 6);
    plan.restart_ms = (2, 30);
    plan.faults_for = Nanos::from_millis(4_600);
    // Seats lead in turn, so that among these deaths some are a leader's.
    let points = [PersistPoint::LogWritten, PersistPoint::Told, PersistPoint::LogSubmitted];
    plan.faults = (0..40u64)
        .map(|at| {
            (Nanos::from_millis(100 + 110 * at), Fault::KillAt(((at + seed) % 6) as usize, points[(at % 3) as usize], (at / 6) as u32))
        })
        .collect();
    plan
}

fn join(seed: u64) -> Plan {
    let mut plan = short("join", seed, 6);
    let late = (seed % 6) as usize;
    plan.faults_for = Nanos::from_millis(2_000);
    plan.faults = vec![(Nanos(0), Fault::Down(late)), (Nanos::from_millis(1_900), Fault::Start(late))];
    plan
}
