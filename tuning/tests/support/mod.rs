//! Recorded trees of hosts: the layout of `/proc`, `/sys` and ethtool on machines with cards that this one does not have.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A tree under construction.
pub struct Tree {
    pub root: PathBuf,
}

impl Tree {
    pub fn file(&self, path: &str, text: &str) -> &Tree {
        let place = self.root.join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
        self
    }

    pub fn link(&self, path: &str, to: &str) -> &Tree {
        let place = self.root.join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(to, place).unwrap();
        self
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path.trim_start_matches('/'))).unwrap()
    }

    pub fn read_only(&self, path: &str) {
        let place = self.root.join(path.trim_start_matches('/'));
        fs::set_permissions(place, fs::Permissions::from_mode(0o444)).unwrap();
    }

    /// What every host has.
    fn common(root: &Path, cpus: usize) -> Tree {
        let tree = Tree { root: root.to_path_buf() };
        tree.file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
            .file("/proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555\n")
            .file("/proc/sys/net/core/rmem_max", "212992\n")
            .file("/proc/sys/net/core/wmem_max", "268435456\n")
            .file("/proc/sys/net/core/netdev_max_backlog", "1000\n")
            .file("/proc/sys/net/core/netdev_budget", "300\n")
            .file("/proc/sys/net/core/optmem_max", "20480\n")
            .file("/proc/sys/net/core/bpf_jit_enable", "1\n")
            .file("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n")
            .file("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n")
            .file("/proc/sys/vm/max_map_count", "65530\n")
            .file("/proc/sys/vm/nr_hugepages", "0\n")
            .file("/proc/sys/fs/nr_open", "1048576\n")
            .file("/proc/sys/kernel/numa_balancing", "1\n")
            .file("/proc/sys/kernel/sched_autogroup_enabled", "1\n")
            .file("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n")
            .file("/sys/devices/virtual/workqueue/cpumask", &format!("{:08x}\n", (1u64 << cpus) - 1))
            .file("/sys/devices/system/cpu/online", &format!("0-{}\n", cpus - 1))
            .file("/sys/devices/system/cpu/isolated", "\n");
        tree.file("/sys/devices/virtual/net/lo/mtu", "65536\n").link("/sys/class/net/lo", "../../devices/virtual/net/lo");
        tree.file("/ethtool/lo/features", "tx-udp-segmentation on\nrx-gro on\n");
        tree
    }

    fn card(&self, device: &str, interface: &str, irqs: &[(u32, &str)], cpus: usize) {
        let net = format!("/sys/devices/{device}/net/{interface}");
        self.file(&format!("{net}/mtu"), "1500\n")
            .file(&format!("{net}/napi_defer_hard_irqs"), "0\n")
            .file(&format!("{net}/gro_flush_timeout"), "0\n")
            .file(&format!("{net}/queues/rx-0/rps_cpus"), "00000000\n")
            .file(&format!("{net}/queues/rx-1/rps_cpus"), "00000000\n")
            .file(&format!("{net}/queues/tx-0/xps_cpus"), "00000000\n")
            .link(&format!("{net}/device"), "../..")
            .link(&format!("/sys/class/net/{interface}"), &format!("../../devices/{device}/net/{interface}"));
        let header = (0..cpus).map(|cpu| format!("       CPU{cpu}")).collect::<String>();
        let counts = "          7".repeat(cpus);
        let row = |(number, action): &(u32, &str)| format!("{number:4}:{counts}  IR-PCI-MSIX-0000:03:00.0   0-edge      {action}\n");
        let rows: String = irqs.iter().map(row).collect();
        self.file(
            "/proc/interrupts",
            &format!("    {header}\n   8:{counts}  IR-IO-APIC   8-edge      rtc0\n{rows} NMI:{counts}   Non-maskable interrupts\n"),
        );
        for (number, _) in irqs {
            self.file(&format!("/proc/irq/{number}/smp_affinity_list"), &format!("0-{}\n", cpus - 1));
        }
    }

    /// A server with a Mellanox card: 16 CPUs, 64 channels at most, one interrupt managed by the kernel.
    pub fn mlx5(root: &Path) -> Tree {
        let tree = Tree::common(root, 16);
        let device = "pci0000:00/0000:00:02.0/0000:03:00.0";
        let actions: Vec<(u32, String)> = (0..5).map(|place| (120 + place, format!("mlx5_comp{place}@pci:0000:03:00.0"))).collect();
        let irqs: Vec<(u32, &str)> = actions.iter().map(|(number, action)| (*number, action.as_str())).collect();
        tree.card(device, "enp3s0", &irqs, 16);
        irqs.iter().for_each(|(number, _)| {
            tree.file(&format!("/sys/devices/{device}/msi_irqs/{number}"), "msix\n");
        });
        tree.file("/proc/irq/124/managed", "");
        for cpu in 0..16 {
            let dir = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq");
            tree.file(&format!("{dir}/scaling_governor"), "schedutil\n")
                .file(&format!("{dir}/scaling_available_governors"), "conservative performance schedutil\n");
        }
        tree.file("/ethtool/enp3s0/channels", "rx 0 0\ntx 0 0\ncombined 16 63\n")
            .file("/ethtool/enp3s0/rings", "rx 1024 8192\ntx 1024 8192\n")
            .file(
                "/ethtool/enp3s0/features",
                "rx-gro on\nrx-lro on\nrx-gro-hw off fixed\nrx-udp-gro-forwarding off\nrx-ntuple-filter off\n",
            )
            .file("/ethtool/enp3s0/rss", &format!("{}\n", (0..128).map(|entry| (entry % 16).to_string()).collect::<Vec<_>>().join(" ")))
            .file("/ethtool/enp3s0/rxhash", "udp4 sd\nudp6 sd\n")
            .file("/ethtool/enp3s0/ntuple", "3 ether proto 35020 action 0\n");
        tree
    }

    /// A server with an Intel card: 8 CPUs, small rings, an indirection table that somebody set by hand.
    pub fn i40e(root: &Path) -> Tree {
        let tree = Tree::common(root, 8);
        let device = "pci0000:17/0000:17:00.0/0000:18:00.1";
        let irqs = [(90, "i40e-0000:18:00.1:misc"), (91, "i40e-ens1f1-TxRx-0"), (92, "i40e-ens1f1-TxRx-1")];
        tree.card(device, "ens1f1", &irqs, 8);
        irqs.iter().for_each(|(number, _)| {
            tree.file(&format!("/sys/devices/{device}/msi_irqs/{number}"), "msix\n");
        });
        tree.file("/ethtool/ens1f1/channels", "other 1 1\ncombined 8 8\n")
            .file("/ethtool/ens1f1/rings", "rx 512 4096\ntx 512 2048\n")
            .file("/ethtool/ens1f1/features", "rx-gro on\nrx-lro off fixed\nrx-ntuple-filter on\n")
            .file("/ethtool/ens1f1/rss", "0 0 1 1 2 2 3 3 4 5 6 7 0 0 0 0\n")
            .file("/ethtool/ens1f1/rxhash", "udp4 sdfn\n")
            .file("/ethtool/ens1f1/ntuple", "");
        tree
    }

    /// A virtual machine: no governor, one queue, the card's interrupts on the device behind the virtio one.
    pub fn virtio(root: &Path) -> Tree {
        let tree = Tree::common(root, 2);
        let pci = "pci0000:00/0000:00:03.0";
        tree.card(&format!("{pci}/virtio2"), "eth0", &[(37, "virtio2-config"), (38, "virtio2-input.0"), (39, "virtio2-output.0")], 2);
        for number in 37..40 {
            tree.file(&format!("/sys/devices/{pci}/msi_irqs/{number}"), "msix\n");
        }
        tree.file("/ethtool/eth0/channels", "combined 1 1\n")
            .file("/ethtool/eth0/rings", "rx 256 256\ntx 256 256\n")
            .file("/ethtool/eth0/features", "rx-gro-hw on\nrx-lro off fixed\n");
        tree
    }
}

/// Text and mode of every file, and the target of every link, below `root`, but for the state directory.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if path == root.join("var") {
                continue;
            } else if meta.is_symlink() {
                files.insert(path.clone(), format!("-> {}", fs::read_link(&path).unwrap().display()));
            } else if meta.is_dir() {
                todo.push(path);
            } else {
                files.insert(path.clone(), format!("{:o} {}", meta.permissions().mode(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!files.is_empty());
    files
}
