//! Votes for every block it hears of and nullifies every view, to everybody: T17 and T18 in one.

use crate::actor::{Hostile, Stage};
use samara_types::message::{ArchivedCertificate, ArchivedVote, CertificateKind, Nullify, Vote, access, encode};
use samara_types::{Digest, MessageKind, Subject, View};
use std::collections::BTreeSet;

/// Subjects remembered as signed; the oldest views are forgotten first.
const SUBJECTS_MAX: usize = 256;

/// See the module.
#[derive(Default)]
pub struct AllSigner {
    /// By view; no digest is a nullify.
    signed: BTreeSet<(View, Option<Digest>)>,
}

impl Hostile for AllSigner {
    fn name(&self) -> &'static str {
        "all_signer"
    }

    fn deliver(&mut self, _from: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        let heard = match kind {
            MessageKind::Vote => access::<ArchivedVote>(bytes).map(|vote| (View(vote.view.to_native()), Some(Digest(vote.digest)))),
            MessageKind::Certificate => access::<ArchivedCertificate>(bytes).map(|certificate| {
                let names_block = certificate.kind != CertificateKind::Nullification as u8;
                (View(certificate.view.to_native()), names_block.then_some(Digest(certificate.digest)))
            }),
            _ => None,
        };
        let Some((view, digest)) = heard else { return };
        if let Some(digest) = digest {
            self.sign(Subject::Vote(view, digest), stage);
        }
        self.sign(Subject::Nullify(view), stage);
        self.sign(Subject::Nullify(view.next()), stage);
    }
}

impl AllSigner {
    fn sign(&mut self, subject: Subject, stage: &mut Stage<'_>) {
        let digest = matches!(subject, Subject::Vote(..)).then(|| subject.digest());
        if !self.signed.insert((subject.view(), digest)) {
            return;
        }
        if self.signed.len() > SUBJECTS_MAX {
            self.signed.pop_first();
        }
        let signature = stage.cluster.keys[stage.me].vote.sign(stage.cluster.roster.domain(), &subject);
        match subject {
            Subject::Vote(view, digest) => {
                stage.broadcast(MessageKind::Vote, &encode(&Vote { view: view.0, digest: digest.0, signature }));
            }
            Subject::Nullify(view) => stage.broadcast(MessageKind::Nullify, &encode(&Nullify { view: view.0, signature })),
        }
    }
}
