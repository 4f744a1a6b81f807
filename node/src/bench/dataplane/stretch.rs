//! What stretches a tail: how often a core was taken away from its end while it measured.
//!
//! Read from the kernel before and after, never during: interrupts of the core (`/proc/interrupts`), time the hypervisor took (steal in
//! `/proc/stat`), and how often the scheduler put something else on the core (`nonvoluntary_ctxt_switches` of the thread).

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Disturbances of the cores of both ends during a measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stretch {
    /// Interrupts by the kernel's label, such as `LOC` (timer) and `RES` (reschedule).
    pub interrupts: BTreeMap<String, u64>,
    /// Times an end was preempted.
    pub preempted: u64,
    /// Ticks of 10 ms that the hypervisor gave to somebody else.
    pub steal_ticks: u64,
    /// Over this time, milliseconds, both ends together.
    pub core_ms: u64,
}

impl Stretch {
    /// Adds another measurement.
    pub fn merge(&mut self, other: &Stretch) {
        for (name, count) in &other.interrupts {
            *self.interrupts.entry(name.clone()).or_default() += count;
        }
        self.preempted += other.preempted;
        self.steal_ticks += other.steal_ticks;
        self.core_ms += other.core_ms;
    }

    /// The sum with the other end's.
    pub fn both(mut self, other: Stretch) -> Stretch {
        self.merge(&other);
        self
    }

    /// In one line: per second of a core.
    pub fn line(&self) -> String {
        let seconds = self.core_ms.max(1) as f64 / 1e3;
        let mut most: Vec<_> = self.interrupts.iter().filter(|(_, count)| **count > 0).collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let interrupts: Vec<_> = most.iter().take(3).map(|(name, count)| format!("{name} {:.0}/s", **count as f64 / seconds)).collect();
        let steal = self.steal_ticks as f64 * 1_000.0 / self.core_ms.max(1) as f64;
        format!("{}, preempted {:.0}/s, steal {steal:.1} %", interrupts.join(" "), self.preempted as f64 / seconds)
    }
}

/// One core under observation by the thread that runs on it.
pub struct Watch {
    core: usize,
    since: Instant,
    before: (BTreeMap<String, u64>, u64, u64),
}

impl Watch {
    /// Starts to watch this thread and `core`.
    pub fn start(core: usize) -> Watch {
        let before = read(core);
        Watch { core, since: Instant::now(), before }
    }

    /// What happened since.
    pub fn stop(self) -> Stretch {
        let core_ms = self.since.elapsed().as_millis() as u64;
        let (interrupts, preempted, steal) = read(self.core);
        let mut found = Stretch { preempted: preempted.saturating_sub(self.before.1), core_ms, ..Stretch::default() };
        found.steal_ticks = steal.saturating_sub(self.before.2);
        for (name, count) in interrupts {
            let during = count.saturating_sub(self.before.0.get(&name).copied().unwrap_or(0));
            if during > 0 {
                found.interrupts.insert(name, during);
            }
        }
        found
    }
}

fn read(core: usize) -> (BTreeMap<String, u64>, u64, u64) {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let preempted = number_after(&text("/proc/thread-self/status"), "nonvoluntary_ctxt_switches:", 0);
    let steal = number_after(&text("/proc/stat"), &format!("cpu{core} "), 7);
    (interrupts_of(&text("/proc/interrupts"), core), preempted, steal)
}

/// The `at`-th number of the line that starts with `key`.
fn number_after(text: &str, key: &str, at: usize) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().nth(at)).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Counts of one core: the first line names the columns.
fn interrupts_of(text: &str, core: usize) -> BTreeMap<String, u64> {
    let mut lines = text.lines();
    let name = format!("CPU{core}");
    let Some(column) = lines.next().and_then(|head| head.split_whitespace().position(|cpu| cpu == name)) else { return BTreeMap::new() };
    let counts = lines.filter_map(|line| {
        let (label, rest) = line.trim_start().split_once(':')?;
        Some((label.to_string(), rest.split_whitespace().nth(column)?.parse().ok()?))
    });
    counts.collect()
}

/// How often and for how long a core that only reads its clock is taken away: the floor under every tail of this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Gaps {
    /// Gaps above a microsecond, per second.
    pub per_second: f64,
    /// Median of them, ns.
    pub p50_ns: u64,
    /// 99th percentile of them, ns.
    pub p99_ns: u64,
    /// Longest, ns.
    pub max_ns: u64,
}

impl Gaps {
    /// Spins on the calling thread's core for `span`.
    pub fn measure(span: Duration) -> Gaps {
        let mut gaps = Vec::with_capacity(1 << 16);
        let began = Instant::now();
        let mut last = began;
        while last.duration_since(began) < span {
            let now = Instant::now();
            let gap = now.duration_since(last).as_nanos() as u64;
            if gap > 1_000 && gaps.len() < gaps.capacity() {
                gaps.push(gap);
            }
            last = now;
        }
        gaps.sort_unstable();
        let at = |part: usize| gaps.get((gaps.len() * part / 100).min(gaps.len().saturating_sub(1))).copied().unwrap_or(0);
        Gaps { per_second: gaps.len() as f64 / span.as_secs_f64(), p50_ns: at(50), p99_ns: at(99), max_ns: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_those_of_the_core_whatever_column_it_stands_in() {
        let text = "            CPU0       CPU3\n LOC:        100        300   Local timer interrupts\n 24:  7  9  edge  virtio\n ERR:          0\n";
        assert_eq!(interrupts_of(text, 3), BTreeMap::from([("LOC".to_string(), 300), ("24".to_string(), 9)]));
        assert_eq!(interrupts_of(text, 0)["24"], 7);
        assert!(interrupts_of(text, 1).is_empty());
        assert!(interrupts_of("", 0).is_empty());
    }

    #[test]
    fn numbers_are_found_by_line_and_place() {
        let text = "cpu  1 2 3\ncpu1 10 20 30 40 50 60 70 80 0 0\ncpu10 1 1 1 1 1 1 1 1\n";
        assert_eq!(number_after(text, "cpu1 ", 7), 80);
        assert_eq!(number_after(text, "cpu2 ", 7), 0);
    }
}
