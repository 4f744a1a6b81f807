//! Whole clusters over ten regions: the chained machine with Rotor, gossip, certificates and CPU costs, measured from its own record.
//!
//! A view takes from the proposal (the block's timestamp; clocks here are true) until a validator enters the next one, a block until it is final
//! there, a transaction from the offer to the acknowledgement by the validator that took it. Bytes are those on the wire, IP and UDP included.
//! What the one-shot estimate leaves out and this does not: two hops for the body, voters that wait for the whole body and its decoding,
//! forwarded certificates (which can only help), the disk in front of each vote, and everybody's CPU. Not simulated: TCP of clients, handshakes.

use super::regions::REGIONS;
use crate::disk::DiskSpeed;
use crate::kit::Kit;
use crate::net::Nic;
use crate::swarm::{Cpu, Load, Placement, Plan};
use crate::trace::{Event, Target, What};
use crate::world::World;
use samara_rotor::Planner;
use samara_types::datagram::{INNER_HEADER_BYTES, IP_UDP_BYTES, OUTER_HEADER_BYTES, TAG_BYTES};
use samara_types::{BLOCK_HEADER_BYTES, LeaderSchedule, MessageKind, Nanos, Record, ShredHeader, SliceIndex, TransactionId, View};
use samara_validator::restart::MempoolLimits;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Costs on one core of the Zen 5 development machine: `samara bench verify` (pairing check, signature), `samara bench shred` and the dataplane's
/// cost example (a datagram in: 1.4 us of port and session, 0.5 us of admission in a burst; out: 0.3 us of sealing, 0.7 us of port).
pub const MEASURED: Cpu = Cpu { receive: Nanos(1_900), send: Nanos(1_000), sign: Nanos(105_000), pairing_check: Nanos(690_000) };
/// 1 Gbit/s both ways.
const LINK_BYTES_PER_S: u64 = 125_000_000;
/// Views at the start that are not counted: sessions of a chain do not begin under load.
const WARM_UP_VIEWS: u64 = 3;
/// Data bytes of the transactions that fill blocks, at most; every size up to it is as frequent.
const TRANSACTION_DATA: u64 = 1_100;
/// What such a transaction takes of a block, mean.
const TRANSACTION_BYTES: u64 = TRANSACTION_DATA / 2 + 140;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Validators with equal stake, evenly over the regions.
    pub validators: usize,
    /// Most bytes of a block.
    pub block_bytes: u32,
    /// Bytes of transactions offered in a second.
    pub offered_per_s: u64,
    /// Virtual time of the run.
    pub lasts: Nanos,
    /// The run's chance.
    pub seed: u64,
}

impl Case {
    fn plan(&self) -> Plan {
        let mut plan = Plan::calm("study", self.seed, vec![1; self.validators]);
        plan.params.view_timeout = Nanos::from_millis(3_000);
        plan.params.block_interval = Nanos(0);
        plan.params.idle_interval = Nanos::from_millis(1_000);
        plan.params.payload_bytes_max = self.block_bytes;
        plan.placement = Placement::Regions;
        plan.cpu = MEASURED;
        plan.network.link.jitter = Nanos(0);
        plan.network.nic = Nic::both_ways(LINK_BYTES_PER_S, Nanos::from_millis(500), Nanos::from_millis(100));
        plan.speed = DiskSpeed { base: Nanos(160_000), jitter: Nanos(20_000), stall_ppm: 0, stall: Nanos(0) };
        plan.load = Load { per_second: self.offered_per_s / TRANSACTION_BYTES, data_bytes_max: TRANSACTION_DATA };
        plan.mempool = MempoolLimits { transactions_max: 20_000, bytes_max: 32 << 20 };
        plan.faults_for = self.lasts;
        // The run ends with its load: nobody has to settle.
        (plan.settle_within, plan.beyond_model) = (Nanos(0), true);
        plan
    }

    /// How its full blocks are cut: shreds needed and sent of each slice.
    pub fn slices(&self, kit: &mut Kit) -> Vec<(usize, usize)> {
        let plan = self.plan();
        let cluster = kit.cluster(&plan.stakes);
        let cut = Planner::new(&plan.params, cluster.roster.set()).plan(BLOCK_HEADER_BYTES + self.block_bytes as usize);
        let cut = cut.expect("a block as large as may be has a plan");
        let shapes = (0..cut.slices()).map(|slice| cut.shape(SliceIndex(slice as u16)));
        shapes.map(|shape| (shape.data.into(), shape.total.into())).collect()
    }

