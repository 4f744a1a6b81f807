//! `samara sim`: runs whole clusters in the simulator and reports what promise was broken.
//!
//! Seeds run in parallel, each on one thread; digest and violations do not depend on how many there are.

use crate::exit::Exit;
use crate::study;
use clap::Args;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use samara_sim::scenarios::{self, Scenario};
use samara_sim::{Outcome, Report, report, runner};
use std::time::Instant;

/// Plans of failing seeds that are printed in full.
const FAILURES_SHOWN: usize = 5;

/// Arguments of `sim`.
#[derive(Args, Debug)]
pub struct SimArgs {
    /// What to run; `list` prints the names.
    #[arg(long, value_name = "NAME", default_value = "swarm")]
    pub scenario: String,
    /// Runs this seed only.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Runs so many seeds, from `--first` on.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "seed")]
    pub first: u64,
    /// Largest cluster of the scale study.
    #[arg(long, value_name = "N")]
    pub validators_max: Option<usize>,
    /// Where a study leaves its plots and figures.
    #[arg(long, value_name = "DIR", default_value = "samara-report-study")]
    pub report: std::path::PathBuf,
    /// Threads; all cores if not given.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Runs the seeds; broken promises are a failed run.
pub fn command(args: &SimArgs) -> Result<(), Exit> {
    if args.scenario == "list" {
        print_names();
        return Ok(());
    }
    if let Some((name, _)) = study::NAMES.iter().find(|(name, _)| *name == args.scenario) {
        return study::command(name, args.seed.unwrap_or(1), args.validators_max, &args.report, args.json);
    }
    let Some(scenario) = scenarios::find(&args.scenario) else {
        let names: Vec<_> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
        return Err(Exit::bad("scenario", &args.scenario, format!("list or one of {}", names.join(", "))));
    };
    let (first, count) = args.seed.map_or((args.first, args.seeds), |seed| (seed, 1));
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let progress = ProgressBar::new(count);
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left").expect("a good template"));
    let started = Instant::now();
    let outcomes = runner::sweep(count as usize, threads, |at| (scenario.plan)(first + at as u64), |_| progress.inc(1));
    progress.finish_and_clear();
    let report = Report::new(&outcomes, started.elapsed().as_secs_f64());
    show_failures(scenario, &outcomes);
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    } else {
        print_table(scenario, &outcomes, &report, started.elapsed().as_secs_f64());
    }
    if report.violations.is_empty() { Ok(()) } else { Err(Exit::failed(format!("{} promises were broken", report.violations.len()))) }
}

fn print_names() {
    let mut table = Table::new();
    table.set_header(["scenario", "what it shows"]);
    for scenario in scenarios::ALL {
        table.add_row([scenario.name, scenario.what]);
    }
    for (name, what) in study::NAMES {
        table.add_row([name, what]);
    }
    println!("{table}");
}

fn show_failures(scenario: &Scenario, outcomes: &[Outcome]) {
    for outcome in outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).take(FAILURES_SHOWN) {
        eprintln!("{}", report::failure(&(scenario.plan)(outcome.seed), outcome));
    }
}

fn print_table(scenario: &Scenario, outcomes: &[Outcome], report: &Report, seconds: f64) {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>().to_string();
    let failed = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).count();
    let mut table = Table::new();
    table.add_row(["scenario", scenario.name]);
    table.add_row(["seeds".to_string(), report.seeds.to_string()]);
    table.add_row(["seeds with a broken promise".to_string(), failed.to_string()]);
    table.add_row(["views".to_string(), report.views.to_string()]);
    table.add_row(["final blocks".to_string(), sum(|outcome| outcome.blocks)]);
    table.add_row(["transactions acknowledged".to_string(), sum(|outcome| outcome.acknowledged)]);
    table.add_row(["events".to_string(), sum(|outcome| outcome.events)]);
    table.add_row(["simulated seconds".to_string(), format!("{:.1}", outcomes.iter().map(|o| o.lasted.0 as f64 / 1e9).sum::<f64>())]);
    table.add_row(["real seconds".to_string(), format!("{seconds:.1}")]);
    table.add_row(["views a second".to_string(), format!("{:.0}", report.views_per_s)]);
    table.add_row(["digest".to_string(), report.digest.clone()]);
    println!("{table}");
}
