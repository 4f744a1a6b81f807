//! Keys, rosters and transactions of simulated clusters: fixed, made once, and shared by all runs of a thread.
//!
//! Signing and checking keys dominates the cost of a run. Keys are the same in every run, so that proofs of possession are checked once a
//! process; a [`Memo`] a thread remembers verdicts by their exact inputs, which changes no result.

use samara_crypto::{
    IdentitySecret, Keyring, Memo, Mutant, Roster, SessionSecret, VerifiedTransaction, VoteSecret, sign_transaction, verify_batch,
};
use samara_types::{ChainId, Digest, Epoch, LeaderSchedule, Params, SigningDomain, Stake, ValidatorEntry, ValidatorIndex, ValidatorSet};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Remembered verdicts on transactions before they are forgotten.
const TRANSACTIONS_MAX: usize = 1 << 16;

/// Which cluster: its stakes name it.
pub type Stakes = Vec<u64>;

/// A cluster as every validator of it knows it, with everybody's secrets.
pub struct Cluster {
    /// Keys and quorums.
    pub roster: Arc<Roster>,
    /// The same without a memo, for checkers that want real arithmetic.
    pub plain: Arc<Roster>,
    /// Everybody's secrets.
    pub keys: Vec<Keyring>,
    /// Who leads.
    pub schedule: LeaderSchedule,
    /// Seeds the relay seats.
    pub beacon: Digest,
}

impl Cluster {
    /// The chain.
    pub fn chain(&self) -> ChainId {
        self.roster.domain().chain
    }

    /// Number of validators.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a cluster has validators.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Stake of a validator.
    pub fn stake(&self, index: usize) -> u64 {
        self.roster.set().stake(ValidatorIndex(index as u16)).0
    }
}

/// What the runs of one thread share.
#[derive(Default)]
pub struct Kit {
    memo: Arc<Memo>,
    clusters: BTreeMap<(Stakes, Option<Mutant>), Arc<Cluster>>,
    signed: HashMap<(ChainId, u64, usize), VerifiedTransaction>,
    verified: HashMap<(ChainId, Vec<u8>), Option<VerifiedTransaction>>,
}

/// Checked rosters of this process, without a memo.
static ROSTERS: Mutex<BTreeMap<Stakes, Arc<Roster>>> = Mutex::new(BTreeMap::new());

impl Kit {
    /// An empty one.
    pub fn new() -> Kit {
        Kit::default()
    }

    /// The cluster with these stakes.
    ///
    /// # Panics
    /// If no set may have these stakes.
    pub fn cluster(&mut self, stakes: &[u64]) -> Arc<Cluster> {
        self.cluster_with(stakes, None)
    }

    /// The same, with a known bug planted in whoever uses it.
    pub fn cluster_with(&mut self, stakes: &[u64], mutant: Option<Mutant>) -> Arc<Cluster> {
        let name = (stakes.to_vec(), mutant);
        if let Some(known) = self.clusters.get(&name) {
            return Arc::clone(known);
        }
        let plain = checked_roster(stakes);
        let plain = mutant.map_or(Arc::clone(&plain), |mutant| Arc::new(Roster::clone(&plain).planted(mutant)));
        let roster = Arc::new(Roster::clone(&plain).with_memo(Arc::clone(&self.memo)));
        let keys = (0..stakes.len() as u16).map(|index| {
            let keys = keyring(index);
            Keyring { vote: keys.vote.with_memo(Arc::clone(&self.memo)), ..keys }
        });
        let beacon = Digest::of("samara 2026 simulator beacon", &[]);
        let schedule = LeaderSchedule::new(roster.set(), &beacon, Epoch(0));
        let cluster = Arc::new(Cluster { roster, plain, keys: keys.collect(), schedule, beacon });
        self.clusters.insert(name, Arc::clone(&cluster));
        cluster
    }

    /// Transaction number `nonce` with so many bytes of data.
    pub fn transaction(&mut self, chain: &ChainId, nonce: u64, data_bytes: usize) -> VerifiedTransaction {
        if self.signed.len() >= TRANSACTIONS_MAX {
            self.signed.clear();
        }
        let made = self.signed.entry((*chain, nonce, data_bytes)).or_insert_with(|| {
            let secret = IdentitySecret::from_bytes(&[7; 32]);
            let raw = sign_transaction(chain, &secret, nonce, &vec![nonce as u8; data_bytes]);
            verify_batch(chain, vec![raw]).remove(0).expect("it was just signed")
        });
        made.clone()
    }

    /// What the service reactor does with gossip: parses and verifies.
    pub fn verify(&mut self, chain: &ChainId, raw: Vec<u8>) -> Option<VerifiedTransaction> {
        if self.verified.len() >= TRANSACTIONS_MAX {
            self.verified.clear();
        }
        let key = (*chain, raw);
        if let Some(known) = self.verified.get(&key) {
            return known.clone();
        }
        let verdict = verify_batch(chain, vec![key.1.clone()]).remove(0).ok();
        self.verified.insert(key, verdict.clone());
        verdict
    }
}

/// Parameters for simulated clusters; times are overwritten by the swarm.
pub fn params() -> Params {
    Params { payload_bytes_max: 256 << 10, ..Params::default() }
}

fn checked_roster(stakes: &[u64]) -> Arc<Roster> {
    let mut rosters = ROSTERS.lock().unwrap_or_else(PoisonError::into_inner);
    let made = rosters.entry(stakes.to_vec()).or_insert_with(|| {
        let entry = |(index, stake): (usize, &u64)| {
            let keys = keyring(index as u16);
            ValidatorEntry {
                stake: Stake(*stake),
                vote_key: keys.vote.public_key(),
                possession: keys.vote.possession(),
                identity_key: keys.identity.public_key(),
                session_key: keys.session.public_key(),
            }
        };
        let set = ValidatorSet::new(stakes.iter().enumerate().map(entry).collect(), None).expect("stakes make a set");
        let chain = ChainId(Digest::of("samara 2026 simulator chain", &[&set.fingerprint().0]).0);
        Arc::new(Roster::new(set, SigningDomain { chain, epoch: Epoch(0) }).expect("these keys are good"))
    });
    Arc::clone(made)
}

/// The keys of member `index` of every simulated cluster. The BLS key has 32 bits, no two the same: nobody searches for it, and signing takes a
/// fifth of the time.
fn keyring(index: u16) -> Keyring {
    let bytes = |what: &str| Digest::of("samara 2026 simulator keys", &[what.as_bytes(), &index.to_le_bytes()]).0;
    let mut vote = bytes("vote");
    vote[..28].fill(0);
    vote[28] |= 1;
    vote[30..].copy_from_slice(&index.to_be_bytes());
    Keyring {
        vote: VoteSecret::from_bytes(&vote).expect("below the group order and not zero"),
        identity: IdentitySecret::from_bytes(&bytes("identity")),
        session: SessionSecret::from_bytes(&bytes("session")),
    }
}
