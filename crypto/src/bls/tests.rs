use super::*;
use crate::fixture::{DOMAIN, keyring, vote};
use crate::oracle;
use ark_ec::AffineRepr;
use ark_ff::{One, Zero};
use curve::{sum_g1, sum_g2, weighted_sum};
use proptest::prelude::*;
use samara_types::digest::{from_hex, hex};
use samara_types::{ChainId, Digest, Epoch, View};

fn decoded(signature: &[u8; 96]) -> G1 {
    G1Affine::deserialize(signature).expect("a point on the curve").into()
}

fn verify_vote(signature: &G1, key: &G2Affine, message: &[u8]) -> bool {
    verify(signature, key, &G1::minus_hash(message, VOTE_TAG).to_affine())
}

/// r, the order of the group, big-endian.
fn group_order() -> [u8; 32] {
    from_hex("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001").unwrap().try_into().unwrap()
}

#[test]
fn secrets_are_from_one_to_below_the_group_order() {
    assert!(VoteSecret::from_bytes(&[0; 32]).is_none());
    assert!(VoteSecret::from_bytes(&group_order()).is_none());
    assert!(VoteSecret::from_bytes(&[0xff; 32]).is_none());
    let mut largest = group_order();
    largest[31] -= 1;
    assert_eq!(*VoteSecret::from_bytes(&largest).unwrap().to_bytes(), largest);
    assert_ne!(VoteSecret::generate().to_bytes(), VoteSecret::generate().to_bytes());
}

#[test]
fn secrets_are_not_printed() {
    assert_eq!(format!("{:?}", VoteSecret::generate()), "VoteSecret(..)");
}

/// Committed vectors: a change here makes every earlier signature and genesis worthless.
#[test]
fn signature_vectors() {
    let mut secret = [0; 32];
    secret[31] = 42;
    let secret = VoteSecret::from_bytes(&secret).unwrap();
    let domain = SigningDomain { chain: ChainId([1; 32]), epoch: Epoch(2) };
    let vote = Subject::Vote(View(3), Digest([4; 32]));
    assert_eq!(hex(&secret.public_key()), PUBLIC_KEY);
    assert_eq!(hex(&secret.possession()), POSSESSION);
    assert_eq!(hex(&secret.sign(&domain, &vote)), VOTE);
    assert_eq!(hex(&secret.sign(&domain, &Subject::Nullify(View(3)))), NULLIFY);
}

const PUBLIC_KEY: &str = "ac7fa63dfc38bbf3712e27a180391bca4ccabf609c5967a0592eff420b6235f3f2b323051cb099acc3969aca310f7ff4191b2d6db43fafc2c9592f7e5f73981107975d3d92b843891e724dbc9f05b5eee5a3b2b1fc782ede8149f30830b84444";
const POSSESSION: &str = "a87007189d6939d27323b0ac021bb9388fa77981ca8c39360a4424944057f0df76f62240e9fca3b4db0b0b4bedeefd18";
const VOTE: &str = "03a5c97192c9ac03daf6176dc69dd85b9bef2fdd86a28c12d3a7dfba48dfbcaec5364528760cf76b846b6537ea945cc11820f26c392a5c66180ce8d345835ce87a09b2a890b203a63123170aac7d357bf32800199a9b0b54597be4027edf271d";
const NULLIFY: &str = "167285fa6825eb30c3e8aa68857a69d7631adaa326e98f96c54e7bd950a0fcbe50f1673c66b01a3d5f90a14069f3954603082b1b52973a2c61810bb9ebfd56d3d375c9c7a3b60a0df31600e4cf3760af0ba18ac9775cce5b747fd72f0febb585";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Key, hash to the curve, signature and pairing equation, each computed twice.
    #[test]
    fn blst_and_arkworks_agree(mut secret: [u8; 32], chain: [u8; 32], epoch: u64, view: u64, digest: [u8; 32], nullify: bool) {
        secret[0] &= 0x3f;
        secret[31] |= 1;
        let domain = SigningDomain { chain: ChainId(chain), epoch: Epoch(epoch) };
        let subject = if nullify { Subject::Nullify(View(view)) } else { Subject::Vote(View(view), Digest(digest)) };
        let ours = VoteSecret::from_bytes(&secret).unwrap();
        let message = subject.signing_bytes(&domain);
        let signature = ours.sign(&domain, &subject);
        prop_assert_eq!(ours.public_key(), oracle::public_key(&secret));
        prop_assert_eq!(signature, oracle::encode_g1(oracle::sign(&secret, &message, VOTE_TAG)));
        prop_assert_eq!(ours.possession(), oracle::compress_g1(oracle::sign(&secret, &ours.public_key(), POSSESSION_TAG)));
        let compressed = G1::from(G1Affine::deserialize(&signature).unwrap()).compress();
        prop_assert!(oracle::verifies(&compressed, &[ours.public_key()], &message));
        let key = decode_public_key(&ours.public_key()).unwrap();
        prop_assert!(verify(&decoded(&signature), &key, &G1::minus_hash(&message, VOTE_TAG).to_affine()));
    }
}

