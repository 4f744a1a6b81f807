//! I15: whoever is accused by a correct validator is hostile, and who gave himself away to one is accused by it.
//!
//! The second half is promised where one process holds the proof: two votes of one signer in a view, both good, before the view is final to it, once a
//! process and signer (who is convicted is not judged again); two
//! slices of one place under two signatures of the view's leader. What can be proven to nobody (a bad signature, a wrong seat) is found when it
//! gets in the way, if ever. Not promised either: what a sender says after a bad signature (it is not listened to any more), and slices of a
//! block that is known to be malformed.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};
use samara_types::message::{ArchivedNullify, ArchivedVote, access};
use samara_types::{Digest, Height, MessageKind, Offence, ShredHeader, Subject, ValidatorIndex, View};
use std::collections::{BTreeMap, BTreeSet};
use zerocopy::FromBytes;

/// Restated from the limits of consensus and rotor: votes and shreds further ahead are not taken.
const VIEWS_AHEAD: u64 = 64;
/// With more open views than this, votes of old ones may be forgotten.
const VIEWS_OPEN: u64 = 512;

/// What one process heard of hostile ones in views that are not final to it.
#[derive(Default)]
struct Ear {
    tip: View,
    votes: BTreeMap<(View, usize), BTreeSet<Digest>>,
    slices: BTreeMap<(View, u32), [u8; 64]>,
    accused: BTreeSet<(View, usize, Offence)>,
    /// Whose votes are not listened to any more.
    deaf_to: BTreeSet<usize>,
    /// Who was accused of two votes in whatever view.
    convicted: BTreeSet<usize>,
}

impl Ear {
    fn final_up_to(&mut self, tip: View) {
        self.tip = tip;
        self.votes = self.votes.split_off(&(tip.next(), 0));
        self.slices = self.slices.split_off(&(tip.next(), 0));
        self.accused = self.accused.split_off(&(tip.next(), 0, Offence::ALL[0]));
    }

    fn takes(&self, view: View, inside: View) -> bool {
        view > self.tip && view.0 <= inside.0 + VIEWS_AHEAD && inside.0 <= self.tip.0 + VIEWS_OPEN
    }
}

/// See the module.
pub struct Guilt {
    facts: Facts,
    ears: Vec<Ear>,
    /// The view of each final height.
    heights: BTreeMap<Height, View>,
}

impl Guilt {
    /// Who is hostile is known.
    pub fn new(facts: &Facts) -> Guilt {
        let ears = facts.stakes.iter().map(|_| Ear::default()).collect();
        Guilt { facts: facts.clone(), ears, heights: BTreeMap::from([(Height(0), View(0))]) }
    }

    /// A process that was in view `inside` has taken this message to the end.
    fn heard(&mut self, node: usize, from: usize, kind: MessageKind, bytes: &[u8], inside: View, court: &mut Court) {
        match kind {
            MessageKind::Vote => {
                let Some(vote) = access::<ArchivedVote>(bytes) else { return };
                let subject = Subject::Vote(View(vote.view.to_native()), Digest(vote.digest));
                if self.listens(node, from, &subject, &vote.signature) {
                    self.voted(node, from, &subject, inside, court);
                }
            }
            MessageKind::Nullify => {
                let Some(nullify) = access::<ArchivedNullify>(bytes) else { return };
                self.listens(node, from, &Subject::Nullify(View(nullify.view.to_native())), &nullify.signature);
            }
            MessageKind::Shred => self.shred(node, from, bytes, inside, court),
            _ => {}
        }
    }

    fn listens(&mut self, node: usize, from: usize, subject: &Subject, signature: &super::VoteSignature) -> bool {
        let ear = &mut self.ears[node];
        if !ear.deaf_to.contains(&from) && !self.facts.cluster.roster.verify_subject(ValidatorIndex(from as u16), subject, signature) {
            ear.deaf_to.insert(from);
        }
        !ear.deaf_to.contains(&from)
    }

    fn voted(&mut self, node: usize, from: usize, subject: &Subject, inside: View, court: &mut Court) {
        let (ear, view) = (&mut self.ears[node], subject.view());
        if !ear.takes(view, inside) {
            return;
        }
        let votes = ear.votes.entry((view, from)).or_default();
        votes.insert(subject.digest());
        if votes.len() > 1 && !ear.convicted.contains(&from) {
            court.accuse(
                Promise::Evidence,
                format!("validator {node} heard two votes of validator {from} in view {view} and does not accuse it"),
            );
        }
    }

    /// A correct relay sends on what its leader signed; two signatures for one slice are two slices.
    fn shred(&mut self, node: usize, from: usize, bytes: &[u8], inside: View, court: &mut Court) {
        let Ok((header, _)) = ShredHeader::ref_from_prefix(bytes) else { return };
        let (ear, view) = (&mut self.ears[node], View(header.view.get()));
        let leader = self.facts.schedule.leader(view).at();
        if self.facts.hostile[from] || !self.facts.hostile[leader] || !ear.takes(view, inside) {
            return;
        }
        let first = *ear.slices.entry((view, u32::from(header.slice.get()))).or_insert(header.signature);
        let known =
            [Offence::LeaderEquivocation, Offence::MalformedBlock].iter().any(|offence| ear.accused.contains(&(view, leader, *offence)));
        if first != header.signature && !known {
            let text = format!(
                "validator {node} holds two slices {} of leader {leader} in view {view} and does not accuse it",
                header.slice.get()
            );
            court.accuse(Promise::Evidence, text);
        }
    }
}

impl Checker for Guilt {
    fn observe(&mut self, event: &Event, _: Option<&Said>, court: &mut Court) {
        let node = event.node;
        match &event.what {
            What::Started { height, .. } => {
                let tip = self.heights.get(height).copied().unwrap_or_default();
                self.ears[node] = Ear { tip, ..Ear::default() };
            }
            What::Finalized(finalized) => {
                self.heights.insert(finalized.header.height, finalized.header.view);
                self.ears[node].final_up_to(finalized.header.view);
            }
            What::Heard { from, kind, bytes, inside } => self.heard(node, *from, *kind, bytes, *inside, court),
            What::Accused(evidence) => {
                let accused = evidence.accused.at();
                if self.facts.hostile.get(accused) != Some(&true) {
                    let text = format!(
                        "validator {node} accuses the correct validator {accused} of {} in view {}",
                        evidence.offence.as_str(),
                        evidence.view
                    );
                    return court.accuse(Promise::Evidence, text);
                }
                let ear = &mut self.ears[node];
                ear.accused.insert((evidence.view, accused, evidence.offence));
                match evidence.offence {
                    Offence::BadVoteSignature => drop(ear.deaf_to.insert(accused)),
                    Offence::VoteEquivocation => drop(ear.convicted.insert(accused)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}
