//! Runs seeds of a scenario and prints what they found: `sweep SCENARIO FIRST COUNT THREADS [verbose]`. The command line proper is `samara sim`.

use samara_sim::{Report, report, runner, scenarios};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let name = arguments.first().map_or("swarm", String::as_str);
    let Some(scenario) = scenarios::find(name) else {
        eprintln!("no scenario {name}");
        std::process::exit(2);
    };
    let (first, count, threads) = (number(1, 0), number(2, 100) as usize, number(3, 2) as usize);
    let verbose = arguments.len() > 4;
    let started = Instant::now();
    let outcomes = runner::each(count, threads, |at, kit| {
        let (outcome, unmet) = scenario.run(first + at as u64, kit);
        if verbose || !unmet.is_empty() {
            let ms = outcome.lasted.0 / 1_000_000;
            let (views, blocks, acknowledged) = (outcome.views, outcome.blocks, outcome.acknowledged);
            println!(
                "{name} {}: {ms} ms, {views} views, {blocks} blocks, {acknowledged} acknowledged, {} events, unmet {unmet:?}",
                outcome.seed, outcome.events
            );
        }
        outcome
    });
    let taken = started.elapsed().as_secs_f64();
    for outcome in outcomes.iter().filter(|outcome| !outcome.violations.is_empty()) {
        println!("{}", report::failure(&(scenario.plan)(outcome.seed), outcome));
    }
    let report = Report::new(&outcomes, taken);
    let failed = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).count();
    println!(
        "{} seeds, {failed} failed, {} views, {:.0} views/s, {taken:.1} s, digest {}",
        report.seeds, report.views, report.views_per_s, report.digest
    );
    std::process::exit(i32::from(failed > 0));
}
