use super::*;
use samara_types::message::{self, ArchivedShredRequest, Manifest};
use samara_types::shred::SHRED_HEADER_BYTES;

/// Answers every request of `node` from `servers`, dropping those for nobody, until it asks for nothing more now.
pub(super) fn answer_all(cluster: &Cluster, node: &mut Reassembly, servers: &mut [(u16, &mut Reassembly)], now: Nanos) {
    while let Some((peer, request)) = node.poll_request(now) {
        let Some((_, server)) = servers.iter_mut().find(|(index, _)| ValidatorIndex(*index) == peer) else { continue };
        answer(cluster, node, peer, server, &request, now);
    }
}

fn answer(cluster: &Cluster, node: &mut Reassembly, peer: ValidatorIndex, server: &mut Reassembly, request: &RepairRequest, now: Nanos) {
    match request {
        RepairRequest::Manifest(bytes) => {
            if let Some(manifest) = server.serve_manifest(bytes) {
                node.on_manifest(now, peer, &manifest).unwrap();
            }
        }
        RepairRequest::Shreds(bytes) => server.serve_shreds(bytes, |shred| {
            node.on_shred(now, &cluster.roster, peer, true, shred).unwrap();
        }),
    }
}

fn wanted(request: &RepairRequest) -> (u16, u32) {
    let request = message::access::<ArchivedShredRequest>(request.bytes()).unwrap();
    (request.slice.to_native(), u128::from_le_bytes(request.wanted).count_ones())
}

fn holders(indexes: &[u16]) -> SignerBitmap {
    indexes.iter().copied().map(ValidatorIndex).collect()
}

/// A node that has the whole block.
fn server(cluster: &Cluster, me: u16, shredded: &ShreddedBlock) -> Reassembly {
    let mut node = cluster.node(me);
    give_all(cluster, &mut node, me, shredded, 0..128);
    assert_eq!(blocks(&mut node).len(), 1);
    node
}

#[test]
fn a_certified_block_nobody_sent_is_fetched_by_its_digest_from_a_voter() {
    let cluster = Cluster::new(6);
    for length in [0, 920, 5_000, 100_000] {
        let shredded = cluster.block(VIEW, length, 1);
        let (me, voter) = (receiver(&cluster, 0), receiver(&cluster, 1));
        let (mut node, mut voter_node) = (cluster.node(me), server(&cluster, voter, &shredded));
        assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&[voter])));
        assert!(node.next_deadline().is_none(), "nothing was asked yet");
        answer_all(&cluster, &mut node, &mut [(voter, &mut voter_node)], NOW);
        assert_eq!(blocks(&mut node), [(shredded.block.digest(), Origin::Repaired)]);
        assert_eq!((node.next_deadline(), node.outstanding.len(), node.wanting.len()), (None, 0, 0));
        assert_charge_is_true(&mut node);
    }
}

/// Memory for a slice is taken with its first shred, whichever way that came.
#[test]
fn a_repaired_slice_takes_one_buffer() {
    let cluster = Cluster::new(6);
    let (me, voter) = (receiver(&cluster, 0), receiver(&cluster, 1));
    let before = (1..).map(View).find(|view| *view != VIEW && cluster.schedule.leader(*view).0 != me).unwrap();
    let (large, wanted) = (cluster.block(before, 100_000, 2), cluster.block(VIEW, 100_000, 1));
    let mut node = cluster.node(me);
    give_all(&cluster, &mut node, me, &large, 0..128);
    assert_eq!((blocks(&mut node).len(), node.spares.len()), (1, large.slices.len()));
    assert!(node.want(NOW, VIEW, wanted.block.digest(), holders(&[voter])));
    let mut voter_node = server(&cluster, voter, &wanted);
    let (peer, manifest) = node.poll_request(NOW).unwrap();
    answer(&cluster, &mut node, peer, &mut voter_node, &manifest, NOW);
    let (peer, first) = node.poll_request(NOW).unwrap();
    voter_node.serve_shreds(first.bytes(), |shred| {
        node.on_shred(NOW, &cluster.roster, peer, true, shred).unwrap();
        assert_eq!(node.spares.len(), large.slices.len() - 1);
    });
    while let Some((peer, request)) = node.poll_request(NOW) {
        answer(&cluster, &mut node, peer, &mut voter_node, &request, NOW);
    }
    assert_eq!((blocks(&mut node).len(), node.spares.len()), (1, large.slices.len()), "all of them are back");
}

