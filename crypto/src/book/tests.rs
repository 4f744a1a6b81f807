use super::*;
use crate::fixture::{Cluster, DOMAIN, NULLIFY, VIEW, keyring, vote};
use crate::oracle;
use crate::{CertificateReject, VoteSecret};
use proptest::prelude::*;
use samara_types::message::ArchivedVote;
use samara_types::{Epoch, SigningDomain};
use std::collections::{BTreeMap, BTreeSet};

fn at(index: u16) -> ValidatorIndex {
    ValidatorIndex(index)
}

fn bitmap(indexes: impl IntoIterator<Item = u16>) -> SignerBitmap {
    indexes.into_iter().map(ValidatorIndex).collect()
}

/// Ways for `index` to sign `subject` wrongly; the last four do not even decode.
fn bad_signatures(cluster: &Cluster, index: u16, subject: &Subject) -> Vec<[u8; 96]> {
    let good = oracle::decode_g1(&cluster.sign(index, subject));
    let next = (index + 1) % cluster.keys.len() as u16;
    let secret = &cluster.keys[usize::from(index)].vote;
    let mut infinity = [0; 96];
    infinity[0] = 0x40;
    let proof = G1Affine::uncompress(&secret.possession()).unwrap();
    vec![
        cluster.sign(next, subject),
        cluster.sign(index, &Subject::Vote(View(VIEW.0 + 1), Digest([1; 32]))),
        secret.sign(&SigningDomain { epoch: Epoch(1), ..DOMAIN }, subject),
        proof.serialize(),
        oracle::encode_g1((good + oracle::cofactor_g1()).into()),
        oracle::encode_g1((good + oracle::order_three_g1()).into()),
        oracle::encode_g1(oracle::order_three_g1()),
        infinity,
        oracle::off_curve_g1(),
        [0; 96],
    ]
}

/// Restates the arithmetic of the paper: n=6: 3/3/5, n=11: 5/5/9.
#[test]
fn certificates_form_exactly_at_their_thresholds() {
    for (n, m, l) in [(6u16, 3, 5), (11, 5, 9)] {
        let cluster = Cluster::equal(n.into());
        let cases = [(CertificateKind::M, vote(1), m), (CertificateKind::L, vote(1), l), (CertificateKind::Nullification, NULLIFY, m)];
        for (kind, subject, threshold) in cases {
            for count in [threshold - 1, threshold] {
                let mut book = cluster.signed(&subject, 0..count);
                assert_eq!(book.weight(&cluster.roster, &subject), Stake(count.into()));
                assert!(book.certificate(&cluster.roster, &subject, kind).is_none(), "nothing is verified yet");
                let settled = book.settle(&cluster.roster, &subject);
                assert_eq!(settled, Settled { verified: Stake(count.into()), culprits: vec![], pairing_checks: 1 });
                let certificate = book.certificate(&cluster.roster, &subject, kind);
                assert_eq!(certificate.is_some(), count == threshold, "n = {n}, {kind:?}, {count} signers");
                if let Some(certificate) = certificate {
                    assert_eq!(*certificate.signers(), bitmap(0..count));
                    assert_eq!(cluster.verify(&certificate.to_message()), Ok(certificate));
                }
            }
        }
    }
}

#[test]
fn weight_counts_not_heads() {
    // S = 31, f = 6, M = 13, L = 25.
    let cluster = Cluster::of(&[6, 6, 6, 6, 4, 3]);
    let forms = |signers: &[u16], kind| {
        let mut book = cluster.signed(&vote(1), signers.iter().copied());
        book.settle(&cluster.roster, &vote(1));
        book.certificate(&cluster.roster, &vote(1), kind).is_some()
    };
    assert!(!forms(&[0, 1], CertificateKind::M) && forms(&[0, 4, 5], CertificateKind::M));
    assert!(!forms(&[0, 1, 2, 3], CertificateKind::L) && forms(&[1, 2, 3, 4, 5], CertificateKind::L));
}

#[test]
fn a_kind_that_does_not_fit_its_subject_makes_no_certificate() {
    let cluster = Cluster::equal(6);
    for (subject, fitting) in [(vote(1), &[CertificateKind::M, CertificateKind::L][..]), (NULLIFY, &[CertificateKind::Nullification])] {
        let mut book = cluster.signed(&subject, 0..6);
        book.settle(&cluster.roster, &subject);
        for kind in [CertificateKind::Nullification, CertificateKind::M, CertificateKind::L] {
            assert_eq!(book.certificate(&cluster.roster, &subject, kind).is_some(), fitting.contains(&kind));
        }
    }
}

