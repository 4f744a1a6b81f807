//! I2, I3, I9: what a correct validator says of a view is nothing, a vote, a nullify, or a vote and then a nullify; always the same vote, whatever
//! crashed in between; and it proposes at most one block. Every signature it sends is good.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};
use samara_types::{Digest, Record, Subject, ValidatorIndex, View};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Default)]
struct Words {
    voted: Option<Digest>,
    nullified: bool,
    proposed: Option<Digest>,
}

/// See the module.
pub struct Votes {
    facts: Facts,
    said: BTreeMap<(usize, View), Words>,
    written: BTreeMap<(usize, View), Words>,
}

impl Votes {
    /// Nothing said.
    pub fn new(facts: &Facts) -> Votes {
        Votes { facts: facts.clone(), said: BTreeMap::new(), written: BTreeMap::new() }
    }
}

impl Checker for Votes {
    fn observe(&mut self, event: &Event, said: Option<&Said>, court: &mut Court) {
        let node = event.node;
        if self.facts.hostile[node] {
            return;
        }
        if let What::Durable(record) = &event.what {
            let words = self.written.entry((node, record.view())).or_default();
            if let Err(how) = words.add(record) {
                court.accuse(Promise::OneVote, format!("validator {node} recorded in view {}: {how}", record.view()));
            }
        }
        let (record, subject, signature) = match said {
            Some(Said::Vote(view, digest, signature)) => (Record::Vote(*view, *digest), Subject::Vote(*view, *digest), signature),
            Some(Said::Nullify(view, signature)) => (Record::Nullify(*view), Subject::Nullify(*view), signature),
            _ => return,
        };
        let words = self.said.entry((node, record.view())).or_default();
        if let Err(how) = words.add(&record) {
            court.accuse(Promise::OneVote, format!("validator {node} sent in view {}: {how}", record.view()));
        }
        if !self.facts.cluster.roster.verify_subject(ValidatorIndex(node as u16), &subject, signature) {
            court.accuse(Promise::OneVote, format!("validator {node} sent a bad signature in view {}", record.view()));
        }
    }
}

impl Words {
    fn add(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Vote(_, digest) => match self.voted {
                Some(voted) if voted != *digest => return Err(format!("votes for {voted} and {digest}")),
                Some(_) => {}
                None if self.nullified => return Err(format!("a vote for {digest} after a nullify")),
                None => self.voted = Some(*digest),
            },
            Record::Nullify(_) => self.nullified = true,
            Record::Proposal(_, digest) => {
                if self.proposed.is_some_and(|proposed| proposed != *digest) {
                    return Err("two proposals".to_string());
                }
                self.proposed = Some(*digest);
            }
        }
        Ok(())
    }
}
