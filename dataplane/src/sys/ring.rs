//! The io_uring of a port: a multishot receive into a ring of provided buffers, and sends that own their frames.
//!
//! ```text
//!   post(frame) -> buffer ring -> kernel fills one -> completion names it -> Received(frame)
//!   send(message) -> slot (owns frames and header) -> completion names the slot -> Sent(message, result)
//! ```
//! What a completion names is looked up among what is posted; a number that names nothing of ours is reported and ignored. The completion queue has room
//! for every posted buffer and every slot, so it cannot overflow while those limits hold. The ring starts disabled and belongs to the thread that enables it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, CancelBuilder, Fd};
use io_uring::{IoUring, cqueue, opcode};

use super::address::{NAME_BYTES, Name};
use super::memory::{HEADROOM_BYTES, STRIDE_BYTES};
use super::message::{InFlight, ReceiveHeader, Received};
use crate::frame::{FRAME_BYTES, Frame};
use crate::port::PortError;
use crate::port::queue::Message;

const RECEIVE: u64 = u64::MAX;
const SLOTS: usize = 128;
const SQ_ENTRIES: u32 = 256;
const BUFFER_GROUP: u16 = 0;
/// `io_uring_recvmsg_out`: lengths of name, control and payload, and flags.
const OUT_BYTES: usize = 16;
/// Name field that puts the payload right behind the headroom.
const NAME_FIELD_BYTES: usize = HEADROOM_BYTES - OUT_BYTES;
const _: () = assert!(NAME_FIELD_BYTES >= NAME_BYTES);

/// What the kernel reports.
pub(crate) enum Completion {
    /// Something arrived.
    Received(Received),
    /// The receive stopped, with this errno or 0, and must be armed again.
    Disarmed(i32),
    /// A message is through: the errno, 0 for success.
    Sent(Message, i32),
    /// A number that names nothing of ours.
    Foreign,
}

/// One ring for one socket.
pub(crate) struct Ring {
    uring: IoUring,
    buffers: BufferRing,
    header: ReceiveHeader,
    slots: Box<[InFlight]>,
    free_slots: Vec<u16>,
    in_flight_frames: usize,
    socket: RawFd,
    armed: bool,
    enabled: bool,
    overflows: u64,
    mode: Mode,
}

