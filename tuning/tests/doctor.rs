//! The doctor on recorded hosts, good, bad and bare, and on this machine against the files it cites.

mod support;

use samara_tuning::apply::apply;
use samara_tuning::doctor::{Finding, Options, Report, Severity, examine};
use samara_tuning::host::{CpuSet, Host};
use samara_tuning::plan::Selection;
use samara_tuning::profile::Profile;
use samara_tuning::state::State;
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::Tree;

const SNMP: &str = "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\nUdp: 900 1 100 800 100 0\nUdpLite: InDatagrams RcvbufErrors\nUdpLite: 5 5\n";
const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1048576              1048576              files     \nMax locked memory         unlimited            unlimited            bytes     \nMax nice priority         40                   40                   \n";

/// What a server has beyond the files that tuning writes.
fn server(tree: &Tree) {
    let device = "pci0000:00/0000:00:02.0/0000:03:00.0";
    tree.file("/proc/sys/kernel/osrelease", "6.12.9-amd64\n")
        .file("/proc/cpuinfo", "processor : 0\nflags\t\t: fpu tsc msr\n")
        .file("/proc/stat", "cpu  100 0 100 5000 0 0 0 0 0 0\n")
        .file("/proc/cmdline", "quiet rcu_nocbs=4-11\n")
        .file("/proc/self/status", "Name:\tsamara\nCapEff:\t000001ffffffffff\nSeccomp:\t0\nCpus_allowed_list:\t0-15\n")
        .file("/proc/self/limits", LIMITS)
        .file("/proc/sys/kernel/io_uring_disabled", "0\n")
        .file("/proc/sys/kernel/unprivileged_bpf_disabled", "2\n")
        .file(
            "/proc/meminfo",
            "MemAvailable:   64000000 kB\nHugePages_Total:     512\nHugePages_Free:      512\nHugepagesize:       2048 kB\n",
        )
        .file("/proc/net/snmp", &SNMP.replace("100 800 100", "0 800 0"))
        .file("/proc/net/softnet_stat", "00000010 00000000 00000001 0\n00000010 00000000 00000000 0\n")
        .file("/proc/1/comm", "init\n")
        .file("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
        .file("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm\n")
        .file("/sys/devices/system/cpu/isolated", "4-11\n")
        .file("/sys/devices/system/cpu/nohz_full", "4-11\n")
        .file("/sys/devices/system/node/online", "0-1\n")
        .file("/sys/devices/system/node/node0/cpulist", "0-15\n")
        .file("/sys/devices/system/node/node1/cpulist", "16-31\n")
        .file(&format!("/sys/devices/{device}/numa_node"), "0\n")
        .file("/sys/bus/pci/drivers/mlx5_core/bind", "")
        .link(&format!("/sys/devices/{device}/driver"), "../../../../bus/pci/drivers/mlx5_core")
        .file(&format!("/sys/devices/{device}/net/enp3s0/operstate"), "up\n")
        .file(&format!("/sys/devices/{device}/net/enp3s0/speed"), "25000\n")
        .file("/ethtool/enp3s0/xdp", "basic redirect ndo-xmit xsk-zerocopy rx-sg\n")
        .file("/ethtool/enp3s0/statistics", "rx_packets 7\nrx_discards_phy 0\nrx_xdp_drop 0\n");
    (2..8).for_each(|queue| {
        tree.file(&format!("/sys/devices/{device}/net/enp3s0/queues/rx-{queue}/rps_cpus"), "0\n");
    });
    (0..16).for_each(|cpu| {
        tree.file(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), &format!("{cpu}\n"));
    });
}

struct Bench {
    tree: Tree,
    host: Host,
    _dir: tempfile::TempDir,
}

fn mlx5() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::mlx5(dir.path());
    server(&tree);
    Bench { host: Host::under(dir.path()), tree, _dir: dir }
}

impl Bench {
    fn report(&self) -> Report {
        examine(&self.host, &Options::default())
    }

    fn finding(&self, id: &str) -> Finding {
        find(&self.report(), id).clone()
    }
}

