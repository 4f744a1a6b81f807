//! Who this process is and what the kernel lets it do, found by doing it: each call makes a thing and lets it go at once.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Bytes of `struct io_uring_params`.
const URING_PARAMS: usize = 120;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// A socket, closed on exec.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes three integers; nothing of this process is handed over.
    owned(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }.into())
}

/// A ring of four entries, closed again.
pub(crate) fn make_uring() -> io::Result<()> {
    let mut params = [0u64; URING_PARAMS / 8];
    // SAFETY: the kernel reads and writes one `struct io_uring_params`, 120 bytes, which `params` has and lends for the call.
    owned(unsafe { libc::syscall(libc::SYS_io_uring_setup, 4u32, params.as_mut_ptr()) }).map(drop)
}

/// An XDP program of two instructions (`r0 = XDP_PASS; exit`), loaded, attached to nothing, and let go.
pub(crate) fn load_program() -> io::Result<()> {
    let move_immediate: [u8; 8] = std::array::from_fn(|at| [[0xb7, 0, 0, 0], 2u32.to_ne_bytes()][at / 4][at % 4]);
    let program = [move_immediate, [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let licence = c"Apache-2.0";
    // `union bpf_attr` of BPF_PROG_LOAD: type and instruction count, instructions, licence; the rest (log, flags) zero.
    let mut attributes = [0u8; 72];
    attributes[0..4].copy_from_slice(&BPF_PROG_TYPE_XDP.to_ne_bytes());
    attributes[4..8].copy_from_slice(&(program.len() as u32).to_ne_bytes());
    attributes[8..16].copy_from_slice(&(program.as_ptr() as u64).to_ne_bytes());
    attributes[16..24].copy_from_slice(&(licence.as_ptr() as u64).to_ne_bytes());
    // SAFETY: the kernel reads `attributes.len()` bytes of attributes, and through them the program and the licence; all three live
    // through the call, and it writes to none of them.
    owned(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, attributes.as_ptr(), attributes.len()) }).map(drop)
}

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing, always succeeds.
    unsafe { libc::geteuid() }
}

/// Binds the calling thread to one CPU.
pub(crate) fn pin_to(cpu: u32) -> io::Result<()> {
    let mut set = vec![0u64; cpu as usize / 64 + 1];
    set[cpu as usize / 64] |= 1 << (cpu % 64);
    // SAFETY: the kernel reads `size_of_val` bytes of the mask, which lives through the call; 0 is the calling thread.
    let rc = unsafe { libc::sched_setaffinity(0, size_of_val(set.as_slice()), set.as_ptr().cast()) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