#[test]
fn a_secret_of_one_shows_the_hash_itself() {
    let message = vote(1).signing_bytes(&DOMAIN);
    let one = VoteSecret::from_bytes(&oracle::scalar_bytes(ark_bls12_381::Fr::one())).unwrap();
    assert_eq!(one.sign(&DOMAIN, &vote(1)), oracle::encode_g1(oracle::hash(&message, VOTE_TAG)));
    assert_ne!(oracle::hash(&message, VOTE_TAG), oracle::hash(&message, POSSESSION_TAG));
}

#[test]
fn a_proof_of_possession_is_no_vote_and_a_vote_no_proof() {
    let secret = &keyring(0).vote;
    let (bytes, key) = (secret.public_key(), decode_public_key(&secret.public_key()).unwrap());
    assert!(verify_possession(&key, &bytes, &secret.possession()));
    assert!(!verify_vote(&G1Affine::uncompress(&secret.possession()).unwrap().into(), &key, &bytes));
    let as_vote = secret.secret.sign(&bytes, VOTE_TAG, &[]).compress();
    assert!(!verify_possession(&key, &bytes, &as_vote));
    let other = &keyring(1).vote;
    assert!(!verify_possession(&key, &bytes, &other.possession()));
}

/// p, the modulus of the coordinates, big-endian.
const MODULUS: &str = "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";

