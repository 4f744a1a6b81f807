use crate::bls::curve::G1Affine;
use crate::fixture::{Cluster, DOMAIN, NULLIFY, VIEW, keyring, vote};
use crate::{Certificate, KeySum, Memo, oracle};
use ark_bls12_381::G1Affine as Point;
use proptest::prelude::*;
use samara_types::message::{self, ArchivedCertificate, CertificateKind};
use samara_types::{Digest, Subject, View};
use std::sync::Arc;

fn run(cluster: &Cluster, messages: &[message::Certificate]) -> Option<Vec<Certificate>> {
    let wires: Vec<_> = messages.iter().map(message::encode).collect();
    let archived: Vec<_> = wires.iter().map(|wire| message::access::<ArchivedCertificate>(wire).unwrap()).collect();
    cluster.roster.verify_certificates(&mut KeySum::default(), &archived)
}

/// All of them, if each holds by itself.
fn one_by_one(cluster: &Cluster, messages: &[message::Certificate]) -> Option<Vec<Certificate>> {
    messages.iter().map(|message| cluster.verify(message).ok()).collect()
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
        let certificates = run(&cluster, &messages).expect("all are good");
        assert_eq!(Some(&certificates), one_by_one(&cluster, &messages).as_ref());
        assert_eq!(certificates.len(), messages.len());
        for (certificate, message) in certificates.iter().zip(&messages) {
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
    let messages = [l.clone(), m.clone(), l, nullification, m];
    assert_eq!(
        run(&cluster, &messages).map(|certificates| certificates.iter().map(Certificate::to_message).collect()),
        Some(messages.to_vec())
    );
}

#[test]
fn one_bad_certificate_wherever_it_stands_fails_the_run() {
    let cluster = Cluster::equal(6);
    let good: Vec<_> = (0..5).map(|at| nth(&cluster, at)).collect();
    for mask in 0..32u16 {
        let spoil = |(at, message): (usize, &message::Certificate)| {
            if mask >> at & 1 == 1 { shifted(message, inside()) } else { message.clone() }
        };
        let messages: Vec<_> = good.iter().enumerate().map(spoil).collect();
        assert_eq!(run(&cluster, &messages).is_some(), mask == 0, "mask {mask:b}");
    }
}

/// Where votes of one subject may cancel (see `bls`), certificates must not: each is stored and forwarded by itself.
#[test]
fn errors_that_cancel_fail_the_run_in_the_group_and_outside_of_it() {
    let cluster = Cluster::equal(6);
    let (first, second) = (nth(&cluster, 1), nth(&cluster, 7));
    assert_eq!(first.signers, second.signers, "they share a pairing");
    let (m, l) = (sign(&cluster, &vote(1), CertificateKind::M, |_| true), sign(&cluster, &vote(1), CertificateKind::L, |_| true));
    for error in [inside(), oracle::cofactor_g1(), oracle::order_three_g1()] {
        for pair in [[&first, &second], [&first, &nth(&cluster, 2)], [&m, &l]] {
            let messages = [shifted(pair[0], error), nth(&cluster, 3), shifted(pair[1], -error)];
            assert_eq!(run(&cluster, &messages), None);
        }
    }
}

/// An error of order 3 survives a random coefficient two times in three, so over many runs the product alone would let some pass.
#[test]
fn no_coefficient_hides_a_point_of_small_order() {
    let cluster = Cluster::equal(6);
    let (m, error) = (nth(&cluster, 1), oracle::order_three_g1());
    for other in 2..26 {
        assert_eq!(run(&cluster, &[shifted(&m, error), nth(&cluster, other)]), None);
    }
}

#[test]
fn swapped_signatures_are_refused() {
    let cluster = Cluster::equal(6);
    let (mut first, mut second) = (nth(&cluster, 1), nth(&cluster, 7));
    std::mem::swap(&mut first.signature, &mut second.signature);
    assert_eq!(run(&cluster, &[first, second]), None);
}

#[test]
fn coefficients_are_odd_fixed_by_the_run_and_differ() {
    let cluster = Cluster::equal(6);
    let coefficients = |messages: &[message::Certificate]| {
        let wires: Vec<_> = messages.iter().map(message::encode).collect();
        let read = |wire| super::read(&cluster.roster, message::access::<ArchivedCertificate>(wire).unwrap()).unwrap();
        let claims: Vec<_> = wires.iter().map(|wire| read(wire)).collect();
        super::coefficients(&cluster.roster, &claims)
    };
    let messages: Vec<_> = (0..4).map(|at| nth(&cluster, at)).collect();
    let first = coefficients(&messages);
    assert_eq!(first, coefficients(&messages));
    assert!(first.iter().all(|z| z % 2 == 1 && z >> 64 != 0));
    let other = coefficients(&[messages[0].clone(), messages[1].clone(), messages[2].clone(), nth(&cluster, 9)]);
    assert!(first.iter().zip(&other).all(|(one, two)| one != two), "each depends on all");
}

/// What is remembered one by one is not multiplied again.
#[test]
fn a_roster_with_a_memo_verifies_no_runs() {
    let plain = Cluster::equal(6);
    let messages = [nth(&plain, 1), nth(&plain, 2)];
    assert!(run(&plain, &messages).is_some());
    let remembering = Cluster { roster: plain.roster.with_memo(Arc::new(Memo::default())), keys: plain.keys };
    assert_eq!(run(&remembering, &messages), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_run_holds_exactly_if_each_of_it_does(flavours in proptest::collection::vec(0u8..40, 0..10)) {
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
