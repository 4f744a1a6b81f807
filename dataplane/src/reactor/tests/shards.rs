//! Send shards: under the outbox alone, and under a reactor.

use super::*;
use crate::port::xdp::XdpStats;
use crate::session::Leg;
use crate::tap::{Direction, TapSettings};
use crate::xdp::{Detour, LinkState};
use samara_types::shred::SHRED_HEADER_BYTES;

/// A shred of this slice with a mark behind its header.
fn shred(slice: u16, mark: u32) -> [u8; SHRED_HEADER_BYTES + 4] {
    let mut bytes = [0; SHRED_HEADER_BYTES + 4];
    bytes[8..10].copy_from_slice(&slice.to_le_bytes());
    bytes[SHRED_HEADER_BYTES..].copy_from_slice(&mark.to_le_bytes());
    bytes
}

/// A bench with so many shards, of so many frames each.
fn sharded(validators: usize, shards: u32, frames: usize) -> Bench {
    let mut bench = Bench::new(validators, 32, OutboxLimits { queued: [16; 4], ..LIMITS });
    let ports = senders(&bench.port, shards, &PortConfig { tx_frames: frames, ..PortConfig::tiny() });
    bench.queues.lanes = shard::Lanes::start(ports, &bench.machines[0].directory()).expect("rings and threads");
    bench
}

/// What shards counted, and for what the outbox did not send: all messages of class Normal.
fn normal(bench: &Bench) -> (u64, u64) {
    let sums = bench.queues.lanes.sums();
    (sums.sent, sums.no_session + sums.exhausted + bench.queues.unsent[Class::Normal as usize].iter().sum::<u64>())
}

#[test]
fn shreds_of_a_slice_leave_in_order_through_one_shard_and_votes_through_the_reactors_own_port() {
    const SHREDS: u32 = 30;
    let mut bench = sharded(3, 2, 256);
    for mark in 0..SHREDS {
        for to in [ValidatorIndex(1), ValidatorIndex(2)] {
            bench.outbox().send(to, Shred, &shred(mark as u16 % 3, mark));
        }
    }
    bench.send(Vote, 7);
    assert_eq!(bench.queues.waiting(), 1, "only the vote waits here");
    bench.queues.lanes.stop();
    assert_eq!(normal(&bench), (2 * u64::from(SHREDS), 0));
    let sent: Vec<_> = bench.port.outgoing.lock().expect("one thread").drain(..).collect();
    let mut came = vec![Vec::new(); 6];
    for (from, to, mut bytes) in sent {
        let at = (1..3).find(|i| address(*i) == to).expect("a validator");
        let Opened::Message { peer, kind: Shred, start, len } = bench.machines[at].open(NOW, from, &mut bytes) else { panic!("a shred") };
        let message = &bytes[start..start + len];
        assert_eq!((peer, len), (ValidatorIndex(0), SHRED_HEADER_BYTES + 4));
        let slice = usize::from(message[8]);
        came[3 * (at - 1) + slice].push(u32::from_le_bytes(message[SHRED_HEADER_BYTES..].try_into().expect("4 bytes")));
    }
    for (at, marks) in came.iter().enumerate() {
        let expected: Vec<u32> = (0..SHREDS).filter(|mark| mark % 3 == at as u32 % 3).collect();
        assert_eq!(*marks, expected, "peer {}, slice {}", 1 + at / 3, at % 3);
    }
    assert_eq!(bench.flush(), [(1, Vote, 7)]);
}

#[test]
fn what_finds_no_frame_or_no_session_is_counted_and_what_was_taken_leaves() {
    let mut bench = sharded(2, 1, 8);
    for mark in 0..2_000 {
        bench.outbox().send(ValidatorIndex(1), Shred, &shred(0, mark));
    }
    bench.outbox().send(ValidatorIndex(0), Shred, &shred(0, 0));
    bench.queues.lanes.stop();
    let (sent, unsent) = normal(&bench);
    assert_eq!(sent + unsent, 2_001);
    assert_eq!(bench.unsent(Class::Normal, Unsent::NoSuchPeer), 1);
    assert_eq!(bench.unsent(Class::Normal, Unsent::NoFrame), unsent - 1);
    assert_eq!(bench.port.outgoing.lock().expect("one thread").len() as u64, sent);
    assert!(sent >= 4, "half of eight frames were with the outbox");
}

