//! The rules of the store, on RocksDB and in memory alike.

use super::chain::Table;
use super::memory::MemoryStore;
use super::rocks::RocksStore;
use super::*;
use crate::{decode_block, encode_block};
use samara_types::message::Certificate;
use samara_types::{BlockHeader, Offence};

const CHAIN: ChainId = ChainId([1; 32]);

fn block_with(height: u64, view: u64, parent: Digest, payload: Vec<u8>) -> FinalizedBlock {
    let header = BlockHeader {
        view: View(view),
        parent_view: View(view - 1),
        parent_digest: parent,
        height: Height(height),
        timestamp_ns: 5,
        payload_length: payload.len() as u32,
        leader: ValidatorIndex(1),
        payload_digest: samara_types::block::payload_digest(&payload),
    };
    let block = Block::new(header, vec![Digest([height as u8; 32]), Digest([2; 32])], payload).unwrap();
    let certificate = Some(certificate(view, block.digest(), CertificateKind::L));
    FinalizedBlock { block: Arc::new(block), certificate }
}

fn certificate(view: u64, digest: Digest, kind: CertificateKind) -> Certificate {
    Certificate { view, digest: digest.0, kind: kind as u8, signature: [3; 48], signers: vec![0b0001_1111] }
}

/// Blocks of heights 1..=n; every second view is nullified.
fn chain_of(n: u64) -> Vec<FinalizedBlock> {
    let mut parent = genesis(&CHAIN);
    (1..=n)
        .map(|height| {
            let block = block_with(height, 2 * height, parent, vec![height as u8; 6_000]);
            parent = block.block.digest();
            block
        })
        .collect()
}

fn offence(accused: u16, offence: Offence, view: u64) -> Evidence {
    Evidence { accused: ValidatorIndex(accused), offence, view: View(view), proof: vec![accused as u8; 40] }
}

/// Runs a test on both kinds of store.
fn with_stores(test: impl Fn(&dyn BlockStore)) {
    test(&MemoryStore::new(CHAIN));
    let dir = tempfile::tempdir().unwrap();
    test(&RocksStore::open(dir.path(), CHAIN).unwrap());
}

fn heights(blocks: &[StoredBlock]) -> Vec<u64> {
    blocks.iter().map(|block| block.header().height.0).collect()
}

#[test]
fn what_was_committed_is_found_by_height_digest_and_view() {
    with_stores(|store| {
        let chain = chain_of(5);
        assert_eq!(store.tip().unwrap(), None);
        store.commit(&chain[..2], &[], &[]).unwrap();
        store.commit(&chain[2..], &[], &[]).unwrap();
        for finalized in &chain {
            let (block, header) = (&finalized.block, finalized.block.header());
            assert_eq!(store.block_at(header.height).unwrap().unwrap().to_block().as_ref(), Some(&**block));
            assert_eq!(store.block(&block.digest()).unwrap().unwrap().digest(), block.digest());
            assert_eq!(store.certificate(header.view, CertificateKind::L).unwrap(), finalized.certificate);
            assert_eq!(store.certificate(header.view, CertificateKind::M).unwrap(), None);
        }
        assert_eq!(store.tip().unwrap(), Some((Height(5), View(10), chain[4].block.digest())));
        assert_eq!(store.block_at(Height(6)).unwrap(), None);
        assert_eq!(store.block(&Digest::ZERO).unwrap(), None);
    });
}

#[test]
fn committing_again_changes_nothing_and_the_tip_never_moves_back() {
    with_stores(|store| {
        let chain = chain_of(4);
        store.commit(&chain, &[], &[]).unwrap();
        store.commit(&chain[..2], &[], &[]).unwrap();
        assert_eq!(store.tip().unwrap().unwrap().0, Height(4));
        store.commit(&chain_of(6)[2..], &[], &[]).unwrap();
        assert_eq!(store.tip().unwrap().unwrap().0, Height(6));
    });
}