#[test]
fn exactly_the_missing_shreds_are_asked_for_and_held_slices_are_reused() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 100_000, 1);
    let (me, voter) = (receiver(&cluster, 0), receiver(&cluster, 1));
    let (mut node, mut voter_node) = (cluster.node(me), server(&cluster, voter, &shredded));
    let missing = [(0, 0u8), (1, 5), (2, 32), (3, 1)];
    for (slice, missing) in missing {
        let slice: &SignedSlice = &shredded.slices[slice];
        for index in (0..slice.commitment.shape.data - missing.min(slice.commitment.shape.data)).map(|index| index + 2) {
            give(&cluster, &mut node, me, slice, index).unwrap();
        }
    }
    assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&[voter])));
    // Slice 2 is unknown, so the manifest has to be asked for.
    let (peer, manifest) = node.poll_request(NOW).unwrap();
    assert_eq!(manifest.kind(), samara_types::MessageKind::ManifestRequest);
    assert_eq!(node.poll_request(NOW), None);
    answer(&cluster, &mut node, peer, &mut voter_node, &manifest, NOW);
    let requests: Vec<_> = std::iter::from_fn(|| node.poll_request(NOW)).collect();
    assert_eq!(requests.iter().map(|(_, request)| wanted(request)).collect::<Vec<_>>(), [(1, 5), (2, 32), (3, 1)]);
    assert!(node.views[&VIEW].slices().iter().all(|slice| slice.variants.len() <= 1), "what is held is not held twice");
    for (at, (peer, request)) in requests.iter().enumerate() {
        assert_eq!(node.requests_outstanding(), requests.len() - at, "an answered request is over at once");
        answer(&cluster, &mut node, *peer, &mut voter_node, request, NOW);
    }
    assert_eq!(blocks(&mut node).len(), 1);
}

#[test]
fn the_slices_of_a_block_are_asked_from_all_its_signers() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 150_000, 1);
    let signers: Vec<u16> = (1..5).map(|number| receiver(&cluster, number)).collect();
    let mut first_signers = std::collections::BTreeSet::new();
    for number in 0..5 {
        let me = receiver(&cluster, number);
        let mut node = cluster.node(me);
        assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&signers)));
        let (peer, manifest) = node.poll_request(NOW).unwrap();
        first_signers.insert(peer);
        answer(&cluster, &mut node, peer, &mut server(&cluster, peer.0, &shredded), &manifest, NOW);
        let asked: std::collections::BTreeSet<_> = std::iter::from_fn(|| node.poll_request(NOW)).map(|(peer, _)| peer.0).collect();
        assert_eq!(asked, signers.iter().copied().filter(|signer| *signer != me).collect());
    }
    assert!(first_signers.len() > 1, "not everybody asks the same one first");
}

#[test]
fn no_manifest_is_asked_for_if_the_chain_already_tells_it() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 50_000, 1);
    let (me, voter) = (receiver(&cluster, 0), receiver(&cluster, 1));
    let mut node = cluster.node(me);
    for index in 0..32 {
        give(&cluster, &mut node, me, &shredded.slices[0], index).unwrap();
    }
    give(&cluster, &mut node, me, &shredded.slices[1], 0).unwrap();
    assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&[voter])));
    let (peer, request) = node.poll_request(NOW).unwrap();
    assert_eq!((peer, wanted(&request)), (ValidatorIndex(voter), (1, u32::from(shredded.slices[1].commitment.shape.data) - 1)));
}

