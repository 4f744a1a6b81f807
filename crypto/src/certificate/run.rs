//! Certificates of any subjects under one equation.
//!
//! Certificate i says `e(S_i, g2) = e(H_i, K_i)`: its aggregate, its subject on the curve, the sum of its signers' keys. Weighted with
//! coefficients z_i the equations are multiplied, and certificates with the same signers share a pairing:
//!
//! ```text
//! e(sum of all z_i S_i, g2) = product over distinct signer sets K of e(sum of z_i H_i with signers K, K)
//! ```
//!
//! The verdict is one for all. Whoever sends a bad certificate is not listened to again, so runs fail too rarely to search them: if the
//! product fails each certificate is looked at by itself, and the wasted product is all that a liar gets.
//!
//! Unlike votes of one subject, certificates are stored and forwarded one by one, and their bytes come from anybody. So here every single
//! one must hold when the product does, and both shortcuts for votes are off:
//! - *coefficients*. Errors live in a group of prime order r, so a product with an error in it is one for at most one value of that error's
//!   coefficient, given the others: 2^-127 for odd 128-bit coefficients. They are BLAKE3 output over the whole run, fixed after every
//!   input and the same everywhere; whoever makes the run can try other runs offline until coefficients suit him, which is why they are
//!   not 64-bit (half the price: 11 us a certificate in groups of 32);
//! - *subgroup checks*, one for each aggregate. A cofactor part of order 3 survives a random coefficient two times in three only.

use super::{Certificate, Claim};
use crate::bls;
use crate::bls::curve::{G1, G1Affine, G2Affine, pairing_product, weighted_sum};
use crate::roster::{KeySum, Roster};
use samara_types::message::ArchivedCertificate;
use std::collections::HashMap;

/// All of them, if [`super::verify`] takes each. None if it does not, or if a memo knows the verdicts.
pub(crate) fn verify_run(roster: &Roster, keys: &mut KeySum, messages: &[&ArchivedCertificate]) -> Option<Vec<Certificate>> {
    if roster.memo().is_some() {
        return None;
    }
    let claims = messages.iter().map(|message| read(roster, message)).collect::<Option<Vec<_>>>()?;
    let holds = claims.is_empty() || Run::new(roster, keys, &claims).holds();
    holds.then(|| claims.into_iter().map(|claim| claim.certificate).collect())
}

/// All checks that concern one certificate alone.
fn read(roster: &Roster, message: &ArchivedCertificate) -> Option<Claim> {
    Claim::read(roster, message).ok().filter(|claim| G1::from(claim.aggregate).in_group())
}

/// What stands in the equation, by certificate.
struct Run {
    aggregates: Vec<G1Affine>,
    minus_hashes: Vec<G1Affine>,
    /// Which of `keys` belongs to it.
    groups: Vec<usize>,
    coefficients: Vec<u128>,
    /// Sums of keys, one for each distinct set of signers.
    keys: Vec<G2Affine>,
}

impl Run {
    fn new(roster: &Roster, sum: &mut KeySum, claims: &[Claim]) -> Run {
        let (mut sets, mut hashes, mut keys) = (HashMap::new(), HashMap::new(), Vec::new());
        let (mut groups, mut minus_hashes) = (Vec::with_capacity(claims.len()), Vec::with_capacity(claims.len()));
        for Claim { certificate, .. } in claims {
            let Certificate { subject, signers, .. } = certificate;
            let subject = &roster.signed(subject);
            groups.push(*sets.entry(*signers).or_insert_with(|| {
                keys.push(roster.key_after(sum, signers));
                keys.len() - 1
            }));
            minus_hashes.push(*hashes.entry(*subject).or_insert_with(|| bls::minus_vote_hash(roster.domain(), subject)));
        }
        let aggregates = claims.iter().map(|claim| claim.aggregate).collect();
        Run { aggregates, minus_hashes, groups, coefficients: coefficients(roster, claims), keys }
    }

    fn holds(&self) -> bool {
        let mut pairs = vec![(weighted_sum(&self.aggregates, &self.coefficients).to_affine(), G2Affine::generator())];
        for (group, key) in self.keys.iter().enumerate() {
            let members = (0..self.groups.len()).filter(|&at| self.groups[at] == group);
            let (hashes, coefficients): (Vec<_>, Vec<_>) = members.map(|at| (self.minus_hashes[at], self.coefficients[at])).unzip();
            pairs.push((weighted_sum(&hashes, &coefficients).to_affine(), *key));
        }
        pairing_product(&pairs).is_one()
    }
}

/// One odd 128-bit coefficient for each, fixed by all of them.
fn coefficients(roster: &Roster, claims: &[Claim]) -> Vec<u128> {
    let mut hasher = blake3::Hasher::new_derive_key("samara 2026 certificate run");
    for Claim { certificate, .. } in claims {
        hasher.update(&certificate.subject.signing_bytes(roster.domain()));
        hasher.update(&certificate.signers.to_bytes(certificate.validators));
        hasher.update(&certificate.signature);
    }
    let mut stream = hasher.finalize_xof();
    let next = |_: &Claim| {
        let mut bytes = [0; 16];
        stream.fill(&mut bytes);
        u128::from_le_bytes(bytes) | 1
    };
    claims.iter().map(next).collect()
}

#[cfg(test)]
mod tests;
