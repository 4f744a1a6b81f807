//! BLS12-381 points and pairings over the raw bindings of blst: the one room of this crate with `unsafe`.
//!
//! Why raw bindings. blst's safe wrappers hand sums, multi-scalar products and multi-pairings to a thread pool of their own, which a pinned
//! reactor must not do, and they do not show the value of a pairing product, which the search for culprits divides. Everything here runs
//! on the calling thread, never allocates except for the scratch of [`weighted_sum`], and takes references, so the bindings only ever see
//! initialized points. A point of these types is on its curve; whether it is in the subgroup is asked with [`G1::in_group`].

#![allow(unsafe_code)]

use blst::min_sig::{PublicKey, Signature};
use blst::{BLST_ERROR, blst_fp12, blst_p1, blst_p1_affine, blst_p2, blst_p2_affine};

/// A point of the G1 curve, projective; infinity by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct G1(blst_p1);

/// A point of the G1 curve with affine coordinates; infinity by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct G1Affine(blst_p1_affine);

/// A point of the G2 subgroup, projective; infinity by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct G2(blst_p2);

/// A point of the G2 subgroup with affine coordinates; infinity by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct G2Affine(blst_p2_affine);

/// A value of the pairing, written multiplicatively: an element of the subgroup of order r of Fp12.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gt(blst_fp12);

impl G1Affine {
    /// From both coordinates, 96 B big-endian with no flag set. None unless canonical and on the curve; x = 0 (order 3) is refused too.
    pub(crate) fn deserialize(bytes: &[u8; 96]) -> Option<G1Affine> {
        const FLAGS: u8 = 0xe0;
        let mut point = blst_p1_affine::default();
        // SAFETY: `point` is writable and the 96 bytes of an uncompressed encoding, which no flag denies to be one, are readable.
        let good = bytes[0] & FLAGS == 0 && unsafe { blst::blst_p1_deserialize(&mut point, bytes.as_ptr()) } == BLST_ERROR::BLST_SUCCESS;
        good.then_some(G1Affine(point))
    }

    /// From a compressed point. None unless canonical, on the curve and not infinity; x = 0 is refused too.
    pub(crate) fn uncompress(bytes: &[u8; 48]) -> Option<G1Affine> {
        const INFINITY_BIT: u8 = 0x40;
        let signature = Signature::uncompress(bytes).ok().filter(|_| bytes[0] & INFINITY_BIT == 0)?;
        Some(G1Affine(*<&blst_p1_affine>::from(&signature)))
    }

    /// Both coordinates.
    pub(crate) fn serialize(&self) -> [u8; 96] {
        let mut bytes = [0; 96];
        // SAFETY: 96 bytes are writable and the point is initialized.
        unsafe { blst::blst_p1_affine_serialize(bytes.as_mut_ptr(), &self.0) };
        bytes
    }

    fn is_infinity(&self) -> bool {
        // SAFETY: the point is initialized.
        unsafe { blst::blst_p1_affine_is_inf(&self.0) }
    }
}

impl G1 {
    /// The message as a point.
    pub(crate) fn hash(message: &[u8], tag: &[u8]) -> G1 {
        let mut point = blst_p1::default();
        // SAFETY: the output is writable, both slices are readable for their lengths, an augmentation of length 0 is never read.
        unsafe { blst::blst_hash_to_g1(&mut point, message.as_ptr(), message.len(), tag.as_ptr(), tag.len(), std::ptr::null(), 0) };
        G1(point)
    }

    /// The message as a point, negated: what pairs with a key to cancel a signature.
    pub(crate) fn minus_hash(message: &[u8], tag: &[u8]) -> G1 {
        let mut point = G1::hash(message, tag);
        // SAFETY: the point is initialized and writable.
        unsafe { blst::blst_p1_cneg(&mut point.0, true) };
        point
    }