    /// Runs it.
    pub fn run(&self, kit: &mut Kit) -> Measured {
        let plan = self.plan();
        let (outcome, record) = World::new(&plan, kit).recording().run_recorded();
        let violations: Vec<String> = outcome.violations.iter().map(|violation| violation.detail.clone()).collect();
        let schedule = kit.cluster(&plan.stakes).schedule.clone();
        Reading::new(self, &schedule, &record).measured(violations, outcome.pairing_checks)
    }
}

/// Means and percentiles, milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// How many.
    pub count: usize,
    /// All of them, ascending: for the distribution.
    #[serde(skip)]
    pub all: Vec<f64>,
}

impl Spread {
    fn of(mut all: Vec<f64>) -> Spread {
        all.sort_by(f64::total_cmp);
        let at = |share: f64| all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1))).copied().unwrap_or(0.0);
        let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
        Spread { mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), count: all.len(), all }
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Validators.
    pub validators: usize,
    /// Most bytes of a block.
    pub block_bytes: u32,
    /// Bytes of transactions offered in a second.
    pub offered_per_s: u64,
    /// Proposal to each validator's vote in its view.
    pub vote_ms: Spread,
    /// Proposal to the next view.
    pub view_ms: Spread,
    /// Proposal to finality.
    pub finality_ms: Spread,
    /// Offer to acknowledgement.
    pub transaction_ms: Spread,
    /// From one block to the next.
    pub block_ms: f64,
    /// Mean view latency in each region, in the order of [`REGIONS`].
    pub view_by_region_ms: Vec<f64>,
    /// Mean finality in each region.
    pub finality_by_region_ms: Vec<f64>,
    /// Every finality in each region, ascending: for the distribution.
    #[serde(skip)]
    pub finalities_by_region_ms: Vec<Vec<f64>>,
    /// Final payload, bytes a second.
    pub payload_per_s: f64,
    /// Bytes a validator sends in a view, mean.
    pub bytes_per_view: f64,
    /// Datagrams a validator sends in a view, mean.
    pub messages_per_view: f64,
    /// Bytes the leader sends of its block.
    pub leader_bytes_per_view: f64,
    /// How long a validator's core works for a view, mean: datagrams in and out, signatures and pairing checks.
    pub core_ms_per_view: f64,
    /// Pairing checks a validator makes in a view, mean.
    pub pairing_checks_per_view: f64,
    /// Views counted.
    pub views: u64,
    /// Promises broken in the run; there should be none.
    pub violations: Vec<String>,
}

struct Reading<'a> {
    case: &'a Case,
    /// When each block was proposed.
    proposed: BTreeMap<View, Nanos>,
    voted: Vec<(View, Nanos)>,
    entered: BTreeMap<(View, usize), Nanos>,
    finalized: Vec<(View, usize, Nanos)>,
    heights: BTreeSet<View>,
    payload_bytes: u64,
    transactions: Vec<f64>,
    bytes: u64,
    messages: u64,
    leader_bytes: u64,
}

