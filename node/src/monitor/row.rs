//! One validator as it is shown: what it says at the moment, and rates and quantiles over the last readings.

use super::reading::{Gain, Point, Reading};
use crate::bridge::{Marks, Standing, ViewRow};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is shown of one validator. Rates are per second; `_ms` and `_us` are means or quantiles over the last readings.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// Its seat.
    pub seat: u16,
    /// Its chain.
    pub chain: String,
    /// Age of the figures when they were read, seconds.
    pub age_s: f64,
    /// Current view.
    pub view: u64,
    /// Finalized height.
    pub height: u64,
    /// Height on disk.
    pub stored_height: u64,
    /// Blocks per second.
    pub blocks_per_s: f64,
    /// Transactions per second.
    pub tps: f64,
    /// Payload, megabytes per second.
    pub payload_mbps: f64,
    /// Views nullified since the start.
    pub nullified: u64,
    /// Why views were nullified, by leader.
    pub nullifications: BTreeMap<String, BTreeMap<String, u64>>,
    /// Block finality.
    pub finality_ms: Quantiles,
    /// Length of a view.
    pub view_ms: Quantiles,
    /// Transaction latency at this door.
    pub transaction_ms: Quantiles,
    /// Vote log sync.
    pub vote_log_ms: Quantiles,
    /// Mean of each stage of a block, microseconds.
    pub stages_us: BTreeMap<String, f64>,
    /// Shares of each reactor's time by regime.
    pub regimes: BTreeMap<String, BTreeMap<String, f64>>,
    /// Dropped datagrams and messages: since the start, and per second.
    pub drops: Vec<Drop>,
    /// Datagrams received and sent per second, by queue and direction.
    pub packets_per_s: BTreeMap<String, f64>,
    /// The other validators.
    pub peers: Vec<Peer>,
    /// Peers heard.
    pub sessions_up: u64,
    /// CPUs used.
    pub cpus: f64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Data on disk, bytes.
    pub store_bytes: u64,
    /// Free disk, bytes.
    pub disk_free_bytes: u64,
    /// Transactions waiting for a block.
    pub mempool: u64,
    /// Whether a catch-up runs.
    pub syncing: bool,
    /// The port's rung, and what ails its interface.
    pub port: String,
    /// Weights of the set.
    pub marks: Marks,
    /// Weight behind the newest final block.
    pub final_weight: u64,
    /// Weights in open views.
    pub standings: Vec<Standing>,
    /// The latest views.
    pub views: Vec<ViewRow>,
}

/// Quantiles over the last readings; None where nothing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

/// Drops of one reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Drop {
    /// Where and why.
    pub reason: String,
    /// Since the start.
    pub total: f64,
    /// Per second.
    pub per_s: f64,
}

/// What is shown of a peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Peer {
    /// Its seat.
    pub peer: u16,
    /// Its weight.
    pub stake: u64,
    /// Whether its session was heard lately; None if the endpoint does not say.
    pub up: Option<bool>,
    /// Votes per second.
    pub votes_per_s: f64,
    /// Useful shreds it sent on from its seats, per second.
    pub seats_per_s: f64,
    /// Round trip of the newest handshake, milliseconds.
    pub round_trip_ms: Option<f64>,
    /// Share of its datagrams that did not come, 0 to 1; None if it sent nothing.
    pub loss: Option<f64>,
}

/// Families that count drops, and what stands before their reasons.
const DROPS: [(&str, &str); 5] = [
    ("samara_port_drops_total", "port"),
    ("samara_session_drops_total", "session"),
    ("samara_messages_refused_total", "class"),
    ("samara_messages_unsent_total", "unsent"),
    ("samara_inputs_refused_total", "input"),
];

impl Row {
    /// From the newest reading, an older one of the same process, and the seconds between them.
    pub fn of(older: Option<&Reading>, newest: &Reading, seconds: f64, age_s: f64) -> Row {
        let change = Change { older, newest, seconds };
        let number = |family: &str| newest.total(family).unwrap_or(0.0);
        let whole = |family: &str| number(family).max(0.0) as u64;
        Row {
            seat: newest.seat,
            chain: newest.chain.clone(),
            age_s,
            view: whole("samara_view"),
            height: whole("samara_finalized_height"),
            stored_height: whole("samara_stored_height"),
            blocks_per_s: change.rate("samara_finalized_blocks_total"),
            tps: change.rate("samara_finalized_transactions_total"),
            payload_mbps: change.rate("samara_finalized_payload_bytes_total") / 1e6,
            nullified: whole("samara_nullified_views_total"),
            nullifications: nullifications(newest),
            finality_ms: change.quantiles("samara_block_finality_seconds"),
            view_ms: change.quantiles("samara_view_seconds"),
            transaction_ms: change.quantiles("samara_transaction_latency_seconds"),
            vote_log_ms: change.quantiles("samara_vote_log_sync_seconds"),
            stages_us: change.stages(),
            regimes: change.regimes(),
            drops: change.drops(),
            packets_per_s: change.packets(),
            peers: change.peers(),
            sessions_up: whole("samara_sessions_up"),
            cpus: change.rate("samara_cpu_seconds_total"),
            rss_bytes: whole("samara_resident_memory_bytes"),
            store_bytes: whole("samara_store_bytes"),
            disk_free_bytes: whole("samara_disk_free_bytes"),
            mempool: whole("samara_mempool_transactions"),
            syncing: number("samara_syncing") > 0.0,
            port: port(newest),
            marks: newest.marks,
            final_weight: whole("samara_final_certificate_weight"),
            standings: newest.standings.clone(),
            views: newest.views.clone(),
        }
    }
}

