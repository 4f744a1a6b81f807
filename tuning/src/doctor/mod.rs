//! Looks at a host the way a validator will use it, and says what is, what should be, why, what it costs and what repairs it.
//!
//! Rules: what can be tried is tried (a ring is made, a program loaded), what can be measured is measured, and only the rest is read and
//! compared; every finding names the file it was read from; nothing is changed, and what this user may not see is said to be invisible
//! instead of guessed. Recommended values are those of the profile that `samara tune` would apply, so the two never disagree.
//!
//! ```text
//! Host --+- kernel, access, cpu, memory, nic, drops     files and ethtool
//!        +- settings                                    the plan of the recommended profile
//!        +- trials, disk, wakeup                        this machine only: tried and measured
//! ```

mod access;
mod cpu;
mod disk;
mod drops;
mod finding;
mod kernel;
mod memory;
mod nic;
mod settings;
mod trials;
mod wakeup;

pub use finding::{Finding, Severity};

use crate::host::{CpuSet, Host, HostError};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// What the operator chose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Interfaces of the validator; those with a device that are up, if none is named.
    pub interfaces: Vec<String>,
    /// CPUs of the reactors; those the kernel isolates, if none is named.
    pub cores: CpuSet,
    /// Directory whose disk is measured with small durable writes.
    pub disk: Option<PathBuf>,
    /// Directory that is measured when none is named, where this user may write it.
    pub usual_disk: Option<PathBuf>,
    /// Time for all measurements together; zero leaves them out.
    pub measure: Duration,
}

/// All findings on a host.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order of examination.
    pub findings: Vec<Finding>,
    /// Counts, and what the examination was about.
    pub summary: Summary,
}

/// What the whole comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Findings in order.
    pub ok: usize,
    /// Findings that judge nothing.
    pub info: usize,
    /// Findings that cost speed or packets.
    pub warn: usize,
    /// Findings that keep Samara from running.
    pub fail: usize,
    /// Profile whose values were taken as what should be.
    pub profile: &'static str,
    /// Interfaces looked at.
    pub interfaces: Vec<String>,
    /// CPUs of the reactors, as a list; empty when none is reserved.
    pub cores: String,
}

impl Report {
    /// Names of the findings that keep Samara from running.
    pub fn failed(&self) -> Vec<&str> {
        self.findings.iter().filter(|it| it.severity == Severity::Fail).map(|it| it.id.as_str()).collect()
    }
}

/// Examines a host. Tries and measures only on this machine, not on a recorded tree.
pub fn examine(host: &Host, options: &Options) -> Report {
    let view = View::new(host, options);
    let mut findings = Vec::new();
    findings.extend(kernel::check(&view));
    findings.extend(access::check(&view));
    findings.extend(trials::check(&view));
    findings.extend(cpu::check(&view));
    findings.extend(memory::check(&view));
    findings.extend(nic::check(&view));
    findings.extend(settings::check(&view));
    findings.extend(drops::check(&view));
    let share = options.measure / 2;
    findings.extend(wakeup::check(&view, share));
    findings.extend(disk::check(options.disk.as_deref(), options.usual_disk.as_deref(), share));
    let count = |severity| findings.iter().filter(|it: &&Finding| it.severity == severity).count();
    let summary = Summary {
        ok: count(Severity::Ok),
        info: count(Severity::Info),
        warn: count(Severity::Warn),
        fail: count(Severity::Fail),
        profile: view.profile(),
        interfaces: view.interfaces.clone(),
        cores: view.hot.to_string(),
    };
    Report { findings, summary }
}

/// The host with what the checks share.
struct View<'a> {
    host: &'a Host,
    interfaces: Vec<String>,
    /// CPUs of the reactors; empty when none is reserved.
    hot: CpuSet,
    /// A guest of a hypervisor.
    guest: bool,
}

impl<'a> View<'a> {
    fn new(host: &'a Host, options: &Options) -> View<'a> {
        let used = |name: &String| {
            let read = |file: &str| host.read(&format!("/sys/class/net/{name}/{file}"));
            // A recorded tree may not say whether the link is up.
            host.exists(&format!("/sys/class/net/{name}/device")) && read("operstate").map_or(true, |state| state != "down")
        };
        let interfaces = match options.interfaces.is_empty() {
            true => host.interfaces().into_iter().filter(used).collect(),
            false => options.interfaces.clone(),
        };
        let hot = if options.cores.is_empty() { host.isolated_cpus() } else { options.cores.clone() };
        View { host, interfaces, hot, guest: kernel::is_guest(host) }
    }

    fn profile(&self) -> &'static str {
        if self.guest { "virtual" } else { "latency" }
    }

    /// The command that applies the recommended profile.
    fn tune(&self) -> String {
        let interfaces: String = self.interfaces.iter().map(|name| format!(" --interface {name}")).collect();
        let hot = if self.hot.is_empty() { String::new() } else { format!(" --hot-cpus {}", self.hot) };
        format!("samara tune apply --profile {}{interfaces}{hot}", self.profile())
    }

    /// Reads a file and judges its text; a file that cannot be read is said to be so.
    fn file(&self, id: &str, path: &str, should: &str, judge: impl FnOnce(&str) -> Finding) -> Finding {
        self.host.read(path).map_or_else(|error| Finding::unread(id, should, path, &error), |text| judge(&text))
    }

    /// A line `key: value` of a file such as `/proc/self/status`.
    fn field(&self, path: &str, key: &str) -> Result<String, HostError> {
        let text = self.host.read(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.map(|value| value.trim().to_string()).ok_or_else(|| HostError::Absent(format!("{key} in {path}")))
    }
}
