//! Deterministic whole-cluster simulation of the code that runs in production: one thread, virtual time, one seed, one digest.
//!
//! ```text
//! swarm, scenarios ── Plan ──> World { queue, Network, Actor::{Honest(Node), Hostile}, Clients } ── Event ──> checkers ──> Outcome
//!                                          Node = samara_validator + samara_storage over Disk and Clock          runner, report
//! ```
//! | module | what it is |
//! |---|---|
//! | `swarm` | a run as data ([`swarm::Plan`]), and the generator of the default sweep |
//! | `scenarios` | named runs |
//! | `world` | the queue, phases, faults; calls actors, carries out their effects |
//! | `actor`, `hostile` | who sits in a seat; hostile modules |
//! | `node`, `disk`, `clock`, `catch_up` | the wiring of one honest validator |
//! | `net` | datagrams between machines |
//! | `clients`, `kit` | transactions; keys, rosters and remembered verdicts |
//! | `trace`, `checkers` | what is observed; what must hold |
//! | `mutants` | known bugs, each killed by a named scenario |
//! | `plan_file` | a plan as a file: what a failing seed leaves, what `--replay` runs |
//! | `search` | exhaustive exploration of the rules, shrinking of failing plans |
//! | `runner`, `report` | many seeds on many threads; JSON and text |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod actor;
pub mod catch_up;
pub mod checkers;
pub mod clients;
pub mod clock;
pub mod dice;
pub mod disk;
pub mod hostile;
pub mod kit;
pub mod mutants;
pub mod net;
pub mod node;
pub mod plan_file;
pub mod report;
pub mod runner;
pub mod scenarios;
pub mod search;
pub mod study;
pub mod swarm;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod world;

pub use checkers::{Promise, Violation};
pub use kit::Kit;
pub use report::Report;
pub use swarm::Plan;
pub use world::{Outcome, World};
