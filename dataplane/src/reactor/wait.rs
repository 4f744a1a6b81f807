//! What a reactor does when a pass found nothing: spin, spin a while and then sleep, or sleep at once.

use std::time::Duration;

use samara_types::Nanos;

/// Wait policy of a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitPolicy {
    /// Never sleeps: for a core of its own.
    Busy,
    /// Spins this long after the last work, then sleeps until the port, a descriptor or a deadline.
    Adaptive {
        /// How long to spin; 0 is [`WaitPolicy::Park`].
        spin: Duration,
    },
    /// Sleeps whenever there is nothing to do.
    Park,
}

impl WaitPolicy {
    /// Whether to sleep after a pass at `now` without work, the last work having been at `last_work`.
    pub(super) fn sleeps(self, now: Nanos, last_work: Nanos) -> bool {
        match self {
            WaitPolicy::Busy => false,
            WaitPolicy::Adaptive { spin } => u128::from(now.since(last_work).0) >= spin.as_nanos(),
            WaitPolicy::Park => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adaptive_sleeps_exactly_when_its_spin_is_over() {
        let policy = WaitPolicy::Adaptive { spin: Duration::from_nanos(50) };
        assert!(!policy.sleeps(Nanos(149), Nanos(100)));
        assert!(policy.sleeps(Nanos(150), Nanos(100)));
        assert!(!WaitPolicy::Busy.sleeps(Nanos(1 << 60), Nanos(0)));
        assert!(WaitPolicy::Park.sleeps(Nanos(0), Nanos(0)));
    }
}
