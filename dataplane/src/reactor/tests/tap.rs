//! What a reader of a reactor's tap sees, beside what really travelled.

use super::*;
use crate::tap::{Direction, NO_PEER, OPENED, RECORD_BYTES, RecordHeader, TapFilter, TapHandle, TapReader, TapSettings, Trailer, Verdict};
use samara_types::datagram::{OUTER_HEADER_BYTES, TAG_BYTES};
use std::collections::VecDeque;
use std::time::SystemTime;
use zerocopy::FromBytes;

pub(super) const SETTINGS: TapSettings =
    TapSettings { opened: false, snaplen: 2048, ring_bytes: 1 << 20, filter: TapFilter::ALL, reactor: 3 };

/// Sends what it is given.
#[derive(Default)]
struct Speaker(VecDeque<(MessageKind, Vec<u8>)>);

impl Handler for Speaker {
    fn on_message(&mut self, _: Nanos, _: ValidatorIndex, _: MessageKind, _: &[u8], _: &mut Outbox<'_>) {}
    fn on_pass(&mut self, _: Nanos, out: &mut Outbox<'_>) {
        self.0.drain(..).for_each(|(kind, message)| out.send(ValidatorIndex(1), kind, &message));
    }
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }
    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }
    fn running(&self) -> bool {
        true
    }
    fn on_housekeeping(&mut self, _: Nanos, _: &HotStats) {}
}

struct Scene {
    reactor: HotReactor<Speaker>,
    peer: Sessions,
    incoming: Wire,
    outgoing: Wire,
}

impl Scene {
    fn new(rates: ClassRates) -> Scene {
        let addresses = [address(0), address(1)];
        let mut machines: Vec<_> = (0..2).map(|i| sessions(i, &addresses)).collect();
        introduce(&mut machines);
        let peer = machines.pop().expect("two");
        let port = MemoryPort::new(address(0), 64, 256);
        let (incoming, outgoing) = (Arc::clone(&port.incoming), Arc::clone(&port.outgoing));
        let config = HotConfig { rates, ..HotConfig::default() };
        let mut reactor = HotReactor::new(Box::new(port), machines.remove(0), Speaker::default(), config);
        // The keepalives that are due leave before anybody looks on.
        while reactor.pass(NOW) {}
        Scene { reactor, peer, incoming, outgoing }
    }

    fn attach(&mut self, settings: TapSettings) -> TapReader {
        let reader = self.reactor.taps()[0].attach(settings).expect("nobody reads");
        self.reactor.housekeep(NOW);
        reader
    }

    /// A datagram of the peer.
    fn sealed(&mut self, kind: MessageKind, message: &[u8]) -> Vec<u8> {
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        let (len, _) = self.peer.seal(NOW, ValidatorIndex(0), kind, message, &mut datagram).expect("a session");
        datagram[..len].to_vec()
    }

    fn receive(&mut self, datagram: &[u8]) {
        self.incoming.lock().expect("one thread").push_back((address(1), address(0), datagram.to_vec()));
        self.reactor.pass(NOW);
    }

    fn send(&mut self, kind: MessageKind, message: &[u8]) -> Vec<u8> {
        self.reactor.handler.0.push_back((kind, message.to_vec()));
        self.reactor.pass(NOW);
        self.outgoing.lock().expect("one thread").pop_back().expect("it was sent").2
    }
}

/// All records that wait.
pub(super) fn records(reader: &mut TapReader) -> Vec<(RecordHeader, Vec<u8>)> {
    let mut bytes = Vec::new();
    while reader.waiting() > 0 {
        let take = |part: &[u8]| {
            bytes.extend_from_slice(part);
            Ok::<_, ()>(part.len())
        };
        reader.read(usize::MAX, take).expect("taking never fails");
    }
    let (mut all, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        let (header, behind) = RecordHeader::read_from_prefix(rest).expect("a whole header");
        let (datagram, next) = behind.split_at(header.stored.get() as usize);
        all.push((header, datagram.to_vec()));
        rest = next;
    }
    all
}

