//! `samara localnet`: a whole cluster as child processes of one command, load through its client doors, checks, and a report.
//!
//! ```text
//! genesis (or the chain in --dir) -> one `samara run` per validator -> doors answer -> load, kills, restarts
//!   -> stop offering -> drain -> SIGTERM all -> read every store -> agreement, duplicates, lost -> table or JSON, report directory
//! ```
//! Everything that is checked is read from the validators' own stores and from what clients were told; nothing is taken from a
//! validator's word about itself but the timings.

pub mod cluster;
mod compare;
mod lan;
mod plots;
pub(crate) mod process;
mod progress;
pub(crate) mod report;
mod run;
mod schedule;
mod verify;

pub use run::command;
pub(crate) use run::git_commit;
