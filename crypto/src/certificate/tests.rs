use super::*;
use crate::bls::curve::sum_g1;
use crate::fixture::{Cluster, DOMAIN, NULLIFY, VIEW, vote};
use crate::oracle;
use samara_types::{ChainId, SigningDomain, ValidatorIndex};

fn aggregate(cluster: &Cluster, subject: &Subject, signers: &[u16]) -> [u8; 48] {
    let signatures: Vec<_> = signers.iter().map(|&index| G1Affine::deserialize(&cluster.sign(index, subject)).unwrap()).collect();
    sum_g1(&signatures).compress()
}

/// A message put together by hand: `signed` went into the aggregate, `claimed` into the bitmap.
fn message(cluster: &Cluster, subject: Subject, kind: CertificateKind, signed: &[u16], claimed: &[u16]) -> message::Certificate {
    let bitmap: SignerBitmap = claimed.iter().map(|&index| ValidatorIndex(index)).collect();
    message::Certificate {
        view: subject.view().0,
        digest: subject.digest().0,
        kind: kind as u8,
        signature: aggregate(cluster, &subject, signed),
        signers: bitmap.to_bytes(cluster.keys.len()),
    }
}

fn good(cluster: &Cluster) -> message::Certificate {
    message(cluster, vote(1), CertificateKind::M, &[0, 1, 2, 3], &[0, 1, 2, 3])
}

/// Restates the arithmetic of the paper: n=6: 3/3/5, n=11: 5/5/9.
#[test]
fn certificates_are_refused_just_below_and_accepted_at_their_threshold() {
    for (n, m, l) in [(6u16, 3, 5), (11, 5, 9)] {
        let cluster = Cluster::equal(n.into());
        let cases = [(CertificateKind::M, vote(1), m), (CertificateKind::L, vote(1), l), (CertificateKind::Nullification, NULLIFY, m)];
        for (kind, subject, threshold) in cases {
            for count in [threshold - 1, threshold, threshold + 1] {
                let signers: Vec<u16> = (n - count..n).collect();
                let verdict = cluster.verify(&message(&cluster, subject, kind, &signers, &signers));
                if count < threshold {
                    assert_eq!(verdict, Err(CertificateReject::TooLittleWeight));
                } else {
                    let certificate = verdict.unwrap();
                    assert_eq!((certificate.kind(), certificate.subject(), certificate.view()), (kind, subject, VIEW));
                    assert_eq!(certificate.signers().count(), usize::from(count));
                }
            }
        }
    }
}

#[test]
fn weight_counts_not_heads() {
    // S = 31, f = 6, M = 13, L = 25.
    let cluster = Cluster::of(&[6, 6, 6, 6, 4, 3]);
    let verdict = |signers: &[u16], kind| cluster.verify(&message(&cluster, vote(1), kind, signers, signers)).map(|c| c.kind());
    assert_eq!(verdict(&[0, 1], CertificateKind::M), Err(CertificateReject::TooLittleWeight));
    assert_eq!(verdict(&[0, 4, 5], CertificateKind::M), Ok(CertificateKind::M));
    assert_eq!(verdict(&[0, 1, 2, 3], CertificateKind::L), Err(CertificateReject::TooLittleWeight));
    assert_eq!(verdict(&[1, 2, 3, 4, 5], CertificateKind::L), Ok(CertificateKind::L));
}

#[test]
fn messages_round_trip_through_verification() {
    let cluster = Cluster::equal(11);
    for (kind, subject, count) in
        [(CertificateKind::M, vote(1), 5), (CertificateKind::L, vote(1), 9), (CertificateKind::Nullification, NULLIFY, 5)]
    {
        let made = cluster.certificate(&subject, kind, 0..count);
        assert_eq!(cluster.verify(&made.to_message()).unwrap(), made);
    }
}

#[test]
fn a_repeated_signer_counts_once_and_breaks_the_equation() {
    let cluster = Cluster::equal(6);
    // Signer 1 twice in the aggregate, two in the bitmap: too light. Three in the bitmap: the third never signed.
    let twice = message(&cluster, vote(1), CertificateKind::M, &[0, 1, 1], &[0, 1]);
    assert_eq!(cluster.verify(&twice), Err(CertificateReject::TooLittleWeight));
    let borrowed = message(&cluster, vote(1), CertificateKind::M, &[0, 1, 1], &[0, 1, 2]);
    assert_eq!(cluster.verify(&borrowed), Err(CertificateReject::BadSignature));
    let extra = message(&cluster, vote(1), CertificateKind::M, &[0, 1, 2, 2], &[0, 1, 2]);
    assert_eq!(cluster.verify(&extra), Err(CertificateReject::BadSignature));
}

#[test]
fn bitmaps_of_another_set_are_refused() {
    let cluster = Cluster::equal(6);
    let base = good(&cluster);
    for signers in [vec![], vec![0b0100_1111], vec![0b1000_1111], vec![0b1111, 0], vec![0xff; 128], vec![0xff; 129]] {
        assert_eq!(cluster.verify(&message::Certificate { signers, ..base.clone() }), Err(CertificateReject::BadBitmap));
    }
    let empty = message::Certificate { signers: vec![0], ..base };
    assert_eq!(cluster.verify(&empty), Err(CertificateReject::TooLittleWeight));
}