fn find<'a>(report: &'a Report, id: &str) -> &'a Finding {
    let ids = || report.findings.iter().map(|it| it.id.as_str()).collect::<Vec<_>>();
    report.findings.iter().find(|it| it.id == id).unwrap_or_else(|| panic!("{id} is not among {:?}", ids()))
}

fn severities(report: &Report, severity: Severity) -> Vec<&str> {
    report.findings.iter().filter(|it| it.severity == severity).map(|it| it.id.as_str()).collect()
}

#[test]
fn a_server_tuned_by_the_recommended_profile_has_nothing_to_repair_but_what_its_card_refuses() {
    let bench = mlx5();
    let before = bench.report();
    assert_eq!(before.summary.profile, "latency");
    assert_eq!(before.summary.interfaces, ["enp3s0"]);
    assert!(severities(&before, Severity::Warn).contains(&"receive-buffer-max"));
    let selection = Selection { interfaces: vec!["enp3s0".into()], hot: CpuSet::parse_list("4-11").unwrap(), port: None };
    let profile = Profile::built_in("latency").unwrap().unwrap();
    // An interrupt that the kernel manages cannot be moved: it is taken away here, and judged below.
    fs::remove_file(bench.tree.root.join("proc/irq/124/managed")).unwrap();
    let mut state = State::hold(&bench.tree.root.join("var"), &bench.host).unwrap();
    apply(&bench.host, &mut state, &profile, &selection, &mut |_| ()).unwrap();
    let after = bench.report();
    assert_eq!(severities(&after, Severity::Warn), Vec::<&str>::new());
    assert_eq!(severities(&after, Severity::Fail), Vec::<&str>::new());
}

#[test]
fn without_named_cores_every_text_is_for_people_and_every_command_can_be_typed() {
    let bare = |build: fn(&Path) -> Tree, siblings: &[(u32, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        let tree = build(dir.path());
        tree.file("/sys/devices/system/cpu/nohz_full", "\n").file("/proc/cmdline", "quiet\n");
        for (cpu, text) in siblings {
            tree.file(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), text);
        }
        let report = examine(&Host::under(dir.path()), &Options::default());
        for it in &report.findings {
            for text in [&it.is, &it.should, &it.why, &it.cost, &it.fix, &it.source] {
                assert!(!text.contains(['{', '}']) && !text.contains("LIST"), "{}: {text}", it.id);
            }
        }
        assert_eq!(find(&report, "channels").should, "one per reactor");
        find(&report, "isolation").fix.clone()
    };
    assert!(bare(Tree::mlx5, &[]).starts_with("boot parameter isolcpus=14-15 (an example"));
    assert!(bare(Tree::virtio, &[]).starts_with("boot parameter isolcpus=1 (an example"));
    assert!(bare(Tree::virtio, &[(0, "0-1\n"), (1, "0-1\n")]).starts_with("more CPUs"), "its only other CPU shares the core of the first");
    let pairs: Vec<(u32, String)> = (0..8).map(|cpu| (cpu, format!("{},{}\n", cpu % 4, cpu % 4 + 4))).collect();
    let pairs: Vec<(u32, &str)> = pairs.iter().map(|(cpu, text)| (*cpu, text.as_str())).collect();
    assert!(bare(Tree::i40e, &pairs).starts_with("boot parameter isolcpus=2-3 (an example"), "one thread of each core");
}

