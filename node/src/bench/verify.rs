//! Votes, certificates and transactions against verification one by one.
//!
//! Ours begins at the wire: archived votes into a book, settled, out comes the certificate. The rival decodes and checks each vote by itself
//! with blst (`Signature::verify`); for certificates it is blst's own `fast_aggregate_verify` over keys that are decoded already; for
//! transactions `verify_strict` of ed25519-dalek on the transaction's id. Bad votes are points of the right group (a vote for another
//! block), the kind that decoding does not catch.

use super::Row;
use super::measure::{Effort, compare};
use blst::BLST_ERROR;
use blst::min_sig::{PublicKey, Signature};
use samara_crypto::bls::VOTE_TAG;
use samara_crypto::{IdentitySecret, KeySum, Roster, SessionSecret, TransactionVerifier, ViewBook, VoteSecret, sign_transaction};
use samara_types::message::{self, ArchivedCertificate, ArchivedVote, CertificateKind, access, encode};
use samara_types::{
    ChainId, Digest, Epoch, SigningDomain, Stake, Subject, Transaction, ValidatorEntry, ValidatorIndex, ValidatorSet, View,
};
use std::hint::black_box;

const VIEW: View = View(9);
const DOMAIN: SigningDomain = SigningDomain { chain: ChainId([7; 32]), epoch: Epoch(0) };
/// Bytes of a transaction.
const TRANSACTION_BYTES: usize = 512;

/// The rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let (small, medium, large) = (Members::new(6), Members::new(128), Members::new(1_024));
    let mut rows = vec![
        small.votes(effort, 6, |_| false, "votes_6"),
        medium.votes(effort, 128, |_| false, "votes_128"),
        medium.votes(effort, 128, |signer| signer == 77, "votes_128_1bad"),
        medium.votes(effort, 128, |signer| signer % 3 == 1 && signer < 126, "votes_128_42bad"),
        large.votes(effort, 1_024, |_| false, "votes_1024"),
        small.certificate(effort, 5, "cert_5_of_6"),
        medium.certificate(effort, 103, "cert_128"),
        large.certificate(effort, 1_000, "cert_1000"),
        large.certificate(effort, 512, "cert_512_of_1024"),
        medium.certificates(effort, 32, |at| at, "certs_run_32"),
        medium.certificates(effort, 32, |_| 0, "certs_run_32_same_signers"),
    ];
    for count in [1, 8, 32, 64, 256] {
        rows.push(transactions(effort, count, 1, true, &format!("ed25519_tx_{count}")));
    }
    rows.push(transactions(effort, 64, 64, true, "ed25519_tx_64_met_keys"));
    rows.push(transactions(effort, 64, 64, false, "ed25519_tx_64_fresh_keys"));
    rows
}

/// A set of validators with unit stakes, and its keys once more for the rival.
struct Members {
    secrets: Vec<VoteSecret>,
    roster: Roster,
    keys: Vec<PublicKey>,
}

fn seed(index: usize) -> [u8; 32] {
    let mut seed = Digest::of("samara bench verify", &[&index.to_le_bytes()]).0;
    seed[0] &= 0x3f;
    seed
}

impl Members {
    fn new(count: usize) -> Members {
        let secrets: Vec<_> = (0..count).map(|index| VoteSecret::from_bytes(&seed(index)).expect("below the group order")).collect();
        let entry = |(index, vote): (usize, &VoteSecret)| ValidatorEntry {
            stake: Stake(1),
            vote_key: vote.public_key(),
            possession: vote.possession(),
            identity_key: IdentitySecret::from_bytes(&seed(index)).public_key(),
            session_key: SessionSecret::from_bytes(&seed(index)).public_key(),
        };
        let set = ValidatorSet::new(secrets.iter().enumerate().map(entry).collect(), None).expect("a set of unit stakes");
        let keys = secrets.iter().map(|secret| PublicKey::key_validate(&secret.public_key()).expect("a good key")).collect();
        Members { roster: Roster::new(set, DOMAIN).expect("genuine keys"), secrets, keys }
    }

