//! An AF_XDP socket: UMEM registration, the four mapped rings, bind, the calls that move them.
//!
//! Who keeps the memory alive: the rings' mappings belong to [`Mapped`], the UMEM to the [`Region`] that [`Xsk`] holds. The kernel writes only into buffers whose
//! addresses stand in the fill ring; the port holds the tokens of those.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::memory::Region;
use crate::xdp::ring::{Consumer, Producer, RingMemory};

/// Since Linux 6.18: datagrams that one call sends in copy mode (32 before).
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL_BUDGET: i32 = 70;

/// A received or sent packet: where it lies in the UMEM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) options: u32,
}

const _: () = assert!(size_of::<Descriptor>() == 16 && size_of::<libc::xdp_desc>() == 16);

/// Slots of each ring, powers of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSizes {
    pub(crate) fill: u32,
    pub(crate) completion: u32,
    pub(crate) rx: u32,
    pub(crate) tx: u32,
}

/// XDP_STATISTICS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct KernelCounts {
    /// No free frame (copy mode), or too long for one.
    pub(crate) rx_dropped: u64,
    pub(crate) rx_invalid: u64,
    pub(crate) tx_invalid: u64,
    pub(crate) rx_ring_full: u64,
    pub(crate) fill_ring_empty: u64,
    pub(crate) tx_ring_empty: u64,
}

/// An AF_XDP socket with its rings.
pub(crate) struct Xsk {
    pub(crate) rx: Consumer<Mapped<Descriptor>>,
    pub(crate) tx: Producer<Mapped<Descriptor>>,
    pub(crate) fill: Producer<Mapped<u64>>,
    pub(crate) completion: Consumer<Mapped<u64>>,
    fd: OwnedFd,
    _region: Arc<Region>,
}

/// No buffer and no address, as wide as a system call's argument.
const NOTHING: usize = 0;

impl Xsk {
    /// Makes the socket, registers the first `count` chunks of the region as its UMEM and maps its rings. An error names the step.
    pub(crate) fn open(region: &Arc<Region>, count: usize, chunk: usize, sizes: RingSizes) -> Result<Xsk, (&'static str, io::Error)> {
        // SAFETY: makes a descriptor.
        let raw = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if raw < 0 {
            return Err(("socket", io::Error::last_os_error()));
        }
        // SAFETY: the kernel just made it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let (base, bytes) = region.span();
        assert!(count * chunk <= bytes, "the region holds every chunk");
        let umem = libc::xdp_umem_reg {
            addr: base as u64,
            len: (count * chunk) as u64,
            chunk_size: chunk as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set(&fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &umem).map_err(|error| ("XDP_UMEM_REG", error))?;
        for (name, option, size) in [
            ("XDP_UMEM_FILL_RING", libc::XDP_UMEM_FILL_RING, sizes.fill),
            ("XDP_UMEM_COMPLETION_RING", libc::XDP_UMEM_COMPLETION_RING, sizes.completion),
            ("XDP_RX_RING", libc::XDP_RX_RING, sizes.rx),
            ("XDP_TX_RING", libc::XDP_TX_RING, sizes.tx),
        ] {
            set(&fd, libc::SOL_XDP, option, &size).map_err(|error| (name, error))?;
        }
        let at = offsets(&fd).map_err(|error| ("XDP_MMAP_OFFSETS", error))?;
        let failed = |error| ("mmap of a ring", error);
        let (fill_page, completion_page) = (libc::XDP_UMEM_PGOFF_FILL_RING as i64, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64);
        Ok(Xsk {
            rx: Consumer::new(Mapped::new(&fd, libc::XDP_PGOFF_RX_RING, at.rx, sizes.rx).map_err(failed)?),
            tx: Producer::new(Mapped::new(&fd, libc::XDP_PGOFF_TX_RING, at.tx, sizes.tx).map_err(failed)?),
            fill: Producer::new(Mapped::new(&fd, fill_page, at.fr, sizes.fill).map_err(failed)?),
            completion: Consumer::new(Mapped::new(&fd, completion_page, at.cr, sizes.completion).map_err(failed)?),
            fd,
            _region: Arc::clone(region),
        })
    }

    /// Binds to a queue of an interface. `flags` are XDP_COPY or XDP_ZEROCOPY, with XDP_USE_NEED_WAKEUP. Fill the fill ring before.
    pub(crate) fn bind(&self, interface: u32, queue: u32, flags: u16) -> io::Result<()> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: interface,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: the address lives across the call and `len` is its size.
        let rc = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), len) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Lets the kernel send what is published, and in busy polling receive too. 0 or an errno.
    pub(crate) fn kick(&self) -> i32 {
        // Not by `libc::sendto`: in a process of several threads that is a cancellation point, two locked instructions around the call.
        // SAFETY: no buffer, no address.
        let rc = unsafe { libc::syscall(libc::SYS_sendto, self.fd.as_raw_fd(), NOTHING, 0, libc::MSG_DONTWAIT, NOTHING, 0) };
        if rc >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(0) }
    }

    /// Lets the kernel (or, in busy polling, the driver) receive. 0 or an errno.
    pub(crate) fn kick_receive(&self) -> i32 {
        let none = std::ptr::null_mut();
        // SAFETY: no buffer, no address.
        let rc = unsafe { libc::recvfrom(self.fd.as_raw_fd(), none, 0, libc::MSG_DONTWAIT, none.cast(), none.cast()) };
        if rc >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(0) }
    }

    /// Preferred busy polling: interrupts stay off while we poll within the NIC's deferral time.
    pub(crate) fn prefer_busy_poll(&self, time: Duration, budget: u16) -> io::Result<()> {
        let micros = i32::try_from(time.as_micros()).unwrap_or(i32::MAX);
        set(&self.fd, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1_i32)?;
        set(&self.fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &micros)?;
        set(&self.fd, libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &i32::from(budget))
    }

    /// Asks for longer bursts per call and room for the packets under way. Kernels that do not know how go on with less.
    pub(crate) fn widen(&self, budget: u32, bytes: i32) {
        let _ = set(&self.fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget);
        if set(&self.fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes).is_err() {
            let _ = set(&self.fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes);
        }
    }

    /// What the kernel counted at this socket.
    pub(crate) fn counts(&self) -> KernelCounts {
        let mut counts = KernelCounts::default();
        let mut len = size_of::<KernelCounts>() as libc::socklen_t;
        // SAFETY: `counts` is writable for `len` bytes, plain integers all of them.
        unsafe {
            libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_STATISTICS, (&raw mut counts).cast(), &mut len);
        }
        counts
    }

    /// Whether the driver reads and writes the UMEM itself.
    pub(crate) fn is_zero_copy(&self) -> bool {
        let mut options = libc::xdp_options { flags: 0 };
        let mut len = size_of::<libc::xdp_options>() as libc::socklen_t;
        // SAFETY: `options` is writable for `len` bytes.
        let rc = unsafe { libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_OPTIONS, (&raw mut options).cast(), &mut len) };
        rc == 0 && options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// One ring, mapped from the socket.
