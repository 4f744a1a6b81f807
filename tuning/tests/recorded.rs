//! Plan, apply, check and revert on recorded hosts. Every test compares all files of the tree.

mod support;

use samara_tuning::apply::{Applied, ApplyError, Event, Point, apply};
use samara_tuning::host::{CpuSet, Host};
use samara_tuning::plan::{Plan, Selection};
use samara_tuning::profile::Profile;
use samara_tuning::revert::{Ending, Reverted, check, revert};
use samara_tuning::state::{State, StateError, peek};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use support::{Tree, snapshot};

struct Bench {
    tree: Tree,
    host: Host,
    selection: Selection,
    _dir: tempfile::TempDir,
}

fn bench(build: impl Fn(&Path) -> Tree, interface: &str, hot: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let tree = build(dir.path());
    let selection = Selection { interfaces: vec![interface.into()], hot: CpuSet::parse_list(hot).unwrap(), port: Some(8001) };
    Bench { host: Host::under(dir.path()), tree, selection, _dir: dir }
}

fn mlx5() -> Bench {
    bench(Tree::mlx5, "enp3s0", "4-11")
}

impl Bench {
    fn state_dir(&self) -> PathBuf {
        self.tree.root.join("var/lib/samara/tuning")
    }

    fn hold(&self) -> State {
        State::hold(&self.state_dir(), &self.host).unwrap()
    }

    fn apply(&self, profile: &Profile) -> Result<Applied, ApplyError> {
        apply(&self.host, &mut self.hold(), profile, &self.selection, &mut |_| ())
    }

    fn revert(&self, force: bool) -> Reverted {
        revert(&self.host, &mut self.hold(), force, &mut |_| ()).unwrap()
    }

    fn snapshot(&self) -> std::collections::BTreeMap<PathBuf, String> {
        snapshot(&self.tree.root)
    }

    fn is_open(&self) -> bool {
        peek(&self.state_dir(), &self.host).unwrap().is_some()
    }

    fn drifted(&self) -> Vec<String> {
        let session = peek(&self.state_dir(), &self.host).unwrap().unwrap();
        check(&self.host, &session)
            .drifts
            .into_iter()
            .map(|drift| format!("{} {} -> {}", drift.target, drift.expected, drift.found))
            .collect()
    }
}

fn built_in(name: &str) -> Profile {
    Profile::built_in(name).unwrap().unwrap()
}

fn profile(settings: &[&str]) -> Profile {
    let text = |(place, setting): (usize, &&str)| format!("[[setting]]\nname = \"s{place}\"\nreason = \"r\"\nsource = \"s\"\n{setting}\n");
    Profile::parse("test", &format!("summary = \"s\"\n{}", settings.iter().enumerate().map(text).collect::<String>())).unwrap()
}

const RMEM: &str = "/proc/sys/net/core/rmem_max";

#[test]
fn every_profile_on_every_host_leaves_every_file_as_before() {
    type Builder = fn(&Path) -> Tree;
    let hosts: [(Builder, &str, &str); 3] = [(Tree::mlx5, "enp3s0", "4-11"), (Tree::i40e, "ens1f1", "2,4-6"), (Tree::virtio, "eth0", "1")];
    for (build, interface, hot) in hosts {
        for name in ["latency", "throughput", "laptop", "virtual"] {
            let bench = bench(build, interface, hot);
            let before = bench.snapshot();
            let planned: Vec<_> =
                Plan::new(&bench.host, &built_in(name), &bench.selection).changes().map(|step| step.target.clone()).collect();
            assert_eq!(bench.snapshot(), before, "a plan changes nothing");
            let applied = bench.apply(&built_in(name)).unwrap();
            let changed: Vec<_> = applied.changed.iter().map(|changed| changed.target.clone()).collect();
            let managed = |target: &_| applied.skipped.iter().any(|skipped| skipped.what == format!("{target}"));
            let right = |target: &_| applied.kept.iter().any(|(_, kept)| kept == target);
            let missed: Vec<_> = planned.iter().filter(|it| !changed.contains(it) && !managed(*it) && !right(*it)).collect();
            let unplanned: Vec<_> =
                applied.changed.iter().filter(|it| !planned.contains(&it.target) && !it.name.ends_with("(follows)")).collect();
            assert!(missed.is_empty() && unplanned.is_empty(), "{name} on {interface}: {missed:?} {unplanned:?}");
            assert!(changed.len() >= 2 && bench.snapshot() != before, "{name} on {interface}");
            assert_eq!(bench.drifted(), [""; 0], "{name} on {interface}");
            let reverted = bench.revert(false);
            assert!(reverted.is_complete(), "{reverted:?}");
            assert_eq!(bench.snapshot(), before, "{name} on {interface}");
            assert!(!bench.is_open());
        }
    }
}

