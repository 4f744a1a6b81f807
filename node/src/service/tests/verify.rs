use super::*;
use crate::service::verify::{Gossip, PAYLOADS_MAX};
use samara_types::client::RejectReason;

fn payload(transactions: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = Vec::new();
    transactions.iter().for_each(|transaction| append(&mut payload, transaction));
    payload
}

#[test]
fn only_gossip_with_good_signatures_reaches_the_hot_reactor_and_the_rest_is_counted() {
    let mut rig = rig();
    let mut forged = transaction(2);
    *forged.last_mut().unwrap() ^= 1;
    let from = ValidatorIndex(3);
    rig.push(ToService::Verify { from, payload: vec![9; 40] });
    rig.push(ToService::Verify { from, payload: payload(&[transaction(1), forged, transaction(3)]) });
    let mut got = Vec::new();
    while got.len() < 2 {
        let ToHot::Gossip(transactions) = rig.next() else { panic!("gossip was expected") };
        got.extend(transactions.iter().map(|transaction| transaction.bytes().to_vec()));
    }
    assert_eq!(got, [transaction(1), transaction(3)]);
    let metrics = rig.stop();
    assert_eq!((metrics.service.gossip_payloads, metrics.service.gossip_transactions), (2, 2));
    assert_eq!((metrics.service.gossip_dropped["malformed"], metrics.service.gossip_dropped["bad_signature"]), (1, 1));
}

#[test]
fn gossip_beyond_the_bound_is_shed() {
    let gossip = Gossip::default();
    let taken = (0..PAYLOADS_MAX + 10).filter(|_| gossip.push(ValidatorIndex(1), payload(&[transaction(1)]))).count();
    assert_eq!(taken, PAYLOADS_MAX);
}

#[test]
fn gossip_the_hot_reactor_has_no_room_for_is_dropped_and_counted() {
    let mut rig = Setup { ring_to_hot: 1, ..Setup::new(0, Arc::new(MemoryStore::new(CHAIN))) }.start();
    let mut client = rig.client();
    client.submit(1, &transaction(100));
    client.submit(2, &transaction(101));
    // The ring's one slot is taken once the second submission is refused for want of room.
    assert_eq!(client.receive(), (2, Response::Rejected(RejectReason::MempoolFull)));
    rig.push(ToService::Verify { from: ValidatorIndex(1), payload: payload(&[transaction(1)]) });
    rig.metrics_until(|metrics| metrics.service.gossip_dropped.get("ring_full") == Some(&1));
    rig.answer(Response::Accepted);
    assert_eq!(client.receive(), (1, Response::Accepted));
    rig.push(ToService::Verify { from: ValidatorIndex(1), payload: payload(&[transaction(2)]) });
    let ToHot::Gossip(transactions) = rig.next() else { panic!("gossip was expected") };
    assert_eq!(transactions[0].bytes(), transaction(2));
    rig.stop();
}