pub(crate) struct Mapped<T> {
    start: NonNull<u8>,
    bytes: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    capacity: u32,
}

// SAFETY: the mapping belongs to this value alone; the kernel's side is synchronised by the index words.
unsafe impl<T: Copy + Send> Send for Mapped<T> {}

impl<T: Copy> Mapped<T> {
    fn new(fd: &OwnedFd, page: i64, at: libc::xdp_ring_offset, capacity: u32) -> io::Result<Mapped<T>> {
        let bytes = at.desc as usize + capacity as usize * size_of::<T>();
        let fits = |offset: u64, len: usize| offset as usize + len <= bytes && (offset as usize).is_multiple_of(len);
        if ![at.producer, at.consumer, at.flags].into_iter().all(|offset| fits(offset, 4)) || !at.desc.is_multiple_of(8) {
            return Err(io::Error::other(format!("the kernel's ring layout makes no sense: {at:?}")));
        }
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a fresh mapping of the socket's ring at an address the kernel chooses.
        let raw = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd.as_raw_fd(), page) };
        if raw == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start: NonNull<u8> = NonNull::new(raw.cast()).expect("a mapping is never at address zero");
        // SAFETY: every offset was checked to lie, aligned, inside the mapping.
        unsafe {
            Ok(Mapped {
                start,
                bytes,
                producer: start.add(at.producer as usize).cast(),
                consumer: start.add(at.consumer as usize).cast(),
                flags: start.add(at.flags as usize).cast(),
                slots: start.add(at.desc as usize).cast(),
                capacity,
            })
        }
    }
}

impl<T: Copy> RingMemory for Mapped<T> {
    type Entry = T;
    type Index = AtomicU32;

    fn capacity(&self) -> u32 {
        self.capacity
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned, only ever accessed atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> u32 {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed)
    }

    fn read(&self, slot: u32) -> T {
        assert!(slot < self.capacity, "a slot is masked");
        // SAFETY: inside the mapping; the slot was published to us, so the kernel does not write it; any bits are a valid T.
        unsafe { self.slots.add(slot as usize).read_volatile() }
    }

    fn write(&mut self, slot: u32, entry: T) {
        assert!(slot < self.capacity, "a slot is masked");
        // SAFETY: inside the mapping; the slot is not published, so the kernel does not read it.
        unsafe { self.slots.add(slot as usize).write_volatile(entry) };
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; nothing refers into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

fn offsets(fd: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: plain integers, for which zero is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
    // SAFETY: `offsets` is writable for `len` bytes.
    let rc = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, (&raw mut offsets).cast(), &mut len) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<libc::xdp_mmap_offsets>() {
        return Err(io::Error::from_raw_os_error(libc::EPROTO)); // before 5.4: rings without flags
    }
    Ok(offsets)
}

fn set<T>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` lives across the call and `len` is its size.
    let rc = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Number of the interface of that name in this thread's namespace; 0 when there is none.
pub(crate) fn interface_index(name: &std::ffi::CStr) -> u32 {
    // SAFETY: reads a terminated string.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}
