//! `kill -9` at every point of every step of apply and of revert, and a write that fails half-way. Its own main, because the part under
//! test is a child process that this program starts, stops at a point and kills; what the child left is then reverted, and every file of
//! the tree must be as before.

mod support;

use samara_tuning::apply::{ApplyError, Event, apply};
use samara_tuning::host::{CpuSet, Host};
use samara_tuning::plan::Selection;
use samara_tuning::profile::Profile;
use samara_tuning::revert::revert;
use samara_tuning::state::{State, peek};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Tree, snapshot};

type Test = (&'static str, fn());
const TESTS: [Test; 6] = [
    ("a_kill_anywhere_leaves_what_a_revert_needs_on_mlx5", || sweep(Tree::mlx5, "latency", "enp3s0", "4-11")),
    ("a_kill_anywhere_leaves_what_a_revert_needs_on_i40e", || sweep(Tree::i40e, "latency", "ens1f1", "2,4-6")),
    ("a_kill_anywhere_leaves_what_a_revert_needs_on_virtio", || sweep(Tree::virtio, "virtual", "eth0", "1")),
    ("a_kill_anywhere_leaves_what_a_revert_needs_where_a_driver_resets_what_is_around", || {
        sweep(resets_around, "latency", "enp3s0", "4-11");
    }),
    ("a_write_that_fails_half_way_is_rolled_back", a_write_that_fails_half_way_is_rolled_back),
    ("a_full_disk_leaves_whole_records_and_every_value_as_before", a_full_disk_leaves_whole_records_and_every_value_as_before),
];

/// Each change of channels or rings resets a table, a mask and interrupts that somebody set by hand.
fn resets_around(root: &Path) -> Tree {
    let tree = Tree::mlx5(root);
    tree.file("/ethtool/enp3s0/quirks", "reset-around\n").file("/ethtool/enp3s0/rss", "0 1 2 3 3 2 1 0\n");
    tree.file("/proc/irq/121/smp_affinity_list", "3\n");
    tree.file("/sys/devices/pci0000:00/0000:00:02.0/0000:03:00.0/net/enp3s0/queues/rx-1/rps_cpus", "0000000c\n");
    tree
}

/// Speaks what `cargo test` and `cargo nextest` expect of a test: names when asked for them, else those runs that were named, or all.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "child") {
        return child(&args[1..]);
    }
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    // None is ignored.
    if has("--list") {
        return TESTS.iter().filter(|_| !has("--ignored")).for_each(|(name, _)| println!("{name}: test"));
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(*part));
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name) && !has("--ignored")) {
        test();
        println!("test {name} ... ok");
    }
}

fn state_dir(root: &Path) -> PathBuf {
    root.join("var/lib/samara/tuning")
}

fn selection(interface: &str, hot: &str) -> Selection {
    Selection { interfaces: vec![interface.into()], hot: CpuSet::parse_list(hot).unwrap(), port: None }
}

