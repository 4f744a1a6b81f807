//! X1, X2, I6, I8, over the union of everything that was ever sent by anybody.
//!
//! What a hostile validator signed may be seen in a certificate only: its members count as if each had sent its vote.
//!
//! - X1: where a block has S-f votes, no other block of its view has 2f+1.
//! - X2: where a block has S-f votes, its view has fewer than 2f+1 nullifies.
//! - I6: a correct validator that nullifies after voting could know of 2f+1 who contradict it.
//! - I8: a correct validator enters a view only if somebody could prove that the view before may be left, and never goes back.

use super::{Checker, Court, Facts, Promise, Said, VoteSignature};
use crate::trace::{Event, What};
use samara_types::message::{ArchivedCertificate, CertificateKind, access};
use samara_types::{Digest, Subject, ValidatorIndex, View};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct Union {
    votes: BTreeMap<Digest, BTreeSet<usize>>,
    nullifies: BTreeSet<usize>,
}

/// See the module.
pub struct Quorums {
    facts: Facts,
    views: BTreeMap<View, Union>,
    /// The view of each process, if it entered one.
    entered: Vec<Option<View>>,
    nullified: BTreeSet<(usize, View)>,
}

impl Quorums {
    /// Nothing said.
    pub fn new(facts: &Facts) -> Quorums {
        Quorums { facts: facts.clone(), views: BTreeMap::new(), entered: vec![None; facts.stakes.len()], nullified: BTreeSet::new() }
    }

    /// What a hostile validator signs counts only if the signature is good.
    fn counts(&self, node: usize, subject: &Subject, signature: &VoteSignature) -> bool {
        !self.facts.hostile[node] || self.facts.cluster.roster.verify_subject(ValidatorIndex(node as u16), subject, signature)
    }

    /// Hostile members of a good certificate whose votes nobody was sent.
    fn hidden(&mut self, event: &Event, court: &mut Court) {
        let What::Sent(_, _, bytes) = &event.what else { return };
        let Some(message) = access::<ArchivedCertificate>(bytes) else { return };
        let (view, nullifies) = (View(message.view.to_native()), message.kind == CertificateKind::Nullification as u8);
        let hostile = (0..self.facts.stakes.len()).filter(|seat| self.facts.hostile[*seat]);
        let named = hostile.filter(|seat| message.signers.get(seat / 8).is_some_and(|byte| byte >> (seat % 8) & 1 == 1));
        let union = self.views.entry(view).or_default();
        let known = if nullifies { &mut union.nullifies } else { union.votes.entry(Digest(message.digest)).or_default() };
        let hidden: Vec<usize> = named.filter(|seat| !known.contains(seat)).collect();
        if !hidden.is_empty() && self.facts.cluster.roster.verify_certificate(message).is_ok() {
            known.extend(hidden);
            self.exclude(view, court);
        }
    }

    fn exclude(&self, view: View, court: &mut Court) {
        let Some(union) = self.views.get(&view) else { return };
        let weights: Vec<(Digest, u64)> = union.votes.iter().map(|(digest, seats)| (*digest, self.facts.weight(seats))).collect();
        for (final_digest, _) in weights.iter().filter(|(_, weight)| *weight >= self.facts.l) {
            if let Some((other, _)) = weights.iter().find(|(digest, weight)| digest != final_digest && *weight >= self.facts.m) {
                court.accuse(Promise::Quorums, format!("X1: view {view} finalizes {final_digest} and notarizes {other}"));
            }
            if self.facts.weight(&union.nullifies) >= self.facts.m {
                court.accuse(Promise::Quorums, format!("X2: view {view} finalizes {final_digest} and is nullified"));
            }
        }
    }

    fn may_leave(&self, view: View) -> bool {
        self.views.get(&view).is_some_and(|union| {
            self.facts.weight(&union.nullifies) >= self.facts.m
                || union.votes.values().any(|seats| self.facts.weight(seats) >= self.facts.m)
        })
    }

    /// I6, when a correct validator's nullify is first seen.
    fn may_nullify(&self, node: usize, view: View, court: &mut Court) {
        let Some(union) = self.views.get(&view) else { return };
        let Some(own) = union.votes.iter().find(|(_, seats)| seats.contains(&node)).map(|(digest, _)| *digest) else { return };
        let others = union.votes.iter().filter(|(digest, _)| **digest != own).flat_map(|(_, seats)| seats);
        let against: BTreeSet<usize> = others.chain(&union.nullifies).copied().filter(|seat| *seat != node).collect();
        if self.facts.weight(&against) < self.facts.m {
            court.accuse(Promise::Quorums, format!("I6: validator {node} nullified view {view} after voting, with {against:?} against it"));
        }
    }
}

impl Checker for Quorums {
    fn observe(&mut self, event: &Event, said: Option<&Said>, court: &mut Court) {
        let node = event.node;
        match said {
            Some(Said::Vote(view, digest, signature)) if self.counts(node, &Subject::Vote(*view, *digest), signature) => {
                let seats = self.views.entry(*view).or_default().votes.entry(*digest).or_default();
                if seats.insert(node) {
                    self.exclude(*view, court);
                }
            }
            Some(Said::Nullify(view, signature)) if self.counts(node, &Subject::Nullify(*view), signature) => {
                if !self.facts.hostile[node] && self.nullified.insert((node, *view)) {
                    self.may_nullify(node, *view, court);
                }
                if self.views.entry(*view).or_default().nullifies.insert(node) {
                    self.exclude(*view, court);
                }
            }
            Some(Said::Certificate { .. }) => self.hidden(event, court),
            _ => {}
        }
        match &event.what {
            What::Started { .. } => self.entered[node] = None,
            What::Entered(view) => {
                // The first view of a process follows from what it recovered.
                if let Some(before) = self.entered[node] {
                    if *view <= before {
                        court.accuse(Promise::Quorums, format!("I8: validator {node} went from view {before} to {view}"));
                    } else if !self.may_leave(view.previous()) {
                        court.accuse(Promise::Quorums, format!("I8: validator {node} entered view {view} without proof of the one before"));
                    }
                }
                self.entered[node] = Some(*view);
            }
            _ => {}
        }
    }
}
