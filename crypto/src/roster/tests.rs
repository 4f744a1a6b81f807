use super::*;
use crate::bls::curve::sum_g2;
use crate::fixture::{Cluster, DOMAIN, entry, keyring, vote};
use crate::oracle;
use samara_types::{ChainId, Digest, Epoch, SliceIndex, SliceShape, View};

fn entries() -> Vec<ValidatorEntry> {
    (0..6).map(|index| entry(&keyring(index), 1)).collect()
}

fn roster(entries: Vec<ValidatorEntry>) -> Result<Roster, RosterError> {
    Roster::new(ValidatorSet::new(entries, None).unwrap(), DOMAIN)
}

fn spoiled(spoil: impl FnOnce(&mut ValidatorEntry)) -> RosterError {
    let mut entries = entries();
    spoil(&mut entries[3]);
    roster(entries).unwrap_err()
}

#[test]
fn a_set_with_one_bad_key_is_refused_by_name() {
    assert!(roster(entries()).is_ok());
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    assert_eq!(spoiled(|entry| entry.vote_key = [7; 96]), RosterError::VoteKeyEncoding(3));
    assert_eq!(spoiled(|entry| entry.vote_key = infinity), RosterError::VoteKeyInfinity(3));
    assert_eq!(spoiled(|entry| entry.vote_key = oracle::encode_g2(oracle::outside_g2())), RosterError::VoteKeySubgroup(3));
    assert_eq!(spoiled(|entry| entry.possession = keyring(2).vote.possession()), RosterError::Possession(3));
    assert_eq!(spoiled(|entry| entry.possession[0] ^= 0x20), RosterError::Possession(3));
    assert_eq!(spoiled(|entry| entry.identity_key = [0; 32]), RosterError::IdentityKey(3));
    assert_eq!(spoiled(|entry| entry.session_key = [0; 32]), RosterError::SessionKey(3));
    let line = spoiled(|entry| entry.vote_key = infinity).to_string();
    assert!(line.starts_with("validators[3].vote_key") && line.contains("allowed"), "{line}");
}

/// The reason for proofs of possession: a key chosen as a difference would sign for others.
#[test]
fn a_key_chosen_as_a_difference_has_no_proof() {
    let mut entries = entries();
    let victim = oracle::decode_g2(&entries[0].vote_key);
    let rogue_secret = keyring(9).vote;
    let difference = oracle::decode_g2(&rogue_secret.public_key()) - victim;
    entries[3].vote_key = oracle::encode_g2(difference.into());
    // With it, the rogue alone makes what would pass as the aggregate of both.
    let keys = [0, 3].map(|index: usize| bls::decode_public_key(&entries[index].vote_key).unwrap());
    let forged = G1Affine::deserialize(&rogue_secret.sign(&DOMAIN, &vote(1))).unwrap();
    assert!(bls::verify(&forged.into(), &sum_g2(&keys).to_affine(), &bls::minus_vote_hash(&DOMAIN, &vote(1))));
    for possession in [rogue_secret.possession(), entries[0].possession, entries[3].possession] {
        entries[3].possession = possession;
        assert_eq!(roster(entries.clone()).unwrap_err(), RosterError::Possession(3));
    }
}

/// The sum by arkworks, term by term.
fn plain_sum(cluster: &Cluster, members: &SignerBitmap) -> G2Affine {
    let key = |index: ValidatorIndex| oracle::decode_g2(&cluster.keys[index.at()].vote.public_key());
    let sum: ark_bls12_381::G2Projective = members.iter().map(key).sum();
    let bytes = oracle::encode_g2(sum.into());
    bls::decode_public_key(&bytes).unwrap_or_default()
}

#[test]
fn the_key_of_every_subset_is_the_plain_sum() {
    let cluster = Cluster::equal(6);
    for mask in 0..64u16 {
        let members = (0..6).filter(|index| mask >> index & 1 == 1).map(ValidatorIndex).collect();
        assert_eq!(cluster.roster.key_of(&members), plain_sum(&cluster, &members), "mask {mask:b}");
    }
}

