//! The kernel itself: its release against those known to hang, whether a hypervisor is below it, and its clock.

use super::{Finding, Severity, View};
use crate::host::Host;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::time::Instant;

const RELEASE: &str = "/proc/sys/kernel/osrelease";
const CPUINFO: &str = "/proc/cpuinfo";
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// A kernel's version.
type Version = (u32, u32, u32);

/// Kernels known to break a validator: version, builds of the distribution, what happens.
const DENIED: [(Version, RangeInclusive<u32>, &str); 1] =
    [((6, 8, 0), 56..=59, "threads hang in D state under io_uring (Monad's operator guide names 6.8.0-56 to -59)")];
/// The asynchronous runtime of the service reactor needs this much.
const LEAST: Version = (5, 8, 0);
/// io_uring with deferred task work and provided buffer rings, AF_XDP with preferred busy polling.
const WANTED: Version = (6, 1, 0);

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    vec![release(view), virtualisation(view), clock(view)]
}

/// Whether the CPU says that a hypervisor runs below.
pub(super) fn is_guest(host: &Host) -> bool {
    let flags = host.read(CPUINFO).unwrap_or_default();
    let flags = flags.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    flags.split_whitespace().any(|flag| flag == "hypervisor") || host.exists("/sys/hypervisor/type")
}

fn release(view: &View<'_>) -> Finding {
    let should = "6.1 or newer, and not 6.8.0-56 to -59";
    view.file("kernel", RELEASE, should, |text| {
        let finding = Finding::new("kernel", text, should, RELEASE).why("io_uring and AF_XDP differ by kernel in speed and in bugs");
        let Some((version, build)) = parse(text) else {
            return finding.cost("unknown: the release has another form than A.B.C-D").judged(Severity::Info);
        };
        if let Some((_, _, harm)) = DENIED.iter().find(|(denied, builds, _)| *denied == version && builds.contains(&build)) {
            return finding.cost(harm).worse(true, Severity::Fail, "install a newer kernel of your distribution, then reboot");
        }
        let newer = "install kernel 6.1 or newer, then reboot";
        let finding = match version < WANTED {
            true => finding.cost("no deferred task work and no buffer rings: more system calls per datagram"),
            false => finding.cost("none"),
        };
        finding.worse(version < WANTED, Severity::Warn, newer).worse(version < LEAST, Severity::Fail, newer)
    })
}

/// `6.8.0-57-generic` is version (6, 8, 0), build 57.
fn parse(release: &str) -> Option<((u32, u32, u32), u32)> {
    let (version, build) = release.split_once('-').unwrap_or((release, ""));
    let leading = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u32>().ok());
    let mut numbers = version.split('.').map(leading);
    let version = (numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0));
    Some((version, leading(build).unwrap_or(0)))
}

fn virtualisation(view: &View<'_>) -> Finding {
    let should = "bare metal";
    view.file("virtualisation", CPUINFO, should, |_| {
        let is = if view.guest { "guest of a hypervisor" } else { "bare metal" };
        let finding = Finding::new("virtualisation", is, should, CPUINFO);
        let finding = finding.why("a hypervisor takes the CPU away at moments that no setting of the guest decides");
        if !view.guest {
            return finding.cost("none");
        }
        let stolen =
            stolen_percent(view.host).map_or("not visible".into(), |percent| format!("{percent:.2} % of the busy time since boot"));
        finding.cost(format!("stolen time (/proc/stat): {stolen}")).judged(Severity::Info)
    })
}

/// Part of the CPU time in which something wanted to run that the hypervisor kept.
fn stolen_percent(host: &Host) -> Option<f64> {
    let text = host.read("/proc/stat").ok()?;
    let times: Vec<f64> = text.lines().next()?.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6, 7].into_iter().map(|at| times.get(at)).sum::<Option<f64>>()?;
    (busy > 0.0).then(|| 100.0 * times[7] / busy)
}

fn clock(view: &View<'_>) -> Finding {
    let should = "tsc";
    view.file("clock-source", CLOCK, should, |source| {
        let offered = view.host.read("/sys/devices/system/clocksource/clocksource0/available_clocksource").unwrap_or_default();
        let finding = Finding::new("clock-source", source, should, CLOCK)
            .why("reactors read the clock on every turn; sources other than tsc leave the process or the guest for it");
        let finding = match view.host.is_real() {
            true => finding.cost(format!("{:.0} ns per reading, measured", reading_ns())),
            false => finding.cost("not measured: a recorded tree"),
        };
        let known = ["tsc", "arch_sys_counter", "stp", "timebase"].contains(&source);
        let fix = match offered.split_whitespace().any(|name| name == "tsc") {
            true => format!("echo tsc > {CLOCK}"),
            false => "boot parameter tsc=reliable, when the CPU has invariant_tsc".into(),
        };
        // Clocks of hypervisors are read without leaving the guest.
        let virtual_clock = ["kvm-clock", "hyperv_clocksource_tsc_page", "xen"].contains(&source);
        finding.worse(!known && !virtual_clock, Severity::Warn, &fix).worse(virtual_clock, Severity::Info, &fix)
    })
}

/// Cost of one reading of the clock, ns.
fn reading_ns() -> f64 {
    const READINGS: u32 = 20_000;
    let start = Instant::now();
    for _ in 0..READINGS {
        black_box(Instant::now());
    }
    start.elapsed().as_nanos() as f64 / f64::from(READINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_read() {
        assert_eq!(parse("6.8.0-57-generic"), Some(((6, 8, 0), 57)));
        assert_eq!(parse("6.18.44-fc-v657"), Some(((6, 18, 44), 0)));
        assert_eq!(parse("6.1.0+deb"), Some(((6, 1, 0), 0)));
        assert_eq!(parse("5.4"), Some(((5, 4, 0), 0)));
        assert_eq!(parse("unknown"), None);
    }
}
