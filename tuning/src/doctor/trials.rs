//! io_uring, BPF and AF_XDP tried by using them: a switch, a capability, a container's filter and a kernel without the feature all show the
//! same way, as the error a validator would get.

use super::{Finding, Severity, View};
use crate::sys::probe;
use std::io;

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    if !view.host.is_real() {
        return Vec::new();
    }
    let socket = probe::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map(drop);
    vec![uring(probe::make_uring()), bpf(probe::load_program()), af_xdp(socket)]
}

fn uring(outcome: io::Result<()>) -> Finding {
    let fix = match outcome.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::EPERM) => "sysctl -w kernel.io_uring_disabled=0; in a container: a seccomp profile with io_uring_setup",
        Some(libc::ENOMEM) => "LimitMEMLOCK=infinity in the unit",
        _ => "a kernel with CONFIG_IO_URING; in a container: a seccomp profile with io_uring_setup",
    };
    tried("io-uring", "a ring is made", &outcome, "tried: io_uring_setup of 4 entries")
        .why("clients, storage and the uring transport use io_uring")
        .cost(if outcome.is_ok() { "none" } else { "samara run does not start" })
        .worse(outcome.is_err(), Severity::Fail, fix)
}

fn bpf(outcome: io::Result<()>) -> Finding {
    tried("bpf", "a program is loaded", &outcome, "tried: BPF_PROG_LOAD of 2 instructions, type XDP")
        .why("AF_XDP needs a program on the interface that hands frames over")
        .cost(if outcome.is_ok() { "none" } else { "transport xdp is not available: io_uring or udp are used" })
        .worse(outcome.is_err(), Severity::Warn, "AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON in the unit, or run as root")
}

fn af_xdp(outcome: io::Result<()>) -> Finding {
    let fix = match outcome.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::EAFNOSUPPORT) => "a kernel with CONFIG_XDP_SOCKETS",
        _ => "AmbientCapabilities=CAP_NET_RAW in the unit, RestrictAddressFamilies with AF_XDP, or run as root",
    };
    tried("af-xdp", "a socket is made", &outcome, "tried: socket(AF_XDP)")
        .why("frames reach the reactor without the kernel's network stack")
        .cost(if outcome.is_ok() { "none" } else { "transport xdp is not available: io_uring or udp are used" })
        .worse(outcome.is_err(), Severity::Warn, fix)
}

fn tried(id: &str, should: &str, outcome: &io::Result<()>, how: &str) -> Finding {
    let is = outcome.as_ref().map_or_else(|error| format!("refused: {error}"), |()| "works".to_string());
    Finding::new(id, is, should, how)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i32) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(code))
    }

    #[test]
    fn only_a_refused_ring_keeps_samara_from_running() {
        assert_eq!((uring(Ok(())).severity, bpf(Ok(())).severity, af_xdp(Ok(())).severity), (Severity::Ok, Severity::Ok, Severity::Ok));
        assert_eq!(uring(refused(libc::EPERM)).severity, Severity::Fail);
        assert_eq!((bpf(refused(libc::EPERM)).severity, af_xdp(refused(libc::EPERM)).severity), (Severity::Warn, Severity::Warn));
    }

    #[test]
    fn the_error_decides_what_repairs_it() {
        assert!(uring(refused(libc::EPERM)).fix.contains("io_uring_disabled=0"));
        assert!(uring(refused(libc::ENOSYS)).fix.contains("CONFIG_IO_URING"));
        assert!(uring(refused(libc::ENOMEM)).fix.contains("MEMLOCK"));
        assert!(af_xdp(refused(libc::EAFNOSUPPORT)).fix.contains("CONFIG_XDP_SOCKETS"));
        assert!(af_xdp(refused(libc::EPERM)).fix.contains("CAP_NET_RAW"));
        assert!(bpf(refused(libc::EPERM)).is.contains("not permitted"));
    }
}