#[test]
fn a_sum_of_keys_moved_from_set_to_set_stays_the_plain_sum() {
    let cluster = Cluster::equal(37);
    let mut keys = KeySum::default();
    let mut members = SignerBitmap::default();
    for step in 0..120u32 {
        // Small changes, then none, then a jump to few, to nearly all, and over to another set.
        members = match step % 40 {
            37 => SignerBitmap::default(),
            38 => (0..37).map(ValidatorIndex).collect(),
            39 => (step as u16 % 7..20).map(ValidatorIndex).collect(),
            _ => members,
        };
        let one = ValidatorIndex((step * step % 37) as u16);
        if step % 5 != 4 && !members.insert(one) {
            members.remove(one);
        }
        assert_eq!(cluster.roster.key_after(&mut keys, &members), plain_sum(&cluster, &members), "step {step}");
    }
}

/// Members of the same names under the same chain and epoch, with other keys.
#[test]
fn a_sum_of_keys_of_another_set_starts_afresh() {
    let (cluster, mut keys) = (Cluster::equal(6), KeySum::default());
    let members = (0..5).map(ValidatorIndex).collect();
    cluster.roster.key_after(&mut keys, &members);
    let others = (0..6).rev().map(|index| crate::fixture::entry(&cluster.keys[index], 1)).collect();
    let next = Roster::new(ValidatorSet::new(others, None).unwrap(), DOMAIN).unwrap();
    let expected = plain_sum(&cluster, &(1..6).map(ValidatorIndex).collect());
    assert_eq!(next.key_after(&mut keys, &members), expected);
}

#[test]
fn a_vote_belongs_to_one_signer_subject_chain_and_epoch() {
    let cluster = Cluster::equal(6);
    let signature = cluster.sign(2, &vote(1));
    let verify = |signer, subject| cluster.roster.verify_subject(ValidatorIndex(signer), &subject, &signature);
    assert!(verify(2, vote(1)));
    assert!(!verify(3, vote(1)) && !verify(6, vote(1)) && !verify(u16::MAX, vote(1)));
    assert!(!verify(2, vote(2)));
    assert!(!verify(2, Subject::Vote(View(8), Digest([1; 32]))));
    assert!(!verify(2, Subject::Nullify(View(7))));
    for domain in [SigningDomain { chain: ChainId([1; 32]), ..DOMAIN }, SigningDomain { epoch: Epoch(1), ..DOMAIN }] {
        let foreign = cluster.keys[2].vote.sign(&domain, &vote(1));
        assert!(!cluster.roster.verify_subject(ValidatorIndex(2), &vote(1), &foreign));
    }
}

/// A nullify signs the zero digest under a kind byte of its own, so the vote for the zero digest is another message.
#[test]
fn a_nullify_is_no_vote_for_the_zero_digest() {
    let cluster = Cluster::equal(6);
    let nullify = cluster.sign(0, &Subject::Nullify(View(7)));
    assert!(!cluster.roster.verify_subject(ValidatorIndex(0), &Subject::Vote(View(7), Digest::ZERO), &nullify));
}

#[test]
fn a_slice_belongs_to_its_leader_and_every_field() {
    let cluster = Cluster::equal(6);
    let shape = SliceShape { data: 2, total: 5, payload_length: 1500 };
    let slice = SliceCommitment { view: View(7), slice: SliceIndex(1), last: true, shape, code: 0, root: Digest([5; 32]) };
    let signature = cluster.keys[4].identity.sign(&slice.signing_bytes(&DOMAIN));
    let verify = |leader, slice: &SliceCommitment| cluster.roster.verify_slice(ValidatorIndex(leader), slice, &signature);
    assert!(verify(4, &slice));
    assert!(!verify(3, &slice) && !verify(6, &slice));
    let others = [
        SliceCommitment { view: View(8), ..slice },
        SliceCommitment { slice: SliceIndex(2), ..slice },
        SliceCommitment { last: false, ..slice },
        SliceCommitment { shape: SliceShape { data: 3, ..shape }, ..slice },
        SliceCommitment { shape: SliceShape { total: 6, ..shape }, ..slice },
        SliceCommitment { shape: SliceShape { payload_length: 1501, ..shape }, ..slice },
        SliceCommitment { code: 1, ..slice },
        SliceCommitment { root: Digest([6; 32]), ..slice },
    ];
    assert!(others.iter().all(|other| !verify(4, other)));
    let mut flipped = signature;
    for bit in 0..512 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!cluster.roster.verify_slice(ValidatorIndex(4), &slice, &flipped), "bit {bit}");
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
}
