//! `samara bench`: each row measures our code and a named rival in the same run, doing the same work, on one pinned core.
//!
//! ```text
//! rows(effort) ─ measure::compare(ours, rival) ─> Row {name, ours_ns, rival, rival_ns, ratio, bytes, cpu} ─> table, or {"rows","host"}
//! ```
//! A bench fixes its inputs, checks before measuring that both sides compute the same bytes, and returns its rows. What counts is the
//! ratio: both medians come from batches that alternate within one run, so that a slow minute of the machine slows both.

pub mod dataplane;
pub mod erasure;
pub mod measure;
pub mod shred;
pub mod verify;

use crate::exit::Exit;
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use measure::{Effort, Pair};
use serde::Serialize;

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub what: BenchWhat,
}

/// The benches.
#[derive(Subcommand, Debug)]
pub enum BenchWhat {
    /// Reed-Solomon encoding and decoding of 1,024 B chunks.
    Erasure(BenchOptions),
    /// Votes, certificates and transactions against verification one by one.
    Verify(BenchOptions),
    /// Slices to signed shreds and back, admission alone and in bursts, a whole block by stage.
    Shred(BenchOptions),
    /// Every rung of the dataplane beside its rivals, on a wire of its own: round trips, rates, latency under load, relay fan-out.
    Dataplane(dataplane::DataplaneArgs),
}

/// What every bench takes.
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    /// Print one JSON document on stdout instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Run each side a few times only: shows that both compute the same, the times mean nothing.
    #[arg(long)]
    pub smoke: bool,
}

impl BenchOptions {
    /// How long to measure.
    pub fn effort(&self) -> Effort {
        if self.smoke { Effort::Smoke } else { Effort::Full }
    }
}

/// One measured operation beside its rival.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Stable name, such as `encode_32_32`.
    pub name: String,
    /// Median time of our operation, ns.
    pub ours_ns: f64,
    /// Who or what it is compared with.
    pub rival: String,
    /// Median time of the rival's operation, ns.
    pub rival_ns: f64,
    /// `rival_ns / ours_ns`: above 1 we are faster.
    pub ratio: f64,
    /// Payload bytes of one operation.
    pub bytes: u64,
    /// Model of the CPU.
    pub cpu: String,
}

impl Row {
    /// A row of this pair of medians.
    pub fn new(name: impl Into<String>, rival: impl Into<String>, bytes: u64, pair: Pair) -> Row {
        let Pair { ours_ns, rival_ns } = pair;
        Row { name: name.into(), ours_ns, rival: rival.into(), rival_ns, ratio: rival_ns / ours_ns, bytes, cpu: measure::cpu_model() }
    }
}

/// What a bench prints.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// In the order measured.
    pub rows: Vec<Row>,
    /// Where it was measured.
    pub host: measure::Host,
}

/// The command.
pub fn command(args: &BenchArgs) -> Result<(), Exit> {
    match &args.what {
        BenchWhat::Erasure(options) => print(options, erasure::rows),
        BenchWhat::Verify(options) => print(options, verify::rows),
        BenchWhat::Shred(options) => print(options, shred::rows),
        BenchWhat::Dataplane(args) => dataplane::command(args),
    }
}

/// Pins this thread, measures and prints.
fn print(options: &BenchOptions, rows: fn(Effort) -> Vec<Row>) -> Result<(), Exit> {
    let pinned_to = measure::pin();
    let document = Document { rows: rows(options.effort()), host: measure::Host::read(pinned_to) };
    if options.json {
        println!("{}", serde_json::to_string(&document).expect("rows are plain data"));
    } else {
        println!("{}", table(&document));
    }
    Ok(())
}

fn table(document: &Document) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["row", "ours us", "rival us", "ratio", "GB/s", "rival"]);
    for row in &document.rows {
        let rate = row.bytes as f64 / row.ours_ns;
        let (ours, rival) = (row.ours_ns / 1e3, row.rival_ns / 1e3);
        table.add_row([
            row.name.clone(),
            format!("{ours:.3}"),
            format!("{rival:.3}"),
            format!("{:.2}", row.ratio),
            format!("{rate:.2}"),
            row.rival.clone(),
        ]);
    }
    table.column_iter_mut().skip(1).take(4).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let host = &document.host;
    format!("{table}\n{}, {} cores, {}, erasure engine {}, commit {}", host.cpu, host.cores, host.kernel, host.engine, host.git_commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_carries_exactly_the_contracted_keys() {
        let row = Row::new("encode_32_32", "rival", 32_768, Pair { ours_ns: 2.0, rival_ns: 5.0 });
        let value = serde_json::to_value(&row).unwrap();
        let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["bytes", "cpu", "name", "ours_ns", "ratio", "rival", "rival_ns"]);
        assert_eq!(value["ratio"], 2.5);
    }
}