#[test]
fn the_latency_profile_does_what_it_says() {
    let bench = mlx5();
    let applied = bench.apply(&built_in("latency")).unwrap();
    let tree = &bench.tree;
    assert_eq!(tree.read(RMEM), "134217728\n");
    assert_eq!(tree.read("/proc/sys/net/core/wmem_max"), "268435456\n", "a larger value is never lowered");
    assert_eq!(tree.read("/sys/kernel/mm/transparent_hugepage/enabled"), "always [madvise] never\n");
    assert_eq!(tree.read("/sys/devices/virtual/workqueue/cpumask"), "0000f00f\n");
    assert_eq!(tree.read("/sys/devices/system/cpu/cpu15/cpufreq/scaling_governor"), "performance\n");
    assert_eq!(tree.read("/ethtool/enp3s0/channels"), "rx 0 0\ntx 0 0\ncombined 8 63\n");
    assert!(tree.read("/ethtool/enp3s0/rss").starts_with("0 1 2 3 4 5 6 7 0 1"));
    assert_eq!(tree.read("/ethtool/enp3s0/rings"), "rx 4096 8192\ntx 4096 8192\n");
    assert_eq!(tree.read("/proc/irq/120/smp_affinity_list"), "0-3,12-15\n");
    assert_eq!(tree.read("/proc/irq/124/smp_affinity_list"), "0-15\n", "managed by the kernel");
    let skipped =
        |name: &str| applied.skipped.iter().filter(|skipped| skipped.name == name).map(|skipped| skipped.why.clone()).collect::<String>();
    assert!(skipped("interrupts").contains("managed"), "{:?}", applied.skipped);
    assert_eq!(applied.limits, [("memlock".to_string(), "unlimited".to_string())]);
}

#[test]
fn what_a_host_does_not_have_is_skipped_by_name() {
    let bench = bench(Tree::virtio, "eth0", "1");
    let plan = Plan::new(&bench.host, &built_in("latency"), &bench.selection);
    let why = |name: &str| plan.skipped.iter().find(|skipped| skipped.name == name).map(|skipped| skipped.why.as_str());
    assert_eq!(why("governor"), Some("does not exist on this host"));
    assert_eq!(why("hashed-fields"), Some("does not exist on this host"));
    assert_eq!(why("large-receive-offload"), None, "off already, so fixed does not matter");
    let alone = Plan::new(&bench.host, &built_in("latency"), &Selection::default());
    let why = |name: &str| alone.skipped.iter().find(|skipped| skipped.name == name).map(|skipped| skipped.why.as_str());
    assert_eq!(why("receive-ring"), Some("no --interface was named"));
    assert!(why("kernel-work").unwrap().contains("--hot-cpus"));
    let all = profile(&["sysctl = \"vm.max_map_count\"\nvalue = \"{hot_count}\"", "nic = \"feature:rx-gro-hw\"\nvalue = \"off\""]);
    let whole = Selection { hot: CpuSet::parse_list("0-1").unwrap(), ..bench.selection.clone() };
    assert!(Plan::new(&bench.host, &all, &whole).skipped[0].why.contains("leaves no CPU"));
}

