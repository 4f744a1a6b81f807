//! The send queue: frames gathered into messages.
//!
//! The kernel sends up to 64 equal datagrams to one destination in one pass through its stack (UDP segmentation offload), the last of them may be
//! shorter. The queue therefore appends a frame to the open message of its destination when that keeps those rules, wherever in the queue that
//! message stands, and opens one at the end otherwise:
//!
//! ```text
//!   tx A1 B1 C1 A2 B2 C2 A3(short) A4    ->    [A1 A2 A3] [B1 B2] [C1 C2] [A4]
//! ```
//! Invariants: the frames of one destination keep their order; a message of several frames has equal, non-zero lengths but for a shorter, non-zero
//! last one, at most [`SEGMENTS_MAX`] frames and [`MESSAGE_BYTES_MAX`] bytes; with segmentation off every message is one frame.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::frame::Frame;

/// Most datagrams in one message (the limit of kernels before 6.9; later ones take 128).
pub(crate) const SEGMENTS_MAX: usize = 64;
/// Most payload bytes in one message: an IPv4 packet without its headers.
pub(crate) const MESSAGE_BYTES_MAX: usize = 65_507;

const OPEN_SLOTS: usize = 256;
const SPARES_MAX: usize = 256;

/// Frames that leave in one message to one destination.
#[derive(Debug)]
pub(crate) struct Message {
    to: SocketAddr,
    bytes: usize,
    closed: bool,
    frames: Vec<Frame>,
}

impl Message {
    /// The destination.
    pub(crate) fn to(&self) -> SocketAddr {
        self.to
    }

    /// The frames, at least one.
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Payload bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Length of each segment when the message has several.
    pub(crate) fn segment_bytes(&self) -> Option<u16> {
        (self.frames.len() > 1).then(|| self.frames[0].len() as u16)
    }

    fn takes(&self, to: SocketAddr, len: usize) -> bool {
        !self.closed
            && self.to == to
            && (1..=self.frames[0].len()).contains(&len)
            && self.frames.len() < SEGMENTS_MAX
            && self.bytes + len <= MESSAGE_BYTES_MAX
    }

    fn append(&mut self, frame: Frame) {
        self.closed = frame.len() < self.frames[0].len();
        self.bytes += frame.len();
        self.frames.push(frame);
    }
}

/// Messages in the order in which they leave.
pub(crate) struct SendQueue {
    messages: VecDeque<Message>,
    first: u64,
    open: Box<[u64; OPEN_SLOTS]>,
    spares: Vec<Vec<Frame>>,
    frames: usize,
    segmentation: bool,
}

impl SendQueue {
    /// An empty queue.
    pub(crate) fn new(segmentation: bool) -> SendQueue {
        SendQueue {
            messages: VecDeque::new(),
            first: 1 << 32,
            open: Box::new([0; OPEN_SLOTS]),
            spares: Vec::new(),
            frames: 0,
            segmentation,
        }
    }

    /// Frames in the queue.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The first messages, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter()
    }

    /// Adds a frame.
    pub(crate) fn push(&mut self, frame: Frame, to: SocketAddr) {
        self.frames += 1;
        let slot = slot_of(to);
        if self.segmentation
            && let Some(place) = self.open[slot].checked_sub(self.first)
            && let Some(message) = self.messages.get_mut(place as usize)
            && message.takes(to, frame.len())
        {
            return message.append(frame);
        }
        self.open[slot] = self.first + self.messages.len() as u64;
        let message = self.single(frame, to);
        self.messages.push_back(message);
    }

    /// Takes the first message out. Hand its frames back with [`SendQueue::recycle`], or the message with [`SendQueue::restore`].
    pub(crate) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.first += 1;
        self.frames -= message.frames.len();
        Some(message)
    }

    /// Puts a message that did not leave back to the front.
    pub(crate) fn restore(&mut self, message: Message) {
        self.frames += message.frames.len();
        self.first -= 1;
        self.messages.push_front(message);
    }

    /// Puts a message back to the front as single datagrams.
    pub(crate) fn restore_split(&mut self, mut message: Message) {
        let to = message.to;
        while let Some(frame) = message.frames.pop() {
            let single = self.single(frame, to);
            self.restore(single);
        }
        self.spare(message.frames);
    }

    /// Hands the frames of a message that is done to `home`.
    pub(crate) fn recycle(&mut self, mut message: Message, home: impl FnMut(Frame)) {
        message.frames.drain(..).for_each(home);
        self.spare(message.frames);
    }

    /// From here on every message is one datagram, those in the queue included.
    pub(crate) fn stop_segmentation(&mut self) {
        self.segmentation = false;
        let mut all: VecDeque<Message> = std::mem::take(&mut self.messages);
        self.frames = 0;
        while let Some(message) = all.pop_back() {
            self.restore_split(message);
        }
    }

    /// A message of one frame that later frames may not join unless the caller makes it the open one.
    fn single(&mut self, frame: Frame, to: SocketAddr) -> Message {
        let mut frames = self.spares.pop().unwrap_or_default();
        let bytes = frame.len();
        frames.push(frame);
        Message { to, bytes, closed: bytes == 0, frames }
    }

    fn spare(&mut self, frames: Vec<Frame>) {
        if self.spares.len() < SPARES_MAX {
            self.spares.push(frames);
        }
    }
}

