//! What a hot reactor counts: plain integers of its thread, published now and then into atomics that others read.
//!
//! Invariant: publishing is a store per counter, reading a load; a snapshot is as old as the last housekeeping and never blocks the reactor.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use samara_types::Class;

use crate::class::ClassReject;
use crate::port::PortStats;
use crate::reactor::Unsent;
use crate::session::DropReason;

/// What a reactor's time went into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Regime {
    /// Passes that found something to do.
    Busy = 0,
    /// Passes that found nothing, and sleep.
    Idle = 1,
    /// Housekeeping.
    Housekeeping = 2,
    /// Passes that left datagrams in the outbox, because one pass hands over a bounded share or the port takes no more.
    BackPressured = 3,
}

/// Stages of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Fetching frames from the port. Events: frames.
    Receive = 0,
    /// Opening them: header, replay window, AEAD. Events: frames.
    Open = 1,
    /// The handler, messages and passes; what it seals is part of it. Events: messages.
    Handler = 2,
    /// Handing datagrams to the port and flushing it. Events: datagrams.
    Send = 3,
}

impl Regime {
    /// All regimes.
    pub const ALL: [Regime; 4] = [Regime::Busy, Regime::Idle, Regime::Housekeeping, Regime::BackPressured];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Regime::Busy => "busy",
            Regime::Idle => "idle",
            Regime::Housekeeping => "housekeeping",
            Regime::BackPressured => "back_pressured",
        }
    }
}

impl Stage {
    /// All stages.
    pub const ALL: [Stage; 4] = [Stage::Receive, Stage::Open, Stage::Handler, Stage::Send];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Open => "open",
            Stage::Handler => "handler",
            Stage::Send => "send",
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $len:expr;)*) => {
        /// Counters of one reactor at one moment. Arrays of one are plain counters, others are indexed by the enum that their doc names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct HotSnapshot { $($(#[$doc])* pub $name: [u64; $len],)* }

        impl Default for HotSnapshot {
            fn default() -> Self {
                HotSnapshot { $($name: [0; $len],)* }
            }
        }

        /// Counters of one reactor, readable from any thread.
        #[derive(Debug)]
        pub struct HotStats { $($name: CachePadded<[AtomicU64; $len]>,)* }

        impl Default for HotStats {
            fn default() -> Self {
                HotStats { $($name: CachePadded::new([const { AtomicU64::new(0) }; $len]),)* }
            }
        }

        impl HotStats {
            /// Stores all counters.
            pub fn publish(&self, from: &HotSnapshot) {
                $(for (to, value) in self.$name.iter().zip(from.$name) { to.store(value, Ordering::Relaxed); })*
            }

            /// Loads all counters.
            pub fn snapshot(&self) -> HotSnapshot {
                let mut to = HotSnapshot::default();
                $(for (value, from) in to.$name.iter_mut().zip(self.$name.iter()) { *value = from.load(Ordering::Relaxed); })*
                to
            }
        }
    };
}

counters! {
    /// Reactor time of the publication in nanoseconds.
    published_ns: 1;
    /// Loop passes.
    passes: 1;
    /// Sleeps in the kernel.
    sleeps: 1;
    /// Nanoseconds by [`Regime`].
    regime_ns: 4;
    /// Nanoseconds by [`Stage`].
    stage_ns: 4;
    /// Events by [`Stage`].
    stage_events: 4;
    /// Datagrams given to the sessions.
    received: 1;
    /// Messages opened.
    messages: 1;
    /// Handshakes, cookies, keepalives received.
    consumed: 1;
    /// Dropped datagrams by [`DropReason`].
    dropped: DropReason::COUNT;
    /// Messages handed to the handler by class.
    admitted: 4;
    /// Refused messages: class times [`ClassReject`].
    refused: 4 * ClassReject::ALL.len();
    /// Messages sent by class.
    sent: 4;
    /// Messages not sent: class times [`Unsent`].
    unsent: 4 * Unsent::ALL.len();
    /// Handshake messages for which Diffie-Hellman was computed.
    handshakes_computed: 1;
    /// Sessions established.
    sessions_established: 1;
    /// Peers that are up.
    sessions_up: 1;
    /// Frames: total, free, held, queued, ready, kernel.
    frames: 6;
    /// Datagrams received and sent by the port.
    port_packets: 2;
    /// Bytes received and sent by the port.
    port_bytes: 2;
    /// System calls of the port.
    port_syscalls: 1;
    /// Drops of the port: kernel receive, oversize, malformed, send.
    port_drops: 4;
    /// Frames asked of the port while none was free.
    port_no_frame: 1;
}