#[test]
fn votes_nullifies_and_digests_are_counted_apart() {
    let cluster = Cluster::equal(6);
    let mut book = cluster.signed(&vote(1), 0..3);
    for signer in 3..5 {
        book.add(vote(2), at(signer), cluster.sign(signer, &vote(2)));
    }
    book.add(NULLIFY, at(0), cluster.sign(0, &NULLIFY));
    let weight = |subject| book.weight(&cluster.roster, &subject);
    assert_eq!((weight(vote(1)), weight(vote(2)), weight(vote(3)), weight(NULLIFY)), (Stake(3), Stake(2), Stake(0), Stake(1)));
    assert_eq!(book.subjects().copied().collect::<Vec<_>>(), [vote(1), vote(2)]);
}

#[test]
fn a_repeated_vote_counts_once() {
    let cluster = Cluster::equal(6);
    for subject in [vote(1), NULLIFY] {
        let mut book = cluster.book();
        assert_eq!(book.add(subject, at(1), cluster.sign(1, &subject)), Added::New);
        assert_eq!(book.add(subject, at(1), cluster.sign(1, &subject)), Added::Duplicate);
        assert_eq!(book.weight(&cluster.roster, &subject), Stake(1));
        assert_eq!(book.settle(&cluster.roster, &subject).pairing_checks, 1);
        assert_eq!(book.add(subject, at(1), cluster.sign(1, &subject)), Added::Duplicate);
        assert_eq!(book.settle(&cluster.roster, &subject), Settled { verified: Stake(1), culprits: vec![], pairing_checks: 0 });
    }
}

#[test]
fn a_signer_holds_two_vote_digests_and_one_nullify_at_most() {
    let cluster = Cluster::equal(6);
    let mut book = cluster.book();
    let results: Vec<_> = (0..200u8).map(|byte| book.add(vote(byte), at(1), [byte; 96])).collect();
    assert_eq!(results[..3], [Added::New, Added::Conflict, Added::Excess]);
    assert!(results[2..].iter().all(|added| *added == Added::Excess));
    assert_eq!(book.add(NULLIFY, at(1), [1; 96]), Added::New);
    assert_eq!(book.add(NULLIFY, at(1), [2; 96]), Added::Duplicate);
    assert_eq!(book.add(vote(1), at(1), [9; 96]), Added::Duplicate);
    assert_eq!(book.tallies.len(), 3);
}

#[test]
fn garbage_from_everybody_leaves_a_bounded_book_and_every_culprit_named() {
    let cluster = Cluster::equal(11);
    let mut book = cluster.book();
    for byte in 0..40u8 {
        for signer in 0..11 {
            book.add(vote(byte.wrapping_mul(7) ^ signer as u8), at(signer), [byte; 96]);
        }
    }
    assert!(book.tallies.len() <= 2 * 11);
    let subjects: Vec<_> = book.subjects().copied().collect();
    let mut culprits: Vec<_> = subjects.iter().flat_map(|subject| book.settle(&cluster.roster, subject).culprits).collect();
    culprits.sort_unstable();
    assert_eq!(culprits, (0..11).map(at).collect::<Vec<_>>(), "each once");
    assert!(book.tallies.is_empty());
}

#[test]
fn one_culprit_of_every_kind_is_found_and_the_others_count() {
    let cluster = Cluster::equal(6);
    for subject in [vote(1), NULLIFY] {
        for culprit in 0..6 {
            for (kind, bad) in bad_signatures(&cluster, culprit, &subject).into_iter().enumerate() {
                let mut book = cluster.book();
                for signer in 0..6 {
                    book.add(subject, at(signer), if signer == culprit { bad } else { cluster.sign(signer, &subject) });
                }
                let settled = book.settle(&cluster.roster, &subject);
                assert_eq!((settled.verified, settled.culprits), (Stake(5), vec![at(culprit)]), "kind {kind}");
                assert!(settled.pairing_checks <= if kind < 6 { 1 + 3 } else { 1 }, "kind {kind}: {}", settled.pairing_checks);
                let fit = if subject == NULLIFY { CertificateKind::Nullification } else { CertificateKind::L };
                let certificate = book.certificate(&cluster.roster, &subject, fit).unwrap();
                assert!(!certificate.signers().contains(at(culprit)));
                assert_eq!(cluster.verify(&certificate.to_message()), Ok(certificate));
            }
        }
    }
}

