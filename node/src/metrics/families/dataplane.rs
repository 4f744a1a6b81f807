//! The hot reactor's own counters, read from its atomics at the scrape: reactor, port, sessions, classes.
//!
//! The dataplane names its counters and labels (`HotSnapshot::for_each`); each family here says which counter it shows. A test fails when
//! the dataplane counts something that no family shows.

use super::NS;
use crate::metrics::picture::Picture;
use crate::metrics::sample::{Emit, Family};

/// The reactor's label: one per validator so far.
const HOT: &[&str] = &["hot"];
/// The port's receive and send queue: one per reactor so far.
const QUEUE: &[&str] = &["0"];

/// Emits a counter under `fixed` labels followed by its own.
fn show(picture: &Picture, emit: &mut Emit, counter: &str, fixed: &[&str], unit: f64) {
    picture.hot.for_each(|name, labels, value| {
        if name == counter {
            let all: Vec<&str> = fixed.iter().copied().chain(labels.iter().map(|(_, value)| *value)).collect();
            emit.number(&all, value as f64 * unit);
        }
    });
}

/// A family that shows one counter of the dataplane.
macro_rules! hot {
    ($kind:ident $name:literal $labels:expr, $counter:literal under $fixed:expr, $unit:expr, $help:literal) => {
        Family::$kind($name, $labels, $help, |picture, emit| show(picture, emit, $counter, $fixed, $unit))
    };
}

pub const REACTOR: &[Family] = &[
    hot!(counter "samara_reactor_seconds" &["reactor", "regime"], "regime_ns" under HOT, NS,
        "Time of a reactor by regime: busy, idle (sleep included), housekeeping, back_pressured (busy, and datagrams stayed in the outbox)."),
    hot!(counter "samara_reactor_stage_seconds" &["reactor", "stage"], "stage_ns" under HOT, NS,
        "Wall time of a reactor's passes by stage, where the stage found work: receive, open, handler, send."),
    hot!(counter "samara_reactor_stage_events" &["reactor", "stage"], "stage_events" under HOT, 1.0,
        "Events by stage: frames received, frames opened, messages handled, datagrams sent."),
    hot!(counter "samara_reactor_passes" &["reactor"], "passes" under HOT, 1.0, "Loop passes."),
    hot!(counter "samara_reactor_sleeps" &["reactor"], "sleeps" under HOT, 1.0, "Sleeps in the kernel."),
];

pub const PORT: &[Family] = &[
    hot!(counter "samara_port_packets" &["queue", "direction"], "port_packets" under QUEUE, 1.0, "Datagrams received and sent."),
    hot!(counter "samara_port_bytes" &["queue", "direction"], "port_bytes" under QUEUE, 1.0, "UDP payload bytes received and sent."),
    hot!(counter "samara_port_drops" &["queue", "reason"], "port_drops" under QUEUE, 1.0,
        "Datagrams dropped at the port: by the kernel (its buffer was full, no frame was free, longer than a frame), oversize, malformed or forged, not sent."),
    hot!(counter "samara_port_no_frame" &["queue"], "port_no_frame" under QUEUE, 1.0, "Frames asked of the port while none was free."),
    hot!(counter "samara_port_syscalls" &["queue"], "port_syscalls" under QUEUE, 1.0, "System calls of the port."),
    hot!(gauge "samara_port_frames" &["queue", "place"], "frames" under QUEUE, 1.0,
        "Frames of the port's pool by place: total, free, held, queued, ready, kernel."),
];

/// Those of AF_XDP stand only where the port is one.
macro_rules! xdp {
    ($kind:ident $name:literal $labels:expr, $counter:literal, $help:literal) => {
        Family::$kind($name, $labels, $help, |picture, emit| {
            if picture.hot.link().is_some() {
                show(picture, emit, $counter, QUEUE, 1.0);
            }
        })
    };
}

