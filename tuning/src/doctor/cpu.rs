//! CPUs: siblings, isolation, the set this process may use, who moves interrupts.

use super::{Finding, Severity, View};
use crate::host::CpuSet;

const CMDLINE: &str = "/proc/cmdline";
const ISOLATED: &str = "/sys/devices/system/cpu/isolated";
const TICKLESS: &str = "/sys/devices/system/cpu/nohz_full";

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    let mut findings = vec![siblings(view), isolation(view), tickless(view), callbacks(view), cpuset(view), balancer(view)];
    findings.extend(view.interfaces.iter().map(|interface| interrupts(view, interface)));
    findings
}

/// The boot parameter that gives the reactors' CPUs to `name`; where nobody named them, with an example for this host.
fn boot_parameter(view: &View<'_>, name: &str) -> String {
    if !view.hot.is_empty() {
        return format!("boot parameter {name}={}", view.hot);
    }
    match example(view).to_string().as_str() {
        "" => "more CPUs: this host has none to set apart".into(),
        cpus => format!("boot parameter {name}={cpus} (an example: name the reactors' CPUs with --core)"),
    }
}

/// Two cores of their own for the two reactors: the last ones, and never one that shares a core with the first CPU.
fn example(view: &View<'_>) -> CpuSet {
    let online = view.host.online_cpus();
    let siblings = |cpu: u32| {
        let text = view.host.read(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).unwrap_or_default();
        CpuSet::parse_list(&text).unwrap_or_default()
    };
    let Some(first) = online.iter().next() else { return CpuSet::default() };
    let own = siblings(first);
    // Of each core its first thread.
    let cores = online.iter().filter(|cpu| *cpu != first && !own.iter().any(|sibling| sibling == *cpu));
    let cores: Vec<u32> = cores.filter(|cpu| siblings(*cpu).iter().next().is_none_or(|lowest| lowest == *cpu)).collect();
    cores.iter().rev().take(2).copied().collect()
}

fn siblings(view: &View<'_>) -> Finding {
    let path = |cpu: u32| format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let looked_at = if view.hot.is_empty() { view.host.online_cpus() } else { view.hot.clone() };
    let should = "one thread per core for the reactors";
    let Some(first) = looked_at.iter().next() else {
        return Finding::new("smt", "not here", should, "/sys/devices/system/cpu/online").judged(Severity::Info);
    };
    if let Err(error) = view.host.read(&path(first)) {
        return Finding::unread("smt", should, path(first), &error);
    }
    let groups = looked_at.iter().filter_map(|cpu| Some((cpu, CpuSet::parse_list(&view.host.read(&path(cpu)).ok()?)?)));
    let shared: Vec<(u32, CpuSet)> = groups.filter(|(_, group)| group.count() > 1).collect();
    let source = shared.first().map_or(path(first), |(cpu, _)| path(*cpu));
    let is = match shared.first() {
        None => format!("no siblings on {looked_at}"),
        Some((cpu, group)) => format!("{} of {} share a core (CPU {cpu}: {group})", shared.len(), looked_at.count()),
    };
    let severity = if view.hot.is_empty() { Severity::Info } else { Severity::Warn };
    Finding::new("smt", is, should, source)
        .why("a spinning reactor takes half of its sibling's core, and the sibling takes half of the reactor's")
        .cost(if shared.is_empty() { "none" } else { "up to half the speed of a reactor while the sibling works" })
        .worse(!shared.is_empty(), severity, "echo off > /sys/devices/system/cpu/smt/control, or leave the siblings idle")
}

fn isolation(view: &View<'_>) -> Finding {
    let should = "the reactors' CPUs";
    view.file("isolation", ISOLATED, should, |text| {
        let isolated = CpuSet::parse_list(text).unwrap_or_default();
        let is = if isolated.is_empty() { "no CPU isolated".to_string() } else { format!("isolated: {isolated}") };
        let bad = isolated.is_empty() || !view.hot.within(&isolated);
        Finding::new("isolation", is, should, ISOLATED)
            .why("the scheduler puts other threads on a CPU that is not isolated, in the middle of a view")
            .cost(if bad { "see timer-wake-up: its tail is what a reactor waits" } else { "none" })
            .worse(bad, guest_or_warn(view), format!("{}, or cpuset.cpus.partition=isolated", boot_parameter(view, "isolcpus")))
    })
}

/// A guest has few CPUs and no say over the host's: isolation there is worth knowing, not a fault.
fn guest_or_warn(view: &View<'_>) -> Severity {
    if view.guest { Severity::Info } else { Severity::Warn }
}

fn tickless(view: &View<'_>) -> Finding {
    let should = "the reactors' CPUs";
    view.file("nohz-full", TICKLESS, should, |text| {
        let tickless = CpuSet::parse_list(text).unwrap_or_default();
        let bad = tickless.is_empty() || !view.hot.within(&tickless);
        Finding::new("nohz-full", if tickless.is_empty() { "none".into() } else { tickless.to_string() }, should, TICKLESS)
            .why("the timer tick interrupts a spinning reactor 100 to 1000 times a second")
            .cost(if bad { "some microseconds per tick" } else { "none" })
            .worse(bad, guest_or_warn(view), boot_parameter(view, "nohz_full"))
    })
}