    /// The multiple by the lowest `bits` of a little-endian number.
    pub(crate) fn times(&self, scalar: &[u8; 32], bits: usize) -> G1 {
        assert!(bits <= 256, "a scalar has 256 bits");
        let mut point = blst_p1::default();
        // SAFETY: both points are initialized, the output is writable, and the bits lie within the 32 readable bytes.
        unsafe { blst::blst_p1_mult(&mut point, &self.0, scalar.as_ptr(), bits) };
        G1(point)
    }

    /// The sum.
    pub(crate) fn plus(&self, other: &G1) -> G1 {
        let mut total = blst_p1::default();
        // SAFETY: all three are initialized and the output is writable.
        unsafe { blst::blst_p1_add_or_double(&mut total, &self.0, &other.0) };
        G1(total)
    }

    /// The difference.
    pub(crate) fn minus(&self, other: &G1) -> G1 {
        let mut negated = other.0;
        // SAFETY: the point is initialized and writable.
        unsafe { blst::blst_p1_cneg(&mut negated, true) };
        self.plus(&G1(negated))
    }

    pub(crate) fn is_infinity(&self) -> bool {
        // SAFETY: the point is initialized.
        unsafe { blst::blst_p1_is_inf(&self.0) }
    }

    /// Whether it is in the subgroup of prime order (30 us). Infinity is.
    pub(crate) fn in_group(&self) -> bool {
        // SAFETY: the point is initialized.
        unsafe { blst::blst_p1_in_g1(&self.0) }
    }

    pub(crate) fn to_affine(self) -> G1Affine {
        let mut point = blst_p1_affine::default();
        // SAFETY: both are initialized and the output is writable.
        unsafe { blst::blst_p1_to_affine(&mut point, &self.0) };
        G1Affine(point)
    }

    /// 48 B.
    pub(crate) fn compress(&self) -> [u8; 48] {
        let mut bytes = [0; 48];
        // SAFETY: 48 bytes are writable and the point is initialized.
        unsafe { blst::blst_p1_compress(bytes.as_mut_ptr(), &self.0) };
        bytes
    }
}

impl From<G1Affine> for G1 {
    fn from(affine: G1Affine) -> G1 {
        let mut point = blst_p1::default();
        // SAFETY: both are initialized and the output is writable.
        unsafe { blst::blst_p1_from_affine(&mut point, &affine.0) };
        G1(point)
    }
}

impl G2Affine {
    /// The generator.
    pub(crate) fn generator() -> G2Affine {
        // SAFETY: blst returns the address of a constant.
        G2Affine(unsafe { *blst::blst_p2_affine_generator() })
    }

    fn is_infinity(&self) -> bool {
        // SAFETY: the point is initialized.
        unsafe { blst::blst_p2_affine_is_inf(&self.0) }
    }
}

impl From<&PublicKey> for G2Affine {
    fn from(key: &PublicKey) -> G2Affine {
        G2Affine(*<&blst_p2_affine>::from(key))
    }
}

impl G2 {
    /// The sum.
    pub(crate) fn plus(&self, other: &G2) -> G2 {
        let mut total = blst_p2::default();
        // SAFETY: all three are initialized and the output is writable.
        unsafe { blst::blst_p2_add_or_double(&mut total, &self.0, &other.0) };
        G2(total)
    }

    /// The negative.
    pub(crate) fn negated(mut self) -> G2 {
        // SAFETY: the point is initialized and writable.
        unsafe { blst::blst_p2_cneg(&mut self.0, true) };
        self
    }

    pub(crate) fn to_affine(self) -> G2Affine {
        let mut point = blst_p2_affine::default();
        // SAFETY: both are initialized and the output is writable.
        unsafe { blst::blst_p2_to_affine(&mut point, &self.0) };
        G2Affine(point)
    }
}

