//! One validator as a pure machine: Rotor, Minimmit and the mempool in one loop, and what must be durable before what is sent.
//!
//! ```text
//! Shred, Announce, Manifest ──> rotor::Reassembly ──block──> consensus::Consensus ──Persist──> log ──Persisted──┐
//! Vote, Nullify, Certificate ──────────────────────────────>        │      ^                                    │
//! Submit, Gossip ──> mempool <──propose, verify, finalize────────────┘      └──── signed messages released ◄────┘
//! ```
//! The owner calls [`Validator::handle`] with an [`Outlet`] to write messages into (a reactor seals them straight into the peers' frames),
//! then drains [`Validator::poll`] and answers [`Output::Persist`] with [`Input::Persisted`]. The same code runs under the reactor and in a
//! simulator. No clock, no I/O, no randomness; everything a peer can make grow has a bound in its room.

#![forbid(unsafe_code)]

pub mod catch_up;
mod gossip;
pub mod input_log;
mod machine;
mod outlet;
pub mod playback;
pub mod restart;
#[cfg(test)]
mod tests;

pub use machine::{Config, Counters, Input, Milestone, Output, Validator};
pub use outlet::{Outlet, Stage};