/// `number + p`: a second name for the same coordinate, where it fits.
fn plus_modulus(number: &[u8; 48]) -> [u8; 48] {
    let modulus: [u8; 48] = from_hex(MODULUS).unwrap().try_into().unwrap();
    let (mut sum, mut carry) = ([0; 48], 0u16);
    for at in (0..48).rev() {
        carry += u16::from(number[at]) + u16::from(modulus[at]);
        sum[at] = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    sum
}

#[test]
fn signatures_that_are_no_points_or_infinity_are_refused_at_decoding() {
    let good = keyring(0).vote.sign(&DOMAIN, &vote(1));
    assert!(G1Affine::deserialize(&good).is_some());
    let point = G1::from(G1Affine::deserialize(&good).unwrap()).compress();
    let changed = |change: &dyn Fn(&mut [u8; 96])| {
        let mut bytes = good;
        change(&mut bytes);
        bytes
    };
    let mut infinity = [0; 96];
    infinity[0] = 0x40;
    let bad = [
        infinity,
        [0; 96],
        [0xff; 96],
        oracle::off_curve_g1(),
        changed(&|bytes| bytes[..48].copy_from_slice(&point)), // a compressed point and something behind it
        changed(&|bytes| bytes[0] |= 0x20),
        changed(&|bytes| bytes[0] |= 0x40),
        changed(&|bytes| bytes[0] |= 0x80),
        changed(&|bytes| bytes.rotate_left(48)),
        changed(&|bytes| bytes[..48].copy_from_slice(&from_hex(MODULUS).unwrap())),
    ];
    for bad in bad {
        assert!(G1Affine::deserialize(&bad).is_none(), "{}", hex(&bad));
    }
    assert!(G1Affine::deserialize(&oracle::encode_g1(oracle::order_three_g1())).is_none(), "blst refuses x = 0 at decoding");
}

#[test]
fn a_signature_has_one_encoding() {
    let small = (1u64..).find_map(|x| ark_bls12_381::G1Affine::get_point_from_x_unchecked(x.into(), false)).unwrap();
    let bytes = oracle::encode_g1(small);
    assert_eq!(G1Affine::deserialize(&bytes).unwrap().serialize(), bytes);
    let mut twin = bytes;
    twin[..48].copy_from_slice(&plus_modulus(bytes[..48].try_into().unwrap()));
    assert!(G1Affine::deserialize(&twin).is_none());
}

#[test]
fn aggregates_that_are_no_points_or_infinity_are_refused_at_decoding() {
    let good = G1::from(G1Affine::deserialize(&keyring(0).vote.sign(&DOMAIN, &vote(1))).unwrap()).compress();
    assert!(G1Affine::uncompress(&good).is_some());
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    let mut uncompressed = good;
    uncompressed[0] &= 0x7f;
    let mut modulus: [u8; 48] = from_hex(MODULUS).unwrap().try_into().unwrap();
    modulus[0] |= 0x80;
    let mut dirty_infinity = infinity;
    dirty_infinity[47] = 1;
    let mut signed_infinity = infinity;
    signed_infinity[0] = 0xe0;
    let off_curve = oracle::compressed_off_curve_g1();
    for bad in [infinity, uncompressed, modulus, dirty_infinity, signed_infinity, off_curve, [0; 48], [0xff; 48]] {
        assert!(G1Affine::uncompress(&bad).is_none(), "{}", hex(&bad));
    }
    assert!(G1Affine::uncompress(&oracle::compress_g1(oracle::order_three_g1())).is_none());
}

#[test]
fn public_keys_at_infinity_off_the_curve_or_outside_the_subgroup_are_refused() {
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    assert_eq!(decode_public_key(&infinity), Err(KeyReject::Infinity));
    assert_eq!(decode_public_key(&oracle::encode_g2(oracle::outside_g2())), Err(KeyReject::Subgroup));
    assert_eq!(decode_public_key(&[0; 96]), Err(KeyReject::Encoding));
    assert_eq!(decode_public_key(&[0xff; 96]), Err(KeyReject::Encoding));
    let mut flipped = keyring(0).vote.public_key();
    flipped[0] &= 0x7f;
    assert_eq!(decode_public_key(&flipped), Err(KeyReject::Encoding));
}

#[test]
fn signatures_outside_the_subgroup_decode_but_never_verify() {
    let secret = &keyring(0).vote;
    let key = decode_public_key(&secret.public_key()).unwrap();
    let message = vote(1).signing_bytes(&DOMAIN);
    let good = oracle::decode_g1(&secret.sign(&DOMAIN, &vote(1)));
    for bad in [oracle::cofactor_g1(), (good + oracle::cofactor_g1()).into(), (good + oracle::order_three_g1()).into()] {
        assert!(!verify_vote(&decoded(&oracle::encode_g1(bad)), &key, &message));
        assert!(!VoteResidual::new(decoded(&oracle::encode_g1(bad)), &key, &minus_vote_hash(&DOMAIN, &vote(1))).is_zero());
    }
    assert!(verify_vote(&decoded(&oracle::encode_g1(good)), &key, &message));
}

#[test]
fn keys_that_sum_to_infinity_get_the_verdict_of_the_equation() {
    // Two colluders may hold secrets x and -x, both with good proofs. The sum of their valid signatures is infinity.
    let secret = keyring(0).vote.to_bytes();
    let opposite = VoteSecret::from_bytes(&oracle::scalar_bytes(ark_bls12_381::Fr::zero() - oracle::scalar(&secret))).unwrap();
    let pair = [keyring(0).vote, opposite];
    let signatures = pair.each_ref().map(|secret| G1Affine::deserialize(&secret.sign(&DOMAIN, &vote(1))).unwrap());
    let keys = pair.each_ref().map(|secret| decode_public_key(&secret.public_key()).unwrap());
    let (total, key) = (sum_g1(&signatures), sum_g2(&keys).to_affine());
    let message = vote(1).signing_bytes(&DOMAIN);
    assert_eq!((total.to_affine(), key), (G1Affine::default(), G2Affine::default()));
    assert!(verify_vote(&total, &key, &message));
    assert!(!verify_vote(&signatures[0].into(), &key, &message));
    assert!(!verify_vote(&total, &keys[0], &message));
}

#[test]
fn a_sum_of_none_is_infinity_and_sums_agree_with_arkworks() {
    assert_eq!(sum_g1(&[]).compress()[0], 0xc0);
    assert_eq!(sum_g2(&[]).to_affine(), G2Affine::default());
    let bytes: Vec<_> = (0..40).map(|index| keyring(index).vote.sign(&DOMAIN, &vote(1))).collect();
    let points: Vec<_> = bytes.iter().map(|bytes| G1Affine::deserialize(bytes).unwrap()).collect();
    for count in [1, 2, 15, 16, 17, 40] {
        let expected: ark_bls12_381::G1Projective = bytes[..count].iter().map(oracle::decode_g1).sum();
        assert_eq!(sum_g1(&points[..count]).compress(), oracle::compress_g1(expected.into()));
        let doubled: Vec<_> = points[..count].iter().flat_map(|point| [*point; 2]).collect();
        assert_eq!(sum_g1(&doubled).compress(), oracle::compress_g1((expected + expected).into()));
        assert_eq!(sum_g1(&points[..count]).minus(&sum_g1(&points[1..count])).compress(), G1::from(points[0]).compress());
    }
    let cancelling = [points[0], points[1], G1::default().minus(&points[0].into()).to_affine(), G1Affine::default()];
    assert_eq!(sum_g1(&cancelling).to_affine(), points[1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn weighted_sums_agree_with_arkworks(coefficients in proptest::collection::vec(any::<u128>(), 1..48)) {
        let bytes: Vec<_> = (0..coefficients.len() as u16).map(|index| keyring(index).vote.sign(&DOMAIN, &vote(1))).collect();
        let points: Vec<_> = bytes.iter().map(|bytes| G1Affine::deserialize(bytes).unwrap()).collect();
        let term = |(bytes, z): (&[u8; 96], &u128)| oracle::decode_g1(bytes) * ark_bls12_381::Fr::from(*z);
        let expected: ark_bls12_381::G1Projective = bytes.iter().zip(&coefficients).map(term).sum();
        prop_assert_eq!(weighted_sum(&points, &coefficients).compress(), oracle::compress_g1(expected.into()));
    }
}

/// A pairing product is compared in the exponent: e(a G1, b G2) e(-c G1, G2) is one exactly for c = a b, and quotients are quotients.
#[test]
fn products_of_pairings_agree_with_arithmetic_in_the_exponent() {
    let generator = G1Affine::deserialize(&oracle::encode_g1(ark_bls12_381::G1Affine::generator())).unwrap();
    let g1 = |factor: u128| weighted_sum(&[generator], &[factor]);
    let g2 = |factor: u128| sum_g2(&vec![G2Affine::generator(); factor as usize]).to_affine();
    let minus = |point: G1| G1::default().minus(&point).to_affine();
    let product = |c: u128| pairing_product(&[(g1(6).to_affine(), g2(7)), (minus(g1(c)), g2(1))]);
    assert!(product(42).is_one() && !product(41).is_one() && !product(43).is_one());
    assert_eq!(product(40).divided_by(&product(41)), product(41));
    assert_eq!(product(30).divided_by(&product(30)), Gt::one());
    let many: Vec<_> = (1..=20).map(|factor| (g1(factor).to_affine(), g2(3))).collect();
    let all = [&many[..], &[(minus(g1(630)), g2(1))]].concat();
    assert!(pairing_product(&all).is_one(), "3 (1 + .. + 20) = 630, more pairs than blst takes at once");
    assert!(pairing_product(&[]).is_one() && pairing_product(&[(G1Affine::default(), g2(1)), (generator, G2Affine::default())]).is_one());
}