#[test]
fn another_block_at_a_stored_height_is_the_alarm() {
    with_stores(|store| {
        let chain = chain_of(3);
        store.commit(&chain, &[], &[]).unwrap();
        let mut other = block_with(2, 7, chain[0].block.digest(), vec![9; 10]);
        other.certificate = None;
        let refused = store.commit(&[other.clone()], &[], &[]).unwrap_err();
        assert!(matches!(refused, StoreError::Conflict { height: Height(2), .. }), "{refused}");
        assert_eq!(store.block_at(Height(2)).unwrap().unwrap().digest(), chain[1].block.digest());
        store.commit(&chain, &[], &[]).expect("a refusal does not stop the store");
    });
    with_stores(|store| {
        let chain = chain_of(2);
        let other = block_with(2, 7, chain[0].block.digest(), vec![9; 10]);
        let refused = store.commit(&[chain[0].clone(), chain[1].clone(), other], &[], &[]).unwrap_err();
        assert!(matches!(refused, StoreError::Conflict { .. }), "within one commit: {refused}");
        assert_eq!(store.tip().unwrap(), None, "nothing of a refused commit is stored");
        assert_eq!(store.block_at(Height(1)).unwrap(), None);
    });
}

#[test]
fn two_l_notarizations_of_one_view_are_the_alarm() {
    with_stores(|store| {
        let chain = chain_of(1);
        let other = certificate(2, Digest([8; 32]), CertificateKind::L);
        let refused = store.commit(&chain, std::slice::from_ref(&other), &[]).unwrap_err();
        assert!(matches!(refused, StoreError::ConflictingNotarization { view: View(2), .. }), "{refused}");
        store.commit(&chain, &[], &[]).unwrap();
        assert!(matches!(store.commit(&[], &[other], &[]), Err(StoreError::ConflictingNotarization { .. })));
    });
}

#[test]
fn heights_have_no_gap_and_blocks_are_linked() {
    with_stores(|store| {
        let chain = chain_of(4);
        assert!(matches!(store.commit(&chain[1..], &[], &[]), Err(StoreError::Gap { expected: Height(1), .. })));
        store.commit(&chain[..2], &[], &[]).unwrap();
        assert!(matches!(store.commit(&chain[3..], &[], &[]), Err(StoreError::Gap { expected: Height(3), offered: Height(4) })));
        let stranger = block_with(3, 9, Digest([7; 32]), vec![]);
        assert!(matches!(store.commit(&[stranger], &[], &[]), Err(StoreError::BrokenLink { height: Height(3), .. })));
        assert_eq!(store.tip().unwrap().unwrap().0, Height(2));
    });
}

#[test]
fn a_block_comes_with_its_own_certificate() {
    with_stores(|store| {
        let mut block = chain_of(1).remove(0);
        let own = block.certificate.clone().unwrap();
        for foreign in [
            Certificate { kind: CertificateKind::M as u8, ..own.clone() },
            Certificate { view: 3, ..own.clone() },
            Certificate { digest: [0; 32], ..own.clone() },
        ] {
            block.certificate = Some(foreign);
            assert!(matches!(store.commit(&[block.clone()], &[], &[]), Err(StoreError::ForeignCertificate { .. })));
        }
        let unknown = Certificate { kind: 9, ..own };
        assert!(matches!(store.commit(&[], &[unknown], &[]), Err(StoreError::ForeignCertificate { kind: 9, .. })));
    });
}

