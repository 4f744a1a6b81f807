//! About once a second and at the end: what the hot reactor last published, what the service reactor counted, and what the process uses.
//! It goes into metrics.json (written beside and renamed over, so a reader never sees half a file) and to the metrics endpoint. Totals grow
//! from the start of the process.

use super::Shared;
use super::link::within;
use crate::bridge::{Distribution, NodeSnapshot};
use crate::metrics::Published;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What metrics.json holds: the snapshot's fields at the top, the rest in objects of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// When it was written, milliseconds since 1970.
    pub written_unix_ms: u64,
    /// The hot reactor's picture of itself.
    #[serde(flatten)]
    pub node: NodeSnapshot,
    /// The service reactor's counters.
    pub service: ServiceCounters,
    /// What the process uses.
    pub process: ProcessUse,
}

/// Counts by reason label.
pub type Reasons = BTreeMap<String, u64>;

/// Counters of the service reactor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceCounters {
    /// Client connections open at the moment.
    pub connections: u64,
    /// Client connections taken.
    pub connections_opened: u64,
    /// Client connections closed by the door, by reason (limit, slow_reader, malformed_frame, ...).
    pub connections_refused: Reasons,
    /// Submissions read.
    pub submissions: u64,
    /// Submissions refused, by reason.
    pub rejected: Reasons,
    /// `Accepted` answers.
    pub accepted: u64,
    /// `Finalized` answers.
    pub finalized_answers: u64,
    /// Submissions of transactions that were final already.
    pub resubmissions: u64,
    /// Requests between submission and last answer.
    pub waiting: u64,
    /// From reading a submission to handing it to the hot reactor (or answering it), microseconds.
    pub ingress_us: Distribution,
    /// From reading a transaction's first submission to its finality being on disk, microseconds.
    pub finality_us: Distribution,
    /// Signature batches of client transactions.
    pub verify_batches: u64,
    /// Gossiped payloads taken.
    pub gossip_payloads: u64,
    /// Gossiped transactions with a good signature.
    pub gossip_transactions: u64,
    /// Gossip dropped, by reason (shed, malformed, bad_signature, ring_full).
    pub gossip_dropped: Reasons,
    /// Synced commits.
    pub commits: u64,
    /// Blocks in them.
    pub blocks_stored: u64,
    /// Duration of a synced commit, microseconds.
    pub commit_us: Distribution,
    /// The store refused a write; nothing is acknowledged any more.
    pub store_failed: bool,
    /// Blocks streamed to peers that catch up.
    pub sync_served_blocks: u64,
    /// Bytes of them.
    pub sync_served_bytes: u64,
    /// Refused or broken catch-up connections of others, by reason.
    pub sync_server_refused: Reasons,
    /// Blocks fetched and proven.
    pub sync_fetched_blocks: u64,
    /// Bytes of them.
    pub sync_fetched_bytes: u64,
    /// Peers given up during a catch-up, by reason.
    pub sync_peer_faults: Reasons,
}

/// What the process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessUse {
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Largest resident memory so far, bytes.
    pub rss_peak_bytes: u64,
    /// CPU time in user mode, milliseconds.
    pub cpu_user_ms: u64,
    /// CPU time in the kernel, milliseconds.
    pub cpu_system_ms: u64,
}

impl ProcessUse {
    /// Of this process; zeros where /proc does not say.
    pub fn now() -> ProcessUse {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let (user, system) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_ticks(&stat)).unwrap_or((0, 0));
        ProcessUse {
            rss_bytes: kib("VmRSS:") * 1024,
            rss_peak_bytes: kib("VmHWM:") * 1024,
            cpu_user_ms: user * MS_PER_TICK,
            cpu_system_ms: system * MS_PER_TICK,
        }
    }
}

/// /proc counts in USER_HZ, which is 100 on every Linux ABI.
const MS_PER_TICK: u64 = 10;

/// utime and stime: fields 14 and 15; the second field is the name in parentheses and may hold anything.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Adds one to the count of `reason`; allocates only at its first.
pub(super) fn count(reasons: &mut Reasons, reason: &'static str) {
    match reasons.get_mut(reason) {
        Some(count) => *count += 1,
        None => {
            reasons.insert(reason.to_string(), 1);
        }
    }
}

/// Publishes once per `interval` until the signal, then returns (the last write is [`write_now`] by the caller).
pub(super) async fn run(shared: Rc<Shared>, interval: Duration) {
    while within(interval, shared.telemetry_stop.wait()).await.is_none() {
        write_now(&shared).await;
    }
}

/// Publishes the figures and writes the file; a failure is logged, it stops nothing.
pub(super) async fn write_now(shared: &Shared) {
    let (path, published) = (shared.metrics_path.clone(), Arc::clone(&shared.published));
    let mut service = shared.counters.borrow().clone();
    service.waiting = shared.door.waiting() as u64;
    let node = shared.snapshot.borrow().clone();
    let written = glommio::executor().spawn_blocking(move || publish(path.as_deref(), &published, node, service)).await;
    if let Err(error) = written {
        tracing::warn!(%error, "metrics file not written");
    }
}

fn publish(path: Option<&Path>, published: &Published, node: NodeSnapshot, service: ServiceCounters) -> std::io::Result<()> {
    let written_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_millis() as u64);
    let metrics = Arc::new(Metrics { written_unix_ms, node, service, process: ProcessUse::now() });
    published.set(Arc::clone(&metrics));
    let Some(path) = path else { return Ok(()) };
    let beside = path.with_extension("json.part");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(&serde_json::to_vec(&*metrics)?)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back_as_metrics_and_as_a_plain_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.json");
        let mut node = NodeSnapshot { view: 9, finalized_txs: 7, ..NodeSnapshot::default() };
        node.view_us.record(1_234);
        node.drops.insert("bad_seat".into(), 3);
        let mut service = ServiceCounters::default();
        count(&mut service.rejected, "mempool_full");
        count(&mut service.rejected, "mempool_full");
        let published = Published::default();
        publish(Some(&path), &published, node.clone(), service).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let metrics: Metrics = serde_json::from_str(&text).unwrap();
        assert_eq!(metrics.service.rejected["mempool_full"], 2);
        assert_eq!((metrics.node.view, metrics.node.view_us.count()), (9, 1));
        assert!(metrics.process.rss_bytes > 0 && metrics.process.rss_peak_bytes >= metrics.process.rss_bytes);
        assert_eq!(*published.get().unwrap(), metrics, "file and endpoint have one source");
        let plain: NodeSnapshot = serde_json::from_str(&text).unwrap();
        assert_eq!((plain.finalized_txs, plain.drops["bad_seat"]), (7, 3));
    }

    #[test]
    fn cpu_time_is_read_behind_a_hostile_process_name() {
        let stat = "7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 111 222 0 0 20 0 3 0";
        assert_eq!(cpu_ticks(stat), Some((111, 222)));
        assert_eq!(cpu_ticks("7 (x"), None);
    }
}
