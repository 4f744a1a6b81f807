//! The table of all families. A room per source; within a room, the order of `docs/metrics.md`.

mod chain;
mod dataplane;
mod machine;
mod service;

use super::picture::Picture;
use super::sample::Family;
use crate::bridge::NodeSnapshot;
use crate::service::Metrics;

/// A chapter of the reference.
pub struct Chapter {
    /// Its heading.
    pub title: &'static str,
    /// Its families.
    pub families: &'static [Family],
}

/// All chapters.
pub const CHAPTERS: &[Chapter] = &[
    Chapter { title: "Chain and consensus", families: chain::CHAIN },
    Chapter { title: "Dissemination", families: chain::DISSEMINATION },
    Chapter { title: "Peers", families: chain::PEERS },
    Chapter { title: "Hot reactor", families: dataplane::REACTOR },
    Chapter { title: "Ports", families: dataplane::PORT },
    Chapter { title: "AF_XDP", families: dataplane::XDP },
    Chapter { title: "Sessions and classes", families: dataplane::SESSION },
    Chapter { title: "Clients", families: service::CLIENTS },
    Chapter { title: "Block store and catch-up", families: service::STORE },
    Chapter { title: "Process and host", families: machine::MACHINE },
];

/// Every family.
pub fn all() -> impl Iterator<Item = &'static Family> {
    CHAPTERS.iter().flat_map(|chapter| chapter.families)
}

/// Microseconds in seconds.
const US: f64 = 1e-6;
/// Nanoseconds in seconds.
const NS: f64 = 1e-9;
/// Bounds for what takes a view or more: fine where block finality lies, 1 ms to 10 s. Seconds.
const LONG: &[f64] = &[
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0,
    10.0,
];
/// Bounds for single steps and writes: 10 us to 1 s. Seconds.
const SHORT: &[f64] = &[
    0.00001, 0.00002, 0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
    0.5, 1.0,
];

/// The published figures, if there are any.
fn metrics(picture: &Picture) -> Option<&Metrics> {
    picture.metrics.as_deref()
}

/// The hot reactor's part of them, once it has published.
fn node(picture: &Picture) -> Option<&NodeSnapshot> {
    metrics(picture).map(|metrics| &metrics.node).filter(|node| node.marks.total > 0)
}

#[cfg(test)]
mod tests;
