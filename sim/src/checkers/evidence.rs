//! I15: whoever is accused by a correct validator is hostile.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};

/// See the module.
pub struct Guilt {
    hostile: Vec<bool>,
}

impl Guilt {
    /// Who is hostile is known.
    pub fn new(facts: &Facts) -> Guilt {
        Guilt { hostile: facts.hostile.clone() }
    }
}

impl Checker for Guilt {
    fn observe(&mut self, event: &Event, _: Option<&Said>, court: &mut Court) {
        if let What::Accused(evidence) = &event.what
            && !self.hostile.get(evidence.accused.at()).copied().unwrap_or(false)
        {
            let text = format!(
                "validator {} accuses the correct validator {} of {} in view {}",
                event.node,
                evidence.accused,
                evidence.offence.as_str(),
                evidence.view
            );
            court.accuse(Promise::Evidence, text);
        }
    }
}