/// Sum of points, with one shared inversion: 0.24 us each instead of 0.35.
pub(crate) fn sum_g1(points: &[G1Affine]) -> G1 {
    let pointers: Vec<*const blst_p1_affine> = points.iter().map(|point| &raw const point.0).collect();
    let mut total = blst_p1::default();
    // SAFETY: `pointers` holds as many pointers to initialized points as the count says, and blst reads no further.
    unsafe { blst::blst_p1s_add(&mut total, pointers.as_ptr(), pointers.len()) };
    G1(total)
}

/// Sum of points, with one shared inversion: 0.52 us each instead of 0.93.
pub(crate) fn sum_g2<'a>(points: impl IntoIterator<Item = &'a G2Affine>) -> G2 {
    let pointers: Vec<*const blst_p2_affine> = points.into_iter().map(|point| &raw const point.0).collect();
    let mut total = blst_p2::default();
    // SAFETY: `pointers` holds as many pointers to points that live for 'a as the count says, and blst reads no further.
    unsafe { blst::blst_p2s_add(&mut total, pointers.as_ptr(), pointers.len()) };
    G2(total)
}

/// Sum of points times 128-bit coefficients (Pippenger; 11 us a point for 32 of them, 7 us for 128). Not constant time: for public values.
///
/// # Panics
/// Unless there is one coefficient for each of at least one point.
pub(crate) fn weighted_sum(points: &[G1Affine], coefficients: &[u128]) -> G1 {
    assert!(!points.is_empty() && points.len() == coefficients.len(), "a coefficient for each point");
    const BITS: usize = 128;
    let pointers: Vec<*const blst_p1_affine> = points.iter().map(|point| &raw const point.0).collect();
    let scalars: Vec<[u8; BITS / 8]> = coefficients.iter().map(|coefficient| coefficient.to_le_bytes()).collect();
    let scalar_pointers: Vec<*const u8> = scalars.iter().map(|scalar| scalar.as_ptr()).collect();
    let mut total = blst_p1::default();
    // SAFETY: blst says how much scratch it needs (in bytes, whole limbs); both pointer arrays have `points.len()` entries that point to an
    // initialized point and to 16 readable bytes.
    unsafe {
        let mut scratch = vec![0u64; blst::blst_p1s_mult_pippenger_scratch_sizeof(points.len()).div_ceil(8)];
        let (points, scalars) = (pointers.as_ptr(), scalar_pointers.as_ptr());
        blst::blst_p1s_mult_pippenger(&mut total, points, pointers.len(), scalars, BITS, scratch.as_mut_ptr());
    }
    G1(total)
}

/// Product of pairings: one shared Miller loop and one final exponentiation. A pair with infinity contributes nothing.
pub(crate) fn pairing_product(pairs: &[(G1Affine, G2Affine)]) -> Gt {
    let finite = pairs.iter().filter(|(left, right)| !left.is_infinity() && !right.is_infinity());
    let (left, right): (Vec<_>, Vec<_>) = finite.map(|(left, right)| (&raw const left.0, &raw const right.0)).unzip();
    if left.is_empty() {
        return Gt::one();
    }
    let mut product = blst_fp12::default();
    // SAFETY: both arrays have `left.len()` > 0 pointers to points borrowed from `pairs`, the output is writable.
    unsafe { blst::blst_miller_loop_n(&mut product, right.as_ptr(), left.as_ptr(), left.len()) };
    Gt(product.final_exp())
}

impl Gt {
    pub(crate) fn one() -> Gt {
        // SAFETY: blst returns the address of a constant.
        Gt(unsafe { *blst::blst_fp12_one() })
    }

    pub(crate) fn is_one(&self) -> bool {
        *self == Gt::one()
    }

    /// The quotient. After the final exponentiation the inverse of a value is its conjugate.
    pub(crate) fn divided_by(&self, other: &Gt) -> Gt {
        let (mut inverse, mut quotient) = (other.0, blst_fp12::default());
        // SAFETY: all are initialized and the outputs are writable.
        unsafe {
            blst::blst_fp12_conjugate(&mut inverse);
            blst::blst_fp12_mul(&mut quotient, &self.0, &inverse);
        }
        Gt(quotient)
    }
}
