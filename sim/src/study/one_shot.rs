//! How long quorums take in one view over a wide-area network: an estimate from arrival times alone, without chaining, certificates, timeouts or CPU.
//!
//! ```text
//!   t = 0   the proposer sends the block to all, its uplink shared equally; or shreds to relays, which send them on to all
//!   each    on the proposal: votes to all; on a quorum of first votes, where the protocol has a second round: votes again
//!   result  mean over every proposer, every validator and `repetitions` of when each quorum is complete
//! ```
//! The rules of the estimator that produced the published percentages are kept, so that the rows compare: every validator proposes once a repetition,
//! latencies and transfers are truncated to whole milliseconds, a validator's own vote counts at once, and a quorum counts after the proposal only.
//! Over relays a body is there once enough shreds of each slice are, and a relay's uplink is as wide as the proposer's; the rest is the same, so
//! that the difference between two rows is what relaying costs or saves.
//! Quorums by count, not stake. Kudzu and Alpenglow share their quorums: view change at 61 %, finality at 81 % in one round or 61 % in each of two.

use super::normal::Normal;
use super::regions::{REGIONS, one_way_ms};
use serde::Serialize;

/// Validators of the published comparison: five in each of ten regions.
pub const VALIDATORS: usize = 50;
/// Symmetric link of each validator, bytes per millisecond (1 Gbit/s).
pub const LINK_BYTES_PER_MS: usize = 125_000;

/// Which votes finalize a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// So many first votes.
    OneRound(usize),
    /// So many second votes, each sent after the view quorum of first votes.
    TwoRounds(usize),
    /// Whichever of the two is there first: first votes, second votes.
    Either(usize, usize),
}

/// A protocol as the estimate sees it.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Name in the table.
    pub name: &'static str,
    /// First votes that end the view.
    pub view: usize,
    /// What finalizes.
    pub finality: Finality,
}

/// The protocols of the table, at fifty validators (f = 9).
pub const PROTOCOLS: [Protocol; 4] = [
    Protocol { name: "minimmit", view: 19, finality: Finality::OneRound(41) },
    Protocol { name: "minimmit-41%", view: 21, finality: Finality::OneRound(41) },
    Protocol { name: "kudzu", view: 31, finality: Finality::Either(41, 31) },
    Protocol { name: "simplex", view: 34, finality: Finality::TwoRounds(34) },
];

/// Means of one protocol, milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The protocol's name.
    pub protocol: &'static str,
    /// Until the body is there, and the vote with it.
    pub body_ms: f64,
    /// Until the view quorum.
    pub view_ms: f64,
    /// Until finality.
    pub finality_ms: f64,
    /// View plus finality: a transaction that just missed a proposal waits for one view.
    pub transaction_ms: f64,
    /// View latency by the validator's region, in the order of [`REGIONS`].
    pub view_by_region_ms: Vec<f64>,
    /// Finality by the validator's region.
    pub finality_by_region_ms: Vec<f64>,
    /// Every single view latency, whole milliseconds, ascending: for the distribution.
    #[serde(skip)]
    pub views: Vec<u32>,
    /// Every single finality latency.
    #[serde(skip)]
    pub finalities: Vec<u32>,
}

/// How the block reaches everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// At once, whatever its size.
    Unlimited,
    /// So many bytes from the proposer to each other validator.
    Direct(usize),
    /// In shreds through relays: (needed, sent) of each slice.
    Relayed(Vec<(usize, usize)>),
}

/// Bytes of a shred's datagram.
const SHRED_WIRE_BYTES: usize = 1_290;

/// Estimates all protocols on the same draws. `repetitions` of [`VALIDATORS`] views each.
pub fn estimate(body: &Body, repetitions: usize, seed: u64) -> Vec<Estimate> {
    let mut normal = Normal::new(seed);
    let mut sums: Vec<Sum> = PROTOCOLS.iter().map(|_| Sum::default()).collect();
    for _ in 0..repetitions {
        for proposer in 0..VALIDATORS {
            let proposal = body.arrivals(proposer, &mut normal);
            let first = arrivals(&proposal, &mut normal);
            for (protocol, sum) in PROTOCOLS.iter().zip(&mut sums) {
                sum.add(protocol, &proposal, &first, &mut normal);
            }
        }
    }
    PROTOCOLS.iter().zip(sums).map(|(protocol, sum)| sum.estimate(protocol.name)).collect()
}