#[test]
fn what_af_xdp_counts_of_the_shards_is_counted_with_the_reactors_own_and_once() {
    let addresses = [address(0), address(1)];
    let mut port = MemoryPort::new(address(0), 8, 8);
    let mut bypass = XdpStats { link: LinkState::NoCarrier, rx_ring: 5, kicks: 7, ..XdpStats::default() };
    bypass.tx_detour[Detour::Stale as usize] = 11;
    port.bypass = Some(bypass);
    let ports = senders(&port, 2, &PortConfig::tiny());
    let mut reactor = HotReactor::new(Box::new(port), sessions(0, &addresses), Listener(0), HotConfig::default());
    reactor.shard(ports).expect("rings and threads");
    for _ in 0..3 {
        reactor.housekeep(NOW);
        let counters = reactor.stats().snapshot();
        let detours = counters.xdp_detours[Detour::Stale as usize];
        assert_eq!(
            (detours, counters.xdp_wakeups, counters.xdp_received, counters.link()),
            (33, [21], [15, 0], Some(LinkState::NoCarrier))
        );
    }
}

#[test]
fn what_a_shard_without_a_queue_sends_is_a_detour_where_the_reactor_has_one() {
    let addresses = [address(0), address(1)];
    for bypass in [None, Some(XdpStats::default())] {
        let mut machines: Vec<_> = (0..2).map(|i| sessions(i, &addresses)).collect();
        introduce(&mut machines);
        let mut port = MemoryPort::new(address(0), 8, 8);
        let ports = senders(&port, 1, &PortConfig::tiny());
        port.bypass = bypass;
        let mut reactor = HotReactor::new(Box::new(port), machines.remove(0), Listener(0), HotConfig::default());
        reactor.shard(ports).expect("rings and threads");
        reactor.queues.lanes.send(NOW, &mut reactor.sessions, ValidatorIndex(1), Shred, &shred(0, 1)).expect("a session and a frame");
        reactor.queues.lanes.stop();
        reactor.housekeep(NOW);
        let counters = reactor.stats().snapshot();
        assert_eq!(counters.sent[Class::Normal as usize], 1);
        assert_eq!(counters.xdp_detours[Detour::NoQueue as usize], u64::from(bypass.is_some()));
    }
}

#[test]
fn what_a_shard_sends_is_seen_by_its_tap_in_both_views() {
    for opened in [false, true] {
        let mut bench = sharded(2, 1, 64);
        let mut reader =
            bench.queues.lanes.taps().next().expect("one").attach(TapSettings { opened, ..tap::SETTINGS }).expect("nobody reads");
        // The shard takes the reader at a housekeeping of its own; what left before is in no record.
        let deadline = Instant::now() + Duration::from_secs(30);
        while reader.waiting() == 0 {
            assert!(Instant::now() < deadline, "nothing was recorded");
            bench.outbox().send(ValidatorIndex(1), Shred, &shred(3, 9));
            std::thread::yield_now();
        }
        bench.outbox().send(ValidatorIndex(1), Shred, &shred(5, 10));
        bench.queues.lanes.stop();
        let (header, bytes) = tap::records(&mut reader).pop().expect("the last one");
        let (_, _, wire) = bench.port.outgoing.lock().expect("one thread").pop_back().expect("it was sent");
        assert_eq!((header.direction, header.kind, header.peer.get()), (Direction::Sent as u8, Shred as u8, 1));
        assert_eq!(header.other_end(), address(1));
        match opened {
            true => assert_eq!(bytes[Leg::MESSAGE_AT..][..SHRED_HEADER_BYTES + 4], shred(5, 10)),
            false => assert_eq!(bytes, wire),
        }
    }
}

#[test]
fn a_shard_that_panics_takes_its_reactor_with_it() {
    let mut bench = sharded(2, 1, 8);
    // A frame of another port: the shard finds that it never lent it.
    bench.queues.lanes.break_one(MemoryPort::new(address(0), 0, 1).tx_frame().expect("one is free"));
    let deadline = Instant::now() + Duration::from_secs(30);
    let found = std::panic::AssertUnwindSafe(|| {
        while Instant::now() < deadline {
            bench.queues.lanes.sums();
            std::thread::yield_now();
        }
    });
    assert!(std::panic::catch_unwind(found).is_err(), "a shard ended and nobody noticed");
}

#[test]
fn sharded_reactors_exchange_100k_messages_over_udp() {
    exchange(Transport::Udp, WaitPolicy::Adaptive { spin: Duration::from_micros(20) }, 100_000, 2);
}

#[test]
fn sharded_reactors_exchange_over_io_uring_with_shards_that_park() {
    exchange(Transport::Uring, WaitPolicy::Park, 20_000, 1);
}