/// One change to the good host, the finding it shows in, and how bad that is.
#[test]
fn each_fault_shows_in_its_finding_with_a_way_out() {
    let cases: [(&str, &str, &str, Severity); 29] = [
        ("/proc/sys/kernel/osrelease", "6.8.0-57-generic\n", "kernel", Severity::Fail),
        ("/proc/sys/kernel/osrelease", "6.8.0-56-generic\n", "kernel", Severity::Fail),
        ("/proc/sys/kernel/osrelease", "6.8.0-59-generic\n", "kernel", Severity::Fail),
        ("/proc/sys/kernel/osrelease", "6.0.19\n", "kernel", Severity::Warn),
        ("/proc/sys/kernel/osrelease", "5.7.0\n", "kernel", Severity::Fail),
        ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n", "clock-source", Severity::Warn),
        ("/proc/self/status", "CapEff:\t0000007fffffffff\nSeccomp:\t0\n", "capabilities", Severity::Warn),
        ("/proc/self/limits", "Max open files            1023   4096  files\n", "file-limit", Severity::Fail),
        ("/proc/self/limits", "Max open files            65535  65535  files\n", "file-limit", Severity::Warn),
        ("/proc/sys/kernel/io_uring_disabled", "2\n", "io-uring-switch", Severity::Fail),
        ("/proc/sys/kernel/io_uring_disabled", "1\n", "io-uring-switch", Severity::Warn),
        ("/proc/sys/kernel/unprivileged_bpf_disabled", "0\n", "bpf-switch", Severity::Info),
        ("/proc/meminfo", "MemAvailable: 4194303 kB\nHugePages_Total: 512\nHugePages_Free: 255\n", "huge-pages", Severity::Warn),
        ("/proc/meminfo", "MemAvailable: 4194303 kB\nHugePages_Total: 512\nHugePages_Free: 255\n", "memory", Severity::Warn),
        ("/proc/net/snmp", SNMP, "drops-udp", Severity::Warn),
        ("/proc/net/softnet_stat", "00000010 0000000a 0\n00000010 00000001 0\n", "drops-softirq", Severity::Warn),
        ("/proc/77/comm", "irqbalance\n", "irqbalance", Severity::Warn),
        ("/proc/cmdline", "quiet\n", "rcu-nocbs", Severity::Warn),
        ("/sys/devices/system/cpu/nohz_full", "4-10\n", "nohz-full", Severity::Warn),
        ("/sys/devices/system/cpu/isolated", "\n", "isolation", Severity::Warn),
        ("/sys/devices/system/cpu/cpu4/topology/thread_siblings_list", "4,12\n", "smt", Severity::Warn),
        ("/sys/class/net/enp3s0/device/numa_node", "1\n", "numa", Severity::Warn),
        ("/sys/class/net/enp3s0/mtu", "9000\n", "mtu:enp3s0", Severity::Warn),
        ("/sys/class/net/enp3s0/mtu", "1280\n", "mtu:enp3s0", Severity::Warn),
        ("/ethtool/enp3s0/xdp", "\n", "xdp-features:enp3s0", Severity::Warn),
        ("/ethtool/enp3s0/xdp", "basic redirect\n", "xdp-features:enp3s0", Severity::Info),
        ("/ethtool/enp3s0/statistics", "rx_discards_phy 12\n", "drops-card:enp3s0", Severity::Warn),
        ("/ethtool/enp3s0/statistics", "rx_xdp_drop 3\n", "drops-xdp:enp3s0", Severity::Warn),
        ("/proc/self/status", "CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-7\n", "cpuset", Severity::Warn),
    ];
    let good = mlx5().report();
    for (path, text, id, severity) in cases {
        let bench = mlx5();
        let place = bench.host.locate(path).unwrap();
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
        let (finding, before) = (bench.finding(id), find(&good, id));
        assert_eq!((before.severity, finding.severity), (Severity::Ok, severity), "{path} = {text:?}: {finding:?}");
        assert!(!finding.why.is_empty() && !finding.cost.is_empty(), "{finding:?}");
        assert!(severity < Severity::Warn || !finding.fix.is_empty(), "{finding:?}");
    }
}

#[test]
fn kernels_beside_the_denied_ones_are_not_denied() {
    for release in ["6.8.0-55-generic", "6.8.0-60-generic", "6.8.1-57-generic", "6.1.0-1-amd64"] {
        let bench = mlx5();
        bench.tree.file("/proc/sys/kernel/osrelease", release);
        assert_eq!(bench.finding("kernel").severity, Severity::Ok, "{release}");
    }
}

#[test]
fn a_small_memory_lock_is_fatal_only_for_those_it_binds() {
    let bench = mlx5();
    let limits = |bytes: u64| {
        LIMITS.replace("locked memory         unlimited            unlimited", &format!("locked memory         {bytes}            {bytes}"))
    };
    let unprivileged = "CapEff:\t0000000000000000\n";
    for (bytes, status, severity) in [
        ((512 << 10) - 1, unprivileged, Severity::Fail),
        (512 << 10, unprivileged, Severity::Warn),
        ((128 << 20) - 1, unprivileged, Severity::Warn),
        (128 << 20, unprivileged, Severity::Ok),
        (65_536, "CapEff:\t000001ffffffffff\n", Severity::Info),
    ] {
        bench.tree.file("/proc/self/limits", &limits(bytes)).file("/proc/self/status", status);
        assert_eq!(bench.finding("memory-lock").severity, severity, "{bytes} {status}");
    }
}

