use super::*;
use crate::load::outcome::Door;
use std::time::Duration;

fn report() -> Report {
    let mut snapshot = NodeSnapshot { finalized_blocks: 10, pairing_checks: 21, nullified_views: 1, ..NodeSnapshot::default() };
    (1..=100).for_each(|value| snapshot.block_finality_us.record(value * 100));
    snapshot.stage_us.entry("vote_log".into()).or_default().record(700);
    snapshot.stage_ns.insert("decode".into(), 500_000_000);
    let mut outcome = Outcome { offered: 101, accepted: 100, finalized: 100, ..Outcome::default() };
    outcome.rejected.insert("mempool_full", 1);
    let mut door = Door::default();
    (door.height, door.gap_max) = (9, Duration::from_millis(120));
    outcome.doors = vec![door; 2];
    (1..=100).for_each(|value| outcome.latency_us.record(value * 1000));
    let findings = Findings { tips: vec![10, 8], blocks: 10, transactions: 100, payload_bytes: 51_200, ..Findings::default() };
    Report {
        chain: "ab".into(),
        transport: "udp",
        offered: (50, 512),
        duration_s: 2.0,
        answered_s: 2.0,
        start_height: 0,
        findings,
        outcome,
        snapshots: vec![Some(snapshot), None],
        usage: vec![MemberUse { cpu_s: 1.5, rss_mib: 80.0, rss_max_mib: 90.0, killed: 0 }; 2],
        rss_kib: Distribution::default(),
        failed: vec![],
        logs: vec![],
        git_commit: "unknown".into(),
    }
}

#[test]
fn the_document_has_every_key_of_the_contract() {
    let json = report().json();
    let keys = "validators duration_s transport finalized_blocks finalized_txs finalized_bytes agreement duplicates lost_acknowledged \
                view_ms block_finality_ms tx_latency_ms tps payload_mbps nullified_views cpu_s rss_mb stage_us git_commit";
    for key in keys.split_whitespace() {
        assert!(!json[key].is_null(), "{key}");
    }
    for key in ["view_ms", "block_finality_ms", "tx_latency_ms", "rss_mb"] {
        for percentile in ["p50", "p90", "p99", "p999", "max", "count"] {
            assert!(json[key][percentile].is_number(), "{key}.{percentile}");
        }
    }
    assert_eq!((json["agreement"].clone(), json["tps"].clone()), (true.into(), 50.0.into()));
    assert_eq!(json["stage_us"]["vote_log"]["count"], 1);
    assert_eq!(json["stage_cpu_s"]["decode"], 0.5);
    assert_eq!(json["per_validator"][0]["pairing_checks_per_block"], 2.1);
    assert_eq!((&json["per_validator"][1]["behind"], &json["per_validator"][1]["liveness_gap_ms"]), (&2.into(), &120.0.into()));
}

#[test]
fn the_report_directory_holds_document_table_histograms_and_plots() {
    let directory = tempfile::tempdir().unwrap();
    report().write(directory.path()).unwrap();
    for name in ["report.json", "report.txt", "tx_latency.hgrm", "block_finality.hgrm", "view.hgrm", "latency.svg", "stages.svg"] {
        assert!(directory.path().join(name).metadata().unwrap().len() > 0, "{name}");
    }
    let text = std::fs::read_to_string(directory.path().join("report.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["rejected"]["mempool_full"], 1);
    assert!(report().table().contains("offered 101 = final 100 + rejected 1 + unanswered 0"));
}

#[test]
fn hgrm_rows_rise_to_the_maximum_and_the_total_count() {
    let mut distribution = Distribution::default();
    (1..=1000).for_each(|value| distribution.record(value * 1000));
    let text = hgrm(&distribution, 1000.0);
    let rows: Vec<Vec<f64>> = text
        .lines()
        .skip(2)
        .take_while(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
        .collect();
    assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2]));
    let last = rows.last().unwrap();
    assert!((last[0] - 1000.0).abs() < 1.0 && last[1] == 1.0 && last[2] == 1000.0 && last.len() == 3, "{last:?}");
    let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
    assert!((median[0] - 500.0).abs() < 1.0, "{median:?}");
    assert!(hgrm(&Distribution::default(), 1.0).contains("Total count    =            0"));
}
