//! Metrics of a running validator over HTTP: `/metrics` for Prometheus, `/snapshot` for `samara monitor`.
//!
//! ```text
//! hot reactor -- housekeeping --> HotStats (atomics) ------------------------------+
//!     \-- once a second --> NodeSnapshot -> service reactor: telemetry -> Published +--> Picture -> FAMILIES -> text, JSON
//!                                                        \-> metrics.json           |
//! /proc, directory sizes: read by the endpoint's thread at a scrape ----------------+
//! ```
//! The endpoint is an ordinary thread with a tokio executor of its own. It reads what both reactors publish anyway and formats it when
//! somebody asks, so a reactor pays nothing for being watched. Every family stands in one table ([`families::all`]) with its name, unit,
//! labels and the function that fills it; `docs/metrics.md`, the dashboards' and the alert rules' names are checked against that table.
//! Labels that name a reason are the strings of the reject enums.
//!
//! Invariants: a scrape never waits for a reactor; a figure that was not published yet is absent, not zero; names and labels are stable.

pub mod exposition;
pub mod families;
pub mod picture;
pub mod reference;
pub mod sample;
mod server;

pub use picture::{Picture, Source};
pub use server::Endpoint;

use crate::service::Metrics;
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the file in a validator's directory that tells where its endpoint is.
pub const URL_FILE: &str = "metrics.url";

/// The last published figures: the service reactor stores them, the endpoint reads them. A lock is held for the copy of a pointer.
#[derive(Debug, Default)]
pub struct Published(Mutex<Option<Arc<Metrics>>>);

impl Published {
    /// Replaces the figures.
    pub fn set(&self, metrics: Arc<Metrics>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(metrics);
    }

    /// The last figures, if there are any.
    pub fn get(&self) -> Option<Arc<Metrics>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
