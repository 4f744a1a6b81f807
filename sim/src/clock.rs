//! What one process takes for time: it starts at zero with the process, runs a little fast or slow, and can jump ahead.
//!
//! As in production: the machine's time is monotonic, so it never steps back; the wall clock is read once, at the start, and goes into block
//! timestamps only.

use samara_types::Nanos;

const MILLION: i128 = 1_000_000;

/// A process's clock.
#[derive(Clone, Debug)]
pub struct Clock {
    world: Nanos,
    local: Nanos,
    drift_ppm: i64,
}

impl Clock {
    /// A clock that shows zero at world time `boot`. `drift_ppm` above -1,000,000.
    pub fn new(boot: Nanos, drift_ppm: i64) -> Clock {
        assert!(i128::from(drift_ppm) > -MILLION, "time goes forward");
        Clock { world: boot, local: Nanos(0), drift_ppm }
    }

    /// What it shows.
    pub fn local(&self, world: Nanos) -> Nanos {
        let passed = i128::from(world.since(self.world).0);
        let shown = passed * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        Nanos(self.local.0 + shown as u64)
    }

    /// The first moment at which it shows `local` or more; now at the earliest.
    pub fn world(&self, local: Nanos, now: Nanos) -> Nanos {
        let span = i128::from(local.since(self.local).0) * MILLION;
        let rate = MILLION + i128::from(self.drift_ppm);
        let guess = Nanos(self.world.0.saturating_add(((span + rate - 1) / rate) as u64));
        guess.max(now)
    }

    /// Jumps ahead.
    pub fn jump(&mut self, now: Nanos, by: Nanos) {
        *self = Clock { world: now, local: self.local(now).after(by), drift_ppm: self.drift_ppm };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_found_for_a_local_time_is_the_first_that_shows_it() {
        for drift_ppm in [-20_000, -1, 0, 1, 333, 50_000] {
            let mut clock = Clock::new(Nanos(1_000), drift_ppm);
            clock.jump(Nanos(5_000), Nanos(77));
            for local in [4_077u64, 10_000, 123_456_789] {
                let at = clock.world(Nanos(local), Nanos(0));
                assert!(clock.local(at) >= Nanos(local), "{drift_ppm} ppm, {local}");
                assert!(at <= Nanos(5_000) || clock.local(Nanos(at.0 - 2)) < Nanos(local), "{drift_ppm} ppm, {local}");
            }
        }
    }

    #[test]
    fn jumps_and_drift_never_take_time_back() {
        let mut clock = Clock::new(Nanos(0), -100_000);
        let mut last = clock.local(Nanos(0));
        for now in (0..1_000_000).step_by(997) {
            if now % 5 == 0 {
                clock.jump(Nanos(now), Nanos(now / 7));
            }
            assert!(clock.local(Nanos(now)) >= last);
            last = clock.local(Nanos(now));
        }
    }
}
