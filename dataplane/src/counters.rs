//! What a hot reactor counts: plain integers of its thread, published now and then into atomics that others read.
//!
//! Invariant: publishing is a store per counter, reading a load; a snapshot is as old as the last housekeeping and never blocks the reactor.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use samara_types::Class;

use crate::class::ClassReject;
use crate::port::PortStats;
use crate::port::xdp::XdpStats;
use crate::reactor::Unsent;
use crate::session::DropReason;
use crate::xdp::{Detour, LinkState};

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
    /// AF_XDP only: one at the [`LinkState`] of the interface, zero at the others. All zero where the port is another.
    xdp_link: LinkState::ALL.len();
    /// AF_XDP only: datagrams received through the ring, and through the kernel socket beside it.
    xdp_received: 2;
    /// AF_XDP only: datagrams sent through the kernel socket, by [`Detour`].
    xdp_detours: Detour::ALL.len();
    /// AF_XDP only: datagrams lost at the rings: no frame or longer than one, ring full, of a forged source, refused by the device.
    xdp_lost: 4;
    /// AF_XDP only: bad descriptors, refused descriptors, bad indices, wake-up calls that found no link, failed readings of the routing tables.
    xdp_faults: 5;
    /// AF_XDP only: wake-up calls for sending.
    xdp_wakeups: 1;
    /// AF_XDP only: next hops looked up, because the destination was new or the tables had changed.
    xdp_next_hops: 1;
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
            ("xdp_wakeups", self.xdp_wakeups),
            ("xdp_next_hops", self.xdp_next_hops),
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
        LinkState::ALL.into_iter().zip(self.xdp_link).for_each(|(state, is)| visit("xdp_link", &[("state", state.label())], is));
        Detour::ALL
            .into_iter()
            .zip(self.xdp_detours)
            .for_each(|(reason, count)| visit("xdp_detours", &[("reason", reason.label())], count));
        ["ring", "kernel"].into_iter().zip(self.xdp_received).for_each(|(path, count)| visit("xdp_received", &[("path", path)], count));
        let lost = ["receive_no_frame", "receive_ring_full", "receive_forged", "send_device"];
        lost.into_iter().zip(self.xdp_lost).for_each(|(reason, count)| visit("xdp_lost", &[("reason", reason)], count));
        let faults = ["descriptor", "descriptor_refused", "index", "link", "netlink"];
        faults.into_iter().zip(self.xdp_faults).for_each(|(kind, count)| visit("xdp_faults", &[("kind", kind)], count));
    }

    /// How the interface under an AF_XDP port is; None where the port is another.
    pub fn link(&self) -> Option<LinkState> {
        LinkState::ALL.into_iter().zip(self.xdp_link).find(|(_, is)| *is > 0).map(|(state, _)| state)
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

    pub(crate) fn take_bypass(&mut self, xdp: &XdpStats) {
        self.xdp_link = LinkState::ALL.map(|state| u64::from(state == xdp.link));
        self.xdp_received = [xdp.rx_ring, xdp.rx_kernel];
        self.xdp_detours = xdp.tx_detour;
        self.xdp_lost = [xdp.rx_drop_no_frame, xdp.rx_drop_ring_full, xdp.rx_drop_forged, xdp.tx_drop_device];
        self.xdp_faults = [xdp.descriptors_bad, xdp.descriptors_refused, xdp.indices_bad, xdp.link_errors, xdp.netlink_failures];
        self.xdp_wakeups = [xdp.kicks];
        self.xdp_next_hops = [xdp.templates];
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
    fn what_af_xdp_counts_stands_under_its_own_label() {
        let mut tx_detour = [0; Detour::ALL.len()];
        tx_detour[Detour::Down as usize] = 11;
        let (rx_ring, rx_kernel, rx_drop_no_frame, rx_drop_ring_full, tx_drop_device, rx_drop_forged) = (1, 2, 3, 4, 5, 14);
        let (descriptors_bad, descriptors_refused, indices_bad, link_errors, netlink_failures, kicks, templates) = (6, 7, 8, 9, 10, 12, 13);
        let stats = XdpStats {
            link: LinkState::Gone,
            rx_ring,
            rx_kernel,
            rx_drop_no_frame,
            rx_drop_ring_full,
            rx_drop_forged,
            descriptors_bad,
            indices_bad,
            descriptors_refused,
            tx_detour,
            tx_drop_device,
            link_errors,
            kicks,
            templates,
            netlink_failures,
        };
        let mut counters = HotSnapshot::default();
        assert_eq!(counters.link(), None, "another port");
        counters.take_bypass(&stats);
        assert_eq!(counters.link(), Some(LinkState::Gone));
        let mut seen = Vec::new();
        counters
            .for_each(|name, labels, value| seen.extend((value > 0).then(|| (name, labels.first().map_or("", |label| label.1), value))));
        seen.sort_by_key(|(name, _, value)| (*name != "xdp_link", *value));
        let expected = [
            ("xdp_link", "gone", 1),
            ("xdp_received", "ring", 1),
            ("xdp_received", "kernel", 2),
            ("xdp_lost", "receive_no_frame", 3),
            ("xdp_lost", "receive_ring_full", 4),
            ("xdp_lost", "send_device", 5),
            ("xdp_faults", "descriptor", 6),
            ("xdp_faults", "descriptor_refused", 7),
            ("xdp_faults", "index", 8),
            ("xdp_faults", "link", 9),
            ("xdp_faults", "netlink", 10),
            ("xdp_detours", "down", 11),
            ("xdp_wakeups", "", 12),
            ("xdp_next_hops", "", 13),
            ("xdp_lost", "receive_forged", 14),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn every_counter_has_labels_of_its_own() {
        let mut seen = HashSet::new();
        HotSnapshot::default().for_each(|name, labels, _| assert!(seen.insert((name, labels.to_vec())), "{name} {labels:?}"));
        assert!(seen.len() > 90, "{}", seen.len());
    }
}
