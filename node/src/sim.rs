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
    /// The first seed; 0 if not given.
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    pub first: Option<u64>,
    /// Plants this known bug in every honest validator.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["mutants", "replay"])]
    pub mutant: Option<String>,
    /// Every known bug against the scenario made for it, all such scenarios without a bug, and the default swarm.
    #[arg(long, conflicts_with_all = ["scenario", "seed", "first", "replay", "shrink", "validators_max", "views", "report"])]
    pub mutants: bool,
    /// Makes the failing plan of `--seed` smaller for as long as it fails.
    #[arg(long, requires = "seed", conflicts_with = "threads")]
    pub shrink: bool,
    /// Runs the plan in a file again; prints, or with `--dir` runs, the inputs a validator has written (`inputs.panic`, `inputs.failure`, `inputs.asked`).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "seed", "seeds", "first", "shrink", "validators_max", "views", "report", "threads"])]
    pub replay: Option<PathBuf>,
    /// The validator's directory, or a copy of it without its keys: genesis and blocks for `--replay` of its inputs.
    #[arg(long, value_name = "DIR", requires = "replay")]
    pub dir: Option<PathBuf>,
    /// Largest cluster of `--scenario scale`.
    #[arg(long, value_name = "N")]
    pub validators_max: Option<usize>,
    /// Views of `--scenario exhaustive`; 3 if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=3))]
    pub views: Option<u8>,
    /// Where failing plans, plots and figures go; it is made when there is something to write. `samara-report-sim` if not given.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
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

    fn report(&self) -> &Path {
        self.report.as_deref().unwrap_or(Path::new("samara-report-sim"))
    }

    /// Refuses what this scenario would not look at. What the arguments' names alone tell is in their declarations.
    fn check_scenario(&self) -> Result<(), Exit> {
        let given = [
            ("--seed", self.seed.is_some()),
            ("--seeds", self.seeds.is_some()),
            ("--first", self.first.is_some()),
            ("--mutant", self.mutant.is_some()),
            ("--shrink", self.shrink),
            ("--validators-max", self.validators_max.is_some()),
            ("--views", self.views.is_some()),
            ("--report", self.report.is_some()),
            ("--threads", self.threads.is_some()),
            ("--json", self.json),
        ];
        let taken: &[&str] = match self.scenario.as_str() {
            "list" => &[],
            "exhaustive" => &["--views", "--mutant", "--json"],
            "wan" => &["--seed", "--report", "--json"],
            "scale" => &["--seed", "--validators-max", "--report", "--json"],
            _ => &["--seed", "--seeds", "--first", "--mutant", "--shrink", "--report", "--threads", "--json"],
        };
        let Some((stray, _)) = given.iter().find(|(name, is_given)| *is_given && !taken.contains(name)) else { return Ok(()) };
        let allowed = if taken.is_empty() { "nothing else".to_string() } else { taken.join(", ") };
        Err(Exit::Usage(format!("{stray}: allowed with --scenario {} is {allowed}", self.scenario)))
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
    args.check_scenario()?;
    if args.scenario == "list" {
        print_names();
        return Ok(());
    }
    if args.scenario == "exhaustive" {
        return exhaustive::command(args);
    }
    if let Some((name, _)) = study::NAMES.iter().find(|(name, _)| *name == args.scenario) {
        return study::command(name, args.seed.unwrap_or(1), args.validators_max, args.report(), args.json);
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
