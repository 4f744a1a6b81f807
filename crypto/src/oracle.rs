//! BLS12-381 once more, through arkworks: what blst computes is compared with this, and points blst would never make come from here.

use crate::bls::VOTE_TAG;
use ark_bls12_381::{Bls12_381, Fq, Fq2, Fr, G1Affine, G1Projective, G2Affine, G2Projective, g1};
use ark_ec::hashing::HashToCurve;
use ark_ec::hashing::curve_maps::wb::WBMap;
use ark_ec::hashing::map_to_curve_hasher::MapToCurveBasedHasher;
use ark_ec::pairing::Pairing;
use ark_ec::{AffineRepr, CurveGroup, PrimeGroup};
use ark_ff::field_hashers::DefaultFieldHasher;
use ark_ff::{AdditiveGroup, PrimeField};
use ark_serialize::{CanonicalDeserialize, CanonicalSerialize};

type Hasher = MapToCurveBasedHasher<G1Projective, DefaultFieldHasher<sha2_for_ark::Sha256, 128>, WBMap<g1::Config>>;

pub fn hash(message: &[u8], tag: &[u8]) -> G1Affine {
    Hasher::new(tag).unwrap().hash(message).unwrap()
}

pub fn public_key(secret: &[u8; 32]) -> [u8; 96] {
    encode_g2((G2Projective::generator() * scalar(secret)).into_affine())
}

pub fn sign(secret: &[u8; 32], message: &[u8], tag: &[u8]) -> G1Affine {
    (hash(message, tag) * scalar(secret)).into_affine()
}

/// The pairing equation of a vote with the sum of `keys`, term by term. Refuses aggregates that are no elements of the subgroup.
pub fn verifies(signature: &[u8; 48], keys: &[[u8; 96]], message: &[u8]) -> bool {
    let key: G2Projective = keys.iter().map(|key| G2Affine::deserialize_compressed(&key[..]).unwrap()).sum();
    let Ok(signature) = G1Affine::deserialize_compressed(&signature[..]) else { return false };
    Bls12_381::pairing(signature, G2Affine::generator()) == Bls12_381::pairing(hash(message, VOTE_TAG), key)
}

pub fn scalar(bytes: &[u8; 32]) -> Fr {
    Fr::from_be_bytes_mod_order(bytes)
}

pub fn scalar_bytes(scalar: Fr) -> [u8; 32] {
    let mut bytes = [0; 32];
    scalar.serialize_compressed(&mut bytes[..]).unwrap();
    bytes.reverse();
    bytes
}

/// A point as it stands in a vote.
pub fn decode_g1(bytes: &[u8; 96]) -> G1Affine {
    G1Affine::deserialize_uncompressed_unchecked(&bytes[..]).unwrap()
}

/// A point as it stands in a vote.
pub fn encode_g1(point: G1Affine) -> [u8; 96] {
    let mut bytes = [0; 96];
    point.serialize_uncompressed(&mut bytes[..]).unwrap();
    bytes
}

/// A point as it stands in a certificate.
pub fn uncompress_g1(bytes: &[u8; 48]) -> G1Affine {
    G1Affine::deserialize_compressed_unchecked(&bytes[..]).unwrap()
}

/// A point as it stands in a certificate.
pub fn compress_g1(point: G1Affine) -> [u8; 48] {
    let mut bytes = [0; 48];
    point.serialize_compressed(&mut bytes[..]).unwrap();
    bytes
}

pub fn decode_g2(bytes: &[u8; 96]) -> G2Affine {
    G2Affine::deserialize_compressed(&bytes[..]).unwrap()
}

pub fn encode_g2(point: G2Affine) -> [u8; 96] {
    let mut bytes = [0; 96];
    point.serialize_compressed(&mut bytes[..]).unwrap();
    bytes
}

/// A point on the G1 curve whose prime-order part is nothing: r times a point outside the subgroup.
pub fn cofactor_g1() -> G1Affine {
    let outside = (1u64..).filter_map(|x| G1Affine::get_point_from_x_unchecked(Fq::from(x), false));
    let outside = outside.into_iter().find(|point| !point.is_in_correct_subgroup_assuming_on_curve()).unwrap();
    let pure = outside.mul_bigint(Fr::MODULUS).into_affine();
    assert!(pure.is_on_curve() && !pure.is_zero());
    pure
}

/// A point on the G1 curve of order 3: x = 0, y = 2.
pub fn order_three_g1() -> G1Affine {
    let point = G1Affine::new_unchecked(Fq::ZERO, Fq::from(2u64));
    assert!(point.is_on_curve() && point.mul_bigint([3u64]).into_affine().is_zero());
    point
}

/// A point on the G2 curve outside the subgroup.
pub fn outside_g2() -> G2Affine {
    let points = (1u64..).filter_map(|x| G2Affine::get_point_from_x_unchecked(Fq2::new(Fq::from(x), Fq::ZERO), false));
    points.into_iter().find(|point| !point.is_in_correct_subgroup_assuming_on_curve()).unwrap()
}

/// A point beside the G1 curve, as it would stand in a vote.
pub fn off_curve_g1() -> [u8; 96] {
    let mut bytes = encode_g1(G1Affine::generator());
    bytes[95] ^= 1;
    bytes
}

/// An x that belongs to no point of the G1 curve, in the compressed form.
pub fn compressed_off_curve_g1() -> [u8; 48] {
    let x = (1u64..).find(|&x| G1Affine::get_point_from_x_unchecked(Fq::from(x), false).is_none()).unwrap();
    let mut bytes = [0; 48];
    bytes[40..].copy_from_slice(&x.to_be_bytes());
    bytes[0] |= 0x80;
    bytes
}
