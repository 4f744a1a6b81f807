//! Real settings in a network namespace of our own: sysctls that exist per namespace, offloads and channels of a veth pair, kernel rules
//! and refusals. The test runs itself inside `unshare`; nothing outside the namespace is touched. Without the right to make one it skips.

use samara_tuning::apply::{ApplyError, apply};
use samara_tuning::host::{Host, HostError, Item};
use samara_tuning::plan::Selection;
use samara_tuning::profile::Profile;
use samara_tuning::revert::{Checked, check, revert};
use samara_tuning::state::{State, StateError, peek};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const INSIDE: &str = "SAMARA_TUNING_NAMESPACE";

#[test]
fn real_settings_in_a_namespace() {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return inside(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    // A fresh sysfs shows the interfaces of the namespace; the mount is private to it.
    let script = "mount -t sysfs none /sys && ip link add a0 numrxqueues 4 numtxqueues 4 type veth peer name b0 numrxqueues 4 numtxqueues 4 \
                  && ip link set a0 up && ip link set b0 up && exec \"$0\" --exact real_settings_in_a_namespace --nocapture";
    let may = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", "mount -t sysfs none /sys && ip link add x0 type veth peer name x1"])
        .output();
    if !may.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: no right to make a network namespace with a veth pair ({may:?})");
        return;
    }
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let run = |script: &str| {
        Command::new("unshare").args(["--net", "--mount", "sh", "-c", script]).arg(&exe).env(INSIDE, dir.path()).status().unwrap()
    };
    assert!(run(script).success());
    // What was applied there is refused here: this is another namespace.
    let state = dir.path().join("left");
    assert!(matches!(State::hold(&state, &Host::real()), Err(StateError::OtherNamespace(..))));
    assert!(matches!(peek(&state, &Host::real()), Err(StateError::OtherNamespace(..))));
}

fn profile(settings: &[&str]) -> Profile {
    let text = |(place, setting): (usize, &&str)| format!("[[setting]]\nname = \"s{place}\"\nreason = \"r\"\nsource = \"s\"\n{setting}\n");
    Profile::parse("test", &format!("summary = \"s\"\n{}", settings.iter().enumerate().map(text).collect::<String>())).unwrap()
}

/// Everything that a namespace has of its own: its sysctls, and what ethtool and sysfs say of its interfaces.
fn everything(host: &Host) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec!["/proc/sys/net".to_string(), "/sys/class/net/a0".into(), "/sys/class/net/b0".into(), "/sys/class/net/lo".into()];
    while let Some(dir) = todo.pop() {
        for name in host.list(&dir).unwrap_or_default() {
            let path = format!("{dir}/{name}");
            // Counters, carrier history and keys that change by themselves.
            if ["statistics", "subsystem", "power", "uevent", "stable_secret", "random", "neigh"].contains(&name.as_str())
                || name.contains("carrier")
            {
                continue;
            }
            match host.locate(&path) {
                Ok(place) if place.is_dir() => todo.push(path),
                _ => drop(host.read(&path).map(|text| all.insert(path, text))),
            }
        }
    }
    for interface in ["a0", "b0", "lo"] {
        for feature in host.ethtool().features(interface).unwrap() {
            all.insert(format!("{interface} {}", feature.name), feature.on.to_string());
        }
        for kind in ["rx", "tx"] {
            let channels = host.ethtool().read(interface, &Item::Channels(kind.into()));
            all.insert(format!("{interface} channels {kind}"), channels.map(|reading| reading.value).unwrap_or_default());
        }
    }
    assert!(all.len() > 300, "{} values", all.len());
    all
}

