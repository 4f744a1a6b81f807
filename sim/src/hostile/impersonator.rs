//! T20: others' signatures as its own, forged certificates, and proposals in views it does not lead.
//!
//! Certificates it forges, from every real one it hears: the M-notarization called an L-notarization; the signature moved to the next view; another
//! block; everybody named as signer; its own signature alone with a quorum of names; a bitmap longer than the set.

use super::proposals::{announce, everybody, send_block, shred};
use crate::actor::{Hostile, Stage};
use samara_types::block::genesis_digest;
use samara_types::message::{ArchivedCertificate, Certificate, CertificateKind, access, encode};
use samara_types::{BlockHeader, Digest, Height, MessageKind, SignerBitmap, Subject, ValidatorIndex, View};

/// See the module.
#[derive(Default)]
pub struct Impersonator {
    /// Newest views forged in: votes, certificates.
    forged: (View, View),
}

impl Hostile for Impersonator {
    fn name(&self) -> &'static str {
        "impersonator"
    }

    fn deliver(&mut self, from: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        if stage.allies.contains(&from) {
            return;
        }
        match kind {
            MessageKind::Vote | MessageKind::Nullify => {
                let Some(view) = bytes.first_chunk().map(|bytes| View(u64::from_le_bytes(*bytes))) else { return };
                if view > self.forged.0 {
                    self.forged.0 = view;
                    // A vote names nobody: the session does, so that another's signature is a bad one of its own.
                    stage.broadcast(kind, bytes);
                    usurp(view, stage);
                }
            }
            MessageKind::Certificate => {
                let Some(certificate) = access::<ArchivedCertificate>(bytes).map(own) else { return };
                if View(certificate.view) > self.forged.1 {
                    self.forged.1 = View(certificate.view);
                    for forged in forgeries(&certificate, stage) {
                        stage.broadcast(MessageKind::Certificate, &encode(&forged));
                    }
                }
            }
            _ => {}
        }
    }
}

fn own(archived: &ArchivedCertificate) -> Certificate {
    Certificate {
        view: archived.view.to_native(),
        digest: archived.digest,
        kind: archived.kind,
        signature: archived.signature,
        signers: archived.signers.to_vec(),
    }
}

fn forgeries(real: &Certificate, stage: &Stage<'_>) -> Vec<Certificate> {
    let validators = stage.cluster.len();
    let mut all = SignerBitmap::default();
    (0..validators as u16).for_each(|seat| {
        all.insert(ValidatorIndex(seat));
    });
    let all = all.to_bytes(validators);
    let nullifies = real.kind == CertificateKind::Nullification as u8;
    let subject = if nullifies { Subject::Nullify(View(real.view)) } else { Subject::Vote(View(real.view), Digest(real.digest)) };
    let alone = stage.cluster.keys[stage.me].vote.sign(stage.cluster.roster.domain(), &subject);
    let alone = *alone.first_chunk().expect("a vote's signature is longer than an aggregate");
    let mut other = *real.digest.first_chunk::<32>().expect("a digest has 32 bytes");
    other[7] ^= 1;
    vec![
        Certificate { kind: CertificateKind::L as u8, ..real.clone() },
        Certificate { view: real.view + 1, ..real.clone() },
        Certificate { digest: other, ..real.clone() },
        Certificate { signers: all.clone(), ..real.clone() },
        Certificate { signers: all.clone(), kind: CertificateKind::L as u8, signature: alone, ..real.clone() },
        Certificate { signers: [all, vec![1]].concat(), ..real.clone() },
    ]
}

/// A block for a view it does not lead, signed by itself; in its own views it keeps silent.
fn usurp(view: View, stage: &mut Stage<'_>) {
    let leader = stage.cluster.schedule.leader(view);
    if leader.at() == stage.me {
        return;
    }
    let header = BlockHeader {
        view,
        parent_view: View::GENESIS,
        parent_digest: genesis_digest(&stage.cluster.chain()),
        height: Height(1),
        timestamp_ns: stage.now.0,
        payload_length: 0,
        leader,
        payload_digest: Digest::ZERO,
    };
    let Some(block) = shred(header, Vec::new(), stage) else { return };
    let seats = everybody(stage);
    for slice in &block.slices {
        announce(slice, &seats, stage);
    }
    // A leader sends nothing to itself, so the true one is spared.
    send_block(&block, &seats, stage);
}
