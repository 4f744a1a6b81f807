//! Verdicts remembered by their exact inputs: for an owner that runs many validators of one set in one process, such as a simulator.
//!
//! Signing is deterministic and checking is a pure function, so a remembered verdict is the verdict, and no result depends on whether a
//! memo is there. What enters it, beside verdicts that were computed:
//! - a signature that a secret of this process just made is valid under that secret's public key;
//! - the aggregate of a book is the valid certificate of its verified signers (invariant of [`crate::book`]).
//!
//! A group of signatures that are all known to be valid passes without arithmetic, because a sum of valid signatures is valid under the sum
//! of the keys. One unknown member sends the whole group to the pairing equation.
//!
//! Nobody has one unless [`crate::Roster::with_memo`] and [`crate::VoteSecret::with_memo`] were called. Bounded: a full table is emptied.

use crate::bls::curve::{G1, G1Affine};
use crate::bls::{AGGREGATE_BYTES, PUBLIC_KEY_BYTES, VOTE_SIGNATURE_BYTES, VOTE_TAG};
use samara_types::shred::COMMITMENT_BYTES;
use samara_types::subject::SUBJECT_BYTES;
use samara_types::{Digest, SignerBitmap};
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries of one table before it is emptied.
const ENTRIES_MAX: usize = 1 << 15;

type PublicKey = [u8; PUBLIC_KEY_BYTES];
type Wire = [u8; VOTE_SIGNATURE_BYTES];
type Aggregate = [u8; AGGREGATE_BYTES];
type Message = [u8; SUBJECT_BYTES];

/// See the module.
#[derive(Default)]
pub struct Memo(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    /// What a secret of this process signed.
    signed: HashMap<(PublicKey, Message), Wire>,
    /// Whether a signature is this key's over this message.
    votes: HashMap<Wire, (PublicKey, Message, bool)>,
    points: HashMap<Aggregate, Option<G1Affine>>,
    /// Messages on the curve: all members sign the same ones.
    hashes: HashMap<Message, G1>,
    /// Whether an aggregate is that of these members (of the set with this fingerprint) over this message.
    certificates: HashMap<(Aggregate, Digest), (SignerBitmap, Message, bool)>,
    slices: HashMap<[u8; 64], ([u8; 32], [u8; COMMITMENT_BYTES], bool)>,
}

fn keep<K: Eq + Hash, V>(table: &mut HashMap<K, V>, key: K, value: V) {
    if table.len() >= ENTRIES_MAX {
        table.clear();
    }
    table.insert(key, value);
}

impl Memo {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every entry is whole when it is inserted, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The signature `sign` makes of `message` for the owner of `key`.
    pub(crate) fn sign(&self, key: &PublicKey, message: &Message, sign: impl FnOnce() -> Wire) -> Wire {
        if let Some(signature) = self.tables().signed.get(&(*key, *message)) {
            return *signature;
        }
        let signature = sign();
        let mut tables = self.tables();
        keep(&mut tables.signed, (*key, *message), signature);
        keep(&mut tables.votes, signature, (*key, *message, true));
        signature
    }

    /// The message as a point of the curve, computed once.
    pub(crate) fn hash(&self, message: &Message) -> G1 {
        if let Some(known) = self.tables().hashes.get(message) {
            return *known;
        }
        let hash = G1::hash(message, VOTE_TAG);
        keep(&mut self.tables().hashes, *message, hash);
        hash
    }

    /// Decompresses, once per encoding.
    pub(crate) fn point(&self, bytes: &Aggregate) -> Option<G1Affine> {
        if let Some(known) = self.tables().points.get(bytes) {
            return *known;
        }
        let point = G1Affine::uncompress(bytes);
        keep(&mut self.tables().points, *bytes, point);
        point
    }

    /// An aggregate that was just compressed need not be decompressed. Infinity is left to the decoder, which refuses it.
    pub(crate) fn learn_point(&self, bytes: &Aggregate, point: &G1) {
        let mut tables = self.tables();
        if !point.is_infinity() && !tables.points.contains_key(bytes) {
            keep(&mut tables.points, *bytes, Some(point.to_affine()));
        }
    }

    /// Whether this signature of one member over one message is known to be valid.
    pub(crate) fn knows_vote(&self, key: &PublicKey, message: &Message, signature: &Wire) -> bool {
        self.tables().votes.get(signature).is_some_and(|known| *known == (*key, *message, true))
    }

    /// The verdict on one member's signature.
    pub(crate) fn vote(&self, key: &PublicKey, message: &Message, signature: &Wire, check: impl FnOnce() -> bool) -> bool {
        if let Some((known_key, known_message, verdict)) = self.tables().votes.get(signature)
            && (known_key, known_message) == (key, message)
        {
            return *verdict;
        }
        let verdict = check();
        keep(&mut self.tables().votes, *signature, (*key, *message, verdict));
        verdict
    }

