//! Network namespaces without names: they live as long as a descriptor, a thread or a process of ours is in them.
//!
//! However a command ends, `kill -9` included, the kernel takes its namespaces away, and with them the interfaces and XDP programs in them. Nothing is
//! made or changed in the namespace the command was started in.

use crate::exit::{Exit, one_line};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Command, Stdio};

/// A network namespace.
pub struct Namespace(File);

impl Namespace {
    /// A new one with nothing but a loopback that is down, and without IPv6: interfaces made in it send nothing that nobody asked for. Needs CAP_SYS_ADMIN.
    pub fn new() -> Result<Namespace, Exit> {
        on_a_thread(|| {
            // SAFETY: only the network namespace of this thread is unshared; the table of descriptors stays that of the process.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                .map_err(|error| Exit::Host(format!("a network namespace: {error}; run as root (CAP_SYS_ADMIN)")))?;
            without_ipv6()?;
            let file = File::open("/proc/thread-self/ns/net");
            file.map(Namespace).map_err(|error| Exit::Host(format!("/proc/thread-self/ns/net: {error}")))
        })
    }

    /// Moves the calling thread into it, for good; threads and processes it starts afterwards inherit that.
    pub fn enter(&self) -> Result<(), Exit> {
        enter(self.0.as_fd()).map_err(|error| Exit::Host(format!("setns: {error}")))
    }

    /// A path that `ip ... netns PATH` takes, for as long as this lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs lines of `ip -batch` in it.
    pub fn ip(&self, script: &str) -> Result<(), Exit> {
        on_a_thread(|| {
            self.enter()?;
            let failed = |error: std::io::Error| Exit::Host(format!("ip (iproute2) makes the interfaces and cannot run: {error}"));
            let mut command = Command::new("ip");
            command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(failed)?;
            // A child that ended early says why on stderr.
            let _ = child.stdin.take().expect("it is piped").write_all(script.as_bytes());
            let output = child.wait_with_output().map_err(failed)?;
            let text = one_line(&String::from_utf8_lossy(&output.stderr));
            if output.status.success() { Ok(()) } else { Err(Exit::Host(format!("ip could not make the interfaces: {text}"))) }
        })
    }
}

/// A kernel with IPv6 sends router solicitations and multicast reports from every interface that comes up. A raw AF_XDP program that takes each frame for an answer
/// counts them: one packet more is under way from then on, each answer is there before its question, and a round trip looks like one send.
fn without_ipv6() -> Result<(), Exit> {
    for scope in ["all", "default"] {
        match std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1") {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Exit::Host(format!("IPv6 cannot be turned off in a network namespace: {error}")));
            }
            _ => {}
        }
    }
    Ok(())
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Moves the calling thread into the network namespace behind a descriptor: one system call, so it may stand between fork and exec.
pub fn enter(namespace: BorrowedFd<'_>) -> std::io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}

/// Runs `work` on a thread of its own, which may change its namespace and core.
pub fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T, Exit> + Send) -> Result<T, Exit> {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|_| Err(Exit::failed("a thread of the harness panicked"))))
}
