//! Start and restart: what the log and the store remember, and the rule for a validator that remembers nothing.

use super::{Config, Consensus, ConsensusStats, Output};
use crate::app::Application;
use crate::chain::{Chain, Tip};
use samara_crypto::{Certificate, Roster, VoteSecret};
use samara_types::{Block, LeaderSchedule, Nanos, Record, SignerBitmap, View};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What survived.
pub struct Recovery {
    /// The finalized tip; genesis on a new chain.
    pub tip: Tip,
    /// The newest L-notarization at or below the tip.
    pub tip_certificate: Option<Certificate>,
    /// Bodies of unfinalized blocks that were journaled with votes; final ones among them only serve others.
    pub blocks: Vec<Arc<Block>>,
    /// The vote log in order.
    pub records: Vec<Record>,
    /// The log is gone though this validator may have voted: sign nothing until the cluster has finalized beyond all it was seen in.
    pub amnesia: bool,
}

/// A validator without its log must not sign in any view it may have signed in before.
pub(super) struct Amnesia {
    /// Highest view proven by a certificate while observing. Whatever was signed here before, the view before it was proven, and whoever is
    /// stuck sends that proof again and again; what peers merely claim is not believed.
    seen: View,
    until: Nanos,
    now: Nanos,
}

impl Amnesia {
    pub fn seen(&mut self, view: View) {
        if self.now < self.until {
            self.seen = self.seen.max(view);
        }
    }

    pub fn is_over(&self, finalized: View) -> bool {
        self.now >= self.until && finalized > self.seen
    }
}

impl<A: Application> Consensus<A> {
    /// The machine as it stood when its last record became durable. Own votes above the tip go out again, byte for byte.
    pub fn new(
        config: Config,
        roster: Arc<Roster>,
        schedule: LeaderSchedule,
        secret: VoteSecret,
        app: A,
        recovery: Recovery,
        now: Nanos,
    ) -> Consensus<A> {
        let validators = roster.set().len();
        let amnesia = recovery.amnesia.then(|| Amnesia {
            seen: recovery.tip.view,
            until: now.after(Nanos(config.params.view_timeout.0.saturating_mul(4))),
            now,
        });
        let mut machine = Consensus {
            view: recovery.tip.view.next(),
            chain: Chain::new(recovery.tip),
            tip_certificate: recovery.tip_certificate,
            config,
            roster,
            schedule,
            secret,
            app,
            now,
            entered_at: now,
            previous_entered_at: now,
            states: BTreeMap::new(),
            touched: BTreeSet::new(),
            unsigned: super::signing::Unsigned::default(),
            wanted: BTreeMap::new(),
            syncing: false,
            retransmit_at: now,
            barred: SignerBitmap::default(),
            silent: SignerBitmap::default(),
            helped_at: vec![Nanos(0); validators],
            amnesia,
            halted: false,
            noted: true,
            stats: ConsensusStats::default(),
            outputs: VecDeque::new(),
        };
        machine.outputs.push_back(Output::Entered(machine.view));
        for block in recovery.blocks {
            machine.chain.insert(block);
        }
        for record in &recovery.records {
            machine.replay(record);
        }
        machine
    }

    fn replay(&mut self, record: &Record) {
        let view = record.view();
        if view <= self.chain.tip().view {
            return;
        }
        let signature = |subject| self.secret.sign(self.roster.domain(), &subject);
        match *record {
            Record::Proposal(..) => self.state(view).proposed = true,
            Record::Vote(view, digest) => {
                let signature = signature(samara_types::Subject::Vote(view, digest));
                self.state(view).voted = Some(digest);
                self.release(*record, signature);
            }
            Record::Nullify(view) => {
                let signature = signature(samara_types::Subject::Nullify(view));
                self.state(view).nullified = true;
                self.release(*record, signature);
            }
        }
    }

    /// Time for the observation of a validator that lost its log.
    pub(super) fn observe(&mut self, now: Nanos) {
        if let Some(amnesia) = &mut self.amnesia {
            amnesia.now = now;
        }
    }
}
