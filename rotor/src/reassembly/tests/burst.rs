//! A burst is its shreds one by one, at a fraction of the hashing.

use super::*;
use proptest::prelude::*;

/// What a node shows the world, drained.
#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<Event>,
    relays: Vec<Relay>,
    requests: Vec<(ValidatorIndex, RepairRequest)>,
    rejects: Vec<u64>,
    counts: ReassemblyCounts,
    bytes_held: usize,
    views_held: usize,
}

fn seen(node: &mut Reassembly) -> Seen {
    let later = Nanos(NOW.0 + 40_000_000);
    Seen {
        events: events(node),
        relays: std::iter::from_fn(|| node.poll_relay()).collect(),
        requests: std::iter::from_fn(|| node.poll_request(later)).collect(),
        rejects: node.rejects().to_vec(),
        counts: node.counts().clone(),
        bytes_held: node.bytes_held(),
        views_held: node.views_held(),
    }
}

/// How a frame differs from what an honest peer sends.
#[derive(Clone, Copy, Debug)]
enum Twist {
    None,
    ProofBit(usize),
    ChunkBit(usize),
    SignatureBit,
    HeaderByte(usize),
    Sender(u16),
    Repaired,
    Cut,
}

type Step = (usize, u8, Twist);

fn twist() -> impl Strategy<Value = Twist> {
    prop_oneof![
        12 => Just(Twist::None),
        1 => (0usize..3000).prop_map(Twist::ProofBit),
        1 => (0usize..8192).prop_map(Twist::ChunkBit),
        1 => Just(Twist::SignatureBit),
        1 => (0usize..20).prop_map(Twist::HeaderByte),
        1 => (0u16..6).prop_map(Twist::Sender),
        1 => Just(Twist::Repaired),
        1 => Just(Twist::Cut),
    ]
}

/// The frame of a step: sender, whether it comes as an answer, bytes.
fn frame(cluster: &Cluster, me: u16, slices: &[&SignedSlice], (slice, index, twist): &Step) -> (ValidatorIndex, bool, Vec<u8>) {
    let slice = slices[slice % slices.len()];
    let index = ShredIndex(index % slice.commitment.shape.total);
    let (mut from, mut bytes) = (sender(cluster, slice, index, me), message(slice, index));
    let (proof, chunk) = (84 * 8, (bytes.len() - 1024) * 8);
    let mut flip = |bit: usize| bytes[bit / 8] ^= 1 << (bit % 8);
    match *twist {
        Twist::ProofBit(bit) if chunk > proof => flip(proof + bit % (chunk - proof)),
        Twist::ChunkBit(bit) => flip(chunk + bit),
        Twist::SignatureBit => flip(30 * 8),
        Twist::HeaderByte(byte) => flip(byte * 8),
        Twist::Sender(other) => from = ValidatorIndex(other),
        Twist::Cut => bytes.truncate(700),
        _ => {}
    }
    (from, matches!(twist, Twist::Repaired), bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// The oracle is the same machine without a burst: every shred comes alone.
    #[test]
    fn a_burst_is_its_shreds_one_by_one(
        steps in proptest::collection::vec((0usize..8, any::<u8>(), twist()), 1..220),
        cuts in proptest::collection::vec(1usize..90, 1..12),
        wanted: bool,
    ) {
        let cluster = Cluster::new(6);
        let me = receiver(&cluster, 1);
        let ahead = (VIEW.0 + 1..).map(View).find(|view| cluster.schedule.leader(*view).0 != me).unwrap();
        // Two versions of the current view's block, one of a later view, one that is not relayed.
        let (first, second) = (cluster.block(VIEW, 40_000, 1), cluster.block(VIEW, 40_000, 2));
        let (later, direct) = (cluster.block(ahead, 3_000, 1), cluster.block(ahead, 500, 3));
        let slices: Vec<&SignedSlice> = [&first, &second, &later, &direct].into_iter().flat_map(|block| &block.slices).collect();
        let frames: Vec<_> = steps.iter().map(|step| frame(&cluster, me, &slices, step)).collect();
        let (mut alone, mut together) = (cluster.node(me), cluster.node(me));
        for node in [&mut alone, &mut together] {
            node.advance(View::GENESIS, VIEW);
            if wanted {
                node.want(NOW, VIEW, second.block.digest(), SignerBitmap::default());
                while node.poll_request(NOW).is_some() {}
            }
        }
        let mut rest = &frames[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, after) = rest.split_at(rest.len().min(*cut));
            rest = after;
            let one_by_one: Vec<_> =
                part.iter().map(|(from, repaired, bytes)| alone.on_shred(NOW, &cluster.roster, *from, *repaired, bytes)).collect();
            let mut burst: Vec<_> = part.iter().map(|(from, repaired, bytes)| Incoming::new(*from, *repaired, bytes)).collect();
            let mut at_once = Vec::new();
            together.on_shreds(NOW, &cluster.roster, &mut burst, |at, result| {
                assert_eq!(at, at_once.len());
                at_once.push(result);
            });
            prop_assert_eq!(one_by_one, at_once);
            prop_assert_eq!(seen(&mut alone), seen(&mut together));
        }
        assert_charge_is_true(&mut together);
    }
}