    /// The verdict on an aggregate of `members` of the set with this fingerprint.
    pub(crate) fn certificate(
        &self,
        set: &Digest,
        members: &SignerBitmap,
        message: &Message,
        aggregate: &Aggregate,
        check: impl FnOnce() -> bool,
    ) -> bool {
        if let Some((known_members, known_message, verdict)) = self.tables().certificates.get(&(*aggregate, *set))
            && (known_members, known_message) == (members, message)
        {
            return *verdict;
        }
        let verdict = check();
        keep(&mut self.tables().certificates, (*aggregate, *set), (*members, *message, verdict));
        verdict
    }

    /// The verdict on a leader's signature over a slice commitment.
    pub(crate) fn slice(
        &self,
        key: &[u8; 32],
        message: &[u8; COMMITMENT_BYTES],
        signature: &[u8; 64],
        check: impl FnOnce() -> bool,
    ) -> bool {
        if let Some((known_key, known_message, verdict)) = self.tables().slices.get(signature)
            && (known_key, known_message) == (key, message)
        {
            return *verdict;
        }
        let verdict = check();
        keep(&mut self.tables().slices, *signature, (*key, *message, verdict));
        verdict
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Cluster, vote};
    use crate::{CertificateReject, ViewBook, VoteSecret};
    use samara_types::ValidatorIndex;
    use samara_types::message::CertificateKind;
    use std::sync::Arc;

    fn with_memo(cluster: Cluster) -> Cluster {
        let memo = Arc::new(Memo::default());
        let keys = cluster.keys.into_iter().map(|mut keys| {
            keys.vote = keys.vote.with_memo(Arc::clone(&memo));
            keys
        });
        let keys = keys.collect();
        Cluster { roster: cluster.roster.with_memo(memo), keys }
    }

    /// Everybody signs `vote(1)`, except that what `signature_of` returns is sent.
    fn book(cluster: &Cluster, signature_of: impl Fn(u16) -> Wire) -> ViewBook {
        let mut book = cluster.book();
        for index in 0..cluster.keys.len() as u16 {
            book.add(vote(1), ValidatorIndex(index), signature_of(index));
        }
        book
    }

    #[test]
    fn verdicts_certificates_and_counters_are_the_same_with_and_without_a_memo() {
        let (plain, remembering) = (Cluster::equal(6), with_memo(Cluster::equal(6)));
        for bad in 0..7u16 {
            let outcome = |cluster: &Cluster| {
                let mut book = book(cluster, |index| cluster.sign(index, &vote(if index == bad { 2 } else { 1 })));
                let settled = book.settle(&cluster.roster, &vote(1));
                let certificate = book.certificate(&cluster.roster, &vote(1), CertificateKind::L).unwrap().to_message();
                (settled.culprits, settled.verified, cluster.verify(&certificate).map(|c| c.to_message()), certificate)
            };
            assert_eq!(outcome(&plain), outcome(&remembering), "culprit {bad}");
        }
    }

    #[test]
    fn a_signature_known_for_one_subject_or_signer_is_not_good_for_another() {
        let cluster = with_memo(Cluster::equal(6));
        let other_subject = cluster.sign(0, &vote(2));
        assert!(cluster.roster.verify_subject(ValidatorIndex(0), &vote(2), &other_subject));
        assert!(!cluster.roster.verify_subject(ValidatorIndex(0), &vote(1), &other_subject));
        assert!(!cluster.roster.verify_subject(ValidatorIndex(1), &vote(2), &other_subject));
        assert!(cluster.roster.verify_subject(ValidatorIndex(0), &vote(2), &other_subject), "the last verdict replaced the first");
    }

    #[test]
    fn a_known_certificate_with_another_bitmap_or_subject_is_refused() {
        let cluster = with_memo(Cluster::equal(6));
        let good = cluster.certificate(&vote(1), CertificateKind::M, 0..3).to_message();
        assert!(cluster.verify(&good).is_ok());
        let mut bitmap = good.clone();
        bitmap.signers = vec![0b1011];
        assert_eq!(cluster.verify(&bitmap).unwrap_err(), CertificateReject::BadSignature);
        let mut digest = good.clone();
        digest.digest = [2; 32];
        assert_eq!(cluster.verify(&digest).unwrap_err(), CertificateReject::BadSignature);
        assert!(cluster.verify(&good).is_ok());
    }

    /// Small secrets are multiplied by fewer bits, and hashes are shared: the bytes are those of the plain signature.
    #[test]
    fn signatures_are_the_same_with_and_without_a_memo_for_secrets_of_every_length() {
        let cluster = Cluster::equal(6);
        let domain = cluster.roster.domain();
        for significant in 1..=32 {
            let mut bytes = [0; 32];
            bytes[32 - significant..].iter_mut().zip(1u8..).for_each(|(byte, value)| *byte = value.wrapping_mul(37) >> 2 | 1);
            let plain = VoteSecret::from_bytes(&bytes).unwrap();
            let remembering = plain.clone().with_memo(Arc::new(Memo::default()));
            for digest in 1..3 {
                assert_eq!(remembering.sign(domain, &vote(digest)), plain.sign(domain, &vote(digest)), "{significant} bytes");
            }
        }
    }

    #[test]
    fn a_full_table_is_emptied() {
        let mut table = HashMap::new();
        for key in 0..=ENTRIES_MAX {
            keep(&mut table, key, ());
        }
        assert_eq!(table.len(), 1);
    }
}
