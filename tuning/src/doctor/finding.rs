//! What the doctor says, in the form that table and JSON share.

use crate::host::HostError;
use serde::Serialize;
use std::fmt::Display;

/// How bad it is. Only [`Severity::Fail`] makes the command end with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Nothing to repair, or nothing to see.
    Info,
    /// Samara runs, slower or with losses.
    Warn,
    /// Samara does not run here, or will hang.
    Fail,
}

impl Severity {
    /// As in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Info => "info",
            Severity::Warn => "warn",
            Severity::Fail => "fail",
        }
    }
}

/// One fact about the host, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name; behind a colon the interface, where there is one.
    pub id: String,
    /// The judgement.
    pub severity: Severity,
    /// What is.
    pub is: String,
    /// What should be.
    pub should: String,
    /// Why it matters to Samara.
    pub why: String,
    /// What the present state costs, measured on this host where that is possible.
    pub cost: String,
    /// The command or boot parameter that repairs it; empty when there is nothing to repair or nothing that does.
    pub fix: String,
    /// The file or the ethtool item it was read from, or how it was measured.
    pub source: String,
}

impl Finding {
    /// A fact in order until [`Finding::worse`] says otherwise.
    pub(super) fn new(id: impl Display, is: impl Display, should: impl Display, source: impl Display) -> Finding {
        Finding {
            id: id.to_string(),
            severity: Severity::Ok,
            is: is.to_string(),
            should: should.to_string(),
            why: String::new(),
            cost: String::new(),
            fix: String::new(),
            source: source.to_string(),
        }
    }

    /// A file that could not be read: nothing is judged.
    pub(super) fn unread(id: impl Display, should: impl Display, source: impl Display, error: &HostError) -> Finding {
        let is = match error {
            HostError::Absent(_) => "not here".to_string(),
            HostError::NotPermitted(_) => "not visible without root".to_string(),
            error => error.to_string(),
        };
        Finding::new(id, is, should, source).judged(Severity::Info)
    }

    pub(super) fn why(mut self, why: &str) -> Finding {
        self.why = why.to_string();
        self
    }

    pub(super) fn judged(mut self, severity: Severity) -> Finding {
        self.severity = severity;
        self
    }

    pub(super) fn cost(mut self, cost: impl Display) -> Finding {
        self.cost = cost.to_string();
        self
    }

    /// When `bad`: the severity and the command that repairs it.
    pub(super) fn worse(mut self, bad: bool, severity: Severity, fix: impl Display) -> Finding {
        if bad {
            self.severity = severity;
            self.fix = fix.to_string();
        }
        self
    }
}
