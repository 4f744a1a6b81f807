//! Real validators for tests: the real binary in processes of its own, killed with the test whatever becomes of it.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod client;

use samara_types::ChainId;
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything that must happen may take before the test gives up: generous, since the host may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// SplitMix64: choices that a printed seed repeats.
pub struct Random(u64);

impl Random {
    /// Seeded by `SAMARA_TEST_SEED` if set, otherwise by the clock. Printed, so that a failure can be run again.
    pub fn seeded(name: &str) -> Random {
        let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        let seed = std::env::var("SAMARA_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(clock);
        eprintln!("{name}: SAMARA_TEST_SEED={seed}");
        Random(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// A chain of its own and the processes of its validators.
pub struct Validators {
    root: PathBuf,
    pub chain: ChainId,
    pub doors: Vec<SocketAddr>,
    children: Vec<Option<Child>>,
}

impl Validators {
    /// A new chain; nobody runs yet.
    pub fn new(count: usize) -> Validators {
        let root = tempfile::tempdir().unwrap().keep();
        let base_port = free_ports(3 * count as u16);
        let arguments =
            ["genesis", "--validators", &count.to_string(), "--base-port", &base_port.to_string(), "--idle-interval-ms", "50", "--out"];
        let output = Command::new(env!("CARGO_BIN_EXE_samara")).args(arguments).arg(&root).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let genesis = samara_node::genesis::Genesis::load(&root.join(samara_node::genesis::GENESIS_FILE)).unwrap();
        Validators {
            root,
            chain: genesis.chain,
            doors: genesis.addresses.iter().map(|addresses| addresses.client).collect(),
            children: (0..count).map(|_| None).collect(),
        }
    }

    /// `samara inspect WHAT --dir ... --json` of one validator.
    pub fn inspect(&self, index: usize, what: &str, more: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
        let output = command.args(["inspect", what, "--json", "--dir"]).arg(self.directory(index)).args(more).output().unwrap();
        assert!(output.status.success(), "inspect {what} of validator {index}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("exactly one JSON document")
    }

    /// Starts whoever does not run and waits until every door answers.
    pub fn start_all(&mut self) {
        let down: Vec<usize> = (0..self.children.len()).filter(|index| self.children[*index].is_none()).collect();
        down.iter().for_each(|index| self.start(*index));
        (0..self.children.len()).for_each(|index| self.wait_until(index, "ready", |_| true));
    }

    fn start(&mut self, index: usize) {
        let directory = self.directory(index);
        let log = std::fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
        command.arg("run").arg("--config").arg(directory.join("samara.toml"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // SAFETY: prctl between fork and exec is async-signal-safe and touches no memory of ours.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        self.children[index] = Some(command.spawn().unwrap());
    }

    /// Asks the door of `index` until its durable height satisfies `enough`.
    pub fn wait_until(&mut self, index: usize, what: &str, enough: impl Fn(u64) -> bool) {
        self.until(index, what, |all| client::status(all.doors[index]).is_some_and(|(_, height)| enough(height)));
    }

    /// The durable height of a validator that runs.
    #[allow(dead_code)] // Not every test that runs validators asks.
    pub fn height(&self, index: usize) -> u64 {
        client::status(self.doors[index]).expect("the door of a running validator answers").1
    }

    /// Looks until `done`, as long as `index` runs.
    pub fn until(&mut self, index: usize, what: &str, done: impl Fn(&Validators) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let ended = self.children[index].as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "validator {index} ended with {ended:?}");
            let standing = || self.doors.iter().map(|door| client::status(*door)).collect::<Vec<_>>();
            assert!(Instant::now() < deadline, "validator {index} is not {what}; (view, height) of all: {:?}", standing());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// SIGKILL to all of these before any is waited for.
    pub fn kill(&mut self, order: &[usize]) {
        order.iter().for_each(|index| self.signal(*index, libc::SIGKILL));
        for index in order {
            if let Some(mut child) = self.children[*index].take() {
                child.wait().unwrap();
            }
        }
    }

    /// SIGTERM to all; each must end with code 0.
    pub fn stop(&mut self) {
        (0..self.children.len()).for_each(|index| self.signal(index, libc::SIGTERM));
        for (index, child) in self.children.iter_mut().enumerate() {
            let status = child.take().map(|mut child| child.wait().unwrap());
            assert!(status.is_none_or(|status| status.success()), "validator {index} ended with {status:?}");
        }
    }

    /// Where `index` has its configuration, data and log.
    pub fn directory(&self, index: usize) -> PathBuf {
        self.root.join(format!("validator-{index}"))
    }

    pub fn signal(&self, index: usize, signal: libc::c_int) {
        if let Some(child) = &self.children[index] {
            // SAFETY: a plain system call; the child is not reaped, so the number is still its own.
            unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        }
    }
}

impl Drop for Validators {
    /// What a failed test leaves is kept for whoever looks into it.
    fn drop(&mut self) {
        let all: Vec<usize> = (0..self.children.len()).collect();
        self.kill(&all);
        if std::thread::panicking() {
            eprintln!("data and logs: {}", self.root.display());
        } else {
            // Left-over data is a nuisance, not a failure.
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}

/// The first of `count` ports in a row that are free at the moment, below those the kernel hands out by itself.
fn free_ports(count: u16) -> u16 {
    let (low, high) = (26_000u16, 28_000 - count);
    let steps = (high - low) / count;
    let start = (std::process::id() % u32::from(steps)) as u16;
    let free = |base: &u16| {
        let udp = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
        let tcp = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        (0..count).step_by(3).all(|at| udp(base + at) && tcp(base + at + 1) && tcp(base + at + 2))
    };
    (0..steps).map(|step| low + (start + step) % steps * count).find(free).expect("free ports from 26000 to 28000")
}