/// Shreds of four slices, each fourth one forged: the forged ones are refused and charged to their senders, the others all arrive.
#[test]
fn hostile_shreds_in_a_burst_do_not_harm_their_neighbours() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 1);
    let shredded = cluster.block(VIEW, 120_000, 1);
    let bad = ValidatorIndex(receiver(&cluster, 2));
    let mut node = cluster.node(me);
    let mut frames = Vec::new();
    for index in 0..64u8 {
        for slice in &shredded.slices {
            let index = ShredIndex(index % slice.commitment.shape.total);
            let (from, mut bytes) = (sender(&cluster, slice, index, me), message(slice, index));
            if from == bad {
                let at = bytes.len() - 1 - usize::from(index.0);
                bytes[at] ^= 1;
            }
            frames.push((from, bytes));
        }
    }
    let mut whole = 0;
    for part in frames.chunks(16) {
        let mut burst: Vec<_> = part.iter().map(|(from, bytes)| Incoming::new(*from, false, bytes)).collect();
        node.on_shreds(NOW, &cluster.roster, &mut burst, |at, result| match result {
            Ok(_) => assert_ne!(part[at].0, bad, "a forged shred was taken"),
            Err(reject) if part[at].0 == bad => {
                assert!(matches!(reject, ShredReject::BadSignature | ShredReject::BadProof | ShredReject::Barred | ShredReject::Done));
            }
            Err(reject) => assert!(matches!(reject, ShredReject::Done | ShredReject::Duplicate), "{reject:?} for a good shred"),
        });
        whole += blocks(&mut node).len();
    }
    assert_eq!(whole, 1, "the block came together from the honest shreds");
}

/// A shred prepared while its slice was unknown may be admitted after others finished the slice, or after the owner moved the window.
#[test]
fn what_was_prepared_is_judged_by_the_state_at_its_turn() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 1);
    let shredded = cluster.block(VIEW, 5_000, 1);
    let slice = &shredded.slices[0];
    let frames: Vec<_> = (0..10).map(|index| (sender(&cluster, slice, ShredIndex(index), me), message(slice, ShredIndex(index)))).collect();
    let mut node = cluster.node(me);
    let mut burst: Vec<_> = frames.iter().map(|(from, bytes)| Incoming::new(*from, false, bytes)).collect();
    node.prepare(&mut burst);
    let needed = usize::from(slice.commitment.shape.data);
    assert_eq!(burst.iter().filter(|incoming| incoming.leaf.is_some()).count(), needed, "no more than the slice can use");
    assert_eq!((node.bytes_held(), node.views_held()), (0, 0), "preparing keeps nothing");
    for (at, incoming) in burst.iter().enumerate() {
        let result = node.admit(NOW, &cluster.roster, incoming);
        assert_eq!(result.is_ok(), at < needed, "{result:?}");
    }
    assert_eq!(blocks(&mut node).len(), 1);
    let mut late = cluster.node(me);
    let mut burst: Vec<_> = frames.iter().map(|(from, bytes)| Incoming::new(*from, false, bytes)).collect();
    late.prepare(&mut burst);
    late.advance(VIEW, VIEW.next());
    assert!(burst.iter().all(|incoming| late.admit(NOW, &cluster.roster, incoming) == Err(ShredReject::Old)));
}

/// Neither a repeat within the burst, nor a stored shred, nor one from a wrong seat, nor one of a finished slice is hashed.
#[test]
fn what_will_be_refused_anyway_is_not_hashed() {
    let cluster = Cluster::new(6);
    let me = receiver(&cluster, 1);
    let shredded = cluster.block(VIEW, 40_000, 1);
    let [slice, other] = &shredded.slices[..] else { panic!("two slices") };
    let mut node = cluster.node(me);
    assert!(give(&cluster, &mut node, me, slice, 0).is_ok());
    let frame = |slice: &SignedSlice, index| (sender(&cluster, slice, ShredIndex(index), me), message(slice, ShredIndex(index)));
    let wrong = |slice: &SignedSlice, index| {
        let (right, bytes) = frame(slice, index);
        ((0..6).map(ValidatorIndex).find(|from| *from != right && from.0 != me).unwrap(), bytes)
    };
    let frames = [frame(slice, 0), frame(slice, 1), frame(slice, 1), wrong(slice, 2), frame(slice, 3), frame(other, 0)];
    let mut burst: Vec<_> = frames.iter().map(|(from, bytes)| Incoming::new(*from, false, bytes)).collect();
    node.prepare(&mut burst);
    let hashed: Vec<_> = burst.iter().map(|incoming| incoming.leaf.is_some()).collect();
    assert_eq!(hashed, [false, true, false, false, true, true]);
}
