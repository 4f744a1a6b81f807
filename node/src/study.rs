//! `samara sim --scenario wan|scale`: the studies of the simulator as tables, JSON and plots.

use crate::exit::Exit;
use comfy_table::Table;
use plotters::prelude::*;
use samara_sim::Kit;
use samara_sim::study::chained::{Case, Measured};
use samara_sim::study::one_shot::{self, Body, Estimate};
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
/// The same for a block of many slices, whose shreds are drawn one by one.
const REPETITIONS_LARGE: usize = 2;
/// Cluster sizes of the scale study, each with the virtual time it runs.
const SIZES: [(usize, u64); 7] = [(6, 4_000), (20, 4_000), (50, 4_000), (100, 3_000), (200, 3_000), (500, 2_400), (1_000, 2_400)];

/// Runs the study `name`; `report` receives plots and JSON.
pub fn command(name: &str, seed: u64, sizes_max: Option<usize>, report: &Path, as_json: bool) -> Result<(), Exit> {
    std::fs::create_dir_all(report).map_err(|error| Exit::bad("--report", report.display(), format!("a writable directory ({error})")))?;
    let document = if name == "wan" { wan(seed, report, as_json)? } else { scale(seed, sizes_max.unwrap_or(usize::MAX), report, as_json)? };
    let path = report.join(format!("{name}.json"));
    std::fs::write(&path, document.to_string()).map_err(|error| Exit::failed(format!("{}: {error}", path.display())))?;
    if as_json {
        println!("{document}");
    } else {
        println!("report: {}", report.display());
    }
    Ok(())
}

/// Half-full blocks, whose latencies are those of a chain that keeps up; full ones of two sizes, whose rate is the chain's.
fn wan_cases(seed: u64) -> [Case; 3] {
    let case = |block_bytes, offered_per_s, millis| Case {
        validators: one_shot::VALIDATORS,
        block_bytes,
        offered_per_s,
        lasts: Nanos::from_millis(millis),
        seed,
    };
    [case(32 << 10, 80 << 10, 10_000), case(32 << 10, 240 << 10, 10_000), case(1 << 20, 6 << 20, 8_000)]
}

fn wan(seed: u64, report: &Path, as_json: bool) -> Result<Value, Exit> {
    let mut kit = Kit::new();
    let cases = wan_cases(seed);
    let bodies = [
        ("no limit", Body::Unlimited, REPETITIONS),
        ("32 KiB, 1 Gbit/s", Body::Direct(32 << 10), REPETITIONS),
        ("1 MiB plain, 1 Gbit/s", Body::Direct(1 << 20), REPETITIONS),
        ("16 KiB over relays", Body::Relayed(Case { block_bytes: 16 << 10, ..cases[0] }.slices(&mut kit)), REPETITIONS),
        ("32 KiB over relays", Body::Relayed(cases[1].slices(&mut kit)), REPETITIONS),
        ("1 MiB over relays", Body::Relayed(cases[2].slices(&mut kit)), REPETITIONS_LARGE),
    ];
    let one_shot: Vec<(&str, Vec<Estimate>)> =
        bodies.map(|(name, body, repetitions)| (name, one_shot::estimate(&body, repetitions, seed))).into();
    let mut chained = Vec::new();
    for case in &cases {
        let (block, offered, millis) = (case.block_bytes >> 10, case.offered_per_s >> 10, case.lasts.0 / 1_000_000);
        eprintln!("simulating 50 validators, blocks of {block} KiB, {offered} KiB/s offered, {millis} ms");
        chained.push(case.run(&mut kit));
    }
    let (path, direct) = (|name: &str| report.join(name), &one_shot[1].1);
    let plots = plot_protocols(&path("wan.svg"), "finality", direct, &chained, |row| &row.finalities, |row| &row.finality_ms.all)
        .and_then(|()| plot_protocols(&path("wan-views.svg"), "the next view", direct, &chained, |row| &row.views, |row| &row.view_ms.all))
        .and_then(|()| plot_regions(&path("wan-regions.svg"), &chained[0]));
    plots.map_err(|error| Exit::failed(format!("plots in {}: {error}", report.display())))?;
    if !as_json {
        print_one_shot(&one_shot);
        print_chained(&chained);
        print_regions(&one_shot[3].1, &chained);
    }
    let rows: Vec<Value> = one_shot.iter().map(|(load, rows)| json!({ "load": load, "protocols": rows })).collect();
    Ok(json!({ "regions": REGIONS, "one_shot": rows, "chained": chained }))
}

