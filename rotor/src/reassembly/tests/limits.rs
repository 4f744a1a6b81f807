use super::*;

/// Every slice of a large block of `view`, one shred short of decoding, as its leader could send them all.
fn flood(cluster: &Cluster, node: &mut Reassembly, me: u16, view: View) {
    let shredded = cluster.block(view, 150_000, 1);
    for slice in &shredded.slices {
        for index in 0..slice.commitment.shape.data - 1 {
            let _ = give(cluster, node, me, slice, index);
        }
    }
}

fn small(config: &mut ReassemblyConfig, cluster: &Cluster, views: usize) {
    config.bytes_max = views * view_bytes_max(&cluster.planner());
}

/// Reference, section 1.4, hole 4.
#[test]
fn views_beyond_the_window_and_finalized_ones_are_refused() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    node.advance(View(10), View(20));
    for (view, expected) in [(10, ShredReject::Old), (9, ShredReject::Old), (85, ShredReject::Future), (u64::MAX, ShredReject::Future)] {
        let shredded = cluster.block(View(view), 5_000, 1);
        assert_eq!(give(&cluster, &mut node, me, &shredded.slices[0], 0), Err(expected), "view {view}");
        let leader = cluster.schedule.leader(View(view));
        assert_eq!(node.on_announce(NOW, &cluster.roster, leader, &shredded.slices[0].announcement()), Err(expected));
    }
    assert_eq!(node.views_held(), 0);
    for view in [11, 20, 83] {
        let shredded = cluster.block(View(view), 5_000, 1);
        let own = cluster.schedule.leader(View(view)).0 == me;
        assert_eq!(give(&cluster, &mut node, me, &shredded.slices[0], 0).is_ok(), !own, "view {view}");
    }
}

#[test]
fn a_flood_of_future_views_stays_within_its_memory_and_never_displaces_the_current_view() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node_with(me, |config| small(config, &cluster, 1));
    node.advance(View::GENESIS, VIEW);
    let current = cluster.block(VIEW, 150_000, 1);
    give_all(&cluster, &mut node, me, &current, 0..20);
    for view in (VIEW.0 + 1..VIEW.0 + 65).map(View) {
        flood(&cluster, &mut node, me, view);
        assert!(node.bytes_held() <= node.config.bytes_max, "{} B after view {view}", node.bytes_held());
    }
    assert!(node.rejects()[ShredReject::Full as usize] > 0, "the limit was reached");
    assert!(node.views_held() <= 66);
    assert_charge_is_true(&mut node);
    give_all(&cluster, &mut node, me, &current, 20..128);
    assert_eq!(blocks(&mut node), [(current.block.digest(), Origin::Disseminated)]);
}

#[test]
fn the_farthest_future_view_goes_first_and_gets_its_chance_when_its_time_has_come() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node_with(me, |config| small(config, &cluster, 1));
    node.advance(View::GENESIS, VIEW);
    let led_by_others = |view: &View| cluster.schedule.leader(*view).0 != me;
    let ahead: Vec<View> = (55..64).map(View).filter(led_by_others).collect();
    let (less_far, far) = (ahead[ahead.len() - 2], ahead[ahead.len() - 1]);
    flood(&cluster, &mut node, me, far);
    flood(&cluster, &mut node, me, less_far);
    let near: Vec<View> = (5..50).map(View).filter(led_by_others).collect();
    for view in &near {
        flood(&cluster, &mut node, me, *view);
        if node.views[&far].is_dropped() {
            break;
        }
    }
    assert!(node.views[&far].is_dropped() && !node.views[&less_far].is_dropped());
    let shredded = cluster.block(far, 150_000, 1);
    assert_eq!(give(&cluster, &mut node, me, &shredded.slices[0], 0), Err(ShredReject::Full), "it was the first to go");
    node.advance(far.previous(), far);
    give_all(&cluster, &mut node, me, &shredded, 0..128);
    assert_eq!(blocks(&mut node).last(), Some(&(shredded.block.digest(), Origin::Disseminated)));
}

