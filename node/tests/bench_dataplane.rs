//! `samara bench dataplane` for real: every row is there, and whatever way the command ends, SIGKILL included, no network namespace, no interface,
//! no process and no XDP program of it is left.

mod holdings;

use holdings::{Holdings, PATIENCE, can_have_namespaces, is_root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn bench(arguments: &[&str], report: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
    command.args(["bench", "dataplane"]).args(arguments).arg("--report").arg(report).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the command to its end while noting what it holds.
fn run(arguments: &[&str], report: &Path) -> (Value, String, Holdings) {
    let mut child = bench(arguments, report).spawn().unwrap();
    let reader = |pipe: &mut dyn std::io::Read| {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    };
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (out, err) = (std::thread::spawn(move || reader(&mut out)), std::thread::spawn(move || reader(&mut err)));
    let mut held = Holdings::default();
    let status = loop {
        held.merge(Holdings::of(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    assert!(status.success(), "{status}: {err}");
    (serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}")), err, held)
}

/// Rows by (rung, case), each checked for its keys and for having a figure.
fn rows(document: &Value) -> BTreeMap<(String, String), Value> {
    let mut found = BTreeMap::new();
    for row in document["rows"].as_array().expect("rows") {
        for key in ["rung", "case", "p50_ns", "p99_ns", "p999_ns", "mpps", "gbps", "rival", "ratio"] {
            assert!(row.get(key).is_some(), "{key} of {row}");
        }
        let case = row["case"].as_str().unwrap();
        assert!(row["count"].as_u64().unwrap() > 0, "{row}");
        if case.starts_with("rate_") {
            assert!(row["mpps"].as_f64().unwrap() > 0.0 && row["gbps"].as_f64().unwrap() > 0.0, "{row}");
        } else {
            let [p50, p99, p999] = ["p50_ns", "p99_ns", "p999_ns"].map(|key| row[key].as_u64().unwrap());
            assert!(0 < p50 && p50 <= p99 && p99 <= p999, "{row}");
        }
        found.insert((row["rung"].as_str().unwrap().to_string(), case.to_string()), row.clone());
    }
    found
}

#[test]
fn every_case_of_every_rung_gives_a_row_and_nothing_stays_behind() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let (document, notes, held) = run(&["--smoke", "--json"], &report);
    eprint!("{notes}");
    let rows = rows(&document);
    let measured: BTreeSet<&str> = rows.keys().map(|(rung, _)| rung.as_str()).collect();
    let skipped: BTreeSet<&str> = document["skipped"].as_array().unwrap().iter().map(|skipped| skipped["rung"].as_str().unwrap()).collect();
    let all = BTreeSet::from(["xdp-native", "xdp-skb", "uring", "udp", "tokio", "blocking"]);
    assert_eq!(measured.union(&skipped).copied().collect::<BTreeSet<_>>(), all, "each is measured or named with the reason");
    assert!(["udp", "tokio", "blocking"].iter().all(|rung| measured.contains(rung)), "{measured:?}");
    for rung in &measured {
        let mut cases = vec!["rtt_64_raw", "rtt_64_session", "rate_64_raw", "rate_64_session", "rate_1200_raw", "rate_1400_session"];
        cases.extend(["load_10", "load_50", "load_90", "wakeup"]);
        if !["tokio", "blocking"].contains(rung) {
            cases.extend(["rtt_64_reactor", "fanout_5", "fanout_15", "fanout_63"]);
        }
        for case in cases {
            let row = rows.get(&(rung.to_string(), case.to_string())).unwrap_or_else(|| panic!("{rung} {case} is missing"));
            assert!(row["rival"].is_string() && row["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0) || *rung == "udp", "{row}");
            assert!(case.starts_with("rate_") || report.join(format!("{rung}-{case}.hgrm")).is_file(), "{rung} {case}");
        }
    }
    assert!(report.join("rtt_64_raw.svg").is_file() && report.join("report.txt").is_file() && report.join("report.json").is_file());
    assert!(document["host"]["kernel"].is_string());
    if document["host"]["network"] == "veth" {
        assert!(held.namespaces.len() >= 2, "two namespaces were seen: {held:?}");
    }
    held.assert_gone();
}

/// Starts a long run of `rung` and waits until it measures: both namespaces are there, and a program for an XDP rung.
fn started(rung: &str, report: &Path) -> Option<(Child, Holdings)> {
    let mut child = bench(&["--rungs", rung, "--cases", "rtt_64_raw", "--time", "60s"], report).spawn().unwrap();
    let began = Instant::now();
    let mut held = Holdings::default();
    while held.namespaces.len() < 2 || (rung.starts_with("xdp") && held.programs.is_empty()) {
        if let Some(status) = child.try_wait().unwrap() {
            // The one allowed end: this host cannot have the rung, and the command said so.
            assert_eq!(status.code(), Some(3), "{rung}");
            return None;
        }
        assert!(began.elapsed() < PATIENCE, "{rung} holds {held:?}");
        held.merge(Holdings::of(child.id()));
    }
    Some((child, held))
}

#[test]
fn after_a_kill_and_after_an_interrupt_nothing_is_left() {
    if !can_have_namespaces() {
        return;
    }
    for (rung, signal) in [("udp", libc::SIGKILL), ("xdp-native", libc::SIGKILL), ("xdp-skb", libc::SIGINT)] {
        let directory = tempfile::tempdir().unwrap();
        let report = directory.path().join("report");
        let Some((mut child, held)) = started(rung, &report) else {
            eprintln!("skipped: this host has no {rung}");
            continue;
        };
        assert!(!held.left().is_empty(), "what it holds can be seen");
        // SAFETY: a signal to our own child, which is not reaped yet.
        unsafe { libc::kill(child.id() as i32, signal) };
        assert!(!child.wait().unwrap().success());
        held.assert_gone();
        assert!(!report.exists(), "no directory about nothing");
    }
}

#[test]
fn without_privileges_an_xdp_rung_is_refused_in_one_line_and_the_rest_runs_on_loopback() {
    if !is_root() {
        return eprintln!("skipped: root alone can become somebody else");
    }
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    open(directory.path());
    let binary = directory.path().join("samara");
    std::fs::copy(env!("CARGO_BIN_EXE_samara"), &binary).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        let report = directory.path().join("report");
        command.args(["bench", "dataplane", "--smoke", "--json", "--report"]).arg(report).args(arguments).output().unwrap()
    };
    let refused = as_nobody(&["--rungs", "udp,xdp-native"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(3), 1), "{said}");
    assert!(said.contains("CAP_SYS_ADMIN") && refused.stdout.is_empty(), "{said}");
    let measured = as_nobody(&["--cases", "rtt_64_raw,fanout_5"]);
    assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
    let document: Value = serde_json::from_slice(&measured.stdout).unwrap();
    assert_eq!(document["host"]["network"], "loopback");
    let rows = rows(&document);
    assert!(rows.contains_key(&("udp".into(), "rtt_64_raw".into())) && rows.contains_key(&("udp".into(), "fanout_5".into())));
    let skipped: Vec<_> = document["skipped"].as_array().unwrap().iter().map(|skipped| skipped["rung"].as_str().unwrap()).collect();
    assert!(skipped.contains(&"xdp-native") && skipped.contains(&"xdp-skb"), "{skipped:?}");
}

#[test]
fn a_wrong_name_is_refused_with_what_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, expected) in
        [(["--rungs", "pigeon"], "xdp-native"), (["--cases", "rtt_65_raw"], "rtt_64_raw"), (["--floor", "/nowhere"], "xdp.c")]
    {
        if arguments[0] == "--floor" && !can_have_namespaces() {
            continue;
        }
        let output = bench(&arguments, directory.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(last.contains(arguments[1]) && last.contains(expected), "{said}");
    }
}

#[test]
fn what_would_measure_nothing_is_refused_before_anything_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let (report, file) = (directory.path().join("report"), directory.path().join("file"));
    std::fs::write(&file, "").unwrap();
    let cases: [(&[&str], &Path, &str); 8] = [
        (
            &["--rungs", "tokio", "--cases", "rtt_64_reactor"],
            &report,
            "--cases = rtt_64_reactor: allowed is with --rungs tokio: rtt_64_raw",
        ),
        (&["--rungs", "udp,tokio", "--cases", "fanout_5"], &report, "--cases = fanout_5: allowed is with --rungs tokio: rtt_64_raw"),
        (
            &["--rungs", "tokio", "--cases", "rtt_64_raw,rate_64_raw_gso"],
            &report,
            "--rungs = tokio: allowed is with --cases rate_64_raw_gso: uring, udp",
        ),
        (&["--time", "0s"], &report, "--time = 0s: allowed is 10ms to 10m"),
        (&["--time", "9ms"], &report, "--time = 9ms: allowed is 10ms to 10m"),
        (&["--time", "601s"], &report, "--time = 601s: allowed is 10ms to 10m"),
        (&["--rounds", "0"], &report, "--rounds = 0: allowed is 1..=1000"),
        (&["--rungs", "udp", "--cases", "rtt_64_raw"], &file, "a directory that can be made"),
    ];
    for (arguments, report, expected) in cases {
        let output = bench(arguments, report).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert!(!report.exists());
    let (document, ..) = run(&["--rungs", "blocking", "--cases", "rtt_64_raw", "--time", "10ms", "--rounds", "1", "--json"], &report);
    assert_eq!(rows(&document).len(), 1, "the shortest time gives a figure");
}
