//! An honest machine on a hostile module's strings: it follows the chain, and its owner decides what of its words leaves.

use crate::actor::Stage;
use crate::node::MEMPOOL;
use crate::trace::Target;
use samara_consensus::{Recovery, Tip, TransactionApp};
use samara_crypto::{VerifiedTransaction, verify_batch};
use samara_types::block::genesis_digest;
use samara_types::transaction::iterate;
use samara_types::{Block, ChainId, Height, MessageKind, Nanos, Record, ValidatorIndex, View};
use samara_validator::{Config, Input, Outlet, Output, Stage as Spent, Validator};
use std::sync::Arc;

/// A machine whose disk is instantaneous and forgets nothing.
pub struct Puppet {
    validator: Validator<u64>,
    chain: ChainId,
    persisted: u64,
    /// When its fetch ends without a block.
    fetch_ends: Option<Nanos>,
}

/// How long a puppet's fetch takes.
const FETCH: Nanos = Nanos::from_millis(200);

/// What it wanted to do in one call.
#[derive(Default)]
pub struct Words {
    /// Messages, in order.
    pub sends: Vec<(Target, MessageKind, Arc<[u8]>)>,
    /// Blocks it proposes, in order.
    pub proposals: Vec<Arc<Block>>,
    /// Views it entered.
    pub entered: Vec<View>,
}

impl Outlet for Words {
    fn send(&mut self, to: ValidatorIndex, kind: MessageKind, message: &[u8]) {
        self.sends.push((Target::One(to), kind, message.into()));
    }

    fn broadcast(&mut self, kind: MessageKind, message: &[u8]) {
        self.sends.push((Target::All, kind, message.into()));
    }

    fn spent(&mut self, _: Spent) {}
}

impl Puppet {
    /// A puppet at genesis.
    pub fn new(stage: &Stage<'_>) -> Puppet {
        Puppet::skewed(stage, Nanos(0))
    }

    /// A puppet at genesis whose wall clock is ahead by `skew`: its blocks differ from those of another in the same seat.
    pub fn skewed(stage: &Stage<'_>, skew: Nanos) -> Puppet {
        let cluster = stage.cluster;
        let chain = cluster.chain();
        let tip = Tip { view: View::GENESIS, height: Height(0), digest: genesis_digest(&chain) };
        let recovery = Recovery { tip, tip_certificate: None, blocks: Vec::new(), records: Vec::new(), amnesia: false };
        let config = Config {
            me: ValidatorIndex(stage.me as u16),
            params: *stage.params,
            beacon: cluster.beacon,
            wall_offset_ns: stage.now.0 + skew.0,
        };
        let keys = &cluster.keys[stage.me];
        let app = TransactionApp::new(chain, stage.params.dedup_heights, MEMPOOL.transactions_max, MEMPOOL.bytes_max);
        let secrets = (keys.vote.clone(), keys.identity.clone());
        let validator = Validator::new(config, Arc::clone(&cluster.roster), cluster.schedule.clone(), secrets, app, recovery, stage.now);
        Puppet { validator, chain, persisted: 0, fetch_ends: None }
    }

    /// A message, and the tick that ends its burst.
    pub fn deliver(&mut self, now: Nanos, from: usize, kind: MessageKind, bytes: &[u8]) -> Words {
        let mut words = Words::default();
        self.input(now, Input::Message(ValidatorIndex(from as u16), kind, bytes), &mut words);
        self.input(now, Input::Tick, &mut words);
        words
    }

    /// Time passed.
    pub fn tick(&mut self, now: Nanos) -> Words {
        let mut words = Words::default();
        if self.fetch_ends.is_some_and(|at| at <= now) {
            self.fetch_ends = None;
            self.input(now, Input::Synced(Vec::new(), true), &mut words);
        }
        self.input(now, Input::Tick, &mut words);
        words
    }

    /// When to tick at the latest.
    pub fn next_deadline(&self) -> Option<Nanos> {
        [self.validator.next_deadline(), self.fetch_ends].into_iter().flatten().min()
    }

    /// The machine, to look at.
    pub fn validator(&self) -> &Validator<u64> {
        &self.validator
    }

    fn input(&mut self, now: Nanos, input: Input<'_, u64>, words: &mut Words) {
        self.validator.handle(now, input, words);
        loop {
            let before = self.persisted;
            let mut gossip = Vec::new();
            while let Some(output) = self.validator.poll() {
                match output {
                    Output::Persist(record, body) => {
                        self.persisted += 1;
                        if let (Record::Proposal(..), Some(block)) = (record, body) {
                            words.proposals.push(block);
                        }
                    }
                    Output::Entered(view) => words.entered.push(view),
                    Output::Verify(_, payload) => gossip.extend(self.verified(&payload)),
                    // A puppet that lags too far stays behind.
                    Output::Sync(..) => self.fetch_ends = Some(now.after(FETCH)),
                    _ => {}
                }
            }
            if self.persisted == before && gossip.is_empty() {
                return;
            }
            self.validator.handle(now, Input::Persisted(self.persisted), words);
            if !gossip.is_empty() {
                self.validator.handle(now, Input::Gossip(gossip), words);
            }
        }
    }

    /// Without transactions its blocks would be empty, and none of them would travel through relays.
    fn verified(&self, payload: &[u8]) -> Vec<VerifiedTransaction> {
        let raw = iterate(payload).map_while(Result::ok).map(|transaction| transaction.bytes().to_vec()).collect();
        verify_batch(&self.chain, raw).into_iter().flatten().collect()
    }
}
