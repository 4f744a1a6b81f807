//! The report of a run: one JSON document, a table, and a directory with histograms, plots and the way to the logs.

use super::cluster::MemberUse;
use super::plots;
use super::verify::Findings;
use crate::bridge::distribution::Percentiles;
use crate::bridge::{Distribution, NodeSnapshot};
use crate::exit::Exit;
use crate::load::outcome::Outcome;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Everything a run found.
pub struct Report {
    /// Chain id, hexadecimal.
    pub chain: String,
    /// Transport asked for.
    pub transport: &'static str,
    /// Offered load, transactions per second and bytes each.
    pub offered: (u64, u64),
    /// Time of offering, and until everything was answered; seconds.
    pub duration_s: f64,
    /// See above.
    pub answered_s: f64,
    /// Height when the load started.
    pub start_height: u64,
    /// What the stores say.
    pub findings: Findings,
    /// What clients saw.
    pub outcome: Outcome,
    /// Last published picture of each validator, up to a second before its end if it was killed; None if it never published one.
    pub snapshots: Vec<Option<NodeSnapshot>>,
    /// What each used.
    pub usage: Vec<MemberUse>,
    /// Memory samples of all, KiB.
    pub rss_kib: Distribution,
    /// Checks that failed.
    pub failed: Vec<String>,
    /// Logs of the validators.
    pub logs: Vec<PathBuf>,
    /// Commit of the checkout this ran in.
    pub git_commit: String,
}

impl Report {
    fn merged(&self, field: impl Fn(&NodeSnapshot) -> &Distribution) -> Distribution {
        let mut all = Distribution::default();
        self.snapshots.iter().flatten().for_each(|snapshot| all.merge(field(snapshot)));
        all
    }

    fn stages(&self) -> BTreeMap<String, Distribution> {
        let mut stages: BTreeMap<String, Distribution> = BTreeMap::new();
        for (name, distribution) in self.snapshots.iter().flatten().flat_map(|snapshot| &snapshot.stage_us) {
            stages.entry(name.clone()).or_default().merge(distribution);
        }
        stages
    }

    /// Seconds of the hot cores by stage, all validators together.
    fn stage_cpu_s(&self) -> BTreeMap<&str, f64> {
        let mut stages = BTreeMap::new();
        for (name, nanos) in self.snapshots.iter().flatten().flat_map(|snapshot| &snapshot.stage_ns) {
            *stages.entry(name.as_str()).or_default() += *nanos as f64 / 1e9;
        }
        stages
    }

    fn cpu_s(&self) -> f64 {
        self.usage.iter().map(|used| used.cpu_s).sum()
    }

    fn tps(&self) -> f64 {
        self.outcome.finalized as f64 / self.answered_s.max(1e-9)
    }

    fn payload_mbps(&self) -> f64 {
        self.findings.payload_bytes as f64 / 1e6 / self.answered_s.max(1e-9)
    }

    fn nullified_views(&self) -> u64 {
        self.snapshots.iter().flatten().map(|snapshot| snapshot.nullified_views).max().unwrap_or(0)
    }

