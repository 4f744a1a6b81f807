//! The validator set with its keys decoded and checked once, so that later checks only add points.
//!
//! A set is accepted when every vote key is a point of the G2 subgroup other than infinity with a valid proof of possession, every
//! identity key is canonical and not of small order, and every session key contributes to a shared secret. The proofs are checked one
//! by one: each must hold by itself, since they are what makes plain sums of keys safe against keys chosen as differences.

use crate::bls::curve::{G1Affine, G2, G2Affine, sum_g2};
use crate::bls::{self, KeyReject};
use crate::certificate::{self, Certificate, CertificateReject};
use crate::identity;
use crate::memo::Memo;
use crate::mutant::Mutant;
use ed25519_dalek::VerifyingKey;
use samara_types::message::{ArchivedCertificate, CertificateKind};
use samara_types::subject::SUBJECT_BYTES;
use samara_types::{
    Digest, Quorums, SignerBitmap, SigningDomain, SliceCommitment, Stake, Subject, ValidatorEntry, ValidatorIndex, ValidatorSet, View,
};
use std::sync::Arc;

/// Why a set is refused: which member, what is wrong with which key, what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Not the compressed encoding of a curve point.
    #[error("validators[{0}].vote_key: not a compressed BLS12-381 G2 point: allowed is the 96 B encoding of a point on the curve")]
    VoteKeyEncoding(u16),
    /// The point at infinity.
    #[error("validators[{0}].vote_key = infinity: allowed is any other point of the prime-order subgroup")]
    VoteKeyInfinity(u16),
    /// A point outside the subgroup.
    #[error("validators[{0}].vote_key: outside the prime-order subgroup: allowed are its points only")]
    VoteKeySubgroup(u16),
    /// The proof does not belong to the key.
    #[error("validators[{0}].possession: does not verify under vote_key: allowed is the proof made with the vote secret")]
    Possession(u16),
    /// Not canonical, not on the curve, or of small order.
    #[error("validators[{0}].identity_key: allowed is a canonical Ed25519 public key that is not of small order")]
    IdentityKey(u16),
    /// Of small order.
    #[error("validators[{0}].session_key: allowed is an X25519 public key that is not of small order")]
    SessionKey(u16),
}

/// The members of an epoch with checked keys, and the domain they sign in.
#[derive(Clone, Debug)]
pub struct Roster {
    set: ValidatorSet,
    /// Of the set: keys, stakes and fault bound.
    fingerprint: Digest,
    domain: SigningDomain,
    members: Vec<Member>,
    /// Sum of all vote keys: a quorum of most members is cheaper from here downwards.
    everyone: G2,
    memo: Option<Arc<Memo>>,
    /// None but in the simulator, with the thresholds it makes.
    planted: Option<(Mutant, Quorums)>,
}

#[derive(Clone, Debug)]
struct Member {
    vote: G2Affine,
    identity: VerifyingKey,
}

impl Roster {
    /// Decodes and checks every key of `set`. Costs about 1 ms a member.
    pub fn new(set: ValidatorSet, domain: SigningDomain) -> Result<Roster, RosterError> {
        let members = set.indexes().zip(set.entries()).map(|(index, entry)| Member::new(index.0, entry)).collect::<Result<Vec<_>, _>>()?;
        let everyone = sum_g2(members.iter().map(|member| &member.vote));
        let fingerprint = set.fingerprint();
        Ok(Roster { set, fingerprint, domain, members, everyone, memo: None, planted: None })
    }

    /// Remembers verdicts in `memo`, see [`crate::memo`].
    pub fn with_memo(self, memo: Arc<Memo>) -> Roster {
        Roster { memo: Some(memo), ..self }
    }

    /// Plants a known bug, see [`crate::mutant`]: for `samara-sim`.
    #[doc(hidden)]
    pub fn planted(self, mutant: Mutant) -> Roster {
        let mut quorums = *self.set.quorums();
        let less = |times: u64| Stake(quorums.total.0 - times * quorums.fault.0);
        match mutant {
            Mutant::FinalityAtTwoFLess => quorums.l = less(2),
            Mutant::QuorumAtThreeFLess => quorums.m = less(3),
            _ => {}
        }
        Roster { planted: Some((mutant, quorums)), ..self }
    }

