use super::*;
use crate::shredder::Shredder;
use samara_erasure::{CodeWord, Coder};
use samara_types::BlockHeader;

fn evidence(node: &mut Reassembly) -> Vec<Evidence> {
    let of = |event| match event {
        Event::Malformed(evidence) => Some(evidence),
        Event::Block(..) => panic!("a malformed block came together"),
        _ => None,
    };
    events(node).into_iter().filter_map(of).collect()
}

/// The hostile leader signs code words of its making for the block of `header` and `payload`.
fn signed_with(cluster: &Cluster, shredded: &ShreddedBlock, words: Vec<CodeWord>) -> ShreddedBlock {
    let header = shredded.block.header();
    let last = words.len() - 1;
    let sign = |(at, word): (usize, CodeWord)| {
        SignedSlice::sign(header, SliceIndex(at as u16), at == last, word, cluster.secret(header.leader), cluster.roster.domain())
    };
    ShreddedBlock { slices: words.into_iter().enumerate().map(sign).collect(), ..shredded.clone() }
}

/// Rotor, section 1.4: the verdict is a function of the root, not of which shreds arrived.
#[test]
fn a_malformed_code_word_gets_the_same_verdict_at_every_receiver() {
    let cluster = Cluster::new(6);
    let honest = cluster.block(VIEW, 5_000, 1);
    let shape = honest.slices[0].commitment.shape;
    let mut bytes: Vec<u8> = (0..shape.total).flat_map(|index| *honest.slices[0].word.chunk(ShredIndex(index))).collect();
    *bytes.last_mut().unwrap() ^= 1;
    let hostile = signed_with(&cluster, &honest, vec![CodeWord::uncoded(shape, bytes)]);
    let subsets: [Vec<u8>; 4] = [
        (0..128).collect(),
        (shape.total - shape.data..128).collect(),
        (1..128).collect(),
        (0..128).step_by(1).rev().filter(|i| *i < shape.total).collect(),
    ];
    for (number, subset) in (0..5).zip(subsets.iter().cycle()) {
        let me = receiver(&cluster, number);
        let mut node = cluster.node(me);
        for &index in subset.iter().filter(|index| **index < shape.total) {
            let _ = give(&cluster, &mut node, me, &hostile.slices[0], index);
        }
        let evidence = evidence(&mut node);
        assert_eq!(evidence.len(), 1, "receiver {number}");
        assert_eq!((evidence[0].offence, evidence[0].accused), (Offence::MalformedBlock, cluster.schedule.leader(VIEW)));
        assert_eq!(evidence[0].proof, hostile.slices[0].announcement());
        // Tainted forever: no shred of this root is read again, and no request is made for it.
        assert_eq!(give(&cluster, &mut node, me, &hostile.slices[0], shape.total - 1), Err(ShredReject::Done));
        node.advance(View::GENESIS, VIEW);
        assert_eq!(node.poll_request(Nanos(u64::MAX)), None);
        assert_charge_is_true(&mut node);
    }
}

#[test]
fn a_slice_0_without_a_good_header_kills_the_view() {
    let cluster = Cluster::new(6);
    let honest = cluster.block(VIEW, 5_000, 1);
    let header = *honest.block.header();
    let other_leader = ValidatorIndex(receiver(&cluster, 2));
    let forgeries = [
        BlockHeader { view: VIEW.next(), ..header },
        BlockHeader { leader: other_leader, ..header },
        BlockHeader { payload_length: header.payload_length - 1, ..header },
        BlockHeader { payload_length: header.payload_length + 60_000, ..header },
        BlockHeader { payload_digest: Digest([7; 32]), ..header },
        BlockHeader { parent_view: VIEW, ..header },
    ];
    for (number, forged) in forgeries.into_iter().enumerate() {
        let shape = honest.slices[0].commitment.shape;
        let bytes = [forged.to_bytes().as_slice(), honest.block.payload()].concat();
        let hostile = signed_with(&cluster, &honest, vec![Coder::new().encode(&bytes, shape.data, shape.total)]);
        let me = receiver(&cluster, 0);
        let mut node = cluster.node(me);
        give_all(&cluster, &mut node, me, &hostile, 0..128);
        let evidence = evidence(&mut node);
        assert_eq!(evidence.len(), 1, "forgery {number}");
        assert_eq!(evidence[0].proof, hostile.slices[0].announcement());
    }
}