    fn settled(&self, wire: &[impl AsRef<[u8]>], subject: &Subject) -> (ViewBook, Vec<ValidatorIndex>) {
        let mut book = ViewBook::new(subject.view(), self.secrets.len());
        for (signer, bytes) in wire.iter().enumerate() {
            let vote = access::<ArchivedVote>(bytes.as_ref()).expect("an archived vote");
            let subject = Subject::Vote(View(vote.view.to_native()), Digest(vote.digest));
            book.add(subject, ValidatorIndex(signer as u16), vote.signature);
        }
        let culprits = book.settle(&self.roster, subject).culprits;
        (book, culprits)
    }

    /// Votes of the first `count` members, from the wire to the certificate; the rival says who is bad.
    fn votes(&self, effort: Effort, count: usize, bad: impl Fn(usize) -> bool, name: &str) -> Row {
        let subject = Subject::Vote(VIEW, Digest([3; 32]));
        let other = Subject::Vote(VIEW, Digest([4; 32]));
        let signed: Vec<_> = (0..count).map(|at| self.secrets[at].sign(&DOMAIN, if bad(at) { &other } else { &subject })).collect();
        let wire: Vec<_> =
            signed.iter().map(|&signature| encode(&message::Vote { view: VIEW.0, digest: subject.digest().0, signature })).collect();
        let expected: Vec<_> = (0..count).filter(|at| bad(*at)).map(|at| ValidatorIndex(at as u16)).collect();
        let kind = CertificateKind::M;
        let ours = || {
            let (book, culprits) = self.settled(black_box(&wire), &subject);
            (book.certificate(&self.roster, &subject, kind).expect("enough good ones"), culprits)
        };
        let message = subject.signing_bytes(&DOMAIN);
        let compressed: Vec<_> = signed.iter().map(|bytes| Signature::deserialize(bytes).expect("a point").compress()).collect();
        let rival = || {
            let verify = |at: &usize| {
                let signature = Signature::uncompress(&black_box(&compressed)[*at]).expect("a point");
                signature.verify(true, &message, VOTE_TAG, &[], &self.keys[*at], false) != BLST_ERROR::BLST_SUCCESS
            };
            (0..count).filter(verify).map(|at| ValidatorIndex(at as u16)).collect::<Vec<_>>()
        };
        assert_eq!((ours().1, rival()), (expected.clone(), expected), "both sides name the culprits");
        Row::new(name, "blst verify one by one", wire.iter().map(|bytes| bytes.len() as u64).sum(), compare(effort, ours, rival))
    }

    /// A certificate over `count` members beginning at `first`, as it travels.
    fn wire(&self, first: usize, count: usize, subject: &Subject) -> Vec<u8> {
        let mut book = ViewBook::new(subject.view(), self.secrets.len());
        for at in (first..first + count).map(|at| at % self.secrets.len()) {
            book.add_own(*subject, ValidatorIndex(at as u16), self.secrets[at].sign(&DOMAIN, subject));
        }
        encode(&book.certificate(&self.roster, subject, CertificateKind::M).expect("enough").to_message()).to_vec()
    }

    fn rival_verifies(&self, certificate: &ArchivedCertificate, subject: &Subject, signers: &[&PublicKey]) -> bool {
        let Ok(signature) = Signature::uncompress(&certificate.signature) else { return false };
        let message = subject.signing_bytes(&DOMAIN);
        signature.fast_aggregate_verify(true, &message, VOTE_TAG, signers) == BLST_ERROR::BLST_SUCCESS
    }

    fn signers(&self, first: usize, count: usize) -> Vec<&PublicKey> {
        (first..first + count).map(|at| &self.keys[at % self.keys.len()]).collect()
    }

