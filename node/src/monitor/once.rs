//! `--once`: two looks, then a table or one JSON document.

use super::source::Target;
use super::watch::{Member, Watch};
use crate::exit::Exit;
use comfy_table::{Table, presets};
use serde_json::json;
use std::time::{Duration, Instant};

/// Looks that make a rate.
const LOOKS: usize = 2;

/// Looks, prints, ends.
pub fn command(targets: Vec<Target>, interval: Duration, as_json: bool) -> Result<(), Exit> {
    let mut watch = Watch::start(targets, interval).map_err(|error| Exit::Host(format!("no thread: {error}")))?;
    // Figures are published once a second: two looks closer than that may see the same.
    let deadline = Instant::now() + interval.max(Duration::from_secs(1)) * LOOKS as u32 + super::source::PATIENCE * 2;
    while watch.looks_min() < LOOKS && watch.take_until(deadline) {}
    if as_json {
        println!("{}", document(&watch.members));
    } else {
        println!("{}", table(&watch.members));
    }
    let silent: Vec<String> = watch
        .members
        .iter()
        .filter(|member| member.row.is_none())
        .map(|member| format!("{} ({})", member.name, member.fault.map_or("no answer", |fault| fault.as_str())))
        .collect();
    if silent.is_empty() { Ok(()) } else { Err(Exit::failed(format!("no figures of {}", silent.join(", ")))) }
}

/// The JSON document.
pub fn document(members: &[Member]) -> serde_json::Value {
    let rows = || members.iter().filter_map(|member| member.row.as_ref());
    let heights = || rows().map(|row| row.height);
    let of = |member: &Member| json!({ "name": member.name, "fault": member.fault.map(|fault| fault.as_str()), "figures": member.row });
    json!({
        "validators": members.iter().map(of).collect::<Vec<_>>(),
        "answering": rows().count(),
        "height_max": heights().max(),
        "height_min": heights().min(),
        "tps": rows().map(|row| row.tps).fold(0.0, f64::max),
        "blocks_per_s": rows().map(|row| row.blocks_per_s).fold(0.0, f64::max),
    })
}

fn table(members: &[Member]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["validator", "height", "view", "blocks/s", "tx/s", "finality p50 p99 ms", "nullified", "peers", "CPUs", "MiB"]);
    for member in members {
        match &member.row {
            None => {
                table.add_row([member.name.clone(), member.fault.map_or("no answer", |fault| fault.as_str()).to_string()]);
            }
            Some(row) => {
                let ms = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.1}"));
                table.add_row([
                    row.seat.to_string(),
                    row.height.to_string(),
                    row.view.to_string(),
                    format!("{:.1}", row.blocks_per_s + 0.0),
                    format!("{:.0}", row.tps + 0.0),
                    format!("{} {}", ms(row.finality_ms.p50), ms(row.finality_ms.p99)),
                    row.nullified.to_string(),
                    row.sessions_up.to_string(),
                    format!("{:.2}", row.cpus + 0.0),
                    format!("{:.1}", row.rss_bytes as f64 / (1 << 20) as f64),
                ]);
            }
        }
    }
    table
}
