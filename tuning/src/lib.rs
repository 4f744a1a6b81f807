//! Measures the host, plans and applies reversible settings.
//!
//! ```text
//! profile (TOML) + host -> plan -> apply -> journal of prior values -> check, revert
//! ```
//!
//! [`host`] is the only way to the machine: procfs, sysfs and ethtool under a root that a test may replace. [`profile`] says what is
//! wanted and why, [`plan`] what that means here, [`apply`](mod@apply) changes it, [`revert`](mod@revert) puts it back, both by
//! [`restore`](mod@restore), [`state`] and [`journal`] remember in between, [`persist`] writes the form that survives a reboot. [`doctor`] looks at the rest: what is, what it
//! costs, what repairs it.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod apply;
pub mod doctor;
pub mod host;
pub mod journal;
pub mod persist;
pub mod plan;
pub mod profile;
pub mod restore;
pub mod revert;
pub mod state;
#[allow(unsafe_code)]
mod sys;
pub mod target;
