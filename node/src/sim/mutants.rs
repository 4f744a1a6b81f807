//! `--mutants`: planted bugs against the scenarios made for them.

use super::SimArgs;
use crate::exit::Exit;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use samara_sim::mutants::{self, Control, Death, Effort, Row, TRAPS};

/// Seeds of each trap without a planted bug.
const CONTROL_SEEDS: u64 = 4;
/// Most seeds of a trap for a bug it was not made for.
const OTHER_SEEDS: u64 = 2;
/// Most seeds of the default swarm for each bug, if the command line does not say.
const SWARM_SEEDS: u64 = 24;

/// Prints the table. A bug that lives through its scenario, or a scenario that breaks without one, is a failed run.
pub fn command(args: &SimArgs) -> Result<(), Exit> {
    let progress = ProgressBar::new(0);
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} cells, {eta} left").expect("a good template"));
    let effort = Effort {
        control_seeds: CONTROL_SEEDS,
        other_seeds: OTHER_SEEDS,
        swarm_seeds: args.seeds.unwrap_or(SWARM_SEEDS),
        threads: args.threads(),
    };
    let table = mutants::Table::run(&effort, |done, of| {
        progress.set_length(of as u64);
        progress.set_position(done as u64);
    });
    progress.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string(&table).expect("a table is plain data"));
    } else {
        print_rows(&table.mutants);
        print_matrix(&table.mutants);
        print_controls(&table.controls);
    }
    match table.failures() {
        failures if failures.is_empty() => Ok(()),
        failures => Err(Exit::failed(failures.join("; "))),
    }
}

fn print_rows(rows: &[Row]) {
    let mut table = Table::new();
    table.set_header(["planted bug", "scenario", "checker", "seeds it took", "promised", "default swarm", "how it shows"]);
    for row in rows {
        table.add_row([
            row.mutant.to_string(),
            row.scenario.to_string(),
            row.checker.to_string(),
            row.trap.seeds.map_or("LIVES".to_string(), |seeds| seeds.to_string()),
            format!("<= {}", row.seeds_max),
            in_swarm(&row.swarm),
            row.trap.detail.chars().take(90).collect(),
        ]);
    }
    println!("{table}");
}

fn in_swarm(death: &Death) -> String {
    match death.seeds {
        Some(seeds) => format!("{seeds}: {}", death.checkers.join(", ")),
        None => format!("lives through {}", death.tried),
    }
}

/// Seeds each bug lives in each scenario, whoever kills it.
fn print_matrix(rows: &[Row]) {
    let mut table = Table::new();
    let columns = TRAPS.iter().map(|trap| trap.name.trim_start_matches("trap_").to_string());
    table.set_header(std::iter::once("seeds until any checker speaks; - lives".to_string()).chain(columns));
    for row in rows {
        let cells = row.traps.iter().map(|death| death.seeds.map_or("-".to_string(), |seeds| seeds.to_string()));
        table.add_row(std::iter::once(row.mutant.to_string()).chain(cells));
    }
    println!("{table}");
}

fn print_controls(controls: &[Control]) {
    let mut table = Table::new();
    table.set_header(["scenario without a planted bug", "seeds", "broken promises"]);
    for control in controls {
        table.add_row([control.scenario.to_string(), control.seeds.to_string(), control.violations.join("; ")]);
    }
    println!("{table}");
}