#[test]
fn without_finalization_the_oldest_unwanted_view_goes_and_does_not_come_back() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node_with(me, |config| small(config, &cluster, 1));
    let mut told = 0;
    for view in (1..400).map(View) {
        node.advance(View::GENESIS, view);
        let shredded = cluster.block(view, 150_000, 1);
        give_all(&cluster, &mut node, me, &shredded, 0..128);
        told += blocks(&mut node).len();
        assert!(node.bytes_held() <= node.config.bytes_max);
    }
    assert_eq!(told, (1..400).filter(|view| cluster.schedule.leader(View(*view)).0 != me).count(), "each block was told");
    assert!(node.views_held() < 100, "{} views", node.views_held());
    let first = (1..).map(View).find(|view| cluster.schedule.leader(*view).0 != me).unwrap();
    let replay = cluster.block(first, 150_000, 1);
    assert_eq!(give(&cluster, &mut node, me, &replay.slices[0], 0), Err(ShredReject::Old));
}

#[test]
fn finalized_blocks_are_served_for_a_while_and_then_forgotten() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let partial = cluster.block(VIEW.next(), 5_000, 1);
    give_all(&cluster, &mut node, me, &shredded, 0..128);
    let digest = shredded.block.digest();
    let _ = give(&cluster, &mut node, me, &partial.slices[0], 0);
    node.advance(VIEW.next(), View(6));
    assert!(node.block(VIEW, &digest).is_some());
    assert_charge_is_true(&mut node);
    assert_eq!(give(&cluster, &mut node, me, &shredded.slices[0], 0), Err(ShredReject::Old));
    node.advance(View(VIEW.0 + 31), View(VIEW.0 + 32));
    assert!(node.block(VIEW, &digest).is_some());
    node.advance(View(VIEW.0 + 33), View(VIEW.0 + 34));
    assert!(node.block(VIEW, &digest).is_none());
    assert_eq!((node.bytes_held(), node.views_held()), (0, 0));
}

#[test]
fn wants_are_bounded_per_view_and_in_all() {
    let cluster = Cluster::new(6);
    let mut node = cluster.node(receiver(&cluster, 0));
    let digest = |seed: u64| Digest([seed as u8 + 1; 32]);
    let per_view = cluster.roster.quorums().notarizations_per_view_max() as u64;
    for seed in 0..10 {
        assert_eq!(node.want(NOW, VIEW, digest(seed), SignerBitmap::default()), seed < per_view);
    }
    let granted = (5..60).filter(|view| node.want(NOW, View(*view), digest(*view), SignerBitmap::default())).count();
    assert_eq!(granted, WANTS_MAX - per_view as usize);
    assert!(!node.want(NOW, View(70), digest(1), SignerBitmap::default()), "beyond the window");
    let requests = std::iter::from_fn(|| node.poll_request(NOW)).count();
    assert_eq!(requests, WANTS_MAX.min(node.config.outstanding_max));
    for step in 0..1_000u64 {
        while node.poll_request(Nanos(NOW.0 + step * 50_000_000)).is_some() {}
        assert!(node.outstanding.len() <= 2 * node.config.outstanding_max);
    }
    node.advance(View(59), View(60));
    assert_eq!((node.requests_outstanding(), node.outstanding.len(), node.wanting.len()), (0, 0, 0));
}

/// However many shreds peers make up for whatever view and slice, committees are drawn for strikes and for what leaders signed.
#[test]
fn peers_cannot_make_us_draw_committees_without_end() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    node.advance(View::GENESIS, VIEW);
    let mut offered = 0;
    for view in (0..200).chain([u64::MAX]).map(View).filter(|view| cluster.schedule.leader(*view).0 != me) {
        let shredded = cluster.block(view.max(View(1)), 150_000, 1);
        for slice in &shredded.slices {
            for (index, from) in (0..12u8).zip((0..6).map(ValidatorIndex).cycle()).filter(|(_, from)| from.0 != me) {
                let mut bytes = message(slice, ShredIndex(index));
                let at = bytes.len() - 1;
                bytes[at] ^= 1;
                let mut burst = [Incoming::new(from, false, &bytes)];
                node.on_shreds(NOW, &cluster.roster, &mut burst, |_, result| assert!(result.is_err()));
                offered += 1;
            }
        }
    }
    let strikes = 5 * u64::from(STRIKES_MAX);
    assert!(offered > 8_000 && node.table.draws() <= strikes, "{} draws for {offered} shreds", node.table.draws());
}