    fn certificate(&self, effort: Effort, count: usize, name: &str) -> Row {
        let subject = Subject::Vote(VIEW, Digest([3; 32]));
        let (wire, signers) = (self.wire(0, count, &subject), self.signers(0, count));
        let archived = access::<ArchivedCertificate>(&wire).expect("an archived certificate");
        let ours = || self.roster.verify_certificate(black_box(archived)).is_ok();
        let rival = || self.rival_verifies(black_box(archived), &subject, &signers);
        assert!(ours() && rival());
        Row::new(name, "blst fast_aggregate_verify", wire.len() as u64, compare(effort, ours, rival))
    }

    /// Certificates of as many blocks, each over a quorum that begins with member `first(i)`.
    fn certificates(&self, effort: Effort, count: usize, first: impl Fn(usize) -> usize, name: &str) -> Row {
        let quorum = self.secrets.len() * 4 / 5 + 1;
        let subjects: Vec<_> = (0..count).map(|at| Subject::Vote(View(at as u64), Digest([at as u8; 32]))).collect();
        let wires: Vec<_> = subjects.iter().enumerate().map(|(at, subject)| self.wire(first(at), quorum, subject)).collect();
        let archived: Vec<_> = wires.iter().map(|wire| access::<ArchivedCertificate>(wire).expect("an archived certificate")).collect();
        let signers: Vec<_> = (0..count).map(|at| self.signers(first(at), quorum)).collect();
        let mut keys = KeySum::default();
        let mut ours = || self.roster.verify_certificates(&mut keys, black_box(&archived)).is_some();
        let rival = || (0..count).all(|at| self.rival_verifies(black_box(archived[at]), &subjects[at], &signers[at]));
        assert!(ours() && rival());
        Row::new(name, "blst fast_aggregate_verify each", wires.iter().map(|wire| wire.len() as u64).sum(), compare(effort, ours, rival))
    }
}

/// Transactions of `clients` keys in turn. `met`: the verifier has seen the keys before.
fn transactions(effort: Effort, count: usize, clients: usize, met: bool, name: &str) -> Row {
    let chain = DOMAIN.chain;
    let secrets: Vec<_> = (0..clients).map(|client| IdentitySecret::from_bytes(&seed(client))).collect();
    let data = [1; TRANSACTION_BYTES - samara_types::transaction::TRANSACTION_HEADER_BYTES];
    let raw: Vec<_> = (0..count).map(|at| sign_transaction(&chain, &secrets[at % clients], at as u64, &data)).collect();
    let parsed: Vec<_> = raw.iter().map(|bytes| Transaction::parse(bytes).expect("well formed")).collect();
    let mut verifier = TransactionVerifier::new(chain);
    let ours = || {
        if !met {
            verifier = TransactionVerifier::new(chain);
        }
        verifier.verify_transactions(black_box(&parsed)).into_iter().all(|good| good)
    };
    let rival = || black_box(&parsed).iter().all(|transaction| dalek_verifies(&chain, transaction));
    let pair = {
        let (mut ours, rival) = (ours, rival);
        assert!(ours() && rival());
        compare(effort, ours, rival)
    };
    Row::new(name, "ed25519-dalek verify_strict one by one", raw.iter().map(|bytes| bytes.len() as u64).sum(), pair)
}

fn dalek_verifies(chain: &ChainId, transaction: &Transaction<'_>) -> bool {
    let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(transaction.public_key()) else { return false };
    key.verify_strict(&transaction.id(chain).0, &ed25519_dalek::Signature::from_bytes(transaction.signature())).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_on_votes_certificates_and_transactions() {
        let members = Members::new(6);
        let rows = [
            members.votes(Effort::Smoke, 6, |_| false, "votes"),
            members.votes(Effort::Smoke, 6, |signer| signer % 2 == 1, "votes with bad ones"),
            members.certificate(Effort::Smoke, 5, "certificate"),
            members.certificates(Effort::Smoke, 4, |at| at, "certificates"),
            transactions(Effort::Smoke, 4, 2, true, "transactions"),
            transactions(Effort::Smoke, 4, 2, false, "transactions"),
        ];
        assert!(rows.iter().all(|row| row.ours_ns > 0.0 && row.rival_ns > 0.0 && row.bytes > 0));
    }
}