impl HotSnapshot {
    /// Calls `visit(counter, labels, value)` for every counter; labels are shared with traces and reject enums.
    pub fn for_each(&self, mut visit: impl FnMut(&'static str, &[(&'static str, &'static str)], u64)) {
        let plain = [
            ("passes", self.passes),
            ("sleeps", self.sleeps),
            ("received", self.received),
            ("messages", self.messages),
            ("consumed", self.consumed),
            ("handshakes_computed", self.handshakes_computed),
            ("sessions_established", self.sessions_established),
            ("sessions_up", self.sessions_up),
            ("port_syscalls", self.port_syscalls),
            ("port_no_frame", self.port_no_frame),
        ];
        plain.into_iter().for_each(|(name, value)| visit(name, &[], value[0]));
        Regime::ALL.into_iter().zip(self.regime_ns).for_each(|(regime, ns)| visit("regime_ns", &[("regime", regime.as_str())], ns));
        for (stage, at) in Stage::ALL.into_iter().zip(0..) {
            visit("stage_ns", &[("stage", stage.as_str())], self.stage_ns[at]);
            visit("stage_events", &[("stage", stage.as_str())], self.stage_events[at]);
        }
        DropReason::ALL.iter().zip(self.dropped).for_each(|(reason, count)| visit("dropped", &[("reason", reason.as_str())], count));
        for class in Class::ALL {
            let label = ("class", class.as_str());
            visit("admitted", &[label], self.admitted[class as usize]);
            visit("sent", &[label], self.sent[class as usize]);
            for reason in ClassReject::ALL {
                visit("refused", &[label, ("reason", reason.as_str())], self.refused_for(class, reason));
            }
            for reason in Unsent::ALL {
                visit("unsent", &[label, ("reason", reason.as_str())], self.unsent_for(class, reason));
            }
        }
        let places = ["total", "free", "held", "queued", "ready", "kernel"];
        places.into_iter().zip(self.frames).for_each(|(place, count)| visit("frames", &[("place", place)], count));
        for (direction, at) in ["receive", "send"].into_iter().zip(0..) {
            visit("port_packets", &[("direction", direction)], self.port_packets[at]);
            visit("port_bytes", &[("direction", direction)], self.port_bytes[at]);
        }
        let drops = ["receive_kernel", "receive_oversize", "receive_malformed", "send"];
        drops.into_iter().zip(self.port_drops).for_each(|(reason, count)| visit("port_drops", &[("reason", reason)], count));
    }

    /// Messages of a class refused for a reason.
    pub fn refused_for(&self, class: Class, reason: ClassReject) -> u64 {
        self.refused[class as usize * ClassReject::ALL.len() + reason as usize]
    }

    /// Messages of a class not sent for a reason.
    pub fn unsent_for(&self, class: Class, reason: Unsent) -> u64 {
        self.unsent[class as usize * Unsent::ALL.len() + reason as usize]
    }

    /// Datagrams dropped for a reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    pub(crate) fn take_port(&mut self, port: &PortStats) {
        let frames = port.frames;
        self.frames = [frames.total, frames.free, frames.held, frames.queued, frames.ready, frames.kernel].map(|count| count as u64);
        self.port_packets = [port.rx_packets, port.tx_packets];
        self.port_bytes = [port.rx_bytes, port.tx_bytes];
        self.port_syscalls = [port.syscalls];
        self.port_drops = [port.rx_drop_kernel, port.rx_drop_oversize, port.rx_drop_malformed, port.tx_dropped()];
        self.port_no_frame = [port.tx_no_frame];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_snapshot_is_what_was_published() {
        let mut local = HotSnapshot { messages: [7], ..HotSnapshot::default() };
        local.dropped[DropReason::BadTag as usize] = 9;
        let stats = HotStats::default();
        stats.publish(&local);
        assert_eq!(stats.snapshot(), local);
    }

    #[test]
    fn every_counter_has_labels_of_its_own() {
        let mut seen = HashSet::new();
        HotSnapshot::default().for_each(|name, labels, _| assert!(seen.insert((name, labels.to_vec())), "{name} {labels:?}"));
        assert!(seen.len() > 90, "{}", seen.len());
    }
}
