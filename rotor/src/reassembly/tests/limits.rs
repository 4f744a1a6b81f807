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
