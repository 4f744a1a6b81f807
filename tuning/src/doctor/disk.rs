//! How long a small durable write takes, measured: 4 KiB at a time, overwritten in place in a preallocated file with `O_DSYNC`, as the vote
//! log does. The file has no name from the moment it is open, so nothing is left whatever ends the process.

use super::{Finding, Severity};
use hdrhistogram::Histogram;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of a write.
const BLOCK: usize = 4096;
/// Blocks of the file.
const BLOCKS: u64 = 256;
/// Writes at most.
const WRITES_MAX: u64 = 20_000;
/// A write later than this at the 99th percentile shows in every view, us.
const SLOW_US: u64 = 2000;
const MOUNTS: &str = "/proc/self/mountinfo";

pub(super) fn check(named: Option<&Path>, usual: Option<&Path>, time: Duration) -> Option<Finding> {
    if time.is_zero() {
        return None;
    }
    let should = "p99 below 2000 us";
    let Some(directory) = named.or(usual) else {
        let finding = Finding::new("disk-sync", "not measured: no directory named", should, "--disk DIR");
        return Some(finding.why("a vote is sent only when it is durable").judged(Severity::Info));
    };
    Some(match measure(directory, time) {
        Ok(times) => judge(directory, &times),
        Err(error) => unwritten(directory, named.is_some(), &error),
    })
}

/// Only a directory that somebody named is one that this user has to be able to write: the service's own belongs to its user.
fn unwritten(directory: &Path, named: bool, error: &io::Error) -> Finding {
    let denied = !named && error.kind() == io::ErrorKind::PermissionDenied;
    let is = if denied { "not visible without root".to_string() } else { format!("cannot write: {error}") };
    let finding = Finding::new("disk-sync", is, "p99 below 2000 us", directory.display()).why("a vote is sent only when it is durable");
    match (named, denied) {
        (true, _) => finding.cost("the validator does not start with this directory").worse(
            true,
            Severity::Fail,
            "a directory that this user may write (data_dir in samara.toml)",
        ),
        (false, true) => finding.judged(Severity::Info),
        (false, false) => finding.cost("not measured").worse(true, Severity::Warn, "--disk DIR names the directory of the validator"),
    }
}

/// Duration of every write, us.
fn measure(directory: &Path, time: Duration) -> io::Result<Histogram<u64>> {
    let file = nameless(directory)?;
    let block = [0x5a; BLOCK];
    for place in 0..BLOCKS {
        file.write_all_at(&block, place * BLOCK as u64)?;
    }
    file.sync_all()?;
    let mut times: Histogram<u64> = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds in order");
    let end = Instant::now() + time;
    for place in 0..WRITES_MAX {
        let start = Instant::now();
        file.write_all_at(&block, place % BLOCKS * BLOCK as u64)?;
        times.saturating_record(start.elapsed().as_micros() as u64);
        if Instant::now() >= end {
            break;
        }
    }
    Ok(times)
}

/// A durable file in a directory, without a name.
fn nameless(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!(".samara-doctor-{}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).custom_flags(libc::O_DSYNC).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn judge(directory: &Path, times: &Histogram<u64>) -> Finding {
    let of = |quantile: f64| times.value_at_quantile(quantile);
    let mount = fs::read_to_string(MOUNTS).ok().zip(directory.canonicalize().ok());
    let (kind, device) = mount.and_then(|(text, place)| mount_of(&text, &place)).unwrap_or(("unknown".into(), "unknown".into()));
    let memory = ["tmpfs", "ramfs"].contains(&kind.as_str());
    let is = format!("p50 {} p90 {} p99 {} p99.9 {} max {} us ({kind} on {device})", of(0.5), of(0.9), of(0.99), of(0.999), times.max());
    let finding = Finding::new(
        "disk-sync",
        is,
        "p99 below 2000 us",
        format!("measured: {} durable 4 KiB writes in {}", times.len(), directory.display()),
    );
    finding
        .why("a vote is sent only when it is durable: each view waits for one such write")
        .cost(match memory {
            true => "in memory: a power cut loses the votes, and the validator may vote twice".into(),
            false => format!("{} us per vote at the median, {} us in one of a hundred", of(0.5), of(0.99)),
        })
        .worse(of(0.99) > SLOW_US, Severity::Warn, "a disk with power-loss protection for the validator's directory; nothing else on it")
        .worse(memory, Severity::Warn, "a directory on a disk")
}

/// Kind of file system and device of the mount that holds a path: the longest mount point that leads to it, the last of equals.
fn mount_of(mountinfo: &str, path: &Path) -> Option<(String, String)> {
    let row = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let point = front.split(' ').nth(4)?.replace("\\040", " ");
        let mut back = back.split(' ');
        path.starts_with(&point).then_some((point.len(), back.next()?.to_string(), back.next()?.to_string()))
    };
    mountinfo.lines().filter_map(row).max_by_key(|(length, ..)| *length).map(|(_, kind, device)| (kind, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Duration = Duration::from_millis(1);

    #[test]
    fn writes_are_measured_and_no_file_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let times = measure(dir.path(), TINY).unwrap();
        assert!(!times.is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_fails() {
        let (nowhere, dir) = (Path::new("/nonexistent/samara"), tempfile::tempdir().unwrap());
        let finding = check(Some(nowhere), Some(dir.path()), TINY).unwrap();
        assert_eq!(finding.severity, Severity::Fail, "the one that was named counts");
        assert_eq!(check(None, None, TINY).unwrap().severity, Severity::Info);
        assert!(check(None, None, Duration::ZERO).is_none());
        assert!(check(None, Some(dir.path()), TINY).unwrap().is.starts_with("p50"));
    }

    #[test]
    fn the_services_own_directory_fails_nobody_who_may_not_write_there() {
        let finding =
            |named: bool, code: i32| unwritten(Path::new("/var/lib/samara/validator"), named, &io::Error::from_raw_os_error(code));
        let (denied, named) = (finding(false, libc::EACCES), finding(true, libc::EACCES));
        assert_eq!((denied.severity, denied.is.as_str()), (Severity::Info, "not visible without root"));
        assert_eq!(named.severity, Severity::Fail);
        assert_eq!(finding(false, libc::ENOSPC).severity, Severity::Warn);
    }

    #[test]
    fn slow_writes_are_a_warning_with_their_figures() {
        let mut times = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
        times.record_n(100, 90).unwrap();
        assert_eq!(judge(Path::new("/proc"), &times).severity, Severity::Ok);
        times.record_n(9000, 10).unwrap();
        let finding = judge(Path::new("/proc"), &times);
        assert_eq!(finding.severity, Severity::Warn);
        assert!(finding.is.starts_with("p50 100 p90 100 p99 90"), "{}", finding.is);
    }

    #[test]
    fn the_mount_of_a_path_is_the_longest_that_leads_to_it() {
        let text =
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /data rw shared:1 - xfs /dev/nvme0n1 rw\n3 1 0:6 / /dat rw - tmpfs none rw\n";
        let of = |path: &str| mount_of(text, Path::new(path)).unwrap().1;
        assert_eq!((of("/data/a"), of("/dat/a"), of("/database")), ("/dev/nvme0n1".into(), "none".into(), "/dev/sda1".into()));
    }
}
