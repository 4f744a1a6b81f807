use super::*;
use proptest::prelude::*;

#[test]
fn a_block_comes_together_from_any_enough_shreds_of_each_slice() {
    let cluster = Cluster::new(6);
    for length in [0, 400, 920, 921, 5_000, 65_432, 65_433, 100_000] {
        let shredded = cluster.block(VIEW, length, 1);
        for skip in [0, 2] {
            let me = receiver(&cluster, 1);
            let mut node = cluster.node(me);
            let skip = if length <= 920 { 0 } else { skip };
            give_all(&cluster, &mut node, me, &shredded, skip..128);
            assert_eq!(blocks(&mut node), [(shredded.block.digest(), Origin::Disseminated)], "{length} B");
            assert_eq!(node.block(VIEW, &shredded.block.digest()).unwrap().payload(), shredded.block.payload());
            assert_charge_is_true(&mut node);
        }
    }
}

#[test]
fn the_holder_of_a_seat_relays_the_leaders_shred_exactly_once() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let slice = &shredded.slices[0];
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    let mine: Vec<ShredIndex> = seats(&cluster, slice).of(ValidatorIndex(me)).collect();
    assert!(mine.len() >= 2);
    assert_eq!(give(&cluster, &mut node, me, slice, mine[0].0), Ok(ShredAccepted { relay: true }));
    // Reference, section 1.4, hole 3: a replay is not sent on, and not hashed either.
    for _ in 0..3 {
        assert_eq!(give(&cluster, &mut node, me, slice, mine[0].0), Err(ShredReject::Duplicate));
        let mut broken = message(slice, mine[0]);
        *broken.last_mut().unwrap() ^= 1;
        let leader = cluster.schedule.leader(VIEW);
        assert_eq!(node.on_shred(NOW, &cluster.roster, leader, false, &broken), Err(ShredReject::Duplicate), "not even hashed");
    }
    assert_eq!(give(&cluster, &mut node, me, slice, mine[1].0), Ok(ShredAccepted { relay: true }));
    let others = (0..slice.commitment.shape.total).find(|index| !mine.contains(&ShredIndex(*index))).unwrap();
    assert_eq!(give(&cluster, &mut node, me, slice, others), Ok(ShredAccepted { relay: false }));
    let relay = sender(&cluster, slice, ShredIndex(others), me);
    let mut served = vec![0; 6];
    served[relay.at()] = 1;
    assert_eq!((node.counts().shreds_stored, &node.counts().served), (3, &served), "the leader's own shreds serve no seat");
}

#[test]
fn a_decoded_slice_answers_done_without_looking_at_the_proof() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let slice = &shredded.slices[0];
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    give_all(&cluster, &mut node, me, &shredded, 0..slice.commitment.shape.data);
    let index = ShredIndex(slice.commitment.shape.total - 1);
    let mut bytes = message(slice, index);
    *bytes.last_mut().unwrap() ^= 1;
    let result = node.on_shred(NOW, &cluster.roster, sender(&cluster, slice, index, me), false, &bytes);
    assert_eq!(result, Err(ShredReject::Done), "a broken proof behind a finished slice is not even read");
}

#[test]
fn a_shred_from_a_seat_its_sender_does_not_hold_is_refused_and_charged_to_the_sender_once() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let slice = &shredded.slices[0];
    let me = receiver(&cluster, 0);
    let leader = cluster.schedule.leader(VIEW);
    let mut node = cluster.node(me);
    for index in (0..slice.commitment.shape.total).map(ShredIndex) {
        let right = sender(&cluster, slice, index, me);
        for from in (0..6).map(ValidatorIndex).filter(|from| *from != right && from.0 != me) {
            let result = node.on_shred(NOW, &cluster.roster, from, false, &message(slice, index));
            assert_eq!(result, Err(ShredReject::WrongSeat), "shred {} from {from}", index.0);
        }
    }
    let events = events(&mut node);
    assert_eq!(events.len(), 5, "once per sender: {events:?}");
    assert!(events.iter().all(|event| matches!(event, Event::Misbehaved(evidence) if evidence.offence == Offence::WrongSeat)));
    assert!(leader.0 != me && node.bytes_held() <= view::VIEW_BYTES);
}

