//! The five honest validators, the load on their doors, and what `samara inspect` says of them afterwards.

use super::{HONEST, HOSTILE};
use samara_crypto::Keyring;
use samara_node::genesis::Genesis;
use samara_node::load::engine::{Engine, Gauges, Plan};
use samara_node::load::outcome::Outcome;
use samara_node::load::source::Content;
use samara_node::localnet::cluster::{Cluster, ask_status};
use samara_types::digest::hex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long five processes may take until their doors answer.
const READY: Duration = Duration::from_secs(30);
/// How long offered transactions may take to become final.
const DRAIN: Duration = Duration::from_secs(20);

fn samara(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_samara")).args(arguments).output().unwrap();
    assert!(output.status.success(), "samara {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What can be seen of the five from outside, on any thread.
#[derive(Clone)]
pub struct Watcher {
    pub genesis: Genesis,
    directory: PathBuf,
}

/// Five running members of a chain of six.
pub struct Honest {
    cluster: Cluster<'static>,
    pub watcher: Watcher,
    _directory: tempfile::TempDir,
    /// One cluster at a time on this host, whoever runs the tests: twelve validators on two cores would judge each other's timeouts.
    _turn: File,
}

impl Honest {
    /// Makes a chain whose ports begin at `base_port` and starts all members but the hostile one.
    pub fn start(base_port: u16) -> Honest {
        let turn = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.lock")).unwrap();
        turn.lock().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().to_str().unwrap();
        samara(&["genesis", "--validators", "6", "--base-port", &base_port.to_string(), "--idle-interval-ms", "50", "--out", out]);
        let genesis = Genesis::load(&directory.path().join("genesis.toml")).unwrap();
        let mut cluster = Cluster::new(env!("CARGO_BIN_EXE_samara").into(), directory.path(), &genesis, vec![]);
        HONEST.for_each(|index| cluster.start(index).unwrap());
        let watcher = Watcher { genesis, directory: directory.path().to_owned() };
        let mut honest = Honest { cluster, watcher, _directory: directory, _turn: turn };
        let deadline = Instant::now() + READY;
        while honest.heights().is_none() {
            honest.assert_alive();
            assert!(Instant::now() < deadline, "doors do not answer: {}", honest.log(0));
            std::thread::yield_now();
        }
        honest
    }

    /// None of the processes ended.
    pub fn assert_alive(&mut self) {
        self.cluster.check_alive().unwrap();
    }

    /// Resident memory of a member, MiB: at the last look, and the most seen since [`Honest::begin_measuring`].
    pub fn resident_mib(&mut self, index: usize) -> (f64, f64) {
        self.cluster.sample();
        let used = self.cluster.usage()[index];
        (used.rss_mib, used.rss_max_mib)
    }

    /// Largest memory is counted from here.
    pub fn begin_measuring(&mut self) {
        self.cluster.begin_measuring();
    }

    /// Transactions through the five doors, from a thread of their own.
    pub fn load(&self, tps: u64, tx_size: usize) -> Load {
        let doors = HONEST.map(|index| self.genesis.addresses[index].client).collect();
        let content = Content::Random { tx_size, seed: 7 };
        let engine =
            Engine::new(Plan { chain: self.genesis.chain, doors, tps, count: None, content, senders: 100 }, Arc::new(Gauges::default()));
        let offering = Arc::new(AtomicBool::new(true));
        let offer = Arc::clone(&offering);
        let thread = std::thread::spawn(move || engine.run(|| offer.load(Ordering::Relaxed), DRAIN));
        Load { offering, thread }
    }

    /// SIGTERM; every process must end by itself and none may have panicked.
    pub fn stop(&mut self) {
        self.assert_alive();
        assert_eq!(self.cluster.stop(), Vec::<String>::new(), "clean ends");
        for index in HONEST {
            let log = self.log(index);
            assert!(!log.is_empty() && !log.contains("panicked"), "validator {index}: {log}");
        }
    }
}

impl Deref for Honest {
    type Target = Watcher;

    fn deref(&self) -> &Watcher {
        &self.watcher
    }
}

impl Watcher {
    /// The directory of a member.
    pub fn path(&self, index: usize) -> PathBuf {
        self.directory.join(format!("validator-{index}"))
    }

    /// The key file of the hostile member.
    pub fn hostile_keys(&self) -> Keyring {
        Keyring::load(&self.path(HOSTILE.at()).join("keys")).unwrap()
    }

    /// Durable height of each; None unless every door answers.
    pub fn heights(&self) -> Option<Vec<u64>> {
        HONEST.map(|index| ask_status(self.genesis.addresses[index].client).map(|(_, height)| height)).collect()
    }

    /// The last metrics file of a member.
    pub fn metrics(&self, index: usize) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.path(index).join("metrics.json")).ok()?).ok()
    }

    /// One list of `samara inspect`.
    pub fn inspect(&self, what: &str, list: &str, index: usize) -> Vec<Value> {
        let path = self.path(index);
        let document = samara(&["inspect", what, "--dir", path.to_str().unwrap(), "--json"]);
        serde_json::from_slice::<Value>(&document).unwrap()[list].as_array().unwrap().clone()
    }

    /// Whom a member accuses of what, and how often.
    pub fn evidence(&self, index: usize) -> BTreeMap<(u64, String), usize> {
        let mut counts = BTreeMap::new();
        for row in self.inspect("evidence", "evidence", index) {
            *counts.entry((row["accused"].as_u64().unwrap(), row["offence"].as_str().unwrap().to_string())).or_default() += 1;
        }
        counts
    }

    /// Whether each of the five holds exactly `offences` against the hostile member, and nothing else.
    pub fn accuse_exactly(&self, offences: &[&str]) -> bool {
        let expected: BTreeSet<(u64, String)> = offences.iter().map(|offence| (HOSTILE.0.into(), offence.to_string())).collect();
        HONEST.into_iter().all(|index| self.evidence(index).into_keys().collect::<BTreeSet<_>>() == expected)
    }

    fn log(&self, index: usize) -> String {
        std::fs::read_to_string(self.path(index).join("log")).unwrap_or_default()
    }

    /// Reads the five stopped chains: one digest per height, each block on the one before, each transaction once, every acknowledged
    /// one where the client was told it is. Returns the heights.
    pub fn assert_agreement(&self, told: &Outcome) -> Vec<usize> {
        let chains: Vec<Vec<Value>> = HONEST.map(|index| self.inspect("chain", "blocks", index)).collect();
        let longest = chains.iter().max_by_key(|chain| chain.len()).unwrap();
        for (index, chain) in chains.iter().enumerate() {
            let fork = chain.iter().zip(longest).find(|(own, other)| own["digest"] != other["digest"]);
            assert!(fork.is_none(), "validator {index} has another block: {fork:?}");
        }
        let mut places: HashMap<&str, (u64, u32)> = HashMap::new();
        for (block, height) in longest.iter().zip(1u64..) {
            assert_eq!(block["height"], height);
            if height > 1 {
                assert_eq!(block["parent_digest"], longest[height as usize - 2]["digest"]);
            }
            for (id, at) in block["tx_ids"].as_array().unwrap().iter().zip(0u32..) {
                let before = places.insert(id.as_str().unwrap(), (height, at));
                assert_eq!(before, None, "transaction {id} is in the chain twice");
            }
        }
        for acknowledged in &told.acknowledged {
            let id = hex(&acknowledged.id.0);
            assert_eq!(places.get(id.as_str()), Some(&(acknowledged.height, acknowledged.index)), "acknowledged transaction {id}");
        }
        assert_eq!((told.unanswered, told.finalized > 0), (0, true), "offered {}, rejected {:?}", told.offered, told.rejected);
        chains.iter().map(Vec::len).collect()
    }

    /// Views of the final blocks led by the hostile member, at validator 0.
    pub fn hostile_blocks(&self) -> usize {
        self.inspect("chain", "blocks", 0).iter().filter(|block| block["leader"] == HOSTILE.0).count()
    }
}

/// Running load.
pub struct Load {
    offering: Arc<AtomicBool>,
    thread: JoinHandle<Outcome>,
}

impl Load {
    /// Offers no more.
    pub fn cease(&self) {
        self.offering.store(false, Ordering::Relaxed);
    }

    /// Whether everything offered is answered (or given up).
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// What clients were told.
    pub fn outcome(self) -> Outcome {
        self.thread.join().unwrap()
    }
}
