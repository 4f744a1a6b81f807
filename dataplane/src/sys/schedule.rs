//! How soon the kernel lets a waking thread run.
//!
//! Linux 6.12 lets an ordinary thread ask for a shorter time slice (`sched_setattr` with a runtime, no privilege needed): under EEVDF a shorter
//! slice means an earlier virtual deadline, so the thread is picked sooner after a wake-up and gives way sooner, with the same share of the
//! core. Where several reactors share few cores this is what separates a vote's latency from a neighbour's 2.8 ms slice.

use std::time::Duration;

/// The kernel's `struct sched_attr`, first version (48 B).
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for a slice of this length for the calling thread; the kernel takes 0.1 to 100 ms. False where it does not know how (before 6.12
/// the request is accepted and has no effect).
pub fn set_slice(slice: Duration) -> bool {
    let runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    let policy = libc::SCHED_OTHER as u32;
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, policy, flags: 0, nice: 0, priority: 0, runtime, deadline: 0, period: 0 };
    // SAFETY: the kernel reads `size` bytes of a live struct of exactly that size and layout; pid 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_a_short_slice() {
        assert!(set_slice(Duration::from_micros(100)));
    }
}
