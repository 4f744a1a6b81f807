//! `samara sim` as a user meets it: failing plans become files, files run again, small plans stay failing ones.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_samara")).arg("sim").args(arguments).output().unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("exactly one JSON document")
}

fn one_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    text
}

fn broken(document: &Value) -> Vec<&str> {
    document["violations"].as_array().unwrap().iter().map(|one| one["checker"].as_str().unwrap()).collect()
}

const FAILING: [&str; 6] = ["--scenario", "trap_late", "--seed", "0", "--mutant", "sends_before_sync"];

#[test]
fn a_failing_seed_leaves_a_plan_that_fails_the_same_way_when_it_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().to_str().unwrap();
    let swept = sim(&[&FAILING[..], &["--report", report, "--json"]].concat());
    assert_eq!(swept.status.code(), Some(1), "{}", String::from_utf8_lossy(&swept.stderr));
    let swept = document(&swept);
    assert!(broken(&swept).contains(&"durability"), "{swept}");
    let file = directory.path().join("trap_late-0.plan.json");
    let replayed = sim(&["--replay", file.to_str().unwrap(), "--json"]);
    assert_eq!(replayed.status.code(), Some(1));
    let told = String::from_utf8_lossy(&replayed.stderr).into_owned();
    assert!(told.contains("the same run as when the file was written"), "{told}");
    assert_eq!(document(&replayed)["violations"], swept["violations"]);
}

#[test]
fn a_shrunk_plan_is_smaller_still_fails_and_is_a_list_of_events() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().to_str().unwrap();
    let shrunk = sim(&[&FAILING[..], &["--shrink", "--report", report, "--json"]].concat());
    assert_eq!(shrunk.status.code(), Some(0), "{}", String::from_utf8_lossy(&shrunk.stderr));
    let shrunk = document(&shrunk);
    let events = shrunk["events"].as_array().unwrap();
    assert!(events.iter().any(|line| line.as_str().unwrap().contains("sends All a vote")), "{shrunk}");
    let replayed = sim(&["--replay", shrunk["file"].as_str().unwrap(), "--json"]);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(broken(&document(&replayed)).contains(&"durability"));
}

#[test]
fn a_seed_without_a_bug_has_nothing_to_shrink_and_a_calm_one_exits_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let shrunk = sim(&["--scenario", "trap_repeater", "--seed", "0", "--shrink", "--report", directory.path().to_str().unwrap()]);
    assert_eq!(shrunk.status.code(), Some(1));
    assert!(one_line(&shrunk).contains("nothing to make smaller"));
    let swept = sim(&["--scenario", "trap_repeater", "--seed", "0", "--json"]);
    assert_eq!((swept.status.code(), document(&swept)["violations"].as_array().unwrap().len()), (Some(0), 0));
    assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none(), "no file about nothing");
}

#[test]
fn bad_arguments_and_files_are_one_line_and_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_string()
    };
    let no_plan = file("no.json", b"{}");
    let cut = file("inputs.cut", b"SAMINP01\x99\x00\x00\x00");
    let binary = file("binary", &[0xff; 100]);
    let missing = Path::new("/nonexistent/plan").to_str().unwrap();
    for replay in [no_plan.as_str(), &cut, &binary, missing] {
        let output = sim(&["--replay", replay]);
        assert_eq!(output.status.code(), Some(2), "{replay}");
        assert!(one_line(&output).contains("--replay"), "{replay}");
    }
    assert!(one_line(&sim(&["--shrink", "--seeds", "3"])).contains("--shrink: allowed is with --seed N"));
    let past_the_end = ["--first", "18446744073709551615", "--seeds", "2"];
    for arguments in
        [&["--scenario", "nowhere"][..], &["--mutant", "none_such"], &["--scenario", "exhaustive", "--mutant", "none_such"], &past_the_end]
    {
        let output = sim(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(one_line(&output).contains(arguments.last().unwrap()), "{arguments:?}");
    }
}

#[test]
fn what_a_run_would_not_look_at_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().to_str().unwrap();
    sim(&[&FAILING[..], &["--report", report, "--json"]].concat());
    let plan = directory.path().join("trap_late-0.plan.json");
    let plan = plan.to_str().unwrap();
    let cases = [
        ("--views 2", "--views: allowed with --scenario swarm is"),
        ("--views 2 --scenario swarm", "--views: allowed with --scenario swarm is --seed, --seeds"),
        ("--validators-max 6", "--validators-max: allowed with --scenario swarm is"),
        ("--scenario wan --validators-max 6", "--validators-max: allowed with --scenario wan is --seed, --report, --json"),
        ("--scenario scale --seeds 3", "--seeds: allowed with --scenario scale is --seed, --validators-max, --report, --json"),
        ("--scenario scale --first 3", "--first: allowed with --scenario scale"),
        ("--scenario scale --mutant sends_before_sync", "--mutant: allowed with --scenario scale"),
        ("--scenario wan --seed 1 --shrink", "--shrink: allowed with --scenario wan"),
        ("--scenario wan --threads 2", "--threads: allowed with --scenario wan"),
        ("--scenario exhaustive --report x", "--report: allowed with --scenario exhaustive is --views, --mutant, --json"),
        ("--scenario list --json", "--json: allowed with --scenario list is nothing else"),
        ("--seed 1 --shrink --threads 2", "--threads"),
        ("--mutants --report x", "--report"),
        ("--mutants --views 2", "--views"),
        ("--mutants --validators-max 6", "--validators-max"),
        ("--replay PLAN --dir x", "--dir = x: allowed is with the inputs of a validator"),
        ("--replay PLAN --views 2", "--views"),
        ("--replay PLAN --validators-max 6", "--validators-max"),
        ("--replay PLAN --report x", "--report"),
        ("--replay PLAN --threads 2", "--threads"),
        ("--replay PLAN --shrink", "--shrink"),
        ("--dir x", "--replay"),
    ];
    for (arguments, expected) in cases {
        let words: Vec<&str> = arguments.split(' ').map(|word| if word == "PLAN" { plan } else { word }).collect();
        let output = sim(&words);
        let line = one_line(&output);
        assert!(output.status.code() == Some(2) && line.contains(expected), "{arguments}: {line}");
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}

#[test]
fn a_verdict_is_given_where_no_plan_can_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = sim(&["--scenario", "beyond", "--seeds", "1", "--json", "--report", file.join("x").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!document(&output)["violations"].as_array().unwrap().is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("its plan is not kept"));
}

#[test]
fn two_views_are_explored_whole_and_a_planted_bug_is_found_there() {
    let explored = sim(&["--scenario", "exhaustive", "--views", "2", "--json"]);
    assert_eq!(explored.status.code(), Some(0), "{}", String::from_utf8_lossy(&explored.stderr));
    let rows = document(&explored);
    let rows = rows["exhaustive"].as_array().unwrap();
    assert!(rows.len() == 10 && rows.iter().all(|row| row["complete"] == true && row["states"].as_u64().unwrap() > 1), "{rows:?}");
    let planted = sim(&["--scenario", "exhaustive", "--views", "1", "--mutant", "timeout_after_vote"]);
    assert_eq!(planted.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&planted.stderr).contains("X2"));
}
