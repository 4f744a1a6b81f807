//! `--scenario exhaustive`: every order of the rules' steps within a bound, see [`samara_sim::search::exhaustive`].

use super::SimArgs;
use crate::exit::Exit;
use comfy_table::Table;
use samara_crypto::Mutant;
use samara_sim::search::exhaustive::{Bound, Explored, explore};
use serde_json::{Value, json};
use std::time::Instant;

/// States of one exploration before it is cut off: some 100 bytes each.
const STATES_MAX: usize = 40_000_000;
/// Views, if the command line does not say.
const VIEWS: u8 = 3;

struct Row {
    bound: Bound,
    explored: Explored,
    seconds: f64,
}

/// Explores up to `--views` views: without a bug every order must keep every promise; with `--mutant`, that bug alone.
pub fn command(args: &SimArgs) -> Result<(), Exit> {
    let mutant =
        args.mutant.as_deref().map(|name| Mutant::find(name).ok_or_else(|| Exit::bad("mutant", name, "the name of a planted bug")));
    let mutant = mutant.transpose()?;
    let rows: Vec<Row> = bounds(args.views.unwrap_or(VIEWS).into(), mutant).map(run).collect();
    if args.json {
        println!("{}", json!({ "exhaustive": rows.iter().map(Row::json).collect::<Vec<_>>() }));
    } else {
        print_table(&rows);
    }
    let broken: Vec<String> = rows.iter().filter(|row| row.explored.broken.is_some()).map(Row::name).collect();
    let cut: Vec<String> = rows.iter().filter(|row| row.explored.broken.is_none() && !row.explored.complete).map(Row::name).collect();
    match (broken.is_empty(), cut.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => Err(Exit::failed(format!("a promise breaks: {}", broken.join("; ")))),
        _ => Err(Exit::failed(format!("cut off at {STATES_MAX} states: {}", cut.join("; ")))),
    }
}

/// By round robin at most one of up to three views has the hostile leader. With its votes for everything, and with none: then nobody may stall.
fn bounds(views_max: usize, mutant: Option<Mutant>) -> impl Iterator<Item = Bound> {
    (1..=views_max).flat_map(move |views| {
        let leads = std::iter::once(None).chain((0..views).map(Some));
        leads.flat_map(move |leads| [true, false].map(|hostile_votes| Bound { hostile_votes, ..Bound::six(views, leads, mutant) }))
    })
}

fn run(bound: Bound) -> Row {
    let started = Instant::now();
    eprintln!("exploring {}", name(&bound));
    let explored = explore(&bound, STATES_MAX);
    Row { bound, explored, seconds: started.elapsed().as_secs_f64() }
}

fn name(bound: &Bound) -> String {
    let leader = bound.hostile_leads.map_or("no hostile leader".to_string(), |view| format!("the hostile one leads view {}", view + 1));
    let votes = if bound.hostile_votes { "it votes for everything" } else { "it says nothing else" };
    format!("{} views, {leader}, {votes}", bound.views)
}

impl Row {
    fn name(&self) -> String {
        let how = self.explored.broken.as_ref().and_then(|story| story.last()).map(|how| format!(": {how}"));
        format!("{}{}", name(&self.bound), how.unwrap_or_default())
    }

    fn json(&self) -> Value {
        json!({
            "views": self.bound.views,
            "hostile_leads": self.bound.hostile_leads.map(|view| view + 1),
            "hostile_votes": self.bound.hostile_votes,
            "mutant": self.bound.mutant.map(Mutant::as_str),
            "states": self.explored.states,
            "steps": self.explored.steps,
            "complete": self.explored.complete,
            "broken": self.explored.broken,
            "seconds": self.seconds,
        })
    }
}

fn print_table(rows: &[Row]) {
    let mut table = Table::new();
    table.set_header(["n = 6, f = 1", "states", "steps", "complete", "seconds", "broken"]);
    for row in rows {
        table.add_row([
            name(&row.bound),
            row.explored.states.to_string(),
            row.explored.steps.to_string(),
            if row.explored.complete { "yes" } else { "no" }.to_string(),
            format!("{:.1}", row.seconds),
            row.explored.broken.as_ref().map_or(String::new(), |story| story.join("\n")),
        ]);
    }
    println!("{table}");
}
