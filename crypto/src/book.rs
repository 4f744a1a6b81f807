//! All votes and nullifies of one view, stored unverified until a quorum of stake stands behind a subject (reference, section 4.2).
//!
//! ```text
//! wire vote -> add (bytes and bits only) -> weight reaches a threshold -> settle: one pairing check for everything unverified
//!                                                                           | fails: halve -> culprits dropped and barred
//!                                                                           v
//!                                              verified aggregate of the subject -> certificate
//! ```
//!
//! The caller has already authenticated the sender: `signer` is the peer whose session carried the message. That is what makes storing
//! without verifying safe (nobody can fill or spoil another's slots) and accusing a culprit just.
//!
//! Invariants:
//! - a signer holds at most two vote digests and one nullify; further digests are refused, so a view costs at most
//!   `validators * (2 votes + 1 nullify)` signatures and `2 * validators + 1` subjects;
//! - a signer counts once per subject, whatever it repeats;
//! - the aggregate of a subject is always the sum over exactly its verified signers, and satisfies the pairing equation with the sum of
//!   their keys; a later settle checks only what came since. A group that passed together is never split (see [`crate::bls`]);
//! - a culprit loses everything unverified in this view and can add nothing more to it. What was verified stays: it is inside an aggregate.

use crate::bisect;
use crate::bls::curve::{G1, G1Affine, sum_g1};
use crate::bls::{self, VOTE_SIGNATURE_BYTES, VoteResidual};
use crate::certificate::Certificate;
use crate::roster::Roster;
use samara_types::message::{self, CertificateKind};
use samara_types::{Digest, Evidence, Offence, SignerBitmap, Stake, Subject, ValidatorIndex, View};

/// What became of an added vote or nullify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Added {
    /// Stored, counts for its subject.
    New,
    /// This signer said this before; the first signature is kept.
    Duplicate,
    /// Stored as the signer's second vote digest in this view: it equivocates, if both signatures verify.
    Conflict,
    /// A third vote digest: refused.
    Excess,
    /// The signer sent a bad signature in this view before: refused.
    Barred,
}

impl Added {
    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Excess => "excess",
            Self::Barred => "barred",
        }
    }
}

/// Outcome of [`ViewBook::settle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Weight of the subject's verified signers.
    pub verified: Stake,
    /// Signers whose signature does not verify; each is barred from this view.
    pub culprits: Vec<ValidatorIndex>,
    /// Pairing equations it took: 0 if nothing was unverified, 1 if all was good.
    pub pairing_checks: u32,
}

/// The votes and nullifies of one view.
#[derive(Clone, Debug)]
pub struct ViewBook {
    view: View,
    signers: Vec<SignerPage>,
    tallies: Vec<Tally>,
    /// Signers with two vote digests that [`ViewBook::take_equivocations`] has not judged yet.
    conflicting: SignerBitmap,
}

/// What one signer said in this view.
#[derive(Clone, Debug, Default)]
struct SignerPage {
    votes: [Option<(Digest, [u8; VOTE_SIGNATURE_BYTES])>; 2],
    nullify: Option<[u8; VOTE_SIGNATURE_BYTES]>,
    barred: bool,
}

/// Who stands behind one subject. `verified` and `unverified` are disjoint.
#[derive(Clone, Debug)]
struct Tally {
    subject: Subject,
    unverified: SignerBitmap,
    verified: SignerBitmap,
    aggregate: G1,
    /// The subject on the curve, negated: hashed once for all its settles.
    minus_hash: Option<G1Affine>,
}

impl ViewBook {
    /// An empty book of a view for a set of `validators` members.
    pub fn new(view: View, validators: usize) -> ViewBook {
        let signers = vec![SignerPage::default(); validators];
        ViewBook { view, signers, tallies: Vec::new(), conflicting: SignerBitmap::default() }
    }

    /// The view it is about.
    pub fn view(&self) -> View {
        self.view
    }

    /// Stores what `signer` said, without verifying it.
    ///
    /// # Panics
    /// If the subject is of another view or the signer outside the set: the caller routes by view and knows its peers.
    pub fn add(&mut self, subject: Subject, signer: ValidatorIndex, signature: [u8; VOTE_SIGNATURE_BYTES]) -> Added {
        assert_eq!(subject.view(), self.view, "a book is about one view");
        if self.signers[signer.at()].barred {
            return Added::Barred;
        }
        let added = self.signers[signer.at()].store(&subject, signature);
        if matches!(added, Added::New | Added::Conflict) {
            self.tally_mut(&subject).unverified.insert(signer);
        }
        if added == Added::Conflict {
            self.conflicting.insert(signer);
        }
        added
    }

