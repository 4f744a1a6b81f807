//! The reactor's clocks: time of the pass, read once, and cheap ticks for stage accounting.

use std::time::Instant;

use samara_types::Nanos;

/// Reactor time: nanoseconds since a base that the caller chose.
pub(super) struct Clock {
    base: Instant,
    first_tick: u64,
    first_ns: u64,
}

impl Clock {
    pub fn new(base: Instant) -> Clock {
        let first_ns = elapsed(base);
        Clock { base, first_tick: tick(), first_ns }
    }

    pub fn now(&self) -> Nanos {
        Nanos(elapsed(self.base))
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