/// Reference, section 1.5: a reply that fails its check must not cancel the request.
#[test]
fn a_bad_answer_keeps_the_request_and_is_charged_to_who_gave_it() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let (me, liar, voter) = (receiver(&cluster, 0), receiver(&cluster, 1), receiver(&cluster, 2));
    let mut node = cluster.node(me);
    let mut voter_node = server(&cluster, voter, &shredded);
    assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&[liar, voter])));
    let mut lies = 0;
    while let Some((peer, request)) = node.poll_request(NOW) {
        if peer != ValidatorIndex(liar) {
            answer(&cluster, &mut node, peer, &mut voter_node, &request, NOW);
            continue;
        }
        lies += 1;
        match &request {
            RepairRequest::Manifest(_) => {
                assert_eq!(node.on_manifest(NOW, peer, &[7; 90]), Err(RepairReject::BadProof));
                assert_eq!(node.on_manifest(NOW, peer, &[7; 90]), Err(RepairReject::Unrequested));
            }
            RepairRequest::Shreds(_) => {
                let mut lie = message(&shredded.slices[0], ShredIndex(0));
                *lie.last_mut().unwrap() ^= 1;
                assert_eq!(node.on_shred(NOW, &cluster.roster, peer, true, &lie), Err(ShredReject::BadProof));
                assert_eq!(node.on_shred(NOW, &cluster.roster, peer, true, &lie), Err(ShredReject::Unrequested));
            }
        }
    }
    assert!(lies > 0, "the liar was asked");
    let events = events(&mut node);
    assert!(
        matches!(&events[..], [Event::Misbehaved(evidence), Event::Block(..)]
        if evidence.accused == ValidatorIndex(liar) && evidence.offence == Offence::BadProof),
        "{events:?}"
    );
}

/// A request of a process that is gone was late on the way; its answer came to the process after it. The simulator found it (seed 90).
#[test]
fn answers_to_a_process_that_was_here_before_accuse_nobody_and_hold_nothing_up() {
    let cluster = Cluster::new(6);
    let (shredded, other) = (cluster.block(VIEW, 5_000, 1), cluster.block(VIEW, 5_000, 2));
    let (me, voters) = (receiver(&cluster, 0), [receiver(&cluster, 1), receiver(&cluster, 2)]);
    let mut node = cluster.node(me);
    assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&voters)));
    let (first, _) = node.poll_request(NOW).unwrap();
    let of_other = message::encode(&message::ManifestRequest { view: VIEW.0, digest: other.block.digest().0 });
    let manifest = server(&cluster, first.0, &other).serve_manifest(&of_other).unwrap();
    assert_eq!(node.on_manifest(NOW, first, &manifest), Err(RepairReject::Unrequested));
    let (second, request) = node.poll_request(NOW).expect("somebody else is asked at once");
    assert_ne!(second, first);
    let manifest = server(&cluster, second.0, &shredded).serve_manifest(request.bytes()).unwrap();
    node.on_manifest(NOW, second, &manifest).unwrap();

    let signed = message(&other.slices[0], ShredIndex(0));
    let mut unsigned = signed.clone();
    unsigned[SHRED_HEADER_BYTES - 64..SHRED_HEADER_BYTES].fill(0);
    for answer in [signed, unsigned] {
        let (peer, _) = node.poll_request(NOW).expect("shreds are missing");
        assert_eq!(node.on_shred(NOW, &cluster.roster, peer, true, &answer), Err(ShredReject::Unrequested));
    }
    assert_eq!(events(&mut node), []);
    assert!(node.poll_request(NOW).is_some(), "and somebody else again");
}

#[test]
fn silence_moves_the_request_on_and_a_late_answer_is_still_good() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let (me, silent, voter) = (receiver(&cluster, 0), receiver(&cluster, 1), receiver(&cluster, 2));
    let mut node = cluster.node(me);
    let mut late = server(&cluster, silent, &shredded);
    assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&[silent, voter])));
    let mut now = NOW;
    let mut asked = Vec::new();
    let mut spans = Vec::new();
    for _ in 0..8 {
        let (peer, request) = node.poll_request(now).unwrap();
        assert_eq!(node.poll_request(now), None);
        asked.push((peer, request));
        let deadline = node.next_deadline().unwrap();
        spans.push(deadline.since(now).0 / 1_000_000);
        assert_eq!(node.poll_request(Nanos(deadline.0 - 1)), None);
        now = deadline;
    }
    assert_eq!(spans, [30, 60, 120, 200, 200, 200, 200, 200]);
    let voters = [ValidatorIndex(silent), ValidatorIndex(voter)];
    assert!(voters.contains(&asked[0].0) && voters.contains(&asked[1].0) && asked[0].0 != asked[1].0, "signers first");
    let everybody: std::collections::BTreeSet<_> = asked.iter().map(|(peer, _)| peer.0).collect();
    assert_eq!(everybody.len(), 5, "then the others");
    let of_silent = asked.iter().find(|(peer, _)| *peer == ValidatorIndex(silent)).unwrap();
    answer(&cluster, &mut node, of_silent.0, &mut late, &of_silent.1, now);
    assert!(node.wanting.contains(&VIEW) && node.views[&VIEW].wants[0].manifest.is_some(), "the late manifest was taken");
}