/// Where the number of a destination's open message stands. Destinations that meet in a slot gather less, nothing else.
fn slot_of(to: SocketAddr) -> usize {
    let address = match to.ip() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() ^ (address.to_bits() >> 64)) as u64,
    };
    let mixed = (address ^ (u64::from(to.port()) << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as usize
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::pool::Pool;

    fn address(destination: u8) -> SocketAddr {
        (Ipv4Addr::new(10, 0, 0, destination), 9000).into()
    }

    fn push(queue: &mut SendQueue, pool: &mut Pool, destination: u8, len: usize, tag: u32) {
        let mut frame = pool.lend_tx().expect("the test sizes the pool");
        if len >= 4 {
            frame[..4].copy_from_slice(&tag.to_le_bytes());
        }
        frame.set_len(len);
        queue.push(frame, address(destination));
    }

    /// Destination and frame lengths of every message.
    fn drain(queue: &mut SendQueue, pool: &mut Pool) -> Vec<(SocketAddr, Vec<usize>, Vec<u32>)> {
        let mut out = Vec::new();
        while let Some(message) = queue.pop() {
            let lens = message.frames().iter().map(|frame| frame.len()).collect();
            let tags = message.frames().iter().filter(|f| f.len() >= 4).map(|f| u32::from_le_bytes(f[..4].try_into().unwrap()));
            out.push((message.to(), lens, tags.collect()));
            queue.recycle(message, |frame| pool.put(frame));
        }
        assert_eq!(queue.frames(), 0);
        out
    }

    /// The rules restated without any bookkeeping: the newest message of the destination takes the frame, or a new one is opened.
    fn model(pushes: &[(u8, usize)], segmentation: bool) -> Vec<(SocketAddr, Vec<usize>)> {
        let mut messages: Vec<(SocketAddr, Vec<usize>)> = Vec::new();
        for (destination, len) in pushes {
            let newest = messages.iter_mut().rfind(|message| message.0 == address(*destination)).filter(|(_, lens)| {
                let equal = lens.iter().all(|other| *other == lens[0]);
                let fits = lens.len() < 64 && lens.iter().sum::<usize>() + len <= 65_507;
                segmentation && equal && fits && *len > 0 && *len <= lens[0]
            });
            match newest {
                Some((_, lens)) => lens.push(*len),
                None => messages.push((address(*destination), vec![*len])),
            }
        }
        messages
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![4 => Just(1372_usize), 2 => Just(64_usize), 1 => Just(2048_usize), 1 => 0..=2048_usize]
    }

    proptest! {
        #[test]
        fn gathering_equals_the_naive_model(pushes in prop::collection::vec((0..3_u8, lengths()), 0..400), segmentation: bool) {
            let mut pool = Pool::new(0, 400);
            let mut queue = SendQueue::new(segmentation);
            for (tag, (destination, len)) in pushes.iter().enumerate() {
                push(&mut queue, &mut pool, *destination, *len, tag as u32);
            }
            prop_assert_eq!(queue.frames(), pushes.len());
            let sent = drain(&mut queue, &mut pool);
            let shape: Vec<_> = sent.iter().map(|(to, lens, _)| (*to, lens.clone())).collect();
            prop_assert_eq!(shape, model(&pushes, segmentation));
            for destination in 0..3 {
                let tags: Vec<u32> = sent.iter().filter(|m| m.0 == address(destination)).flat_map(|m| m.2.clone()).collect();
                prop_assert!(tags.is_sorted(), "frames of one destination keep their order");
            }
            prop_assert_eq!(pool.free(), 400);
        }

        #[test]
        fn stopping_segmentation_keeps_every_datagram_in_order(pushes in prop::collection::vec((0..3_u8, lengths()), 0..200), sent_before in 0..4_usize) {
            let mut pool = Pool::new(0, 200);
            let mut queue = SendQueue::new(true);
            for (tag, (destination, len)) in pushes.iter().enumerate() {
                push(&mut queue, &mut pool, *destination, *len, tag as u32);
            }
            let mut expected: Vec<(SocketAddr, usize)> =
                model(&pushes, true).into_iter().flat_map(|(to, lens)| lens.into_iter().map(move |len| (to, len))).collect();
            for _ in 0..sent_before {
                if let Some(message) = queue.pop() {
                    expected.drain(..message.frames().len());
                    queue.recycle(message, |frame| pool.put(frame));
                }
            }
            queue.stop_segmentation();
            prop_assert_eq!(queue.frames(), expected.len());
            let rest: Vec<_> = drain(&mut queue, &mut pool);
            prop_assert!(rest.iter().all(|message| message.1.len() == 1));
            prop_assert_eq!(rest.iter().map(|message| (message.0, message.1[0])).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_message_stops_at_64_segments_and_at_65507_bytes() {
        let mut pool = Pool::new(0, 200);
        let mut queue = SendQueue::new(true);
        (0..65).for_each(|tag| push(&mut queue, &mut pool, 1, 100, tag));
        (0..48).for_each(|tag| push(&mut queue, &mut pool, 2, 1372, tag));
        let counts: Vec<usize> = drain(&mut queue, &mut pool).iter().map(|message| message.1.len()).collect();
        assert_eq!(counts, [64, 1, 47, 1]);
    }

    #[test]
    fn a_restored_message_leaves_first_and_takes_no_frame_of_a_later_one() {
        let mut pool = Pool::new(0, 8);
        let mut queue = SendQueue::new(true);
        push(&mut queue, &mut pool, 1, 100, 0);
        push(&mut queue, &mut pool, 2, 100, 1);
        let first = queue.pop().expect("two are queued");
        push(&mut queue, &mut pool, 1, 100, 2);
        queue.restore(first);
        push(&mut queue, &mut pool, 1, 100, 3);
        let sent = drain(&mut queue, &mut pool);
        assert_eq!(sent.iter().map(|message| message.2.clone()).collect::<Vec<_>>(), [vec![0], vec![1], vec![2, 3]]);
    }
}
