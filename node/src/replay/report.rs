//! What a replay came to.

use super::tape::Tape;
use crate::exit::Exit;
use crate::run::wire::StageClock;
use hdrhistogram::Histogram;
use samara_types::Block;
use samara_validator::{Stage, Validator};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

type Counts = BTreeMap<&'static str, u64>;

/// See the module.
pub struct Outcome {
    /// The captured validator.
    pub seat: u16,
    /// Times of the first and last message, nanoseconds since 1970.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
    /// How long the replay took.
    pub wall: Duration,
    /// Messages fed, by kind.
    pub messages: Counts,
    /// Packets that were not fed, by reason.
    pub skipped: Counts,
    /// Packets of the file.
    pub packets: u64,
    /// Packets the capture lost.
    pub lost: u64,
    /// Own blocks found in what was sent.
    pub own_blocks: u64,
    /// Blocks finalized, the last one's height and digest.
    pub blocks: u64,
    /// See `blocks`.
    pub tip: Option<(u64, String)>,
    /// Views that ended without a block.
    pub nullified_views: u64,
    /// Refusals by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Evidence by offence.
    pub evidence: Counts,
    /// Messages the machine wanted to send, by kind; a broadcast counts once.
    pub unheard: Counts,
    /// Records it wanted durable.
    pub records: u64,
    /// Blocks taken from `--from`.
    pub synced_blocks: u64,
    /// Times it asked for blocks that neither the capture nor `--from` holds.
    pub syncs_wanted: u64,
    /// Nanoseconds by stage.
    pub stage_ns: BTreeMap<&'static str, u64>,
    /// The machine's time for a message: that of its burst by the burst's size.
    pub message_ns: Histogram<u64>,
    /// Two final blocks exclude each other.
    pub violation: Option<String>,
}

impl Default for Outcome {
    fn default() -> Outcome {
        Outcome {
            seat: 0,
            first_ns: 0,
            last_ns: 0,
            wall: Duration::ZERO,
            messages: Counts::new(),
            skipped: Counts::new(),
            packets: 0,
            lost: 0,
            own_blocks: 0,
            blocks: 0,
            tip: None,
            nullified_views: 0,
            rejects: BTreeMap::new(),
            evidence: Counts::new(),
            unheard: Counts::new(),
            records: 0,
            synced_blocks: 0,
            syncs_wanted: 0,
            stage_ns: BTreeMap::new(),
            message_ns: Histogram::new(3).expect("three digits are allowed"),
            violation: None,
        }
    }
}

impl Outcome {
    /// A block is final.
    pub fn finalized(&mut self, block: &Block) {
        self.blocks += 1;
        self.tip = Some((block.header().height.0, block.digest().hex()));
    }

    /// What machine, clock and tape counted.
    pub fn take_counters<T>(&mut self, validator: &Validator<T>, stages: &StageClock, tape: Tape) {
        (self.skipped, self.packets, self.lost) = (tape.skipped, tape.packets, tape.lost);
        self.stage_ns = Stage::ALL.into_iter().zip(stages.ns).map(|(stage, ns)| (stage.as_str(), ns)).collect();
        let shreds = samara_rotor::ShredReject::ALL.iter().zip(validator.reassembly().rejects());
        let shreds = shreds.map(|(reason, count)| (format!("shred_{}", reason.as_str()), *count));
        let votes = samara_consensus::VoteReject::ALL.iter().zip(validator.consensus().stats().rejects);
        let votes = votes.map(|(reason, count)| (reason.as_str().to_string(), count));
        let counters = validator.counters();
        let own = [
            ("malformed_message", counters.malformed),
            ("gossip_refused", counters.gossip_refused),
            ("repair_reject", counters.repair_rejects),
        ];
        let own = own.map(|(reason, count)| (reason.to_string(), count));
        self.rejects = shreds.chain(votes).chain(own).filter(|(_, count)| *count > 0).collect();
    }

    /// The replay's own verdict: agreement with what was captured is for `inspect` to compare.
    pub fn check(&self) -> Result<(), Exit> {
        match &self.violation {
            Some(violation) => Err(Exit::failed(format!("SAFETY VIOLATION: {violation}"))),
            None => Ok(()),
        }
    }

    fn fed(&self) -> u64 {
        self.messages.values().sum()
    }

    fn machine_ns(&self) -> u64 {
        self.stage_ns.values().sum()
    }

    fn document(&self) -> Value {
        let quantile = |q: f64| self.message_ns.value_at_quantile(q);
        let time = json!({
            "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "p999": quantile(0.999),
            "max": self.message_ns.max(), "count": self.message_ns.len(),
        });
        json!({
            "seat": self.seat, "captured_s": self.last_ns.saturating_sub(self.first_ns) as f64 / 1e9, "wall_s": self.wall.as_secs_f64(),
            "packets": self.packets, "lost": self.lost, "skipped": self.skipped, "messages": self.messages,
            "finalized_blocks": self.blocks, "tip": self.tip.as_ref().map(|(height, digest)| json!({ "height": height, "digest": digest })),
            "own_blocks": self.own_blocks, "nullified_views": self.nullified_views, "rejects": self.rejects, "evidence": self.evidence,
            "unheard": self.unheard, "records_never_durable": self.records, "synced_blocks": self.synced_blocks, "syncs_wanted": self.syncs_wanted,
            "stage_ns": self.stage_ns, "message_ns": time, "safety_violation": self.violation,
        })
    }

    fn text(&self) -> String {
        let list = |counts: &Counts| counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ");
        let rejects = self.rejects.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ");
        let captured_s = self.last_ns.saturating_sub(self.first_ns) as f64 / 1e9;
        let tip = self.tip.as_ref().map_or("none".to_string(), |(height, digest)| format!("{height} {digest}"));
        let quantile = |q: f64| self.message_ns.value_at_quantile(q) as f64 / 1e3;
        let stages = self.stage_ns.iter().filter(|(_, ns)| **ns > 0).map(|(stage, ns)| format!("{stage} {:.1}", *ns as f64 / 1e6));
        let lines = [
            format!(
                "validator {}: {captured_s:.2} s of capture in {:.2} s, {} packets, {} lost",
                self.seat,
                self.wall.as_secs_f64(),
                self.packets,
                self.lost
            ),
            format!("messages: {}", list(&self.messages)),
            format!("not fed: {}", list(&self.skipped)),
            format!(
                "{} blocks final, {} of them from before; {} proposed by the captured validator; tip {tip}",
                self.blocks, self.synced_blocks, self.own_blocks
            ),
            format!("{} views nullified; rejects: {rejects}", self.nullified_views),
            format!("evidence: {}", list(&self.evidence)),
            format!("nobody heard: {}; {} records never durable; {} syncs wanted", list(&self.unheard), self.records, self.syncs_wanted),
            format!(
                "machine: {:.1} ms for {} messages, each p50 {:.1} p90 {:.1} p99 {:.1} p99.9 {:.1} us",
                self.machine_ns() as f64 / 1e6,
                self.fed(),
                quantile(0.5),
                quantile(0.9),
                quantile(0.99),
                quantile(0.999)
            ),
            format!("stages, ms: {}", stages.collect::<Vec<_>>().join(", ")),
        ];
        lines.join("\n")
    }
}

/// Prints it; a reader that went away is a normal end.
pub fn print(outcome: &Outcome, as_json: bool) -> Result<(), Exit> {
    let text = if as_json { outcome.document().to_string() } else { outcome.text() };
    print_text(&text)
}

/// A line or several on stdout.
pub fn print_text(text: &str) -> Result<(), Exit> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Exit::failed(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}