impl<'a> Reading<'a> {
    fn new(case: &'a Case, schedule: &LeaderSchedule, record: &[Event]) -> Reading<'a> {
        let mut reading = Reading {
            case,
            proposed: BTreeMap::new(),
            voted: Vec::new(),
            entered: BTreeMap::new(),
            finalized: Vec::new(),
            heights: BTreeSet::new(),
            payload_bytes: 0,
            transactions: Vec::new(),
            bytes: 0,
            messages: 0,
            leader_bytes: 0,
        };
        let mut offered: BTreeMap<(TransactionId, usize), Nanos> = BTreeMap::new();
        for event in record.iter().filter(|event| event.at <= case.lasts) {
            match &event.what {
                What::Entered(view) => {
                    reading.entered.insert((*view, event.node), event.at);
                }
                What::Persist(Record::Proposal(view, _), _) => {
                    reading.proposed.insert(*view, event.at);
                }
                What::Persist(Record::Vote(view, _), _) => reading.voted.push((*view, event.at)),
                What::Finalized(block) => {
                    let view = block.header.view;
                    reading.finalized.push((view, event.node, event.at));
                    if reading.heights.insert(view) && view.0 > WARM_UP_VIEWS {
                        reading.payload_bytes += u64::from(block.header.payload_length);
                    }
                }
                What::Offered(id) => {
                    offered.insert((*id, event.node), event.at);
                }
                What::Acknowledged(id, _) => {
                    if let Some(at) = offered.get(&(*id, event.node)) {
                        reading.transactions.push(ms(*at, event.at));
                    }
                }
                What::Sent(target, kind, bytes) => {
                    let own = matches!(kind, MessageKind::Shred | MessageKind::Announce)
                        && ShredHeader::view_of(bytes).is_some_and(|view| schedule.leader(view).at() == event.node);
                    reading.sent(*target, own, bytes.len());
                }
                _ => {}
            }
        }
        reading
    }

    fn sent(&mut self, target: Target, is_own_block: bool, bytes: usize) {
        let copies = if target == Target::All { self.case.validators as u64 - 1 } else { 1 };
        let wire = (bytes + IP_UDP_BYTES + OUTER_HEADER_BYTES + TAG_BYTES + INNER_HEADER_BYTES) as u64;
        self.messages += copies;
        self.bytes += copies * wire;
        if is_own_block {
            self.leader_bytes += copies * wire;
        }
    }

    fn measured(self, violations: Vec<String>, pairing_checks: u64) -> Measured {
        let counted = |view: &View| view.0 > WARM_UP_VIEWS;
        let region = |node: usize| node * REGIONS.len() / self.case.validators;
        let (mut views, mut finalities) = (Vec::new(), Vec::new());
        for ((view, node), at) in &self.entered {
            if let Some(proposed) = self.proposed.get(&view.previous()).filter(|_| counted(&view.previous())) {
                views.push((region(*node), ms(*proposed, *at)));
            }
        }
        for (view, node, at) in self.finalized.iter().filter(|(view, ..)| counted(view)) {
            if let Some(proposed) = self.proposed.get(view) {
                finalities.push((region(*node), ms(*proposed, *at)));
            }
        }
        let votes = self.voted.iter().filter(|(view, _)| counted(view));
        let votes = votes.filter_map(|(view, at)| Some(ms(*self.proposed.get(view)?, *at))).collect();
        let in_region =
            |times: &[(usize, f64)], region: usize| Spread::of(times.iter().filter(|(at, _)| *at == region).map(|(_, ms)| *ms).collect());
        let by_region = |times: &[(usize, f64)]| (0..REGIONS.len()).map(|region| in_region(times, region).mean).collect();
        let all_views = self.entered.keys().map(|(view, _)| view.0).max().unwrap_or(1) as f64;
        let per_node = all_views * self.case.validators as f64;
        let (messages, checks) = (self.messages as f64 / per_node, pairing_checks as f64 / per_node);
        // Who sends so many receives as many; one signature a view.
        let core_ns =
            messages * (MEASURED.receive.0 + MEASURED.send.0) as f64 + checks * MEASURED.pairing_check.0 as f64 + MEASURED.sign.0 as f64;
        let (first, last) = (self.heights.iter().find(|view| counted(view)), self.heights.last());
        let span_ms =
            first.zip(last).and_then(|(first, last)| Some(ms(*self.proposed.get(first)?, *self.proposed.get(last)?))).unwrap_or(0.0);
        let blocks = self.heights.iter().filter(|view| counted(view)).count();
        Measured {
            validators: self.case.validators,
            block_bytes: self.case.block_bytes,
            offered_per_s: self.case.offered_per_s,
            view_by_region_ms: by_region(&views),
            finality_by_region_ms: by_region(&finalities),
            finalities_by_region_ms: (0..REGIONS.len()).map(|region| in_region(&finalities, region).all).collect(),
            vote_ms: Spread::of(votes),
            view_ms: Spread::of(views.into_iter().map(|(_, ms)| ms).collect()),
            finality_ms: Spread::of(finalities.into_iter().map(|(_, ms)| ms).collect()),
            transaction_ms: Spread::of(self.transactions),
            block_ms: span_ms / (blocks.max(2) - 1) as f64,
            payload_per_s: self.payload_bytes as f64 / (span_ms / 1_000.0).max(1e-3),
            bytes_per_view: self.bytes as f64 / per_node,
            messages_per_view: messages,
            core_ms_per_view: core_ns / 1e6,
            pairing_checks_per_view: checks,
            leader_bytes_per_view: self.leader_bytes as f64 / all_views,
            views: all_views as u64,
            violations,
        }
    }
}

fn ms(from: Nanos, to: Nanos) -> f64 {
    to.since(from).0 as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_validators_over_ten_regions_finalize_full_blocks_without_a_broken_promise() {
        let case = Case { validators: 12, block_bytes: 8 << 10, offered_per_s: 160 << 10, lasts: Nanos::from_millis(2_500), seed: 1 };
        let measured = case.run(&mut Kit::new());
        assert_eq!(measured.violations, [""; 0]);
        assert!(measured.views > 6 && measured.transaction_ms.count > 20, "{measured:?}");
        // Nobody is faster than light: half the smallest round trip between two regions of a quorum.
        assert!(measured.view_ms.p50 > 30.0 && measured.view_ms.p50 < measured.finality_ms.p50, "{measured:?}");
        assert_eq!(measured, case.run(&mut Kit::new()), "the same seed measures the same");
    }
}
