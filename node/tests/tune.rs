//! `samara tune` as a process: what its exit codes say to a script.

#[path = "../../tuning/tests/support/mod.rs"]
mod recorded;

use recorded::{Tree, snapshot};
use serde_json::Value;
use std::process::{Command, Output};

const RMEM: &str = "/proc/sys/net/core/rmem_max";

struct Host {
    tree: Tree,
    _dir: tempfile::TempDir,
}

impl Host {
    fn mlx5() -> Host {
        let dir = tempfile::tempdir().unwrap();
        Host { tree: Tree::mlx5(dir.path()), _dir: dir }
    }

    fn tune(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
        command.arg("tune").args(arguments.split_whitespace()).arg("--root").arg(&self.tree.root).output().unwrap()
    }

    fn ends(&self, arguments: &str, code: i32) -> String {
        let output = self.tune(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "tune {arguments}: {text}");
        text
    }
}

#[test]
fn drift_ends_with_one_and_is_named() {
    let host = Host::mlx5();
    host.ends("apply --profile latency --interface enp3s0 --hot-cpus 4-11", 0);
    host.ends("check", 0);
    host.tree.file(RMEM, "4096\n");
    let text = host.ends("check", 1);
    assert!(text.starts_with("samara: 1 of ") && text.ends_with(" values drifted: /proc/sys/net/core/rmem_max\n"), "{text}");
    let document: Value = serde_json::from_slice(&host.tune("check --json").stdout).unwrap();
    let drift = &document["drift"][0];
    assert_eq!(
        (drift["target"].as_str(), drift["expected"].as_str(), drift["found"].as_str()),
        (Some(RMEM), Some("134217728"), Some("4096"))
    );
}

#[test]
fn without_an_apply_a_profile_is_compared() {
    let host = Host::mlx5();
    assert!(host.ends("check", 2).contains("--profile is missing: allowed is latency"));
    assert!(host.ends("check --profile laptop", 1).contains("values drifted"));
    host.tree
        .file(RMEM, "999999999\n")
        .file("/proc/sys/net/core/netdev_max_backlog", "99999\n")
        .file("/proc/sys/vm/max_map_count", "999999\n");
    host.tree.file("/ethtool/lo/features", "tx-udp-segmentation off\nrx-gro on\n");
    host.ends("check --profile laptop", 0);
}

#[test]
fn what_somebody_else_set_ends_a_revert_with_one_until_it_is_forced() {
    let host = Host::mlx5();
    let before = snapshot(&host.tree.root);
    host.ends("apply --profile latency --interface enp3s0 --hot-cpus 4-11", 0);
    host.tree.file(RMEM, "777\n");
    assert!(host.ends("revert", 1).contains("1 values are not as before: /proc/sys/net/core/rmem_max"));
    host.ends("revert --force", 0);
    assert_eq!(snapshot(&host.tree.root), before);
}

#[test]
fn a_step_that_is_refused_ends_with_one_and_bad_arguments_with_two() {
    let host = Host::mlx5();
    let before = snapshot(&host.tree.root);
    let profile = host.tree.root.join("var/own.toml");
    std::fs::create_dir_all(profile.parent().unwrap()).unwrap();
    let setting = "[[setting]]\nname = \"ring\"\nnic = \"ring:rx\"\nvalue = 3000\nreason = \"r\"\nsource = \"s\"\n";
    std::fs::write(&profile, format!("summary = \"s\"\n{setting}")).unwrap();
    let text = host.ends(&format!("apply --profile-file {} --interface enp3s0", profile.display()), 1);
    assert!(text.contains("ring: ") && text.contains("put back"), "{text}");
    assert_eq!(snapshot(&host.tree.root), before);
    for (arguments, names) in [
        ("apply --profile fast", "--profile = fast: allowed is latency, throughput, laptop, virtual"),
        ("apply --profile latency --interface eth9", "--interface = eth9: allowed is"),
        ("apply --profile latency --hot-cpus 4-99", "--hot-cpus = 4-99: allowed is a list such as 2-5 within 0-15"),
    ] {
        let text = host.ends(arguments, 2);
        assert!(text.contains(names) && text.lines().count() == 1, "{text}");
    }
    assert_eq!(snapshot(&host.tree.root), before);
}