/// Fetches a block while the first peer asked is silent. Returns who that is, what it was asked, and the time at the end.
fn fetch_from_others(cluster: &Cluster, node: &mut Reassembly, shredded: &ShreddedBlock, voters: &[u16]) -> (u16, RepairRequest, Nanos) {
    assert!(node.want(NOW, shredded.block.header().view, shredded.block.digest(), holders(voters)));
    let (slow, request) = node.poll_request(NOW).unwrap();
    let other = *voters.iter().find(|voter| **voter != slow.0).unwrap();
    let mut other_node = server(cluster, other, shredded);
    let mut now = NOW;
    while let Some(deadline) = node.next_deadline() {
        now = deadline;
        answer_all(cluster, node, &mut [(other, &mut other_node)], now);
    }
    assert_eq!(blocks(node), [(shredded.block.digest(), Origin::Repaired)]);
    (slow.0, request, now)
}

/// Its request had been ended by the next peer's answer, so it was judged by what the slow peer was asked since, and held against it.
#[test]
fn a_late_manifest_of_a_block_that_came_otherwise_accuses_nobody() {
    for finalized in [false, true] {
        let cluster = Cluster::new(6);
        let (early, later) = (cluster.block(VIEW, 5_000, 1), cluster.block(VIEW.next(), 5_000, 2));
        let (me, voters) = (receiver(&cluster, 0), [receiver(&cluster, 1), receiver(&cluster, 2)]);
        let mut node = cluster.node(me);
        let (slow, request, now) = fetch_from_others(&cluster, &mut node, &early, &voters);
        if finalized {
            node.advance(VIEW, VIEW.next());
        }
        assert!(node.want(now, VIEW.next(), later.block.digest(), holders(&[slow])));
        assert_eq!(node.poll_request(now).map(|(peer, _)| peer.0), Some(slow));
        let late = server(&cluster, slow, &early).serve_manifest(request.bytes()).unwrap();
        assert_eq!(node.on_manifest(now, ValidatorIndex(slow), &late), Err(RepairReject::Unrequested));
        assert_eq!(events(&mut node), []);
        assert_eq!(node.requests_outstanding(), 1, "the request under way goes on");
    }
}

/// The same with shreds, where the leader signed two blocks and both were certified.
#[test]
fn a_late_shred_of_the_other_certified_block_accuses_nobody() {
    let cluster = Cluster::new(6);
    let (one, other) = (cluster.block(VIEW, 5_000, 1), cluster.block(VIEW, 5_000, 2));
    let (me, voters) = (receiver(&cluster, 0), [receiver(&cluster, 1), receiver(&cluster, 2)]);
    let mut node = cluster.node(me);
    let (slow, _, now) = fetch_from_others(&cluster, &mut node, &one, &voters);
    assert!(node.want(now, VIEW, other.block.digest(), holders(&[slow])));
    let (peer, request) = node.poll_request(now).unwrap();
    let manifest = server(&cluster, slow, &other).serve_manifest(request.bytes()).unwrap();
    node.on_manifest(now, peer, &manifest).unwrap();
    let (peer, _) = node.poll_request(now).unwrap();
    assert_eq!(peer.0, slow);
    let late = message(&one.slices[0], ShredIndex(0));
    assert_eq!(node.on_shred(now, &cluster.roster, peer, true, &late), Err(ShredReject::Unrequested));
    assert_eq!(events(&mut node), []);
    assert_eq!(node.requests_outstanding(), 1, "the request under way goes on");
}

