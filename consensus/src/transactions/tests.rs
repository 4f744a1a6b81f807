use super::*;
use samara_crypto::{IdentitySecret, sign_transaction, verify_batch};
use samara_types::block::payload_digest;
use samara_types::{BlockHeader, ValidatorIndex, View};

const CHAIN: ChainId = ChainId([3; 32]);

fn app() -> TransactionApp {
    TransactionApp::new(CHAIN, 4, 1000, 1 << 20)
}

fn raw(nonce: u64) -> Vec<u8> {
    sign_transaction(&CHAIN, &IdentitySecret::from_bytes(&[5; 32]), nonce, b"data")
}

fn verified(nonce: u64) -> VerifiedTransaction {
    verify_batch(&CHAIN, vec![raw(nonce)]).remove(0).unwrap()
}

fn block(height: u64, transactions: &[Vec<u8>]) -> Arc<Block> {
    let mut payload = Vec::new();
    for bytes in transactions {
        transaction::append(&mut payload, bytes);
    }
    let header = BlockHeader {
        view: View(height),
        parent_view: View(height - 1),
        parent_digest: Digest::ZERO,
        height: Height(height),
        timestamp_ns: 0,
        payload_length: payload.len() as u32,
        leader: ValidatorIndex(0),
        payload_digest: payload_digest(&payload),
    };
    Arc::new(Block::new(header, vec![], payload).unwrap())
}

fn payload_ids(payload: &[u8]) -> Vec<TransactionId> {
    transaction::iterate(payload).map(|t| t.unwrap().id(&CHAIN)).collect()
}

#[test]
fn proposals_are_fifo_and_leave_out_what_ancestors_carry() {
    let mut app = app();
    for nonce in 0..5 {
        app.submit(verified(nonce), Height(1)).unwrap();
    }
    let ancestor = block(1, &[raw(1), raw(3)]);
    let proposal = Proposal { view: View(2), height: Height(2) };
    let payload = app.propose(proposal, &[ancestor], 1 << 20);
    assert_eq!(payload_ids(&payload), [verified(0).id(), verified(2).id(), verified(4).id()]);
    let one = 2 + raw(0).len();
    assert_eq!(payload_ids(&app.propose(proposal, &[], one * 2 + 1)).len(), 2, "the limit is a limit");
}

#[test]
fn a_block_that_repeats_a_transaction_is_invalid() {
    let mut app = app();
    assert_eq!(app.verify(&block(1, &[raw(1), raw(1)]), &[]), Verdict::Invalid);
    let parent = block(1, &[raw(1)]);
    assert_eq!(app.verify(&parent, &[]), Verdict::Valid);
    assert_eq!(app.verify(&block(2, &[raw(1)]), std::slice::from_ref(&parent)), Verdict::Invalid);
    app.finalize(&parent);
    assert_eq!(app.verify(&block(2, &[raw(1)]), &[]), Verdict::Invalid);
}

#[test]
fn the_retention_is_counted_in_heights_of_the_chain() {
    let mut app = app();
    app.finalize(&block(1, &[raw(1)]));
    for height in 2..=4 {
        app.finalize(&block(height, &[]));
    }
    assert_eq!(app.verify(&block(5, &[raw(1)]), &[]), Verdict::Invalid, "within 4 heights");
    app.finalize(&block(5, &[]));
    assert_eq!(app.verify(&block(6, &[raw(1)]), &[]), Verdict::Valid, "beyond them");
    for height in 6..=20 {
        app.finalize(&block(height, &[raw(height)]));
    }
    assert!(app.finality().len() <= 5, "ids beyond the retention are forgotten");
}

#[test]
fn a_known_transaction_with_another_signature_is_verified_again() {
    let mut app = app();
    app.submit(verified(1), Height(1)).unwrap();
    let mut forged = raw(1);
    forged[40] ^= 1;
    assert_eq!(app.verify(&block(1, &[forged]), &[]), Verdict::Invalid);
    assert_eq!(app.verify(&block(1, &[raw(1)]), &[]), Verdict::Valid);
}

#[test]
fn malformed_payloads_and_bad_signatures_are_invalid() {
    let mut app = app();
    let mut bad = raw(1);
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(app.verify(&block(1, &[raw(2), bad]), &[]), Verdict::Invalid);
    assert_eq!(app.verify(&block(1, &[vec![1; 20]]), &[]), Verdict::Invalid);
}

#[test]
fn a_finalized_transaction_leaves_the_mempool_and_does_not_come_back() {
    let mut app = app();
    app.submit(verified(1), Height(1)).unwrap();
    assert!(app.has_work());
    let parent = block(1, &[raw(1)]);
    assert_eq!(app.verify(&parent, &[]), Verdict::Valid);
    assert!(!app.has_work(), "what a block above the tip carries is no reason to propose");
    app.finalize(&parent);
    assert!(app.mempool().is_empty());
    assert_eq!(app.submit(verified(1), Height(2)), Err(MempoolReject::Finalized(Height(1))));
}

#[test]
fn an_abandoned_block_gives_its_transactions_back() {
    let mut app = app();
    app.submit(verified(1), Height(1)).unwrap();
    assert_eq!(app.verify(&block(1, &[raw(1)]), &[]), Verdict::Valid);
    app.finalize(&block(1, &[raw(9)]));
    assert!(app.has_work());
}

#[test]
fn the_mempool_is_bounded_and_gossip_is_shed_first() {
    let mut app = TransactionApp::new(CHAIN, 4, 100, 1 << 20);
    for nonce in 0..100 {
        let taken = app.gossip(verified(nonce), Height(1)).is_ok();
        assert_eq!(taken, nonce < 80);
    }
    for nonce in 100..130 {
        let taken = app.submit(verified(nonce), Height(1)).is_ok();
        assert_eq!(taken, nonce < 120);
    }
    assert_eq!(app.submit(verified(0), Height(1)), Err(MempoolReject::Duplicate));
}
