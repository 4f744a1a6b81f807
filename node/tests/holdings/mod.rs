//! What a process holds of the kernel that could outlive it: network namespaces, XDP programs, children.
//!
//! Namespaces are told by their inode and programs by the kernel's id, both read from `/proc` while the process runs: other tests make namespaces
//! and programs at the same time.

use std::collections::BTreeSet;
use std::fs::{read_dir, read_link, read_to_string};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the kernel may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Whether this process may do all.
pub fn is_root() -> bool {
    // SAFETY: reads an id.
    unsafe { libc::geteuid() == 0 }
}

/// Whether namespaces can be made here; says so if not.
pub fn can_have_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    let can = is_root() && tried.is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: network namespaces need root with CAP_SYS_ADMIN");
    }
    can
}

/// What a process holds of the kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holdings {
    pub namespaces: BTreeSet<String>,
    pub programs: BTreeSet<u32>,
    pub children: BTreeSet<u32>,
}

impl Holdings {
    pub fn of(process: u32) -> Holdings {
        let root = PathBuf::from(format!("/proc/{process}"));
        let own = read_link("/proc/self/ns/net").unwrap_or_default();
        let entries = |path: PathBuf| read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut held = Holdings::default();
        let threads = entries(root.join("task")).map(|task| task.join("ns/net"));
        for link in threads.chain(entries(root.join("fd"))).filter_map(|path| read_link(path).ok()) {
            let name = link.to_string_lossy().into_owned();
            if name.starts_with("net:[") && link != own {
                held.namespaces.insert(name);
            }
        }
        for info in entries(root.join("fdinfo")).filter_map(|path| read_to_string(path).ok()) {
            let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"));
            held.programs.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
        }
        for task in entries(root.join("task")) {
            let children = read_to_string(task.join("children")).unwrap_or_default();
            held.children.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        held
    }

    pub fn merge(&mut self, other: Holdings) {
        self.namespaces.extend(other.namespaces);
        self.programs.extend(other.programs);
        self.children.extend(other.children);
    }

    /// What of it still exists anywhere on the machine.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self.programs.iter().filter(|id| program_exists(**id)).map(|id| format!("program {id}")).collect();
        left.extend(self.children.iter().filter(|child| is_alive(**child)).map(|child| format!("process {child}")));
        let processes = read_dir("/proc").expect("/proc").flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for process in processes {
            let held = Holdings::of(process).namespaces;
            left.extend(held.intersection(&self.namespaces).map(|name| format!("{name} held by process {process}")));
        }
        left
    }

    /// The kernel takes things away behind the end of a process.
    pub fn assert_gone(&self) {
        let began = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn is_alive(process: u32) -> bool {
    let stat = read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// BPF_PROG_GET_FD_BY_ID.
fn program_exists(id: u32) -> bool {
    const GET_FD_BY_ID: libc::c_long = 13;
    let attributes = [id, 0, 0, 0];
    // SAFETY: the kernel reads as many bytes of `attributes` as it is told; a descriptor that comes back is closed.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, GET_FD_BY_ID, attributes.as_ptr(), size_of_val(&attributes));
        fd >= 0 && libc::close(fd as i32) == 0
    }
}
