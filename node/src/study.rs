//! `samara sim --scenario wan|scale`: the studies of the simulator as tables, JSON and plots.

use crate::exit::Exit;
use comfy_table::Table;
use plotters::prelude::*;
use samara_sim::Kit;
use samara_sim::study::chained::{Case, Measured};
use samara_sim::study::one_shot::{self, Estimate, Load};
use samara_sim::study::regions::REGIONS;
use samara_types::Nanos;
use serde_json::{Value, json};
use std::path::Path;

/// Names that are studies, not scenarios.
pub const NAMES: [(&str, &str); 2] = [
    ("wan", "fifty validators in ten regions: quorum times of four protocols, then the real machine with Rotor and CPU costs"),
    ("scale", "bytes, datagrams, leader egress and block time from 6 to 1,000 validators"),
];
/// Rounds of fifty proposals of an estimate.
const REPETITIONS: usize = 20;
/// Cluster sizes of the scale study, each with the virtual time it runs.
const SIZES: [(usize, u64); 7] = [(6, 4_000), (20, 4_000), (50, 4_000), (100, 3_000), (200, 2_000), (500, 1_500), (1_000, 1_200)];

/// Runs the study `name`; `report` receives plots and JSON.
pub fn command(name: &str, seed: u64, sizes_max: Option<usize>, report: &Path, as_json: bool) -> Result<(), Exit> {
    std::fs::create_dir_all(report).map_err(|error| Exit::bad("--report", report.display(), format!("a writable directory ({error})")))?;
    let document = if name == "wan" { wan(seed, report, as_json)? } else { scale(seed, sizes_max.unwrap_or(usize::MAX), as_json) };
    let path = report.join(format!("{name}.json"));
    std::fs::write(&path, document.to_string()).map_err(|error| Exit::failed(format!("{}: {error}", path.display())))?;
    if as_json {
        println!("{document}");
    } else {
        println!("report: {}", report.display());
    }
    Ok(())
}

fn wan(seed: u64, report: &Path, as_json: bool) -> Result<Value, Exit> {
    let loads = [("no limit", None), ("32 KiB, 1 Gbit/s", Some(32 << 10)), ("1 MiB plain, 1 Gbit/s", Some(1 << 20))];
    let one_shot: Vec<(&str, Vec<Estimate>)> =
        loads.map(|(name, block_bytes)| (name, one_shot::estimate(Load { block_bytes }, REPETITIONS, seed))).into();
    let mut kit = Kit::new();
    let cases = [(32 << 10, 6_000), (1 << 20, 2_500)];
    let chained: Vec<Measured> = cases
        .map(|(block_bytes, millis)| {
            eprintln!("simulating 50 validators, blocks of {} KiB, {millis} ms", block_bytes >> 10);
            Case { validators: one_shot::VALIDATORS, block_bytes, lasts: Nanos::from_millis(millis), seed }.run(&mut kit)
        })
        .into();
    let drawn = plot(&report.join("wan.svg"), &one_shot[1].1, &chained);
    drawn.map_err(|error| Exit::failed(format!("wan.svg: {error}")))?;
    if !as_json {
        print_one_shot(&one_shot);
        print_chained(&chained);
        print_regions(&one_shot[1].1, &chained);
    }
    let rows: Vec<Value> = one_shot.iter().map(|(load, rows)| json!({ "load": load, "protocols": rows })).collect();
    Ok(json!({ "regions": REGIONS, "one_shot": rows, "chained": chained }))
}

fn scale(seed: u64, sizes_max: usize, as_json: bool) -> Value {
    let mut rows = Vec::new();
    for (validators, millis) in SIZES.into_iter().filter(|(validators, _)| *validators <= sizes_max) {
        eprintln!("simulating {validators} validators, {millis} ms");
        // A kit of its own: what it remembers of a thousand validators is large.
        rows.push(Case { validators, block_bytes: 32 << 10, lasts: Nanos::from_millis(millis), seed }.run(&mut Kit::new()));
    }
    if !as_json {
        print_chained(&rows);
    }
    json!({ "scale": rows })
}

