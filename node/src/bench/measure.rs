//! Two operations timed against each other on one core, and the host they ran on.
//!
//! A batch repeats one operation until it lasts about `BATCH`; batches of both operations alternate, who goes first alternates too, and
//! each side's figure is the median over its batches. Neither a clock step nor a noisy neighbour can favour one side.

use crate::localnet::git_commit;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use std::fs::read_to_string;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Least duration of a batch: far above the clock's resolution and far below a scheduler's quantum.
const BATCH: Duration = Duration::from_millis(1);
/// Pairs of batches per row; odd, so that the median is a measurement.
const PAIRS: usize = 61;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// One operation per side: does it run and do both sides agree.
    Smoke,
    /// Enough for a figure.
    Full,
}

/// Median ns per operation of each side.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Ours.
    pub ours_ns: f64,
    /// The rival's.
    pub rival_ns: f64,
}

/// Times two operations. What they return is kept from being optimised away; so must the caller keep their inputs, with
/// [`std::hint::black_box`].
pub fn compare<A, B>(effort: Effort, mut ours: impl FnMut() -> A, mut rival: impl FnMut() -> B) -> Pair {
    if effort == Effort::Smoke {
        return Pair { ours_ns: batch(1, &mut ours), rival_ns: batch(1, &mut rival) };
    }
    let (our_count, rival_count) = (calibrated(&mut ours), calibrated(&mut rival));
    let (mut our_times, mut rival_times) = (Vec::with_capacity(PAIRS), Vec::with_capacity(PAIRS));
    for pair in 0..PAIRS {
        if pair % 2 == 0 {
            our_times.push(batch(our_count, &mut ours));
        }
        rival_times.push(batch(rival_count, &mut rival));
        if pair % 2 == 1 {
            our_times.push(batch(our_count, &mut ours));
        }
    }
    Pair { ours_ns: median(our_times), rival_ns: median(rival_times) }
}

/// Operations that last about [`BATCH`], found by doubling, which also warms caches and clock up.
fn calibrated<T>(operation: &mut impl FnMut() -> T) -> u64 {
    let mut count = 1;
    while batch(count, operation) * (count as f64) < BATCH.as_nanos() as f64 {
        count *= 2;
    }
    count
}

/// Mean ns per operation of one batch.
fn batch<T>(count: u64, operation: &mut impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        black_box(operation());
    }
    start.elapsed().as_nanos() as f64 / count as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Pins this thread to the last core it may run on (the first often serves interrupts). None where the host refuses.
pub fn pin() -> Option<usize> {
    let allowed = sched_getaffinity(None).ok()?;
    let core = (0..CpuSet::MAX_CPU).rev().find(|&core| allowed.is_set(core))?;
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).ok().map(|()| core)
}

/// Where a bench ran.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Model of the CPU.
    pub cpu: String,
    /// Cores online.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// The CPU's vector features that our code asks for and may use.
    pub simd: Vec<&'static str>,
    /// The erasure engine in use.
    pub engine: &'static str,
    /// Core the bench was pinned to.
    pub pinned_to: Option<usize>,
    /// Commit of the checkout, or `unknown`.
    pub git_commit: String,
}

impl Host {
    /// This host.
    pub fn read(pinned_to: Option<usize>) -> Host {
        Host {
            cpu: cpu_model(),
            cores: cpu_field("processor").count().max(1),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            simd: simd(),
            engine: samara_erasure::Engine::chosen().as_str(),
            pinned_to,
            git_commit: git_commit(),
        }
    }
}

/// Model of the CPU as the kernel names it.
pub fn cpu_model() -> String {
    cpu_field("model name").next().unwrap_or_else(|| std::env::consts::ARCH.into())
}

fn cpu_field(key: &str) -> impl Iterator<Item = String> {
    let text = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of_key = |line: &str| line.split_once(':').filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_string());
    text.lines().filter_map(of_key).collect::<Vec<_>>().into_iter()
}

#[cfg(target_arch = "x86_64")]
fn simd() -> Vec<&'static str> {
    macro_rules! detected {
        ($($feature:tt),*) => { [$(($feature, std::is_x86_feature_detected!($feature))),*] };
    }
    let features = detected!["ssse3", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512vbmi", "gfni", "vaes", "sha"];
    let may_use = |name: &str| !(samara_erasure::is_avx512_off() && name.starts_with("avx512"));
    features.into_iter().filter_map(|(name, present)| (present && may_use(name)).then_some(name)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn simd() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_run_and_the_dearer_one_takes_longer() {
        let (mut ours, mut rival) = (0u64, 0u64);
        let work = |count: u64| (0..count).fold(1u64, |sum, i| black_box(sum.wrapping_mul(i | 1)));
        let pair = compare(Effort::Full, || (ours += 1, work(black_box(100))), || (rival += 1, work(black_box(100_000))));
        assert!(ours > PAIRS as u64 && rival > PAIRS as u64);
        assert!(pair.ours_ns < pair.rival_ns, "a thousand times the work");
    }

    #[test]
    fn the_median_is_one_of_the_measurements() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
    }
}
