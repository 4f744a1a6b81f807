//! I10, I11: a certificate that leaves a correct validator has members whose stake reaches its threshold, each of whom sent that very vote; its
//! signature is good; and no view has more notarized blocks than the arithmetic allows.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, What};
use samara_types::message::{ArchivedCertificate, access};
use samara_types::{Digest, View};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub struct Certificates {
    facts: Facts,
    /// Who sent which vote (with a digest) or nullify (without).
    sent: BTreeMap<(View, Option<Digest>), BTreeSet<usize>>,
    notarized: BTreeMap<View, BTreeSet<Digest>>,
    seen: BTreeSet<[u8; 32]>,
}

impl Certificates {
    /// Nothing sent.
    pub fn new(facts: &Facts) -> Certificates {
        Certificates { facts: facts.clone(), sent: BTreeMap::new(), notarized: BTreeMap::new(), seen: BTreeSet::new() }
    }

    fn check(&self, view: View, digest: Digest, kind: u8, bitmap: &[u8]) -> Result<(), String> {
        let threshold = match kind {
            0 | 1 => self.facts.m,
            2 => self.facts.l,
            _ => return Err(format!("unknown kind {kind}")),
        };
        if kind == 0 && digest != Digest([0; 32]) {
            return Err("a nullification that names a block".to_string());
        }
        let members: Vec<usize> = (0..bitmap.len() * 8).filter(|seat| bitmap[seat / 8] >> (seat % 8) & 1 == 1).collect();
        if members.iter().any(|seat| *seat >= self.facts.stakes.len()) {
            return Err(format!("members {members:?} outside the set"));
        }
        let weight = self.facts.weight(&members);
        if weight < threshold {
            return Err(format!("{members:?} weigh {weight}, needed are {threshold}"));
        }
        let nobody = BTreeSet::new();
        let sent = self.sent.get(&(view, (kind != 0).then_some(digest))).unwrap_or(&nobody);
        match members.iter().find(|seat| !self.facts.hostile[**seat] && !sent.contains(seat)) {
            Some(seat) => Err(format!("validator {seat} is a member and never sent this")),
            None => Ok(()),
        }
    }
}

impl Checker for Certificates {
    fn observe(&mut self, event: &Event, said: Option<&Said>, court: &mut Court) {
        match said {
            Some(Said::Vote(view, digest, _)) => {
                self.sent.entry((*view, Some(*digest))).or_default().insert(event.node);
            }
            Some(Said::Nullify(view, _)) => {
                self.sent.entry((*view, None)).or_default().insert(event.node);
            }
            Some(Said::Certificate { view, digest, kind, signers }) if !self.facts.hostile[event.node] => {
                let What::Sent(_, _, bytes) = &event.what else { return };
                if !self.seen.insert(hash(bytes)) {
                    return;
                }
                if let Err(how) = self.check(*view, *digest, *kind, signers) {
                    court.accuse(Promise::Certificates, format!("validator {}, view {view}, kind {kind}: {how}", event.node));
                }
                // Every one through the memo, and one in 256 by real arithmetic.
                let archived = access::<ArchivedCertificate>(bytes).expect("it was decoded before");
                let roster = if hash(bytes)[0] == 0 { &self.facts.cluster.plain } else { &self.facts.cluster.roster };
                if roster.verify_certificate(archived).is_err() {
                    court.accuse(Promise::Certificates, format!("validator {}, view {view}, kind {kind}: does not verify", event.node));
                }
                if *kind != 0 {
                    let notarized = self.notarized.entry(*view).or_default();
                    notarized.insert(*digest);
                    let most = (self.facts.total - self.facts.f) / (self.facts.f + 1);
                    if notarized.len() as u64 > most {
                        court.accuse(Promise::Certificates, format!("view {view} has {} notarized blocks", notarized.len()));
                    }
                }
            }
            _ => {}
        }
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}