pub const XDP: &[Family] = &[
    xdp!(gauge "samara_xdp_link" &["queue", "state"], "xdp_link",
        "1 at the state of the interface: up, no_carrier, down, gone (deleted or moved away; only a restart attaches to another)."),
    xdp!(counter "samara_xdp_received" &["queue", "path"], "xdp_received",
        "Datagrams received: through the ring, or through the kernel socket beside it (other queues and interfaces, fragments)."),
    xdp!(counter "samara_xdp_detours" &["queue", "reason"], "xdp_detours",
        "Datagrams given to the kernel socket to send, by reason: local, no_route, other_interface, down, unresolved, stale, special (multicast, several paths, tunnels), undecided (policy routing, too many routes), no_queue (of a send shard without a queue)."),
    xdp!(counter "samara_xdp_lost" &["queue", "reason"], "xdp_lost",
        "Of samara_port_drops, those at the rings: receive_no_frame (or longer than a frame), receive_ring_full, receive_forged (a source that no packet can have, or an address of this host), send_device (the device refused, or has no carrier)."),
    xdp!(counter "samara_xdp_faults" &["queue", "kind"], "xdp_faults",
        "Descriptors of the kernel that were not ours, of ours that it refused, ring indices without sense, wake-up calls that found no link, failed readings of the routing tables."),
    xdp!(counter "samara_xdp_wakeups" &["queue"], "xdp_wakeups", "Wake-up calls for sending."),
    xdp!(counter "samara_xdp_next_hops" &["queue"], "xdp_next_hops", "Next hops looked up: a new destination, or routes or neighbours changed."),
];

pub const SESSION: &[Family] = &[
    hot!(counter "samara_session_datagrams" &[], "received" under &[], 1.0, "Datagrams given to the sessions: messages + consumed + drops."),
    hot!(counter "samara_session_messages" &[], "messages" under &[], 1.0, "Of them, messages opened."),
    hot!(counter "samara_session_consumed" &[], "consumed" under &[], 1.0, "Of them, handshakes, cookies, keepalives and pings."),
    hot!(counter "samara_session_drops" &["reason"], "dropped" under &[], 1.0, "Of them, dropped, by reason."),
    hot!(counter "samara_session_handshakes_computed" &[], "handshakes_computed" under &[], 1.0,
        "Handshake messages that cost a Diffie-Hellman."),
    hot!(counter "samara_sessions_established" &[], "sessions_established" under &[], 1.0, "Sessions established."),
    hot!(gauge "samara_sessions_heard" &[], "sessions_up" under &[], 1.0,
        "Peers with a session that was heard lately, as the reactor says (samara_sessions_up is the same up to a second ago)."),
    hot!(counter "samara_messages_admitted" &["class"], "admitted" under &[], 1.0, "Messages handed to the validator, by class."),
    hot!(counter "samara_messages_refused" &["class", "reason"], "refused" under &[], 1.0,
        "Messages refused by admission: rate limits and sizes of their class."),
    hot!(counter "samara_messages_sent" &["class"], "sent" under &[], 1.0, "Messages handed to the port, by class."),
    hot!(counter "samara_messages_unsent" &["class", "reason"], "unsent" under &[], 1.0, "Messages not sent, by class and reason."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_counter_of_the_dataplane_is_shown_once() {
        let mut picture = Picture::default();
        picture.hot.xdp_link[0] = 1;
        let mut expected = BTreeSet::new();
        picture.hot.for_each(|name, labels, _| {
            expected.insert((name, labels.len()));
        });
        let families = || [REACTOR, PORT, XDP, SESSION].into_iter().flatten();
        // With every counter at one, the sum over all families tells how many values are shown.
        let values = {
            let mut values = 0;
            picture.hot.for_each(|_, _, _| values += 1);
            values
        };
        let shown: usize = families().map(|family| family.samples(&picture).len()).sum();
        assert_eq!(shown, values, "a counter of {expected:?} has no family, or two");
        picture.hot.xdp_link[0] = 0;
        assert!(XDP.iter().all(|family| family.samples(&picture).is_empty()), "nothing of AF_XDP where the port is another");
        picture.hot.dropped[3] = 7;
        let drops = families().find(|family| family.name == "samara_session_drops").unwrap().samples(&picture);
        let reason = samara_dataplane::session::DropReason::ALL[3].as_str();
        let at_seven: Vec<_> = drops.iter().filter(|sample| sample.value == crate::metrics::sample::Value::Number(7.0)).collect();
        assert_eq!((at_seven.len(), at_seven[0].labels[0].as_str()), (1, reason), "the label is the enum's string");
    }
}