#[test]
fn applying_again_keeps_the_first_prior_values() {
    let bench = mlx5();
    let before = bench.snapshot();
    bench.apply(&built_in("latency")).unwrap();
    let once = bench.snapshot();
    let again = bench.apply(&built_in("latency")).unwrap();
    assert_eq!((again.changed.len(), bench.snapshot()), (0, once));
    bench.apply(&built_in("throughput")).unwrap();
    bench.tree.file(RMEM, "1\n");
    bench.apply(&built_in("latency")).unwrap();
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn values_go_back_last_first_with_one_write_each() {
    let bench = mlx5();
    let names = ["net.core.rmem_max", "vm.max_map_count", "net.core.netdev_max_backlog"];
    let settings = names.map(|name| format!("sysctl = \"{name}\"\nmin = 9000000"));
    let applied = bench.apply(&profile(&settings.each_ref().map(String::as_str))).unwrap();
    let mut writes = Vec::new();
    let mut observer = |event: &Event<'_>| writes.extend((event.point == Point::Restoring).then(|| event.command.to_string()));
    revert(&bench.host, &mut bench.hold(), false, &mut observer).unwrap();
    let undoing: Vec<String> = applied.changed.iter().rev().map(|it| it.target.command(&bench.host, &it.before)).collect();
    assert_eq!((writes.len(), writes), (3, undoing));
}

#[test]
fn check_finds_a_value_changed_behind_its_back() {
    let bench = mlx5();
    bench.apply(&built_in("latency")).unwrap();
    bench.tree.file(RMEM, "4096\n").file("/proc/sys/net/core/bpf_jit_enable", "0\n");
    bench.tree.file("/proc/sys/vm/max_map_count", "2000000\n").file("/proc/irq/121/smp_affinity_list", "0,1,2,3,12,13,14,15\n");
    let expected = ["/proc/sys/net/core/bpf_jit_enable 1 -> 0", "/proc/sys/net/core/rmem_max 134217728 -> 4096"];
    let mut drifted = bench.drifted();
    drifted.sort();
    assert_eq!(drifted, expected, "more than the minimum and the same set in other words are no drift");
}

#[test]
fn what_somebody_else_changed_is_left_until_forced() {
    let bench = mlx5();
    let before = bench.snapshot();
    bench.apply(&built_in("latency")).unwrap();
    bench.tree.file(RMEM, "777\n");
    let reverted = bench.revert(false);
    let left: Vec<_> = reverted.outcomes.iter().filter(|it| !it.ending.is_settled()).collect();
    assert_eq!((left.len(), &left[0].ending, left[0].prior.as_str()), (1, &Ending::Foreign("777".into()), "212992"));
    assert_eq!(bench.tree.read(RMEM), "777\n");
    assert!(bench.is_open(), "the prior value is still known");
    assert_eq!(bench.revert(false).outcomes.len(), 1, "the others are settled");
    assert!(bench.revert(true).is_complete());
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn a_refused_step_puts_everything_back() {
    // The table that somebody set by hand uses queue 7: the driver refuses fewer channels.
    let bench = bench(Tree::i40e, "ens1f1", "2,4-6");
    let before = bench.snapshot();
    let settings =
        ["nic = \"ring:rx\"\nvalue = 4096", "nic = \"channels:combined\"\nvalue = 4", "sysctl = \"net.core.rmem_max\"\nmin = 9000000"];
    match bench.apply(&profile(&settings)).unwrap_err() {
        ApplyError::RolledBack { step, undone, .. } => assert_eq!((step.as_str(), undone), ("s1", 1)),
        other => panic!("{other}"),
    }
    assert_eq!(bench.snapshot(), before);
    assert!(!bench.is_open());
}

#[test]
fn a_refused_second_profile_leaves_the_first_one() {
    let bench = bench(Tree::i40e, "ens1f1", "2,4-6");
    let before = bench.snapshot();
    bench.apply(&profile(&["nic = \"ring:rx\"\nvalue = 4096"])).unwrap();
    let first = bench.snapshot();
    let second = ["nic = \"ring:rx\"\nvalue = 1024", "nic = \"ring:tx\"\nvalue = 1024", "nic = \"channels:combined\"\nvalue = 4"];
    assert!(matches!(bench.apply(&profile(&second)), Err(ApplyError::RolledBack { undone: 2, .. })));
    assert_eq!((bench.snapshot(), bench.drifted()), (first, vec![]));
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.snapshot(), before);
}

/// Other channels or rings make this driver reset its table, the queues' masks and the interrupts' CPUs.
fn resets_around() -> Bench {
    let bench = bench(Tree::i40e, "ens1f1", "2,4-6");
    bench.tree.file("/ethtool/ens1f1/quirks", "reset-around\n").file("/proc/irq/91/smp_affinity_list", "3\n");
    bench.tree.file("/sys/devices/pci0000:17/0000:17:00.0/0000:18:00.1/net/ens1f1/queues/rx-1/rps_cpus", "0000000c\n");
    bench
}

#[test]
fn a_refused_step_puts_back_what_moved_with_the_steps_before_it() {
    let bench = resets_around();
    let before = bench.snapshot();
    let refused = profile(&["nic = \"ring:rx\"\nvalue = 4096", "nic = \"ring:tx\"\nvalue = 1000"]);
    let error = bench.apply(&refused).unwrap_err();
    assert!(matches!(&error, ApplyError::RolledBack { step, .. } if step == "s1"), "{error}");
    assert_eq!(bench.snapshot(), before, "the table, a queue's mask and an interrupt's CPUs come back with the ring");
    assert!(!bench.is_open());
}

#[test]
fn a_step_that_is_refused_after_it_moved_others_is_put_back_with_them() {
    let bench = resets_around();
    let before = bench.snapshot();
    bench.apply(&profile(&["sysctl = \"net.core.rmem_max\"\nmin = 9000000"])).unwrap();
    let first = bench.snapshot();
    bench.tree.file("/ethtool/ens1f1/quirks", "reset-around refuse-late\n");
    let error = bench.apply(&profile(&["nic = \"ring:rx\"\nvalue = 4096"])).unwrap_err();
    // This driver refuses the way back as well, after it made it.
    assert!(matches!(&error, ApplyError::RolledBack { .. } | ApplyError::Stuck { .. }), "{error}");
    bench.tree.file("/ethtool/ens1f1/quirks", "reset-around\n");
    assert_eq!((bench.snapshot(), bench.drifted()), (first, vec![]));
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn a_revert_keeps_what_others_set_meanwhile_although_its_own_writes_move_it() {
    let bench = bench(Tree::mlx5, "enp3s0", "4-11");
    bench.tree.file("/ethtool/enp3s0/rss", "0 1 2 3 0 1 2 3\n");
    bench.apply(&profile(&["nic = \"channels:combined\"\nvalue = 8"])).unwrap();
    bench.tree.file("/ethtool/enp3s0/rss", "3 2 1 0 3 2 1 0\n").file("/ethtool/enp3s0/quirks", "reset-around\n");
    bench.tree.file("/proc/irq/121/smp_affinity_list", "7\n");
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.tree.read("/ethtool/enp3s0/channels"), "rx 0 0\ntx 0 0\ncombined 16 63\n");
    assert_eq!(bench.tree.read("/ethtool/enp3s0/rss"), "3 2 1 0 3 2 1 0\n", "never ours, and not as the driver makes it either");
    assert_eq!(bench.tree.read("/proc/irq/121/smp_affinity_list"), "7\n");
}

#[test]
fn a_refused_profile_leaves_what_was_only_watched_watched() {
    let bench = bench(Tree::i40e, "ens1f1", "2,4-6");
    bench.apply(&profile(&["nic = \"ring:rx\"\nvalue = 4096", "sysctl = \"vm.max_map_count\"\nvalue = 65530"])).unwrap();
    // The kernel says no to this one.
    bench.tree.file("/sys/kernel/firm", "0\n").file("/sys/kernel/managed", "");
    let second = profile(&["sysctl = \"vm.max_map_count\"\nvalue = 99999", "sysfs = \"/sys/kernel/firm\"\nvalue = 1"]);
    assert!(matches!(bench.apply(&second), Err(ApplyError::RolledBack { undone: 1, .. })));
    assert_eq!(bench.drifted(), [""; 0]);
    bench.tree.file("/proc/sys/vm/max_map_count", "1\n");
    assert_eq!(bench.drifted(), ["/proc/sys/vm/max_map_count 65530 -> 1"]);
}

#[test]
fn an_optional_setting_that_the_driver_refuses_is_skipped_by_name_unless_something_moved() {
    let bench = bench(Tree::i40e, "ens1f1", "2,4-6");
    let before = bench.snapshot();
    // The table that somebody set by hand refuses fewer channels.
    let optional = ["nic = \"channels:combined\"\nvalue = 4\noptional = true", "sysctl = \"net.core.rmem_max\"\nmin = 9000000"];
    let applied = bench.apply(&profile(&optional)).unwrap();
    assert_eq!((applied.changed.len(), applied.skipped.len()), (1, 1), "{applied:?}");
    assert!(applied.skipped[0].what.ends_with("channels:combined") && applied.skipped[0].why.contains("refused"), "{:?}", applied.skipped);
    assert_eq!(bench.drifted(), [""; 0]);
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.snapshot(), before);
    bench.tree.file("/ethtool/ens1f1/quirks", "refuse-late\n");
    let moved = bench.apply(&profile(&["nic = \"ring:rx\"\nvalue = 4096\noptional = true"]));
    assert!(moved.is_err(), "the refusal came after the change");
}