#[test]
fn shreds_nobody_asked_for_are_not_stored() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let (me, voter) = (receiver(&cluster, 0), receiver(&cluster, 1));
    let bytes = message(&shredded.slices[0], ShredIndex(0));
    let mut node = cluster.node(me);
    let give = |node: &mut Reassembly, from: u16, bytes: &[u8]| node.on_shred(NOW, &cluster.roster, ValidatorIndex(from), true, bytes);
    assert_eq!(give(&mut node, voter, &bytes), Err(ShredReject::Unrequested));
    assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&[voter])));
    let mut voter_node = server(&cluster, voter, &shredded);
    let (peer, request) = node.poll_request(NOW).unwrap();
    answer(&cluster, &mut node, peer, &mut voter_node, &request, NOW);
    let (peer, _) = node.poll_request(NOW).unwrap();
    let stranger = (0..6).find(|index| *index != peer.0 && *index != me).unwrap();
    assert_eq!(give(&mut node, stranger, &bytes), Err(ShredReject::Unrequested));
    let total = shredded.slices[0].commitment.shape.total;
    assert_eq!(give(&mut node, peer.0, &message(&shredded.slices[0], ShredIndex(total - 1))), Err(ShredReject::Unrequested));
    assert_eq!(give(&mut node, peer.0, &bytes), Ok(ShredAccepted { relay: false }));
    assert_eq!(give(&mut node, peer.0, &bytes), Err(ShredReject::Unrequested), "an answered shred is not expected again");
}

#[test]
fn a_slice_of_the_current_view_that_lacks_shreds_asks_the_holders_of_the_missing_seats() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let slice = &shredded.slices[0];
    let me = receiver(&cluster, 0);
    let leader = cluster.schedule.leader(VIEW);
    let mut node = cluster.node(me);
    node.advance(View::GENESIS, VIEW);
    node.on_announce(NOW, &cluster.roster, leader, &slice.announcement()).unwrap();
    let due = node.next_deadline().unwrap();
    assert_eq!(due, NOW.after(node.config.gap_delay));
    assert_eq!(node.poll_request(Nanos(due.0 - 1)), None);
    let requests: Vec<_> = std::iter::from_fn(|| node.poll_request(due)).collect();
    let asked: u32 = requests.iter().map(|(_, request)| wanted(request).1).sum();
    assert_eq!(asked, u32::from(slice.commitment.shape.data), "exactly the deficit");
    assert!(requests.len() > 1, "spread over the seat holders");
    for (peer, request) in &requests {
        let request = message::access::<ArchivedShredRequest>(request.bytes()).unwrap();
        for index in super::super::requests::indexes(u128::from_le_bytes(request.wanted)) {
            assert_eq!(seats(&cluster, slice).holder(index), Some(*peer));
            let shred = message(slice, index);
            assert_eq!(node.on_shred(due, &cluster.roster, *peer, true, &shred), Ok(ShredAccepted { relay: false }));
        }
    }
    assert_eq!(blocks(&mut node), [(shredded.block.digest(), Origin::Disseminated)]);
    assert_eq!(node.next_deadline(), None);
}

#[test]
fn a_shred_that_repair_brought_first_is_still_relayed_when_the_leader_sends_it() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 20_000, 1);
    let slice = &shredded.slices[0];
    let (me, leader) = (receiver(&cluster, 0), cluster.schedule.leader(VIEW));
    let mut node = cluster.node(me);
    node.advance(View::GENESIS, VIEW);
    node.on_announce(NOW, &cluster.roster, leader, &slice.announcement()).unwrap();
    let later = NOW.after(Nanos::from_millis(5_000));
    let mut own = None;
    for step in 0..40u64 {
        for (peer, request) in std::iter::from_fn(|| node.poll_request(later.after(Nanos::from_millis(step * 300)))).collect::<Vec<_>>() {
            let request = message::access::<ArchivedShredRequest>(request.bytes()).unwrap();
            let mine = super::super::requests::indexes(u128::from_le_bytes(request.wanted))
                .find(|index| seats(&cluster, slice).holder(*index) == Some(ValidatorIndex(me)));
            own = own.or(mine.map(|index| (peer, index)));
        }
    }
    let (peer, index) = own.expect("later rounds ask anybody for the lowest missing shreds, own seats among them");
    assert!(node.on_shred(later, &cluster.roster, peer, true, &message(slice, index)).is_ok());
    assert_eq!(give(&cluster, &mut node, me, slice, index.0), Ok(ShredAccepted { relay: true }));
    assert_eq!(give(&cluster, &mut node, me, slice, index.0), Err(ShredReject::Duplicate));
}