impl Body {
    /// When each validator has it.
    fn arrivals(&self, proposer: usize, normal: &mut Normal) -> Vec<u32> {
        let transfer_ms = match self {
            Body::Unlimited => 0,
            Body::Direct(bytes) => ((VALIDATORS - 1) * bytes / LINK_BYTES_PER_MS) as u32,
            Body::Relayed(slices) => return relayed(slices, proposer, normal),
        };
        (0..VALIDATORS).map(|to| if to == proposer { 0 } else { transfer_ms + latency(normal, proposer, to) }).collect()
    }
}

/// Shreds leave the proposer one after the other, each to the next relay in turn; a relay sends each on to all others at once.
fn relayed(slices: &[(usize, usize)], proposer: usize, normal: &mut Normal) -> Vec<u32> {
    let mut whole = vec![0; VALIDATORS];
    let mut sent = 0;
    for (needed, total) in slices {
        let mut shreds: Vec<Vec<u32>> = vec![Vec::new(); VALIDATORS];
        for _ in 0..*total {
            let relay = (proposer + 1 + sent % (VALIDATORS - 1)) % VALIDATORS;
            sent += 1;
            let at_relay = (sent * SHRED_WIRE_BYTES / LINK_BYTES_PER_MS) as u32 + latency(normal, proposer, relay);
            shreds[relay].push(at_relay);
            let fan_out = ((VALIDATORS - 2) * SHRED_WIRE_BYTES / LINK_BYTES_PER_MS) as u32;
            for to in (0..VALIDATORS).filter(|to| *to != relay && *to != proposer) {
                shreds[to].push(at_relay + fan_out + latency(normal, relay, to));
            }
        }
        for to in (0..VALIDATORS).filter(|to| *to != proposer) {
            shreds[to].sort_unstable();
            whole[to] = whole[to].max(shreds[to][needed - 1]);
        }
    }
    whole
}

/// Times at which each validator holds the votes of all, ascending; `sent[i]` is when validator `i` sends its own.
fn arrivals(sent: &[u32], normal: &mut Normal) -> Vec<Vec<u32>> {
    (0..sent.len())
        .map(|to| {
            let mut times: Vec<u32> =
                sent.iter().enumerate().map(|(from, at)| if from == to { *at } else { at + latency(normal, from, to) }).collect();
            times.sort_unstable();
            times
        })
        .collect()
}

fn latency(normal: &mut Normal, from: usize, to: usize) -> u32 {
    let (mean, deviation) = one_way_ms(region(from), region(to));
    normal.draw(mean, deviation).max(0.0) as u32
}

/// The region a validator stands in.
fn region(validator: usize) -> usize {
    validator * REGIONS.len() / VALIDATORS
}

#[derive(Default)]
struct Sum {
    bodies: Vec<(usize, u32)>,
    views: Vec<(usize, u32)>,
    finalities: Vec<(usize, u32)>,
}

impl Sum {
    fn add(&mut self, protocol: &Protocol, proposal: &[u32], first: &[Vec<u32>], normal: &mut Normal) {
        let quorum = |count: usize| -> Vec<u32> { (0..VALIDATORS).map(|at| first[at][count - 1].max(proposal[at])).collect() };
        let view = quorum(protocol.view);
        let finality = match protocol.finality {
            Finality::OneRound(count) => quorum(count),
            Finality::TwoRounds(count) => second_round(&view, count, normal),
            Finality::Either(one, two) => {
                quorum(one).into_iter().zip(second_round(&view, two, normal)).map(|(one, two)| one.min(two)).collect()
            }
        };
        for at in 0..VALIDATORS {
            self.bodies.push((region(at), proposal[at]));
            self.views.push((region(at), view[at]));
            self.finalities.push((region(at), finality[at]));
        }
    }