#[test]
fn a_direct_block_comes_from_the_leader_only_and_is_not_relayed() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 100, 1);
    let me = receiver(&cluster, 0);
    let leader = cluster.schedule.leader(VIEW);
    let bytes = message(&shredded.slices[0], ShredIndex(0));
    for from in (0..6).map(ValidatorIndex).filter(|from| *from != leader) {
        let mut node = cluster.node(me);
        assert_eq!(node.on_shred(NOW, &cluster.roster, from, false, &bytes), Err(ShredReject::WrongSeat));
    }
    let mut node = cluster.node(me);
    assert_eq!(node.on_shred(NOW, &cluster.roster, leader, false, &bytes), Ok(ShredAccepted { relay: false }));
    assert_eq!(blocks(&mut node).len(), 1);
    assert_eq!(node.poll_relay(), None);
    assert_eq!(node.on_shred(NOW, &cluster.roster, leader, false, &bytes), Err(ShredReject::Done));
}

/// Reference, section 1.4, hole 1: nothing outside leaf and commitment decides anything, so a relay that changes a header field, a bit of
/// the proof or of the chunk loses its shred and nothing else.
#[test]
fn one_bad_relay_cannot_kill_a_block() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let slice = &shredded.slices[0];
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    let bad = ValidatorIndex(receiver(&cluster, 1));
    for index in seats(&cluster, slice).of(bad).collect::<Vec<_>>() {
        let good = message(slice, index);
        for at in (0..84).chain([84, 100, good.len() - 1]) {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            let result = node.on_shred(NOW, &cluster.roster, bad, false, &bytes);
            assert!(result.is_err(), "byte {at} of shred {} changes nothing: {result:?}", index.0);
        }
    }
    assert!(node.rejects()[ShredReject::Barred as usize] > 0, "who fails so often is not listened to");
    let honest = (0..slice.commitment.shape.total).filter(|&index| sender(&cluster, slice, ShredIndex(index), me) != bad);
    give_all(&cluster, &mut node, me, &shredded, honest);
    let events = events(&mut node);
    assert!(events.iter().any(|event| matches!(event, Event::Block(..))));
    let accused: Vec<_> =
        events.iter().filter_map(|event| if let Event::Misbehaved(e) = event { Some((e.accused, e.view)) } else { None }).collect();
    assert!(accused.contains(&(bad, VIEW)) && accused.iter().all(|(accused, _)| *accused == bad), "{accused:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Malformed(_) | Event::Equivocation(_))));
}

#[test]
fn a_relay_that_comes_first_with_an_altered_signature_blocks_nobody() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let slice = &shredded.slices[0];
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    let forged = SignedSlice { signature: [1; 64], ..slice.clone() };
    assert_eq!(give(&cluster, &mut node, me, &forged, 3), Err(ShredReject::BadSignature));
    assert!(give(&cluster, &mut node, me, slice, 3).is_ok(), "the failed one left no trace in the slice");
    assert_eq!(give(&cluster, &mut node, me, &forged, 4), Err(ShredReject::OtherSignature), "and is not verified again");
    give_all(&cluster, &mut node, me, &shredded, 0..128);
    assert_eq!(blocks(&mut node).len(), 1);
}

#[test]
fn the_leader_takes_no_shreds_of_its_own_view() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let leader = cluster.schedule.leader(VIEW);
    let mut node = cluster.node(leader.0);
    for index in 0..5 {
        assert_eq!(give(&cluster, &mut node, leader.0, &shredded.slices[0], index), Err(ShredReject::Own));
    }
    let announcement = shredded.slices[0].announcement();
    assert_eq!(node.on_announce(NOW, &cluster.roster, leader, &announcement), Err(ShredReject::Own));
}

