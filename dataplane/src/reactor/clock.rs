//! The reactor's clocks: time of the pass, read once, and cheap ticks for stage accounting.
//!
//! A pass that finds nothing lasts about 100 ns, and a datagram waits for half of one; `clock_gettime` alone is 40 to 60 ns of it. So time comes from
//! the tick counter, held to the monotonic clock every [`ANCHOR_NS`]: between two looks it may be off by what the last interval's rate was, a few parts in
//! 10,000 of 10 ms if the thread was interrupted at the look, and it never goes back.

use std::time::Instant;

use samara_types::Nanos;

/// From one look at the monotonic clock to the next.
const ANCHOR_NS: u64 = 10_000_000;
/// The least interval that tells the rate.
const RATE_OVER_NS: u64 = 1_000_000;
/// A rate that differs from the last by more than one part in so many is that of a counter that jumped.
const STEADY: u64 = 256;

/// Reactor time: nanoseconds since a base that the caller chose.
pub(super) struct Clock {
    base: Instant,
    /// Where the conversion starts, in both units.
    anchor_tick: u64,
    anchor_ns: u64,
    /// Nanoseconds of a tick in units of 2^-32; 0 while unknown.
    rate: u64,
    /// Ticks until the next look at the monotonic clock.
    valid: u64,
    /// The latest time told.
    last_ns: u64,
    /// Both units at the start, for the mean rate since.
    first_tick: u64,
    first_ns: u64,
}

impl Clock {
    pub fn new(base: Instant) -> Clock {
        let (tick, ns) = (tick(), elapsed(base));
        Clock { base, anchor_tick: tick, anchor_ns: ns, rate: 0, valid: 0, last_ns: ns, first_tick: tick, first_ns: ns }
    }

    pub fn now(&mut self) -> Nanos {
        let base = self.base;
        self.at(tick(), || elapsed(base))
    }

    /// Time at a tick; `real` looks at the monotonic clock.
    fn at(&mut self, tick: u64, real: impl FnOnce() -> u64) -> Nanos {
        let since = tick.wrapping_sub(self.anchor_tick);
        let ns = if since < self.valid {
            self.anchor_ns + ((u128::from(since) * u128::from(self.rate)) >> 32) as u64
        } else {
            self.anchor(tick, real())
        };
        self.last_ns = self.last_ns.max(ns);
        Nanos(self.last_ns)
    }

    #[cold]
    fn anchor(&mut self, tick: u64, ns: u64) -> u64 {
        let (ticks, passed) = (tick.wrapping_sub(self.anchor_tick), ns.saturating_sub(self.anchor_ns));
        if passed >= RATE_OVER_NS {
            let rate = ((u128::from(passed) << 32) / u128::from(ticks.max(1))).min(u128::from(u64::MAX)) as u64;
            let is_steady = rate > 0 && (self.rate == 0 || rate.abs_diff(self.rate) <= self.rate / STEADY);
            self.rate = if is_steady { rate } else { 0 };
            self.valid = if is_steady { ((u128::from(ANCHOR_NS) << 32) / u128::from(rate)) as u64 } else { 0 };
            (self.anchor_tick, self.anchor_ns) = (tick, ns);
        }
        ns
    }

    /// Nanoseconds of `ticks`, scaled by the ticks and the time that passed since the start, which grows more exact with time.
    pub fn nanos_of(&self, ticks: u64) -> u64 {
        let ticks_passed = u128::from(tick().saturating_sub(self.first_tick).max(1));
        let ns_passed = u128::from(elapsed(self.base).saturating_sub(self.first_ns));
        (u128::from(ticks) * ns_passed / ticks_passed) as u64
    }
}

fn elapsed(base: Instant) -> u64 {
    u64::try_from(base.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A counter that grows steadily: the time-stamp counter (about 10 ns to read), elsewhere the monotonic clock.
#[cfg(target_arch = "x86_64")]
pub(super) fn tick() -> u64 {
    // SAFETY: every x86-64 CPU has this instruction and user space may execute it on Linux; it touches no memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// A counter that grows steadily: the time-stamp counter, elsewhere the monotonic clock.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn tick() -> u64 {
    use std::sync::LazyLock;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    elapsed(*START)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter of 2.5 ticks a nanosecond from `first` on.
    fn ticks(first: u64, ns: u64) -> u64 {
        first.wrapping_add(ns * 5 / 2)
    }

    /// A clock that started at 5 us with its counter at `first`.
    fn started(first: u64) -> Clock {
        Clock { anchor_tick: first, anchor_ns: 5_000, last_ns: 5_000, first_tick: first, first_ns: 5_000, ..Clock::new(Instant::now()) }
    }

    #[test]
    fn time_follows_the_monotonic_clock_and_seldom_looks_at_it() {
        // The counter wraps on the way.
        let first = u64::MAX - 1_000_000;
        let (mut clock, mut looks) = (started(first), 0);
        for ns in (0..1_000_000_000).step_by(1_000) {
            let told = clock.at(ticks(first, ns), || {
                looks += 1;
                5_000 + ns
            });
            assert!(told.0.abs_diff(5_000 + ns) < 10, "{told:?} at {ns}");
        }
        assert!((1_000..1_200).contains(&looks), "1,000 in the first millisecond, then a hundred a second: {looks}");
    }

    #[test]
    fn a_counter_that_jumps_either_way_is_noticed_within_an_interval_and_time_never_goes_back() {
        for jump in [0u64.wrapping_sub(50_000_000), 50_000_000, 7_500_000, 0u64.wrapping_sub(3), u64::MAX / 2] {
            let (mut clock, mut first, mut last) = (started(77), 77, 0);
            for ns in (0..200_000_000).step_by(10_000) {
                if ns == 50_000_000 {
                    first = jump.wrapping_add(first);
                }
                let told = clock.at(ticks(first, ns), || 5_000 + ns).0;
                assert!(told >= last && told.abs_diff(5_000 + ns) <= ANCHOR_NS, "{told} at {ns}, jump {jump}");
                assert!(ns < 70_000_000 || told.abs_diff(5_000 + ns) < 100_000, "{told} at {ns}, jump {jump}");
                last = told;
            }
        }
    }

    #[test]
    fn ticks_convert_back_to_the_time_they_were_counted_over() {
        let clock = Clock::new(Instant::now());
        let first = tick();
        let spin = Instant::now();
        while spin.elapsed().as_micros() < 2_000 {}
        let ns = clock.nanos_of(tick().saturating_sub(first));
        assert!((1_500_000..1_000_000_000).contains(&ns), "{ns}");
    }
}
