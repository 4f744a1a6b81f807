//! What a service manager hears (`sd_notify`): ready, alive, stopping, and one line on how it goes.
//!
//! Rule: `WATCHDOG=1` is said only if the hot reactor made a pass since it was last said. A validator whose reactor hangs is then killed and
//! started again by the manager (`WatchdogSec=`); its vote log makes that safe at any moment. `READY=1` follows the first pass: recovery is
//! over by then and both reactors run. Without `NOTIFY_SOCKET` there is no thread and nothing is said.

use crate::bridge::NodeSnapshot;
use crate::metrics::Published;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest time between two looks; shorter if the watchdog's time demands it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks per watchdog time: one that comes late must not cost the process its life.
const LOOKS_PER_WATCHDOG: u32 = 4;

/// One line for the manager before there is a thread: recovery takes its time.
pub fn say(status: &str) {
    // Nobody listens, or nobody can: neither keeps a validator from running.
    let _ = sd_notify::notify(&[NotifyState::Status(status)]);
}

/// The thread that talks to the service manager. It ends when dropped.
pub struct Manager {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    /// Starts to talk, if somebody listens. `passes` counts the hot reactor's passes; `stopping` is the flag that signals set.
    pub fn start(passes: impl Fn() -> u64 + Send + 'static, published: Arc<Published>, stopping: Arc<AtomicBool>) -> Option<Manager> {
        std::env::var_os("NOTIFY_SOCKET")?;
        let every = sd_notify::watchdog_enabled().map_or(LOOK_EVERY, |watchdog| LOOK_EVERY.min(watchdog / LOOKS_PER_WATCHDOG));
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let talk = move || {
            let mut news = News::default();
            while !ended.load(Ordering::Relaxed) {
                let node = published.get();
                let said = news.look(passes(), stopping.load(Ordering::Relaxed), node.as_ref().map(|metrics| &metrics.node));
                if let Err(error) = sd_notify::notify(&said.states()) {
                    tracing::warn!(%error, "the service manager does not listen");
                }
                std::thread::park_timeout(every);
            }
            // A stop takes milliseconds: it may have begun and ended since the last look.
            if !news.stopping {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            }
        };
        let thread = std::thread::Builder::new().name("samara-manager".into()).spawn(talk).ok()?;
        Some(Manager { stop, thread: Some(thread) })
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// What was said already.
#[derive(Default)]
struct News {
    passes: u64,
    ready: bool,
    stopping: bool,
    status: String,
}

/// What is to be said at one look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    ready: bool,
    alive: bool,
    stopping: bool,
    status: Option<String>,
}

impl News {
    fn look(&mut self, passes: u64, stopping: bool, node: Option<&NodeSnapshot>) -> Said {
        let alive = passes != self.passes;
        self.passes = passes;
        let ready = alive && !self.ready;
        self.ready |= alive;
        let stops = stopping && !self.stopping;
        self.stopping |= stopping;
        let status = status(stopping, node);
        let changed = status != self.status;
        self.status.clone_from(&status);
        Said { ready, alive, stopping: stops, status: changed.then_some(status) }
    }
}

fn status(stopping: bool, node: Option<&NodeSnapshot>) -> String {
    let Some(node) = node.filter(|node| node.marks.total > 0) else { return "starting".into() };
    let doing = if stopping {
        "stopping"
    } else if node.syncing {
        "catching up"
    } else {
        "running"
    };
    let (height, view, up, peers) = (node.finalized_height, node.view, node.sessions_up, node.peers.len());
    format!("{doing}: height {height}, view {view}, {up} of {peers} peers")
}

impl Said {
    fn states(&self) -> Vec<NotifyState<'_>> {
        let flags = [(self.ready, NotifyState::Ready), (self.alive, NotifyState::Watchdog), (self.stopping, NotifyState::Stopping)];
        flags.into_iter().filter_map(|(said, state)| said.then_some(state)).chain(self.status.as_deref().map(NotifyState::Status)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(height: u64) -> NodeSnapshot {
        let mut node = NodeSnapshot { finalized_height: height, view: 9, sessions_up: 4, ..NodeSnapshot::default() };
        node.marks.total = 6;
        node
    }

    #[test]
    fn a_reactor_that_stands_still_is_not_called_alive() {
        let mut news = News::default();
        assert!(!news.look(0, false, None).alive, "no pass yet");
        assert!(news.look(1, false, None).alive);
        assert!(!news.look(1, false, Some(&node(5))).alive, "figures of the other reactor are no life sign of this one");
        assert!(news.look(2, false, None).alive);
    }

    #[test]
    fn ready_follows_the_first_pass_and_is_said_once() {
        let mut news = News::default();
        let ready: Vec<bool> = [0, 0, 3, 3, 4].map(|passes| news.look(passes, false, None).ready).into();
        assert_eq!(ready, [false, false, true, false, false]);
    }

    #[test]
    fn stopping_is_said_once_and_the_reactor_is_watched_until_its_end() {
        let mut news = News::default();
        news.look(1, false, None);
        let said = news.look(2, true, None);
        assert!(said.stopping && said.alive);
        let said = news.look(3, true, None);
        assert!(!said.stopping && said.alive);
    }

    #[test]
    fn the_line_says_what_it_does_and_only_when_that_changed() {
        let mut news = News::default();
        assert_eq!(news.look(1, false, None).status.as_deref(), Some("starting"));
        assert_eq!(news.look(2, false, Some(&node(5))).status.as_deref(), Some("running: height 5, view 9, 4 of 0 peers"));
        assert_eq!(news.look(3, false, Some(&node(5))).status, None);
        let syncing = NodeSnapshot { syncing: true, ..node(6) };
        assert!(news.look(4, false, Some(&syncing)).status.is_some_and(|status| status.starts_with("catching up")));
        assert!(news.look(5, true, Some(&syncing)).status.is_some_and(|status| status.starts_with("stopping")));
    }
}