/// Valid shreds of more slices than the table remembers, replayed round and round: their committees are kept with them.
#[test]
fn replays_of_what_is_held_draw_no_committee() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    node.advance(View::GENESIS, VIEW);
    let views: Vec<View> = (5..68).map(View).filter(|view| cluster.schedule.leader(*view).0 != me).collect();
    let blocks: Vec<_> = views.iter().map(|view| cluster.block(*view, 150_000, 1)).collect();
    let slices: Vec<&SignedSlice> = blocks.iter().flat_map(|block| &block.slices).collect();
    assert!(slices.len() > 200);
    for slice in &slices {
        assert!(give(&cluster, &mut node, me, slice, 0).is_ok());
    }
    let drawn = node.table.draws();
    for _ in 0..5 {
        for slice in &slices {
            assert_eq!(give(&cluster, &mut node, me, slice, 0), Err(ShredReject::Duplicate));
            let forged = SignedSlice { signature: [1; 64], ..(*slice).clone() };
            assert!(matches!(give(&cluster, &mut node, me, &forged, 1), Err(ShredReject::OtherSignature | ShredReject::Barred)));
            node.strikes.fill(0);
        }
    }
    assert_eq!(node.table.draws(), drawn);
}

/// With no room to keep it, no commitment is worth a signature check, let alone the state of somebody else.
#[test]
fn without_room_no_commitment_is_looked_at() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node_with(me, |config| small(config, &cluster, 1));
    node.advance(View::GENESIS, VIEW);
    let mut ahead = (5..60).map(View).filter(|view| cluster.schedule.leader(*view).0 != me);
    while node.rejects()[ShredReject::Full as usize] == 0 {
        flood(&cluster, &mut node, me, ahead.next().expect("the limit is reached"));
    }
    let strikes = node.strikes.clone();
    let far = (62..68).map(View).find(|view| cluster.schedule.leader(*view).0 != me).unwrap();
    let forged = SignedSlice { signature: [1; 64], ..cluster.block(far, 150_000, 1).slices[0].clone() };
    let drawn = node.table.draws();
    assert_eq!(give(&cluster, &mut node, me, &forged, 0), Err(ShredReject::Full));
    assert_eq!((node.strikes.clone(), node.table.draws()), (strikes, drawn), "its signature was not even checked");
}

/// A wrong seat is seen before any proof is read, and costs its sender as much as a false one: the committee had to be drawn.
#[test]
fn who_sends_from_wrong_seats_only_is_barred_as_well() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    node.advance(View::GENESIS, VIEW);
    let mut results = Vec::new();
    for view in (VIEW.0..VIEW.0 + 60).map(View).filter(|view| cluster.schedule.leader(*view).0 != me) {
        let slice = &cluster.block(view, 5_000, 1).slices[0];
        let bad = ValidatorIndex((me + 1) % 6);
        let is_wrong = |index: &u8| sender(&cluster, slice, ShredIndex(*index), me) != bad;
        let Some(index) = (0..slice.commitment.shape.total).find(is_wrong) else { continue };
        results.push(node.on_shred(NOW, &cluster.roster, bad, false, &message(slice, ShredIndex(index))));
    }
    let (struck, barred) = results.split_at(STRIKES_MAX.into());
    assert!(struck.iter().all(|result| *result == Err(ShredReject::WrongSeat)));
    assert!(!barred.is_empty() && barred.iter().all(|result| *result == Err(ShredReject::Barred)));
    assert_eq!(node.table.draws(), u64::from(STRIKES_MAX));
}

