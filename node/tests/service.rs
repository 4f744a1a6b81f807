//! What an operator installs: the package, its unit, and validators under the unit's filter.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SAMARA: &str = env!("CARGO_BIN_EXE_samara");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn unit() -> PathBuf {
    root().join("ops/systemd/samara.service")
}

/// The output of a command that must succeed; None, with a line that says so, if this host lacks the program.
fn tool(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => {
            let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            if output.status.code() == Some(77) || output.status.code() == Some(3) {
                println!("SKIPPED: {text}");
                return None;
            }
            assert!(output.status.success(), "{command:?}: {text}");
            Some(output)
        }
        Err(error) => {
            println!("SKIPPED: {:?} cannot be run ({error})", command.get_program());
            None
        }
    }
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect()
}

#[test]
fn the_package_builds_installs_into_a_scratch_root_and_has_every_part() {
    let scratch = tempfile::tempdir().unwrap();
    let build = tool(Command::new(root().join("scripts/package.sh")).arg(scratch.path()).env("SAMARA_BINARY", SAMARA));
    let Some(build) = build else { return };
    let package = lines(&build).pop().unwrap();
    let place = scratch.path().join("root");
    tool(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&place)).unwrap();
    for file in [
        "usr/bin/samara",
        "usr/lib/systemd/system/samara.service",
        "usr/lib/sysusers.d/samara.conf",
        "usr/lib/tmpfiles.d/samara.conf",
        "etc/default/samara",
        "usr/share/bash-completion/completions/samara",
        "usr/share/zsh/vendor-completions/_samara",
        "usr/share/fish/vendor_completions.d/samara.fish",
        "usr/share/man/man1/samara.1.gz",
        "usr/share/man/man1/samara-run.1.gz",
        "usr/share/doc/samara/operator.md",
        "usr/share/doc/samara/copyright",
        "usr/share/doc/samara/examples/samara.toml",
        "usr/share/doc/samara/examples/profiles/latency.toml",
    ] {
        assert!(place.join(file).is_file(), "{file} is missing");
    }
    let version = tool(Command::new(place.join("usr/bin/samara")).arg("--version")).unwrap();
    assert_eq!(lines(&version), [concat!("samara ", env!("CARGO_PKG_VERSION"))]);
    // What the unit starts is what the package brings.
    let text = std::fs::read_to_string(unit()).unwrap();
    let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert!(place.join(start.split(' ').next().unwrap().trim_start_matches('/')).is_file(), "{start}");
    // Nothing in it is writable or owned by anybody but root, and the maintainer scripts are shell.
    for line in lines(&tool(Command::new("dpkg-deb").arg("-c").arg(&package)).unwrap()) {
        let (mode, owner) = (&line[..10], line.split_whitespace().nth(1).unwrap());
        assert!(owner == "root/root" && &mode[8..9] == "-" && !mode.contains('s'), "{line}");
    }
    let control = scratch.path().join("control");
    tool(Command::new("dpkg-deb").arg("-e").arg(&package).arg(&control)).unwrap();
    for script in ["postinst", "prerm", "postrm"] {
        tool(Command::new("sh").arg("-n").arg(control.join(script))).unwrap();
    }
    assert_eq!(std::fs::read_to_string(control.join("conffiles")).unwrap(), "/etc/default/samara\n");
}

#[test]
fn the_package_installs_and_goes_again_with_dpkg() {
    let scratch = tempfile::tempdir().unwrap();
    let build = tool(Command::new(root().join("scripts/package.sh")).arg(scratch.path()).env("SAMARA_BINARY", SAMARA));
    let Some(build) = build else { return };
    let package = lines(&build).pop().unwrap();
    let place = scratch.path().join("root");
    for directory in ["var/lib/dpkg/updates", "var/lib/dpkg/info", "etc"] {
        std::fs::create_dir_all(place.join(directory)).unwrap();
    }
    std::fs::write(place.join("var/lib/dpkg/status"), "").unwrap();
    // Scripts run with DPKG_ROOT set and must leave this host alone.
    let dpkg = |arguments: &[&str]| {
        let mut command = Command::new("dpkg");
        command.args(["--force-not-root", "--force-script-chrootless", "--force-depends", "--log=/dev/null"]);
        tool(command.arg(format!("--root={}", place.display())).args(arguments))
    };
    // Twice: an upgrade to the same version is what a second run of the scripts is.
    for _ in 0..2 {
        if dpkg(&["-i", &package]).is_none() {
            return;
        }
    }
    std::fs::write(place.join("etc/default/samara"), "SAMARA_LOG__LEVEL=debug\n").unwrap();
    dpkg(&["-r", "samara"]);
    assert!(!place.join("usr/bin/samara").exists());
    assert!(place.join("etc/default/samara").exists(), "what the operator wrote stays until purge");
    dpkg(&["-P", "samara"]);
    assert!(!place.join("etc/default/samara").exists());
}

#[test]
fn the_operator_finds_every_alert_in_the_manual() {
    let manual = std::fs::read_to_string(root().join("docs/operator.md")).unwrap();
    let rules = std::fs::read_to_string(root().join("ops/alerts/samara.rules.yml")).unwrap();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).filter_map(|rule| rule.lines().next()).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(manual.contains(&format!("| {alert} |")), "{alert} is not in docs/operator.md");
    }
}

#[test]
fn the_unit_verifies_and_is_hardened() {
    let scratch = tempfile::tempdir().unwrap();
    // The same unit with a program that is there: verify looks for it.
    let text = std::fs::read_to_string(unit()).unwrap().replace("/usr/bin/samara", SAMARA);
    let copy = scratch.path().join("samara.service");
    std::fs::write(&copy, text).unwrap();
    let Some(verified) = tool(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy)) else { return };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(!said.contains("samara.service"), "{said}");
    // Exposure in tenths: what needs network and BPF stays above 2.
    let strict = ["security", "--offline=true", "--no-pager", "--threshold=25"];
    let security = tool(Command::new("systemd-analyze").args(strict).arg(&copy)).unwrap();
    println!("{}", lines(&security).pop().unwrap());
}

#[test]
fn validators_run_under_the_system_call_filter_of_the_unit() {
    let (launcher, unit) = (root().join("ops/systemd/run-filtered.py"), unit());
    let filtered = || {
        let mut command = Command::new("python3");
        command.arg(&launcher).arg(&unit);
        command
    };
    // The filter is there at all: what the unit does not allow fails.
    match filtered().args(["unshare", "--mount", "true"]).output() {
        Ok(output) if output.status.code() == Some(77) => return println!("{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => return println!("SKIPPED: no python3 ({error})"),
        Ok(output) => assert!(!output.status.success(), "unshare works under the filter"),
    }
    let turn = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.lock")).unwrap();
    turn.lock().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let localnet = [SAMARA, "localnet", "--blocks", "20", "--tps", "200", "--transport", "uring", "--json", "--report"];
    let output = filtered().args(localnet).arg(scratch.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        return println!("SKIPPED: {text}");
    }
    assert!(output.status.success(), "{text}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["finalized_blocks"].as_u64().unwrap() >= 20 && report["agreement"] == true, "{report}");
}
