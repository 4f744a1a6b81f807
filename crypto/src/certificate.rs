//! Certificates: one aggregate signature and a bitmap of distinct members whose weight reaches the threshold of the kind.
//!
//! The order of checks is cheap before dear and the same on every node: kind -> fields -> bitmap -> weight -> encoding -> pairing (with
//! the subgroup check). A bitmap counts a member once, so a repeated signer cannot be written down; a signature added twice breaks the
//! pairing equation.

use crate::bls;
use crate::bls::curve::{G1, G1Affine};
use crate::roster::{KeySum, Roster};
use samara_types::message::{self, ArchivedCertificate, CertificateKind};
use samara_types::{Digest, SignerBitmap, Subject, View};

/// Why a certificate is refused. All are final: the same bytes never become valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateReject {
    /// Not one of the three kinds.
    UnknownKind,
    /// A nullification that names a block.
    DigestInNullification,
    /// The bitmap is not that of this set.
    BadBitmap,
    /// Its signers do not weigh enough for its kind.
    TooLittleWeight,
    /// The aggregate is no encoding of a curve point, or infinity.
    BadEncoding,
    /// The aggregate is not the sum of its signers' signatures on this subject, chain and epoch.
    BadSignature,
}

impl CertificateReject {
    /// All reasons.
    pub const ALL: [CertificateReject; 6] =
        [Self::UnknownKind, Self::DigestInNullification, Self::BadBitmap, Self::TooLittleWeight, Self::BadEncoding, Self::BadSignature];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownKind => "unknown_kind",
            Self::DigestInNullification => "digest_in_nullification",
            Self::BadBitmap => "bad_bitmap",
            Self::TooLittleWeight => "too_little_weight",
            Self::BadEncoding => "bad_encoding",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// A verified certificate. Comes from [`Roster::verify_certificate`] or [`crate::ViewBook::certificate`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    kind: CertificateKind,
    subject: Subject,
    signature: [u8; bls::AGGREGATE_BYTES],
    signers: SignerBitmap,
    validators: usize,
}

impl Certificate {
    /// From signatures that were verified; `None` if the kind does not fit the subject or the weight is below its threshold.
    pub(crate) fn from_verified(
        roster: &Roster,
        kind: CertificateKind,
        subject: Subject,
        signers: SignerBitmap,
        aggregate: &G1,
    ) -> Option<Certificate> {
        let fits = (kind == CertificateKind::Nullification) == matches!(subject, Subject::Nullify(_));
        let enough = roster.set().weight(&signers) >= roster.threshold(kind);
        let validators = roster.set().len();
        (fits && enough).then(|| {
            let signature = aggregate.compress();
            if let Some((memo, set)) = roster.memo() {
                memo.certificate(set, &signers, &roster.signed(&subject).signing_bytes(roster.domain()), &signature, || true);
                memo.learn_point(&signature, aggregate);
            }
            Certificate { kind, subject, signature, signers, validators }
        })
    }

    /// Its kind.
    pub fn kind(&self) -> CertificateKind {
        self.kind
    }

    /// What the signers said.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Its view.
    pub fn view(&self) -> View {
        self.subject.view()
    }

    /// Its block; zero for a nullification.
    pub fn digest(&self) -> Digest {
        self.subject.digest()
    }

    /// Who signed.
    pub fn signers(&self) -> &SignerBitmap {
        &self.signers
    }

    /// As it travels and is stored.
    pub fn to_message(&self) -> message::Certificate {
        message::Certificate {
            view: self.view().0,
            digest: self.digest().0,
            kind: self.kind as u8,
            signature: self.signature,
            signers: self.signers.to_bytes(self.validators),
        }
    }
}

/// A certificate whose cheap checks passed: all but the pairing.
struct Claim {
    certificate: Certificate,
    aggregate: G1Affine,
}

impl Claim {
    fn read(roster: &Roster, message: &ArchivedCertificate) -> Result<Claim, CertificateReject> {
        let kind = CertificateKind::from_byte(message.kind).ok_or(CertificateReject::UnknownKind)?;
        let (view, digest) = (View(message.view.to_native()), Digest(message.digest));
        let subject = match kind {
            CertificateKind::Nullification if digest != Digest::ZERO => return Err(CertificateReject::DigestInNullification),
            CertificateKind::Nullification => Subject::Nullify(view),
            CertificateKind::M | CertificateKind::L => Subject::Vote(view, digest),
        };
        let validators = roster.set().len();
        let signers = SignerBitmap::from_bytes(&message.signers, validators).ok_or(CertificateReject::BadBitmap)?;
        if roster.set().weight(&signers) < roster.threshold(kind) {
            return Err(CertificateReject::TooLittleWeight);
        }
        let aggregate = roster.decode_aggregate(&message.signature).ok_or(CertificateReject::BadEncoding)?;
        Ok(Claim { certificate: Certificate { kind, subject, signature: message.signature, signers, validators }, aggregate })
    }

    fn holds(&self, roster: &Roster, keys: &mut KeySum) -> bool {
        let Certificate { subject, signers, signature, .. } = &self.certificate;
        let subject = &roster.signed(subject);
        let hash = || bls::minus_vote_hash(roster.domain(), subject);
        let mut check = || bls::verify(&self.aggregate.into(), &roster.key_after(keys, signers), &hash());
        match roster.memo() {
            Some((memo, set)) => memo.certificate(set, signers, &subject.signing_bytes(roster.domain()), signature, check),
            None => check(),
        }
    }
}

pub(crate) fn verify(roster: &Roster, keys: &mut KeySum, message: &ArchivedCertificate) -> Result<Certificate, CertificateReject> {
    let claim = Claim::read(roster, message)?;
    if claim.holds(roster, keys) { Ok(claim.certificate) } else { Err(CertificateReject::BadSignature) }
}

mod run;
pub(crate) use run::verify_run;

#[cfg(test)]
mod tests;