    /// The planted bug: None outside the simulator.
    #[doc(hidden)]
    pub fn mutant(&self) -> Option<Mutant> {
        self.planted.map(|(mutant, _)| mutant)
    }

    /// Whether this bug is planted: false outside the simulator.
    #[doc(hidden)]
    pub fn has(&self, mutant: Mutant) -> bool {
        self.mutant() == Some(mutant)
    }

    /// What is under the signature of this subject: itself.
    #[doc(hidden)]
    pub fn signed(&self, subject: &Subject) -> Subject {
        match subject {
            _ if !self.has(Mutant::CrossViewReplay) => *subject,
            Subject::Vote(_, digest) => Subject::Vote(View::GENESIS, *digest),
            Subject::Nullify(_) => Subject::Nullify(View::GENESIS),
        }
    }

    pub(crate) fn memo(&self) -> Option<(&Memo, &Digest)> {
        self.memo.as_ref().map(|memo| (&**memo, &self.fingerprint))
    }

    /// Decompresses the signature of a certificate.
    pub(crate) fn decode_aggregate(&self, bytes: &[u8; bls::AGGREGATE_BYTES]) -> Option<G1Affine> {
        self.memo().map_or_else(|| G1Affine::uncompress(bytes), |(memo, _)| memo.point(bytes))
    }

    /// Whether all of these are known to be valid signatures of their members over `message`.
    pub(crate) fn knows_all<'a>(
        &self,
        message: &[u8; SUBJECT_BYTES],
        mut signed: impl Iterator<Item = (ValidatorIndex, &'a [u8; bls::VOTE_SIGNATURE_BYTES])>,
    ) -> bool {
        let Some((memo, _)) = self.memo() else { return false };
        signed.all(|(signer, signature)| memo.knows_vote(&self.set.entries()[signer.at()].vote_key, message, signature))
    }

    /// The set.
    pub fn set(&self) -> &ValidatorSet {
        &self.set
    }

    /// Chain and epoch under every signature.
    pub fn domain(&self) -> &SigningDomain {
        &self.domain
    }

    /// The thresholds.
    pub fn quorums(&self) -> &Quorums {
        self.planted.as_ref().map_or(self.set.quorums(), |(_, quorums)| quorums)
    }

    /// Weight a certificate of this kind needs.
    pub fn threshold(&self, kind: CertificateKind) -> Stake {
        match kind {
            CertificateKind::Nullification | CertificateKind::M => self.quorums().m,
            CertificateKind::L => self.quorums().l,
        }
    }

    /// Whether `signature` is `leader`'s Ed25519 signature over a slice commitment. False for an index outside the set.
    pub fn verify_slice(&self, leader: ValidatorIndex, commitment: &SliceCommitment, signature: &[u8; 64]) -> bool {
        self.verify_commitment(leader, commitment, signature)
            || self.has(Mutant::UnsignedLastSlice)
                && self.verify_commitment(leader, &SliceCommitment { last: !commitment.last, ..*commitment }, signature)
    }

    fn verify_commitment(&self, leader: ValidatorIndex, commitment: &SliceCommitment, signature: &[u8; 64]) -> bool {
        let message = commitment.signing_bytes(&self.domain);
        let Some(member) = self.members.get(leader.at()) else { return false };
        let check = || identity::verify_strict(&member.identity, &message, signature);
        match self.memo() {
            Some((memo, _)) => memo.slice(member.identity.as_bytes(), &message, signature, check),
            None => check(),
        }
    }

