//! `--seed N --shrink`: from a failing seed to the smallest plan that still fails.

use super::{SimArgs, Wanted, keep};
use crate::exit::Exit;
use samara_sim::Kit;
use samara_sim::search::shrink::{shrink, story};
use serde_json::json;

/// Runs of edited plans.
const RUNS_MAX: usize = 400;
/// Lines of the story of the smallest plan.
const LINES_MAX: usize = 200;

/// Prints what happens in the smallest failing plan and writes it to a file. A seed that does not fail is a failed run of this command.
pub fn command(wanted: &Wanted, args: &SimArgs) -> Result<(), Exit> {
    let Some(seed) = args.seed else {
        return Err(Exit::Usage("--shrink: allowed is with --seed N".into()));
    };
    let plan = wanted.plan(seed);
    let mut kit = Kit::new();
    let Some(shrunk) = shrink(&plan, RUNS_MAX, &mut kit) else {
        return Err(Exit::failed(format!("seed {seed} of {} breaks no promise: there is nothing to make smaller", plan.name)));
    };
    let path = keep(args.report(), &format!("{}-{seed}-small", plan.name), &shrunk.plan, &shrunk.outcome)?;
    let broken: Vec<_> = shrunk.outcome.violations.iter().map(|violation| violation.promise.as_str()).collect();
    let story = story(&shrunk, LINES_MAX, &mut kit);
    if args.json {
        let sizes = |plan: &samara_sim::Plan| json!({ "faults": plan.faults.len(), "hostile": plan.hostile.len() });
        let document = json!({
            "seed": seed,
            "runs": shrunk.runs,
            "before": sizes(&plan),
            "after": sizes(&shrunk.plan),
            "checkers": broken,
            "events": story.lines().map(str::trim_end).collect::<Vec<_>>(),
            "file": path,
        });
        println!("{document}");
    } else {
        println!("{story}");
        println!("{} runs; {} faults are left of {}", shrunk.runs, shrunk.plan.faults.len(), plan.faults.len());
        println!("again: samara sim --replay {}", path.display());
    }
    Ok(())
}
