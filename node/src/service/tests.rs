//! The service reactor against a fake hot end, real TCP clients and a store that can be held back or made to fail.

mod door;
mod store;
mod verify;

use super::{DoorLimits, Metrics, ServiceConfig, ServiceHandle, SyncLimits, start};
use crate::bridge::{NodeSnapshot, ToHot, ToService};
use samara_crypto::{IdentitySecret, Keyring, Roster, ViewBook, sign_transaction};
use samara_dataplane::ring::{Receiver, Sender, ring};
use samara_storage::{BlockStore, FinalizedBlock, MemoryStore};
use samara_types::block::{genesis_digest, payload_digest};
use samara_types::client::{Request, Response, read_response, split_frame, write_request};
use samara_types::message::{self, CertificateKind};
use samara_types::transaction::append;
use samara_types::{
    Block, BlockHeader, ChainId, Digest, Epoch, Height, SigningDomain, Stake, Subject, ValidatorEntry, ValidatorIndex, ValidatorSet, View,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub(super) const CHAIN: ChainId = ChainId([7; 32]);

/// Six validators whose keys every test shares, because making a roster costs milliseconds.
pub(super) struct Cluster {
    pub(super) keys: Vec<Keyring>,
    pub(super) roster: Arc<Roster>,
}

pub(super) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let keys: Vec<Keyring> = (0..6).map(|_| Keyring::generate()).collect();
        let entry = |keys: &Keyring| ValidatorEntry {
            stake: Stake(1),
            vote_key: keys.vote.public_key(),
            possession: keys.vote.possession(),
            identity_key: keys.identity.public_key(),
            session_key: keys.session.public_key(),
        };
        let set = ValidatorSet::new(keys.iter().map(entry).collect(), None).unwrap();
        let roster = Roster::new(set, SigningDomain { chain: CHAIN, epoch: Epoch(0) }).unwrap();
        Cluster { keys, roster: Arc::new(roster) }
    })
}

/// An L-notarization by the first five of six.
pub(super) fn notarize(block: &Block) -> message::Certificate {
    let (cluster, view) = (cluster(), block.header().view);
    let subject = Subject::Vote(view, block.digest());
    let mut book = ViewBook::new(view, 6);
    for signer in 0..5u16 {
        let signature = cluster.keys[usize::from(signer)].vote.sign(cluster.roster.domain(), &subject);
        book.add(subject, ValidatorIndex(signer), signature);
    }
    book.settle(&cluster.roster, &subject);
    book.certificate(&cluster.roster, &subject, CertificateKind::L).expect("five of six").to_message()
}

/// Makes blocks on top of each other; views are twice the heights, so the two cannot be mixed up.
pub(super) struct ChainMaker {
    height: u64,
    digest: Digest,
}

impl ChainMaker {
    pub(super) fn new(chain: &ChainId) -> ChainMaker {
        ChainMaker { height: 0, digest: genesis_digest(chain) }
    }

    pub(super) fn block(&mut self, transactions: &[&[u8]]) -> Block {
        let mut payload = Vec::new();
        transactions.iter().for_each(|transaction| append(&mut payload, transaction));
        let header = BlockHeader {
            view: View(2 * self.height + 2),
            parent_view: View(2 * self.height),
            parent_digest: self.digest,
            height: Height(self.height + 1),
            timestamp_ns: 0,
            payload_length: payload.len() as u32,
            leader: ValidatorIndex(0),
            payload_digest: payload_digest(&payload),
        };
        let block = Block::new(header, vec![Digest([1; 32])], payload).unwrap();
        self.height += 1;
        self.digest = block.digest();
        block
    }

    pub(super) fn finalized(&mut self, transactions: &[&[u8]]) -> FinalizedBlock {
        let block = self.block(transactions);
        FinalizedBlock { certificate: Some(notarize(&block)), block: Arc::new(block) }
    }
}

pub(super) fn transaction(nonce: u64) -> Vec<u8> {
    static CLIENT: OnceLock<IdentitySecret> = OnceLock::new();
    sign_transaction(&CHAIN, CLIENT.get_or_init(IdentitySecret::generate), nonce, b"data")
}

/// A running service reactor and the hot ends of its rings.
pub(super) struct Rig {
    pub(super) handle: ServiceHandle,
    pub(super) to_service: Sender<ToService>,
    from_service: Receiver<ToHot>,
    metrics: PathBuf,
    _directory: tempfile::TempDir,
}

/// What tests vary.
pub(super) struct Setup {
    pub(super) chain: ChainId,
    pub(super) me: u16,
    pub(super) store: Arc<dyn BlockStore>,
    pub(super) sync_addresses: Vec<SocketAddr>,
    pub(super) session_secret: [u8; 32],
    pub(super) door: DoorLimits,
    pub(super) sync: SyncLimits,
    pub(super) ring_to_hot: usize,
}

