//! What must hold in every run, restated from the reference's invariants (I1-I26) with arithmetic of its own: nothing here asks the code under
//! test whether it did right.
//!
//! A checker sees [`Event`]s in order and accuses before a [`Court`]. To add one: a file here, `impl Checker`, a line in [`Checkers::new`], a
//! test that plants the violation in a recorded trace.

mod agreement;
mod certificates;
mod code_words;
mod durability;
mod evidence;
mod forwarding;
mod gaps;
mod memory;
mod quorums;
#[cfg(test)]
mod tests;
mod timing;
mod traffic;
mod transactions;
mod votes;

use crate::kit::Cluster;
use crate::swarm::Plan;
use crate::trace::{Event, What};
use samara_types::message::{ArchivedCertificate, ArchivedNullify, ArchivedVote, VOTE_SIGNATURE_BYTES, access};
use samara_types::{Digest, LeaderSchedule, MessageKind, Nanos, Params, View};
use samara_validator::restart::MempoolLimits;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The bytes of a vote's signature as sent.
pub type VoteSignature = [u8; VOTE_SIGNATURE_BYTES];

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// I1, I13, T16: one chain, everywhere, for ever, and one verdict over each code word.
    Agreement,
    /// I2, I3, I9: one vote and one proposal a view over all incarnations, no vote after a nullify.
    OneVote,
    /// I4, I5 (X1, X2), I6, I8: quorums exclude each other; nobody moves or unlocks without one.
    Quorums,
    /// I10, I11: certificates have enough distinct members who all signed.
    Certificates,
    /// I25, I26: durable before it is on the wire; the body before the record.
    Durability,
    /// I15: only the guilty are accused.
    Evidence,
    /// I21, I22: memory is bounded.
    Memory,
    /// Every datagram is accounted for.
    Conservation,
    /// Every transaction once; what was acknowledged stays.
    Transactions,
    /// I16 to I19: the paper's bounds once the network is good.
    Timing,
    /// The cluster goes on once faults end.
    Liveness,
    /// The code under test raised no alarm and did not panic.
    NoAlarm,
}

impl Promise {
    /// All of them.
    pub const ALL: [Promise; 12] = [
        Self::Agreement,
        Self::OneVote,
        Self::Quorums,
        Self::Certificates,
        Self::Durability,
        Self::Evidence,
        Self::Memory,
        Self::Conservation,
        Self::Transactions,
        Self::Timing,
        Self::Liveness,
        Self::NoAlarm,
    ];

    /// Its name in reports: the `checker` of the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agreement => "agreement",
            Self::OneVote => "one_vote",
            Self::Quorums => "quorums",
            Self::Certificates => "certificates",
            Self::Durability => "durability",
            Self::Evidence => "evidence",
            Self::Memory => "memory",
            Self::Conservation => "conservation",
            Self::Transactions => "transactions",
            Self::Timing => "timing",
            Self::Liveness => "liveness",
            Self::NoAlarm => "no_alarm",
        }
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// When.
    pub at: Nanos,
    /// How.
    pub detail: String,
}

/// Violations of one promise that are kept; more say the same.
const KEPT_PER_PROMISE: usize = 12;

/// Collects accusations.
#[derive(Debug, Default)]
pub struct Court {
    now: Nanos,
    violations: Vec<Violation>,
    count: BTreeMap<Promise, usize>,
    /// Bounds that were missed with an excuse.
    excused: u64,
}

impl Court {
    /// Something is wrong.
    pub fn accuse(&mut self, promise: Promise, detail: String) {
        let count = self.count.entry(promise).or_default();
        *count += 1;
        if *count <= KEPT_PER_PROMISE {
            self.violations.push(Violation { promise, at: self.now, detail });
        }
    }

    /// A bound was missed for a reason that the bound allows.
    pub fn excuse(&mut self) {
        self.excused += 1;
    }
}

/// What checkers know of a run beforehand.
#[derive(Clone)]
pub struct Facts {
    /// Stake of every seat.
    pub stakes: Vec<u64>,
    /// S.
    pub total: u64,
    /// f = floor((S-1)/5).
    pub f: u64,
    /// M = nullification = contradiction = 2f+1.
    pub m: u64,
    /// L = S-f.
    pub l: u64,
    /// Which seats are hostile.
    pub hostile: Vec<bool>,
    /// The chain's parameters.
    pub params: Params,
    /// What a validator may hold of transactions that wait.
    pub mempool: MempoolLimits,
    /// Who leads.
    pub schedule: LeaderSchedule,
    /// Clocks are off by up to this.
    pub drift_ppm: u64,
    /// For signatures: counted here, verified by the cryptography.
    pub cluster: Arc<Cluster>,
}

impl Facts {
    fn new(plan: &Plan, cluster: &Arc<Cluster>) -> Facts {
        let total: u64 = plan.stakes.iter().sum();
        let f = (total - 1) / 5;
        Facts {
            stakes: plan.stakes.clone(),
            total,
            f,
            m: 2 * f + 1,
            l: total - f,
            hostile: (0..plan.validators()).map(|seat| plan.is_hostile(seat)).collect(),
            params: plan.params,
            mempool: plan.mempool,
            schedule: cluster.schedule.clone(),
            drift_ppm: plan.drift_ppm.unsigned_abs(),
            cluster: Arc::clone(cluster),
        }
    }

