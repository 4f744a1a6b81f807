use super::*;
use crate::fixture::{DOMAIN, keyring, vote};
use crate::oracle;
use ark_ff::{One, Zero};
use proptest::prelude::*;
use samara_types::digest::{from_hex, hex};
use samara_types::{ChainId, Digest, Epoch, View};

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
const VOTE: &str = "a3a5c97192c9ac03daf6176dc69dd85b9bef2fdd86a28c12d3a7dfba48dfbcaec5364528760cf76b846b6537ea945cc1";
const NULLIFY: &str = "967285fa6825eb30c3e8aa68857a69d7631adaa326e98f96c54e7bd950a0fcbe50f1673c66b01a3d5f90a14069f39546";

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
        prop_assert_eq!(signature, oracle::sign(&secret, &message, VOTE_TAG));
        prop_assert_eq!(ours.possession(), oracle::sign(&secret, &ours.public_key(), POSSESSION_TAG));
        prop_assert!(oracle::verifies(&signature, &[ours.public_key()], &message));
        let key = decode_public_key(&ours.public_key()).unwrap();
        prop_assert!(verify_vote(&decode_signature(&signature).unwrap(), &key, &message));
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
    assert!(!verify_vote(&decode_signature(&secret.possession()).unwrap(), &key, &bytes));
    let as_vote = secret.secret.sign(&bytes, VOTE_TAG, &[]).compress();
    assert!(!verify_possession(&key, &bytes, &as_vote));
    let other = &keyring(1).vote;
    assert!(!verify_possession(&key, &bytes, &other.possession()));
}

#[test]
fn signatures_that_are_no_points_or_infinity_are_refused_at_decoding() {
    let good = keyring(0).vote.sign(&DOMAIN, &vote(1));
    assert!(decode_signature(&good).is_some());
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    let mut uncompressed = good;
    uncompressed[0] &= 0x7f;
    // x = p + (something small) is a second name for a small x.
    let modulus = "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";
    let mut modulus: [u8; 48] = from_hex(modulus).unwrap().try_into().unwrap();
    modulus[0] |= 0x80;
    let mut dirty_infinity = infinity;
    dirty_infinity[47] = 1;
    let mut signed_infinity = infinity;
    signed_infinity[0] = 0xe0;
    for bad in [infinity, uncompressed, modulus, dirty_infinity, signed_infinity, oracle::off_curve_g1(), [0; 48], [0xff; 48]] {
        assert!(decode_signature(&bad).is_none(), "{}", hex(&bad));
    }
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
        let bad = decode_signature(&oracle::encode_g1(bad)).expect("it is on the curve");
        assert!(!verify_vote(&bad, &key, &message));
    }
    assert!(decode_signature(&oracle::encode_g1(oracle::order_three_g1())).is_none(), "blst refuses x = 0 at decoding");
}

#[test]
fn keys_that_sum_to_infinity_get_the_verdict_of_the_equation() {
    // Two colluders may hold secrets x and -x, both with good proofs. The sum of their valid signatures is infinity.
    let secret = keyring(0).vote.to_bytes();
    let opposite = VoteSecret::from_bytes(&oracle::scalar_bytes(ark_bls12_381::Fr::zero() - oracle::scalar(&secret))).unwrap();
    let pair = [keyring(0).vote, opposite];
    let signatures = pair.each_ref().map(|secret| decode_signature(&secret.sign(&DOMAIN, &vote(1))).unwrap());
    let keys = pair.each_ref().map(|secret| decode_public_key(&secret.public_key()).unwrap());
    let mut total = blst::min_sig::AggregatePublicKey::from_public_key(&keys[0]);
    total.add_public_key(&keys[1], false).unwrap();
    let message = vote(1).signing_bytes(&DOMAIN);
    assert!(verify_vote(&sum(&signatures).to_signature(), &total.to_public_key(), &message));
    assert!(!verify_vote(&signatures[0], &total.to_public_key(), &message));
    assert!(!verify_vote(&sum(&signatures).to_signature(), &keys[0], &message));
}

#[test]
fn a_sum_of_none_is_infinity_and_sums_agree_with_arkworks() {
    assert_eq!(sum([]).to_signature().compress()[0], 0xc0);
    let bytes: Vec<_> = (0..5).map(|index| keyring(index).vote.sign(&DOMAIN, &vote(1))).collect();
    let signatures: Vec<_> = bytes.iter().map(|bytes| decode_signature(bytes).unwrap()).collect();
    let expected: ark_bls12_381::G1Projective = bytes.iter().map(oracle::decode_g1).sum();
    assert_eq!(sum(&signatures).to_signature().compress(), oracle::encode_g1(expected.into()));
    let doubled = sum([&signatures[0], &signatures[0]]).to_signature().compress();
    let expected = oracle::decode_g1(&bytes[0]) + oracle::decode_g1(&bytes[0]);
    assert_eq!(doubled, oracle::encode_g1(expected.into()));
}
