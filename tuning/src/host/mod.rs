//! The machine as settings see it: procfs and sysfs under a root directory, and the ethtool interface of network cards.
//!
//! Rule: nothing else in this crate touches a file of the machine or a network card. A root other than `/` is a recorded tree: its links
//! are followed inside it, its network cards are the files of [`recorded`], and writes to it keep the shapes the kernel keeps. So the same
//! plan, apply and revert run on drivers that this machine does not have.
//!
//! ```text
//! Host::real()        /proc /sys       ethtool = ioctl on a socket
//! Host::under(DIR)    DIR/proc DIR/sys ethtool = DIR/ethtool/IF/{channels,rings,features,rss,rxhash,ntuple}
//! ```

pub mod cpus;
pub mod error;
pub mod ethtool;
mod files;
pub mod irq;
mod kernel;
mod netdev;
pub mod recorded;

pub use cpus::CpuSet;
pub use error::HostError;
pub use ethtool::{Ethtool, Item, Reading};
pub use irq::Irq;

use std::path::{Path, PathBuf};

/// One machine, or a recorded tree of one.
pub struct Host {
    root: PathBuf,
    ethtool: Box<dyn Ethtool>,
}

impl Host {
    /// This machine.
    pub fn real() -> Host {
        Host { root: PathBuf::from("/"), ethtool: Box::new(kernel::Kernel) }
    }

    /// The machine under `root`: this one for `/`, else a recorded tree.
    pub fn under(root: &Path) -> Host {
        if root == Path::new("/") {
            return Host::real();
        }
        Host { root: root.to_path_buf(), ethtool: Box::new(recorded::Recorded::new(root)) }
    }

    /// True for this machine, false for a recorded tree.
    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where the tree begins.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Network cards.
    pub fn ethtool(&self) -> &dyn Ethtool {
        self.ethtool.as_ref()
    }

    /// The text of a file, without the blanks around it. `path` starts with `/` and is seen from the root.
    pub fn read(&self, path: &str) -> Result<String, HostError> {
        files::read(&self.root, path).map(|text| text.trim().to_string())
    }

    /// Writes a value to an existing file below `/proc` or `/sys` in one write. Nothing is created.
    pub fn write(&self, path: &str, value: &str) -> Result<(), HostError> {
        files::write(&self.root, path, value, !self.is_real())
    }

    /// Names in a directory, sorted, numbers by value.
    pub fn list(&self, path: &str) -> Result<Vec<String>, HostError> {
        files::list(&self.root, path)
    }

    /// Whether a file or directory is there.
    pub fn exists(&self, path: &str) -> bool {
        files::resolve(&self.root, path).is_ok_and(|path| path.exists())
    }

    /// The path as this process opens it: below the root, links followed inside it.
    pub fn locate(&self, path: &str) -> Result<PathBuf, HostError> {
        files::resolve(&self.root, path)
    }

    /// Differs after every boot; empty when the kernel does not say.
    pub fn boot_id(&self) -> String {
        self.read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    }

    /// Names this installation of the system; empty when it has no name.
    pub fn machine_id(&self) -> String {
        self.read("/etc/machine-id").unwrap_or_default()
    }

    /// The network namespace this process is in, as `net:[4026531840]`; empty for a recorded tree.
    pub fn network_namespace(&self) -> String {
        let link = if self.is_real() { std::fs::read_link("/proc/self/ns/net").ok() } else { None };
        link.map(|link| link.display().to_string()).unwrap_or_default()
    }

    /// Names of the network interfaces.
    pub fn interfaces(&self) -> Vec<String> {
        self.list("/sys/class/net").unwrap_or_default()
    }

    /// CPUs that run.
    pub fn online_cpus(&self) -> CpuSet {
        self.cpu_file("/sys/devices/system/cpu/online")
    }

    /// CPUs taken from the scheduler by `isolcpus` or an isolated cpuset partition.
    pub fn isolated_cpus(&self) -> CpuSet {
        self.cpu_file("/sys/devices/system/cpu/isolated")
    }

    fn cpu_file(&self, path: &str) -> CpuSet {
        self.read(path).ok().and_then(|text| CpuSet::parse_list(&text)).unwrap_or_default()
    }
}
