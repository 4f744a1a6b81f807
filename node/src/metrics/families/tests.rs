use super::*;
use crate::metrics::exposition::{Scrape, classic, openmetrics};
use crate::metrics::sample::{Kind, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A picture in which every map has an entry whose label needs escaping.
fn picture() -> Picture {
    let mut metrics = Metrics::default();
    let odd = "a\"b\\c\nd".to_string();
    metrics.node.marks.total = 6;
    metrics.node.port = odd.clone();
    metrics.node.drops.insert(odd.clone(), 1);
    metrics.node.stage_us.entry(odd.clone()).or_default().record(3);
    metrics.node.stage_ns.insert(odd.clone(), 1);
    metrics.node.nullifications.push(crate::bridge::Nullifications { leader: 1, reason: "incomplete".into(), count: 4 });
    metrics.node.peers.push(crate::bridge::PeerRow { peer: 1, stake: 1, round_trip_us: Some(5), ..Default::default() });
    let service = &mut metrics.service;
    for reasons in [
        &mut service.connections_refused,
        &mut service.rejected,
        &mut service.gossip_dropped,
        &mut service.sync_server_refused,
        &mut service.sync_peer_faults,
    ] {
        reasons.insert(odd.clone(), 2);
    }
    let host = crate::metrics::picture::Host { udp: vec![("InErrors", 1)], ..Default::default() };
    let tuning = Some(crate::metrics::picture::Tuning { values: 9, drifted: 2 });
    let mut hot = samara_dataplane::counters::HotSnapshot::default();
    hot.xdp_link[0] = 1;
    Picture { metrics: Some(Arc::new(metrics)), hot, host, tuning, ..Picture::default() }
}

#[test]
fn names_follow_the_rules_and_stand_once() {
    let mut seen = BTreeSet::new();
    for family in all() {
        let name = family.name;
        assert!(seen.insert(name), "{name} twice");
        assert!(name.starts_with("samara_") && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert!(
            !["_total", "_bucket", "_sum", "_count"].iter().any(|suffix| name.ends_with(suffix)),
            "{name}: the exposition adds suffixes"
        );
        assert!(
            !["_ms", "_us", "_ns", "_milliseconds", "_kib", "_mb"].iter().any(|suffix| name.ends_with(suffix)),
            "{name}: base units only"
        );
        assert!(family.kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
        assert!(family.help.ends_with('.') && !family.help.contains(['|', '\n']), "{name}: {}", family.help);
        assert!(!family.labels.contains(&"le"), "{name}");
    }
}

#[test]
fn every_family_has_a_sample_in_a_full_picture_and_none_before_the_first_figures_invents_one() {
    let full = picture();
    for family in all() {
        assert!(!family.samples(&full).is_empty(), "{} shows nothing", family.name);
    }
    let empty = Picture::default();
    let view = all().find(|family| family.name == "samara_view").unwrap();
    assert!(view.samples(&empty).is_empty(), "absent, not zero");
}

#[test]
fn both_texts_hold_every_family_once_with_its_series() {
    let text = classic(Scrape::of(&picture()));
    let open = openmetrics(Scrape::of(&picture()));
    for family in all() {
        assert_eq!(text.matches(&format!("# TYPE {} {}\n", family.exposed(), family.kind.as_str())).count(), 1, "{}", family.name);
        assert_eq!(open.matches(&format!("# TYPE {} {}\n", family.name, family.kind.as_str())).count(), 1, "{}", family.name);
        let series = if family.kind == Kind::Histogram { format!("\n{}_bucket{{", family.name) } else { format!("\n{}", family.exposed()) };
        assert!(text.contains(&series), "{}", family.name);
    }
    assert!(!text.contains("EOF") && open.ends_with("# EOF\n"));
    assert!(text.contains("reason=\"a\\\"b\\\\c\\nd\""), "labels are escaped");
    assert!(text.contains("samara_nullifications_total{leader=\"1\",reason=\"incomplete\"} 4"));
}

#[test]
fn histograms_in_text_are_cumulative_and_end_in_all() {
    let mut full = picture();
    let mut metrics = Metrics::clone(full.metrics.as_ref().unwrap());
    [1_500, 1_500, 40_000, 90_000_000].into_iter().for_each(|us| metrics.node.view_us.record(us));
    full.metrics = Some(Arc::new(metrics));
    let text = classic(Scrape::of(&full));
    for line in ["{le=\"0.001\"} 0", "{le=\"0.002\"} 2", "{le=\"0.05\"} 3", "{le=\"10.0\"} 3", "{le=\"+Inf\"} 4"] {
        assert!(text.contains(&format!("samara_view_seconds_bucket{line}\n")), "{line}: {text}");
    }
    assert!(text.contains("samara_view_seconds_count 4\n"));
}

/// Every figure of its own value: which field a family without labels shows is seen by the number it shows.
#[test]
fn each_plain_family_shows_the_field_it_is_named_for() {
    let mut document = serde_json::to_value(Metrics::default()).unwrap();
    let mut fields = std::collections::BTreeMap::new();
    for room in ["", "/dissemination", "/service", "/process"] {
        for (name, value) in document.pointer_mut(room).unwrap().as_object_mut().unwrap().iter_mut().filter(|(_, value)| value.is_u64()) {
            let number = 1_001 + fields.len() as u64;
            *value = number.into();
            fields.insert(number, format!("{room}/{name}"));
        }
    }
    document["marks"]["total"] = 6.into();
    let metrics: Metrics = serde_json::from_value(document).unwrap();
    let picture = Picture { metrics: Some(Arc::new(metrics)), ..Picture::default() };
    let shown = |family: &Family| match family.samples(&picture).first().map(|sample| sample.value.clone()) {
        // A whole number, or microseconds as seconds.
        Some(Value::Number(number)) if family.labels.is_empty() => {
            fields.get(&(number.round() as u64)).or_else(|| fields.get(&((number * 1e6).round() as u64))).cloned()
        }
        _ => None,
    };
    let found: Vec<(&str, String)> = all().filter_map(|family| Some((family.name, shown(family)?))).collect();
    let found: Vec<(&str, &str)> = found.iter().map(|(name, field)| (*name, field.as_str())).collect();
    assert_eq!(found, FIELDS);
}

/// Families without labels, and where their figure stands in metrics.json.
const FIELDS: &[(&str, &str)] = &[
    ("samara_view", "/view"),
    ("samara_finalized_height", "/finalized_height"),
    ("samara_finalized_view", "/finalized_view"),
    ("samara_stored_height", "/stored_height"),
    ("samara_finalized_blocks", "/finalized_blocks"),
    ("samara_finalized_transactions", "/finalized_txs"),
    ("samara_finalized_payload_bytes", "/finalized_bytes"),
    ("samara_proposed_blocks", "/proposed_blocks"),
    ("samara_nullified_views", "/nullified_views"),
    ("samara_votes_received", "/votes_received"),
    ("samara_certificates_received", "/certificates_received"),
    ("samara_vote_records_durable", "/records_durable"),
    ("samara_pairing_checks", "/pairing_checks"),
    ("samara_evidence", "/evidence"),
    ("samara_final_certificate_weight", "/final_weight"),
    ("samara_finality_gap_max_seconds", "/finalized_gap_max_us"),
    ("samara_mempool_transactions", "/mempool_txs"),
    ("samara_mempool_bytes", "/mempool_bytes"),
    ("samara_reassembly_bytes", "/dissemination/bytes_held"),
    ("samara_reassembly_views", "/dissemination/views_held"),
    ("samara_sessions_up", "/sessions_up"),
    ("samara_client_connections", "/service/connections"),
    ("samara_client_connections_opened", "/service/connections_opened"),
    ("samara_client_submissions", "/service/submissions"),
    ("samara_client_accepted", "/service/accepted"),
    ("samara_client_finalized", "/service/finalized_answers"),
    ("samara_client_resubmissions", "/service/resubmissions"),
    ("samara_client_waiting_transactions", "/service/waiting"),
    ("samara_client_verify_batches", "/service/verify_batches"),
    ("samara_gossip_payloads", "/service/gossip_payloads"),
    ("samara_gossip_transactions", "/service/gossip_transactions"),
    ("samara_store_commits", "/service/commits"),
    ("samara_store_blocks", "/service/blocks_stored"),
    ("samara_synced_blocks", "/synced_blocks"),
    ("samara_sync_fetched_blocks", "/service/sync_fetched_blocks"),
    ("samara_sync_fetched_bytes", "/service/sync_fetched_bytes"),
    ("samara_sync_served_blocks", "/service/sync_served_blocks"),
    ("samara_sync_served_bytes", "/service/sync_served_bytes"),
    ("samara_resident_memory_bytes", "/process/rss_bytes"),
    ("samara_resident_memory_peak_bytes", "/process/rss_peak_bytes"),
];
