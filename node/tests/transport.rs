//! Which rung a validator takes and what it says about it, what it keeps of its privileges, and what a cluster on namespaces leaves behind when it is killed.

mod holdings;

use holdings::{Holdings, PATIENCE, can_have_namespaces, is_root};
use std::fs::{File, read_dir, read_to_string};
use std::os::fd::AsRawFd;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

const NOBODY: u32 = 65_534;
/// A namespace with a veth that has an address, and then the command line that follows.
const ON_A_VETH: &str = "ip link set lo up && ip link add eth0 type veth peer name p0 && ip addr add 10.79.0.1/24 dev eth0 && ip link set eth0 up \
                         && ip link set p0 up && exec \"$@\"";

/// One validator of a chain of six, whose peers never run.
struct Loner {
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl Loner {
    fn new() -> Loner {
        let directory = tempfile::tempdir().unwrap();
        let base = 20_000 + (std::process::id() % 500 * 20) as u16;
        let output = Command::new(env!("CARGO_BIN_EXE_samara"))
            .args(["genesis", "--validators", "6", "--base-port", &base.to_string(), "--out"])
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Loner { directory, child: None }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Starts what `command` begins, with `run --config ..` behind it.
    fn start(&mut self, mut command: Command, environment: &[(&str, &str)]) {
        let log = File::create(self.log()).unwrap();
        let config = self.directory.path().join("validator-0/samara.toml");
        command.args(["run", "--config"]).arg(config).envs(environment.iter().copied());
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// As a user without any privilege. The binary may lie where that user has no way to, so it is executed by descriptor.
    fn start_as_nobody(&mut self, environment: &[(&str, &str)]) {
        give_away(self.directory.path());
        let binary = File::open(env!("CARGO_BIN_EXE_samara")).unwrap();
        let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        self.start(command, environment);
    }

    fn start_on_a_veth(&mut self, environment: &[(&str, &str)]) {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", ON_A_VETH, "sh", env!("CARGO_BIN_EXE_samara")]);
        let all: Vec<_> = [("SAMARA_NETWORK__LISTEN", "10.79.0.1:27000")].iter().chain(environment).copied().collect();
        self.start(command, &all);
    }

    fn id(&self) -> u32 {
        self.child.as_ref().expect("started").id()
    }

    /// The log line about the port, once every thread has been started.
    fn port_line(&mut self) -> String {
        let began = Instant::now();
        loop {
            let log = read_to_string(self.log()).unwrap();
            if log.contains("service reactor") {
                return log.lines().find(|line| line.contains("datagram port")).expect("the port is opened first").to_string();
            }
            let ended = self.child.as_mut().expect("started").try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "{ended:?}: {log}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Runs ip(8) where the validator is, and waits until its log says `text`.
    fn until_told(&mut self, command: &str, text: &str) -> String {
        let target = self.id().to_string();
        let status = Command::new("nsenter").args(["-n", "-t", &target, "ip"]).args(command.split(' ')).status().unwrap();
        assert!(status.success(), "ip {command}");
        let began = Instant::now();
        loop {
            let log = read_to_string(self.log()).unwrap();
            if let Some(line) = log.lines().find(|line| line.contains(text)) {
                return line.to_string();
            }
            let ended = self.child.as_mut().expect("started").try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "{ended:?} after ip {command}: {log}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// How it ended by itself, and the one line it said.
    fn refusal(&mut self) -> (ExitStatus, String) {
        let status = self.child.take().expect("started").wait().unwrap();
        let log = read_to_string(self.log()).unwrap();
        assert_eq!(log.lines().count(), 1, "one clear line: {log}");
        (status, log)
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Loner {
    fn drop(&mut self) {
        self.kill();
    }
}

fn give_away(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

/// Effective and permitted capabilities of every thread.
fn privileges(process: u32) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for task in read_dir(format!("/proc/{process}/task")).unwrap().flatten() {
        let status = read_to_string(task.path().join("status")).unwrap_or_default();
        let name = status.lines().next().unwrap_or_default().to_string();
        let sets = ["CapEff:", "CapPrm:"].into_iter().flat_map(|key| status.lines().find_map(move |line| line.strip_prefix(key)));
        found.extend(sets.map(|set| (name.clone(), u64::from_str_radix(set.trim(), 16).unwrap())));
    }
    found
}

#[test]
fn an_unprivileged_user_runs_on_io_uring_and_is_told_what_better_rung_was_refused_and_why() {
    if !is_root() {
        eprintln!("skipped: only root can become nobody");
        return;
    }
    let mut loner = Loner::new();
    loner.start_as_nobody(&[]);
    let line = loner.port_line();
    if line.contains("rung=\"udp\"") && line.contains("; uring: ") {
        eprintln!("skipped in part: this host lets nobody have io_uring: {line}");
    } else {
        assert!(line.contains("rung=\"uring\"") && line.contains("the best rung that works"), "{line}");
    }
    assert!(line.contains("AF_XDP was not tried: this process has no CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF"), "{line}");
    loner.kill();
    loner.start_as_nobody(&[("SAMARA_NETWORK__TRANSPORT", "xdp")]);
    let (status, said) = loner.refusal();
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("network.transport = xdp") && said.contains("no CAP_NET_ADMIN"), "{said}");
}

#[test]
fn on_a_veth_auto_takes_af_xdp_keeps_no_privilege_and_leaves_nothing_when_killed() {
    if !can_have_namespaces() {
        return;
    }
    let mut loner = Loner::new();
    loner.start_on_a_veth(&[]);
    let line = loner.port_line();
    if line.contains("rung=\"uring\"") && line.contains("CONFIG_XDP_SOCKETS") {
        eprintln!("skipped: no AF_XDP here: {line}");
        return;
    }
    assert!(line.contains("rung=\"xdp-native\"") && line.contains("xdp-zerocopy: "), "{line}");
    let held = Holdings::of(loner.id());
    assert!(held.programs.len() == 1 && held.namespaces.len() == 1, "{held:?}");
    let sets = privileges(loner.id());
    assert!(sets.len() >= 8, "more threads than these were expected: {sets:?}");
    assert!(sets.iter().all(|(_, set)| *set == 0), "{sets:?}");
    loner.kill();
    held.assert_gone();
    // A successor is not stopped by what the kernel still clears away.
    loner.start_on_a_veth(&[("SAMARA_NETWORK__XDP__MODE", "skb"), ("SAMARA_NETWORK__TRANSPORT", "xdp")]);
    let line = loner.port_line();
    assert!(line.contains("rung=\"xdp-skb\"") && line.contains("as told"), "{line}");
}

#[test]
fn an_interface_that_cannot_be_had_is_a_step_down_for_auto_and_the_end_for_xdp() {
    if !can_have_namespaces() {
        return;
    }
    let mut loner = Loner::new();
    let interface = ("SAMARA_NETWORK__XDP__INTERFACE", "nosuch0");
    loner.start_on_a_veth(&[interface]);
    let line = loner.port_line();
    assert!(!line.contains("rung=\"xdp") && line.contains("xdp-native: interface \\\"nosuch0\\\" does not exist"), "{line}");
    let log = read_to_string(loner.log()).unwrap();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("datagrams do not go by AF_XDP")), "{log}");
    loner.kill();
    loner.start_on_a_veth(&[interface, ("SAMARA_NETWORK__TRANSPORT", "xdp")]);
    let (status, said) = loner.refusal();
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("interface \"nosuch0\" does not exist"), "{said}");
}

#[test]
fn a_validator_whose_interface_goes_says_so_and_lives_on() {
    if !can_have_namespaces() {
        return;
    }
    let mut loner = Loner::new();
    loner.start_on_a_veth(&[]);
    let line = loner.port_line();
    if !line.contains("rung=\"xdp") {
        eprintln!("skipped: no AF_XDP here: {line}");
        return;
    }
    for (command, text, level) in [
        ("link set eth0 down", "link=\"down\"", "WARN"),
        ("link set eth0 up", "link=\"up\"", "INFO"),
        ("link set p0 down", "link=\"no_carrier\"", "WARN"),
        ("link del eth0", "link=\"gone\"", "WARN"),
    ] {
        let line = loner.until_told(command, text);
        assert!(line.contains(level), "{line}");
    }
    let child = loner.child.as_mut().expect("started");
    assert!(child.try_wait().unwrap().is_none(), "a validator with another way to its peers goes on");
}

#[test]
fn a_killed_cluster_on_namespaces_leaves_no_process_no_program_and_no_namespace() {
    if !can_have_namespaces() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
    command.args(["localnet", "--transport", "xdp", "--tps", "100", "--report"]).arg(directory.path());
    let mut localnet = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let mut held = Holdings::default();
    while held.programs.len() < 6 {
        let ended = localnet.try_wait().unwrap();
        assert!(ended.is_none() && began.elapsed() < PATIENCE, "{ended:?} with {held:?}");
        held.merge(Holdings::of(localnet.id()));
        held.children.clone().into_iter().for_each(|child| held.merge(Holdings::of(child)));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    localnet.kill().unwrap();
    localnet.wait().unwrap();
    assert!(held.namespaces.len() >= 7, "six and that of the bridge: {held:?}");
    held.assert_gone();
}
