//! How fast: the capture's clock against ours.

use std::time::{Duration, Instant};

/// A factor, or no waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Does not wait.
    Max,
    /// So many times the pace of the capture.
    Times(f64),
}

/// `max`, `1`, `2.5`.
pub fn parse_speed(text: &str) -> Result<Speed, String> {
    const ALLOWED: &str = "max or a factor above 0, such as 0.5 or 2";
    if text == "max" {
        return Ok(Speed::Max);
    }
    let factor: f64 = text.parse().map_err(|_| ALLOWED)?;
    if factor.is_finite() && factor >= 1e-6 { Ok(Speed::Times(factor)) } else { Err(ALLOWED.into()) }
}

/// Waits for what is due.
pub struct Pace {
    speed: Speed,
    began: Instant,
    first_ns: u64,
}

impl Pace {
    /// The capture's time `first_ns` is now.
    pub fn begin(speed: Speed, first_ns: u64) -> Pace {
        Pace { speed, began: Instant::now(), first_ns }
    }

    /// Sleeps until the capture's time `unix_ns` has come.
    pub fn wait(&self, unix_ns: u64) {
        let Some(due) = self.due(unix_ns) else { return };
        std::thread::sleep(due.saturating_sub(self.began.elapsed()));
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn due(&self, unix_ns: u64) -> Option<Duration> {
        let Speed::Times(factor) = self.speed else { return None };
        Duration::try_from_secs_f64(unix_ns.saturating_sub(self.first_ns) as f64 / 1e9 / factor).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_scale_and_max_does_not_wait() {
        let due = |speed| Pace::begin(speed, 1_000_000_000).due(3_000_000_000);
        assert_eq!(due(Speed::Times(1.0)), Some(Duration::from_secs(2)));
        assert_eq!(due(Speed::Times(4.0)), Some(Duration::from_millis(500)));
        assert_eq!(due(Speed::Max), None);
        assert_eq!(Pace::begin(Speed::Times(1.0), 5).due(1), Some(Duration::ZERO), "what is older than the first is due");
    }

    #[test]
    fn only_max_and_positive_numbers_are_speeds() {
        assert_eq!((parse_speed("max"), parse_speed("2.5")), (Ok(Speed::Max), Ok(Speed::Times(2.5))));
        for bad in ["0", "-1", "nan", "inf", "fast", ""] {
            assert!(parse_speed(bad).is_err(), "{bad}");
        }
    }
}