#[test]
fn what_the_shell_may_do_is_not_held_against_an_installed_service() {
    let ids = ["capabilities", "memory-lock", "file-limit", "priority"];
    let bench = mlx5();
    bench.tree.file("/proc/self/status", "CapEff:\t0000000000000000\n");
    bench.tree.file("/proc/self/limits", "Max open files 1023 4096 files\nMax locked memory 4096 4096 bytes\nMax nice priority 0 0\n");
    let severities = || ids.map(|id| bench.finding(id).severity);
    use Severity::{Fail, Info, Warn};
    let judged = [Warn, Fail, Fail, Info];
    assert_eq!(severities(), judged);
    bench.tree.file("/lib/systemd/system/samara.service", "[Service]\n");
    assert_eq!(severities(), [Info; 4]);
    assert!(ids.iter().all(|id| bench.finding(id).source.ends_with("of this process; the unit sets its own")));
    bench.tree.file("/proc/self/cgroup", "0::/system.slice/samara.service\n");
    assert_eq!(severities(), judged, "in the service itself they are what counts");
    let unit = include_str!("../../ops/systemd/samara.service");
    let limit = unit.lines().find(|line| line.starts_with("LimitNOFILE=")).unwrap();
    assert!(bench.finding("file-limit").fix.starts_with(&format!("{limit} in the unit")), "the unit that is shipped says {limit}");
}

#[test]
fn a_driver_is_in_order_only_if_it_has_the_native_mode() {
    let bench = mlx5();
    let driver = |name: &str| {
        let place = bench.tree.root.join("sys/devices/pci0000:00/0000:00:02.0/0000:03:00.0/driver");
        fs::remove_file(&place).unwrap();
        bench.tree.file(&format!("/sys/bus/pci/drivers/{name}/bind"), "");
        std::os::unix::fs::symlink(format!("../../../../bus/pci/drivers/{name}"), place).unwrap();
        let finding = bench.finding("nic-driver:enp3s0");
        (finding.severity, finding.is)
    };
    assert_eq!(driver("igc"), (Severity::Ok, "igc".into()));
    assert_eq!(driver("sfc"), (Severity::Ok, "sfc".into()), "the kernel says that it has it");
    bench.tree.file("/ethtool/enp3s0/xdp", "\n");
    assert_eq!(driver("r8169"), (Severity::Warn, "r8169: no native XDP".into()));
    fs::remove_file(bench.tree.root.join("ethtool/enp3s0/xdp")).unwrap();
    assert_eq!(driver("r8169"), (Severity::Info, "r8169: not known for native XDP".into()));
}

#[test]
fn a_loss_since_boot_offers_no_value_that_is_there_or_lower() {
    const BACKLOG: &str = "/proc/sys/net/core/netdev_max_backlog";
    let bench = mlx5();
    bench.tree.file("/proc/net/snmp", SNMP).file("/proc/net/softnet_stat", "00000010 0000000a 0\n");
    bench.tree.file(BACKLOG, "16383\n");
    let (udp, softirq) = (bench.finding("drops-udp"), bench.finding("drops-softirq"));
    assert_eq!((udp.severity, softirq.severity), (Severity::Warn, Severity::Warn));
    assert!(udp.fix.contains("rmem_max") && udp.fix.contains("134217728") && !udp.fix.contains("wmem"), "the other is larger: {}", udp.fix);
    assert!(softirq.fix.contains("16384"), "as the profile: {}", softirq.fix);
    bench.tree.file(BACKLOG, "70000\n").file("/proc/sys/net/core/rmem_max", "268435456\n");
    for id in ["drops-udp", "drops-softirq"] {
        let finding = bench.finding(id);
        assert_eq!((finding.severity, finding.fix.as_str()), (Severity::Info, "since boot; the settings are right now"), "{id}");
    }
    fs::remove_file(bench.tree.root.join(&BACKLOG[1..])).unwrap();
    assert_eq!(bench.finding("drops-softirq").severity, Severity::Warn, "what is not seen is not said to be right");
}