impl Ring {
    /// A ring for `socket` with room for `frames` provided buffers, in the first of `modes` that works.
    pub(crate) fn new(socket: RawFd, frames: usize, modes: &[Mode]) -> Result<Ring, PortError> {
        let entries = (frames + SLOTS + 64).next_power_of_two() as u32;
        let (uring, mode) = set_up(modes, entries).map_err(|source| PortError::Ring { step: "io_uring_setup", source })?;
        let buffers = BufferRing::new(frames);
        let (address, count) = (buffers.base.as_ptr() as u64, buffers.entries);
        // SAFETY: the entries are page-aligned, zeroed, live in `buffers`, and stay until the ring is closed (`Ring::close`, or they leak).
        let registered = unsafe { uring.submitter().register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0) };
        registered.map_err(|source| PortError::Ring { step: "register_buf_ring", source })?;
        Ok(Ring {
            uring,
            buffers,
            header: ReceiveHeader::new(NAME_FIELD_BYTES),
            slots: (0..SLOTS).map(|_| InFlight::new()).collect(),
            free_slots: (0..SLOTS as u16).rev().collect(),
            in_flight_frames: 0,
            socket,
            armed: false,
            enabled: false,
            overflows: 0,
            mode,
        })
    }

    /// The mode it took.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Binds the ring to this thread, once.
    pub(crate) fn enable(&mut self) {
        if !self.enabled {
            self.uring.submitter().register_enable_rings().expect("a ring that was set up disabled can be enabled once");
            self.enabled = true;
        }
    }

    /// Gives a frame to the kernel for receiving.
    pub(crate) fn post(&mut self, frame: Frame) {
        self.buffers.post(frame);
    }

    /// Frames the kernel may fill.
    pub(crate) fn posted(&self) -> usize {
        self.buffers.posted
    }

    /// Frames the kernel has, either way.
    pub(crate) fn frames(&self) -> usize {
        self.buffers.posted + self.in_flight_frames
    }

    /// Queues the multishot receive when it is not armed and could receive. Returns whether it did.
    pub(crate) fn arm(&mut self) -> bool {
        if self.armed || self.buffers.posted == 0 {
            return false;
        }
        let entry = opcode::RecvMsgMulti::new(Fd(self.socket), self.header.as_ptr(), BUFFER_GROUP).build().user_data(RECEIVE);
        // SAFETY: the header lives as long as the ring, the buffers belong to the kernel while posted.
        self.armed = unsafe { self.uring.submission().push(&entry) }.is_ok();
        self.armed
    }

    /// Queues a message; gives it back when all slots are in flight.
    pub(crate) fn send(&mut self, message: Message) -> Result<(), Message> {
        if self.uring.submission().is_full() {
            return Err(message);
        }
        let Some(slot) = self.free_slots.pop() else { return Err(message) };
        self.in_flight_frames += message.frames().len();
        let header = self.slots[usize::from(slot)].launch(message);
        let entry = opcode::SendMsg::new(Fd(self.socket), header).flags(libc::MSG_DONTWAIT as u32).build().user_data(u64::from(slot));
        // SAFETY: the slots never move; this one keeps header and frames until its completion is seen.
        unsafe { self.uring.submission().push(&entry) }.expect("the queue was not full");
        Ok(())
    }

    /// Whether the kernel has work that only a call will move: reads shared memory, no system call.
    pub(crate) fn needs_enter(&mut self) -> bool {
        let queue = self.uring.submission();
        self.overflows += u64::from(queue.cq_overflow());
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Times completions had found the queue full (the kernel keeps them and hands them over on the next call).
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Submits and lets deferred work run.
    pub(crate) fn enter(&mut self) -> io::Result<usize> {
        self.uring.submit()
    }

    /// Hands every completion that is there to `sink`.
    pub(crate) fn complete(&mut self, mut sink: impl FnMut(Completion)) {
        let Ring { uring, buffers, slots, free_slots, in_flight_frames, armed, .. } = self;
        for entry in uring.completion() {
            if entry.user_data() == RECEIVE {
                received(&entry, buffers, armed, &mut sink);
                continue;
            }
            let slot = entry.user_data() as usize;
            match slots.get_mut(slot).and_then(|slot| slot.land()) {
                Some(message) => {
                    *in_flight_frames -= message.frames().len();
                    free_slots.push(slot as u16);
                    sink(Completion::Sent(message, (-entry.result()).max(0)));
                }
                None => sink(Completion::Foreign),
            }
        }
    }

    /// Descriptor to sleep on.
    pub(crate) fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Slots that can take a message.
    pub(crate) fn free_slots(&self) -> usize {
        self.free_slots.len()
    }

    /// Takes everything back from the kernel. False when it could not be confirmed: then [`Ring::leak`] is the only safe end.
    pub(crate) fn close(&mut self) -> bool {
        const ROUNDS_MAX: usize = 64;
        for _ in 0..ROUNDS_MAX {
            if !self.armed && self.in_flight_frames == 0 {
                return true;
            }
            let _ = self.uring.submitter().register_sync_cancel(None, CancelBuilder::any());
            if self.uring.submit_and_wait(0).is_err() {
                return false;
            }
            self.complete(drop);
        }
        false
    }

    /// Leaves everything the kernel may still reach where it is, for good.
    pub(crate) fn leak(&mut self) {
        std::mem::take(&mut self.buffers.parked).into_iter().flatten().for_each(std::mem::forget);
        std::mem::forget(std::mem::take(&mut self.slots));
        std::mem::forget(std::mem::replace(&mut self.header, ReceiveHeader::new(0)));
        self.buffers.leaked = true;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.close() {
            self.leak();
        }
    }
}

fn received(entry: &cqueue::Entry, buffers: &mut BufferRing, armed: &mut bool, sink: &mut impl FnMut(Completion)) {
    if let Some(number) = cqueue::buffer_select(entry.flags()) {
        match buffers.take(number) {
            Some(frame) => sink(Completion::Received(judge(frame, entry.result()))),
            None => sink(Completion::Foreign),
        }
    }
    if !cqueue::more(entry.flags()) {
        *armed = false;
        sink(Completion::Disarmed((-entry.result()).max(0)));
    }
}

/// Reads what the kernel wrote in front of the payload; every length is checked before it is used.
fn judge(mut frame: Frame, result: i32) -> Received {
    let head: &[u8] = &frame.buffer().bytes()[..HEADROOM_BYTES];
    let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("4 bytes")) as usize;
    let (name_bytes, payload_bytes, flags) = (word(0), word(8), word(12));
    if flags & libc::MSG_TRUNC as usize != 0 {
        return Received::Oversize(frame);
    }
    let peer = head[OUT_BYTES..].get(..name_bytes).and_then(Name::parse);
    match peer {
        Some(peer) if payload_bytes <= FRAME_BYTES && result == (HEADROOM_BYTES + payload_bytes) as i32 => {
            frame.received(payload_bytes, peer);
            Received::Datagram(frame)
        }
        _ => Received::Malformed(frame),
    }
}

/// How completions are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// When this thread asks (6.1): nothing interrupts the loop.
    Deferred,
    /// At this thread's next system call (5.19).
    Cooperative,
    /// By interrupting this thread.
    Plain,
}

impl Mode {
    /// Best first.
    pub(crate) const LADDER: [Mode; 3] = [Mode::Deferred, Mode::Cooperative, Mode::Plain];

    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Deferred => "single issuer, deferred task run",
            Mode::Cooperative => "cooperative task run",
            Mode::Plain => "plain ring",
        }
    }

    /// Every ring starts disabled, so it may move to another thread before its first use.
    fn set_up(self, cq_entries: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.setup_r_disabled().setup_cqsize(cq_entries.max(2 * SQ_ENTRIES)).dontfork();
        match self {
            Mode::Deferred => builder.setup_submit_all().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag(),
            Mode::Cooperative => builder.setup_submit_all().setup_coop_taskrun().setup_taskrun_flag(),
            Mode::Plain => &mut builder,
        };
        builder.build(SQ_ENTRIES)
    }
}