#[test]
fn certificates_are_listed_by_view_and_several_m_notarizations_stay() {
    with_stores(|store| {
        let extra = [
            certificate(9, Digest([4; 32]), CertificateKind::M),
            certificate(3, Digest::ZERO, CertificateKind::Nullification),
            certificate(9, Digest([2; 32]), CertificateKind::M),
            certificate(256, Digest::ZERO, CertificateKind::Nullification),
        ];
        store.commit(&[], &extra, &[]).unwrap();
        store.commit(&[], &extra, &[]).unwrap();
        let views =
            |after, max| store.certificates_after(View(after), max).unwrap().iter().map(|c| (c.view, c.digest[0])).collect::<Vec<_>>();
        assert_eq!(views(0, 10), [(3, 0), (9, 2), (9, 4), (256, 0)]);
        assert_eq!(views(3, 2), [(9, 2), (9, 4)]);
        assert_eq!(views(256, 10), []);
        assert_eq!(views(u64::MAX, 10), []);
        assert_eq!(views(0, 0), []);
        assert_eq!(store.certificate(View(9), CertificateKind::M).unwrap(), Some(extra[2].clone()));
        assert_eq!(store.certificate(View(9), CertificateKind::L).unwrap(), None);
        assert_eq!(store.certificate(View(4), CertificateKind::M).unwrap(), None);
    });
}

#[test]
fn blocks_are_served_in_ranges() {
    with_stores(|store| {
        store.commit(&chain_of(300), &[], &[]).unwrap();
        assert_eq!(heights(&store.blocks_from(Height(254), 4).unwrap()), [254, 255, 256, 257]);
        assert_eq!(heights(&store.blocks_from(Height(299), 10).unwrap()), [299, 300]);
        assert_eq!(heights(&store.blocks_from(Height(0), 1).unwrap()), [1]);
        assert!(store.blocks_from(Height(301), 10).unwrap().is_empty());
        assert!(store.blocks_from(Height(1), 0).unwrap().is_empty());
    });
}

#[test]
fn a_range_is_bounded_in_bytes() {
    let store = MemoryStore::new(CHAIN);
    let mut parent = genesis(&CHAIN);
    for height in 1..=20 {
        let block = block_with(height, height + 1, parent, vec![1; 1 << 20]);
        parent = block.block.digest();
        store.commit(&[block], &[], &[]).unwrap();
    }
    assert_eq!(store.blocks_from(Height(1), 100).unwrap().len(), 15, "16 MiB, rounded down by headers");
}

#[test]
fn one_offence_is_kept_once_and_no_accused_fills_the_disk() {
    with_stores(|store| {
        let twice = [offence(2, Offence::BadProof, 5), offence(1, Offence::BadProof, 5), offence(2, Offence::BadProof, 5)];
        store.commit(&[], &[], &twice).unwrap();
        store.commit(&[], &[], &twice).unwrap();
        assert_eq!(store.evidence().unwrap(), [twice[1].clone(), twice[0].clone()]);
        let flood: Vec<Evidence> = (0..1_500).map(|view| offence(2, Offence::BadVoteSignature, view)).collect();
        store.commit(&[], &[], &flood).unwrap();
        store.commit(&[], &[], &flood).unwrap();
        let kept = store.evidence().unwrap();
        let petty = kept.iter().filter(|evidence| evidence.offence == Offence::BadVoteSignature).count();
        assert_eq!((petty, kept.len()), (EVIDENCE_PER_OFFENCE_MAX, EVIDENCE_PER_OFFENCE_MAX + 2));
        store.commit(&[], &[], &[offence(3, Offence::WrongSeat, 1)]).unwrap();
        assert_eq!(store.evidence().unwrap().len(), EVIDENCE_PER_OFFENCE_MAX + 3);
    });
}

/// A hostile member could fill its own record with offences that prove nothing, and equivocate unrecorded afterwards.
#[test]
fn petty_offences_do_not_crowd_out_proofs() {
    with_stores(|store| {
        let petty: Vec<Evidence> = (0..2_000).map(|view| offence(2, Offence::BadVoteSignature, view)).collect();
        store.commit(&[], &[], &petty).unwrap();
        let proven = offence(2, Offence::VoteEquivocation, 2_001);
        store.commit(&[], &[], std::slice::from_ref(&proven)).unwrap();
        assert!(store.evidence().unwrap().contains(&proven));
    });
}