#[test]
fn groups_of_sessions_are_not_judged_where_cgroups_share_out_the_cpus() {
    let bench = mlx5();
    let finding = |controllers: &str| {
        bench.tree.file("/sys/fs/cgroup/cgroup.subtree_control", controllers);
        bench.finding("session-groups")
    };
    assert_eq!(bench.finding("session-groups").severity, Severity::Warn);
    assert_eq!(finding("cpuset io memory\n").severity, Severity::Warn);
    let without = finding("cpuset cpu io memory\n");
    assert_eq!(without.severity, Severity::Info);
    assert!(without.fix.starts_with("CPUWeight=") && without.why.contains("cgroup.subtree_control"), "{without:?}");
}

#[test]
fn figures_are_those_of_the_files() {
    let bench = mlx5();
    bench.tree.file("/proc/net/snmp", SNMP).file("/proc/net/softnet_stat", "00000010 0000000a 0\n00000010 00000001 2\n");
    bench.tree.file("/proc/stat", "cpu  100 0 50 5000 7 20 10 20 0 0\n").file("/proc/cpuinfo", "flags : tsc hypervisor\n");
    let report = bench.report();
    assert_eq!(find(&report, "drops-udp").is, "RcvbufErrors 100, InErrors 100, SndbufErrors 0");
    assert_eq!(find(&report, "drops-udp").cost, "10.000 % of 1000 datagrams since boot");
    assert_eq!(find(&report, "drops-softirq").is, "dropped 11, out of time 2");
    assert!(find(&report, "receive-buffer-max").cost.starts_with("100 datagrams lost"));
    assert!(find(&report, "virtualisation").cost.contains("10.00 %"), "{:?}", find(&report, "virtualisation"));
    assert_eq!(report.summary.profile, "virtual");
    assert_eq!(find(&report, "nic-driver:enp3s0").is, "mlx5_core");
    assert_eq!(find(&report, "link:enp3s0").is, "up, 25000 Mbit/s");
    assert_eq!(find(&report, "queues:enp3s0").is, "8 receive, 1 send");
}

#[test]
fn an_interrupt_on_a_reactors_cpu_is_named() {
    let bench = mlx5();
    (120..125).for_each(|number| {
        bench.tree.file(&format!("/proc/irq/{number}/smp_affinity_list"), "0-3\n");
    });
    assert_eq!(bench.finding("irq-placement:enp3s0").severity, Severity::Ok);
    bench.tree.file("/proc/irq/122/smp_affinity_list", "3-4\n");
    let finding = bench.finding("irq-placement:enp3s0");
    assert_eq!((finding.severity, finding.source.as_str()), (Severity::Warn, "/proc/irq/122/smp_affinity_list"));
}

#[test]
fn an_old_kernel_that_tells_no_xdp_features_is_judged_by_no_guess() {
    let bench = mlx5();
    fs::remove_file(bench.tree.root.join("ethtool/enp3s0/xdp")).unwrap();
    let finding = bench.finding("xdp-features:enp3s0");
    assert_eq!((finding.severity, finding.is.as_str()), (Severity::Info, "not visible; mlx5_core is known for native mode"));
}

#[test]
fn what_this_user_may_not_read_is_told_to_be_invisible() {
    use std::os::unix::fs::PermissionsExt;
    let bench = mlx5();
    let place = bench.tree.root.join("proc/sys/kernel/io_uring_disabled");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&place).is_ok() {
        return println!("skipped: this user reads files without permission; `doctor` of node runs the same as another user");
    }
    let finding = bench.finding("io-uring-switch");
    assert_eq!((finding.severity, finding.is.as_str()), (Severity::Info, "not visible without root"));
}

#[test]
fn an_empty_host_is_examined_without_a_judgement() {
    let dir = tempfile::tempdir().unwrap();
    let report = examine(&Host::under(dir.path()), &Options::default());
    assert!(severities(&report, Severity::Warn).is_empty() && report.failed().is_empty(), "{:?}", report.findings);
    assert!(report.findings.len() > 20 && report.summary.info > 20);
}

