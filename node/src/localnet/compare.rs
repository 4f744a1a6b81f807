//! `samara localnet --compare xdp,uring,udp`: the same cluster over each transport, side by side.
//!
//! All runs happen in the same namespaces, on the same wires, with the same load; only the port differs. Rounds alternate, and every round begins with another
//! transport, so that a slow minute of the host does not fall on one of them. What is compared is the median of the rounds.

use super::lan::Lan;
use super::report::{Report, plain};
use super::run::{Course, VALIDATORS};
use crate::cli::{LocalnetArgs, TransportArg};
use crate::exit::Exit;
use serde_json::{Value, json};
use std::path::Path;

/// One run of one transport.
struct Round {
    transport: TransportArg,
    document: Value,
}

/// Runs all, prints the table or the document `{"compare": [..]}`, and fails if a check of any run failed.
pub fn command(args: &LocalnetArgs, course: &Course) -> Result<(), Exit> {
    let lan = Lan::new(args.validators.unwrap_or(VALIDATORS))?;
    lan.enter()?;
    let directory = course.report_directory(args);
    let (mut rounds, mut failed) = (Vec::new(), Vec::new());
    for round in 0..usize::from(args.rounds) {
        for turn in 0..args.compare.len() {
            let transport = args.compare[(turn + round) % args.compare.len()];
            let name = format!("{}-{round}", transport.as_str());
            eprintln!("samara: round {} of {}: {}", round + 1, args.rounds, transport.as_str());
            let mine =
                LocalnetArgs { transport, namespaces: true, report: Some(directory.join(&name)), compare: Vec::new(), ..args.clone() };
            let (report, place) = course.run(&mine, Some(&lan))?;
            report.write(&place.report)?;
            failed.extend(report.failed.iter().map(|check| format!("{name}: {check}")));
            if report.failed.is_empty() {
                place.remove_temporary();
            }
            rounds.push(Round { transport, document: document(&report) });
            if course.is_interrupted() {
                return Err(Exit::failed("interrupted"));
            }
        }
    }
    let rows: Vec<Value> = args.compare.iter().map(|transport| row(*transport, &rounds)).collect();
    write(&directory, &rows)?;
    if args.json {
        println!("{}", json!({ "compare": rows }));
    } else {
        println!("{}\nreport: {}", table(&rows), directory.display());
    }
    if failed.is_empty() { Ok(()) } else { Err(Exit::failed(format!("{} (logs: {})", failed.join("; "), directory.display()))) }
}

fn document(report: &Report) -> Value {
    let mut document = report.json();
    document["cpu_s_per_mb"] = document["cpu_s_per_finalized_mb"].clone();
    document["port"] = document["per_validator"][0]["port"].clone();
    document
}

/// The round with the median cost stands for its transport; the figures of all rounds are beside it.
fn row(transport: TransportArg, rounds: &[Round]) -> Value {
    let mut mine: Vec<&Value> = rounds.iter().filter(|round| round.transport == transport).map(|round| &round.document).collect();
    let cost = |document: &Value| document["cpu_s_per_mb"].as_f64().unwrap_or(f64::INFINITY);
    let figures: Vec<Value> = mine.iter().map(|document| brief(document)).collect();
    mine.sort_by(|one, other| cost(one).total_cmp(&cost(other)));
    let mut row = mine[(mine.len() - 1) / 2].clone();
    row["rounds"] = figures.into();
    row
}

fn brief(document: &Value) -> Value {
    let keys = ["cpu_s_per_mb", "block_finality_ms", "tx_latency_ms", "tps", "finalized_bytes", "nullified_views", "failed_checks"];
    keys.into_iter().map(|key| (key.to_string(), document[key].clone())).collect::<serde_json::Map<_, _>>().into()
}

fn table(rows: &[Value]) -> String {
    let mut table = plain(&[
        "transport",
        "port",
        "blocks",
        "MB final",
        "CPU s/MB",
        "finality p50 ms",
        "p99",
        "tx p50 ms",
        "p99",
        "CPU s/MB of each round",
    ]);
    for row in rows {
        let ms = |key: &str, percentile: &str| format!("{:.2}", row[key][percentile].as_f64().unwrap_or(f64::NAN));
        let text = |key: &str| row[key].as_str().unwrap_or("-").to_string();
        let costs = row["rounds"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|round| format!("{:.3}", round["cpu_s_per_mb"].as_f64().unwrap_or(f64::NAN)));
        table.add_row([
            text("transport"),
            text("port"),
            row["finalized_blocks"].to_string(),
            format!("{:.1}", row["finalized_bytes"].as_f64().unwrap_or(0.0) / 1e6),
            format!("{:.3}", row["cpu_s_per_mb"].as_f64().unwrap_or(f64::NAN)),
            ms("block_finality_ms", "p50"),
            ms("block_finality_ms", "p99"),
            ms("tx_latency_ms", "p50"),
            ms("tx_latency_ms", "p99"),
            costs.collect::<Vec<_>>().join(" "),
        ]);
    }
    table.to_string()
}

fn write(directory: &Path, rows: &[Value]) -> Result<(), Exit> {
    for (name, text) in [("compare.json", format!("{:#}\n", json!({ "compare": rows }))), ("compare.txt", format!("{}\n", table(rows)))] {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| Exit::failed(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(transport: TransportArg, cost: f64) -> Round {
        Round { transport, document: json!({ "transport": transport.as_str(), "port": "x", "cpu_s_per_mb": cost, "tps": cost * 10.0 }) }
    }

    #[test]
    fn the_round_with_the_median_cost_stands_for_its_transport() {
        let rounds = [(TransportArg::Udp, 9.0), (TransportArg::Xdp, 3.0), (TransportArg::Xdp, 1.0), (TransportArg::Xdp, 2.0)];
        let rounds = rounds.map(|(transport, cost)| round(transport, cost));
        let xdp = row(TransportArg::Xdp, &rounds);
        assert_eq!((&xdp["cpu_s_per_mb"], &xdp["tps"]), (&json!(2.0), &json!(20.0)), "one round's figures, not a mixture");
        let costs: Vec<_> = xdp["rounds"].as_array().unwrap().iter().map(|round| round["cpu_s_per_mb"].as_f64().unwrap()).collect();
        assert_eq!(costs, [3.0, 1.0, 2.0]);
        assert!(table(&[xdp]).contains("3.000 1.000 2.000"));
    }
}
