//! Measures the host, plans and applies reversible settings.
//!
//! [`host`] is the only way to the machine: procfs, sysfs and ethtool under a root that a test may replace.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod host;
#[allow(unsafe_code)]
mod sys;
