//! One value of the machine: how it is named in a journal, read, compared, set, and set by hand.

use crate::host::ethtool::Item;
use crate::host::{CpuSet, Host, HostError, Irq};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// Where a value lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Target {
    /// A file below `/proc` or `/sys`; prints as its path.
    File(String),
    /// The CPUs that serve an interrupt; prints as `irq:NUMBER:NAME`.
    Irq(Irq),
    /// An item of a network card; prints as `nic:INTERFACE:ITEM`.
    Nic {
        /// The interface.
        interface: String,
        /// The item.
        item: Item,
    },
}

/// What a target says, with what its driver tells about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The value; of a choice in brackets, the chosen word.
    pub value: String,
    /// Words a choice offers; empty when any value may be tried.
    pub offered: Vec<String>,
    /// Largest count.
    pub max: Option<u64>,
    /// The driver offers no way to change it.
    pub fixed: bool,
}

impl Target {
    /// The value there.
    pub fn read(&self, host: &Host) -> Result<Now, HostError> {
        let plain = |value: String| Now { value, offered: Vec::new(), max: None, fixed: false };
        match self {
            Target::File(path) => host.read(path).map(|text| with_offer(host, path, text)),
            Target::Irq(irq) => host.read(&irq_file(host, irq)?).map(plain),
            Target::Nic { interface, item } => {
                let reading = host.ethtool().read(interface, item)?;
                Ok(Now { value: reading.value, offered: Vec::new(), max: reading.max, fixed: reading.fixed })
            }
        }
    }

    /// Sets the value. The kernel may round it; read back.
    pub fn write(&self, host: &Host, value: &str) -> Result<(), HostError> {
        match self {
            Target::File(path) => host.write(path, value),
            Target::Irq(irq) => host.write(&irq_file(host, irq)?, value),
            Target::Nic { interface, item } => host.ethtool().write(interface, item, value),
        }
    }

    /// The shell command that sets `value`, quoted so that a shell takes it as it is.
    pub fn command(&self, host: &Host, value: &str) -> String {
        let echo = |path: &str| {
            let place = if host.is_real() { path.to_string() } else { format!("{}{path}", host.root().display()) };
            format!("echo {} > {}", quoted(value), quoted(&place))
        };
        match self {
            Target::File(path) if host.is_real() && path.starts_with("/proc/sys/") => {
                format!("sysctl -w {}={}", quoted(&path["/proc/sys/".len()..]), quoted(value))
            }
            Target::File(path) => echo(path),
            Target::Irq(irq) => echo(&irq_file(host, irq).unwrap_or_else(|_| affinity_list(irq.number))),
            Target::Nic { interface, item } => item.command(&quoted(interface), value),
        }
    }

    /// Whether two values of this target are the same to the kernel: sets of CPUs as sets, numbers whatever is between them.
    pub fn same(&self, one: &str, other: &str) -> bool {
        self.canonical(one) == self.canonical(other)
    }

    fn canonical(&self, value: &str) -> String {
        let cpus = match self {
            Target::Irq(_) => CpuSet::parse_list(value),
            Target::File(path) if is_list(path) => CpuSet::parse_list(value),
            Target::File(path) if is_mask(path) => CpuSet::parse_mask(value),
            _ => None,
        };
        cpus.map_or_else(|| value.split_whitespace().collect::<Vec<_>>().join(" "), |cpus| cpus.to_string())
    }
}

/// Files of the kernel that are settings: a journal names nothing else.
fn is_setting(path: &str) -> bool {
    (path.starts_with("/proc/sys/") || path.starts_with("/sys/")) && !path.split('/').any(|part| part == "..")
}

/// Masks of CPUs are written in hexadecimal.
pub fn is_mask(path: &str) -> bool {
    path.ends_with("cpumask") || path.ends_with("_cpus") || path.ends_with("/smp_affinity")
}

fn is_list(path: &str) -> bool {
    path.ends_with("_affinity_list") || path.ends_with("cpuset.cpus")
}

fn affinity_list(number: u32) -> String {
    format!("/proc/irq/{number}/smp_affinity_list")
}

fn irq_file(host: &Host, irq: &Irq) -> Result<String, HostError> {
    let number = host.irq_named(&irq.action, irq.number);
    number.map(affinity_list).ok_or_else(|| HostError::Absent(format!("interrupt {}", irq.action)))
}

/// A choice in brackets offers its words; a frequency governor offers those of the file beside it.
fn with_offer(host: &Host, path: &str, text: String) -> Now {
    let bracketed = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']')).map(str::to_string);
    let words = |text: &str| text.split_whitespace().map(|word| word.trim_matches(['[', ']']).to_string()).collect();
    match bracketed {
        Some(chosen) => Now { value: chosen, offered: words(&text), max: None, fixed: false },
        None => {
            let beside = path.strip_suffix("scaling_governor").map(|dir| format!("{dir}scaling_available_governors"));
            let offered = beside.and_then(|file| host.read(&file).ok()).map(|text| words(&text)).unwrap_or_default();
            Now { value: text, offered, max: None, fixed: false }
        }
    }
}

/// `text` as one word of a POSIX shell.
pub fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,=+@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) { text.to_string() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Target::File(path) => f.write_str(path),
            Target::Irq(irq) => write!(f, "irq:{}:{}", irq.number, irq.action),
            Target::Nic { interface, item } => write!(f, "nic:{interface}:{item}"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let bad = || format!("{text:?} names no setting");
        let mut parts = text.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(path), None, None) if is_setting(path) => Ok(Target::File(path.to_string())),
            (Some("irq"), Some(number), Some(action)) => {
                Ok(Target::Irq(Irq { number: number.parse().map_err(|_| bad())?, action: action.to_string() }))
            }
            (Some("nic"), Some(interface), Some(item)) => {
                Ok(Target::Nic { interface: interface.to_string(), item: item.parse().map_err(|_| bad())? })
            }
            // PCI addresses in a path have colons.
            _ if is_setting(text) => Ok(Target::File(text.to_string())),
            _ => Err(bad()),
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Target, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_back_from_their_text() {
        for text in
            ["/proc/sys/net/core/rmem_max", "/sys/bus/pci/devices/0000:03:00.0/x", "irq:40:mlx5_comp0@pci:0000:03:00.0", "nic:eth0:ring:rx"]
        {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in ["", "/etc/passwd", "/proc/1/root/etc/passwd", "/proc/sysrq-trigger", "/sys/../etc/passwd", "irq:x:y", "nic:eth0:fan"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_compared_as_the_kernel_means_them() {
        let file = |path: &str| Target::File(path.into());
        assert!(file("/proc/sys/net/ipv4/tcp_rmem").same("4096\t131072\t6291456", "4096 131072 6291456"));
        assert!(file("/sys/devices/virtual/workqueue/cpumask").same("00000000,00000003", "3"));
        assert!(!file("/sys/devices/virtual/workqueue/cpumask").same("3", "1"));
        assert!(Target::Irq(Irq { number: 1, action: "a".into() }).same("0-3", "0,1,2,3"));
        assert!(!file("/proc/sys/net/core/rmem_max").same("10", "16"));
    }

    #[test]
    fn a_quoted_word_reaches_the_program_as_it_is() {
        for text in ["", "a b", "$(touch /tmp/x)", "it's", "`x`; y", "*", "4096 8192"] {
            let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(text))]).output().unwrap();
            assert_eq!(output.stdout, text.as_bytes());
        }
    }
}
