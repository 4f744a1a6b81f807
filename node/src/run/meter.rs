//! What the core measures of itself: views, blocks, stages, peers, and the snapshot it publishes.

use super::strip::Strip;
use super::wire::StageClock;
use crate::bridge::{ClassCounters, Dissemination, Marks, NodeSnapshot, PeerRow, Standing};
use samara_dataplane::class::ClassReject;
use samara_dataplane::counters::{HotSnapshot, HotStats, Stage as HotStage};
use samara_dataplane::session::{DropReason, Link};
use samara_types::{
    Block, Class, Height, LeaderSchedule, MessageKind, Nanos, SignerBitmap, ValidatorIndex, ValidatorSet, View, transaction,
};
use samara_validator::{Milestone, Stage, Validator};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Views whose milestones are kept at once.
const VIEWS_MAX: usize = 256;

/// Views below the current one whose votes are published with it.
const STANDINGS: u64 = 3;

/// Counters and distributions of the running validator.
pub struct Meter {
    pub snapshot: NodeSnapshot,
    set: Arc<ValidatorSet>,
    schedule: LeaderSchedule,
    strip: Strip,
    /// Votes and nullifies received, by validator.
    votes: Vec<u64>,
    /// Whether each validator's session was heard lately, and how the way from it is.
    links: Vec<(bool, Link)>,
    milestones: BTreeMap<View, [Option<Nanos>; 6]>,
    finalized_at: BTreeMap<Height, Nanos>,
    entered_at: Option<Nanos>,
    last_final: Option<Nanos>,
}

impl Meter {
    pub fn new(me: ValidatorIndex, set: Arc<ValidatorSet>, schedule: LeaderSchedule) -> Meter {
        let quorums = set.quorums();
        let marks = Marks { total: quorums.total.0, m: quorums.m.0, l: quorums.l.0 };
        Meter {
            snapshot: NodeSnapshot { me: me.0, marks, ..NodeSnapshot::default() },
            strip: Strip::new(set.len()),
            votes: vec![0; set.len()],
            links: vec![(false, Link::default()); set.len()],
            set,
            schedule,
            milestones: BTreeMap::new(),
            finalized_at: BTreeMap::new(),
            entered_at: None,
            last_final: None,
        }
    }

    /// A message of `from` was admitted.
    pub fn heard(&mut self, from: ValidatorIndex, kind: MessageKind) {
        self.votes[from.at()] += u64::from(matches!(kind, MessageKind::Vote | MessageKind::Nullify));
    }

    /// Which sessions are up, and how the way to each peer is, just before a picture.
    pub fn look_at_peers(&mut self, link: impl Fn(ValidatorIndex) -> (bool, Link)) {
        self.links.iter_mut().zip(0..).for_each(|(known, at)| *known = link(ValidatorIndex(at)));
    }

    pub fn nullified(&mut self, view: View, now: Nanos) {
        self.strip.nullified(view, self.schedule.leader(view), now);
    }

    pub fn entered(&mut self, view: View, now: Nanos) {
        self.strip.entered(view, self.schedule.leader(view), now);
        if let Some(before) = self.entered_at.replace(now) {
            self.snapshot.view_us.record(now.since(before).0 / 1_000);
        }
    }

    pub fn milestone(&mut self, view: View, milestone: Milestone, now: Nanos) {
        self.strip.reached(view, self.schedule.leader(view), milestone, now);
        let times = self.milestones.entry(view).or_default();
        times[milestone as usize].get_or_insert(now);
        if milestone == Milestone::Final {
            let times = *times;
            self.finished(&times);
            self.milestones = self.milestones.split_off(&view.next());
        }
        while self.milestones.len() > VIEWS_MAX {
            self.milestones.pop_first();
        }
    }

    /// Each stage from the latest earlier milestone that was seen; a block that came by sync has no stages.
    fn finished(&mut self, times: &[Option<Nanos>; 6]) {
        let Some(seen) = times[Milestone::Seen as usize] else { return };
        let steps = [Milestone::Body, Milestone::Voted, Milestone::Sent, Milestone::Notarized, Milestone::Final];
        let mut before = seen;
        for step in steps {
            let Some(at) = times[step as usize] else { continue };
            let stage = self.snapshot.stage_us.entry(step.stage().to_string()).or_default();
            stage.record(at.since(before).0 / 1_000);
            before = before.max(at);
        }
        if let Some(last) = times[Milestone::Final as usize] {
            self.snapshot.block_finality_us.record(last.since(seen).0 / 1_000);
        }
    }

