//! bpf(2): an XSKMAP, an XDP program, a link that holds the program to an interface, and a test run.
//!
//! Everything is a descriptor. The kernel takes a program off the interface when the last descriptor of its link is closed, so a process that is killed
//! leaves nothing behind.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const MAP_CREATE: i32 = 0;
const MAP_UPDATE_ELEM: i32 = 2;
const PROG_LOAD: i32 = 5;
#[cfg(test)]
const PROG_TEST_RUN: i32 = 10;
const LINK_CREATE: i32 = 28;

const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const LOG_BYTES: usize = 64 << 10;
const NAME: [u8; 16] = *b"samara_udp\0\0\0\0\0\0";
const LICENSE: &std::ffi::CStr = c"Apache-2.0";

/// One eBPF instruction as the kernel reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// Destination in the low half, source in the high half.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

#[derive(Default)]
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

#[derive(Default)]
#[repr(C)]
struct ElementUpdate {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(Default)]
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

#[derive(Default)]
#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// A program the verifier refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) source: io::Error,
    /// What the verifier wrote.
    pub(crate) log: String,
}

/// An XSKMAP with `entries` slots, one per queue.
pub(crate) fn create_xskmap(entries: u32) -> io::Result<OwnedFd> {
    let mut request =
        MapCreate { map_type: MAP_TYPE_XSKMAP, key_size: 4, value_size: 4, max_entries: entries, name: NAME, ..MapCreate::default() };
    // SAFETY: the request holds no pointer.
    unsafe { bpf_fd(MAP_CREATE, &mut request) }
}

/// Puts an AF_XDP socket into slot `queue`.
pub(crate) fn set_socket(map: &OwnedFd, queue: u32, socket: RawFd) -> io::Result<()> {
    let value = socket as u32;
    let mut request = ElementUpdate {
        map_fd: map.as_raw_fd() as u32,
        key: (&raw const queue) as u64,
        value: (&raw const value) as u64,
        ..ElementUpdate::default()
    };
    // SAFETY: key and value are four bytes each, as the map was made, and live across the call.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut request) }.map(|_| ())
}

/// Loads an XDP program. On refusal it is loaded once more for the verifier's words.
pub(crate) fn load_program(code: &[Instruction]) -> Result<OwnedFd, Refused> {
    let mut request = ProgramLoad {
        program_type: PROG_TYPE_XDP,
        instruction_count: code.len() as u32,
        instructions: code.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        name: NAME,
        expected_attach_type: ATTACH_XDP,
        ..ProgramLoad::default()
    };
    // SAFETY: the instructions and the licence live across the call, and the count is theirs.
    match unsafe { bpf_fd(PROG_LOAD, &mut request) } {
        Ok(program) => Ok(program),
        Err(source) => {
            let mut log = vec![0_u8; LOG_BYTES];
            (request.log_level, request.log_size, request.log) = (1, LOG_BYTES as u32, log.as_mut_ptr() as u64);
            // SAFETY: as above, and the log is writable for its whole size.
            if let Ok(program) = unsafe { bpf_fd(PROG_LOAD, &mut request) } {
                return Ok(program);
            }
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            Err(Refused { source, log: String::from_utf8_lossy(&log[..end]).into_owned() })
        }
    }
}

/// Attaches a program to an interface for as long as the returned descriptor is open. `flags` are XDP_FLAGS_*.
pub(crate) fn link(program: &OwnedFd, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut request = LinkCreate { program_fd: program.as_raw_fd() as u32, interface, attach_type: ATTACH_XDP, flags };
    // SAFETY: the request holds no pointer.
    unsafe { bpf_fd(LINK_CREATE, &mut request) }
}

/// # Safety
/// Every address in `request` is valid for what `command` does with it.
unsafe fn bpf<T>(command: i32, request: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most the size given, which is that of the structure; the rest is the caller's word.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(request), size_of::<T>()) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc as i32) }
}

/// # Safety
/// As for [`bpf`], and `command` returns a descriptor.
unsafe fn bpf_fd<T>(command: i32, request: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's word.
    let fd = unsafe { bpf(command, request) }?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
#[derive(Default)]
#[repr(C)]
struct TestRun {
    program_fd: u32,
    verdict: u32,
    data_in_bytes: u32,
    data_out_bytes: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_bytes: u32,
    context_out_bytes: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    padding: u32,
}

/// Runs a program once over `packet` and returns its verdict (2 pass, 4 redirect).
#[cfg(test)]
pub(crate) fn test_run(program: &OwnedFd, packet: &[u8]) -> io::Result<u32> {
    let mut request = TestRun {
        program_fd: program.as_raw_fd() as u32,
        data_in_bytes: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    // SAFETY: the packet is readable for its length; no output is asked for.
    unsafe { bpf(PROG_TEST_RUN, &mut request) }?;
    Ok(request.verdict)
}