#[test]
fn every_set_of_culprits_is_found_exactly() {
    let cluster = Cluster::equal(6);
    let good: Vec<_> = (0..6).map(|signer| cluster.sign(signer, &vote(1))).collect();
    let bad: Vec<_> = (0..6).map(|signer| cluster.sign(signer, &vote(2))).collect();
    for mask in 0..64u16 {
        let mut book = cluster.book();
        for signer in 0..6 {
            let signature = if mask >> signer & 1 == 1 { bad[signer] } else { good[signer] };
            book.add(vote(1), at(signer as u16), signature);
        }
        let settled = book.settle(&cluster.roster, &vote(1));
        assert_eq!(bitmap(settled.culprits.iter().map(|c| c.0)), bitmap((0..6).filter(|s| mask >> s & 1 == 1)), "mask {mask:b}");
        assert_eq!(settled.verified, Stake((6 - mask.count_ones()).into()));
        assert_eq!(book.verified(&vote(1)), book.signers(&vote(1)));
        assert_eq!(book.signers(&vote(1)), bitmap((0..6).filter(|s| mask >> s & 1 == 0)));
    }
}

#[test]
fn a_culprit_is_barred_from_its_view_and_loses_only_what_is_unverified() {
    let cluster = Cluster::equal(6);
    let mut book = cluster.signed(&vote(1), 0..3);
    assert!(book.settle(&cluster.roster, &vote(1)).culprits.is_empty());
    book.add(NULLIFY, at(0), cluster.sign(1, &NULLIFY));
    book.add(vote(2), at(0), cluster.sign(0, &vote(2)));
    assert_eq!(book.settle(&cluster.roster, &NULLIFY).culprits, [at(0)]);
    assert_eq!(book.verified(&vote(1)), bitmap(0..3), "inside the aggregate");
    assert!(book.signers(&vote(2)).is_empty() && book.signers(&NULLIFY).is_empty());
    for subject in [vote(1), vote(2), vote(3), NULLIFY] {
        assert_eq!(book.add(subject, at(0), cluster.sign(0, &subject)), Added::Barred);
    }
    let certificate = book.certificate(&cluster.roster, &vote(1), CertificateKind::M).unwrap();
    assert_eq!(cluster.verify(&certificate.to_message()), Ok(certificate));
}

#[test]
fn a_later_settle_checks_only_what_came_since() {
    let cluster = Cluster::equal(6);
    let mut book = cluster.signed(&vote(1), 0..3);
    assert_eq!(book.settle(&cluster.roster, &vote(1)).pairing_checks, 1);
    assert_eq!(book.settle(&cluster.roster, &vote(1)).pairing_checks, 0);
    book.add(vote(1), at(3), cluster.sign(3, &vote(1)));
    book.add(vote(1), at(4), cluster.sign(0, &vote(1)));
    assert_eq!((book.weight(&cluster.roster, &vote(1)), book.verified(&vote(1))), (Stake(5), bitmap(0..3)));
    let settled = book.settle(&cluster.roster, &vote(1));
    assert_eq!((settled.verified, settled.culprits), (Stake(4), vec![at(4)]));
    book.add(vote(1), at(5), cluster.sign(5, &vote(1)));
    assert_eq!(book.settle(&cluster.roster, &vote(1)).verified, Stake(5));
    let certificate = book.certificate(&cluster.roster, &vote(1), CertificateKind::L).unwrap();
    assert_eq!(*certificate.signers(), bitmap([0, 1, 2, 3, 5]));
    assert_eq!(cluster.verify(&certificate.to_message()), Ok(certificate));
}

#[test]
fn our_own_signature_counts_without_a_check() {
    let cluster = Cluster::equal(6);
    for subject in [vote(1), NULLIFY] {
        let mut book = cluster.book();
        book.add_own(subject, at(2), cluster.sign(2, &subject));
        book.add_own(subject, at(2), cluster.sign(2, &subject));
        assert_eq!(book.settle(&cluster.roster, &subject), Settled { verified: Stake(1), culprits: vec![], pairing_checks: 0 });
        assert_eq!(book.add(subject, at(2), cluster.sign(2, &subject)), Added::Duplicate);
        book.add(subject, at(0), cluster.sign(0, &subject));
        book.add(subject, at(1), cluster.sign(1, &subject));
        assert_eq!(book.settle(&cluster.roster, &subject).verified, Stake(3));
        let kind = if subject == NULLIFY { CertificateKind::Nullification } else { CertificateKind::M };
        let certificate = book.certificate(&cluster.roster, &subject, kind).unwrap();
        assert_eq!(cluster.verify(&certificate.to_message()), Ok(certificate));
    }
}

