//! What this process may do: capabilities, limits, and the switches for io_uring and BPF. A service has its own, from its
//! unit: where that is installed, what another process may do is told and not judged.

use super::{Finding, Severity, View};

const STATUS: &str = "/proc/self/status";
const LIMITS: &str = "/proc/self/limits";
/// Where the unit of the package and those of an operator lie.
const UNITS: [&str; 3] =
    ["/etc/systemd/system/samara.service", "/usr/lib/systemd/system/samara.service", "/lib/systemd/system/samara.service"];

/// Capabilities the AF_XDP rung and pinned, preferred reactors use: bit and name.
const WANTED: [(u32, &str); 6] = [(12, "NET_ADMIN"), (13, "NET_RAW"), (14, "IPC_LOCK"), (23, "SYS_NICE"), (38, "PERFMON"), (39, "BPF")];

/// Below this the rings of the service reactor cannot be registered, bytes.
const MEMLOCK_LEAST: u64 = 512 << 10;
/// Frame pool of one AF_XDP port of 65,536 frames of 2 KiB, bytes.
const MEMLOCK_WANTED: u64 = 128 << 20;
/// Clients, peers and store files of one validator.
const NOFILE_WANTED: u64 = 65_536;
const NOFILE_LEAST: u64 = 1024;

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    let of_process = [capabilities(view), memory_lock(view), open_files(view), nice(view)];
    let elsewhere = has_unit(view) && !is_service(view);
    let mut findings: Vec<Finding> = of_process.into_iter().map(|finding| told(finding, elsewhere)).collect();
    findings.push(uring_switch(view));
    findings.push(bpf_switch(view));
    findings.push(seccomp(view));
    findings
}

fn has_unit(view: &View<'_>) -> bool {
    UNITS.iter().any(|path| view.host.exists(path))
}

/// This process is one of the service, under the limits of its unit.
fn is_service(view: &View<'_>) -> bool {
    view.host.read("/proc/self/cgroup").is_ok_and(|text| text.lines().any(|line| line.split('/').any(|part| part == "samara.service")))
}

/// Says whose limits and capabilities these are; those of a shell keep no service from running.
fn told(mut finding: Finding, elsewhere: bool) -> Finding {
    finding.source.push_str(", of this process; the unit sets its own");
    let severity = if elsewhere { finding.severity.min(Severity::Info) } else { finding.severity };
    finding.judged(severity)
}

fn mask(view: &View<'_>) -> u64 {
    view.field(STATUS, "CapEff").ok().and_then(|text| u64::from_str_radix(&text, 16).ok()).unwrap_or(0)
}

fn has(mask: u64, bit: u32) -> bool {
    mask >> bit & 1 == 1
}

fn capabilities(view: &View<'_>) -> Finding {
    let should = "NET_ADMIN, NET_RAW, IPC_LOCK, SYS_NICE, PERFMON, BPF";
    if let Err(error) = view.field(STATUS, "CapEff") {
        return Finding::unread("capabilities", should, STATUS, &error);
    }
    let (held, missing): (Vec<_>, Vec<_>) = WANTED.iter().partition(|(bit, _)| has(mask(view), *bit));
    let names = |list: Vec<(u32, &str)>| list.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    let is = if missing.is_empty() { format!("all six ({:016x})", mask(view)) } else { format!("missing: {}", names(missing.clone())) };
    let cost = match (held.len(), missing.len()) {
        (_, 0) => "none".to_string(),
        _ => "transport xdp is not available, io_uring or udp are used; reactors keep the normal priority".into(),
    };
    Finding::new("capabilities", is, should, STATUS)
        .why("AF_XDP attaches a program and locks memory; reactors take a priority")
        .cost(cost)
        .worse(!missing.is_empty(), Severity::Warn, "run as the packaged service, whose unit grants them, or as root")
}

/// The soft limit in a row of `/proc/self/limits`; `u64::MAX` for unlimited.
fn limit(view: &View<'_>, name: &str) -> Option<(u64, String)> {
    let text = view.host.read(LIMITS).ok()?;
    let row = text.lines().find_map(|line| line.strip_prefix(name))?;
    let soft = row.split_whitespace().next()?.to_string();
    let number = if soft == "unlimited" { u64::MAX } else { soft.parse().ok()? };
    Some((number, soft))
}