#[test]
fn kinds_do_not_stand_for_each_other() {
    let cluster = Cluster::equal(6);
    let base = good(&cluster);
    for kind in (0..=255).filter(|&kind| CertificateKind::from_byte(kind).is_none()) {
        assert_eq!(cluster.verify(&message::Certificate { kind, ..base.clone() }), Err(CertificateReject::UnknownKind));
    }
    let as_nullification = message::Certificate { kind: CertificateKind::Nullification as u8, ..base.clone() };
    assert_eq!(cluster.verify(&as_nullification), Err(CertificateReject::DigestInNullification));
    let without_digest = message::Certificate { digest: [0; 32], ..as_nullification };
    assert_eq!(cluster.verify(&without_digest), Err(CertificateReject::BadSignature));
    let nullification = message(&cluster, NULLIFY, CertificateKind::Nullification, &[0, 1, 2], &[0, 1, 2]);
    let as_votes = message::Certificate { kind: CertificateKind::M as u8, ..nullification };
    assert_eq!(cluster.verify(&as_votes), Err(CertificateReject::BadSignature));
    let too_light_for_l = message::Certificate { kind: CertificateKind::L as u8, ..base };
    assert_eq!(cluster.verify(&too_light_for_l), Err(CertificateReject::TooLittleWeight));
}

/// M and L are claims about weight over the same votes: enough for L is enough for M.
#[test]
fn votes_of_an_l_notarization_make_an_m_notarization() {
    let cluster = Cluster::equal(6);
    let l = message(&cluster, vote(1), CertificateKind::L, &[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4]);
    assert!(cluster.verify(&l).is_ok());
    assert!(cluster.verify(&message::Certificate { kind: CertificateKind::M as u8, ..l }).is_ok());
}

#[test]
fn certificates_of_another_view_block_chain_or_epoch_are_refused() {
    let cluster = Cluster::equal(6);
    let base = good(&cluster);
    let other_view = message::Certificate { view: 8, ..base.clone() };
    let other_block = message::Certificate { digest: [2; 32], ..base.clone() };
    for replayed in [other_view, other_block] {
        assert_eq!(cluster.verify(&replayed), Err(CertificateReject::BadSignature));
    }
    for domain in [SigningDomain { chain: ChainId([9; 32]), ..DOMAIN }, SigningDomain { epoch: samara_types::Epoch(1), ..DOMAIN }] {
        let elsewhere = Roster::new(cluster.roster.set().clone(), domain).unwrap();
        let bytes = message::encode(&base);
        let verdict = elsewhere.verify_certificate(message::access::<ArchivedCertificate>(&bytes).unwrap());
        assert_eq!(verdict, Err(CertificateReject::BadSignature));
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let cluster = Cluster::equal(6);
    let base = good(&cluster);
    assert!(cluster.verify(&base).is_ok());
    let flip = |bytes: &mut [u8], bit: usize| bytes[bit / 8] ^= 1 << (bit % 8);
    for bit in 0..384 {
        let mut flipped = base.clone();
        flip(&mut flipped.signature, bit);
        assert!(cluster.verify(&flipped).is_err(), "signature bit {bit}");
    }
    for bit in 0..256 {
        let mut flipped = base.clone();
        flip(&mut flipped.digest, bit);
        assert_eq!(cluster.verify(&flipped), Err(CertificateReject::BadSignature), "digest bit {bit}");
    }
    for bit in 0..64 {
        let flipped = message::Certificate { view: base.view ^ 1 << bit, ..base.clone() };
        assert_eq!(cluster.verify(&flipped), Err(CertificateReject::BadSignature), "view bit {bit}");
    }
    for bit in 0..8 {
        let mut flipped = base.clone();
        flip(&mut flipped.signers, bit);
        assert!(cluster.verify(&flipped).is_err(), "signers bit {bit}");
        let flipped = message::Certificate { kind: base.kind ^ 1 << bit, ..base.clone() };
        assert!(cluster.verify(&flipped).is_err(), "kind bit {bit}");
    }
}

#[test]
fn aggregates_that_are_no_group_elements_are_refused() {
    let cluster = Cluster::equal(6);
    let base = good(&cluster);
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    for signature in [infinity, [0; 48], oracle::compressed_off_curve_g1()] {
        let verdict = cluster.verify(&message::Certificate { signature, ..base.clone() });
        assert_eq!(verdict, Err(CertificateReject::BadEncoding));
    }
    let valid = oracle::uncompress_g1(&base.signature);
    for part in [oracle::cofactor_g1(), oracle::order_three_g1()] {
        let signature = oracle::compress_g1((valid + part).into());
        let verdict = cluster.verify(&message::Certificate { signature, ..base.clone() });
        assert_eq!(verdict, Err(CertificateReject::BadSignature), "outside the subgroup");
    }
}

#[test]
fn arkworks_accepts_the_aggregates_we_make() {
    for n in [6u16, 11] {
        let cluster = Cluster::equal(n.into());
        let made = cluster.certificate(&vote(1), CertificateKind::L, 1..n).to_message();
        let keys: Vec<_> = (1..n).map(|index| cluster.keys[usize::from(index)].vote.public_key()).collect();
        let bytes = vote(1).signing_bytes(&DOMAIN);
        assert!(oracle::verifies(&made.signature, &keys, &bytes));
        assert!(!oracle::verifies(&made.signature, &keys[1..], &bytes));
    }
}

#[test]
fn reject_reasons_have_labels_of_their_own() {
    for (at, reason) in CertificateReject::ALL.iter().enumerate() {
        assert!(CertificateReject::ALL[..at].iter().all(|other| other.as_str() != reason.as_str()));
    }
}
