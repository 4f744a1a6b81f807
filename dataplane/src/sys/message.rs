//! Message headers for sendmmsg, recvmmsg and the ring, built over frames that their owner keeps alive.

use std::io;
use std::os::fd::RawFd;

use super::address::Name;
use crate::frame::Frame;
use crate::port::BURST_MAX;
use crate::port::queue::{Message, SEGMENTS_MAX};

/// One control message that asks for segmentation: `cmsghdr` and a u16.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct SegmentControl {
    length: usize,
    level: i32,
    kind: i32,
    segment_bytes: u16,
    padding: [u8; 6],
}
const _: () = assert!(size_of::<libc::cmsghdr>() == 16 && size_of::<SegmentControl>() == 24);

impl SegmentControl {
    fn new(segment_bytes: u16) -> SegmentControl {
        SegmentControl {
            length: size_of::<libc::cmsghdr>() + size_of::<u16>(),
            level: libc::SOL_UDP,
            kind: libc::UDP_SEGMENT,
            segment_bytes,
            padding: [0; 6],
        }
    }
}

const NO_HEADER: libc::msghdr = libc::msghdr {
    msg_name: std::ptr::null_mut(),
    msg_namelen: 0,
    msg_iov: std::ptr::null_mut(),
    msg_iovlen: 0,
    msg_control: std::ptr::null_mut(),
    msg_controllen: 0,
    msg_flags: 0,
};
const NO_VECTOR: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
const NO_ENTRY: libc::mmsghdr = libc::mmsghdr { msg_hdr: NO_HEADER, msg_len: 0 };

/// Everything the kernel reads of one message to send.
struct Outgoing {
    name: Name,
    control: SegmentControl,
    vectors: [libc::iovec; SEGMENTS_MAX],
}

impl Outgoing {
    fn new() -> Outgoing {
        Outgoing { name: Name::EMPTY, control: SegmentControl::new(0), vectors: [NO_VECTOR; SEGMENTS_MAX] }
    }

    /// Describes `message`; the header points into `self` and at the frames, and both must stay where they are while the kernel has it.
    fn describe(&mut self, message: &Message) -> libc::msghdr {
        self.name = Name::new(message.to());
        for (vector, frame) in self.vectors.iter_mut().zip(message.frames()) {
            *vector = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        }
        let mut header = NO_HEADER;
        header.msg_name = self.name.bytes.as_mut_ptr().cast();
        header.msg_namelen = self.name.len;
        header.msg_iov = self.vectors.as_mut_ptr();
        header.msg_iovlen = message.frames().len();
        if let Some(segment_bytes) = message.segment_bytes() {
            self.control = SegmentControl::new(segment_bytes);
            header.msg_control = (&raw mut self.control).cast();
            header.msg_controllen = size_of::<SegmentControl>();
        }
        header
    }
}

/// Sends several messages with one system call.
pub(crate) struct SendBatch {
    outgoing: Vec<Outgoing>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in the headers are rebuilt before each call and never followed between calls.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Room for a burst.
    pub(crate) fn new() -> SendBatch {
        SendBatch { outgoing: (0..BURST_MAX).map(|_| Outgoing::new()).collect(), headers: Vec::with_capacity(BURST_MAX) }
    }

    /// Sends the first messages, at most a burst, and returns how many the kernel took. An error is that of the first message.
    pub(crate) fn send<'a>(&mut self, fd: RawFd, messages: impl Iterator<Item = &'a Message>) -> io::Result<usize> {
        self.headers.clear();
        for (outgoing, message) in self.outgoing.iter_mut().zip(messages) {
            self.headers.push(libc::mmsghdr { msg_hdr: outgoing.describe(message), msg_len: 0 });
        }
        // SAFETY: every header points into `self.outgoing`, which does not move here, and at frames borrowed for the call.
        let rc = unsafe { libc::sendmmsg(fd, self.headers.as_mut_ptr(), self.headers.len() as u32, libc::MSG_DONTWAIT as _) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc as usize) }
    }
}

/// What came in one slot of a [`ReceiveBatch`].
pub(crate) enum Received {
    /// A datagram; length and sender are set.
    Datagram(Frame),
    /// Longer than the frame.
    Oversize(Frame),
    /// The kernel's description is out of range.
    Malformed(Frame),
}

/// Receives several datagrams with one system call, into frames that it owns.
pub(crate) struct ReceiveBatch {
    frames: Vec<Frame>,
    names: Vec<Name>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    described: usize,
}