/// Applies or reverts under `root`; at the given point, says so and waits for its end.
fn child(args: &[String]) {
    let [what, root, profile, interface, hot, point] = args else { panic!("arguments: {args:?}") };
    let (host, root, point) = (Host::under(Path::new(root)), Path::new(root), point.parse::<usize>().unwrap());
    let mut seen = 0;
    let mut observer = |_: &Event<'_>| {
        if seen == point {
            println!("here");
            std::io::stdout().flush().unwrap();
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            panic!("the parent kills before it closes the pipe");
        }
        seen += 1;
    };
    let mut state = State::hold(&state_dir(root), &host).unwrap();
    if what == "revert" {
        revert(&host, &mut state, false, &mut observer).unwrap();
    } else {
        let profile = Profile::built_in(profile).unwrap().unwrap();
        match apply(&host, &mut state, &profile, &selection(interface, hot), &mut observer) {
            Ok(_) => {}
            Err(ApplyError::RolledBack { step, .. }) => println!("rolled back at {step}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Starts the child and kills it at a point. False when it ended before that point.
fn killed_at(point: usize, arguments: [&str; 5]) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("child")
        .args(arguments)
        .arg(point.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if line.trim() == "here" {
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        return true;
    }
    assert!(child.wait().unwrap().success(), "the child failed by itself: {line}");
    false
}

fn scratch() -> tempfile::TempDir {
    // Thousands of syncs: in memory where there is such a file system. What is tested is the order of things, not the disk.
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// One tree per point: kill the apply there, then revert. Then the same for points of the revert.
fn sweep(build: fn(&Path) -> Tree, profile: &str, interface: &str, hot: &str) {
    let mut kills = 0;
    for what in ["apply", "revert"] {
        for point in 0.. {
            let dir = scratch();
            let root = dir.path().to_str().unwrap();
            let tree = build(dir.path());
            let host = Host::under(dir.path());
            let before = snapshot(&tree.root);
            if what == "revert" {
                let mut state = State::hold(&state_dir(dir.path()), &host).unwrap();
                let parsed = Profile::built_in(profile).unwrap().unwrap();
                apply(&host, &mut state, &parsed, &selection(interface, hot), &mut |_| ()).unwrap();
            }
            let killed = killed_at(point, [what, root, profile, interface, hot]);
            if !killed && what == "revert" {
                assert_eq!(snapshot(&tree.root), before, "a whole revert");
                assert!(kills > 8, "points of {what}");
                break;
            }
            let mut state = State::hold(&state_dir(dir.path()), &host).expect("the lock of a killed process is free");
            let reverted = revert(&host, &mut state, false, &mut |_| ()).unwrap();
            assert!(reverted.is_complete(), "{what} killed at point {point}: {reverted:?}");
            assert_eq!(snapshot(&tree.root), before, "{what} killed at point {point}");
            drop(state);
            assert!(peek(&state_dir(dir.path()), &host).unwrap().is_none(), "the session is closed");
            if !killed {
                assert!(point > 8, "points of {what}");
                break;
            }
            kills += 1;
        }
    }
    println!("{kills} kills");
}

/// A journal that may not grow, at every size from nothing to all: bash sets the limit and ignores its signal, so that writes come back short.
fn a_full_disk_leaves_whole_records_and_every_value_as_before() {
    for kib in 1.. {
        let dir = scratch();
        let tree = resets_around(&dir.path().join("root"));
        let before = snapshot(&tree.root);
        let limited = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &limited, "bash"]).arg(std::env::current_exe().unwrap());
        let output =
            command.args(["child", "apply", tree.root.to_str().unwrap(), "latency", "enp3s0", "4-11", "1000000"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
        let host = Host::under(&tree.root);
        let state_dir = state_dir(&tree.root);
        if !text.starts_with("rolled back") {
            assert!(kib > 4, "the whole profile fits into {kib} KiB");
            return;
        }
        assert_eq!(snapshot(&tree.root), before, "{kib} KiB: {text}");
        assert!(peek(&state_dir, &host).unwrap().is_none(), "{kib} KiB: the session is closed");
        let journal = std::fs::read(state_dir.join("journal.closed")).unwrap();
        assert!(journal.ends_with(b"}\n"), "{kib} KiB: torn bytes at the end");
    }
}

/// A file that may be read and not written, in the middle of a profile. Root may write everything, so the child is somebody else.
fn a_write_that_fails_half_way_is_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::mlx5(&dir.path().join("root"));
    tree.read_only("/sys/devices/system/cpu/cpu7/cpufreq/scaling_governor");
    std::fs::create_dir_all(state_dir(&tree.root)).unwrap();
    let exe = dir.path().join("exe");
    std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let mut command = Command::new(&exe);
    command.args(["child", "apply", tree.root.to_str().unwrap(), "latency", "enp3s0", "4-11", "1000000"]);
    if is_root() {
        give_away(dir.path());
        command.uid(NOBODY).gid(NOBODY);
    }
    let before = snapshot(&tree.root);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.trim() == "rolled back at governor", "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(snapshot(&tree.root), before);
    assert!(peek(&state_dir(&tree.root), &Host::under(&tree.root)).unwrap().is_none());
}

const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

fn give_away(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    } else if path.file_name().is_some_and(|name| name == "exe") {
        chown(path, Some(0), Some(0)).unwrap();
    }
}
