//! From a failing plan to a small one: parts are taken away as long as the same promise still breaks.
//!
//! A plan is data, so shrinking is editing: hostile validators, faults (halves, then single ones), load, link faults, disk stalls, drift, and the
//! time they have. Each edit is kept only if a run of the edited plan breaks one of the promises the first run broke. Edits are tried until
//! none helps or the runs are used up. The result runs by itself, as any plan does, and prints as a list of events.

use crate::disk::DiskSpeed;
use crate::kit::Kit;
use crate::net::Link;
use crate::runner;
use crate::swarm::Plan;
use crate::trace::{Event, What};
use crate::world::{Outcome, World};
use crate::{Promise, report};
use samara_types::{MessageKind, Nanos};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A plan that fails and could not be made smaller.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// What it breaks.
    pub outcome: Outcome,
    /// Runs it took.
    pub runs: usize,
}

/// Makes a failing plan smaller with at most so many runs. None if it does not fail.
pub fn shrink(plan: &Plan, runs_max: usize, kit: &mut Kit) -> Option<Shrunk> {
    let outcome = runner::run(plan, kit);
    let promises: BTreeSet<Promise> = outcome.violations.iter().map(|violation| violation.promise).collect();
    if promises.is_empty() {
        return None;
    }
    let mut shrunk = Shrunk { plan: plan.clone(), outcome, runs: 1 };
    loop {
        let mut smaller = false;
        let mut at = 0;
        // The list of edits is made anew after each that was kept: the plan it speaks of has changed.
        while let Some(candidate) = edits(&shrunk.plan).into_iter().nth(at) {
            if shrunk.runs >= runs_max {
                return Some(shrunk);
            }
            shrunk.runs += 1;
            let outcome = runner::run(&candidate, kit);
            if outcome.violations.iter().any(|violation| promises.contains(&violation.promise)) {
                (shrunk.plan, shrunk.outcome, smaller) = (candidate, outcome, true);
            } else {
                at += 1;
            }
        }
        if !smaller {
            return Some(shrunk);
        }
    }
}

/// Every plan one edit smaller, the largest cuts first.
fn edits(plan: &Plan) -> Vec<Plan> {
    let mut made: Vec<Plan> = Vec::new();
    let mut edit = |change: &dyn Fn(&mut Plan)| {
        let mut candidate = plan.clone();
        change(&mut candidate);
        if candidate != *plan {
            made.push(candidate);
        }
    };
    edit(&|plan| plan.faults.clear());
    edit(&|plan| plan.load.per_second = 0);
    edit(&|plan| plan.network.link = Link { jitter: plan.network.link.jitter, ..Link::steady(plan.network.link.base) });
    edit(&|plan| plan.network.link.jitter = Nanos(0));
    edit(&|plan| plan.network.nic.set_rate(0));
    edit(&|plan| plan.network.narrow = None);
    edit(&|plan| plan.speed = DiskSpeed { jitter: Nanos(0), stall_ppm: 0, stall: Nanos(0), ..plan.speed });
    edit(&|plan| plan.drift_ppm = 0);
    edit(&|plan| plan.burst = Nanos(0));
    for at in 0..plan.hostile.len() {
        edit(&|plan| {
            plan.hostile.remove(at);
        });
    }
    let mut part = plan.faults.len() / 2;
    while part > 0 {
        for start in (0..plan.faults.len()).step_by(part) {
            edit(&|plan| {
                plan.faults.drain(start..(start + part).min(plan.faults.len()));
            });
        }
        part /= 2;
    }
    edit(&|plan| {
        plan.faults_for = Nanos(plan.faults_for.0 / 2);
        plan.faults.retain(|(at, _)| *at < plan.faults_for);
    });
    made
}

/// The shrunk plan, its violations, and what was said and done in the views before the first of them: a list to read.
pub fn story(shrunk: &Shrunk, lines_max: usize, kit: &mut Kit) -> String {
    let mut text = report::failure(&shrunk.plan, &shrunk.outcome);
    let end = shrunk.outcome.violations.iter().map(|violation| violation.at).min().unwrap_or_default();
    // A run that ends in a panic has no record.
    let recorded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| World::new(&shrunk.plan, kit).recording().run_recorded().1));
    let events: Vec<Event> = recorded.unwrap_or_default();
    let lines: Vec<String> = events.iter().take_while(|event| event.at <= end).filter_map(line).collect();
    let skipped = lines.len().saturating_sub(lines_max);
    writeln!(text, "  {skipped} events before, then:").expect("a String takes all");
    for line in &lines[skipped..] {
        writeln!(text, "    {line}").expect("a String takes all");
    }
    text
}

/// What matters of an event, in one line.
fn line(event: &Event) -> Option<String> {
    let what = match &event.what {
        What::Sent(target, MessageKind::Vote | MessageKind::Nullify | MessageKind::Certificate, _) => {
            format!("sends {target:?} {}", crate::checkers::Said::of(&event.what)?)
        }
        What::Started { height, amnesia } => format!("starts at height {height}{}", if *amnesia { " without its log" } else { "" }),
        What::Stopped(why) => format!("stops: {why:?}"),
        What::Wiped => "loses its disk".to_string(),
        What::Durable(record) => format!("has on disk {record:?}"),
        What::Entered(view) => format!("enters view {view}"),
        What::Finalized(block) => format!("finalizes height {} of view {}: {}", block.header.height, block.header.view, block.digest),
        What::Accused(evidence) => format!("accuses {} of {} in view {}", evidence.accused, evidence.offence.as_str(), evidence.view),
        What::Alarm(text) => format!("raises an alarm: {text}"),
        _ => return None,
    };
    Some(format!("{:>10.3} ms  {} {what}", event.at.0 as f64 / 1e6, event.node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::{find, planted};
    use crate::swarm::Fault;
    use samara_crypto::Mutant;

    #[test]
    fn a_failing_plan_loses_what_its_failure_does_not_need() {
        let mut kit = Kit::new();
        let mut plan = planted((find("trap_late").unwrap().plan)(0), Mutant::SendsBeforeSync);
        plan.faults = (0..6).map(|at| (Nanos::from_millis(100 * at), Fault::Kill(at as usize))).collect();
        let shrunk = shrink(&plan, 16, &mut kit).expect("it fails");
        assert!(shrunk.plan.faults.is_empty() && shrunk.plan.load.per_second == 0, "{}", shrunk.plan);
        assert!(shrunk.outcome.violations.iter().any(|violation| violation.promise == Promise::Durability));
        let story = story(&shrunk, 40, &mut kit);
        assert!(story.contains("VIOLATION durability") && story.contains("sends All a vote"), "{story}");
    }

    #[test]
    fn a_plan_that_does_not_fail_is_left_alone() {
        assert!(shrink(&(find("trap_repeater").unwrap().plan)(0), 2, &mut Kit::new()).is_none());
    }
}
