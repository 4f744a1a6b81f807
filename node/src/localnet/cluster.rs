//! The validators of a localnet: start, readiness, kill, restart, usage, orderly end.

use super::lan::Lan;
use super::process::{Process, Usage, describe};
use crate::bridge::Distribution;
use crate::config::CONFIG_FILE;
use crate::exit::Exit;
use crate::genesis::{Genesis, validator_directory};
use crate::metrics::URL_FILE;
use samara_types::client::{Request, Response, read_response, split_frame, write_request};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a validator may take until its door answers.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a validator may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

struct Member {
    directory: PathBuf,
    client: SocketAddr,
    process: Option<Process>,
    /// CPU time when measuring began, and of processes that are gone.
    cpu_baseline: f64,
    cpu_gone: f64,
    last: Usage,
    rss_max_kib: u64,
    killed: u32,
}

/// All validators of a localnet.
pub struct Cluster<'a> {
    lan: Option<&'a Lan>,
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    /// Where each validator's metrics endpoint listens; none if empty.
    metrics: Vec<SocketAddr>,
    members: Vec<Member>,
    rss_kib: Distribution,
}

/// What one validator's processes used while the run was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemberUse {
    /// CPU seconds.
    pub cpu_s: f64,
    /// Resident memory at the last look, MiB.
    pub rss_mib: f64,
    /// Largest resident memory seen, MiB.
    pub rss_max_mib: f64,
    /// Times it was killed.
    pub killed: u32,
}