#[test]
fn an_announcement_comes_from_the_leader_once() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let announcement = shredded.slices[0].announcement();
    let (me, leader) = (receiver(&cluster, 0), cluster.schedule.leader(VIEW));
    let mut node = cluster.node(me);
    let relay = ValidatorIndex(receiver(&cluster, 1));
    assert_eq!(node.on_announce(NOW, &cluster.roster, relay, &announcement), Err(ShredReject::WrongSeat));
    assert_eq!(node.on_announce(NOW, &cluster.roster, leader, &announcement), Ok(()));
    assert_eq!(node.on_announce(NOW, &cluster.roster, leader, &announcement), Err(ShredReject::Duplicate));
    let mut forged = announcement.clone();
    forged[90] ^= 1;
    assert_eq!(node.on_announce(NOW, &cluster.roster, leader, &forged), Err(ShredReject::BadSignature));
    give_all(&cluster, &mut node, me, &shredded, 0..128);
    assert_eq!(blocks(&mut node).len(), 1);
}

#[test]
fn shreds_of_own_seats_that_never_came_are_offered_after_decoding() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let slice = &shredded.slices[0];
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    let mine: Vec<ShredIndex> = seats(&cluster, slice).of(ValidatorIndex(me)).collect();
    assert_eq!(give(&cluster, &mut node, me, slice, mine[0].0), Ok(ShredAccepted { relay: true }));
    give_all(&cluster, &mut node, me, &shredded, (0..128).filter(|index| !mine.contains(&ShredIndex(*index))));
    let offered: Vec<Relay> = std::iter::from_fn(|| node.poll_relay()).collect();
    let expected: Vec<Vec<u8>> = mine[1..].iter().map(|&index| message(slice, index)).collect();
    assert_eq!(
        offered.iter().map(|relay| relay.message.clone()).collect::<Vec<_>>(),
        expected,
        "the one already sent on is not offered again"
    );
    assert!(offered.iter().all(|relay| relay.leader == cluster.schedule.leader(VIEW)));
    assert_eq!(give(&cluster, &mut node, me, slice, mine[1].0), Err(ShredReject::Done));
}

#[test]
fn every_reject_has_its_own_label_and_counter() {
    for (at, reject) in ShredReject::ALL.iter().enumerate() {
        assert_eq!(*reject as usize, at);
        assert!(ShredReject::ALL[..at].iter().all(|other| other.as_str() != reject.as_str()));
    }
    let cluster = Cluster::new(6);
    let mut node = cluster.node(0);
    let _ = node.on_shred(NOW, &cluster.roster, ValidatorIndex(1), false, &[]);
    assert_eq!(node.rejects()[ShredReject::Malformed as usize], 1);
    assert_eq!(node.rejects().iter().sum::<u64>(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_through_every_door_change_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..1500), from in 0u16..6, repaired: bool) {
        let cluster = shared();
        let mut node = cluster.node(0);
        node.want(NOW, VIEW, Digest([7; 32]), SignerBitmap::default());
        let _ = node.poll_request(NOW);
        let from = ValidatorIndex(from);
        prop_assert!(node.on_shred(NOW, &cluster.roster, from, repaired, &bytes).is_err());
        prop_assert!(node.on_announce(NOW, &cluster.roster, from, &bytes).is_err());
        prop_assert!(node.on_manifest(NOW, from, &bytes).is_err());
        prop_assert!(node.serve_manifest(&bytes).is_none());
        node.serve_shreds(&bytes, |_| panic!("nothing is held"));
        prop_assert!(!events(&mut node).iter().any(|event| matches!(event, Event::Block(..))));
    }

    #[test]
    fn a_flipped_byte_never_panics_and_never_makes_another_block(at in 0usize..1400, flip in 1u8..=255, index in 0u8..10, which in 0usize..3) {
        let cluster = shared();
        let (me, shredded) = (receiver(cluster, which as u16), cluster.block(VIEW, 5_000, 1));
        let slice = &shredded.slices[0];
        let mut bytes = message(slice, ShredIndex(index));
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let mut node = cluster.node(me);
        let from = sender(cluster, slice, ShredIndex(index), me);
        prop_assert!(node.on_shred(NOW, &cluster.roster, from, false, &bytes).is_err());
        give_all(cluster, &mut node, me, &shredded, 0..128);
        prop_assert_eq!(blocks(&mut node), [(shredded.block.digest(), Origin::Disseminated)]);
    }
}

/// One cluster for all cases: keys are dear.
fn shared() -> &'static Cluster {
    static CLUSTER: std::sync::OnceLock<Cluster> = std::sync::OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::new(6))
}
