//! Deterministic whole-cluster simulation of the code that runs in production.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
pub mod study;
