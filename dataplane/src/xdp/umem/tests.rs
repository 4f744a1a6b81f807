//! Frames on the heap, and a kernel played by the test: an honest one, and one that names whatever it likes.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::sys::memory::Region;
use crate::xdp::header::HEADROOM_BYTES;
use crate::xdp::ring::tests::Heap;
use crate::xdp::route::NextHop;

const CHUNK: usize = 2048;
const RX: usize = 4;
const TX: usize = 4;
/// Where drivers put a packet in its frame.
const PACKET_AT: usize = 256;

struct Rig {
    umem: Umem,
    fill: Producer<Heap<u64>>,
    rx: Consumer<Heap<Descriptor>>,
    tx: Producer<Heap<Descriptor>>,
    completion: Consumer<Heap<u64>>,
    kernel_fill: Consumer<Heap<u64>>,
    kernel_rx: Producer<Heap<Descriptor>>,
    kernel_tx: Consumer<Heap<Descriptor>>,
    kernel_completion: Producer<Heap<u64>>,
    template: Template,
}

impl Rig {
    fn new() -> Rig {
        let (region, buffers) = Region::allocate(RX + TX, CHUNK);
        let umem = Umem::new(Pool::over(region, buffers, RX, HEADROOM_BYTES), CHUNK, 1);
        let start = u32::MAX - 5;
        let (fill, completion) = (Heap::new(4, start), Heap::new(8, start));
        let (rx, tx) = (Heap::new(4, start), Heap::new(8, start));
        let hop = NextHop { source: [10, 0, 0, 1].into(), source_mac: [2; 6], to_mac: [4; 6], tag: None, mtu: 1500, stale: false };
        Rig {
            umem,
            kernel_fill: Consumer::new(fill.other()),
            kernel_rx: Producer::new(rx.other()),
            kernel_tx: Consumer::new(tx.other()),
            kernel_completion: Producer::new(completion.other()),
            fill: Producer::new(fill),
            rx: Consumer::new(rx),
            tx: Producer::new(tx),
            completion: Consumer::new(completion),
            template: Template::new(&hop, 9000, peer()),
        }
    }

    fn kernel_receives(&mut self, descriptor: Descriptor) {
        assert!(self.kernel_rx.free(1) > 0);
        self.kernel_rx.push(descriptor);
        self.kernel_rx.publish();
    }

    /// Writes `packet` into a frame that the kernel has, as DMA does.
    fn dma(&mut self, address: u64, packet: &[u8]) {
        let (_, frame) = self.umem.lent.frames[address as usize / CHUNK].as_mut().expect("lent");
        frame.whole_mut()[address as usize % CHUNK..][..packet.len()].copy_from_slice(packet);
    }

    fn places(&self) -> usize {
        self.umem.pool.free() + self.umem.pool.held() + self.umem.lent(Lease::Receive) + self.umem.lent(Lease::Send)
    }
}

fn peer() -> SocketAddr {
    ([10, 0, 0, 2], 9001).into()
}

#[test]
fn datagrams_go_round_through_the_rings_and_every_frame_comes_home() {
    let mut rig = Rig::new();
    let mut frames = Vec::new();
    for round in 0..50_u8 {
        rig.umem.refill(&mut rig.fill);
        // Sent: headers stand in front of the payload.
        let mut frame = rig.umem.pool.lend_tx().expect("free");
        frame.fill(round);
        frame.set_len(100);
        rig.umem.pool.returned(&frame);
        rig.umem.send(&mut rig.tx, frame, &rig.template);
        rig.tx.publish();
        assert_eq!(rig.kernel_tx.available(), 1);
        let sent = rig.kernel_tx.pop();
        rig.kernel_tx.release();
        let (_, lent) = rig.umem.lent.frames[sent.address as usize / CHUNK].as_ref().expect("lent");
        let packet = lent.buffer().bytes()[sent.address as usize % CHUNK..][..sent.len as usize].to_vec();
        assert_eq!(packet.len(), 14 + 20 + 8 + 100);
        // Received: into the frame the fill ring names.
        assert!(rig.kernel_fill.available() > 0);
        let address = rig.kernel_fill.pop() + PACKET_AT as u64;
        rig.kernel_fill.release();
        rig.dma(address, &packet);
        rig.kernel_receives(Descriptor { address, len: sent.len, options: 0 });
        rig.umem.receive(&mut rig.rx, &mut frames, 64);
        let frame = frames.pop().expect("one came");
        assert_eq!((&frame[..], frame.peer()), (&[round; 100][..], ([10, 0, 0, 1], 9000).into()));
        rig.umem.pool.returned(&frame);
        rig.umem.pool.put(frame);
        assert!(rig.kernel_completion.free(1) > 0);
        rig.kernel_completion.push(sent.address);
        rig.kernel_completion.publish();
        let mut bytes = 0;
        rig.umem.reap(&mut rig.completion, |len| bytes += len);
        assert_eq!((bytes, rig.places(), rig.umem.pool.held()), (100, RX + TX, 0));
    }
    assert_eq!(rig.umem.counts, UmemCounts::default());
}