    pub fn finalized(&mut self, block: &Block, now: Nanos) {
        let snapshot = &mut self.snapshot;
        snapshot.finalized_blocks += 1;
        snapshot.finalized_txs += transaction::iterate(block.payload()).count() as u64;
        snapshot.finalized_bytes += block.payload().len() as u64;
        if let Some(before) = self.last_final.replace(now) {
            snapshot.finalized_gap_max_us = snapshot.finalized_gap_max_us.max(now.since(before).0 / 1_000);
        }
        self.finalized_at.insert(block.header().height, now);
        while self.finalized_at.len() > VIEWS_MAX {
            self.finalized_at.pop_first();
        }
    }

    /// Who signed a block's finality.
    pub fn certified(&mut self, signers: &SignerBitmap) {
        self.snapshot.final_weight = self.set.weight(signers).0;
    }

    /// Everything up to `height` is on disk.
    pub fn stored(&mut self, height: Height, now: Nanos) {
        self.snapshot.stored_height = height.0;
        let later = self.finalized_at.split_off(&height.next());
        let stored = std::mem::replace(&mut self.finalized_at, later);
        let store = self.snapshot.stage_us.entry("store".to_string()).or_default();
        for at in stored.values() {
            store.record(now.since(*at).0 / 1_000);
        }
    }

    /// The picture to publish.
    pub fn picture<T>(&mut self, validator: &Validator<T>, clock: &StageClock, stats: &HotStats, drops: &[(&str, u64)]) -> NodeSnapshot {
        let hot = stats.snapshot();
        let consensus = validator.consensus();
        let snapshot = &mut self.snapshot;
        snapshot.view = consensus.view().0;
        snapshot.finalized_height = consensus.tip().height.0;
        snapshot.finalized_view = consensus.tip().view.0;
        snapshot.nullified_views = consensus.stats().nullified_views;
        snapshot.pairing_checks = consensus.stats().pairing_checks;
        snapshot.votes_received = consensus.stats().votes_received;
        snapshot.proposed_blocks = validator.counters().proposed_blocks;
        snapshot.mempool_txs = consensus.app().mempool().len() as u64;
        snapshot.mempool_bytes = consensus.app().mempool().bytes() as u64;
        snapshot.sessions_up = hot.sessions_up[0] as u32;
        snapshot.frames_total = hot.frames[0];
        snapshot.frames_in_use = hot.frames[0] - hot.frames[1];
        snapshot.datagrams_received = hot.port_packets[0];
        snapshot.datagrams_sent = hot.port_packets[1];
        snapshot.datagrams_opened = hot.received[0];
        snapshot.datagrams_consumed = hot.consumed[0];
        snapshot.classes = classes(&hot);
        snapshot.stage_ns = stage_ns(&hot, &clock.ns);
        snapshot.drops = all_drops(&hot, validator, drops);
        snapshot.relay_us = clock.relay_us.clone();
        snapshot.certificates_received = consensus.stats().certificates_received;
        snapshot.views = self.strip.rows();
        snapshot.nullifications = self.strip.nullifications();
        snapshot.standings = standings(validator);
        snapshot.dissemination = dissemination(validator);
        snapshot.peers = peers(&self.set, snapshot.me, &self.links, &self.votes, &validator.reassembly().counts().served);
        snapshot.clone()
    }
}

/// The current view and the ones before it that are not forgotten.
fn standings<T>(validator: &Validator<T>) -> Vec<Standing> {
    let consensus = validator.consensus();
    let current = consensus.view().0;
    let of = |view: u64| consensus.standing(View(view)).map(|(votes, nullifies)| Standing { view, votes: votes.0, nullifies: nullifies.0 });
    (current.saturating_sub(STANDINGS)..=current).filter_map(of).collect()
}

fn dissemination<T>(validator: &Validator<T>) -> Dissemination {
    let (reassembly, counts) = (validator.reassembly(), validator.reassembly().counts());
    Dissemination {
        shreds_stored: counts.shreds_stored,
        shreds_repaired: counts.shreds_repaired,
        shreds_relayed: validator.counters().relayed,
        relays_dropped: reassembly.relays_dropped(),
        slices_decoded: counts.slices_decoded,
        slices_tainted: counts.slices_tainted,
        bytes_held: reassembly.bytes_held() as u64,
        views_held: reassembly.views_held() as u64,
    }
}

