//! T17, T18, T19: signs what it should not, without following the chain. It answers the correct only: two of them would answer each other for ever once
//! their memory is full.
//!
//! | manner | votes for the block it hears of | votes for a block nobody has, thrice | nullifies |
//! |---|---|---|---|
//! | `all_signer` | every | | this view and the next |
//! | `conflicter` | every | yes | |
//! | `nuller` | the first | | the same view |
//! | `nullify_only` | | | this view and the next |

use crate::actor::{Hostile, Stage};
use samara_types::message::{ArchivedCertificate, ArchivedVote, CertificateKind, Nullify, Vote, access, encode};
use samara_types::{Digest, MessageKind, ShredHeader, Subject, View};
use std::collections::BTreeSet;

/// Subjects remembered as signed; the oldest views are forgotten first.
const SUBJECTS_MAX: usize = 256;

/// What it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Everything.
    All,
    /// Votes that conflict.
    Conflicter,
    /// A vote and a nullify.
    Nuller,
    /// Nullifies.
    NullifyOnly,
}

/// See the module.
pub struct Signer {
    hand: Hand,
    /// By view; no digest is a nullify.
    signed: BTreeSet<(View, Option<Digest>)>,
}

impl Signer {
    /// Nothing signed.
    pub fn new(hand: Hand) -> Signer {
        Signer { hand, signed: BTreeSet::new() }
    }

    fn has_voted(&self, view: View) -> bool {
        self.signed.range((view, Some(Digest::ZERO))..).next().is_some_and(|(signed, _)| *signed == view)
    }

    fn react(&mut self, view: View, digest: Option<Digest>, stage: &mut Stage<'_>) {
        let votes = match self.hand {
            Hand::All | Hand::Conflicter => true,
            Hand::Nuller => !self.has_voted(view),
            Hand::NullifyOnly => false,
        };
        if let Some(digest) = digest.filter(|_| votes) {
            self.sign(Subject::Vote(view, digest), 1, stage);
        }
        match self.hand {
            Hand::All | Hand::NullifyOnly => {
                self.sign(Subject::Nullify(view), 1, stage);
                self.sign(Subject::Nullify(view.next()), 1, stage);
            }
            Hand::Conflicter => {
                let invented = Digest::of("samara 2026 simulator invented block", &[&view.0.to_le_bytes()]);
                self.sign(Subject::Vote(view, invented), 3, stage);
            }
            Hand::Nuller => self.sign(Subject::Nullify(view), 1, stage),
        }
    }

    fn sign(&mut self, subject: Subject, times: usize, stage: &mut Stage<'_>) {
        let digest = matches!(subject, Subject::Vote(..)).then(|| subject.digest());
        if !self.signed.insert((subject.view(), digest)) {
            return;
        }
        if self.signed.len() > SUBJECTS_MAX {
            self.signed.pop_first();
        }
        let signature = stage.cluster.keys[stage.me].vote.sign(stage.cluster.roster.domain(), &subject);
        for _ in 0..times {
            match subject {
                Subject::Vote(view, digest) => {
                    stage.broadcast(MessageKind::Vote, &encode(&Vote { view: view.0, digest: digest.0, signature }));
                }
                Subject::Nullify(view) => stage.broadcast(MessageKind::Nullify, &encode(&Nullify { view: view.0, signature })),
            }
        }
    }
}

impl Hostile for Signer {
    fn name(&self) -> &'static str {
        match self.hand {
            Hand::All => "all_signer",
            Hand::Conflicter => "conflicter",
            Hand::Nuller => "nuller",
            Hand::NullifyOnly => "nullify_only",
        }
    }

    fn deliver(&mut self, from: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        if stage.allies.contains(&from) {
            return;
        }
        let heard = match kind {
            MessageKind::Vote => access::<ArchivedVote>(bytes).map(|vote| (View(vote.view.to_native()), Some(Digest(vote.digest)))),
            MessageKind::Certificate => access::<ArchivedCertificate>(bytes).map(|certificate| {
                let names_block = certificate.kind != CertificateKind::Nullification as u8;
                (View(certificate.view.to_native()), names_block.then_some(Digest(certificate.digest)))
            }),
            MessageKind::Shred if self.hand == Hand::NullifyOnly => ShredHeader::view_of(bytes).map(|view| (view, None)),
            _ => None,
        };
        if let Some((view, digest)) = heard {
            self.react(view, digest, stage);
        }
    }
}
