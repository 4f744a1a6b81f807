//! I25: whatever a correct validator signs is on its disk before it is on the wire, and a record reaches the log after the body it votes for.
//!
//! Votes and nullifies are recognized by their content. A block's own shreds and announcements carry its view: the leader of a view sends the
//! first of them, so its proposal's record must be durable by then.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};
use samara_types::{Digest, MessageKind, Record, ShredHeader, View};
use std::collections::BTreeSet;

/// See the module.
pub struct Durability {
    facts: Facts,
    durable: BTreeSet<(usize, u8, View, Digest)>,
    bodies: BTreeSet<(usize, View, Digest)>,
    /// Records that were asked for with a body.
    with_body: BTreeSet<(usize, u8, View, Digest)>,
}

fn key(node: usize, record: &Record) -> (usize, u8, View, Digest) {
    let kind = match record {
        Record::Vote(..) => 0,
        Record::Nullify(_) => 1,
        Record::Proposal(..) => 2,
    };
    (node, kind, record.view(), record.digest())
}

impl Durability {
    /// Nothing on disk.
    pub fn new(facts: &Facts) -> Durability {
        Durability { facts: facts.clone(), durable: BTreeSet::new(), bodies: BTreeSet::new(), with_body: BTreeSet::new() }
    }

    fn proposal_is_durable(&self, node: usize, view: View) -> bool {
        let all = (node, 2, view, Digest([0; 32]))..=(node, 2, view, Digest([0xff; 32]));
        self.durable.range(all).next().is_some()
    }
}

impl Checker for Durability {
    fn observe(&mut self, event: &Event, said: Option<&Said>, court: &mut Court) {
        let node = event.node;
        if self.facts.hostile[node] {
            return;
        }
        match &event.what {
            // What a dead process asked for and did not get may be asked for again without a body, on the strength of a certificate.
            What::Started { .. } => self.with_body.retain(|(of, ..)| *of != node),
            What::Persist(record, true) => {
                self.with_body.insert(key(node, record));
            }
            What::BodyDurable(block) => {
                self.bodies.insert((node, block.header().view, block.digest()));
            }
            What::Durable(record) => {
                let key = key(node, record);
                if self.with_body.contains(&key) && !self.bodies.contains(&(node, key.2, key.3)) {
                    court.accuse(Promise::Durability, format!("validator {node} logged {record:?} before its body was durable"));
                }
                self.durable.insert(key);
            }
            What::Sent(_, MessageKind::Shred | MessageKind::Announce, bytes) => {
                let Some(view) = ShredHeader::view_of(bytes) else { return };
                if self.facts.schedule.leader(view).at() == node && !self.proposal_is_durable(node, view) {
                    court.accuse(
                        Promise::Durability,
                        format!("validator {node} sent its block of view {view} before the record was durable"),
                    );
                }
            }
            _ => {}
        }
        let record = match said {
            Some(Said::Vote(view, digest, _)) => Record::Vote(*view, *digest),
            Some(Said::Nullify(view, _)) => Record::Nullify(*view),
            _ => return,
        };
        if !self.durable.contains(&key(node, &record)) {
            court.accuse(Promise::Durability, format!("validator {node} sent {record:?} before it was durable"));
        }
    }
}
