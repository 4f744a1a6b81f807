//! When a capture ends: a signal, a time, a number of packets.

use crate::exit::Exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A flag that SIGINT and SIGTERM raise.
pub fn on_signals() -> Result<Arc<AtomicBool>, Exit> {
    let signalled = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&signalled))
            .map_err(|error| Exit::Host(format!("cannot handle signals: {error}")))?;
    }
    Ok(signalled)
}

/// See the module.
pub struct Ends {
    signalled: Arc<AtomicBool>,
    until: Option<Instant>,
    packets_max: u64,
}

impl Ends {
    /// Of a capture that begins at this moment.
    pub fn begin(signalled: Arc<AtomicBool>, duration: Option<Duration>, packets: Option<u64>) -> Ends {
        // A time beyond what the clock can tell never comes.
        let until = duration.and_then(|duration| Instant::now().checked_add(duration));
        Ends { signalled, until, packets_max: packets.unwrap_or(u64::MAX) }
    }

    /// Why it is time to end after so many packets.
    pub fn reached(&self, packets: u64) -> Option<&'static str> {
        if packets >= self.packets_max {
            Some("the number of packets asked for")
        } else if self.signalled.load(Ordering::Relaxed) {
            Some("stopped")
        } else if self.until.is_some_and(|until| Instant::now() >= until) {
            Some("the time asked for")
        } else {
            None
        }
    }
}