fn limited(view: &View<'_>, id: &str, name: &str, should: &str, judge: impl FnOnce(u64, Finding) -> Finding) -> Finding {
    match limit(view, name) {
        Some((number, soft)) => judge(number, Finding::new(id, soft, should, LIMITS)),
        None => Finding::new(id, "not here", should, LIMITS).judged(Severity::Info),
    }
}

fn memory_lock(view: &View<'_>) -> Finding {
    let free = has(mask(view), 14);
    limited(view, "memory-lock", "Max locked memory", "unlimited, or 134217728 bytes per AF_XDP port", |bytes, finding| {
        let finding = finding.why("frame pools and rings are locked, so that the kernel and the card can write them at any time");
        let finding = match (bytes >= MEMLOCK_WANTED, free) {
            (true, _) => finding.cost("none"),
            (false, true) => finding.cost("none for this user: CAP_IPC_LOCK lifts the limit"),
            (false, false) => finding.cost("frame pools do not fit: transport xdp fails to open with ENOBUFS"),
        };
        let fix = "LimitMEMLOCK=infinity in the unit, or: ulimit -l unlimited";
        let severity = if free { Severity::Info } else { Severity::Warn };
        finding.worse(bytes < MEMLOCK_WANTED, severity, fix).worse(bytes < MEMLOCK_LEAST && !free, Severity::Fail, fix)
    })
}

fn open_files(view: &View<'_>) -> Finding {
    limited(view, "file-limit", "Max open files", "65536 or more", |count, finding| {
        let fix = format!("LimitNOFILE={NOFILE_WANTED} in the unit, or: ulimit -n {NOFILE_WANTED}");
        finding
            .why("every client, peer and store file takes a descriptor")
            .cost(if count < NOFILE_WANTED { format!("clients beyond about {count} are refused") } else { "none".into() })
            .worse(count < NOFILE_WANTED, Severity::Warn, &fix)
            .worse(count < NOFILE_LEAST, Severity::Fail, fix)
    })
}

fn nice(view: &View<'_>) -> Finding {
    let may = has(mask(view), 23);
    limited(view, "priority", "Max nice priority", "40, or CAP_SYS_NICE", |ceiling, finding| {
        finding
            .why("a reactor that sleeps shares its CPU with everybody of the same priority")
            .cost(if may { "none for this user: CAP_SYS_NICE lifts the limit" } else { "other programs run before a woken reactor" })
            .worse(ceiling < 40 && !may, Severity::Info, "LimitNICE=-20 in the unit")
    })
}

fn uring_switch(view: &View<'_>) -> Finding {
    let path = "/proc/sys/kernel/io_uring_disabled";
    view.file("io-uring-switch", path, "0", |text| {
        Finding::new("io-uring-switch", text, "0", path)
            .why("clients, storage and the uring transport use io_uring")
            .cost(match text {
                "0" => "none",
                "1" => "only the group of kernel.io_uring_group, or CAP_SYS_ADMIN, may make rings",
                _ => "no process may make a ring: samara run does not start",
            })
            .worse(text == "1", Severity::Warn, "sysctl -w kernel.io_uring_disabled=0")
            .worse(text == "2", Severity::Fail, "sysctl -w kernel.io_uring_disabled=0")
    })
}

fn bpf_switch(view: &View<'_>) -> Finding {
    let path = "/proc/sys/kernel/unprivileged_bpf_disabled";
    view.file("bpf-switch", path, "1 or 2", |text| {
        Finding::new("bpf-switch", text, "1 or 2", path)
            .why("the XDP program is loaded with CAP_BPF; nobody without it needs to load programs on a validator")
            .cost(if text == "0" { "every user of this host may load programs into the kernel" } else { "none" })
            .worse(text == "0", Severity::Info, "sysctl -w kernel.unprivileged_bpf_disabled=2")
    })
}

fn seccomp(view: &View<'_>) -> Finding {
    let should = "0, or a filter that passes io_uring and bpf";
    view.field(STATUS, "Seccomp").map_or_else(
        |error| Finding::unread("seccomp", should, STATUS, &error),
        |mode| {
            Finding::new("seccomp", &mode, should, STATUS)
                .why("containers filter io_uring_setup and bpf")
                .cost(if mode == "0" { "none" } else { "a check on every system call; see io-uring, bpf and af-xdp for what it passes" })
                .judged(if mode == "0" { Severity::Ok } else { Severity::Info })
        },
    )
}