fn only(reader: &mut TapReader) -> (RecordHeader, Vec<u8>) {
    let mut all = records(reader);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn the_sealed_view_is_what_travels_with_what_the_session_knew() {
    let mut scene = Scene::new(ClassRates::default());
    let mut reader = scene.attach(SETTINGS);
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let datagram = scene.sealed(Vote, &[5; 100]);
    scene.receive(&datagram);
    let (header, bytes) = only(&mut reader);
    assert_eq!(bytes, datagram, "as it came, not as it was left in the frame");
    assert_eq!((header.direction, header.verdict, header.kind), (Direction::Received as u8, Verdict::Message as u8, Vote as u8));
    assert_eq!((header.peer.get(), header.other_end(), header.reactor), (1, address(1), 3));
    assert!(header.unix_ns.get().abs_diff(began) < 60_000_000_000, "{header:?}");
    let datagram = scene.send(Shred, &[6; 300]);
    let (header, bytes) = only(&mut reader);
    assert_eq!(bytes, datagram);
    assert_eq!((header.direction, header.kind, header.peer.get()), (Direction::Sent as u8, Shred as u8, 1));
    assert_eq!((header.stored.get(), header.wire_len.get()), (datagram.len() as u32, datagram.len() as u32));
}

#[test]
fn the_opened_view_holds_the_message_and_no_longer_the_tag() {
    let mut scene = Scene::new(ClassRates::default());
    let mut reader = scene.attach(TapSettings { opened: true, ..SETTINGS });
    let datagram = scene.sealed(Announce, &[7; 90]);
    let sent = |scene: &mut Scene| scene.send(Announce, &[7; 90]);
    scene.receive(&datagram);
    let (received, received_bytes) = only(&mut reader);
    let outgoing = sent(&mut scene);
    let (sent, sent_bytes) = only(&mut reader);
    for (header, bytes, wire) in [(received, received_bytes, datagram), (sent, sent_bytes, outgoing)] {
        assert_eq!((bytes.len(), header.wire_len.get() as usize), (wire.len(), wire.len()));
        let mut outer = wire[..OUTER_HEADER_BYTES].to_vec();
        outer[1] |= OPENED;
        assert_eq!(bytes[..OUTER_HEADER_BYTES], outer);
        assert_eq!(bytes[OUTER_HEADER_BYTES..][..4], [Announce as u8, 0, 0, 0]);
        let (message, trailer) = bytes[OUTER_HEADER_BYTES + 4..].split_at(90);
        assert_eq!(message, [7; 90]);
        assert_eq!(Trailer::read_from_bytes(trailer), Ok(Trailer::new(1, Verdict::Message, 0)));
        assert_ne!(trailer, &wire[wire.len() - TAG_BYTES..]);
    }
}

#[test]
fn what_was_dropped_or_refused_is_recorded_with_the_reason_and_as_it_came() {
    let rates = ClassRates([Rate::new(1, 1); 4]);
    for opened in [false, true] {
        let mut scene = Scene::new(rates);
        let mut reader = scene.attach(TapSettings { opened, ..SETTINGS });
        let first = scene.sealed(Vote, &[1; 50]);
        let second = scene.sealed(Vote, &[2; 50]);
        let mut forged = scene.sealed(Vote, &[3; 50]);
        forged[40] ^= 1;
        for datagram in [&first, &first, &forged, &second] {
            scene.receive(datagram);
        }
        let all = records(&mut reader);
        let reasons: Vec<_> = all.iter().map(|(header, _)| (header.verdict, header.reason, header.peer.get())).collect();
        let dropped = |reason: DropReason| (Verdict::Dropped as u8, reason as u8, NO_PEER);
        let expected = [
            (Verdict::Message as u8, 0, 1),
            dropped(DropReason::Replayed),
            dropped(DropReason::BadTag),
            (Verdict::Refused as u8, ClassReject::Rate as u8, 1),
        ];
        assert_eq!(reasons, expected);
        assert_eq!((&all[1].1, &all[2].1), (&first, &forged), "what did not open is kept sealed");
    }
}

#[test]
fn off_it_records_nothing_and_a_second_reader_waits_for_the_first_to_go() {
    let mut scene = Scene::new(ClassRates::default());
    let handle: TapHandle = scene.reactor.taps().remove(0);
    let datagram = scene.sealed(Vote, &[1; 50]);
    scene.receive(&datagram);
    let mut reader = scene.attach(SETTINGS);
    assert_eq!(reader.waiting(), 0, "what came before is not there");
    assert!(handle.attach(SETTINGS).is_err(), "one at a time");
    let datagram = scene.sealed(Vote, &[2; 50]);
    scene.receive(&datagram);
    only(&mut reader);
    drop(reader);
    // The reactor may not have noticed yet: the next reader gets its own ring all the same, and nothing of the old one.
    let mut next = handle.attach(TapSettings { reactor: 9, ..SETTINGS }).expect("the first is gone");
    let datagram = scene.sealed(Vote, &[3; 50]);
    scene.receive(&datagram);
    assert_eq!(next.waiting(), 0);
    scene.reactor.housekeep(NOW);
    let datagram = scene.sealed(Vote, &[4; 50]);
    scene.receive(&datagram);
    assert_eq!(only(&mut next).0.reactor, 9);
}

#[test]
fn filters_choose_by_kind_direction_and_verdict() {
    let count = |filter: TapFilter| {
        let mut scene = Scene::new(ClassRates::default());
        let mut reader = scene.attach(TapSettings { filter, ..SETTINGS });
        let vote = scene.sealed(Vote, &[1; 50]);
        let shred = scene.sealed(Shred, &[1; 50]);
        for datagram in [&vote, &shred, &vote] {
            scene.receive(datagram);
        }
        scene.send(Shred, &[2; 50]);
        records(&mut reader).len()
    };
    let kinds = |kinds| TapFilter { kinds, ..TapFilter::ALL };
    assert_eq!(count(TapFilter::ALL), 4);
    assert_eq!(count(kinds(TapFilter::kind(Vote))), 1);
    assert_eq!(count(kinds(TapFilter::class(Class::Normal))), 2);
    assert_eq!(count(kinds(TapFilter::DROPPED)), 1);
    assert_eq!(count(kinds(TapFilter::SESSION)), 0);
    assert_eq!(count(TapFilter { sent: false, ..TapFilter::ALL }), 3);
    assert_eq!(count(TapFilter { received: false, ..TapFilter::ALL }), 1);
}

#[test]
fn the_snap_length_cuts_and_the_length_on_the_wire_stays() {
    for opened in [false, true] {
        let mut scene = Scene::new(ClassRates::default());
        let mut reader = scene.attach(TapSettings { opened, snaplen: 21, ..SETTINGS });
        let datagram = scene.sealed(Shred, &[1; 500]);
        scene.receive(&datagram);
        let (header, bytes) = only(&mut reader);
        assert_eq!((bytes.len(), header.stored.get(), header.wire_len.get() as usize), (21, 21, datagram.len()));
        if !opened {
            assert_eq!(bytes, datagram[..21]);
        }
    }
}

#[test]
fn a_full_ring_loses_records_and_never_a_message_and_says_how_many() {
    let mut scene = Scene::new(ClassRates::default());
    // Room for two: a ring has at least that of the longest record, 48 + 2,048 B.
    let mut reader = scene.attach(TapSettings { ring_bytes: 0, ..SETTINGS });
    let datagrams: Vec<_> = (0..6).map(|mark| scene.sealed(Shred, &[mark; 900])).collect();
    for datagram in &datagrams[..5] {
        scene.receive(datagram);
    }
    assert_eq!(scene.reactor.admission.admitted[Class::Normal as usize], 5, "every message arrived");
    let kept = records(&mut reader);
    assert_eq!(kept.iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), datagrams[..2].iter().collect::<Vec<_>>());
    assert_eq!(reader.lost(), 3);
    scene.receive(&datagrams[5]);
    let (header, bytes) = only(&mut reader);
    assert_eq!((header.lost_before.get(), &bytes, reader.lost()), (3, &datagrams[5], 3));
    assert_eq!(RECORD_BYTES, 48);
}

/// Frames that no rung delivers, longer than any record.
#[test]
fn datagrams_of_every_length_are_recorded_without_a_panic() {
    let mut scene = Scene::new(ClassRates::default());
    for opened in [false, true] {
        let mut reader = scene.attach(TapSettings { opened, ..SETTINGS });
        for len in [0, 1, 15, 16, 17, 35, 36, 1371, 1372, 1373, crate::frame::FRAME_BYTES] {
            scene.receive(&vec![4; len]);
            let (header, bytes) = only(&mut reader);
            assert_eq!((bytes.len(), header.wire_len.get() as usize), (len.min(2048), len));
        }
    }
}