    /// Stores what this validator itself signed: it counts as verified at once.
    ///
    /// # Panics
    /// As [`ViewBook::add`], and if the signature is no encoding of a curve point, which our own signer does not produce.
    pub fn add_own(&mut self, subject: Subject, signer: ValidatorIndex, signature: [u8; VOTE_SIGNATURE_BYTES]) {
        if matches!(self.add(subject, signer, signature), Added::Excess | Added::Barred) {
            return;
        }
        let tally = self.tally_mut(&subject);
        if tally.verified.contains(signer) {
            return;
        }
        let signature = G1Affine::deserialize(&signature).expect("our own signature is a curve point");
        tally.accept(&[(signer, signature)]);
    }

    /// Weight behind a subject, verified or not.
    pub fn weight(&self, roster: &Roster, subject: &Subject) -> Stake {
        roster.set().weight(&self.signers(subject))
    }

    /// Verifies everything unverified of a subject in one batch and drops and bars those whose signature is bad.
    pub fn settle(&mut self, roster: &Roster, subject: &Subject) -> Settled {
        let pending = self.tally(subject).map(|tally| tally.unverified).unwrap_or_default();
        let (signers, points, mut culprits) = self.decode(subject, &pending);
        let signed = roster.signed(subject);
        let message = signed.signing_bytes(roster.domain());
        let mut minus_hash = self.tally(subject).and_then(|tally| tally.minus_hash);
        let mut pairing_checks = 0;
        let bad = bisect::culprits(signers.len(), |range| {
            pairing_checks += 1;
            let part = &signers[range.clone()];
            if roster.knows_all(&message, part.iter().map(|signer| (*signer, self.stored(*signer, subject)))) {
                return VoteResidual::zero();
            }
            let key = roster.key_of(&part.iter().copied().collect());
            let minus_hash = minus_hash.get_or_insert_with(|| bls::minus_vote_hash(roster.domain(), &signed));
            VoteResidual::new(sum_g1(&points[range]), &key, minus_hash)
        });
        culprits.extend(bad.iter().map(|&at| signers[at]));
        let good: Vec<_> = signers.into_iter().zip(points).filter(|(signer, _)| !culprits.contains(signer)).collect();
        if !good.is_empty() {
            let tally = self.tally_mut(subject);
            tally.minus_hash = minus_hash;
            tally.accept(&good);
        }
        for &culprit in &culprits {
            self.bar(culprit);
        }
        culprits.sort_unstable();
        Settled { verified: roster.set().weight(&self.verified(subject)), culprits, pairing_checks }
    }

    /// A certificate over all verified signers of a subject, if they reach the threshold of the kind and the kind fits the subject.
    pub fn certificate(&self, roster: &Roster, subject: &Subject, kind: CertificateKind) -> Option<Certificate> {
        let tally = self.tally(subject)?;
        Certificate::from_verified(roster, kind, *subject, tally.verified, &tally.aggregate)
    }