/// Every recorded layout gives a finding for each subject, with unique names and a place it was read from.
#[test]
fn every_recorded_host_is_examined_in_full() {
    type Builder = fn(&Path) -> Tree;
    let hosts: [(Builder, &str); 3] = [(Tree::mlx5, "enp3s0"), (Tree::i40e, "ens1f1"), (Tree::virtio, "eth0")];
    for (build, interface) in hosts {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path());
        let report = examine(&Host::under(dir.path()), &Options { cores: CpuSet::parse_list("1").unwrap(), ..Options::default() });
        assert_eq!(report.summary.interfaces, [interface]);
        let mut ids: Vec<&str> = report.findings.iter().map(|it| it.id.as_str()).collect();
        for id in ["kernel", "capabilities", "governor", "transparent-huge-pages", "hashed-fields", "interrupts", "numa", "huge-pages-2m"] {
            assert!(ids.iter().any(|known| *known == id || known.starts_with(&format!("{id}:"))), "{id} of {interface}: {ids:?}");
        }
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count, "names are unique");
        assert!(report.findings.iter().all(|it| !it.source.is_empty() && !it.is.is_empty() && !it.should.is_empty()));
    }
}

/// On this machine: what a finding says is what the file it cites says, read here without the doctor's code.
#[test]
fn findings_on_this_machine_are_what_their_files_say() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { disk: Some(dir.path().into()), measure: Duration::from_millis(60), ..Options::default() };
    let report = examine(&Host::real(), &options);
    let verbatim = ["kernel", "clock-source", "io-uring-switch", "bpf-switch", "receive-buffer-max", "send-buffer-max", "backlog", "maps"];
    let mut compared = 0;
    for finding in report.findings.iter().filter(|it| it.severity != Severity::Info && verbatim.contains(&it.id.as_str())) {
        assert_eq!(fs::read_to_string(&finding.source).unwrap().trim(), finding.is, "{}", finding.id);
        compared += 1;
    }
    assert!(compared >= 4, "only {compared} files of this machine were compared");
    let cited = |it: &&Finding| it.source.starts_with('/') && it.severity != Severity::Info && !it.id.starts_with("nic-master");
    for finding in report.findings.iter().filter(cited) {
        let path = finding.source.split(", ").next().unwrap();
        assert!(Path::new(path).exists(), "{} cites {path}", finding.id);
    }
    let word = |path: &str, key: &str, at: usize| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().find(|line| line.starts_with(key)).unwrap()[key.len()..].split_whitespace().nth(at).unwrap().to_string()
    };
    assert_eq!(find(&report, "file-limit").is, word("/proc/self/limits", "Max open files", 0));
    assert_eq!(find(&report, "memory-lock").is, word("/proc/self/limits", "Max locked memory", 0));
    assert_eq!(find(&report, "seccomp").is, word("/proc/self/status", "Seccomp:", 0));
    assert!(find(&report, "huge-pages").is.contains(&format!("of {} free", word("/proc/meminfo", "HugePages_Total:", 0))));
    for interface in &report.summary.interfaces {
        let mtu = fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).unwrap();
        assert_eq!(find(&report, &format!("mtu:{interface}")).is, mtu.trim());
    }
    assert!(report.findings.iter().any(|it| it.id.starts_with("timer-wake-up:cpu")));
    assert!(find(&report, "disk-sync").source.contains("durable 4 KiB writes"));
    for id in ["io-uring", "bpf", "af-xdp"] {
        assert!(find(&report, id).source.starts_with("tried: "));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left in the measured directory");
}

#[test]
fn the_report_is_one_json_document_with_the_promised_keys() {
    let value = serde_json::to_value(mlx5().report()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&value), ["findings", "summary"]);
    let mut expected = ["id", "severity", "is", "should", "why", "cost", "fix", "source"].map(String::from).to_vec();
    expected.sort();
    let mut found = keys(&value["findings"][0]);
    found.sort();
    assert_eq!(found, expected);
    let words = ["ok", "info", "warn", "fail"];
    assert!(value["findings"].as_array().unwrap().iter().all(|it| words.contains(&it["severity"].as_str().unwrap())));
}