fn port(reading: &Reading) -> String {
    let rung = reading.points("samara_build_info").first().and_then(|info| info.labels.get("port").cloned()).unwrap_or_default();
    let state = reading.points("samara_xdp_link").iter().find(|point| point.value > 0.0).and_then(|point| point.labels.get("state"));
    match state.filter(|state| *state != "up") {
        Some(state) => format!("{rung}, link {state}"),
        None => rung,
    }
}

fn nullifications(reading: &Reading) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut leaders: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for point in reading.points("samara_nullifications_total") {
        if let (Some(leader), Some(reason)) = (point.labels.get("leader"), point.labels.get("reason")) {
            leaders.entry(leader.clone()).or_default().insert(reason.clone(), point.value as u64);
        }
    }
    leaders
}

/// From one reading to another.
struct Change<'a> {
    older: Option<&'a Reading>,
    newest: &'a Reading,
    seconds: f64,
}

impl Change<'_> {
    fn before(&self, family: &str, labels: &BTreeMap<String, String>) -> Option<&Point> {
        self.older?.points(family).iter().find(|point| point.labels == *labels)
    }

    /// Growth per second of a point; zero without an older reading.
    fn growth(&self, family: &str, point: &Point) -> f64 {
        if self.older.is_none() || self.seconds <= 0.0 {
            return 0.0;
        }
        let before = self.before(family, &point.labels).map_or(0.0, |before| before.value);
        (point.value - before).max(0.0) / self.seconds
    }

    fn rate(&self, family: &str) -> f64 {
        self.newest.points(family).iter().map(|point| self.growth(family, point)).sum()
    }

    fn rates_by(&self, family: &str, label: &str) -> BTreeMap<String, f64> {
        let mut rates = BTreeMap::new();
        for point in self.newest.points(family) {
            if let Some(name) = point.labels.get(label) {
                *rates.entry(name.clone()).or_insert(0.0) += self.growth(family, point);
            }
        }
        rates
    }

    fn quantiles(&self, family: &str) -> Quantiles {
        let Some(point) = self.newest.points(family).first() else { return Quantiles::default() };
        let gain = Gain::between(self.before(family, &point.labels), point);
        let ms = |share| gain.quantile(share).map(|seconds| seconds * 1e3);
        Quantiles { p50: ms(0.5), p99: ms(0.99) }
    }

    fn stages(&self) -> BTreeMap<String, f64> {
        let family = "samara_block_stage_seconds";
        let of = |point: &Point| {
            let mean = Gain::between(self.before(family, &point.labels), point).mean()?;
            Some((point.labels.get("stage")?.clone(), mean * 1e6))
        };
        self.newest.points(family).iter().filter_map(of).collect()
    }

    fn regimes(&self) -> BTreeMap<String, BTreeMap<String, f64>> {
        let family = "samara_reactor_seconds_total";
        let mut reactors: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for point in self.newest.points(family) {
            if let (Some(reactor), Some(regime)) = (point.labels.get("reactor"), point.labels.get("regime")) {
                reactors.entry(reactor.clone()).or_default().insert(regime.clone(), self.growth(family, point));
            }
        }
        for shares in reactors.values_mut() {
            let all: f64 = shares.values().sum();
            shares.values_mut().for_each(|share| *share /= all.max(1e-9));
        }
        reactors
    }

    /// What is not zero, the fastest first.
    fn drops(&self) -> Vec<Drop> {
        let mut drops = Vec::new();
        for (family, place) in DROPS {
            for point in self.newest.points(family).iter().filter(|point| point.value > 0.0) {
                let labels: Vec<&str> =
                    ["queue", "class", "reason"].iter().filter_map(|label| point.labels.get(*label)).map(String::as_str).collect();
                drops.push(Drop { reason: format!("{place} {}", labels.join(" ")), total: point.value, per_s: self.growth(family, point) });
            }
        }
        drops.sort_by(|a, b| (b.per_s, b.total).partial_cmp(&(a.per_s, a.total)).unwrap_or(std::cmp::Ordering::Equal));
        drops
    }

    fn packets(&self) -> BTreeMap<String, f64> {
        let family = "samara_port_packets_total";
        let of = |point: &Point| {
            Some((format!("{} {}", point.labels.get("queue")?, point.labels.get("direction")?), self.growth(family, point)))
        };
        self.newest.points(family).iter().filter_map(of).collect()
    }

    fn peers(&self) -> Vec<Peer> {
        let stakes = self.newest.by("samara_peer_stake", "peer");
        let up = self.newest.by("samara_peer_up", "peer");
        let votes = self.rates_by("samara_peer_votes_total", "peer");
        let seats = self.rates_by("samara_peer_seats_served_total", "peer");
        let round_trips = self.newest.by("samara_peer_round_trip_seconds", "peer");
        let expected = self.rates_by("samara_peer_datagrams_expected_total", "peer");
        let arrived = self.rates_by("samara_peer_datagrams_arrived_total", "peer");
        let loss = |name: &String| {
            let (expected, arrived) = (*expected.get(name)?, *arrived.get(name)?);
            // What was under way at the last look may come after it.
            (expected > 0.0).then(|| (1.0 - arrived / expected).max(0.0))
        };
        let of = |(name, stake): (&String, &f64)| {
            Some(Peer {
                peer: name.parse().ok()?,
                stake: *stake as u64,
                up: up.get(name).map(|up| *up > 0.0),
                votes_per_s: votes.get(name).copied().unwrap_or(0.0),
                seats_per_s: seats.get(name).copied().unwrap_or(0.0),
                round_trip_ms: round_trips.get(name).map(|seconds| seconds * 1e3),
                loss: loss(name),
            })
        };
        let mut peers: Vec<Peer> = stakes.iter().filter_map(of).collect();
        peers.sort_by_key(|peer| peer.peer);
        peers
    }
}
