use super::*;
use samara_storage::{StoreError, StoredBlock, Tip};
use samara_types::Evidence;
use samara_types::client::RejectReason;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

/// A store whose commits say how many blocks they hold and then wait to be let through.
struct Gated {
    inner: MemoryStore,
    began: Mutex<mpsc::Sender<usize>>,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Gated {
    fn new() -> (Arc<Gated>, mpsc::Receiver<usize>, mpsc::Sender<()>) {
        let (began, commits) = mpsc::channel();
        let (open, gate) = mpsc::channel();
        (Arc::new(Gated { inner: MemoryStore::new(CHAIN), began: Mutex::new(began), gate: Mutex::new(gate) }), commits, open)
    }
}

impl BlockStore for Gated {
    fn commit(&self, blocks: &[FinalizedBlock], extra: &[message::Certificate], evidence: &[Evidence]) -> Result<(), StoreError> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner).send(blocks.len()).unwrap();
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap();
        self.inner.commit(blocks, extra, evidence)
    }

    fn tip(&self) -> Result<Option<Tip>, StoreError> {
        self.inner.tip()
    }

    fn block_at(&self, height: Height) -> Result<Option<StoredBlock>, StoreError> {
        self.inner.block_at(height)
    }

    fn blocks_from(&self, from: Height, blocks_max: usize) -> Result<Vec<StoredBlock>, StoreError> {
        self.inner.blocks_from(from, blocks_max)
    }

    fn block(&self, digest: &Digest) -> Result<Option<StoredBlock>, StoreError> {
        self.inner.block(digest)
    }

    fn certificate(&self, view: View, kind: CertificateKind) -> Result<Option<message::Certificate>, StoreError> {
        self.inner.certificate(view, kind)
    }

    fn certificates_after(&self, view: View, certificates_max: usize) -> Result<Vec<message::Certificate>, StoreError> {
        self.inner.certificates_after(view, certificates_max)
    }

    fn evidence(&self) -> Result<Vec<Evidence>, StoreError> {
        self.inner.evidence()
    }
}

#[test]
fn finality_is_not_acknowledged_before_the_commit_and_what_piled_up_shares_the_next_one() {
    let (store, commits, open) = Gated::new();
    let mut rig = Setup::new(0, Arc::clone(&store) as Arc<dyn BlockStore>).start();
    let mut client = rig.client();
    let mut chain = ChainMaker::new(&CHAIN);
    for nonce in 1..=4 {
        client.submit(nonce, &transaction(nonce));
        rig.answer(Response::Accepted);
        assert_eq!(client.receive(), (nonce, Response::Accepted));
    }
    rig.store(vec![chain.finalized(&[&transaction(1)])]);
    assert_eq!(commits.recv().unwrap(), 1);
    for nonce in 2..=4 {
        rig.store(vec![chain.finalized(&[&transaction(nonce)])]);
    }
    // Everything is dispatched, the first commit hangs: an answer would come before the status, and settle refuses it.
    rig.settle(&mut client, 5);
    assert!(rig.quiet());
    open.send(()).unwrap();
    assert_eq!(client.receive(), (1, Response::Finalized { height: 1, index: 0 }));
    assert!(matches!(rig.next(), ToHot::Stored { height: Height(1) }));
    assert_eq!(commits.recv().unwrap(), 3);
    rig.settle(&mut client, 6);
    open.send(()).unwrap();
    for nonce in 2..=4 {
        assert_eq!(client.receive(), (nonce, Response::Finalized { height: nonce, index: 0 }));
    }
    assert!(matches!(rig.next(), ToHot::Stored { height: Height(4) }));
    let metrics = rig.stop();
    assert_eq!((metrics.service.commits, metrics.service.blocks_stored), (2, 4));
    assert_eq!(store.tip().unwrap().unwrap().0, Height(4));
}

#[test]
fn after_a_failed_commit_nothing_is_acknowledged_and_the_hot_reactor_knows() {
    let store = Arc::new(MemoryStore::new(CHAIN));
    let mut rig = Setup::new(0, Arc::clone(&store) as Arc<dyn BlockStore>).start();
    let mut client = rig.client();
    let mut chain = ChainMaker::new(&CHAIN);
    rig.store(vec![chain.finalized(&[])]);
    assert!(matches!(rig.next(), ToHot::Stored { height: Height(1) }));
    client.submit(1, &transaction(1));
    rig.answer(Response::Accepted);
    assert_eq!(client.receive(), (1, Response::Accepted));
    store.fail_after(0, false);
    rig.store(vec![chain.finalized(&[&transaction(1)])]);
    assert!(matches!(rig.next(), ToHot::StoreFailed));
    assert_eq!(client.receive(), (1, Response::Rejected(RejectReason::Dropped)));
    rig.store(vec![chain.finalized(&[&transaction(2)])]);
    client.submit(2, &transaction(2));
    assert_eq!(client.receive(), (2, Response::Rejected(RejectReason::Unavailable)));
    rig.settle(&mut client, 9);
    assert!(rig.quiet());
    let metrics = rig.stop();
    assert!(metrics.service.store_failed);
    assert_eq!((metrics.service.blocks_stored, metrics.service.finalized_answers), (1, 0));
    assert_eq!(store.tip().unwrap().unwrap().0, Height(1));
}

#[test]
fn a_stop_commits_what_is_still_piled_up() {
    let store = Arc::new(MemoryStore::new(CHAIN));
    let mut rig = Setup::new(0, Arc::clone(&store) as Arc<dyn BlockStore>).start();
    let mut chain = ChainMaker::new(&CHAIN);
    for nonce in 1..=20 {
        rig.store(vec![chain.finalized(&[&transaction(nonce)])]);
    }
    rig.stop();
    assert_eq!(store.tip().unwrap().unwrap().0, Height(20));
}