fn peers(set: &ValidatorSet, me: u16, links: &[(bool, Link)], votes: &[u64], served: &[u64]) -> Vec<PeerRow> {
    let others = set.entries().iter().enumerate().filter(|(at, _)| *at != usize::from(me));
    let row = |(at, entry): (usize, &samara_types::ValidatorEntry)| {
        let (up, link) = links[at];
        PeerRow {
            peer: at as u16,
            stake: entry.stake.0,
            up,
            votes: votes[at],
            seats_served: served[at],
            round_trip_us: link.round_trip.map(|round_trip| round_trip.0 / 1_000),
            datagrams_expected: link.expected,
            datagrams_arrived: link.arrived,
        }
    };
    others.map(row).collect()
}

fn classes(hot: &HotSnapshot) -> BTreeMap<String, ClassCounters> {
    let of = |class: Class| ClassCounters {
        received: hot.admitted[class as usize],
        sent: hot.sent[class as usize],
        refused: ClassReject::ALL.into_iter().map(|reason| hot.refused_for(class, reason)).sum(),
        ..ClassCounters::default()
    };
    Class::ALL.into_iter().map(|class| (class.as_str().to_string(), of(class))).collect()
}

/// CPU time of the calling thread: first field of its schedstat. The stages are measured as wall time; where cores are shared that counts
/// the waiting too, so it is scaled to what the thread really got.
fn thread_cpu_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

/// The handler's time is told apart by the machine; what it does not name (draining rings, starting log writes, counting) stays `handler`.
fn stage_ns(hot: &HotSnapshot, stages: &[u64; Stage::ALL.len()]) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> = Stage::ALL.into_iter().zip(stages).map(|(stage, ns)| (stage.as_str().to_string(), *ns)).collect();
    for stage in HotStage::ALL {
        let named: u64 = if stage == HotStage::Handler { stages.iter().sum() } else { 0 };
        all.insert(stage.as_str().to_string(), hot.stage_ns[stage as usize].saturating_sub(named));
    }
    let wall: u64 = all.values().sum();
    if let Some(cpu) = thread_cpu_ns().filter(|cpu| *cpu < wall) {
        for ns in all.values_mut() {
            *ns = (u128::from(*ns) * u128::from(cpu) / u128::from(wall.max(1))) as u64;
        }
    }
    all
}

/// Every refusal of every room under the label its enum has.
fn all_drops<T>(hot: &HotSnapshot, validator: &Validator<T>, own: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let mut drops = BTreeMap::new();
    let mut add = |label: String, count: u64| {
        if count > 0 {
            *drops.entry(label).or_insert(0) += count;
        }
    };
    for reason in DropReason::ALL {
        add(format!("session_{}", reason.as_str()), hot.dropped_for(*reason));
    }
    for class in Class::ALL {
        for reason in ClassReject::ALL {
            add(format!("class_{}_{}", class.as_str(), reason.as_str()), hot.refused_for(class, reason));
        }
        for reason in samara_dataplane::reactor::Unsent::ALL {
            add(format!("unsent_{}_{}", class.as_str(), reason.as_str()), hot.unsent_for(class, reason));
        }
    }
    let port = ["port_receive_kernel", "port_receive_oversize", "port_receive_malformed", "port_send"];
    port.into_iter().zip(hot.port_drops).for_each(|(label, count)| add(label.to_string(), count));
    for (reason, count) in samara_rotor::ShredReject::ALL.iter().zip(validator.reassembly().rejects()) {
        add(format!("shred_{}", reason.as_str()), *count);
    }
    for (reason, count) in samara_consensus::VoteReject::ALL.iter().zip(validator.consensus().stats().rejects) {
        add(reason.as_str().to_string(), count);
    }
    let counters = validator.counters();
    add("malformed_message".to_string(), counters.malformed);
    add("gossip_refused".to_string(), counters.gossip_refused);
    add("repair_reject".to_string(), counters.repair_rejects);
    own.iter().for_each(|(label, count)| add(label.to_string(), *count));
    drops
}