/// The first mode of `modes` that the kernel takes, or the error of the last.
fn set_up(modes: &[Mode], cq_entries: u32) -> io::Result<(IoUring, Mode)> {
    let mut refused = io::ErrorKind::Unsupported.into();
    for mode in modes {
        match mode.set_up(cq_entries) {
            Ok(uring) => return Ok((uring, *mode)),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// The ring of provided buffers and the frames in it, by buffer number.
struct BufferRing {
    base: NonNull<BufRingEntry>,
    layout: Layout,
    entries: u16,
    tail: u16,
    parked: Vec<Option<Frame>>,
    posted: usize,
    leaked: bool,
}

// SAFETY: the entries are reached through `&mut self` only; the kernel side is synchronised by the tail.
unsafe impl Send for BufferRing {}

impl BufferRing {
    fn new(frames: usize) -> BufferRing {
        let entries = frames.next_power_of_two();
        let layout = Layout::from_size_align(entries * size_of::<BufRingEntry>(), 4096).expect("a page is a power of two");
        // SAFETY: the layout is not empty: a port has at least one receive frame.
        let raw = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(raw.cast()) else { handle_alloc_error(layout) };
        let parked = std::iter::repeat_with(|| None).take(frames).collect();
        BufferRing { base, layout, entries: entries as u16, tail: 0, parked, posted: 0, leaked: false }
    }

    /// The number of a buffer is the index of its frame.
    fn post(&mut self, frame: Frame) {
        let number = frame.buffer().index();
        let place = usize::from(self.tail & (self.entries - 1));
        // SAFETY: `place` is below the number of entries, and the kernel does not read the entry before the tail is published.
        let entry = unsafe { &mut *self.base.as_ptr().add(place) };
        entry.set_addr(frame.buffer().address() as u64);
        entry.set_len(STRIDE_BYTES as u32);
        entry.set_bid(number as u16);
        let before = self.parked[number].replace(frame);
        assert!(before.is_none(), "a frame is posted once");
        self.posted += 1;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the base points at the first entry, whose spare field is the tail; it is 2-aligned and shared with the kernel atomically.
        let tail = unsafe { &*BufRingEntry::tail(self.base.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn take(&mut self, number: u16) -> Option<Frame> {
        let frame = self.parked.get_mut(usize::from(number))?.take()?;
        self.posted -= 1;
        Some(frame)
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: allocated in `new` with this layout; the ring is closed, so the kernel reads no entry.
            unsafe { dealloc(self.base.as_ptr().cast(), self.layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    /// A frame as the kernel leaves it: lengths, flags, an IPv4 sender.
    fn frame(pool: &mut Pool, name_bytes: u32, payload_bytes: u32, flags: i32) -> Frame {
        let mut frame = pool.take_rx().expect("the test sizes the pool");
        let head: Vec<u8> = [name_bytes, 0, payload_bytes, flags as u32].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let name = Name::new("127.0.0.1:7".parse().expect("an address"));
        frame.whole_mut()[..OUT_BYTES].copy_from_slice(&head);
        frame.whole_mut()[OUT_BYTES..OUT_BYTES + NAME_BYTES].copy_from_slice(&name.bytes);
        frame
    }

    #[test]
    fn what_the_kernel_describes_is_range_checked() {
        let mut pool = Pool::new(16, 1);
        let good = judge(frame(&mut pool, 16, 100, 0), 164);
        assert!(matches!(good, Received::Datagram(f) if f.len() == 100 && f.peer().port() == 7));
        assert!(matches!(judge(frame(&mut pool, 16, 4000, libc::MSG_TRUNC), 2112), Received::Oversize(_)));
        let wrong =
            [(16, 100, 163), (16, 100, -5), (16, 2049, 2113), (16, u32::MAX, 2112), (15, 100, 164), (49, 100, 164), (u32::MAX, 100, 164)];
        for (name_bytes, payload_bytes, result) in wrong {
            let verdict = judge(frame(&mut pool, name_bytes, payload_bytes, 0), result);
            assert!(matches!(verdict, Received::Malformed(_)), "{name_bytes} {payload_bytes} {result}");
        }
    }

    #[test]
    fn only_a_posted_buffer_can_be_taken_and_only_once() {
        let mut pool = Pool::new(3, 1);
        let mut buffers = BufferRing::new(3);
        while let Some(frame) = pool.take_rx() {
            buffers.post(frame);
        }
        assert_eq!((buffers.entries, buffers.posted), (4, 3));
        assert!(buffers.take(3).is_none() && buffers.take(u16::MAX).is_none());
        let frame = buffers.take(1).expect("posted");
        assert!(buffers.take(1).is_none());
        buffers.post(frame);
        assert_eq!((buffers.tail, buffers.posted), (4, 3));
    }
}
