use crate::bls::curve::G1Affine;
use crate::fixture::{Cluster, DOMAIN, NULLIFY, VIEW, keyring, vote};
use crate::{Certificate, CertificateReject, Memo, oracle};
use ark_bls12_381::G1Affine as Point;
use proptest::prelude::*;
use samara_types::message::{self, ArchivedCertificate, CertificateKind};
use samara_types::{Digest, Subject, View};
use std::sync::Arc;

type Verdicts = Vec<Result<Certificate, CertificateReject>>;

fn run(cluster: &Cluster, messages: &[message::Certificate]) -> Verdicts {
    let wires: Vec<_> = messages.iter().map(message::encode).collect();
    let archived: Vec<_> = wires.iter().map(|wire| message::access::<ArchivedCertificate>(wire).unwrap()).collect();
    cluster.roster.verify_certificates(&archived)
}

fn one_by_one(cluster: &Cluster, messages: &[message::Certificate]) -> Verdicts {
    messages.iter().map(|message| cluster.verify(message)).collect()
}

/// Certificate `at` of a run of views, by a quorum that moves.
fn nth(cluster: &Cluster, at: u16) -> message::Certificate {
    let view = View(VIEW.0 + u64::from(at));
    let (subject, kind) = match at % 3 {
        0 => (Subject::Nullify(view), CertificateKind::Nullification),
        1 => (Subject::Vote(view, Digest([at as u8; 32])), CertificateKind::M),
        _ => (Subject::Vote(view, Digest([at as u8; 32])), CertificateKind::L),
    };
    sign(cluster, &subject, kind, |index| index != at % 6)
}

fn sign(cluster: &Cluster, subject: &Subject, kind: CertificateKind, member: impl Fn(u16) -> bool) -> message::Certificate {
    let signers = (0..6u16).filter(|index| member(*index));
    let sum: ark_bls12_381::G1Projective = signers.clone().map(|index| oracle::decode_g1(&cluster.sign(index, subject))).sum();
    let bitmap: samara_types::SignerBitmap = signers.map(samara_types::ValidatorIndex).collect();
    message::Certificate {
        view: subject.view().0,
        digest: subject.digest().0,
        kind: kind as u8,
        signature: oracle::compress_g1(sum.into()),
        signers: bitmap.to_bytes(6),
    }
}

fn shifted(message: &message::Certificate, by: Point) -> message::Certificate {
    let point = oracle::uncompress_g1(&message.signature) + by;
    message::Certificate { signature: oracle::compress_g1(point.into()), ..message.clone() }
}

/// Some point of the subgroup.
fn inside() -> Point {
    oracle::decode_g1(&keyring(30).vote.sign(&DOMAIN, &vote(9)))
}

#[test]
fn runs_of_good_certificates_pass_and_arkworks_accepts_each() {
    let cluster = Cluster::equal(6);
    for count in 0..12 {
        let messages: Vec<_> = (0..count).map(|at| nth(&cluster, at)).collect();
        let verdicts = run(&cluster, &messages);
        assert_eq!(verdicts, one_by_one(&cluster, &messages));
        for (verdict, message) in verdicts.iter().zip(&messages) {
            let certificate = verdict.as_ref().unwrap();
            let keys: Vec<_> = certificate.signers().iter().map(|index| cluster.keys[index.at()].vote.public_key()).collect();
            assert!(oracle::verifies(&message.signature, &keys, &certificate.subject().signing_bytes(&DOMAIN)));
            assert_eq!(certificate.to_message(), *message);
        }
    }
}

#[test]
fn the_same_certificate_may_stand_in_a_run_twice_and_m_beside_l() {
    let cluster = Cluster::equal(6);
    let l = sign(&cluster, &vote(1), CertificateKind::L, |_| true);
    let m = sign(&cluster, &vote(1), CertificateKind::M, |index| index < 3);
    let nullification = sign(&cluster, &NULLIFY, CertificateKind::Nullification, |index| index < 3);
    let verdicts = run(&cluster, &[l.clone(), m.clone(), l.clone(), nullification, m]);
    assert!(verdicts.iter().all(Result::is_ok));
}

#[test]
fn every_set_of_bad_certificates_is_found_exactly() {
    let cluster = Cluster::equal(6);
    let good: Vec<_> = (0..5).map(|at| nth(&cluster, at)).collect();
    for mask in 0..32u16 {
        let spoil = |(at, message): (usize, &message::Certificate)| {
            if mask >> at & 1 == 1 { shifted(message, inside()) } else { message.clone() }
        };
        let messages: Vec<_> = good.iter().enumerate().map(spoil).collect();
        for (at, verdict) in run(&cluster, &messages).iter().enumerate() {
            assert_eq!(verdict.as_ref().err(), (mask >> at & 1 == 1).then_some(&CertificateReject::BadSignature), "mask {mask:b}");
        }
    }
}

