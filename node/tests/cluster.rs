//! Whole clusters through `samara localnet`: every transport, f of eleven killed, one killed and back. Judged by the JSON document.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One cluster at a time: a second one would only take the first one's cores.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a localnet and checks what every run must show. How long a busy host made anybody wait is not judged here, so `liveness` checks,
/// which measure time, may fail.
fn localnet(more: &[&str], blocks_min: u64) -> Value {
    localnet_with(&[], more, blocks_min).0
}

/// The same with these variables set; returns the log of validator 0 too.
fn localnet_with(environment: &[(&str, &str)], more: &[&str], blocks_min: u64) -> (Value, String) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let (data, report) = (directory.path().join("data"), directory.path().join("report"));
    let output = command(&data, &report, more).envs(environment.iter().copied()).output().unwrap();
    let json = judged(&output, more, blocks_min);
    (json, std::fs::read_to_string(data.join("validator-0/log")).unwrap())
}

fn command(data: &Path, report: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
    command.args(["localnet", "--tps", "300", "--tx-size", "512", "--json", "--dir"]).arg(data).arg("--report").arg(report).args(more);
    command
}

/// The document, after checking what every run must show.
fn judged(output: &Output, more: &[&str], blocks_min: u64) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{more:?}: {error}: {said}"));
    let failed: Vec<&str> = json["failed_checks"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(failed.iter().all(|check| check.starts_with("liveness: ")), "{more:?}: {failed:?}");
    assert_eq!(json["agreement"], true, "{more:?}");
    for key in ["lost_acknowledged", "duplicates", "misplaced_acknowledged", "unanswered"] {
        assert_eq!(json[key], 0, "{more:?}: {key}");
    }
    assert_eq!(json["rejected"], serde_json::json!({}), "{more:?}");
    assert!(number(&json, "offered") > 0, "{more:?}");
    assert_eq!(json["finalized_txs"], json["offered"], "{more:?}: everything offered is final, once");
    let blocks = number(&json, "finalized_blocks");
    assert!(blocks > blocks_min, "{more:?}: {blocks} blocks, more than {blocks_min} were expected: {json}");
    json
}

fn number(json: &Value, key: &str) -> u64 {
    json[key].as_u64().unwrap_or_else(|| panic!("{key} in {json}"))
}

fn validators(json: &Value) -> impl Iterator<Item = &Value> {
    json["per_validator"].as_array().unwrap().iter()
}

#[test]
fn six_validators_finalize_all_they_are_offered_on_either_socket_transport() {
    for transport in ["uring", "udp"] {
        let json = localnet(&["--validators", "6", "--duration", "6s", "--transport", transport], 40);
        assert_eq!(json["transport"], transport);
        for validator in validators(&json) {
            let port = validator["port"].as_str().unwrap();
            assert!(port.starts_with(transport), "a forced transport is not replaced by another: {port}");
            assert!(number(validator, "proposed_blocks") > 0 && number(validator, "evidence") == 0, "{validator}");
        }
    }
}

#[test]
fn six_validators_whose_shreds_leave_through_send_shards_agree() {
    let more = ["--validators", "6", "--duration", "6s", "--transport", "uring"];
    let (json, log) = localnet_with(&[("SAMARA_REACTOR__SHARDS", "2")], &more, 40);
    assert_eq!(log.matches("send shard").count(), 2, "{log}");
    assert!(number(&json, "nullified_views") < number(&json, "finalized_blocks"), "shreds arrive: {json}");
}

#[test]
fn a_second_localnet_on_a_directory_is_refused_and_harms_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let (data, report, none) = (directory.path().join("data"), directory.path().join("report"), directory.path().join("none"));
    let more = ["--validators", "6", "--duration", "6s", "--transport", "udp"];
    let first = command(&data, &report, &more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    // Written by a validator that runs.
    while !data.join("validator-5/metrics.json").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the first one does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = command(&data, &none, &["--duration", "1s", "--transport", "udp"]).output().unwrap();
    let line = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!((second.status.code(), line.lines().count()), (Some(2), 1), "{line}");
    assert!(line.contains("--dir") && line.contains(&format!("in use by another localnet (pid {})", first.id())), "{line}");
    assert!(data.join("validator-5/metrics.json").exists() && !none.exists());
    judged(&first.wait_with_output().unwrap(), &more, 40);
    let third = command(&data, &report, &["--duration", "1s", "--transport", "udp"]).output().unwrap();
    judged(&third, &["the directory is free again"], 0);
}

#[test]
fn eleven_validators_go_on_with_two_killed() {
    let json = localnet(&["--validators", "11", "--duration", "7s", "--kill", "3@2s", "--kill", "7@3s"], 20);
    let [survivors, killed]: [Vec<&Value>; 2] = [0, 1].map(|kills| validators(&json).filter(|row| row["killed"] == kills).collect());
    assert_eq!(killed.iter().map(|row| number(row, "index")).collect::<Vec<_>>(), [3, 7]);
    let lead = |row: &&Value| number(row, "height_when_load_ended").saturating_sub(number(killed[1], "tip"));
    assert!(survivors.iter().all(|row| lead(row) > 0), "nobody went on without the killed ones: {json}");
}

#[test]
fn a_killed_validator_comes_back_to_the_tip_by_fetching_what_it_missed() {
    let json = localnet(&["--validators", "6", "--duration", "14s", "--kill", "2@2s", "--restart", "2@8s"], 60);
    let returned = validators(&json).nth(2).unwrap();
    assert_eq!(number(returned, "killed"), 1);
    assert!(number(returned, "synced_blocks") > 0, "it took part again without fetching: {returned}");
    assert!(returned["caught_up_ms"].is_number(), "{returned}");
    assert!(number(returned, "proposed_blocks") > 0, "it leads again: {returned}");
}

#[test]
fn six_validators_in_namespaces_agree_over_af_xdp_and_one_killed_comes_back() {
    // SAFETY: reads an id.
    let root = unsafe { libc::geteuid() == 0 };
    if !root || !Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: network namespaces need root with CAP_SYS_ADMIN");
        return;
    }
    let json = localnet(&["--validators", "6", "--duration", "10s", "--transport", "xdp", "--kill", "2@2s", "--restart", "2@5s"], 40);
    assert_eq!(json["transport"], "xdp");
    for validator in validators(&json) {
        let port = validator["port"].as_str().unwrap();
        assert!(port.starts_with("xdp-"), "a forced transport is not replaced by another: {port}");
        assert!(number(validator, "proposed_blocks") > 0 && number(validator, "evidence") == 0, "{validator}");
    }
    assert!(validators(&json).nth(2).unwrap()["caught_up_ms"].is_number(), "{json}");
}
