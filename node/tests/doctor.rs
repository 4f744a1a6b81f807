//! `samara doctor` as a process: one document, exit codes, and the same for a user without any privilege.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_samara");
/// The user `nobody`.
const NOBODY: &str = "65534";

fn doctor(args: &[&str]) -> Output {
    Command::new(BINARY).arg("doctor").args(args).output().unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn failed(document: &Value) -> u64 {
    document["summary"]["fail"].as_u64().unwrap()
}

fn check_end(output: &Output) {
    let expected = if failed(&document(output)) == 0 { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn one_document_is_printed_and_the_exit_code_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = doctor(&["--json", "--measure", "50ms", "--disk", dir.path().to_str().unwrap()]);
    check_end(&output);
    let document = document(&output);
    let ids: Vec<&str> = document["findings"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    for id in ["kernel", "io-uring", "bpf", "af-xdp", "disk-sync", "drops-udp"] {
        assert!(ids.contains(&id), "{id} is not among {ids:?}");
    }
}

#[test]
fn what_keeps_samara_from_running_is_exit_one_and_named_in_one_line() {
    let output = doctor(&["--json", "--measure", "10ms", "--disk", "/nonexistent/samara"]);
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("disk-sync"), "{text}");
    assert!(failed(&document(&output)) >= 1);
}

#[test]
fn a_bad_argument_is_one_line_with_what_is_allowed() {
    for args in [&["--interface", "samara-none"][..], &["--core", "3-1"], &["--core", "9999"], &["--measure", "1000s"]] {
        let output = doctor(args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{args:?}: {text}");
        assert!(text.contains("allowed is") && text.contains(args[0]), "{text}");
    }
}

#[test]
fn the_table_is_no_wider_than_a_hundred_columns() {
    let output = doctor(&["--measure", "10ms"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("profile for this host"));
    for line in text.lines().filter(|line| !line.trim_start().starts_with("fix")) {
        assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
    }
}

/// The binary lies where only root may look, so the user gets a copy of it.
#[test]
fn it_works_for_a_user_without_any_privilege() {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let copy = dir.path().join("samara");
    if !Path::new("/usr/bin/setpriv").exists() || !is_root() {
        return println!("skipped: needs root and setpriv to become another user");
    }
    std::fs::copy(BINARY, &copy).unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--bounding-set", "-all", "--inh-caps", "-all"]);
    let output = command.arg(&copy).args(["doctor", "--json", "--measure", "20ms"]).output().unwrap();
    check_end(&output);
    let document = document(&output);
    let finding = |id: &str| document["findings"].as_array().unwrap().iter().find(|it| it["id"] == id).unwrap().clone();
    assert_eq!(finding("capabilities")["severity"], "warn");
    assert_eq!(finding("capabilities")["is"], "missing: NET_ADMIN, NET_RAW, IPC_LOCK, SYS_NICE, PERFMON, BPF");
    assert_eq!(finding("af-xdp")["severity"], "warn", "a socket without CAP_NET_RAW: {}", finding("af-xdp"));
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("CapEff:") && line.ends_with("ffffff"))
        && std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}