// SAFETY: as for `SendBatch`; the frames behind the vectors are owned by `frames`.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Room for a burst, no frame in it.
    pub(crate) fn new() -> ReceiveBatch {
        ReceiveBatch {
            frames: Vec::with_capacity(BURST_MAX),
            names: vec![Name::EMPTY; BURST_MAX],
            vectors: vec![NO_VECTOR; BURST_MAX],
            headers: vec![NO_ENTRY; BURST_MAX],
            described: 0,
        }
    }

    /// Frames in it.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Takes frames from `source` until `count` (at most a burst) are in it.
    pub(crate) fn fill(&mut self, count: usize, mut source: impl FnMut() -> Option<Frame>) {
        while self.frames.len() < count.min(BURST_MAX) {
            let Some(frame) = source() else { break };
            self.frames.push(frame);
        }
    }

    /// Receives up to `max` datagrams into the first frames and hands each to `sink`. Returns how many came.
    pub(crate) fn receive(&mut self, fd: RawFd, max: usize, mut sink: impl FnMut(Received)) -> io::Result<usize> {
        let count = max.min(self.frames.len());
        self.describe();
        // SAFETY: the first `count` headers point at names and vectors of `self` and at whole payloads of frames that `self` owns.
        let rc = unsafe { libc::recvmmsg(fd, self.headers.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT as _, std::ptr::null_mut()) };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        let came = (rc as usize).min(count);
        self.described = 0;
        for ((frame, entry), name) in self.frames.drain(..came).zip(&self.headers).zip(&self.names) {
            sink(judge(frame, entry, name));
        }
        Ok(came)
    }

    /// Points a header at each frame; frames keep their slot until something was received.
    fn describe(&mut self) {
        for slot in self.described..self.frames.len() {
            let frame = &self.frames[slot];
            self.vectors[slot] = libc::iovec { iov_base: frame.payload_address().cast(), iov_len: frame.capacity() };
            let mut header = NO_HEADER;
            header.msg_name = self.names[slot].bytes.as_mut_ptr().cast();
            header.msg_namelen = self.names[slot].bytes.len() as u32;
            header.msg_iov = &raw mut self.vectors[slot];
            header.msg_iovlen = 1;
            self.headers[slot] = libc::mmsghdr { msg_hdr: header, msg_len: 0 };
        }
        self.described = self.frames.len();
    }
}

fn judge(mut frame: Frame, entry: &libc::mmsghdr, name: &Name) -> Received {
    if entry.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
        return Received::Oversize(frame);
    }
    let peer = name.bytes.get(..entry.msg_hdr.msg_namelen as usize).and_then(Name::parse);
    match peer {
        Some(peer) if entry.msg_len as usize <= frame.capacity() => {
            frame.received(entry.msg_len as usize, peer);
            Received::Datagram(frame)
        }
        _ => Received::Malformed(frame),
    }
}

/// A message on its way through the ring: owns the frames and everything the kernel may read of them.
pub(crate) struct InFlight {
    outgoing: Outgoing,
    header: libc::msghdr,
    message: Option<Message>,
}

// SAFETY: the pointers of the header lead into the same structure and into frames it owns.
unsafe impl Send for InFlight {}

impl InFlight {
    /// An empty slot.
    pub(crate) fn new() -> InFlight {
        InFlight { outgoing: Outgoing::new(), header: NO_HEADER, message: None }
    }

    /// Takes the message in and returns the header for the kernel. It is valid until [`InFlight::land`], as long as the slot does not move.
    pub(crate) fn launch(&mut self, message: Message) -> *const libc::msghdr {
        assert!(self.message.is_none(), "a slot carries one message");
        self.header = self.outgoing.describe(&message);
        self.message = Some(message);
        &raw const self.header
    }

    /// Gives the message back once the kernel is done with it.
    pub(crate) fn land(&mut self) -> Option<Message> {
        self.message.take()
    }
}

/// The header of a multishot receive: only its lengths matter.
pub(crate) struct ReceiveHeader(Box<libc::msghdr>);

// SAFETY: it holds no pointer.
unsafe impl Send for ReceiveHeader {}

impl ReceiveHeader {
    /// A name field of `name_bytes`, no control messages.
    pub(crate) fn new(name_bytes: usize) -> ReceiveHeader {
        let mut header = NO_HEADER;
        header.msg_namelen = name_bytes as u32;
        ReceiveHeader(Box::new(header))
    }

    /// Its fixed address.
    pub(crate) fn as_ptr(&self) -> *const libc::msghdr {
        &raw const *self.0
    }
}