    /// The vote subjects somebody stands behind.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.tallies.iter().filter(|tally| !tally.is_empty()).map(|tally| &tally.subject).filter(|s| matches!(s, Subject::Vote(..)))
    }

    /// Who stands behind a subject, verified or not.
    pub fn signers(&self, subject: &Subject) -> SignerBitmap {
        self.tally(subject).map(Tally::signers).unwrap_or_default()
    }

    /// Who stands behind a subject, verified only.
    pub fn verified(&self, subject: &Subject) -> SignerBitmap {
        self.tally(subject).map(|tally| tally.verified).unwrap_or_default()
    }

    /// Who spoke against the block `own`: a nullify, or a vote for another block, verified or not. Each signer once, equivocators included.
    pub fn against(&self, own: &Digest) -> SignerBitmap {
        let others = self.tallies.iter().filter(|tally| tally.subject != Subject::Vote(self.view, *own));
        others.fold(SignerBitmap::default(), |all, tally| all.union(&tally.signers()))
    }

    /// Signers with two vote digests, each judged once, each signature by itself: two pairing checks a signer. Both verify:
    /// [`Offence::VoteEquivocation`]. One does not: [`Offence::BadVoteSignature`], known by the session it came over. That also finds colluders whose
    /// errors cancel in a sum. Those in `convicted` are not judged, so that nobody makes us pay for such checks view after view: one proof is enough.
    ///
    /// The proof of an equivocation is the two encoded wire votes one after the other (equal lengths), smaller digest first, so that all who saw both votes
    /// keep the same bytes.
    pub fn take_equivocations(&mut self, roster: &Roster, convicted: &SignerBitmap) -> Vec<Evidence> {
        let conflicting = std::mem::take(&mut self.conflicting);
        conflicting.iter().filter(|signer| !convicted.contains(*signer)).filter_map(|accused| self.judge(roster, accused)).collect()
    }

    fn judge(&self, roster: &Roster, accused: ValidatorIndex) -> Option<Evidence> {
        let [Some(first), Some(second)] = self.signers[accused.at()].votes else { return None };
        let mut votes = [first, second];
        votes.sort_unstable_by_key(|(digest, _)| *digest);
        let proven = votes.iter().all(|(digest, signature)| roster.verify_subject(accused, &Subject::Vote(self.view, *digest), signature));
        let encode = |(digest, signature): &(Digest, [u8; VOTE_SIGNATURE_BYTES])| {
            message::encode(&message::Vote { view: self.view.0, digest: digest.0, signature: *signature }).to_vec()
        };
        let (offence, proof) = if proven {
            (Offence::VoteEquivocation, votes.iter().flat_map(encode).collect())
        } else {
            (Offence::BadVoteSignature, Vec::new())
        };
        Some(Evidence { accused, offence, view: self.view, proof })
    }

    fn tally(&self, subject: &Subject) -> Option<&Tally> {
        self.tallies.iter().find(|tally| tally.subject == *subject)
    }

    /// The tally of a subject, opened if it is the first of its kind.
    fn tally_mut(&mut self, subject: &Subject) -> &mut Tally {
        let at = self.tallies.iter().position(|tally| tally.subject == *subject).unwrap_or_else(|| {
            self.tallies.push(Tally::new(*subject));
            self.tallies.len() - 1
        });
        &mut self.tallies[at]
    }

    /// The signatures of `pending` as points, with their signers beside; those that are no points are culprits already.
    fn decode(&self, subject: &Subject, pending: &SignerBitmap) -> (Vec<ValidatorIndex>, Vec<G1Affine>, Vec<ValidatorIndex>) {
        let count = pending.count();
        let (mut signers, mut points, mut culprits) = (Vec::with_capacity(count), Vec::with_capacity(count), Vec::new());
        for signer in pending.iter() {
            match G1Affine::deserialize(self.stored(signer, subject)) {
                Some(point) => {
                    signers.push(signer);
                    points.push(point);
                }
                None => culprits.push(signer),
            }
        }
        (signers, points, culprits)
    }

    fn stored(&self, signer: ValidatorIndex, subject: &Subject) -> &[u8; VOTE_SIGNATURE_BYTES] {
        self.signers[signer.at()].signature(subject).expect("whoever is in a tally has its signature stored")
    }

    /// Drops everything unverified of a signer and refuses more from it. The signatures of what stays verified are kept as evidence.
    fn bar(&mut self, signer: ValidatorIndex) {
        let page = &mut self.signers[signer.at()];
        page.barred = true;
        for tally in &mut self.tallies {
            if tally.unverified.contains(signer) {
                tally.unverified.remove(signer);
                page.erase(&tally.subject);
            }
        }
        self.tallies.retain(|tally| !tally.is_empty());
    }
}

impl SignerPage {
    fn store(&mut self, subject: &Subject, signature: [u8; VOTE_SIGNATURE_BYTES]) -> Added {
        let Subject::Vote(_, digest) = subject else {
            return match self.nullify.replace(signature) {
                None => Added::New,
                Some(first) => {
                    self.nullify = Some(first);
                    Added::Duplicate
                }
            };
        };
        if self.signature(subject).is_some() {
            return Added::Duplicate;
        }
        let Some(free) = self.votes.iter().position(Option::is_none) else { return Added::Excess };
        self.votes[free] = Some((*digest, signature));
        if self.votes.iter().flatten().count() == 1 { Added::New } else { Added::Conflict }
    }

    fn signature(&self, subject: &Subject) -> Option<&[u8; VOTE_SIGNATURE_BYTES]> {
        match subject {
            Subject::Nullify(_) => self.nullify.as_ref(),
            Subject::Vote(_, digest) => self.votes.iter().flatten().find(|(stored, _)| stored == digest).map(|(_, signature)| signature),
        }
    }

    fn erase(&mut self, subject: &Subject) {
        match subject {
            Subject::Nullify(_) => self.nullify = None,
            Subject::Vote(_, digest) => {
                for slot in self.votes.iter_mut().filter(|slot| slot.is_some_and(|(stored, _)| stored == *digest)) {
                    *slot = None;
                }
            }
        }
    }
}

impl Tally {
    fn new(subject: Subject) -> Tally {
        let nobody = SignerBitmap::default();
        Tally { subject, unverified: nobody, verified: nobody, aggregate: G1::default(), minus_hash: None }
    }

    fn signers(&self) -> SignerBitmap {
        self.verified.union(&self.unverified)
    }

    fn is_empty(&self) -> bool {
        self.verified.is_empty() && self.unverified.is_empty()
    }

    /// Takes signatures over into the verified aggregate.
    fn accept(&mut self, group: &[(ValidatorIndex, G1Affine)]) {
        let points: Vec<_> = group.iter().map(|(_, point)| *point).collect();
        self.aggregate = self.aggregate.plus(&sum_g1(&points));
        for (signer, _) in group {
            self.unverified.remove(*signer);
            self.verified.insert(*signer);
        }
    }
}

#[cfg(test)]
mod tests;
