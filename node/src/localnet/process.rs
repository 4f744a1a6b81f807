//! One validator process: its own process group, dead when we are dead, its CPU time and memory from `/proc`.

use crate::exit::Exit;
use crate::netns::{self, Namespace};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time, seconds.
    pub cpu_s: f64,
    /// Resident memory, KiB.
    pub rss_kib: u64,
}

/// A running child. Dropping it kills its group.
pub struct Process {
    child: Child,
    reaped: Option<ExitStatus>,
}

impl Process {
    /// Starts `program arguments..` with stdout and stderr appended to `log`. Call it on a thread that lives as long as the child
    /// shall: the kernel kills the child when the thread that started it ends.
    pub fn start(
        program: &Path,
        arguments: &[&std::ffi::OsStr],
        environment: &[(&'static str, String)],
        log: &Path,
    ) -> Result<Process, Exit> {
        Process::start_in(None, program, arguments, environment, log)
    }

    /// The same in a network namespace.
    pub fn start_in(
        namespace: Option<&Namespace>,
        program: &Path,
        arguments: &[&std::ffi::OsStr],
        environment: &[(&'static str, String)],
        log: &Path,
    ) -> Result<Process, Exit> {
        let open = || File::options().create(true).append(true).open(log);
        let failed = |error: std::io::Error| Exit::failed(format!("cannot start {}: {error}", program.display()));
        let (out, err) = (open().map_err(failed)?, open().map_err(failed)?);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0);
        let parent = std::process::id();
        let namespace = namespace.map(|namespace| namespace.as_fd().as_raw_fd());
        // SAFETY: between fork and exec only prctl, getppid, raise and setns run: all are async-signal-safe and touch no memory of ours. The child's copy of
        // the namespace's descriptor is open until exec, since the caller holds the namespace until this function returns.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // The parent may have ended before the line above took effect.
                if libc::getppid() != parent as libc::pid_t {
                    libc::raise(libc::SIGKILL);
                }
                namespace.map_or(Ok(()), |namespace| netns::enter(BorrowedFd::borrow_raw(namespace)))
            });
        }
        Ok(Process { child: command.spawn().map_err(failed)?, reaped: None })
    }

    /// Sends SIGTERM to the validator.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        if self.reaped.is_none() {
            self.reaped = self.child.wait().ok();
        }
    }

    fn signal(&self, signal: libc::c_int) {
        if self.reaped.is_none() {
            // SAFETY: plain system call; the child is not reaped, so the group id is still its own.
            unsafe { libc::kill(-(self.child.id() as libc::pid_t), signal) };
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.reaped.is_none() {
            self.reaped = self.child.try_wait().ok().flatten();
        }
        self.reaped
    }

    /// Waits for the end until `deadline`.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it uses at the moment; None once it has ended.
    pub fn usage(&self) -> Option<Usage> {
        if self.reaped.is_some() {
            return None;
        }
        let directory = PathBuf::from(format!("/proc/{}", self.child.id()));
        let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
        let status = std::fs::read_to_string(directory.join("status")).ok()?;
        Some(Usage { cpu_s: cpu_seconds(&stat)?, rss_kib: resident_kib(&status).unwrap_or(0) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `code 1` or `signal 9`.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".into(),
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted after the command name, which may hold spaces and brackets itself.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // SAFETY: sysconf reads a constant.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Some(ticks as f64 / per_second.max(1) as f64)
}

fn resident_kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn shell(script: &str, log: &Path) -> Process {
        Process::start(Path::new("/bin/sh"), &[OsStr::new("-c"), OsStr::new(script)], &[], log).unwrap()
    }

    #[test]
    fn a_child_is_signalled_logged_and_reaped() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut quick = shell("echo to-the-log; exit 3", &log);
        let status = quick.wait_until(Instant::now() + Duration::from_secs(20)).unwrap();
        assert_eq!(describe(status), "exit code 3");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "to-the-log\n");
        assert_eq!(quick.usage(), None);
        let mut slow = shell("sleep 1000", &log);
        assert!(slow.usage().is_some() && slow.ended().is_none());
        slow.terminate();
        assert_eq!(describe(slow.wait_until(Instant::now() + Duration::from_secs(20)).unwrap()), "signal 15");
    }

    #[test]
    fn dropping_a_child_kills_its_whole_group() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let child = shell("sleep 1000 & echo $!; wait", &log);
        let grandchild = loop {
            if let Ok(pid) = std::fs::read_to_string(&log).unwrap().trim().parse::<u32>() {
                break pid;
            }
            std::thread::yield_now();
        };
        drop(child);
        // Reparented and reaped elsewhere: gone, or a zombie for a moment.
        let status = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
        let alive = |status: &str| status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']));
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut status = status;
        while alive(&status) && Instant::now() < deadline {
            std::thread::yield_now();
            status = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
        }
        assert!(!alive(&status), "{status}");
    }

    #[test]
    fn proc_files_are_read_past_odd_command_names() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t  1234 kB\n"), Some(1234));
    }
}