#[test]
fn a_rounded_value_is_accepted_where_the_profile_says_so_and_refused_elsewhere() {
    let bench = mlx5();
    let before = bench.snapshot();
    let strict = profile(&["nic = \"ring:rx\"\nvalue = 3000"]);
    let error = bench.apply(&strict).unwrap_err().to_string();
    assert!(error.contains("the kernel made 4096 of it"), "{error}");
    assert_eq!(bench.snapshot(), before);
    let applied = bench.apply(&profile(&["nic = \"ring:rx\"\nvalue = 3000\nrounded = true"])).unwrap();
    assert_eq!((applied.changed[0].value.as_str(), applied.changed[0].note.as_str()), ("4096", "the driver made 4096 of 3000"));
    assert_eq!(bench.drifted(), [""; 0]);
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn tables_and_channels_come_back_in_the_order_the_driver_takes() {
    let bench = bench(Tree::i40e, "ens1f1", "2,4-6");
    let before = bench.snapshot();
    let settings = [
        "nic = \"rss\"\nvalue = \"equal 4\"",
        "nic = \"channels:combined\"\nvalue = 4",
        "nic = \"ntuple:9\"\nvalue = \"udp4 dst-port {port} queue 3\"",
    ];
    bench.apply(&profile(&settings)).unwrap();
    assert_eq!(bench.tree.read("/ethtool/ens1f1/rss"), "0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3\n");
    assert_eq!(bench.tree.read("/ethtool/ens1f1/ntuple"), "9 udp4 dst-port 8001 queue 3\n");
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn a_receive_rule_of_somebody_else_is_not_written_over() {
    let bench = mlx5();
    let plan = Plan::new(&bench.host, &profile(&["nic = \"ntuple:3\"\nvalue = \"udp4 dst-port 1 queue 0\""]), &bench.selection);
    assert!(plan.steps.is_empty() && plan.skipped[0].why.contains("taken by: ether proto"), "{plan:?}");
}

#[test]
fn a_prior_value_is_on_disk_before_its_change() {
    let bench = mlx5();
    let (journal, mut seen) = (bench.state_dir().join("journal"), 0);
    let mut observer = |event: &Event<'_>| {
        if event.point == Point::Journaled {
            assert_eq!(unwritten_pages(&journal).unwrap_or(0), 0, "{} would be changed before its prior value is on the disk", event.name);
            let session = peek(journal.parent().unwrap(), &bench.host).unwrap().unwrap();
            let (target, entry) = session.iter().last().unwrap();
            assert_eq!(entry.prior.as_ref(), Some(&target.read(&bench.host).unwrap().value), "{target} still has its prior value");
            seen += 1;
        }
    };
    let applied = apply(&bench.host, &mut bench.hold(), &built_in("latency"), &bench.selection, &mut observer).unwrap();
    assert!(seen > 20 && seen >= applied.changed.len(), "{seen}");
}

/// Pages of a file that memory has and the disk has not, as cachestat(2) counts them; None, with a line that says so, where that cannot be told:
/// before Linux 6.5, and in a file system that has no disk below.
fn unwritten_pages(path: &Path) -> Option<u64> {
    let counted = |path: &Path| {
        let file = std::fs::File::open(path).unwrap();
        let (range, mut pages) = ([0u64; 2], [0u64; 5]);
        // SAFETY: the range (offset, length; 0 is the whole file) and the counts (cached, dirty, under writeback, evicted, recently) are the
        // structures of cachestat(2) and live until it returns.
        let result = unsafe { libc::syscall(451, file.as_raw_fd(), range.as_ptr(), pages.as_mut_ptr(), 0) };
        (result == 0).then_some(pages[1] + pages[2])
    };
    // A control beside it: what nobody synced is counted.
    let control = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
    std::fs::write(control.path(), "x").unwrap();
    if counted(control.path()).is_none_or(|pages| pages == 0) {
        println!("SKIPPED: whether the journal is synced (no cachestat here)");
        return None;
    }
    counted(path)
}

#[test]
fn after_a_reboot_only_what_is_still_ours_goes_back() {
    let bench = mlx5();
    bench.apply(&profile(&["sysctl = \"net.core.rmem_max\"\nmin = 9000000", "sysctl = \"vm.max_map_count\"\nmin = 9000000"])).unwrap();
    // The reboot gives one value its default of that day; the other is kept by a persistent form.
    bench.tree.file("/proc/sys/kernel/random/boot_id", "99999999-2222-3333-4444-555555555555\n").file(RMEM, "425984\n");
    let reverted = bench.revert(false);
    assert!(reverted.after_reboot && reverted.is_complete());
    let endings: Vec<_> = reverted.outcomes.iter().map(|it| it.ending.clone()).collect();
    assert_eq!(endings, [Ending::Rebooted("425984".into()), Ending::Restored]);
    assert_eq!((bench.tree.read(RMEM), bench.tree.read("/proc/sys/vm/max_map_count")), ("425984\n".into(), "65530\n".into()));
    assert!(!bench.is_open());
}

#[test]
fn applying_after_a_reboot_takes_the_boots_values_as_prior() {
    let bench = mlx5();
    let both = profile(&["sysctl = \"net.core.rmem_max\"\nmin = 9000000", "sysctl = \"vm.max_map_count\"\nmin = 9000000"]);
    bench.apply(&both).unwrap();
    bench.tree.file("/proc/sys/kernel/random/boot_id", "99999999-2222-3333-4444-555555555555\n").file(RMEM, "425984\n");
    assert_eq!(bench.apply(&both).unwrap().changed.len(), 1);
    assert!(bench.revert(false).is_complete());
    assert_eq!((bench.tree.read(RMEM), bench.tree.read("/proc/sys/vm/max_map_count")), ("425984\n".into(), "65530\n".into()));
}

#[test]
fn a_journal_of_another_machine_is_refused() {
    let bench = mlx5();
    bench.apply(&built_in("laptop")).unwrap();
    let applied = bench.snapshot();
    bench.tree.file("/etc/machine-id", "ffffffffffffffffffffffffffffffff\n");
    assert!(matches!(State::hold(&bench.state_dir(), &bench.host), Err(StateError::OtherMachine(..))));
    assert!(matches!(peek(&bench.state_dir(), &bench.host), Err(StateError::OtherMachine(..))));
    bench.tree.file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    assert_eq!(bench.snapshot(), applied);
}

#[test]
fn two_at_once_is_refused() {
    let bench = mlx5();
    let _first = bench.hold();
    assert!(matches!(State::hold(&bench.state_dir(), &bench.host), Err(StateError::Busy(_))));
}

#[test]
fn interrupts_are_found_again_by_name() {
    let bench = bench(Tree::i40e, "ens1f1", "2,4-6");
    let settings = profile(&["irq = \"together\"\nvalue = \"{housekeeping_list}\""]);
    bench.apply(&settings).unwrap();
    assert_eq!(bench.tree.read("/proc/irq/91/smp_affinity_list"), "0-1,3,7\n");
    // The driver asked for its interrupts again: 91 is another device's, ours came back as 95.
    let renamed = bench.tree.read("/proc/interrupts").replace("  91:", "  95:");
    bench
        .tree
        .file("/proc/interrupts", &renamed)
        .file("/proc/irq/95/smp_affinity_list", "0-1,3,7\n")
        .file("/proc/irq/91/smp_affinity_list", "5\n");
    assert!(bench.revert(false).is_complete());
    assert_eq!(
        (bench.tree.read("/proc/irq/95/smp_affinity_list"), bench.tree.read("/proc/irq/91/smp_affinity_list")),
        ("0-7\n".into(), "5\n".into())
    );
}

#[test]
fn a_table_that_follows_its_channels_is_theirs_to_come_back() {
    let bench = mlx5();
    let before = bench.snapshot();
    let applied = bench.apply(&profile(&["nic = \"channels:combined\"\nvalue = 4"])).unwrap();
    assert_eq!(
        applied.changed.iter().map(|it| it.target.to_string()).collect::<Vec<_>>(),
        ["nic:enp3s0:channels:combined", "nic:enp3s0:rss"]
    );
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn a_card_that_is_gone_is_reported_and_the_rest_goes_back() {
    let bench = mlx5();
    bench.apply(&built_in("latency")).unwrap();
    std::fs::remove_dir_all(bench.tree.root.join("ethtool/enp3s0")).unwrap();
    let reverted = bench.revert(false);
    assert!(reverted.is_complete() && reverted.outcomes.iter().any(|it| it.ending == Ending::Gone));
    assert_eq!(bench.tree.read(RMEM), "212992\n");
}

#[test]
fn no_value_reaches_a_shell() {
    let bench = mlx5();
    let before = bench.snapshot();
    let hostile = "$(touch pwned); `touch pwned`; echo 'x' > pwned; %n \\\" && reboot";
    let text = format!("sysctl = \"vm.max_map_count\"\nvalue = '''{hostile}'''");
    let applied = bench.apply(&profile(&[&text])).unwrap();
    assert_eq!(bench.tree.read("/proc/sys/vm/max_map_count"), format!("{hostile}\n"));
    bench.tree.file("/proc/sys/vm/max_map_count", "\n");
    let run = std::process::Command::new("sh").args(["-c", &applied.changed[0].command]).current_dir(&bench.tree.root).status().unwrap();
    assert!(run.success() && !bench.tree.root.join("pwned").exists());
    assert_eq!(bench.tree.read("/proc/sys/vm/max_map_count"), format!("{hostile}\n"), "the printed command quotes it");
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn the_printed_commands_do_what_apply_does() {
    let settings = [
        "sysctl = \"net.ipv4.tcp_rmem\"\nmin = \"4096 131072 12582912\"",
        "sysfs = \"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor\"\nvalue = \"performance\"",
        "sysfs = \"/sys/class/net/{interface}/queues/rx-{queue}/rps_cpus\"\nvalue = \"{hot_mask}\"",
        "irq = \"spread\"\nvalue = \"{hot_list}\"",
    ];
    let (by_samara, by_hand) = (mlx5(), mlx5());
    by_samara.apply(&profile(&settings)).unwrap();
    let plan = Plan::new(&by_hand.host, &profile(&settings), &by_hand.selection);
    // The managed interrupt: a file takes what the kernel would refuse.
    for step in plan.changes().filter(|step| !step.target.to_string().contains("comp4")) {
        let command = step.target.command(&by_hand.host, &step.wanted);
        assert!(std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
    }
    let strip = |bench: &Bench| -> Vec<_> {
        bench.snapshot().into_iter().map(|(path, text)| (path.strip_prefix(&bench.tree.root).unwrap().to_path_buf(), text)).collect()
    };
    assert_eq!(strip(&by_samara), strip(&by_hand));
    assert_eq!(by_hand.tree.read("/proc/irq/121/smp_affinity_list"), "5\n");
    assert_eq!(by_hand.tree.read("/sys/class/net/enp3s0/queues/rx-1/rps_cpus"), "00000ff0\n");
}

#[test]
fn a_damaged_journal_stops_everything_and_a_torn_one_does_not() {
    let bench = mlx5();
    let before = bench.snapshot();
    bench.apply(&built_in("latency")).unwrap();
    let journal = bench.state_dir().join("journal");
    let good = std::fs::read(&journal).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 4;
    std::fs::write(&journal, &bad).unwrap();
    assert!(State::hold(&bench.state_dir(), &bench.host).is_err_and(|error| error.to_string().contains("is damaged")));
    std::fs::write(&journal, [&good[..], b"00000000 {\"record\":\"st"].concat()).unwrap();
    assert!(bench.revert(false).is_complete());
    assert_eq!(bench.snapshot(), before);
}
