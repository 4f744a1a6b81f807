//! Catch-up between two reactors over real TCP, and from servers that lie.

use super::super::tests::{CHAIN, ChainMaker, Rig, Setup, cluster, notarize};
use super::stream::{Identity, RecordStream};
use super::{RecordKind, SyncFault, SyncLimits};
use crate::bridge::{ToHot, ToService};
use crate::service::{Metrics, socket};
use glommio::LocalExecutorBuilder;
use samara_storage::{BlockStore, FinalizedBlock, MemoryStore, encode_block};
use samara_types::message::{Certificate, encode};
use samara_types::{Block, ChainId, Height, ValidatorIndex};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// A chain of `count` blocks of which every third and the last are certified.
fn chain(id: &ChainId, count: u64) -> Vec<FinalizedBlock> {
    let mut maker = ChainMaker::new(id);
    let certified = |height: u64| height.is_multiple_of(3) || height == count;
    (1..=count)
        .map(|height| {
            let block = maker.block(&[]);
            FinalizedBlock { certificate: certified(height).then(|| notarize(&block)), block: Arc::new(block) }
        })
        .collect()
}

fn store_of(blocks: &[FinalizedBlock]) -> Arc<MemoryStore> {
    let store = MemoryStore::new(CHAIN);
    store.commit(blocks, &[], &[]).unwrap();
    Arc::new(store)
}

/// A fetching validator 0 whose peer i answers at `peers[i - 1]`.
struct Fetch {
    rig: Rig,
    store: Arc<MemoryStore>,
}

impl Fetch {
    fn start(known: &[FinalizedBlock], peers: &[SocketAddr], sync: SyncLimits) -> Fetch {
        let store = store_of(known);
        let mut setup = Setup { sync, ..Setup::new(0, Arc::clone(&store) as Arc<dyn BlockStore>) };
        setup.sync_addresses[1..=peers.len()].copy_from_slice(peers);
        Fetch { rig: setup.start(), store }
    }

    /// Asks peers 1 to `peers`, stores every run as the hot reactor would, and returns the sizes of the runs.
    fn run(&mut self, from: u64, peers: u16) -> Vec<usize> {
        let peers = (1..=peers).map(ValidatorIndex).collect();
        self.rig.push(ToService::Sync { from_height: Height(from), peers });
        let mut runs = Vec::new();
        loop {
            match self.rig.next() {
                ToHot::Synced { done: true, blocks } => {
                    assert!(blocks.is_empty());
                    return runs;
                }
                ToHot::Synced { blocks, done: false } => {
                    let last = blocks.last().expect("a run is not empty");
                    assert_eq!(last.1.as_ref().expect("a run ends proven").digest(), last.0.digest());
                    runs.push(blocks.len());
                    let finalized = |(block, certificate): (Block, Option<samara_crypto::Certificate>)| FinalizedBlock {
                        block: Arc::new(block),
                        certificate: certificate.map(|certificate| certificate.to_message()),
                    };
                    self.rig.store(blocks.into_iter().map(finalized).collect());
                }
                ToHot::Stored { .. } => {}
                _ => panic!("only catch-up was expected"),
            }
        }
    }

    fn stop(self) -> (Metrics, Option<Height>) {
        let metrics = self.rig.stop();
        (metrics, self.store.tip().unwrap().map(|(height, _, _)| height))
    }
}

fn server(blocks: &[FinalizedBlock]) -> Rig {
    Setup::new(1, store_of(blocks)).start()
}

/// What a hostile peer does once the handshake is through.
enum Script {
    /// Sends these and then stays silent until the client leaves.
    Records(Vec<(RecordKind, Vec<u8>)>),
    /// Sends linked blocks without any proof for as long as the client listens.
    UnprovenForEver,
    /// Sends good blocks with this pause before each.
    Trickle(Duration),
}

fn block(block: &Block) -> (RecordKind, Vec<u8>) {
    (RecordKind::Block, encode_block(block))
}

fn certificate(certificate: &Certificate) -> (RecordKind, Vec<u8>) {
    (RecordKind::Certificate, encode(certificate).to_vec())
}