fn scale(seed: u64, sizes_max: usize, report: &Path, as_json: bool) -> Result<Value, Exit> {
    let mut rows = Vec::new();
    for (validators, millis) in SIZES.into_iter().filter(|(validators, _)| *validators <= sizes_max) {
        eprintln!("simulating {validators} validators, {millis} ms");
        let lasts = Nanos::from_millis(millis);
        // A kit of its own: what it remembers of a thousand validators is large.
        rows.push(Case { validators, block_bytes: 32 << 10, offered_per_s: 240 << 10, lasts, seed }.run(&mut Kit::new()));
    }
    plot_scale(&report.join("scale.svg"), &rows).map_err(|error| Exit::failed(format!("plots in {}: {error}", report.display())))?;
    if !as_json {
        print_chained(&rows);
    }
    Ok(json!({ "scale": rows }))
}

fn print_one_shot(loads: &[(&str, Vec<Estimate>)]) {
    let mut table = Table::new();
    table.set_header([
        "one shot, mean ms",
        "protocol",
        "body",
        "view",
        "finality",
        "transaction",
        "view saved against it",
        "transaction saved",
    ]);
    for (load, rows) in loads {
        let ours = rows.iter().find(|row| row.protocol == "minimmit-41%");
        for row in rows {
            let cut = |ours: Option<f64>, theirs: f64| ours.map_or(String::new(), |ours| format!("{:.1} %", 100.0 * (1.0 - ours / theirs)));
            table.add_row([
                load.to_string(),
                row.protocol.to_string(),
                format!("{:.1}", row.body_ms),
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
        "offered KiB/s",
        "views",
        "vote, view, finality ms mean",
        "view ms p50/p90/p99",
        "finality ms p50/p90/p99",
        "tx ms p50",
        "block ms",
        "payload MB/s",
        "KB a node and view",
        "datagrams a node and view",
        "leader KB a block",
        "pairing checks a node and view",
        "core busy ms a node and view",
        "broken",
    ]);
    for row in rows {
        table.add_row([
            row.validators.to_string(),
            (row.block_bytes >> 10).to_string(),
            (row.offered_per_s >> 10).to_string(),
            row.views.to_string(),
            format!("{:.0}, {:.0}, {:.0}", row.vote_ms.mean, row.view_ms.mean, row.finality_ms.mean),
            format!("{:.0}/{:.0}/{:.0}", row.view_ms.p50, row.view_ms.p90, row.view_ms.p99),
            format!("{:.0}/{:.0}/{:.0}", row.finality_ms.p50, row.finality_ms.p90, row.finality_ms.p99),
            format!("{:.0}", row.transaction_ms.p50),
            format!("{:.0}", row.block_ms),
            format!("{:.2}", row.payload_per_s / 1e6),
            format!("{:.0}", row.bytes_per_view / 1e3),
            format!("{:.0}", row.messages_per_view),
            format!("{:.0}", row.leader_bytes_per_view / 1e3),
            format!("{:.2}", row.pairing_checks_per_view),
            format!("{:.1}", row.core_ms_per_view),
            row.violations.len().to_string(),
        ]);
    }
    println!("{table}");
}

fn print_regions(one_shot: &[Estimate], chained: &[Measured]) {
    let mut table = Table::new();
    table.set_header(["region, mean ms", "one shot over relays: view", "finality", "machine, half-full blocks: view", "finality"]);
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

/// Distribution of a latency: the protocols of the estimate, and the machine.
fn plot_protocols(
    path: &Path,
    what: &str,
    estimates: &[Estimate],
    chained: &[Measured],
    estimated: impl Fn(&Estimate) -> &[u32],
    measured: impl Fn(&Measured) -> &[f64],
) -> Result<(), Box<dyn std::error::Error>> {
    let one_shot = |row: &Estimate| (format!("{}, one shot", row.protocol), estimated(row).iter().map(|ms| f64::from(*ms)).collect());
    let mut series: Vec<(String, Vec<f64>)> = estimates.iter().map(one_shot).collect();
    let name = |row: &Measured| format!("samara, {} KiB blocks, {} KiB/s", row.block_bytes >> 10, row.offered_per_s >> 10);
    series.extend(chained.iter().map(|row| (name(row), measured(row).to_vec())));
    plot_distributions(path, &format!("proposal to {what}, fifty validators in ten regions"), series)
}

/// The same for the validators of each region.
fn plot_regions(path: &Path, measured: &Measured) -> Result<(), Box<dyn std::error::Error>> {
    let series = REGIONS.iter().zip(&measured.finalities_by_region_ms).map(|(name, times)| (name.to_string(), times.clone())).collect();
    plot_distributions(path, "proposal to finality in each region, half-full blocks of 32 KiB", series)
}

fn plot_distributions(path: &Path, caption: &str, series: Vec<(String, Vec<f64>)>) -> Result<(), Box<dyn std::error::Error>> {
    let slowest = series.iter().filter_map(|(_, times)| times.get(times.len() * 99 / 100)).fold(1.0f64, |most, ms| most.max(*ms));
    let root = SVGBackend::new(path, (960, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(caption, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..slowest * 1.05, 0.0..1.0)?;
    chart.configure_mesh().x_desc("ms").y_desc("share").draw()?;
    for (at, (name, times)) in series.into_iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        // As many points as can be told apart.
        let percentiles = (0..=200).filter_map(|part| Some((*times.get(part * times.len().checked_sub(1)? / 200)?, part as f64 / 200.0)));
        let line = chart.draw_series(LineSeries::new(percentiles, color.stroke_width(2)))?;
        line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK).background_style(WHITE).draw()?;
    root.present()?;
    Ok(())
}

/// How costs grow with the cluster: both axes logarithmic.
fn plot_scale(path: &Path, rows: &[Measured]) -> Result<(), Box<dyn std::error::Error>> {
    type Of = fn(&Measured) -> f64;
    let curves: [(&str, Of); 5] = [
        ("KB a node and view", |row| row.bytes_per_view / 1e3),
        ("datagrams a node and view", |row| row.messages_per_view),
        ("leader KB a block", |row| row.leader_bytes_per_view / 1e3),
        ("core busy us a node and view", |row| row.core_ms_per_view * 1e3),
        ("block ms", |row| row.block_ms),
    ];
    let values = || rows.iter().flat_map(|row| curves.iter().map(|(_, of)| of(row))).filter(|value| *value > 0.0);
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(1.0, f64::max));
    let root = SVGBackend::new(path, (960, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("costs of a view by the number of validators, blocks of 32 KiB", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(84)
        .build_cartesian_2d((5.0..1_100.0f64).log_scale(), (low.min(high) * 0.8..high * 1.25).log_scale())?;
    chart.configure_mesh().x_desc("validators").draw()?;
    for (at, (name, of)) in curves.into_iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let points = rows.iter().map(|row| (row.validators as f64, of(row))).filter(|(_, value)| *value > 0.0);
        let line = chart.draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(3))?;
        line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK).background_style(WHITE).draw()?;
    root.present()?;
    Ok(())
}
