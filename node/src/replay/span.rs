//! How long a capture may be: an hour of silence at a time, a day in all.
//!
//! The machine runs every timer of that time, some thousands a second, so a silence of a year (two files merged, a clock that was set) would take it
//! days; a replay at a port would sleep through it without a word. So both hold the capture's own time to the limits, at any `--speed`, and before
//! anything is replayed.

use std::time::Duration;

/// Longest silence of a capture.
const SILENCE_MAX_NS: u64 = 3_600_000_000_000;
/// Longest time from the first packet that is replayed to the last: many silences add up to the same.
const SPAN_MAX_NS: u64 = 24 * SILENCE_MAX_NS;

/// The times of a capture so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// First and latest, nanoseconds since 1970; None before the first.
    times: Option<(u64, u64)>,
}

impl Span {
    /// Takes the time of the next packet that is replayed. Err: what a capture may be.
    pub fn take(&mut self, now_ns: u64) -> Result<(), String> {
        let (first_ns, heard_ns) = self.times.unwrap_or((now_ns, now_ns));
        self.times = Some((first_ns, heard_ns.max(now_ns)));
        let after = |from_ns| Duration::from_nanos(now_ns.saturating_sub(from_ns));
        let at = Duration::from_nanos(now_ns).as_secs();
        let refused = |what: &str, max_ns, is: Duration| {
            let max = Duration::from_nanos(max_ns).as_secs();
            Err(format!(
                "a capture {what} for {max} s at most; this one is for {} s, until {at} s after 1970: split it there (editcap -A, -B)",
                is.as_secs()
            ))
        };
        match (after(heard_ns), after(first_ns)) {
            (silent, _) if silent > Duration::from_nanos(SILENCE_MAX_NS) => refused("silent", SILENCE_MAX_NS, silent),
            (_, lasts) if lasts > Duration::from_nanos(SPAN_MAX_NS) => refused("lasting", SPAN_MAX_NS, lasts),
            _ => Ok(()),
        }
    }

    /// When the first of them was.
    pub fn first_ns(&self) -> Option<u64> {
        self.times.map(|(first_ns, _)| first_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn take(times: impl IntoIterator<Item = u64>) -> Result<(), String> {
        let mut span = Span::default();
        times.into_iter().try_for_each(|now_ns| span.take(now_ns))
    }

    #[test]
    fn an_hour_of_silence_and_a_day_in_all_are_replayed_and_more_is_refused() {
        assert_eq!((take([5, 5 + HOUR]), take([HOUR, 5])), (Ok(()), Ok(())));
        let silent = take([5, 6 + HOUR]).unwrap_err();
        assert!(silent.contains("silent for 3600 s at most; this one is for 3600 s, until 3600 s after 1970"), "{silent}");
        assert!(take([0, u64::MAX]).is_err());
        // No silence is too long, and all together are.
        let hours = || (0..=24).map(|hour| 7 + hour * HOUR);
        assert_eq!(take(hours()), Ok(()));
        let lasting = take(hours().chain([8 + 24 * HOUR])).unwrap_err();
        assert!(lasting.contains("lasting for 86400 s at most; this one is for 86400 s"), "{lasting}");
    }

    #[test]
    fn one_packet_that_is_older_does_not_make_the_next_silence_longer() {
        assert_eq!(take([HOUR, 5, 2 * HOUR]), Ok(()));
    }
}