impl Setup {
    pub(super) fn new(me: u16, store: Arc<dyn BlockStore>) -> Setup {
        Setup {
            chain: CHAIN,
            me,
            store,
            sync_addresses: vec![SocketAddr::from(([127, 0, 0, 1], 9)); 6],
            session_secret: *cluster().keys[usize::from(me)].session.to_bytes(),
            door: DoorLimits::default(),
            sync: SyncLimits::default(),
            ring_to_hot: 64,
        }
    }

    pub(super) fn start(self) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let metrics = directory.path().join("metrics.json");
        let (to_hot, from_service) = ring(self.ring_to_hot).unwrap();
        let (to_service, from_hot) = ring(64).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let handle = start(ServiceConfig {
            chain: self.chain,
            me: ValidatorIndex(self.me),
            roster: Arc::clone(&cluster().roster),
            session_secret: self.session_secret,
            store: self.store,
            client_listen: any,
            sync_listen: any,
            sync_addresses: self.sync_addresses,
            metrics: Some(metrics.clone()),
            published: Arc::default(),
            metrics_interval: Duration::from_millis(20),
            core: None,
            door: self.door,
            sync: self.sync,
            to_hot,
            from_hot,
        })
        .unwrap();
        Rig { handle, to_service, from_service, metrics, _directory: directory }
    }
}

pub(super) fn rig() -> Rig {
    Setup::new(0, Arc::new(MemoryStore::new(CHAIN))).start()
}

impl Rig {
    /// The next item for the hot reactor.
    pub(super) fn next(&mut self) -> ToHot {
        futures_lite::future::block_on(self.from_service.recv()).expect("the service reactor lives")
    }

    /// Whether nothing is there for the hot reactor.
    pub(super) fn quiet(&self) -> bool {
        self.from_service.waiting() == 0
    }

    pub(super) fn push(&mut self, item: ToService) {
        assert!(self.to_service.push(item).is_ok(), "the test's ring is large enough");
    }

    /// Takes the next submission and answers it.
    pub(super) fn answer(&mut self, response: Response) {
        let ToHot::Submit { ticket, .. } = self.next() else { panic!("a submission was expected") };
        self.push(ToService::Answer { ticket, response });
    }

    pub(super) fn store(&mut self, blocks: Vec<FinalizedBlock>) {
        self.push(ToService::Store(blocks, Vec::new()));
    }

    /// Returns when everything pushed before has been dispatched: the client sees the view of a snapshot behind it.
    pub(super) fn settle(&mut self, client: &mut Client, view: u64) {
        self.push(ToService::Snapshot(Box::new(NodeSnapshot { view, ..NodeSnapshot::default() })));
        loop {
            client.send(u64::MAX, &Request::Status);
            match client.receive() {
                (u64::MAX, Response::Status { view: seen, .. }) if seen == view => return,
                (u64::MAX, Response::Status { .. }) => {}
                other => panic!("only a status was expected, not {other:?}"),
            }
        }
    }

    /// Reads the metrics file until it says so.
    pub(super) fn metrics_until(&self, enough: impl Fn(&Metrics) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !std::fs::read(&self.metrics).is_ok_and(|text| enough(&serde_json::from_slice(&text).unwrap())) {
            assert!(Instant::now() < deadline, "the metrics never said so");
            std::thread::yield_now();
        }
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(self.handle.client_address())
    }

    /// Stops the reactor and reads its last metrics.
    pub(super) fn stop(mut self) -> Metrics {
        self.push(ToService::Stop);
        while !matches!(self.next(), ToHot::Stop) {}
        self.handle.join().unwrap();
        serde_json::from_slice(&std::fs::read(&self.metrics).unwrap()).unwrap()
    }
}

/// A plain blocking client.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        // A missing answer fails the test instead of hanging it.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { stream, input: Vec::new() }
    }

    pub(super) fn send(&mut self, id: u64, request: &Request<'_>) {
        let mut frame = Vec::new();
        write_request(&mut frame, id, request);
        self.stream.write_all(&frame).unwrap();
    }

    pub(super) fn submit(&mut self, id: u64, transaction: &[u8]) {
        self.send(id, &Request::Submit(transaction));
    }

    pub(super) fn receive(&mut self) -> (u64, Response) {
        loop {
            if let Some((used, id, kind, body)) = split_frame(&self.input).unwrap() {
                let answer = (id, read_response(kind, body).unwrap());
                self.input.drain(..used);
                return answer;
            }
            let mut chunk = [0; 4_096];
            let read = self.stream.read(&mut chunk).unwrap();
            assert!(read > 0, "the door closed the connection");
            self.input.extend_from_slice(&chunk[..read]);
        }
    }

    /// Whether the door has closed the connection; waits for its next move.
    pub(super) fn is_closed(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0; 64]), Ok(1..))
    }
}
