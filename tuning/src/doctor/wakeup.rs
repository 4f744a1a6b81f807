//! How late a sleeping thread wakes, measured: a thread pinned to each CPU sleeps to the next tick of 1 ms and looks at the clock.
//!
//! All CPUs are measured at once, so that the time does not grow with their number. The kernel's slack (50 us for a normal thread) is turned
//! off for the measuring threads: what is left is the CPU's way out of sleep, the scheduler, and whoever holds the CPU.

use super::{Finding, Severity, View};
use crate::sys::probe;
use hdrhistogram::Histogram;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// From tick to tick.
const TICK: Duration = Duration::from_millis(1);
/// A wake-up later than this at the 99th percentile shows in the latency of a view, ns.
const LATE_NS: u64 = 200_000;
/// Latest wake-up told apart, ns.
const NS_MAX: u64 = 10_000_000_000;
/// Upper ends of the printed classes, us.
const CLASSES_US: [u64; 6] = [10, 30, 100, 300, 1000, 10_000];
/// CPUs measured at most.
const CPUS_MAX: usize = 1024;

pub(super) fn check(view: &View<'_>, time: Duration) -> Vec<Finding> {
    if !view.host.is_real() || time.is_zero() {
        return Vec::new();
    }
    let cpus = if view.hot.is_empty() { view.host.online_cpus() } else { view.hot.clone() };
    let threads: Vec<_> = cpus.iter().take(CPUS_MAX).map(|cpu| (cpu, thread::spawn(move || measure(cpu, time)))).collect();
    threads
        .into_iter()
        .map(|(cpu, thread)| judge(cpu, thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread ended")))))
        .collect()
}

/// Lateness of every tick, ns; at least one.
fn measure(cpu: u32, time: Duration) -> io::Result<Histogram<u64>> {
    probe::pin_to(cpu)?;
    // Not there in every container; then the slack is part of what is measured.
    let _ = std::fs::write("/proc/thread-self/timerslack_ns", "1");
    let mut late: Histogram<u64> = Histogram::new_with_bounds(1, NS_MAX, 3).expect("bounds in order");
    let end = Instant::now() + time;
    let mut due = Instant::now() + TICK;
    loop {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let woken = Instant::now();
        late.saturating_record(woken.saturating_duration_since(due).as_nanos() as u64);
        if woken >= end {
            return Ok(late);
        }
        // Ticks that passed meanwhile are part of the same lateness.
        due = due.max(woken - TICK) + TICK;
    }
}

fn judge(cpu: u32, measured: io::Result<Histogram<u64>>) -> Finding {
    let (id, should) = (format!("timer-wake-up:cpu{cpu}"), "p99 below 200 us");
    let late = match measured {
        Ok(late) => late,
        Err(error) => return Finding::new(id, format!("not measured: {error}"), should, "measured").judged(Severity::Info),
    };
    let us = |quantile: f64| late.value_at_quantile(quantile) as f64 / 1000.0;
    let is = format!("p50 {:.0} p90 {:.0} p99 {:.0} max {:.0} us", us(0.5), us(0.9), us(0.99), late.max() as f64 / 1000.0);
    let slow = late.value_at_quantile(0.99) > LATE_NS;
    Finding::new(id, is, should, format!("measured: {} sleeps of 1 ms on CPU {cpu}: {}", late.len(), classes(&late)))
        .why("a reactor that sleeps, and every timer of a view, is late by this much")
        .cost(format!("{:.0} us per wake-up at the median, {:.0} us in one of a hundred", us(0.5), us(0.99)))
        .worse(
            slow,
            Severity::Warn,
            "isolate the CPU, governor performance, idle states off (boot parameter cpuidle.off=1), stop other programs",
        )
}

/// `<=10us 3, <=30us 90, ..., more 0`
fn classes(late: &Histogram<u64>) -> String {
    let mut from = 0;
    let mut words = Vec::new();
    for class in CLASSES_US {
        words.push(format!("<={class}us {}", late.count_between(from, class * 1000)));
        from = late.highest_equivalent(class * 1000) + 1;
    }
    words.push(format!("more {}", if from > late.max() { 0 } else { late.count_between(from, NS_MAX) }));
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values_us: &[u64]) -> Histogram<u64> {
        let mut late = Histogram::new_with_bounds(1, NS_MAX, 3).unwrap();
        values_us.iter().for_each(|us| late.record(us * 1000).unwrap());
        late
    }

    #[test]
    fn a_late_tail_is_a_warning_and_an_early_one_is_not() {
        let mut values = vec![20; 98];
        assert_eq!(judge(3, Ok(histogram(&values))).severity, Severity::Ok);
        values.extend([5000, 5000]);
        let finding = judge(3, Ok(histogram(&values)));
        assert_eq!((finding.severity, finding.id.as_str()), (Severity::Warn, "timer-wake-up:cpu3"));
    }

    #[test]
    fn every_wake_up_is_in_one_class() {
        let text = classes(&histogram(&[5, 9, 20, 80, 250, 700, 5000, 50_000, 60_000]));
        assert_eq!(text, "<=10us 2, <=30us 1, <=100us 1, <=300us 1, <=1000us 1, <=10000us 1, more 2");
    }

    #[test]
    fn a_cpu_that_is_not_there_is_not_measured() {
        let finding = judge(9000, measure(9000, Duration::from_millis(5)));
        assert_eq!(finding.severity, Severity::Info);
        assert!(finding.is.starts_with("not measured"), "{}", finding.is);
    }

    #[test]
    fn wake_ups_are_measured_on_the_cpu_asked_for() {
        let late = thread::spawn(|| measure(0, Duration::from_millis(20))).join().unwrap().unwrap();
        assert!(!late.is_empty() && late.max() > 0);
    }
}
