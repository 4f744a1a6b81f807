//! Privileges are for setting up: who has its sockets, rings and links needs none to go on.
//!
//! Linux keeps capabilities per thread and gives a new thread those of the one that starts it, so [`drop_all_but`] comes after the port is open and
//! before any other thread is started. The one thread a port starts itself (routes by netlink) drops its own.

use std::io;

pub use rustix::thread::CapabilitySet;
use rustix::thread::{CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities, set_no_new_privs};

/// What AF_XDP needs to be set up.
const FOR_XDP: [(CapabilitySet, &str); 3] =
    [(CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"), (CapabilitySet::NET_RAW, "CAP_NET_RAW"), (CapabilitySet::BPF, "CAP_BPF")];

/// The capability to listen on ports below 1024.
pub const LOW_PORTS: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Names of the capabilities that AF_XDP needs and this thread lacks. CAP_SYS_ADMIN stands for CAP_BPF, as in kernels before 5.8.
pub fn missing_for_xdp() -> Vec<&'static str> {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let has = |needed| held.contains(needed) || (needed == CapabilitySet::BPF && held.contains(CapabilitySet::SYS_ADMIN));
    FOR_XDP.iter().filter(|(needed, _)| !has(*needed)).map(|(_, name)| *name).collect()
}

/// Gives up every capability of this thread that is not in `keep`, for good: no program it might execute gets one back. Returns how many were
/// given up.
pub fn drop_all_but(keep: CapabilitySet) -> io::Result<u32> {
    let held = capabilities(None)?;
    let kept = held.permitted & keep;
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: kept & held.effective, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    Ok((held.permitted - kept).bits().count_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(key: &str) -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/status").expect("procfs");
        let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("a line of /proc/self/status");
        u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
    }

    #[test]
    fn a_thread_gives_up_all_but_what_it_names_and_cannot_take_it_back() {
        // On a thread of its own: those of the test harness stay as they are.
        let work = || {
            let held = capabilities(None).expect("capget").permitted;
            let given_up = drop_all_but(LOW_PORTS).expect("giving up is always allowed");
            let left = held & LOW_PORTS;
            assert_eq!([status("CapEff:"), status("CapPrm:")], [left.bits(); 2]);
            assert_eq!([status("CapInh:"), status("CapAmb:")], [0; 2]);
            assert_eq!(given_up, (held - left).bits().count_ones());
            assert_eq!(status("NoNewPrivs:"), 1);
            assert_eq!(missing_for_xdp(), ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"]);
            drop_all_but(CapabilitySet::empty()).expect("giving up is always allowed");
            assert_eq!([status("CapEff:"), status("CapPrm:")], [0; 2]);
            let back = CapabilitySets { effective: LOW_PORTS, permitted: LOW_PORTS, inheritable: CapabilitySet::empty() };
            assert!(set_capabilities(None, back).is_err(), "what was given up came back");
        };
        std::thread::spawn(work).join().expect("no assertion failed");
    }
}