fn callbacks(view: &View<'_>) -> Finding {
    let should = "the reactors' CPUs";
    view.file("rcu-nocbs", CMDLINE, should, |text| {
        let named = text.split_whitespace().find_map(|word| word.strip_prefix("rcu_nocbs="));
        let bad = named.is_none_or(|list| list != "all" && !CpuSet::parse_list(list).is_some_and(|cpus| view.hot.within(&cpus)));
        Finding::new("rcu-nocbs", named.unwrap_or("none"), should, CMDLINE)
            .why("callbacks of the kernel run in softirq on the CPU that queued them")
            .cost(if bad { "some microseconds at random moments" } else { "none" })
            .worse(bad, guest_or_warn(view), boot_parameter(view, "rcu_nocbs"))
    })
}

fn cpuset(view: &View<'_>) -> Finding {
    let path = "/proc/self/status";
    let online = view.host.online_cpus();
    let should = format!("all of {online}, or at least the reactors' CPUs");
    let allowed = view.field(path, "Cpus_allowed_list");
    let text = match allowed {
        Ok(text) => text,
        Err(error) => return Finding::unread("cpuset", should, path, &error),
    };
    let allowed = CpuSet::parse_list(&text).unwrap_or_default();
    let missing = view.hot.without(&allowed);
    let narrow = !online.within(&allowed);
    Finding::new("cpuset", &text, should, path)
        .why("a reactor cannot be pinned to a CPU outside the set of its process")
        .cost(match (missing.is_empty(), narrow) {
            (false, _) => format!("pinning to {missing} fails"),
            (true, true) => format!("CPUs {} are not used", online.without(&allowed)),
            (true, false) => "none".into(),
        })
        .worse(narrow && view.hot.is_empty(), Severity::Info, "")
        .worse(!missing.is_empty() && !view.hot.is_empty(), Severity::Warn, "AllowedCPUs= of the unit, or the cpuset of the container")
}

fn balancer(view: &View<'_>) -> Finding {
    let should = "not running, or told to leave the card's interrupts";
    let names = match view.host.list("/proc") {
        Ok(names) => names,
        Err(error) => return Finding::unread("irqbalance", should, "/proc", &error),
    };
    let is_number = |name: &&String| name.bytes().all(|byte| byte.is_ascii_digit());
    let comm = |name: &String| format!("/proc/{name}/comm");
    let found = names.iter().filter(is_number).map(comm).find(|path| view.host.read(path).is_ok_and(|name| name == "irqbalance"));
    let is = if found.is_some() { "running" } else { "not running" };
    Finding::new("irqbalance", is, should, found.as_deref().unwrap_or("/proc"))
        .why("it moves the card's interrupts back onto the reactors' CPUs")
        .cost(if found.is_some() { "interrupt masks drift; samara tune check shows it" } else { "none" })
        .worse(found.is_some(), Severity::Warn, "systemctl disable --now irqbalance")
}

fn interrupts(view: &View<'_>, interface: &str) -> Finding {
    let id = format!("irq-placement:{interface}");
    let should = if view.hot.is_empty() { "known CPUs".to_string() } else { format!("off the reactors' CPUs {}", view.hot) };
    let irqs = match view.host.irqs_of(interface) {
        Ok(irqs) => irqs,
        Err(error) => return Finding::unread(id, should, format!("/sys/class/net/{interface}/device/msi_irqs"), &error),
    };
    let path = |number: u32| format!("/proc/irq/{number}/smp_affinity_list");
    let place = |number: u32| Some((number, CpuSet::parse_list(&view.host.read(&path(number)).ok()?)?));
    let places: Vec<(u32, CpuSet)> = irqs.iter().filter_map(|irq| place(irq.number)).collect();
    let on_hot = |(_, cpus): &&(u32, CpuSet)| cpus.iter().any(|cpu| view.hot.iter().any(|hot| hot == cpu));
    let bad: Vec<&(u32, CpuSet)> = places.iter().filter(on_hot).collect();
    let Some((first, _)) = bad.first().copied().or(places.first()) else {
        return Finding::new(id, "no interrupt of its own", should, "/proc/interrupts").judged(Severity::Info);
    };
    let shown: Vec<String> = places.iter().take(4).map(|(number, cpus)| format!("{number} on {cpus}")).collect();
    let more = if places.len() > 4 { format!(" and {} more", places.len() - 4) } else { String::new() };
    Finding::new(id, format!("{}{more}", shown.join(", ")), should, path(*first))
        .why("an interrupt on a reactor's CPU stops it for some microseconds, and brings softirq with it")
        .cost(if bad.is_empty() { "none".into() } else { format!("{} of {} interrupts may stop a reactor", bad.len(), places.len()) })
        .judged(if view.hot.is_empty() { Severity::Info } else { Severity::Ok })
        .worse(!bad.is_empty(), Severity::Warn, view.tune())
}