#[test]
fn a_slice_that_does_not_fit_the_plan_of_the_header_kills_the_view_before_it_is_decoded() {
    let cluster = Cluster::new(6);
    // Two slices by the header; the leader signs slice 1 as not last, as only a longer block has it.
    let (short, long) = (cluster.block(VIEW, 50_000, 1), cluster.block(VIEW, 120_000, 2));
    let me = receiver(&cluster, 0);
    for header_first in [true, false] {
        let mut node = cluster.node(me);
        if !header_first {
            give(&cluster, &mut node, me, &long.slices[1], 0).unwrap();
        }
        for index in 0..32 {
            let _ = give(&cluster, &mut node, me, &short.slices[0], index);
        }
        if header_first {
            give(&cluster, &mut node, me, &long.slices[1], 0).unwrap();
        }
        let evidence = evidence(&mut node);
        assert_eq!(evidence.len(), 1);
        assert_eq!(evidence[0].proof, [short.slices[0].announcement(), long.slices[1].announcement()].concat());
        assert_eq!(give(&cluster, &mut node, me, &short.slices[1], 0), Err(ShredReject::Dead));
    }
}

/// Slice 0 of a longer block leaves its class open at admission; the header in it settles it.
#[test]
fn a_slice_0_coded_for_another_class_than_its_header_demands_kills_the_view() {
    let cluster = Cluster::new(6);
    let honest = cluster.block(VIEW, 100_000, 1);
    let first = &honest.slices[0];
    let me = receiver(&cluster, 0);
    let mut node = cluster.node_with(me, |config| config.params.hybrid_redundancy = 300);
    let total = 100;
    let words = honest.slices.iter().map(|slice| match slice.commitment.slice {
        SliceIndex(0) => Coder::new().encode(first.word.payload(), 32, total),
        _ => slice.word.clone(),
    });
    let hostile = signed_with(&cluster, &honest, words.collect());
    for index in 0..32 {
        assert!(give(&cluster, &mut node, me, &hostile.slices[0], index).is_ok(), "a hybrid block could have it");
    }
    assert_eq!(evidence(&mut node).len(), 1);
}

#[test]
fn a_tainted_slice_kills_the_view() {
    let cluster = Cluster::new(6);
    let honest = cluster.block(VIEW, 50_000, 1);
    let shape = honest.slices[0].commitment.shape;
    let mut bytes: Vec<u8> = (0..shape.total).flat_map(|index| *honest.slices[0].word.chunk(ShredIndex(index))).collect();
    *bytes.last_mut().unwrap() ^= 1;
    let words = vec![CodeWord::uncoded(shape, bytes), honest.slices[1].word.clone()];
    let hostile = signed_with(&cluster, &honest, words);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    give(&cluster, &mut node, me, &hostile.slices[1], 0).unwrap();
    for index in 0..shape.data {
        give(&cluster, &mut node, me, &hostile.slices[0], index).unwrap();
    }
    assert_eq!(give(&cluster, &mut node, me, &hostile.slices[1], 1), Err(ShredReject::Dead));
    assert_eq!(evidence(&mut node).len(), 1);
}

#[test]
fn a_shape_no_block_has_is_refused_before_anything_is_hashed() {
    let cluster = Cluster::new(6);
    let honest = cluster.block(VIEW, 5_000, 1);
    let shape = honest.slices[0].commitment.shape;
    let word = Coder::new().encode(honest.slices[0].word.payload(), shape.data, shape.total + 1);
    let hostile = signed_with(&cluster, &honest, vec![word]);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    assert_eq!(give(&cluster, &mut node, me, &hostile.slices[0], 0), Err(ShredReject::Shape));
    assert_eq!(node.views_held(), 0);
}

#[test]
fn a_taint_in_a_second_variant_leaves_the_first_alone() {
    let cluster = Cluster::new(6);
    let honest = cluster.block(VIEW, 5_000, 1);
    let shape = honest.slices[0].commitment.shape;
    let hostile = signed_with(&cluster, &honest, vec![CodeWord::uncoded(shape, vec![5; usize::from(shape.total) * 1024])]);
    let me = receiver(&cluster, 0);
    let mut node = cluster.node(me);
    give(&cluster, &mut node, me, &honest.slices[0], 0).unwrap();
    give_all(&cluster, &mut node, me, &hostile, 0..128);
    assert!(matches!(events(&mut node)[..], [Event::Equivocation(_), Event::Malformed(_)]));
    give_all(&cluster, &mut node, me, &honest, 0..128);
    assert_eq!(blocks(&mut node), [(honest.block.digest(), Origin::Disseminated)]);
}

#[test]
fn the_shredder_itself_never_makes_what_receivers_refuse() {
    let cluster = Cluster::new(6);
    let mut shredder = Shredder::new(cluster.planner(), *cluster.roster.domain());
    for length in (0..70_000).step_by(6_997) {
        let (header, payload) = cluster.header(VIEW, length, 3);
        let shredded = shredder.shred(header, payload, cluster.secret(header.leader)).unwrap();
        let me = receiver(&cluster, 4);
        let mut node = cluster.node(me);
        give_all(&cluster, &mut node, me, &shredded, 0..128);
        assert_eq!(blocks(&mut node).len(), 1, "{length} B");
    }
}
