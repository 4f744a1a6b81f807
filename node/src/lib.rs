//! The `samara` binary: one validator wired from the other crates, and the tools around it.
//!
//! `cli` parses and dispatches; `run` is one validator; `localnet` is many of them as child processes with load, checks and a report;
//! `load` is the client side; `inspect` reads a validator's data; `genesis`, `keys` and `config` are what a validator starts from;
//! `bench` measures our code beside its rivals.

// First: its macros are seen by all modules below.
#[macro_use]
mod stdio;

pub mod bench;
pub mod bridge;
pub mod capture;
pub mod cli;
pub mod coding;
pub mod config;
pub mod doctor;
pub mod exit;
pub mod genesis;
pub mod inspect;
pub mod keys;
pub mod load;
pub mod localnet;
pub mod logging;
pub mod manual;
pub mod metrics;
pub mod monitor;
pub mod netns;
pub mod replay;
pub mod run;
pub mod service;
pub mod sim;
pub mod study;
pub mod tune;
pub mod units;
