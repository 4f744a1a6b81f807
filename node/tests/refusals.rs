//! Every bad argument, configuration, genesis and key file ends the real binary with exit code 2 and one line on stderr that names
//! the key, its value and what is allowed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary, for a minute at most: what is not refused would run for ever.
fn bounded() -> Command {
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_samara")]);
    command
}

fn samara(arguments: &[&str]) -> Output {
    bounded().args(arguments).output().unwrap()
}

/// The one line on stderr, after checking the exit code.
fn refused(arguments: &[&str]) -> String {
    let output = samara(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    stderr.trim().to_string()
}

fn assert_refused(arguments: &str, expected: &str) {
    let line = refused(&arguments.split_whitespace().collect::<Vec<_>>());
    assert!(line.contains(expected), "{arguments}: {line}");
}

/// A chain of six in a directory of its own.
struct Chain(tempfile::TempDir);

impl Chain {
    fn new() -> Chain {
        let directory = tempfile::tempdir().unwrap();
        let output = samara(&["genesis", "--validators", "6", "--out", directory.path().to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Chain(directory)
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    fn edit(&self, relative: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(relative)).unwrap();
        assert!(text.contains(from), "{relative} must contain {from}");
        std::fs::write(self.path(relative), text.replacen(from, to, 1)).unwrap();
    }

    fn run_refused(&self, expected: &str) {
        let config = self.path("validator-2/samara.toml");
        let line = refused(&["run", "--config", config.to_str().unwrap()]);
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn bad_arguments() {
    let out = tempfile::tempdir().unwrap();
    let genesis = format!("genesis --out {}/new", out.path().display());
    let cases = [
        (format!("{genesis} --validators 5"), "--validators = 5: allowed is 6 to 1024"),
        (format!("{genesis} --validators 1025"), "--validators = 1025: allowed is 6 to 1024"),
        (format!("{genesis} --validators 6 --stakes 1,1,1"), "--stakes = 1,1,1: allowed is 6 numbers"),
        (format!("{genesis} --validators 6 --stakes 5,1,1,1,1,1"), "--stakes = 5,1,1,1,1,1: stakes[0] = 5: allowed is at most f = 1"),
        (format!("{genesis} --validators 6 --stakes 0,1,1,1,1,1"), "stakes[0] = 0: allowed is 1 or more"),
        (format!("{genesis} --validators 6 --fault-stake 2"), "--fault-stake = 2: fault_stake = 2: with total stake 6 allowed are 1 to 1"),
        (format!("{genesis} --validators 6 --view-timeout-ms 5"), "--view-timeout-ms = 5: allowed is 20 to 60000"),
        (format!("{genesis} --validators 6 --block-size 1"), "--block-size = 1: allowed is 1234 to"),
        (format!("{genesis} --validators 6 --base-port 65530"), "--base-port = 65530: allowed is 1 to 65518"),
        (format!("{genesis} --validators six"), "--validators = six: allowed is"),
        ("localnet --transport pigeon".into(), "--transport = pigeon: allowed is auto, xdp, uring, udp"),
        ("localnet --tx-size 5".into(), "--tx-size = 5: allowed is 105 to 1232"),
        ("localnet --kill 2".into(), "--kill = 2: allowed is VALIDATOR@TIME"),
        ("localnet --duration 20".into(), "--duration = 20: allowed is a number with unit"),
        ("localnet --validators 5".into(), "--validators = 5: allowed is 6 to 1024"),
        ("localnet --validators 6 --stakes 3,1,1,1,1,1".into(), "--stakes = 3,1,1,1,1,1: stakes[0] = 3: allowed is at most f = 1"),
        ("run --config nowhere.toml".into(), "--config = nowhere.toml: allowed is a readable configuration file"),
        ("run".into(), "--config is missing"),
        ("inspect chain --dir nowhere".into(), "--dir = nowhere: allowed is a validator's directory"),
        ("load --genesis nowhere".into(), "genesis = nowhere: allowed is a readable genesis file"),
        ("fly".into(), "fly"),
    ];
    for (arguments, expected) in cases {
        assert_refused(&arguments, expected);
    }
    assert!(!out.path().join("new").exists(), "a refused genesis writes nothing");
}

#[test]
fn kills_that_do_not_fit_the_cluster() {
    let out = tempfile::tempdir().unwrap();
    let localnet = format!("localnet --dir {} --duration 20s", out.path().display());
    assert_refused(&format!("{localnet} --kill 6@1s"), "--kill = 6@1s: allowed is validators 0 to 5");
    assert_refused(&format!("{localnet} --restart 1@4s"), "--restart = 1@4s: allowed is a validator that was killed");
}

#[test]
fn bad_configurations() {
    let cases = [
        ("[network]", "[network]\ncolour = 1", "network.colour = 1: unknown key, allowed are listen, sync_listen, transport"),
        ("[network]", "[networks]\n[network]", "networks = map: unknown key, allowed are chain, node, network"),
        ("transport = \"auto\"", "transport = \"pigeon\"", "network.transport = pigeon: allowed is auto, xdp, uring, udp"),
        ("index = 2", "index = 3", "node.keys = "),
        ("keys = \"keys\"", "keys = \"nowhere\"", "node.keys = "),
        ("genesis = \"../genesis.toml\"", "genesis = \"nowhere\"", "nowhere: allowed is a readable genesis file"),
        ("data_dir = \"data\"\n", "", "node.data_dir is missing"),
        ("[network]", "[network]\nlisten = \"[::]:27000\"", "network.listen = [::]:27000: allowed is an IPv4 address, as all peers in "),
    ];
    for (from, to, expected) in cases {
        let chain = Chain::new();
        chain.edit("validator-2/samara.toml", from, to);
        chain.run_refused(expected);
    }
}

#[test]
fn an_unknown_key_or_a_bad_value_in_the_environment() {
    let chain = Chain::new();
    let config = chain.path("validator-2/samara.toml");
    let cases = [
        ("SAMARA_CLIENT__COLOUR", "1", "client.colour = 1: unknown key, allowed are listen, in_flight_max, connections_max"),
        ("SAMARA_CLIENT__IN_FLIGHT_MAX", "0", "client.in_flight_max = 0: allowed"),
    ];
    for (name, value, expected) in cases {
        let output = bounded().arg("run").arg("--config").arg(&config).env(name, value).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(expected) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn a_genesis_that_was_changed_after_it_was_made() {
    let cases = [
        ("stake = 1", "stake = 5", "fault_stake = 5: with total stake 6 allowed are 1 to 1"),
        ("[[validator]]\nstake = 1", "[[validator]]\nstake = 5", "stakes[0] = 5: allowed is at most f = 1 of total 10"),
        ("view_timeout_ms = 500", "view_timeout_ms = 400", "the digest of this content"),
        ("view_timeout_ms = 500", "view_timeout_ms = 5", "params.view_timeout_ms = 5: allowed is 20 to 60000"),
        ("[params]", "[params]\nspeed = 9", "speed = 9; | ^^^^^; unknown field `speed`, expected one of `view_timeout_ms`"),
    ];
    for (from, to, expected) in cases {
        let chain = Chain::new();
        chain.edit("genesis.toml", from, to);
        chain.run_refused(expected);
    }
}

#[test]
fn another_chain() {
    let (chain, other) = (Chain::new(), Chain::new());
    let id = |chain: &Chain| {
        let text = std::fs::read_to_string(chain.path("genesis.toml")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("id = ")).unwrap().trim_matches('"').to_string()
    };
    chain.edit("validator-2/samara.toml", &id(&chain), &id(&other));
    chain.run_refused(&format!("chain.id = {}: allowed is {}", id(&other), id(&chain)));
}

#[test]
fn a_foreign_a_borrowed_a_readable_and_a_damaged_key_file() {
    let copy = |from: &Path, to: &Path| {
        std::fs::copy(from, to).unwrap();
    };
    let (chain, other) = (Chain::new(), Chain::new());
    let keys = chain.path("validator-2/keys");

    copy(&other.path("validator-2/keys"), &keys);
    chain.run_refused("a key file of one of the 6 validators");

    copy(&chain.path("validator-3/keys"), &keys);
    chain.run_refused("the key file of validator 2 (node.index); this one is of validator 3");

    let mode = |mode| std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode)).unwrap();
    for (bits, expected) in [(0o644, "mode = 0644: allowed is 0600"), (0o640, "mode = 0640: allowed is 0600")] {
        mode(bits);
        chain.run_refused(expected);
    }
    mode(0o600);

    let mut bytes = std::fs::read(&keys).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&keys, bytes).unwrap();
    chain.run_refused("checksum");
}

#[test]
fn an_existing_chain_or_key_file_is_never_overwritten() {
    let chain = Chain::new();
    let before = std::fs::read(chain.path("genesis.toml")).unwrap();
    let out = chain.0.path().to_str().unwrap();
    assert!(refused(&["genesis", "--validators", "6", "--out", out]).contains("a chain is never overwritten"));
    assert_eq!(std::fs::read(chain.path("genesis.toml")).unwrap(), before);
    let validator = chain.path("validator-0");
    refused(&["keygen", "--out", validator.to_str().unwrap()]);
}

#[test]
fn keygen_prints_public_keys_and_writes_a_private_file() {
    let out = tempfile::tempdir().unwrap();
    let output = samara(&["keygen", "--out", out.path().to_str().unwrap()]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for (name, digits) in [("vote_key", 192), ("possession", 96), ("identity_key", 64), ("session_key", 64)] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        assert_eq!(line.split('"').nth(1).unwrap().len(), digits);
    }
    let mode = std::fs::metadata(out.path().join("keys")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn help_and_version_end_with_zero() {
    for arguments in [&["--help"][..], &["--version"], &["localnet", "--help"]] {
        let output = samara(arguments);
        assert!(output.status.success() && !output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_localnet_that_cannot_run_makes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (data, report) = (place.path().join("data"), place.path().join("report"));
    let where_to = format!("localnet --report {} --dir {}", report.display(), data.display());
    for (more, expected) in [
        ("--kill 9@1s", "--kill = 9@1s: allowed is validators 0 to 5"),
        ("--restart 1@1s", "--restart = 1@1s: allowed is a validator that was killed"),
        ("--kill 1@30s --duration 20s", "--kill = 1@30s: allowed is a time within"),
        ("--validators 1001 --namespaces", "--validators = 1001: allowed is 6 to 1000 on a bridge"),
    ] {
        assert_refused(&format!("{where_to} {more}"), expected);
        assert!(!data.exists() && !report.exists(), "{more} left files behind");
    }
}

#[test]
fn a_chain_in_the_way_of_a_localnet_is_named_by_the_argument_that_led_to_it() {
    let place = tempfile::tempdir().unwrap();
    let made = samara(&["genesis", "--validators", "6", "--out", place.path().join("data").to_str().unwrap()]);
    assert!(made.status.success());
    let report = place.path().display();
    for more in ["--transport xdp", "--base-port 30000"] {
        assert_refused(
            &format!("localnet --report {report} {more}"),
            &format!("--report = {report}: allowed is a directory whose data/ is "),
        );
        assert_refused(&format!("localnet --report {report}/x --dir {report}/data {more}"), &format!("--dir = {report}/data: allowed is "));
    }
    assert!(!place.path().join("x").exists());
}