/// A burst is looked through before any of it can be charged to its sender, so looking has its own limit.
#[test]
fn a_burst_draws_no_more_committees_than_its_sender_has_strikes_left() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    node.advance(View::GENESIS, VIEW);
    let bad = ValidatorIndex((me + 1) % 6);
    let views = (VIEW.0..).map(View).filter(|view| ![me, bad.0].contains(&cluster.schedule.leader(*view).0));
    let slices: Vec<SignedSlice> = views.take(4).flat_map(|view| cluster.block(view, 1_000_000, 1).slices).collect();
    let frames: Vec<Vec<u8>> = slices.iter().filter_map(|slice| Some(message(slice, seats(&cluster, slice).of(bad).next()?))).collect();
    let forged: Vec<Vec<u8>> = frames.iter().map(|bytes| bytes[..bytes.len() - 1].iter().copied().chain([7]).collect()).collect();
    assert!(forged.len() > 3 * usize::from(STRIKES_MAX), "{} slices", forged.len());
    let mut burst: Vec<_> = forged.iter().map(|bytes| Incoming::new(bad, false, bytes)).collect();
    node.prepare(&mut burst);
    assert_eq!(node.table.draws(), u64::from(STRIKES_MAX), "before anything was admitted");
    assert!(burst.iter().all(|incoming| node.admit(NOW, &cluster.roster, incoming).is_err()));
    assert_eq!(node.strikes[bad.at()], STRIKES_MAX);
    assert!(node.table.draws() <= 2 * u64::from(STRIKES_MAX), "{} draws", node.table.draws());
    node.prepare(&mut burst);
    assert!(node.table.draws() <= 2 * u64::from(STRIKES_MAX), "who is barred draws none");
}

/// Another signature over a known commitment has to be hashed to be known for what it is.
#[test]
fn a_seat_brings_another_signature_once_and_pays_for_every_further_one() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    let slice = &cluster.block(VIEW, 40_000, 1).slices[0];
    let bad = ValidatorIndex(receiver(&cluster, 1));
    let known = (0..).map(ShredIndex).find(|index| sender(&cluster, slice, *index, me) != bad).unwrap();
    assert!(give(&cluster, &mut node, me, slice, known.0).is_ok());
    let resigned = |signature: u8| SignedSlice { signature: [signature; 64], ..slice.clone() };
    let mine: Vec<ShredIndex> = seats(&cluster, slice).of(bad).collect();
    for index in &mine {
        assert_eq!(give(&cluster, &mut node, me, &resigned(9), index.0), Err(ShredReject::OtherSignature));
    }
    assert_eq!(node.strikes[bad.at()], 0, "as an honest relay of a leader that signed twice would");
    let results: Vec<_> = (1..=80).map(|signature| give(&cluster, &mut node, me, &resigned(signature), mine[0].0)).collect();
    let (paid, refused) = results.split_at(STRIKES_MAX.into());
    assert!(paid.iter().all(|result| *result == Err(ShredReject::OtherSignature)));
    assert!(refused.iter().all(|result| *result == Err(ShredReject::Barred)));
    assert!(events(&mut node).is_empty(), "nobody is accused");
}

/// Memory of large slices does not come back as memory of small ones, at the price of small ones.
#[test]
fn a_slice_is_charged_what_it_holds_whatever_was_there_before() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    let held_by = |node: &Reassembly, view: View| match &node.views[&view].variant(SliceIndex(0), 0).unwrap().content {
        view::Content::Collecting(Some(gathering)) => gathering.bytes_held(),
        _ => panic!("still collecting"),
    };
    let mut others = (VIEW.0..).map(View).filter(|view| cluster.schedule.leader(*view).0 != me);
    let large = cluster.block(others.next().unwrap(), 1_000_000, 1);
    give_all(&cluster, &mut node, me, &large, 0..128);
    assert_eq!(blocks(&mut node).len(), 1);
    let full = node.spares.len();
    assert!(full > 20, "its memory is kept");
    for (length, reused) in [(3_000, 0), (100_000, 1)] {
        let next = cluster.block(others.next().unwrap(), length, 1);
        let (view, shape) = (next.slices[0].commitment.view, next.slices[0].commitment.shape);
        let (before, spares) = (node.bytes_held(), node.spares.len());
        assert!(give(&cluster, &mut node, me, &next.slices[0], 0).is_ok());
        assert_eq!(held_by(&node, view), Gathering::bytes_of(&shape));
        assert_eq!(node.bytes_held() - before, view::VIEW_BYTES + view::VARIANT_BYTES + Gathering::bytes_of(&shape));
        assert_eq!(spares - node.spares.len(), reused, "{length} B");
    }
}
