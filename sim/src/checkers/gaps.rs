//! I12: between a final block and its parent every view was nullified: 2f+1 said so, whoever they are. I10: the certificate that makes a block
//! final has S-f.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};
use samara_types::View;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub struct Gaps {
    facts: Facts,
    nullifies: BTreeMap<View, BTreeSet<usize>>,
}

impl Gaps {
    /// Nothing said.
    pub fn new(facts: &Facts) -> Gaps {
        Gaps { facts: facts.clone(), nullifies: BTreeMap::new() }
    }

    fn is_nullified(&self, view: View) -> bool {
        self.nullifies.get(&view).is_some_and(|seats| self.facts.weight(seats) >= self.facts.m)
    }
}

impl Checker for Gaps {
    fn observe(&mut self, event: &Event, said: Option<&Said>, court: &mut Court) {
        if let Some(Said::Nullify(view, _)) = said {
            self.nullifies.entry(*view).or_default().insert(event.node);
        }
        let What::Finalized(finalized) = &event.what else { return };
        let header = &finalized.header;
        if let Some(certificate) = &finalized.certificate {
            let bit = |seat: &usize| certificate.signers.get(seat / 8).is_some_and(|byte| byte >> (seat % 8) & 1 == 1);
            let weight = self.facts.weight(&(0..self.facts.stakes.len()).filter(bit).collect::<Vec<_>>());
            if weight < self.facts.l {
                court.accuse(Promise::Certificates, format!("I10: view {} is final with {weight} of {}", header.view, self.facts.l));
            }
        }
        if let Some(view) = (header.parent_view.0 + 1..header.view.0).map(View).find(|view| !self.is_nullified(*view)) {
            let text = format!("I12: view {} is final on view {}, view {view} between was not nullified", header.view, header.parent_view);
            court.accuse(Promise::Quorums, text);
        }
    }
}