    /// The document of `--json` (DESIGN section 6; further keys may be added, none is renamed).
    pub fn json(&self) -> Value {
        let findings = &self.findings;
        let ms = |distribution: Distribution| distribution.percentiles(1000.0);
        let stage_us: BTreeMap<String, Percentiles> =
            self.stages().into_iter().map(|(name, distribution)| (name, distribution.percentiles(1.0))).collect();
        let megabytes = (findings.payload_bytes as f64 / 1e6).max(1e-9);
        json!({
            "validators": self.usage.len(),
            "duration_s": self.duration_s,
            "transport": self.transport,
            "finalized_blocks": findings.blocks,
            "finalized_txs": findings.transactions,
            "finalized_bytes": findings.payload_bytes,
            "agreement": findings.disagreement.is_none(),
            "duplicates": findings.duplicates,
            "lost_acknowledged": findings.lost_acknowledged,
            "view_ms": ms(self.merged(|snapshot| &snapshot.view_us)),
            "block_finality_ms": ms(self.merged(|snapshot| &snapshot.block_finality_us)),
            "tx_latency_ms": self.outcome.latency_us.percentiles(1000.0),
            "tps": self.tps(),
            "payload_mbps": self.payload_mbps(),
            "nullified_views": self.nullified_views(),
            "cpu_s": self.cpu_s(),
            "rss_mb": self.rss_kib.percentiles(1024.0),
            "stage_us": stage_us,
            "git_commit": self.git_commit,
            "failed_checks": self.failed,
            "chain": self.chain,
            "start_height": self.start_height,
            "offered_tps": self.offered.0,
            "tx_size": self.offered.1,
            "offered": self.outcome.offered,
            "accepted": self.outcome.accepted,
            "rejected": self.outcome.rejected,
            "unanswered": self.outcome.unanswered,
            "resubmitted": self.outcome.resubmitted,
            "misplaced_acknowledged": findings.misplaced,
            "tx_accept_ms": self.outcome.accept_us.percentiles(1000.0),
            "vote_log_sync_ms": ms(self.merged(|snapshot| &snapshot.vote_log_sync_us)),
            "stage_cpu_s": self.stage_cpu_s(),
            "cpu_s_per_finalized_mb": self.cpu_s() / megabytes,
            "per_validator": (0..self.usage.len()).map(|index| self.validator(index)).collect::<Vec<_>>(),
            "logs": self.logs,
        })
    }

    fn validator(&self, index: usize) -> Value {
        let used = &self.usage[index];
        let door = &self.outcome.doors[index];
        let mut row = json!({
            "index": index,
            "tip": self.findings.tips.get(index),
            "behind": self.findings.behind().get(index),
            "height_when_load_ended": door.height,
            "liveness_gap_ms": door.gap_max.as_secs_f64() * 1000.0,
            "killed": used.killed,
            "caught_up_ms": door.caught_up.map(|span| span.as_secs_f64() * 1000.0),
            "cpu_s": used.cpu_s,
            "rss_mb": used.rss_mib,
            "rss_max_mb": used.rss_max_mib,
        });
        if let Some(snapshot) = &self.snapshots[index] {
            let blocks = snapshot.finalized_blocks.max(1) as f64;
            row["finalized_gap_max_ms"] = (snapshot.finalized_gap_max_us as f64 / 1000.0).into();
            row["proposed_blocks"] = snapshot.proposed_blocks.into();
            row["nullified_views"] = snapshot.nullified_views.into();
            row["pairing_checks"] = snapshot.pairing_checks.into();
            row["pairing_checks_per_block"] = (snapshot.pairing_checks as f64 / blocks).into();
            row["synced_blocks"] = snapshot.synced_blocks.into();
            row["evidence"] = snapshot.evidence.into();
            row["port"] = snapshot.port.clone().into();
            row["drops"] = json!(snapshot.drops);
        }
        row
    }

    /// What a person reads at the end.
    pub fn table(&self) -> String {
        let findings = &self.findings;
        let mut table = plain(&["", "p50", "p90", "p99", "p99.9", "max", "count"]);
        let latencies = [
            ("block finality, ms", self.merged(|snapshot| &snapshot.block_finality_us).percentiles(1000.0)),
            ("view, ms", self.merged(|snapshot| &snapshot.view_us).percentiles(1000.0)),
            ("transaction latency, ms", self.outcome.latency_us.percentiles(1000.0)),
            ("vote log sync, ms", self.merged(|snapshot| &snapshot.vote_log_sync_us).percentiles(1000.0)),
            ("resident memory, MiB", self.rss_kib.percentiles(1024.0)),
        ];
        for (name, p) in latencies {
            let cells = [p.p50, p.p90, p.p99, p.p999, p.max].map(|value| format!("{value:.2}"));
            table.add_row(std::iter::once(name.to_string()).chain(cells).chain([p.count.to_string()]));
        }
        let mut members = plain(&["validator", "tip", "behind", "gap ms", "pairings/block", "cpu s", "rss MiB"]);
        let behind = findings.behind();
        for (index, used) in self.usage.iter().enumerate() {
            let pairings = self.snapshots[index]
                .as_ref()
                .map_or("-".into(), |snapshot| format!("{:.2}", snapshot.pairing_checks as f64 / snapshot.finalized_blocks.max(1) as f64));
            let tip = findings.tips.get(index).copied().unwrap_or(0);
            let behind = behind.get(index).copied().unwrap_or(0);
            let gap = format!("{:.0}", self.outcome.doors[index].gap_max.as_secs_f64() * 1000.0);
            let (cpu, rss) = (format!("{:.2}", used.cpu_s), format!("{:.1}", used.rss_mib));
            members.add_row([index.to_string(), tip.to_string(), behind.to_string(), gap, pairings, cpu, rss]);
        }
        format!("{}\n{table}\n\n{members}", self.headline())
    }