#[test]
fn the_leader_serves_its_own_block_and_any_node_what_it_holds() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 40_000, 1);
    let leader = cluster.schedule.leader(VIEW).0;
    let me = receiver(&cluster, 0);
    let mut leader_node = cluster.node(leader);
    assert!(leader_node.insert_own(NOW, &shredded));
    assert!(events(&mut leader_node).is_empty());
    let mut node = cluster.node(me);
    assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&[leader])));
    answer_all(&cluster, &mut node, &mut [(leader, &mut leader_node)], NOW);
    assert_eq!(blocks(&mut node).len(), 1);

    // A node with some shreds serves those, as the leader signed them.
    let mut partial = cluster.node(receiver(&cluster, 1));
    give(&cluster, &mut partial, receiver(&cluster, 1), &shredded.slices[0], 7).unwrap();
    let root = shredded.slices[0].commitment.root.0;
    let request = message::encode(&message::ShredRequest { view: VIEW.0, slice: 0, root, wanted: [255; 16] });
    let mut served = Vec::new();
    partial.serve_shreds(&request, |shred| served.push(shred.to_vec()));
    assert_eq!(served, [message(&shredded.slices[0], ShredIndex(7))]);
    let mut served = Vec::new();
    leader_node.serve_shreds(&request, |shred| served.push(shred.to_vec()));
    let all: Vec<_> = (0..shredded.slices[0].commitment.shape.total).map(|index| message(&shredded.slices[0], ShredIndex(index))).collect();
    assert_eq!(served, all);
}

#[test]
fn a_block_from_the_store_is_served_and_satisfies_a_want() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 40_000, 1);
    let (me, voter) = (receiver(&cluster, 0), receiver(&cluster, 1));
    let (mut node, mut voter_node) = (cluster.node(me), cluster.node(voter));
    assert!(voter_node.insert_block(NOW, &shredded.block));
    assert!(node.want(NOW, VIEW, shredded.block.digest(), holders(&[voter])));
    answer_all(&cluster, &mut node, &mut [(voter, &mut voter_node)], NOW);
    assert_eq!(blocks(&mut node).len(), 1);
    let mut other = cluster.node(me);
    assert!(other.want(NOW, VIEW, shredded.block.digest(), holders(&[voter])));
    let _ = other.poll_request(NOW);
    assert!(other.insert_block(NOW, &shredded.block));
    assert_eq!((other.poll_request(Nanos(u64::MAX)), other.next_deadline()), (None, None));
}

#[test]
fn a_manifest_of_a_block_no_leader_may_propose_is_given_up() {
    let cluster = Cluster::new(6);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let (me, voter) = (receiver(&cluster, 0), receiver(&cluster, 1));
    let header = samara_types::BlockHeader { leader: ValidatorIndex(me), ..*shredded.block.header() };
    let mut node = cluster.node(me);
    assert!(node.want(NOW, VIEW, header.digest(shredded.block.roots()), holders(&[voter])));
    let (peer, _) = node.poll_request(NOW).unwrap();
    let roots = shredded.block.roots().iter().map(|root| root.0).collect();
    let manifest = message::encode(&Manifest { header: header.to_bytes().to_vec(), roots });
    assert_eq!(node.on_manifest(NOW, peer, &manifest), Err(RepairReject::Impossible));
    assert_eq!(node.poll_request(Nanos(u64::MAX)), None);
    assert!(matches!(events(&mut node)[..], [Event::Malformed(_)]));
}