fn print_one_shot(loads: &[(&str, Vec<Estimate>)]) {
    let mut table = Table::new();
    table.set_header(["one shot, mean ms", "protocol", "view", "finality", "transaction", "view saved against it", "transaction saved"]);
    for (load, rows) in loads {
        let ours = rows.iter().find(|row| row.protocol == "minimmit-41%");
        for row in rows {
            let cut = |ours: Option<f64>, theirs: f64| ours.map_or(String::new(), |ours| format!("{:.1} %", 100.0 * (1.0 - ours / theirs)));
            table.add_row([
                load.to_string(),
                row.protocol.to_string(),
                format!("{:.1}", row.view_ms),
                format!("{:.1}", row.finality_ms),
                format!("{:.1}", row.transaction_ms),
                cut(ours.map(|ours| ours.view_ms), row.view_ms),
                cut(ours.map(|ours| ours.transaction_ms), row.transaction_ms),
            ]);
        }
    }
    println!("{table}");
}

fn print_chained(rows: &[Measured]) {
    let mut table = Table::new();
    table.set_header([
        "validators",
        "block KiB",
        "views",
        "view ms p50/p90/p99",
        "finality ms p50/p90/p99",
        "tx ms p50",
        "block ms",
        "payload MB/s",
        "KB a node and view",
        "datagrams a node and view",
        "leader KB",
        "core busy ms a view",
        "broken",
    ]);
    for row in rows {
        table.add_row([
            row.validators.to_string(),
            (row.block_bytes >> 10).to_string(),
            row.views.to_string(),
            format!("{:.0}/{:.0}/{:.0}", row.view_ms.p50, row.view_ms.p90, row.view_ms.p99),
            format!("{:.0}/{:.0}/{:.0}", row.finality_ms.p50, row.finality_ms.p90, row.finality_ms.p99),
            format!("{:.0}", row.transaction_ms.p50),
            format!("{:.0}", row.block_ms),
            format!("{:.2}", row.payload_per_s / 1e6),
            format!("{:.0}", row.bytes_per_view / 1e3),
            format!("{:.0}", row.messages_per_view),
            format!("{:.0}", row.leader_bytes_per_view / 1e3),
            format!("{:.1}", row.core_ms_per_view),
            row.violations.len().to_string(),
        ]);
    }
    println!("{table}");
}

fn print_regions(one_shot: &[Estimate], chained: &[Measured]) {
    let mut table = Table::new();
    table.set_header(["region", "one shot view", "one shot finality", "machine view", "machine finality"]);
    let (estimate, measured) = (&one_shot[0], &chained[0]);
    for (at, region) in REGIONS.iter().enumerate() {
        let cells = [
            estimate.view_by_region_ms[at],
            estimate.finality_by_region_ms[at],
            measured.view_by_region_ms[at],
            measured.finality_by_region_ms[at],
        ];
        table.add_row(std::iter::once(region.to_string()).chain(cells.map(|ms| format!("{ms:.0}"))));
    }
    println!("{table}");
}

/// Distribution of finality: the protocols of the estimate, and the machine.
fn plot(path: &Path, estimates: &[Estimate], chained: &[Measured]) -> Result<(), Box<dyn std::error::Error>> {
    let mut series: Vec<(String, Vec<f64>)> = estimates
        .iter()
        .map(|row| (format!("{}, one shot", row.protocol), row.finalities.iter().map(|ms| f64::from(*ms)).collect()))
        .collect();
    series.extend(chained.iter().map(|row| (format!("samara, blocks of {} KiB", row.block_bytes >> 10), row.finality_ms.all.clone())));
    let slowest = series.iter().filter_map(|(_, times)| times.get(times.len() * 99 / 100)).fold(1.0f64, |most, ms| most.max(*ms));
    let root = SVGBackend::new(path, (960, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("proposal to finality, fifty validators in ten regions", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..slowest * 1.05, 0.0..1.0)?;
    chart.configure_mesh().x_desc("ms").y_desc("share").draw()?;
    for (at, (name, times)) in series.into_iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let count = times.len().max(1) as f64;
        let points = times.into_iter().enumerate().map(|(rank, ms)| (ms, (rank + 1) as f64 / count));
        let line = chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
        line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::LowerRight).border_style(BLACK).background_style(WHITE).draw()?;
    root.present()?;
    Ok(())
}
