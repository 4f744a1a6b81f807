//! `samara sim`: runs whole clusters in the simulator and reports what promise was broken.
//!
//! ```text
//! --scenario NAME        sweep: many seeds, judged by the checkers and by the scenario's expectations; failing plans become files
//! --seed N --shrink      the smallest plan that still fails, as a list of events and as a file
//! --replay FILE          such a file once more, or the last inputs of a real validator
//! --mutants              planted bugs against the scenarios made for them
//! --scenario exhaustive  every order of the rules' steps within a bound
//! --scenario wan|scale   studies (`crate::study`)
//! ```
//! Seeds run in parallel, each on one thread; digest and violations do not depend on how many there are.

mod exhaustive;
mod inputs;
mod mutants;
mod replay;
mod shrink;
mod sweep;

use crate::exit::Exit;
use crate::study;
use clap::Args;
use comfy_table::Table;
use samara_crypto::Mutant;
use samara_sim::plan_file::PlanFile;
use samara_sim::scenarios::{self, Scenario};
use samara_sim::{Outcome, Plan};
use std::path::{Path, PathBuf};

/// Arguments of `sim`.
#[derive(Args, Debug)]
pub struct SimArgs {
    /// What to run; `list` prints the names.
    #[arg(long, value_name = "NAME", default_value = "swarm")]
    pub scenario: String,
    /// Runs this seed only.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Runs so many seeds, from `--first` on; with `--mutants` the most seeds of the default swarm for each bug.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub seeds: Option<u64>,
    /// The first seed.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "seed")]
    pub first: u64,
    /// Plants this known bug in every honest validator.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["mutants", "replay"])]
    pub mutant: Option<String>,
    /// Every known bug against the scenario made for it, all such scenarios without a bug, and the default swarm.
    #[arg(long, conflicts_with_all = ["scenario", "seed", "first", "replay", "shrink"])]
    pub mutants: bool,
    /// Makes the failing plan of `--seed` smaller for as long as it fails.
    #[arg(long, requires = "seed")]
    pub shrink: bool,
    /// Runs the plan in a file again; prints, or with `--dir` runs, the inputs a validator has written (`inputs.panic`, `inputs.failure`, `inputs.asked`).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "seed", "seeds", "first"])]
    pub replay: Option<PathBuf>,
    /// The validator's directory, or a copy of it without its keys: genesis and blocks for `--replay` of its inputs.
    #[arg(long, value_name = "DIR", requires = "replay")]
    pub dir: Option<PathBuf>,
    /// Largest cluster of the scale study.
    #[arg(long, value_name = "N")]
    pub validators_max: Option<usize>,
    /// Views of the exhaustive exploration.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub views: u8,
    /// Where failing plans, plots and figures go; it is made when there is something to write.
    #[arg(long, value_name = "DIR", default_value = "samara-report-sim")]
    pub report: PathBuf,
    /// Threads; all cores if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

impl SimArgs {
    fn threads(&self) -> usize {
        self.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
    }
}

/// Runs what is asked for; broken promises are a failed run.
pub fn command(args: &SimArgs) -> Result<(), Exit> {
    if let Some(file) = &args.replay {
        return replay::command(file, args);
    }
    if args.mutants {
        return mutants::command(args);
    }
    if args.scenario == "list" {
        print_names();
        return Ok(());
    }
    if args.scenario == "exhaustive" {
        return exhaustive::command(args);
    }
    if let Some((name, _)) = study::NAMES.iter().find(|(name, _)| *name == args.scenario) {
        return study::command(name, args.seed.unwrap_or(1), args.validators_max, &args.report, args.json);
    }
    let wanted = Wanted::new(args)?;
    if args.shrink { shrink::command(&wanted, args) } else { sweep::command(&wanted, args) }
}

/// A scenario, and the bug planted in it.
struct Wanted {
    scenario: Scenario,
    mutant: Option<Mutant>,
}

impl Wanted {
    fn new(args: &SimArgs) -> Result<Wanted, Exit> {
        let Some(scenario) = find(&args.scenario) else {
            return Err(Exit::bad("scenario", &args.scenario, format!("list or one of {}", names().join(", "))));
        };
        let mutant = args.mutant.as_deref().map(|name| {
            let names: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.as_str()).collect();
            Mutant::find(name).ok_or_else(|| Exit::bad("mutant", name, format!("one of {}", names.join(", "))))
        });
        Ok(Wanted { scenario, mutant: mutant.transpose()? })
    }

    fn plan(&self, seed: u64) -> Plan {
        Plan { mutant: self.mutant, ..(self.scenario.plan)(seed) }
    }
}

/// A scenario or a trap for planted bugs.
fn find(name: &str) -> Option<Scenario> {
    let trap = || samara_sim::mutants::find(name).map(|trap| Scenario { name: trap.name, what: trap.what, plan: trap.plan, expects: &[] });
    scenarios::find(name).copied().or_else(trap)
}

fn names() -> Vec<&'static str> {
    let own = scenarios::ALL.iter().map(|scenario| scenario.name);
    own.chain(samara_sim::mutants::TRAPS.iter().map(|trap| trap.name))
        .chain(["exhaustive"])
        .chain(study::NAMES.map(|(name, _)| name))
        .collect()
}

fn print_names() {
    let mut table = Table::new();
    table.set_header(["scenario", "what it shows"]);
    for scenario in scenarios::ALL {
        table.add_row([scenario.name, scenario.what]);
    }
    for trap in samara_sim::mutants::TRAPS {
        table.add_row([trap.name, trap.what]);
    }
    table.add_row(["exhaustive", "every order of the rules' steps: n = 6, one hostile, up to three views"]);
    for (name, what) in study::NAMES {
        table.add_row([name, what]);
    }
    println!("{table}");
}

/// Writes a failing plan for `--replay`; says where.
fn keep(report: &Path, name: &str, plan: &Plan, outcome: &Outcome) -> Result<PathBuf, Exit> {
    let path = report.join(format!("{name}.plan.json"));
    let written = std::fs::create_dir_all(report).and_then(|()| std::fs::write(&path, PlanFile::new(plan, outcome).to_text()));
    written.map_err(|error| Exit::bad("--report", report.display(), format!("a writable directory ({error})")))?;
    Ok(path)
}