/// Validator 1, gone bad, for one connection.
fn hostile(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || async move {
        let tcp = socket::adopt(listener).accept().await.unwrap();
        let secret = cluster().keys[1].session.to_bytes();
        let identity = Identity { chain: &CHAIN, secret: &secret };
        let (mut stream, _) = RecordStream::accept(identity, tcp, Duration::from_secs(20)).await.unwrap();
        stream.receive().await.unwrap();
        match script {
            Script::Records(records) => {
                for (kind, body) in records {
                    if stream.send(kind, &body).await.is_err() {
                        return;
                    }
                }
                let _ = stream.receive().await;
            }
            Script::UnprovenForEver => {
                let mut maker = ChainMaker::new(&CHAIN);
                while stream.send(RecordKind::Block, &encode_block(&maker.block(&[]))).await.is_ok() {}
            }
            Script::Trickle(pause) => {
                let mut maker = ChainMaker::new(&CHAIN);
                while stream.send(RecordKind::Block, &encode_block(&maker.block(&[]))).await.is_ok() {
                    glommio::timer::sleep(pause).await;
                }
            }
        }
    };
    LocalExecutorBuilder::default().spawn(serve).unwrap();
    address
}

/// The client must count `fault` for the hostile peer 1 and still reach the tip through the honest peer 2.
fn given_up_for(fault: SyncFault, hostile: SocketAddr, limits: SyncLimits) {
    let blocks = chain(&CHAIN, 10);
    let honest = Setup::new(2, store_of(&blocks)).start();
    let mut fetch = Fetch::start(&[], &[hostile, honest.handle.sync_address()], limits);
    fetch.run(1, 2);
    let (metrics, tip) = fetch.stop();
    assert_eq!(metrics.service.sync_peer_faults.iter().collect::<Vec<_>>(), [(&fault.as_str().to_string(), &1)]);
    assert_eq!(tip, Some(Height(10)));
    honest.stop();
}

fn hostile_records(fault: SyncFault, records: Vec<(RecordKind, Vec<u8>)>) {
    given_up_for(fault, hostile(Script::Records(records)), SyncLimits::default());
}

#[test]
fn a_validator_that_is_behind_gets_proven_runs_up_to_the_peers_tip() {
    let blocks = chain(&CHAIN, 100);
    let server = server(&blocks);
    let limits = SyncLimits { run_blocks: 30, ..SyncLimits::default() };
    let mut fetch = Fetch::start(&blocks[..6], &[server.handle.sync_address()], limits);
    assert_eq!(fetch.run(7, 1), [30, 30, 30, 4]);
    // A second fetch waits for the store, finds nothing beyond the tip and says that it is done.
    assert!(fetch.run(101, 1).is_empty());
    assert_eq!(fetch.store.tip().unwrap(), store_of(&blocks).tip().unwrap());
    let (metrics, _) = fetch.stop();
    assert_eq!((metrics.service.sync_fetched_blocks, metrics.service.sync_peer_faults["nothing"]), (94, 1));
    let served = server.stop().service;
    assert_eq!((served.sync_served_blocks, served.sync_server_refused.len()), (94, 0));
}

#[test]
fn a_fetch_goes_on_at_the_next_peer_where_the_first_one_ended() {
    let blocks = chain(&CHAIN, 40);
    let mut records: Vec<_> = Vec::new();
    for finalized in &blocks[..12] {
        records.push(block(&finalized.block));
        records.extend(finalized.certificate.as_ref().map(certificate));
    }
    records.push((RecordKind::Request, Vec::new()));
    let honest = Setup::new(2, store_of(&blocks)).start();
    let limits = SyncLimits { run_blocks: 5, ..SyncLimits::default() };
    let mut fetch = Fetch::start(&[], &[hostile(Script::Records(records)), honest.handle.sync_address()], limits);
    let runs = fetch.run(1, 2);
    assert_eq!(runs.iter().sum::<usize>(), 40);
    let (metrics, tip) = fetch.stop();
    assert_eq!((metrics.service.sync_peer_faults["malformed"], tip), (1, Some(Height(40))));
    // Runs of six were proven by the hostile peer; only what lies above its twelve blocks came from the honest one.
    assert_eq!(honest.stop().service.sync_served_blocks, 28);
}

#[test]
fn a_peer_of_another_chain_fails_the_handshake() {
    let foreign = Setup { chain: ChainId([8; 32]), ..Setup::new(1, Arc::new(MemoryStore::new(ChainId([8; 32])))) }.start();
    given_up_for(SyncFault::Handshake, foreign.handle.sync_address(), SyncLimits::default());
    assert_eq!(foreign.stop().service.sync_server_refused["handshake"], 1);
}

#[test]
fn blocks_of_another_chain_do_not_link_to_ours() {
    let foreign = chain(&ChainId([8; 32]), 3);
    hostile_records(SyncFault::Unlinked, vec![block(&foreign[0].block)]);
}