    /// Whether `signature` is `signer`'s own over a subject: one pairing check. False for an index outside the set.
    pub fn verify_subject(&self, signer: ValidatorIndex, subject: &Subject, signature: &[u8; bls::VOTE_SIGNATURE_BYTES]) -> bool {
        let Some(member) = self.members.get(signer.at()) else { return false };
        let subject = &self.signed(subject);
        let message = subject.signing_bytes(&self.domain);
        let hash = || bls::minus_vote_hash(&self.domain, subject);
        let check = || G1Affine::deserialize(signature).is_some_and(|signature| bls::verify(&signature.into(), &member.vote, &hash()));
        match self.memo() {
            Some((memo, _)) => memo.vote(&self.set.entries()[signer.at()].vote_key, &message, signature, check),
            None => check(),
        }
    }

    /// Verifies a certificate from the wire, cheap checks first: one pairing check at most.
    pub fn verify_certificate(&self, message: &ArchivedCertificate) -> Result<Certificate, CertificateReject> {
        certificate::verify(self, &mut KeySum::default(), message)
    }

    /// The same for one who verifies many: `keys` is where the next sum of keys starts from.
    pub fn verify_certificate_after(&self, keys: &mut KeySum, message: &ArchivedCertificate) -> Result<Certificate, CertificateReject> {
        certificate::verify(self, keys, message)
    }

    /// Verifies certificates of any subjects under one equation: all of them in order, or None. None says no more than that each has to be
    /// looked at by itself; it is also the answer where a memo makes that cheaper.
    pub fn verify_certificates(&self, keys: &mut KeySum, messages: &[&ArchivedCertificate]) -> Option<Vec<Certificate>> {
        certificate::verify_run(self, keys, messages)
    }

    /// Sum of the vote keys of `members`, who must all be in the set; infinity for none.
    pub(crate) fn key_of(&self, members: &SignerBitmap) -> G2Affine {
        self.key_after(&mut KeySum::default(), members)
    }

    /// The same, reached from nobody, from everybody or from `keys`, whichever is nearest; `keys` moves there.
    pub(crate) fn key_after(&self, keys: &mut KeySum, members: &SignerBitmap) -> G2Affine {
        if keys.of != Some(self.fingerprint) {
            *keys = KeySum { of: Some(self.fingerprint), ..KeySum::default() };
        }
        let count = members.count();
        let absent = self.members.len() - count;
        let distance = self.set.indexes().filter(|index| keys.members.contains(*index) != members.contains(*index)).count();
        let (from, sum) = match distance.min(absent).min(count) {
            least if least == distance => (keys.members, keys.sum),
            least if least == absent => (self.set.indexes().collect(), self.everyone),
            _ => (SignerBitmap::default(), G2::default()),
        };
        let key = |index: ValidatorIndex| &self.members[index.at()].vote;
        let joined = sum_g2(members.iter().filter(|index| !from.contains(*index)).map(key));
        let left = sum_g2(from.iter().filter(|index| !members.contains(*index)).map(key));
        *keys = KeySum { of: keys.of, members: *members, sum: sum.plus(&joined).plus(&left.negated()) };
        keys.sum.to_affine()
    }
}

/// Sum of the vote keys of some members of one set, kept between certificates: signers differ little from one to the next, and each
/// difference costs an addition (0.5 us).
///
/// Used with another set it starts afresh.
#[derive(Clone, Debug, Default)]
pub struct KeySum {
    /// Fingerprint of the set.
    of: Option<Digest>,
    members: SignerBitmap,
    sum: G2,
}

impl Member {
    fn new(index: u16, entry: &ValidatorEntry) -> Result<Member, RosterError> {
        let vote = bls::decode_public_key(&entry.vote_key).map_err(|reject| match reject {
            KeyReject::Encoding => RosterError::VoteKeyEncoding(index),
            KeyReject::Infinity => RosterError::VoteKeyInfinity(index),
            KeyReject::Subgroup => RosterError::VoteKeySubgroup(index),
        })?;
        if !bls::verify_possession(&vote, &entry.vote_key, &entry.possession) {
            return Err(RosterError::Possession(index));
        }
        let identity = identity::decode_identity_key(&entry.identity_key).ok_or(RosterError::IdentityKey(index))?;
        if !identity::is_session_key(&entry.session_key) {
            return Err(RosterError::SessionKey(index));
        }
        Ok(Member { vote, identity })
    }
}

#[cfg(test)]
mod tests;
