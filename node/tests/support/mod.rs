//! A genuine cluster of six in which a test holds seat 5: five `samara run` processes, and a puppet that speaks for the sixth.
//!
//! ```text
//! genesis (real binary) -> five processes + Puppet (real port, sessions and validator machine, the member's own key file)
//!   -> load through the five doors -> the conduct under test -> SIGTERM -> `samara inspect` of each directory, logs, acknowledgements
//! ```
//! The puppet follows the chain with the same machine as the others; a [`puppet::Conduct`] decides what becomes of what it says, and adds
//! to it. A test judges by what the real binary shows of the five.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod cluster;
pub mod forge;
pub mod puppet;

use samara_types::ValidatorIndex;

/// The seat a test holds.
pub const HOSTILE: ValidatorIndex = ValidatorIndex(5);
/// The seats of the others.
pub const HONEST: std::ops::Range<usize> = 0..5;
