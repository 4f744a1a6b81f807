//! Everything a scrape can say, gathered at one moment.

use super::Published;
use crate::config::Layout;
use crate::service::Metrics;
use samara_dataplane::counters::{HotSnapshot, HotStats};
use samara_tuning::state::STATE_DIR;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long directory sizes are taken for true: a walk costs a system call per file.
const DISK_EVERY: Duration = Duration::from_secs(5);
/// How long a look at the host's settings is taken for true: it reads some hundred files and asks the network card.
const TUNING_EVERY: Duration = Duration::from_secs(60);

/// The figures of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Both reactors' published figures; None before the first.
    pub metrics: Option<Arc<Metrics>>,
    /// How old they are, seconds.
    pub age_s: f64,
    /// The hot reactor's counters, at most a housekeeping old.
    pub hot: HotSnapshot,
    /// Files on disk.
    pub disk: Disk,
    /// Counters of the network namespace.
    pub host: Host,
    /// Host settings, if any are applied.
    pub tuning: Option<Tuning>,
    /// Chain id, hexadecimal.
    pub chain: String,
    /// When the process started, seconds since 1970.
    pub started_unix_s: f64,
    /// Times the endpoint could not take its address, or ended.
    pub endpoint_failures: u64,
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Vote log.
    pub votes: u64,
    /// Body journal.
    pub bodies: u64,
    /// Block store.
    pub blocks: u64,
    /// Free for us on their file system.
    pub free: u64,
    /// Size of their file system.
    pub size: u64,
}

/// What `samara tune apply` set on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Values in its journal.
    pub values: u64,
    /// Those that say something else by now.
    pub drifted: u64,
}

/// What the kernel dropped of all sockets of this network namespace, since the host started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Error counters of /proc/net/snmp's Udp line, by the kernel's name.
    pub udp: Vec<(&'static str, u64)>,
    /// Packets dropped because a CPU's backlog was full (softnet_stat, second column).
    pub softnet_dropped: u64,
    /// Times a CPU's receive loop ran out of its budget (third column).
    pub softnet_squeezed: u64,
}

/// Makes pictures of one validator.
pub struct Source {
    published: Arc<Published>,
    hot: Arc<HotStats>,
    layout: Layout,
    chain: String,
    started_unix_s: f64,
    disk: Option<(Instant, Disk)>,
    tuning: Option<(Instant, Option<Tuning>)>,
}

impl Source {
    /// A validator whose reactors publish into `published` and `hot`.
    pub fn new(published: Arc<Published>, hot: Arc<HotStats>, layout: Layout, chain: String) -> Source {
        Source { published, hot, layout, chain, started_unix_s: unix_now().as_secs_f64(), disk: None, tuning: None }
    }

    /// The figures at this moment.
    pub fn picture(&mut self) -> Picture {
        let metrics = self.published.get();
        let age_ms = metrics.as_ref().map_or(0, |metrics| (unix_now().as_millis() as u64).saturating_sub(metrics.written_unix_ms));
        Picture {
            metrics,
            age_s: age_ms as f64 / 1e3,
            hot: self.hot.snapshot(),
            disk: self.disk(),
            host: Host::now(),
            tuning: self.tuning(),
            chain: self.chain.clone(),
            started_unix_s: self.started_unix_s,
            endpoint_failures: 0,
        }
    }

    fn tuning(&mut self) -> Option<Tuning> {
        match self.tuning {
            Some((at, tuning)) if at.elapsed() < TUNING_EVERY => tuning,
            _ => {
                let tuning = Tuning::of(Path::new(STATE_DIR), &samara_tuning::host::Host::real());
                self.tuning = Some((Instant::now(), tuning));
                tuning
            }
        }
    }

    fn disk(&mut self) -> Disk {
        match self.disk {
            Some((at, disk)) if at.elapsed() < DISK_EVERY => disk,
            _ => {
                let disk = Disk::of(&self.layout);
                self.disk = Some((Instant::now(), disk));
                disk
            }
        }
    }
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Disk {
    fn of(layout: &Layout) -> Disk {
        let (size, free) = file_system(&layout.votes);
        Disk { votes: bytes_in(&layout.votes), bodies: bytes_in(&layout.bodies), blocks: bytes_in(&layout.blocks), free, size }
    }
}

/// Bytes of the files directly in a directory; files that vanish meanwhile count nothing.
fn bytes_in(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(|metadata| metadata.is_file()).map(|metadata| metadata.len()).sum()
}

/// Size of the file system a directory is on, and what of it is free for an ordinary user; zeros where it does not say.
fn file_system(directory: &Path) -> (u64, u64) {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(PathBuf::from(directory).as_os_str().as_bytes()) else { return (0, 0) };
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends in a NUL, and statvfs fills the structure that is passed; all of it being zero is a valid value of it.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return (0, 0);
        }
        stat.assume_init()
    };
    (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize)
}

impl Tuning {
    /// None where nothing is applied, and where the journal is another machine's, damaged, or not ours to read.
    fn of(state_dir: &Path, host: &samara_tuning::host::Host) -> Option<Tuning> {
        let session = samara_tuning::state::peek(state_dir, host).ok().flatten()?;
        // What this user may not see is no drift.
        let drifted = samara_tuning::revert::check(host, &session).drifts.len() as u64;
        Some(Tuning { values: session.entries.len() as u64, drifted })
    }
}

impl Host {
    fn now() -> Host {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Host::parse(&read("/proc/net/snmp"), &read("/proc/net/softnet_stat"))
    }

    fn parse(snmp: &str, softnet: &str) -> Host {
        let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:")).map(str::split_whitespace);
        let counters: Vec<(&str, &str)> = lines.next().into_iter().flatten().zip(lines.next().into_iter().flatten()).collect();
        let of = |name: &'static str| {
            let value = counters.iter().find(|(found, _)| *found == name)?.1.parse().ok()?;
            Some((name, value))
        };
        let column = |at: usize| softnet.lines().filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(at)?, 16).ok()).sum();
        let errors = ["InErrors", "RcvbufErrors", "SndbufErrors", "InCsumErrors", "MemErrors"];
        Host { udp: errors.into_iter().filter_map(of).collect(), softnet_dropped: column(1), softnet_squeezed: column(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_counters_are_found_by_name_and_added_over_cpus() {
        let snmp = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams InErrors RcvbufErrors\nUdp: 9 8 7\nUdpLite: InErrors\nUdpLite: 5\n";
        let host = Host::parse(snmp, "000a 0001 0010 0\n000b 000f 0001 0\n");
        assert_eq!(host, Host { udp: vec![("InErrors", 8), ("RcvbufErrors", 7)], softnet_dropped: 16, softnet_squeezed: 17 });
        assert_eq!(Host::parse("", "nonsense"), Host::default());
    }

    #[test]
    fn directory_sizes_count_files_and_a_missing_directory_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), [0; 1000]).unwrap();
        std::fs::create_dir(directory.path().join("b")).unwrap();
        assert_eq!(bytes_in(directory.path()), 1_000);
        assert_eq!(bytes_in(&directory.path().join("none")), 0);
        let (size, free) = file_system(directory.path());
        assert!(size > 0 && free <= size);
    }
}