fn inside(dir: &Path) {
    let host = Host::real();
    let selection = Selection { interfaces: vec!["a0".into()], ..Selection::default() };
    // A queue that goes with its channels, and that an operator has set before.
    host.write("/sys/class/net/a0/queues/rx-3/rps_cpus", "1").unwrap();
    let before = everything(&host);
    agrees_with_ethtool(&host);
    let real = profile(&[
        "nic = \"channels:rx\"\nvalue = 2",
        "nic = \"channels:tx\"\nvalue = 3",
        "nic = \"feature:tx-checksum-ip-generic\"\nvalue = \"off\"",
        "interface = \"lo\"\nnic = \"feature:tx-udp-segmentation\"\nvalue = \"off\"",
        "sysctl = \"net.ipv4.tcp_rmem\"\nmin = \"4096 131072 12582912\"",
        "sysctl = \"net.core.somaxconn\"\nmin = 16384",
        "sysctl = \"net.ipv4.conf.{interface}.rp_filter\"\nvalue = 2",
        "sysctl = \"net.ipv4.no_such_thing\"\nvalue = 2",
        "sysfs = \"/sys/class/net/{interface}/tx_queue_len\"\nvalue = 4000",
        "sysfs = \"/sys/class/net/{interface}/gro_flush_timeout\"\nvalue = 200000",
        "sysfs = \"/sys/class/net/{interface}/napi_defer_hard_irqs\"\nvalue = 100",
        "sysfs = \"/sys/class/net/{interface}/queues/rx-{queue}/rps_cpus\"\nvalue = 1",
    ]);
    let mut state = State::hold(&dir.join("state"), &host).unwrap();
    let applied = apply(&host, &mut state, &real, &selection, &mut |_| ()).unwrap();
    assert!(applied.changed.len() >= 12, "{:?} {:?}", applied.changed, applied.skipped);
    let follows = applied.changed.iter().filter(|changed| changed.name.ends_with("(follows)")).count();
    assert!(follows > 0, "segmentation goes with the checksum it needs");
    assert!(applied.skipped.iter().any(|skipped| skipped.what.ends_with("no_such_thing")), "{:?}", applied.skipped);
    assert_eq!(host.read("/sys/class/net/a0/tx_queue_len").unwrap(), "4000");
    assert_eq!(host.read("/sys/class/net/a0/queues/rx-1/rps_cpus").unwrap().trim_start_matches(['0', ',']), "1");
    assert!(!host.exists("/sys/class/net/a0/queues/rx-2"), "two receive channels are left");
    agrees_with_ethtool(&host);
    assert_eq!(check(&host, state.session()), Checked::default());
    assert!(Command::new("ip").args(["link", "set", "a0", "txqueuelen", "123"]).status().unwrap().success());
    let drifts = check(&host, state.session()).drifts;
    assert_eq!(drifts.iter().map(|drift| drift.found.as_str()).collect::<Vec<_>>(), ["123"]);
    host.write("/sys/class/net/a0/tx_queue_len", "4000").unwrap();
    let reverted = revert(&host, &mut state, false, &mut |_| ()).unwrap();
    assert!(reverted.is_complete(), "{reverted:?}");
    assert_eq!(different(&before, &everything(&host)), [""; 0]);
    refusals(&host, &mut state, &selection, &before);
    // Left applied on purpose: the caller, in another namespace, must refuse it. This namespace ends with this process.
    let mut left = State::hold(&dir.join("left"), &host).unwrap();
    apply(&host, &mut left, &profile(&["sysctl = \"net.core.somaxconn\"\nmin = 9999"]), &selection, &mut |_| ()).unwrap();
}

/// The kernel's own limits, met after a first change: everything goes back.
fn refusals(host: &Host, state: &mut State, selection: &Selection, before: &BTreeMap<String, String>) {
    let first = "sysctl = \"net.core.somaxconn\"\nmin = 16384";
    let cases = ["sysctl = \"net.ipv4.tcp_syn_retries\"\nvalue = 255", "sysctl = \"net.core.rmem_max\"\nmin = 999999999"];
    for refused in cases {
        match apply(host, state, &profile(&[first, refused]), selection, &mut |_| ()) {
            Err(ApplyError::RolledBack { step, undone: 1, .. }) => assert_eq!(step, "s1"),
            other => panic!("{refused}: {other:?}"),
        }
        assert_eq!(different(before, &everything(host)), [""; 0], "{refused}");
    }
    let refused = host.ethtool().write("a0", &Item::Channels("rx".into()), "99");
    assert!(matches!(refused, Err(HostError::Refused { .. })), "{refused:?}");
    assert!(host.ethtool().read("lo", &Item::Ring("rx".into())).unwrap_err().is_absent());
    assert!(host.ethtool().read("none0", &Item::Rss).unwrap_err().is_absent());
}

fn different(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| format!("{key}: {:?} -> {:?}", before.get(key), after.get(key)))
        .collect()
}

/// The ethtool program, where it is installed, sees what we see.
fn agrees_with_ethtool(host: &Host) {
    let Ok(output) = Command::new("ethtool").args(["-k", "a0"]).output() else { return println!("skipped: ethtool is not installed") };
    let text = String::from_utf8(output.stdout).unwrap();
    let mut compared = 0;
    for feature in host.ethtool().features("a0").unwrap() {
        let Some(rest) = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{}: ", feature.name))) else { continue };
        assert_eq!(rest.starts_with("on"), feature.on, "{feature:?}: {rest}");
        assert_eq!(rest.contains("[fixed]"), feature.fixed, "{feature:?}: {rest}");
        compared += 1;
    }
    assert!(compared > 30, "{compared} offloads compared");
    let statistics = host.ethtool().statistics("a0").unwrap();
    assert!(statistics.iter().any(|(name, _)| name == "peer_ifindex"), "{statistics:?}");
}
