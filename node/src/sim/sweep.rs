//! Many seeds of one scenario.

use super::{SimArgs, Wanted, keep};
use crate::exit::Exit;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use samara_sim::report::Broken;
use samara_sim::{Outcome, Report, report, runner};
use std::time::Instant;

/// Seeds of a sweep that does not say.
const SEEDS: u64 = 100;
/// Plans of failing seeds that are printed in full and written to files.
const FAILURES_SHOWN: usize = 5;
/// The `checker` of an expectation that was not met: nobody's promise, but the scenario did not show what it is for.
const EXPECTED: &str = "expected";

/// Runs the seeds; broken promises and unmet expectations are a failed run.
pub fn command(wanted: &Wanted, args: &SimArgs) -> Result<(), Exit> {
    let (first, count) = args.seed.map_or((args.first.unwrap_or(0), args.seeds.unwrap_or(SEEDS)), |seed| (seed, 1));
    if first.checked_add(count - 1).is_none() {
        return Err(Exit::bad("--first", first, format!("so that {count} seeds end at {} at most", u64::MAX)));
    }
    let progress = ProgressBar::new(count);
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left").expect("a good template"));
    let started = Instant::now();
    let results = runner::each(count as usize, args.threads(), |at, kit| {
        let result = wanted.scenario.run_plan(&wanted.plan(first + at as u64), kit);
        progress.inc(1);
        result
    });
    progress.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let (outcomes, unmet): (Vec<Outcome>, Vec<Vec<String>>) = results.into_iter().unzip();
    let mut report = Report::new(&outcomes, seconds);
    for (outcome, unmet) in outcomes.iter().zip(unmet) {
        report.violations.extend(unmet.into_iter().map(|detail| Broken { seed: outcome.seed, checker: EXPECTED, detail }));
    }
    show_failures(wanted, &outcomes, args);
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    } else {
        print_table(wanted.scenario.name, &outcomes, &report, seconds);
    }
    if report.violations.is_empty() { Ok(()) } else { Err(Exit::failed(verdict(&report))) }
}

fn verdict(report: &Report) -> String {
    let mut checkers: Vec<&str> = report.violations.iter().map(|broken| broken.checker).collect();
    checkers.sort_unstable();
    checkers.dedup();
    let mut seeds: Vec<u64> = report.violations.iter().map(|broken| broken.seed).collect();
    seeds.dedup();
    format!("{} of {} seeds broke a promise: {}", seeds.len(), report.seeds, checkers.join(", "))
}

/// A plan that cannot be kept is no reason to lose the verdict: its seed makes it again.
fn show_failures(wanted: &Wanted, outcomes: &[Outcome], args: &SimArgs) {
    for outcome in outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).take(FAILURES_SHOWN) {
        let plan = wanted.plan(outcome.seed);
        eprintln!("{}", report::failure(&plan, outcome));
        match keep(args.report(), &format!("{}-{}", plan.name, outcome.seed), &plan, outcome) {
            Ok(path) => eprintln!("  again: samara sim --replay {}", path.display()),
            Err(error) => eprintln!("  its plan is not kept: {error}"),
        }
    }
}

fn print_table(name: &str, outcomes: &[Outcome], report: &Report, seconds: f64) {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>().to_string();
    let failed = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).count();
    let unmet = report.violations.iter().filter(|broken| broken.checker == EXPECTED).count();
    let mut table = Table::new();
    table.add_row(["scenario", name]);
    table.add_row(["seeds".to_string(), report.seeds.to_string()]);
    table.add_row(["seeds with a broken promise".to_string(), failed.to_string()]);
    table.add_row(["expectations not met".to_string(), unmet.to_string()]);
    table.add_row(["views".to_string(), report.views.to_string()]);
    table.add_row(["final blocks".to_string(), sum(|outcome| outcome.blocks)]);
    table.add_row(["transactions acknowledged".to_string(), sum(|outcome| outcome.acknowledged)]);
    table.add_row(["events".to_string(), sum(|outcome| outcome.events)]);
    table.add_row(["simulated seconds".to_string(), format!("{:.1}", outcomes.iter().map(|o| o.lasted.0 as f64 / 1e9).sum::<f64>())]);
    table.add_row(["real seconds".to_string(), format!("{seconds:.1}")]);
    table.add_row(["views a second".to_string(), format!("{:.0}", report.views_per_s)]);
    table.add_row(["digest".to_string(), report.digest.clone()]);
    println!("{table}");
    for broken in report.violations.iter().filter(|broken| broken.checker == EXPECTED) {
        println!("seed {}: not seen: {}", broken.seed, broken.detail);
    }
}
