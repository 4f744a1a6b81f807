//! Start and restart: what the log and the store remember, and the rule for a validator that remembers nothing.

use super::{Config, Consensus, ConsensusStats, Output};
use crate::app::Application;
use crate::chain::{Chain, Tip};
use samara_crypto::{Certificate, KeySum, Mutant, Roster, VoteSecret};
use samara_types::{Block, LeaderSchedule, Nanos, Record, SignerBitmap, ValidatorIndex, View};
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
///
/// It listens until it has heard from S-f (itself included), then for four view timeouts more; whatever was signed here before, the view
/// before it was proven, and whoever is stuck sends that proof again and again. What peers merely claim is not believed. It signs again once
/// the cluster finalizes a view above every proven one, or at once on a chain on which nobody has proven anything.
pub(super) struct Amnesia {
    heard: SignerBitmap,
    /// Highest view proven by a certificate so far.
    seen: View,
    /// End of listening, once enough were heard.
    until: Option<Nanos>,
    span: Nanos,
}

impl Amnesia {
    pub fn seen(&mut self, now: Nanos, view: View) {
        if self.until.is_none_or(|until| now < until) {
            self.seen = self.seen.max(view);
        }
    }

    fn is_over(&self, now: Nanos, finalized: View) -> bool {
        let nothing_proven = self.seen == View::GENESIS && finalized == View::GENESIS;
        self.until.is_some_and(|until| now >= until) && (finalized > self.seen || nothing_proven)
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
        let span = Nanos(config.params.view_timeout.0.saturating_mul(4));
        let heard = SignerBitmap::from_iter([config.me]);
        let amnesia = recovery.amnesia.then_some(Amnesia { heard, seen: recovery.tip.view, until: None, span });
        let mut machine = Consensus {
            view: recovery.tip.view.next(),
            chain: Chain::new(recovery.tip),
            tip_certificate: recovery.tip_certificate,
            config,
            roster,
            keys: KeySum::default(),
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
            missing: None,
            syncing: false,
            retransmit_at: now,
            unheard: SignerBitmap::default(),
            convicted: SignerBitmap::default(),
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
        if !machine.roster.has(Mutant::ForgetsAtRestart) {
            recovery.records.iter().for_each(|record| machine.replay(record));
        }
        machine
    }

    fn replay(&mut self, record: &Record) {
        let view = record.view();
        if view <= self.chain.tip().view {
            return;
        }
        let signature = |subject| self.secret.sign(self.roster.domain(), &self.roster.signed(&subject));
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

    /// Somebody spoke to a validator that lost its log.
    pub(super) fn remember_hearing(&mut self, from: ValidatorIndex) {
        let (now, roster) = (self.now, Arc::clone(&self.roster));
        if let Some(amnesia) = &mut self.amnesia
            && amnesia.until.is_none()
            && amnesia.heard.insert(from)
            && roster.set().weight(&amnesia.heard) >= roster.quorums().l
        {
            amnesia.until = Some(now.after(amnesia.span));
        }
    }

    /// Ends amnesia when it may.
    pub(super) fn regain_voice(&mut self) {
        let finalized = if self.roster.has(Mutant::SpeaksTooEarly) { View(u64::MAX) } else { self.chain.tip().view };
        if self.amnesia.as_ref().is_some_and(|amnesia| amnesia.is_over(self.now, finalized)) {
            self.amnesia = None;
        }
    }
}
