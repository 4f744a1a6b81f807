//! The frames of one port and which of them the kernel has.
//!
//! ```text
//!   free rx --refill--> fill ring ~ RX ring --receive--> caller        caller --send--> TX ring ~ completion ring --reap--> free
//! ```
//! A frame that the kernel has stands in [`Lent`] under its index, with what it was lent for. Whatever address the kernel names is looked up there: one that is not
//! lent for that, or a packet that reaches beyond its frame, is counted and not followed. Generic over the memory of the rings, so that tests play a kernel, a lying
//! one included, on the heap.

use std::net::IpAddr;

use super::header::{self, Template};
use super::ring::{Consumer, Producer, RingMemory};
use crate::frame::Frame;
use crate::pool::Pool;
use crate::sys::xsk::Descriptor;

/// What the kernel may do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    Receive,
    Send,
}

/// What [`Umem::receive`] and [`Umem::reap`] count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UmemCounts {
    /// Descriptors that named nothing of ours or reached out of their frame.
    pub(crate) descriptors_bad: u64,
    /// Packets that were no whole UDP datagrams.
    pub(crate) malformed: u64,
    /// Packets whose source no packet from a network can have.
    pub(crate) forged: u64,
}

/// The frames and where they are.
pub(crate) struct Umem {
    pub(crate) pool: Pool,
    pub(crate) counts: UmemCounts,
    lent: Lent,
    chunk: usize,
    interface: u32,
    /// All addresses of this host, sorted: nobody else sends from them.
    own: Vec<IpAddr>,
}

impl Umem {
    /// Over a pool whose buffers are `chunk` bytes each; `interface` is the scope of link-local senders.
    pub(crate) fn new(pool: Pool, chunk: usize, interface: u32) -> Umem {
        Umem { lent: Lent::new(pool.total()), pool, counts: UmemCounts::default(), chunk, interface, own: Vec::new() }
    }

    /// Bytes of a frame.
    pub(crate) fn chunk(&self) -> usize {
        self.chunk
    }

    /// Takes note of the addresses of this host.
    pub(crate) fn set_own(&mut self, mut own: Vec<IpAddr>) {
        own.sort_unstable();
        self.own = own;
    }

    /// Takes back what stands in the TX ring of a socket that the kernel has unbound: nobody will read it any more. Returns how many.
    pub(crate) fn abandon_sends(&mut self) -> usize {
        let before = self.pool.free();
        for place in &mut self.lent.frames {
            if let Some((_, frame)) = place.take_if(|(lease, _)| *lease == Lease::Send) {
                self.lent.counts[Lease::Send as usize] -= 1;
                self.pool.put(frame);
            }
        }
        self.pool.free() - before
    }

    /// Frames that the kernel has for this.
    pub(crate) fn lent(&self, lease: Lease) -> usize {
        self.lent.counts[lease as usize]
    }

    /// Every free receive frame goes to the fill ring.
    pub(crate) fn refill<M: RingMemory<Entry = u64>>(&mut self, fill: &mut Producer<M>) {
        if self.pool.rx_free() == 0 {
            return;
        }
        while fill.free(1) > 0
            && let Some(frame) = self.pool.take_rx()
        {
            fill.push((frame.buffer().index() * self.chunk) as u64);
            self.lent.lend(frame, Lease::Receive);
        }
        fill.publish();
    }

    /// Takes up to `max` entries out of the RX ring and appends the datagrams among them.
    pub(crate) fn receive<M: RingMemory<Entry = Descriptor>>(&mut self, rx: &mut Consumer<M>, frames: &mut Vec<Frame>, max: usize) {
        let count = (rx.available() as usize).min(max);
        if count == 0 {
            return;
        }
        let before = frames.len();
        for _ in 0..count {
            let descriptor = rx.pop();
            let Some(mut frame) = self.lent.take(descriptor.address, self.chunk, Lease::Receive) else {
                self.counts.descriptors_bad += 1;
                continue;
            };
            match self.open(&mut frame, descriptor) {
                Opening::Datagram => {
                    frames.push(frame);
                    continue;
                }
                Opening::OutOfRange => self.counts.descriptors_bad += 1,
                Opening::Malformed => self.counts.malformed += 1,
                Opening::Forged => self.counts.forged += 1,
            }
            self.pool.put(frame);
        }
        rx.release();
        self.pool.lent(frames.len() - before);
    }

    /// Writes the headers in front of the frame's payload and puts it into the TX ring, unpublished.
    pub(crate) fn send<M: RingMemory<Entry = Descriptor>>(&mut self, tx: &mut Producer<M>, mut frame: Frame, template: &Template) {
        let (start, len) = template.write(&mut frame);
        let address = (frame.buffer().index() * self.chunk + start) as u64;
        assert!(tx.free(1) > 0, "the ring has a slot for every frame");
        tx.push(Descriptor { address, len: len as u32, options: 0 });
        self.lent.lend(frame, Lease::Send);
    }

    /// Brings home what the kernel has sent; `sink` sees each payload length.
    pub(crate) fn reap<M: RingMemory<Entry = u64>>(&mut self, completion: &mut Consumer<M>, mut sink: impl FnMut(usize)) {
        let count = completion.available();
        for _ in 0..count {
            let address = completion.pop();
            let Some(frame) = self.lent.take(address, self.chunk, Lease::Send) else {
                self.counts.descriptors_bad += 1;
                continue;
            };
            sink(frame.len());
            self.pool.put(frame);
        }
        completion.release();
    }

    /// Points the frame at the payload of the packet that the descriptor names inside it.
    fn open(&self, frame: &mut Frame, descriptor: Descriptor) -> Opening {
        let at = descriptor.address as usize % self.chunk;
        let Some(packet) = frame.buffer().bytes().get(at..at + descriptor.len as usize) else { return Opening::OutOfRange };
        let Some(parsed) = header::parse(packet, self.interface) else { return Opening::Malformed };
        let source = parsed.from.ip();
        if header::is_martian(source) || self.own.binary_search(&source).is_ok() {
            return Opening::Forged;
        }
        frame.reset(at + parsed.start);
        frame.received(parsed.len, parsed.from);
        Opening::Datagram
    }
}

/// What a received descriptor turned out to be.
enum Opening {
    Datagram,
    OutOfRange,
    Malformed,
    Forged,
}

/// The frames that the kernel has, by index.
struct Lent {
    frames: Vec<Option<(Lease, Frame)>>,
    counts: [usize; 2],
}

impl Lent {
    fn new(total: usize) -> Lent {
        Lent { frames: std::iter::repeat_with(|| None).take(total).collect(), counts: [0; 2] }
    }

    fn lend(&mut self, frame: Frame, lease: Lease) {
        self.counts[lease as usize] += 1;
        let place = frame.buffer().index();
        let before = self.frames[place].replace((lease, frame));
        assert!(before.is_none(), "a frame is in one place");
    }

    /// The frame around a UMEM address, if the kernel has it for this.
    fn take(&mut self, address: u64, chunk: usize, lease: Lease) -> Option<Frame> {
        let place = self.frames.get_mut(usize::try_from(address).ok()? / chunk)?;
        let (_, frame) = place.take_if(|(found, _)| *found == lease)?;
        self.counts[lease as usize] -= 1;
        Some(frame)
    }
}

#[cfg(test)]
mod tests;