#[test]
fn stored_bytes_are_checked() {
    let block = chain_of(1).remove(0).block;
    let bytes = encode_block(&block);
    assert_eq!(decode_block(&bytes).as_ref(), Some(&*block));
    let stored = StoredBlock::from_bytes(bytes.clone()).unwrap();
    assert_eq!((stored.as_bytes(), stored.payload()), (&bytes[..], block.payload()));
    assert_eq!(encode_block(&stored.to_block().unwrap()), bytes);
    for cut in 0..bytes.len() {
        assert!(decode_block(&bytes[..cut]).is_none(), "{cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_block(&flipped).is_none_or(|other| other.digest() != block.digest() || other == *block), "bit {bit}");
    }
}

#[test]
fn a_damaged_block_is_reported_not_served() {
    let store = MemoryStore::new(CHAIN);
    store.commit(&chain_of(1), &[], &[]).unwrap();
    store.corrupt(Table::Blocks);
    assert!(matches!(store.block_at(Height(1)), Err(StoreError::Corrupt { table: "blocks" })));
}

#[test]
fn a_failed_commit_stops_the_store_until_it_is_reopened() {
    for kept in [false, true] {
        let store = MemoryStore::new(CHAIN);
        let chain = chain_of(3);
        store.fail_after(1, kept);
        store.commit(&chain[..1], &[], &[]).unwrap();
        assert!(matches!(store.commit(&chain[..2], &[], &[]), Err(StoreError::Database { .. })));
        assert!(matches!(store.commit(&chain[..2], &[], &[]), Err(StoreError::Stopped)));
        assert_eq!(store.tip().unwrap().unwrap().0, Height(1));
        let store = store.reopen().unwrap();
        assert_eq!(store.tip().unwrap().unwrap().0, Height(1 + u64::from(kept)), "an uncertain commit is there or not, never half");
        store.commit(&chain, &[], &[]).unwrap();
        assert_eq!(store.tip().unwrap().unwrap().0, Height(3));
    }
}

#[test]
fn a_database_is_reopened_and_belongs_to_its_chain() {
    let dir = tempfile::tempdir().unwrap();
    let flood: Vec<Evidence> = (0..EVIDENCE_PER_OFFENCE_MAX as u64).map(|view| offence(2, Offence::BadProof, view)).collect();
    let store = RocksStore::open(dir.path(), CHAIN).unwrap();
    store.commit(&chain_of(3), &[], &flood).unwrap();
    drop(store);
    let error = RocksStore::open(dir.path(), ChainId([2; 32])).err().expect("refused");
    assert!(matches!(error, StoreError::OtherChain { .. }), "{error}");
    let store = RocksStore::open(dir.path(), CHAIN).unwrap();
    assert_eq!(store.tip().unwrap().unwrap().0, Height(3));
    store.commit(&chain_of(4), &[], &[offence(2, Offence::BadProof, 5_000)]).unwrap();
    assert_eq!(store.evidence().unwrap().len(), EVIDENCE_PER_OFFENCE_MAX, "the bound outlives a restart");
    assert!(RocksStore::open(dir.path(), CHAIN).is_err(), "one writer");
}

#[test]
fn a_running_database_is_read_beside_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    assert!(RocksStore::open_read_only(dir.path()).is_err(), "there is none");
    let writer = RocksStore::open(dir.path(), CHAIN).unwrap();
    let chain = chain_of(4);
    writer.commit(&chain[..3], &[], &[offence(1, Offence::WrongSeat, 1)]).unwrap();
    let reader = RocksStore::open_read_only(dir.path()).unwrap();
    writer.commit(&chain[3..], &[], &[]).unwrap();
    assert_eq!(reader.chain(), CHAIN);
    assert_eq!(heights(&reader.blocks_from(Height(1), 10).unwrap()), [1, 2, 3]);
    assert_eq!(reader.evidence().unwrap().len(), 1);
    assert!(matches!(reader.commit(&chain, &[], &[]), Err(StoreError::ReadOnly)));
    assert_eq!(RocksStore::open_read_only(dir.path()).unwrap().tip().unwrap().unwrap().0, Height(4));
}