#[test]
fn our_own_signature_that_came_back_first_counts_once() {
    let cluster = Cluster::equal(6);
    let mut book = cluster.book();
    book.add(vote(1), at(2), cluster.sign(2, &vote(1)));
    book.add_own(vote(1), at(2), cluster.sign(2, &vote(1)));
    assert_eq!((book.weight(&cluster.roster, &vote(1)), book.verified(&vote(1))), (Stake(1), bitmap([2])));
    assert_eq!(book.settle(&cluster.roster, &vote(1)).pairing_checks, 0);
}

/// The contradiction rule counts distinct signers: split votes (two conflicting and one nullify) must trigger it.
#[test]
fn signers_against_a_block_are_distinct_and_exclude_its_voters() {
    let cluster = Cluster::equal(6);
    let mut book = cluster.signed(&vote(1), [0, 1]);
    assert!(book.against(&Digest([1; 32])).is_empty());
    for signer in [2, 3] {
        book.add(vote(2), at(signer), cluster.sign(signer, &vote(2)));
    }
    for signer in [3, 4] {
        book.add(NULLIFY, at(signer), cluster.sign(signer, &NULLIFY));
    }
    assert_eq!(book.against(&Digest([1; 32])), bitmap([2, 3, 4]));
    assert_eq!(book.against(&Digest([2; 32])), bitmap([0, 1, 3, 4]));
    assert_eq!(book.against(&Digest([3; 32])), bitmap(0..5));
    // An equivocator that also voted for our block has spoken against it.
    book.add(vote(2), at(0), cluster.sign(0, &vote(2)));
    assert_eq!(book.against(&Digest([1; 32])), bitmap([0, 2, 3, 4]));
    book.settle(&cluster.roster, &NULLIFY);
    assert_eq!(book.against(&Digest([1; 32])), bitmap([0, 2, 3, 4]), "verified or not");
}

#[test]
fn equivocation_is_proven_by_two_good_signatures_and_reported_once() {
    let cluster = Cluster::equal(6);
    let mut book = cluster.signed(&vote(2), 0..3);
    book.settle(&cluster.roster, &vote(2));
    assert!(book.take_equivocations(&cluster.roster, &SignerBitmap::default()).is_empty());
    assert_eq!(book.add(vote(1), at(1), cluster.sign(1, &vote(1))), Added::Conflict);
    // Nobody can be framed: the session says who sent this, and its signature is not theirs.
    assert_eq!(book.add(vote(1), at(2), cluster.sign(1, &vote(1))), Added::Conflict);
    let evidence = book.take_equivocations(&cluster.roster, &SignerBitmap::default());
    let accusations: Vec<_> = evidence.iter().map(|evidence| (evidence.accused, evidence.offence, evidence.view)).collect();
    assert_eq!(accusations, [(at(1), Offence::VoteEquivocation, VIEW), (at(2), Offence::BadVoteSignature, VIEW)]);
    assert!(evidence[1].proof.is_empty());
    let (first, second) = evidence[0].proof.split_at(evidence[0].proof.len() / 2);
    for (half, digest) in [(first, 1), (second, 2)] {
        let half = message::access::<ArchivedVote>(half).unwrap();
        assert_eq!((half.view.to_native(), half.digest), (VIEW.0, [digest; 32]));
        assert!(cluster.roster.verify_subject(at(1), &vote(digest), &half.signature));
    }
    assert!(book.take_equivocations(&cluster.roster, &SignerBitmap::default()).is_empty());
    book.add(vote(1), at(1), cluster.sign(1, &vote(1)));
    assert!(book.take_equivocations(&cluster.roster, &SignerBitmap::default()).is_empty());
}

