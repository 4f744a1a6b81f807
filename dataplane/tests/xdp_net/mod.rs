//! Two network namespaces joined by a veth pair, each owned by a thread: the kernel removes them with the process, however it ends.

#![allow(dead_code)] // each test binary uses its part

use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A namespace and the thread that lives in it.
pub struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    id: libc::pid_t,
}

impl Namespace {
    /// A fresh namespace with loopback up; `None`, with the reason printed, where that is not permitted.
    pub fn new() -> Option<Namespace> {
        let (jobs, todo) = channel::<Job>();
        let (answer, answered) = channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: moves only this thread, which ends with the namespace.
            let rc = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            // SAFETY: asks for the number of this thread.
            let id = unsafe { libc::gettid() };
            answer.send(if rc == 0 { Ok(id) } else { Err(std::io::Error::last_os_error()) }).expect("the test waits");
            todo.into_iter().for_each(|job| job());
        });
        match answered.recv().expect("the thread answers") {
            Ok(id) => {
                let namespace = Namespace { jobs: Some(jobs), thread: Some(thread), id };
                namespace.ip("link set lo up").then_some(namespace)
            }
            Err(error) => {
                eprintln!("skipped: no network namespace: {error}");
                None
            }
        }
    }

    /// Runs `job` inside and returns what it returns; a panic inside is one of the caller.
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (answer, answered) = channel();
        let job = Box::new(move || drop(answer.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)))));
        self.jobs.as_ref().expect("open").send(job).expect("the thread lives");
        answered.recv().expect("the thread answers").unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs ip(8) inside; false when it fails.
    pub fn ip(&self, command: &str) -> bool {
        let words: Vec<String> = command.split(' ').map(String::from).collect();
        self.run(move || Command::new("ip").args(words).stderr(Stdio::null()).status().is_ok_and(|status| status.success()))
    }

    /// Output of a command inside.
    pub fn output(&self, command: &str) -> String {
        let words: Vec<String> = command.split(' ').map(String::from).collect();
        let run = move || Command::new(&words[0]).args(&words[1..]).output().map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        self.run(run).unwrap_or_default()
    }

    /// Runs ip(8) inside and expects success.
    pub fn must(&self, command: &str) {
        assert!(self.ip(command), "ip {command}");
    }

    /// Sets a value under /proc/sys/net.
    pub fn sysctl(&self, name: &str, value: &str) {
        let (path, value) = (format!("/proc/sys/net/{name}"), value.to_owned());
        self.run(move || std::fs::write(&path, value)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// A number that ip(8) takes for this namespace.
    pub fn id(&self) -> libc::pid_t {
        self.id
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `near` (10.7.0.1, fd07::1) and `far` (10.7.0.2, fd07::2) with the interface of the same name in each.
pub fn veth_pair() -> Option<(Namespace, Namespace)> {
    let (near, far) = (Namespace::new()?, Namespace::new()?);
    near.must(&format!("link add near type veth peer name far netns {}", far.id()));
    for (side, name, number) in [(&near, "near", 1), (&far, "far", 2)] {
        side.sysctl(&format!("ipv6/conf/{name}/accept_dad"), "0");
        side.must(&format!("link set {name} address 02:00:00:00:00:0{number}"));
        side.must(&format!("addr add 10.7.0.{number}/24 dev {name}"));
        side.must(&format!("addr add fd07::{number}/64 dev {name} nodad"));
        side.must(&format!("link set {name} up"));
    }
    Some((near, far))
}