#[test]
fn a_source_that_no_packet_can_have_is_refused_and_so_is_this_hosts_own() {
    let mut rig = Rig::new();
    rig.umem.set_own(vec![[10, 0, 0, 9].into(), [10, 0, 0, 2].into(), [10, 0, 0, 4].into()]);
    let mut frames = Vec::new();
    for (source, forged) in [([10, 0, 0, 1], 0), ([127, 0, 0, 1], 1), ([224, 0, 0, 251], 2), ([10, 0, 0, 2], 3), ([10, 0, 0, 3], 3)] {
        rig.umem.refill(&mut rig.fill);
        assert!(rig.kernel_fill.available() > 0);
        let address = rig.kernel_fill.pop() + PACKET_AT as u64;
        rig.kernel_fill.release();
        let hop = NextHop { source: source.into(), source_mac: [2; 6], to_mac: [4; 6], tag: None, mtu: 1500, stale: false };
        let mut frame = rig.umem.pool.lend_tx().expect("free");
        frame.set_len(10);
        let (start, len) = Template::new(&hop, 9000, peer()).write(&mut frame);
        rig.dma(address, &frame.buffer().bytes()[start..start + len]);
        rig.umem.pool.returned(&frame);
        rig.umem.pool.put(frame);
        rig.kernel_receives(Descriptor { address, len: len as u32, options: 0 });
        rig.umem.receive(&mut rig.rx, &mut frames, 64);
        assert_eq!(rig.umem.counts, UmemCounts { forged, ..UmemCounts::default() }, "{source:?}");
        for frame in frames.drain(..) {
            assert_eq!(frame.peer().ip(), std::net::IpAddr::from(source));
            rig.umem.pool.returned(&frame);
            rig.umem.pool.put(frame);
        }
        assert_eq!(rig.places(), RX + TX);
    }
}

proptest! {
    #[test]
    fn what_a_lying_kernel_names_is_counted_and_never_followed(
        lies in prop::collection::vec((any::<bool>(), prop_oneof![0..20_000_u64, any::<u64>()], prop_oneof![0..3000_u32, any::<u32>()]), 0..200),
    ) {
        let mut rig = Rig::new();
        let mut frames = Vec::new();
        let (mut said, mut heard) = (0, 0);
        for (receive, address, len) in lies {
            rig.umem.refill(&mut rig.fill);
            if receive {
                rig.kernel_receives(Descriptor { address, len, options: 0 });
                rig.umem.receive(&mut rig.rx, &mut frames, 64);
                said += 1;
            } else if rig.kernel_completion.free(1) > 0 {
                rig.kernel_completion.push(address);
                rig.kernel_completion.publish();
                rig.umem.reap(&mut rig.completion, |_| heard += 1);
                said += 1;
            }
            // The kernel takes what the fill ring offers, so that it can be offered again.
            while rig.kernel_fill.available() > 0 {
                rig.kernel_fill.pop();
            }
            rig.kernel_fill.release();
            prop_assert_eq!(rig.places(), RX + TX);
        }
        // Nothing was sent, and no frame holds a datagram: every word was a lie, counted as one or the other.
        prop_assert_eq!((frames.len(), heard), (0, 0));
        prop_assert_eq!(rig.umem.counts.descriptors_bad + rig.umem.counts.malformed, said);
    }
}