#[test]
fn a_gap_ends_the_connection() {
    let blocks = chain(&CHAIN, 3);
    hostile_records(SyncFault::Unlinked, vec![block(&blocks[0].block), block(&blocks[2].block)]);
}

#[test]
fn a_forged_certificate_proves_nothing() {
    let blocks = chain(&CHAIN, 3);
    let good = blocks[2].certificate.clone().unwrap();
    let linked = || blocks.iter().map(|finalized| block(&finalized.block)).collect::<Vec<_>>();
    // Too few signers, a broken signature, and a good one for another block.
    let too_few = Certificate { signers: vec![0b0000_1111], ..good.clone() };
    let mut broken = good.clone();
    broken.signature = notarize(&blocks[0].block).signature;
    for forged in [too_few, broken, notarize(&blocks[1].block)] {
        let mut records = linked();
        records.push(certificate(&forged));
        records.push((RecordKind::End, Vec::new()));
        hostile_records(SyncFault::BadCertificate, records);
    }
}

#[test]
fn bytes_that_are_no_block_and_certificates_out_of_place_end_the_connection() {
    let blocks = chain(&CHAIN, 3);
    hostile_records(SyncFault::Malformed, vec![(RecordKind::Block, vec![7; 5_000])]);
    hostile_records(SyncFault::Malformed, vec![certificate(blocks[2].certificate.as_ref().unwrap())]);
}

#[test]
fn unproven_blocks_are_buffered_up_to_the_bound_only() {
    let limits = SyncLimits { unproven_bytes_max: 1 << 20, ..SyncLimits::default() };
    given_up_for(SyncFault::Unproven, hostile(Script::UnprovenForEver), limits);
}

#[test]
fn a_peer_that_ends_at_once_does_not_end_the_fetch() {
    hostile_records(SyncFault::Nothing, vec![(RecordKind::End, Vec::new())]);
}

#[test]
fn a_silent_peer_costs_one_deadline() {
    let limits = SyncLimits { patience: Duration::from_millis(300), ..SyncLimits::default() };
    given_up_for(SyncFault::TimedOut, hostile(Script::Records(Vec::new())), limits);
}

#[test]
fn a_peer_that_feeds_a_record_just_before_each_deadline_is_given_up() {
    let limits = SyncLimits { patience: Duration::from_millis(300), ..SyncLimits::default() };
    given_up_for(SyncFault::TimedOut, hostile(Script::Trickle(Duration::from_millis(100))), limits);
}

#[test]
fn endless_garbage_instead_of_a_handshake_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let noise = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = 0u64;
        while stream.write_all(&[0x5a; 8_192]).is_ok() {
            sent += 8_192;
        }
        sent
    });
    given_up_for(SyncFault::Handshake, address, SyncLimits::default());
    assert!(noise.join().unwrap() < 64 << 20, "the client listened on");
}

#[test]
fn a_stranger_is_not_served() {
    let server = server(&chain(&CHAIN, 10));
    let store = Arc::new(MemoryStore::new(CHAIN));
    let mut setup = Setup { session_secret: [3; 32], ..Setup::new(0, Arc::clone(&store) as Arc<dyn BlockStore>) };
    setup.sync_addresses[1] = server.handle.sync_address();
    let mut fetch = Fetch { rig: setup.start(), store };
    assert!(fetch.run(1, 1).is_empty());
    assert_eq!(fetch.stop().1, None);
    let served = server.stop().service;
    assert_eq!((served.sync_server_refused["stranger"], served.sync_served_blocks), (1, 0));
}

#[test]
fn strangers_that_hold_handshakes_open_do_not_keep_members_out() {
    let server = server(&chain(&CHAIN, 10));
    let address = server.handle.sync_address();
    let strangers: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let mut fetch = Fetch::start(&[], &[address], SyncLimits::default());
    assert_eq!(fetch.run(1, 1).iter().sum::<usize>(), 10);
    drop(strangers);
    fetch.stop();
    server.stop();
}

#[test]
fn members_beyond_the_bound_are_turned_away() {
    let blocks = chain(&CHAIN, 10);
    let full = Setup { sync: SyncLimits { served_max: 0, ..SyncLimits::default() }, ..Setup::new(1, store_of(&blocks)) }.start();
    let mut fetch = Fetch::start(&[], &[full.handle.sync_address()], SyncLimits::default());
    assert!(fetch.run(1, 1).is_empty());
    fetch.stop();
    let served = full.stop().service;
    assert_eq!((served.sync_server_refused["busy"], served.sync_served_blocks), (1, 0));
}
