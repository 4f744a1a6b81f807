//! Whoever listens may go: no command panics, and none stops half-way, because its output is not read.

#[path = "../../tuning/tests/support/mod.rs"]
mod recorded;

use recorded::{Tree, snapshot};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const SAMARA: &str = env!("CARGO_BIN_EXE_samara");
const PATIENCE: Duration = Duration::from_secs(60);

/// A pipe nobody reads any more.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn samara(arguments: &[&str]) -> Command {
    let mut command = Command::new(SAMARA);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// `tune` on a recorded host, nobody listening.
fn tune(root: &Path, arguments: &[&str]) -> ExitStatus {
    samara(&["tune"]).args(arguments).arg("--root").arg(root).stdout(unread()).stderr(unread()).status().unwrap()
}

#[test]
fn a_reader_that_leaves_stops_no_run_half_way() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::mlx5(dir.path());
    let before = snapshot(&tree.root);
    let latency = ["--profile", "latency", "--interface", "enp3s0", "--hot-cpus", "4-11"];
    for json in [&[][..], &["--json"]] {
        assert_eq!(tune(&tree.root, &[&["apply"], &latency[..], json].concat()).code(), Some(0));
        assert_eq!(tune(&tree.root, &[&["check"], json].concat()).code(), Some(0), "all of it is applied");
        assert_ne!(snapshot(&tree.root), before);
        assert_eq!(tune(&tree.root, &[&["revert"], json].concat()).code(), Some(0));
        assert_eq!(snapshot(&tree.root), before);
    }
}

#[test]
fn a_hang_up_and_an_interrupt_stop_no_run_half_way() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::mlx5(dir.path());
    let arguments = ["tune", "apply", "--profile", "latency", "--interface", "enp3s0", "--hot-cpus", "4-11", "--root"];
    // The run blocks at its first line until somebody reads: a pipe that is full.
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    fill(&mut writer);
    let mut child = samara(&arguments).arg(&tree.root).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let journal = tree.root.join("var/lib/samara/tuning/journal");
    until("the run has begun", || journal.exists().then_some(()));
    for signal in [libc::SIGHUP, libc::SIGINT] {
        // SAFETY: a plain system call; the child is not reaped, so the number is still its own.
        unsafe { libc::kill(child.id() as libc::pid_t, signal) };
    }
    let drain = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
    drain.join().unwrap().unwrap();
    assert!(text.contains("the run was finished first"), "{text}");
    assert_eq!(tune(&tree.root, &["check"]).code(), Some(0), "all of it is applied");
}

/// Fills a pipe to the last byte.
fn fill(writer: &mut std::io::PipeWriter) {
    use std::os::fd::AsRawFd;
    let flags = |flags: libc::c_int| {
        // SAFETY: sets the flags of a descriptor that this process owns.
        unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, flags) }
    };
    flags(libc::O_NONBLOCK);
    let mut end = &*writer;
    while end.write_all(b" ").is_ok() {}
    flags(0);
}

#[test]
fn no_command_panics_when_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (chain, keys, pages) = (path("chain"), path("keys"), path("pages"));
    let validator = format!("{chain}/validator-0");
    let commands: [&[&str]; 15] = [
        &["--help"],
        &["--version"],
        &["tune", "--help"],
        &["no-such-command"],
        &["genesis", "--validators", "6", "--out", &chain],
        &["keygen", "--out", &keys],
        &["inspect", "chain", "--dir", &validator],
        &["inspect", "votes", "--dir", &validator, "--json"],
        &["doctor", "--measure", "0s"],
        &["doctor", "--measure", "0s", "--all"],
        &["doctor", "--measure", "0s", "--json"],
        &["tune", "plan", "--profile", "laptop"],
        &["monitor", "--dir", &validator, "--once"],
        &["monitor", "--url", "http://127.0.0.1:1/metrics", "--once", "--json"],
        &["manual", "--out", &pages],
    ];
    for arguments in commands {
        let status = samara(arguments).stdout(unread()).stderr(unread()).status().unwrap();
        assert!(status.code().is_some_and(|code| code <= 3), "{arguments:?} ended with {status}");
    }
}

#[test]
fn output_that_is_lost_on_a_full_disk_is_told() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = samara(&["tune", "plan", "--profile", "laptop", "--json"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("stdout: No space left"), "{text}");
}

/// One validator of six, alone, at ports of the kernel's choice, with everything it does in its log, and nobody to read that.
#[test]
fn a_validator_outlives_the_reader_of_its_log_and_whoever_has_its_metrics_port() {
    let dir = tempfile::tempdir().unwrap();
    let chain = dir.path().join("chain");
    let made = samara(&["genesis", "--validators", "6", "--out"]).arg(&chain).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let config = chain.join("validator-3/samara.toml");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let mut command = samara(&["run", "--config"]);
    command.arg(&config).stdout(unread()).stderr(unread());
    for (name, value) in [("NETWORK__LISTEN", "127.0.0.1:0"), ("NETWORK__SYNC_LISTEN", "127.0.0.1:0"), ("CLIENT__LISTEN", "127.0.0.1:0")] {
        command.env(format!("SAMARA_{name}"), value);
    }
    command.env("SAMARA_NETWORK__TRANSPORT", "udp").env("SAMARA_LOG__LEVEL", "trace").env("SAMARA_METRICS__LISTEN", address.to_string());
    // SAFETY: prctl between fork and exec is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    // It runs: the file it writes once a second is there.
    let figures = chain.join("validator-3/metrics.json");
    until("the validator runs", || {
        alive(&mut child);
        figures.exists().then_some(())
    });
    drop(other);
    // Asked of the file first, not of the port: who connects to a free port again and again meets himself.
    let url = chain.join("validator-3/metrics.url");
    let text = until("the endpoint answers", || {
        alive(&mut child);
        url.exists().then(|| scrape(address))?.filter(|text| text.contains("samara_view "))
    });
    let failures = text.lines().find_map(|line| line.strip_prefix("samara_endpoint_failures_total ")?.parse::<f64>().ok());
    assert!(failures.is_some_and(|failures| failures >= 1.0), "{text}");
    // SAFETY: a plain system call; the child is not reaped, so the number is still its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn alive(child: &mut Child) {
    let ended = child.try_wait().unwrap();
    assert!(ended.is_none(), "ended with {:?}, signal {:?}", ended, ended.and_then(|status| status.signal()));
}

fn scrape(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