#[test]
fn evidence_does_not_depend_on_the_order_of_arrival() {
    let cluster = Cluster::equal(6);
    let evidence = |order: [u8; 2]| {
        let mut book = cluster.book();
        for byte in order {
            book.add(vote(byte), at(4), cluster.sign(4, &vote(byte)));
        }
        book.take_equivocations(&cluster.roster, &SignerBitmap::default())
    };
    assert_eq!(evidence([1, 2]), evidence([2, 1]));
    assert_eq!(evidence([1, 2]).len(), 1);
}

/// A vote and a nullify in one view are legal (Minimmit l.15: nullify after voting); they are no equivocation.
#[test]
fn a_vote_and_a_nullify_are_no_equivocation() {
    let cluster = Cluster::equal(6);
    let mut book = cluster.signed(&vote(1), 0..1);
    assert_eq!(book.add(NULLIFY, at(0), cluster.sign(0, &NULLIFY)), Added::New);
    assert!(book.take_equivocations(&cluster.roster, &SignerBitmap::default()).is_empty());
}

/// Two colluders send S1 + E and S2 - E: the plain sum cannot tell, and need not (see `bls`).
#[test]
fn errors_of_colluders_that_cancel_leave_a_certificate_that_verifies() {
    let cluster = Cluster::equal(6);
    let inside = oracle::decode_g1(&keyring(30).vote.sign(&DOMAIN, &vote(9)));
    for error in [inside, oracle::cofactor_g1(), oracle::order_three_g1()] {
        let mut book = cluster.signed(&vote(1), 2..5);
        let plus = oracle::encode_g1((oracle::decode_g1(&cluster.sign(0, &vote(1))) + error).into());
        let minus = oracle::encode_g1((oracle::decode_g1(&cluster.sign(1, &vote(1))) - error).into());
        assert!(!cluster.roster.verify_subject(at(0), &vote(1), &plus));
        assert!(!cluster.roster.verify_subject(at(1), &vote(1), &minus));
        book.add(vote(1), at(0), plus);
        book.add(vote(1), at(1), minus);
        let settled = book.settle(&cluster.roster, &vote(1));
        assert_eq!(settled, Settled { verified: Stake(5), culprits: vec![], pairing_checks: 1 });
        let certificate = book.certificate(&cluster.roster, &vote(1), CertificateKind::L).unwrap();
        assert_eq!(certificate, cluster.certificate(&vote(1), CertificateKind::L, 0..5), "byte for byte that of honest signatures");
        assert_eq!(cluster.verify(&certificate.to_message()), Ok(certificate));
        // A proof of equivocation never rests on such a signature; its sender is known for it once it is judged alone.
        book.add(vote(2), at(0), cluster.sign(0, &vote(2)));
        let evidence = book.take_equivocations(&cluster.roster, &SignerBitmap::default());
        assert!(matches!(&evidence[..], [bad] if bad.offence == Offence::BadVoteSignature && bad.accused == at(0) && bad.proof.is_empty()));
    }
}

#[test]
fn errors_that_do_not_cancel_name_the_colluders() {
    let cluster = Cluster::equal(6);
    let error = oracle::cofactor_g1();
    let mut book = cluster.signed(&vote(1), 1..5);
    for signer in [0, 5] {
        let good = oracle::decode_g1(&cluster.sign(signer, &vote(1)));
        book.add(vote(1), at(signer), oracle::encode_g1((good + error).into()));
    }
    let settled = book.settle(&cluster.roster, &vote(1));
    assert_eq!((settled.verified, settled.culprits), (Stake(4), vec![at(0), at(5)]));
}

/// Two members with opposite secrets: their keys and signatures sum to infinity, and nobody is accused for it.
#[test]
fn keys_that_cancel_are_counted_like_any_others() {
    let opposite = oracle::scalar_bytes(-oracle::scalar(&keyring(0).vote.to_bytes()));
    let mut keys: Vec<_> = (0..6).map(keyring).collect();
    keys[1].vote = VoteSecret::from_bytes(&opposite).unwrap();
    let entries = keys.iter().map(|keys| crate::fixture::entry(keys, 1)).collect();
    let set = samara_types::ValidatorSet::new(entries, None).unwrap();
    let cluster = Cluster { roster: Roster::new(set, DOMAIN).unwrap(), keys };
    let mut book = cluster.signed(&vote(1), 0..2);
    assert_eq!(book.settle(&cluster.roster, &vote(1)), Settled { verified: Stake(2), culprits: vec![], pairing_checks: 1 });
    book.add(vote(1), at(2), cluster.sign(2, &vote(1)));
    book.settle(&cluster.roster, &vote(1));
    let certificate = book.certificate(&cluster.roster, &vote(1), CertificateKind::M).unwrap();
    assert_eq!(cluster.verify(&certificate.to_message()), Ok(certificate));
}