    fn headline(&self) -> String {
        let (findings, outcome) = (&self.findings, &self.outcome);
        let rejected: u64 = outcome.rejected.values().sum();
        format!(
            "{} validators, {:.1} s, transport {}: {} blocks, {} transactions, {:.1} MB final\n\
             offered {} = final {} + rejected {rejected} + unanswered {}; {:.0} tps, {:.2} MB/s payload, {} views nullified\n\
             agreement {}, duplicates {}, lost_acknowledged {}\n",
            self.usage.len(),
            self.duration_s,
            self.transport,
            findings.blocks,
            findings.transactions,
            findings.payload_bytes as f64 / 1e6,
            outcome.offered,
            outcome.finalized,
            outcome.unanswered,
            self.tps(),
            self.payload_mbps(),
            self.nullified_views(),
            findings.disagreement.is_none(),
            findings.duplicates,
            findings.lost_acknowledged,
        )
    }

    /// Writes report.json, report.txt, the histograms and the plots.
    pub fn write(&self, directory: &Path) -> Result<(), Exit> {
        let finality = self.merged(|snapshot| &snapshot.block_finality_us);
        let view = self.merged(|snapshot| &snapshot.view_us);
        let latency = &self.outcome.latency_us;
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(|error| Exit::failed(format!("{}: {error}", path.display())))
        };
        write("report.json", format!("{:#}\n", self.json()))?;
        write("report.txt", format!("{}\n", self.table()))?;
        write("tx_latency.hgrm", hgrm(latency, 1000.0))?;
        write("block_finality.hgrm", hgrm(&finality, 1000.0))?;
        write("view.hgrm", hgrm(&view, 1000.0))?;
        let series = [("transaction: send to final", latency), ("block: proposal to final", &finality), ("view", &view)];
        let drawn = plots::latency(&directory.join("latency.svg"), &series)
            .and_then(|()| plots::stages(&directory.join("stages.svg"), &self.stages()));
        drawn.map_err(|error| Exit::failed(format!("plots in {}: {error}", directory.display())))
    }
}

/// A table without lines, numbers to the right.
pub(super) fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// The percentile text format of HdrHistogram, values divided by `unit`.
pub fn hgrm(distribution: &Distribution, unit: f64) -> String {
    let histogram = distribution.histogram();
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in histogram.iter_quantiles(5) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / unit, step.quantile_iterated_to());
        write!(text, "{value:12.3} {quantile:2.12} {total:10}").expect("writing to a String does not fail");
        if quantile < 1.0 {
            write!(text, " {:14.2}", 1.0 / (1.0 - quantile)).expect("writing to a String does not fail");
        }
        text.push('\n');
    }
    let (mean, deviation) = (histogram.mean() / unit, histogram.stdev() / unit);
    let max = histogram.max() as f64 / unit;
    write!(
        text,
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n#[Max     = {max:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        histogram.len(),
        histogram.buckets(),
        2048
    )
    .expect("writing to a String does not fail");
    text
}

#[cfg(test)]
mod tests;