impl<'a> Cluster<'a> {
    /// The validators of `genesis` in `dir`, to be run by `program`; none runs yet. `environment` overrides their configurations.
    pub fn new(program: PathBuf, dir: &Path, genesis: &Genesis, environment: Vec<(&'static str, String)>) -> Cluster<'a> {
        let member = |(index, addresses): (usize, &crate::genesis::Addresses)| Member {
            directory: validator_directory(dir, index),
            client: addresses.client,
            process: None,
            cpu_baseline: 0.0,
            cpu_gone: 0.0,
            last: Usage::default(),
            rss_max_kib: 0,
            killed: 0,
        };
        let members = genesis.addresses.iter().enumerate().map(member).collect();
        Cluster { lan: None, program, environment, metrics: Vec::new(), members, rss_kib: Distribution::default() }
    }

    /// Gives each validator the namespace of its seat.
    pub fn on(mut self, lan: Option<&'a Lan>) -> Cluster<'a> {
        self.lan = lan;
        self
    }

    /// Gives each validator a metrics endpoint.
    pub fn with_metrics(mut self, listen: Vec<SocketAddr>) -> Cluster<'a> {
        assert!(listen.len() == self.members.len() || listen.is_empty(), "an address for each validator");
        self.metrics = listen;
        self
    }

    /// Where the endpoint of validator `index` is, if it runs and has one.
    pub fn metrics_url(&self, index: usize) -> Option<String> {
        std::fs::read_to_string(self.members[index].directory.join(URL_FILE)).ok().map(|url| url.trim().to_string())
    }

    /// Starts validator `index`.
    pub fn start(&mut self, index: usize) -> Result<(), Exit> {
        let member = &mut self.members[index];
        // A file of an earlier process would pass for this one's if it dies before it writes its own.
        let _ = std::fs::remove_file(member.directory.join("metrics.json"));
        let _ = std::fs::remove_file(member.directory.join(URL_FILE));
        let listen = self.metrics.get(index).map(|listen| ("SAMARA_METRICS__LISTEN", listen.to_string()));
        let environment: Vec<_> = self.environment.iter().cloned().chain(listen).collect();
        let config = member.directory.join(CONFIG_FILE);
        let arguments = [OsStr::new("run"), OsStr::new("--config"), config.as_os_str()];
        let namespace = self.lan.map(|lan| lan.member(index));
        let log = member.directory.join("log");
        member.process = Some(Process::start_in(namespace, &self.program, &arguments, &environment, &log)?);
        Ok(())
    }

    /// Starts all and waits until every door answers. Returns the greatest durable height any of them has.
    pub fn start_all(&mut self, interrupted: impl Fn() -> bool) -> Result<u64, Exit> {
        (0..self.members.len()).try_for_each(|index| self.start(index))?;
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut height = 0;
        for index in 0..self.members.len() {
            height = height.max(self.wait_ready(index, deadline, &interrupted)?);
        }
        Ok(height)
    }

    fn wait_ready(&mut self, index: usize, deadline: Instant, interrupted: &impl Fn() -> bool) -> Result<u64, Exit> {
        loop {
            if let Some((_, height)) = ask_status(self.members[index].client) {
                return Ok(height);
            }
            if let Some(end) = self.unexpected_end(index) {
                return Err(end);
            }
            if interrupted() {
                return Err(Exit::failed("interrupted"));
            }
            if Instant::now() >= deadline {
                let log = self.members[index].directory.join("log");
                return Err(Exit::failed(format!("validator {index} is not ready after {READY_TIMEOUT:?}: see {}", log.display())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A validator that ended without being asked to, with the last line of its log. One that refuses its configuration or its
    /// host says so with its own exit code, which becomes ours.
    fn unexpected_end(&mut self, index: usize) -> Option<Exit> {
        let member = &mut self.members[index];
        let status = member.process.as_mut()?.ended()?;
        let log = std::fs::read_to_string(member.directory.join("log")).unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("its log is empty");
        let text = format!("validator {index} ended with {}: {last}", describe(status));
        Some(match status.code() {
            Some(2) => Exit::Usage(text),
            Some(3) => Exit::Host(text),
            _ => Exit::Failed(text),
        })
    }

    /// The first validator that ended without being asked to.
    pub fn check_alive(&mut self) -> Result<(), Exit> {
        match (0..self.members.len()).find_map(|index| self.unexpected_end(index)) {
            Some(end) => Err(end),
            None => Ok(()),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, index: usize) {
        self.sample_member(index);
        let member = &mut self.members[index];
        member.killed += 1;
        member.retire();
    }

    /// What was used until now does not count.
    pub fn begin_measuring(&mut self) {
        self.sample();
        for member in &mut self.members {
            (member.cpu_baseline, member.rss_max_kib) = (member.last.cpu_s, member.last.rss_kib);
        }
        self.rss_kib = Distribution::default();
    }

    /// Looks at CPU time and memory of all.
    pub fn sample(&mut self) {
        (0..self.members.len()).for_each(|index| self.sample_member(index));
    }

    fn sample_member(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Some(usage) = member.process.as_ref().and_then(Process::usage) else { return };
        // A process that is just ending has no memory left; that is no sample.
        if usage.rss_kib > 0 {
            self.rss_kib.record(usage.rss_kib);
            member.rss_max_kib = member.rss_max_kib.max(usage.rss_kib);
            member.last = usage;
        }
    }

    /// SIGTERM to all, then waits for each. Returns what was not a clean end.
    pub fn stop(&mut self) -> Vec<String> {
        self.sample();
        self.members.iter().filter_map(|member| member.process.as_ref()).for_each(Process::terminate);
        let deadline = Instant::now() + STOP_TIMEOUT;
        let mut unclean = Vec::new();
        for (index, member) in self.members.iter_mut().enumerate() {
            let Some(process) = &mut member.process else { continue };
            match process.wait_until(deadline) {
                Some(status) if status.success() => {}
                Some(status) => unclean.push(format!("validator {index} ended with {}", describe(status))),
                None => unclean.push(format!("validator {index} did not end within {STOP_TIMEOUT:?} of SIGTERM")),
            }
            member.retire();
        }
        unclean
    }

    /// CPU and memory of each validator.
    pub fn usage(&self) -> Vec<MemberUse> {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let of = |member: &Member| MemberUse {
            cpu_s: member.cpu_gone,
            rss_mib: mib(member.last.rss_kib),
            rss_max_mib: mib(member.rss_max_kib),
            killed: member.killed,
        };
        self.members.iter().map(of).collect()
    }

    /// Every memory sample of every validator, KiB.
    pub fn rss_kib(&self) -> &Distribution {
        &self.rss_kib
    }
}

impl Member {
    /// Ends the process and keeps its CPU time.
    fn retire(&mut self) {
        if self.process.take().is_some() {
            self.cpu_gone += self.last.cpu_s - self.cpu_baseline;
            (self.cpu_baseline, self.last.cpu_s) = (0.0, 0.0);
        }
    }
}

/// View and durable height a door tells; None while it does not answer.
pub fn ask_status(door: SocketAddr) -> Option<(u64, u64)> {
    let timeout = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&door, timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    let mut request = Vec::new();
    write_request(&mut request, 1, &Request::Status);
    stream.write_all(&request).ok()?;
    let (mut inbox, mut chunk) = (Vec::new(), [0; 256]);
    loop {
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            count => inbox.extend_from_slice(&chunk[..count]),
        }
        if let Some((_, _, kind, body)) = split_frame(&inbox).ok()? {
            let Response::Status { view, height } = read_response(kind, body).ok()? else { return None };
            return Some((view, height));
        }
    }
}

#[cfg(test)]
mod tests;