#[test]
fn a_message_that_lies_about_its_signers_is_refused() {
    let cluster = Cluster::equal(6);
    let mut message = cluster.certificate(&vote(1), CertificateKind::M, 0..3).to_message();
    message.signers = vec![0b001_1110];
    assert_eq!(cluster.verify(&message), Err(CertificateReject::BadSignature));
}

/// One step of the model below.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add { signer: u16, said: u8, good: bool },
    Settle { said: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (0u16..6, 0u8..4, proptest::bool::weighted(0.8)).prop_map(|(signer, said, good)| Step::Add { signer, said, good });
    let settle = (0u8..4).prop_map(|said| Step::Settle { said });
    proptest::collection::vec(prop_oneof![4 => add, 1 => settle], 1..40)
}

/// What the book must know, as plain sets: (signer, said) -> whether its first signature was good.
#[derive(Default)]
struct Model {
    unverified: BTreeMap<(u16, u8), bool>,
    verified: BTreeSet<(u16, u8)>,
    barred: BTreeSet<u16>,
}

impl Model {
    fn add(&mut self, signer: u16, said: u8, good: bool) -> Added {
        if self.barred.contains(&signer) {
            return Added::Barred;
        }
        let holds = |said: u8| self.unverified.contains_key(&(signer, said)) || self.verified.contains(&(signer, said));
        let votes = (1..4).filter(|&said| holds(said)).count();
        let added = match (holds(said), said == 0, votes) {
            (true, ..) => return Added::Duplicate,
            (_, true, _) | (_, _, 0) => Added::New,
            (_, _, 1) => Added::Conflict,
            _ => return Added::Excess,
        };
        self.unverified.insert((signer, said), good);
        added
    }

    fn settle(&mut self, said: u8) -> Vec<ValidatorIndex> {
        let pending: Vec<_> = self.unverified.iter().filter(|((_, s), _)| *s == said).map(|((signer, _), good)| (*signer, *good)).collect();
        for &(signer, _) in pending.iter().filter(|(_, good)| *good) {
            self.unverified.remove(&(signer, said));
            self.verified.insert((signer, said));
        }
        let culprits: Vec<_> = pending.into_iter().filter(|(_, good)| !good).map(|(signer, _)| signer).collect();
        for &culprit in &culprits {
            self.barred.insert(culprit);
            self.unverified.retain(|(signer, _), _| *signer != culprit);
        }
        culprits.into_iter().map(ValidatorIndex).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_book_agrees_with_plain_sets(steps in steps()) {
        let cluster = Cluster::equal(6);
        let subject = |said: u8| if said == 0 { NULLIFY } else { vote(said) };
        let (mut book, mut model) = (cluster.book(), Model::default());
        for step in steps {
            match step {
                Step::Add { signer, said, good } => {
                    // A bad one signs a subject that depends on the signer alone, so errors never cancel.
                    let signature = cluster.sign(signer, &if good { subject(said) } else { vote(99) });
                    prop_assert_eq!(book.add(subject(said), at(signer), signature), model.add(signer, said, good));
                }
                Step::Settle { said } => prop_assert_eq!(book.settle(&cluster.roster, &subject(said)).culprits, model.settle(said)),
            }
            for said in 0..4 {
                let verified = bitmap(model.verified.iter().filter(|(_, s)| *s == said).map(|(signer, _)| *signer));
                let pending = bitmap(model.unverified.keys().filter(|(_, s)| *s == said).map(|(signer, _)| *signer));
                prop_assert_eq!(book.verified(&subject(said)), verified);
                prop_assert_eq!(book.signers(&subject(said)), verified.union(&pending));
                let kind = if said == 0 { CertificateKind::Nullification } else { CertificateKind::M };
                let certificate = book.certificate(&cluster.roster, &subject(said), kind);
                prop_assert_eq!(certificate.is_some(), verified.count() >= 3);
            }
        }
        for said in 1..4 {
            if let Some(certificate) = book.certificate(&cluster.roster, &subject(said), CertificateKind::M) {
                prop_assert_eq!(cluster.verify(&certificate.to_message()), Ok(certificate));
            }
        }
    }
}