    /// Stake of these seats.
    pub fn weight<'a>(&self, seats: impl IntoIterator<Item = &'a usize>) -> u64 {
        seats.into_iter().map(|seat| self.stakes[*seat]).sum()
    }
}

/// What a message says, decoded once for all checkers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A vote; the signature as sent.
    Vote(View, Digest, VoteSignature),
    /// A nullify.
    Nullify(View, VoteSignature),
    /// A certificate.
    Certificate {
        /// Its view.
        view: View,
        /// Its block; zero for a nullification.
        digest: Digest,
        /// 0 nullification, 1 M, 2 L.
        kind: u8,
        /// The bitmap as sent.
        signers: Vec<u8>,
    },
}

impl Said {
    /// Of a message that was sent, if it is one of these.
    pub fn of(what: &What) -> Option<Said> {
        let What::Sent(_, kind, bytes) = what else { return None };
        match kind {
            MessageKind::Vote => access::<ArchivedVote>(bytes).map(|v| Said::Vote(View(v.view.to_native()), Digest(v.digest), v.signature)),
            MessageKind::Nullify => access::<ArchivedNullify>(bytes).map(|n| Said::Nullify(View(n.view.to_native()), n.signature)),
            MessageKind::Certificate => access::<ArchivedCertificate>(bytes).map(|c| Said::Certificate {
                view: View(c.view.to_native()),
                digest: Digest(c.digest),
                kind: c.kind,
                signers: c.signers.to_vec(),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Said::Vote(view, digest, _) => write!(f, "a vote in view {view} for {digest}"),
            Said::Nullify(view, _) => write!(f, "a nullify of view {view}"),
            Said::Certificate { view, digest, kind, signers } => {
                let kind = ["nullification", "M-notarization", "L-notarization"].get(usize::from(*kind)).unwrap_or(&"unknown certificate");
                write!(f, "a {kind} of view {view}, {digest}, signers {signers:?}")
            }
        }
    }
}

/// Watches one promise.
pub trait Checker {
    /// Sees what happened; `said` is the message, if one was sent.
    fn observe(&mut self, event: &Event, said: Option<&Said>, court: &mut Court);

    /// The run is over.
    fn finish(&mut self, _court: &mut Court) {}
}

/// How long a transaction takes at most once the network is good: the bound of I18.
pub fn transaction_within(plan: &Plan, cluster: &Arc<Cluster>, delta: Nanos, disk: Nanos) -> Nanos {
    Nanos(timing::Timing::new(&Facts::new(plan, cluster)).with_delays(delta, disk).transaction_within())
}

/// All checkers of a run.
pub struct Checkers {
    checkers: Vec<Box<dyn Checker>>,
    court: Court,
}

impl Checkers {
    /// Every checker.
    pub fn new(plan: &Plan, cluster: &Arc<Cluster>) -> Checkers {
        let facts = Facts::new(plan, cluster);
        let checkers: Vec<Box<dyn Checker>> = vec![
            Box::new(agreement::Agreement::new(&facts)),
            Box::new(votes::Votes::new(&facts)),
            Box::new(quorums::Quorums::new(&facts)),
            Box::new(certificates::Certificates::new(&facts)),
            Box::new(code_words::CodeWords::new(&facts)),
            Box::new(durability::Durability::new(&facts)),
            Box::new(evidence::Guilt::new(&facts)),
            Box::new(memory::Memory::new(&facts)),
            Box::new(traffic::Conservation),
            Box::new(gaps::Gaps::new(&facts)),
            Box::new(forwarding::Forwarding::new(&facts)),
            Box::new(transactions::Transactions::new(&facts)),
            Box::new(timing::Timing::new(&facts)),
            Box::new(Alarms),
        ];
        Checkers { checkers, court: Court::default() }
    }

    /// Shows them an event.
    pub fn observe(&mut self, event: &Event) {
        self.court.now = event.at;
        let said = Said::of(&event.what);
        for checker in &mut self.checkers {
            checker.observe(event, said.as_ref(), &mut self.court);
        }
    }

    /// The world itself found something.
    pub fn report(&mut self, promise: Promise, detail: String) {
        self.court.accuse(promise, detail);
    }

    /// How often a bound was missed with an excuse.
    pub fn excused(&self) -> u64 {
        self.court.excused
    }

    /// The verdict.
    pub fn finish(&mut self) -> Vec<Violation> {
        for checker in &mut self.checkers {
            checker.finish(&mut self.court);
        }
        std::mem::take(&mut self.court.violations)
    }
}

/// Alarms of the code under test.
struct Alarms;

impl Checker for Alarms {
    fn observe(&mut self, event: &Event, _: Option<&Said>, court: &mut Court) {
        if let What::Alarm(text) = &event.what {
            court.accuse(Promise::NoAlarm, format!("validator {}: {text}", event.node));
        }
    }
}