    fn estimate(self, protocol: &'static str) -> Estimate {
        let (view_ms, finality_ms) = (mean(&self.views, None), mean(&self.finalities, None));
        let by_region = |times: &[(usize, u32)]| (0..REGIONS.len()).map(|region| mean(times, Some(region))).collect();
        Estimate {
            protocol,
            body_ms: mean(&self.bodies, None),
            view_ms,
            finality_ms,
            transaction_ms: view_ms + finality_ms,
            view_by_region_ms: by_region(&self.views),
            finality_by_region_ms: by_region(&self.finalities),
            views: ascending(self.views),
            finalities: ascending(self.finalities),
        }
    }
}

/// When each validator holds `count` second votes, each sent at its sender's `view` time.
fn second_round(view: &[u32], count: usize, normal: &mut Normal) -> Vec<u32> {
    arrivals(view, normal).iter().zip(view).map(|(times, own)| times[count - 1].max(*own)).collect()
}

fn mean(times: &[(usize, u32)], of: Option<usize>) -> f64 {
    let (sum, count) = times
        .iter()
        .filter(|(region, _)| of.is_none_or(|wanted| wanted == *region))
        .fold((0u64, 0u64), |(sum, count), (_, ms)| (sum + u64::from(*ms), count + 1));
    sum as f64 / count.max(1) as f64
}

fn ascending(times: Vec<(usize, u32)>) -> Vec<u32> {
    let mut times: Vec<u32> = times.into_iter().map(|(_, ms)| ms).collect();
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within_one_percent(what: &str, ours: f64, published: f64) {
        assert!((ours - published).abs() <= published / 100.0, "{what}: {ours:.1} ms against {published} ms");
    }

    #[test]
    fn the_published_one_shot_rows_are_met_without_a_bandwidth_limit() {
        let rows = estimate(&Body::Unlimited, 20, 1);
        within_one_percent("minimmit view at 19", rows[0].view_ms, 117.8);
        within_one_percent("minimmit view at 21", rows[1].view_ms, 134.0);
        within_one_percent("kudzu view", rows[2].view_ms, 177.8);
        within_one_percent("simplex view", rows[3].view_ms, 182.7);
        within_one_percent("minimmit finality", rows[1].finality_ms, 208.3);
        within_one_percent("kudzu finality", rows[2].finality_ms, 208.2);
        within_one_percent("simplex finality", rows[3].finality_ms, 287.4);
    }

    #[test]
    fn the_published_percentages_follow_from_32_kib_blocks_on_gigabit_links() {
        let rows = estimate(&Body::Direct(32 << 10), 20, 1);
        within_one_percent("minimmit view at 21", rows[1].view_ms, 146.1);
        within_one_percent("kudzu view", rows[2].view_ms, 190.0);
        within_one_percent("minimmit finality", rows[1].finality_ms, 220.4);
        let cut = |ours: f64, theirs: f64| 100.0 * (1.0 - ours / theirs);
        assert!((cut(rows[1].view_ms, rows[2].view_ms) - 23.1).abs() < 0.3);
        assert!((cut(rows[1].transaction_ms, rows[2].transaction_ms) - 10.7).abs() < 0.3);
    }

    #[test]
    fn one_seed_gives_one_estimate_and_another_seed_another() {
        for body in [Body::Unlimited, Body::Relayed(vec![(32, 64), (1, 49)])] {
            assert_eq!(estimate(&body, 1, 7), estimate(&body, 1, 7));
            assert_ne!(estimate(&body, 1, 7), estimate(&body, 1, 8));
        }
    }

    #[test]
    fn relays_cost_a_second_hop_and_save_the_uplink() {
        let view = |body: &Body| estimate(body, 2, 1)[0].view_ms;
        let slices = |count: usize| Body::Relayed(vec![(32, 64); count]);
        assert!(view(&slices(1)) > view(&Body::Direct(32 << 10)) + 20.0, "a small block takes longer through relays");
        assert!(view(&slices(32)) + 200.0 < view(&Body::Direct(1 << 20)), "a large one is there much sooner");
    }
}
