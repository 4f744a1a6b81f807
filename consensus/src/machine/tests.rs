//! The machine against the reference's scenarios, through an in-memory cluster with a virtual clock.

mod cluster;
mod crash;
mod regressions;
mod scenarios;
mod thresholds;