/// Where votes of one subject may cancel (see `bls`), certificates must not: each is stored and forwarded by itself.
#[test]
fn errors_that_cancel_are_found_in_the_group_and_outside_of_it() {
    let cluster = Cluster::equal(6);
    let (first, second) = (nth(&cluster, 1), nth(&cluster, 7));
    assert_eq!(first.signers, second.signers, "they share a pairing");
    let (m, l) = (sign(&cluster, &vote(1), CertificateKind::M, |_| true), sign(&cluster, &vote(1), CertificateKind::L, |_| true));
    for error in [inside(), oracle::cofactor_g1(), oracle::order_three_g1()] {
        for pair in [[&first, &second], [&first, &nth(&cluster, 2)], [&m, &l]] {
            let messages = [shifted(pair[0], error), nth(&cluster, 3), shifted(pair[1], -error)];
            let bad: Vec<_> = run(&cluster, &messages).iter().map(|verdict| verdict.as_ref().err().copied()).collect();
            assert_eq!(bad, [Some(CertificateReject::BadSignature), None, Some(CertificateReject::BadSignature)]);
        }
    }
}

/// An error of order 3 survives a random coefficient two times in three, so over many runs the product alone would let some pass.
#[test]
fn no_coefficient_hides_a_point_of_small_order() {
    let cluster = Cluster::equal(6);
    let (m, error) = (nth(&cluster, 1), oracle::order_three_g1());
    for other in 2..26 {
        let verdicts = run(&cluster, &[shifted(&m, error), nth(&cluster, other)]);
        assert_eq!(verdicts[0], Err(CertificateReject::BadSignature));
        assert!(verdicts[1].is_ok());
    }
}

#[test]
fn swapped_signatures_are_refused() {
    let cluster = Cluster::equal(6);
    let (mut first, mut second) = (nth(&cluster, 1), nth(&cluster, 7));
    std::mem::swap(&mut first.signature, &mut second.signature);
    assert!(run(&cluster, &[first, second]).iter().all(|verdict| *verdict == Err(CertificateReject::BadSignature)));
}

#[test]
fn coefficients_are_odd_fixed_by_the_run_and_differ() {
    let cluster = Cluster::equal(6);
    let coefficients = |messages: &[message::Certificate]| {
        let wires: Vec<_> = messages.iter().map(message::encode).collect();
        let read = |wire| super::read(&cluster.roster, message::access::<ArchivedCertificate>(wire).unwrap()).unwrap();
        let claims: Vec<_> = wires.iter().map(|wire| read(wire)).collect();
        super::coefficients(&cluster.roster, &claims.iter().collect::<Vec<_>>())
    };
    let messages: Vec<_> = (0..4).map(|at| nth(&cluster, at)).collect();
    let first = coefficients(&messages);
    assert_eq!(first, coefficients(&messages));
    assert!(first.iter().all(|z| z % 2 == 1 && z >> 64 != 0));
    let other = coefficients(&[messages[0].clone(), messages[1].clone(), messages[2].clone(), nth(&cluster, 9)]);
    assert!(first.iter().zip(&other).all(|(one, two)| one != two), "each depends on all");
}

#[test]
fn a_memo_changes_no_verdict() {
    let plain = Cluster::equal(6);
    let messages = [nth(&plain, 1), shifted(&nth(&plain, 2), inside()), nth(&plain, 3), nth(&plain, 1)];
    let expected = run(&plain, &messages);
    let remembering = Cluster { roster: plain.roster.with_memo(Arc::new(Memo::default())), keys: plain.keys };
    assert_eq!(run(&remembering, &messages), expected);
    assert_eq!(run(&remembering, &messages), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_run_gives_the_verdicts_of_its_members(flavours in proptest::collection::vec(0u8..12, 0..10)) {
        let cluster = Cluster::equal(6);
        let make = |(at, flavour): (usize, &u8)| {
            let good = nth(&cluster, at as u16);
            match flavour {
                0 => shifted(&good, inside()),
                1 => shifted(&good, -inside()),
                2 => shifted(&good, oracle::cofactor_g1()),
                3 => message::Certificate { kind: 9, ..good },
                4 => message::Certificate { signers: vec![1], ..good },
                5 => message::Certificate { signature: oracle::compressed_off_curve_g1(), ..good },
                6 => message::Certificate { view: good.view + 1, ..good },
                _ => good,
            }
        };
        let messages: Vec<_> = flavours.iter().enumerate().map(make).collect();
        prop_assert_eq!(run(&cluster, &messages), one_by_one(&cluster, &messages));
    }
}

#[test]
fn the_oracle_and_the_curve_name_points_alike() {
    assert_eq!(G1Affine::deserialize(&oracle::encode_g1(inside())).map(|point| point.serialize()), Some(oracle::encode_g1(inside())));
}
