//! What a sweep found, as JSON and as text.

use crate::swarm::Plan;
use crate::world::Outcome;
use samara_types::Digest;
use serde::Serialize;
use std::fmt::Write;

/// The stable JSON of `samara sim`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Number of seeds.
    pub seeds: u64,
    /// Sum of the highest views.
    pub views: u64,
    /// Broken promises.
    pub violations: Vec<Broken>,
    /// BLAKE3 over the digests of all seeds in order.
    pub digest: String,
    /// Views that took longer than I16 allows and had an excuse: a body of a hostile leader that had to be fetched.
    pub excused: u64,
    /// Views a second, all threads together.
    pub views_per_s: f64,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The seed that shows it.
    pub seed: u64,
    /// Whose promise it is.
    pub checker: &'static str,
    /// How.
    pub detail: String,
}

impl Report {
    /// Of outcomes in seed order, which took so many seconds.
    pub fn new(outcomes: &[Outcome], seconds: f64) -> Report {
        let mut hasher = blake3::Hasher::new_derive_key("samara 2026 simulator sweep");
        for outcome in outcomes {
            hasher.update(&outcome.seed.to_le_bytes());
            hasher.update(&outcome.digest.0);
        }
        let views = outcomes.iter().map(|outcome| outcome.views).sum();
        let broken = |outcome: &Outcome| {
            let seed = outcome.seed;
            let one = move |violation: &crate::Violation| Broken {
                seed,
                checker: violation.promise.as_str(),
                detail: format!("at {:.3} ms: {}", violation.at.0 as f64 / 1e6, violation.detail),
            };
            outcome.violations.iter().map(one).collect::<Vec<_>>()
        };
        Report {
            seeds: outcomes.len() as u64,
            views,
            violations: outcomes.iter().flat_map(broken).collect(),
            digest: Digest(*hasher.finalize().as_bytes()).hex(),
            excused: outcomes.iter().map(|outcome| outcome.excused).sum(),
            views_per_s: views as f64 / seconds.max(1e-9),
        }
    }
}

/// A failing seed for people: its plan first.
pub fn failure(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = plan.to_string();
    for violation in &outcome.violations {
        let ms = violation.at.0 as f64 / 1e6;
        writeln!(text, "  VIOLATION {} at {ms:.3} ms: {}", violation.promise.as_str(), violation.detail).expect("a String takes all");
    }
    text
}
