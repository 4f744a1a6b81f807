//! Hashing, proofs, and the ways of a block: shredded by its leader, admitted alone and in bursts, put together. `samara bench shred` sets the
//! same pipeline beside a rival.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use samara_benches::Members;
use samara_erasure::{CodeWord, Coder, Gathering, Leaf, Unhashed, hash_burst};
use samara_rotor::{Incoming, Planner, Reassembly, ReassemblyConfig, RelayTable, ShreddedBlock, Shredder};
use samara_types::block::payload_digest;
use samara_types::{BlockHeader, Digest, Epoch, Height, LeaderSchedule, Nanos, Params, ShredIndex, ValidatorIndex, View};
use std::hint::black_box;

const BEACON: Digest = Digest([1; 32]);
const TOTAL: u8 = 64;

fn code_word() -> CodeWord {
    let payload: Vec<u8> = (0..32 * 1024u32).map(|at| (at * 31 + at / 1024) as u8).collect();
    Coder::new().encode(&payload, TOTAL / 2, TOTAL)
}

/// Leaves of a burst, the tree of a code word, proofs.
fn hashing(c: &mut Criterion) {
    let word = code_word();
    let chunks: Vec<Unhashed<'_>> = (0..TOTAL)
        .map(|at| ShredIndex(at.wrapping_mul(37) % TOTAL))
        .map(|index| Unhashed { chunk: word.chunk(index), index, total: TOTAL })
        .collect();
    let mut group = c.benchmark_group("leaves");
    for count in [1usize, 2, 4, 8, 16, 64] {
        group.throughput(Throughput::Bytes(count as u64 * 1024));
        group.bench_function(BenchmarkId::new("together", count), |b| {
            b.iter(|| hash_burst(black_box(&chunks[..count]), |_, leaf| _ = black_box(leaf)));
        });
        group.bench_function(BenchmarkId::new("one_by_one", count), |b| {
            b.iter(|| chunks[..count].iter().for_each(|one| _ = black_box(Leaf::of(black_box(one.chunk), one.index, one.total))));
        });
    }
    group.finish();
    let bytes: Vec<u8> = (0..TOTAL).flat_map(|index| *word.chunk(ShredIndex(index))).collect();
    let mut group = c.benchmark_group("tree_64");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("all_nodes", |b| {
        b.iter_batched(|| bytes.clone(), |bytes| CodeWord::uncoded(word.shape(), bytes), BatchSize::SmallInput)
    });
    group.bench_function("blake3_digest_only", |b| b.iter(|| blake3::hash(black_box(&bytes))));
    group.finish();
    proofs(c, &word);
}

fn proofs(c: &mut Criterion, word: &CodeWord) {
    let proof = |index: u8| {
        let mut proof = Vec::new();
        word.write_proof(ShredIndex(index), &mut proof);
        (ShredIndex(index), Leaf::of(word.chunk(ShredIndex(index)), ShredIndex(index), TOTAL), proof)
    };
    let (first, later) = (proof(0), proof(33));
    let fresh = Gathering::new(word.shape(), word.root());
    let mut known = fresh.clone();
    (0..TOTAL / 2).map(proof).for_each(|(index, leaf, proof)| assert!(known.check(index, &leaf, &proof)));
    let mut group = c.benchmark_group("proof_of_64");
    for (name, gathering, (index, leaf, proof)) in [("first", &fresh, &first), ("with_half_known", &known, &later)] {
        let check = |mut gathering: Gathering| (gathering.check(*index, leaf, black_box(proof)), gathering);
        group.bench_function(name, |b| b.iter_batched(|| gathering.clone(), check, BatchSize::SmallInput));
    }
    group.finish();
}

/// Six members, and the blocks of one of them.
struct World {
    members: Members,
    schedule: LeaderSchedule,
    me: ValidatorIndex,
}

impl World {
    fn new() -> World {
        let members = Members::new(6);
        let schedule = LeaderSchedule::new(members.roster.set(), &Digest([9; 32]), Epoch(0));
        let me = ValidatorIndex((schedule.leader(View(4)).0 + 1) % 6);
        World { members, schedule, me }
    }

    fn shredder(&self) -> Shredder {
        Shredder::new(Planner::new(&Params::default(), self.members.roster.set()), *self.members.roster.domain())
    }

    fn shred(&self, shredder: &mut Shredder, payload: &[u8]) -> ShreddedBlock {
        let leader = self.schedule.leader(View(4));
        let header = BlockHeader {
            view: View(4),
            parent_view: View(3),
            parent_digest: Digest([3; 32]),
            height: Height(4),
            timestamp_ns: 0,
            payload_length: payload.len() as u32,
            leader,
            payload_digest: payload_digest(payload),
        };
        shredder.shred(header, payload.to_vec(), &self.members.identities[leader.at()]).expect("a plan for this size")
    }

    fn node(&self) -> Reassembly {
        let set = self.members.roster.set();
        Reassembly::new(ReassemblyConfig::new(self.me, Params::default(), set), set, self.schedule.clone(), BEACON)
    }

    /// The data shreds of every slice as they come: from the leader to our seats, from relays to theirs.
    fn arrivals(&self, shredded: &ShreddedBlock) -> Vec<(ValidatorIndex, Vec<u8>)> {
        let mut table = RelayTable::new(self.members.roster.set(), BEACON);
        let leader = self.schedule.leader(View(4));
        let mut arrivals = Vec::new();
        for slice in &shredded.slices {
            let seats = table.seats(View(4), slice.commitment.slice, leader, slice.commitment.shape.total);
            for index in (0..slice.commitment.shape.data).map(ShredIndex) {
                let holder = seats.holder(index).expect("a seat for every shred");
                let mut message = Vec::new();
                slice.write_shred(index, &mut message);
                arrivals.push((if holder == self.me { leader } else { holder }, message));
            }
        }
        arrivals
    }
}

/// A block through the leader, and through a receiver in bursts of several sizes.
fn blocks(c: &mut Criterion) {
    let world = World::new();
    for (name, bytes) in [("32k", 32_000usize), ("256k", 256_000), ("1m", 1 << 20)] {
        let payload: Vec<u8> = (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
        let mut shredder = world.shredder();
        let mut group = c.benchmark_group(format!("block_{name}"));
        group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
        group.bench_function("shred", |b| b.iter(|| world.shred(&mut shredder, black_box(&payload))));
        let shredded = world.shred(&mut shredder, &payload);
        let arrivals = world.arrivals(&shredded);
        for burst in [1usize, 16, 64] {
            let receive = |mut node: Reassembly| {
                for part in arrivals.chunks(burst) {
                    let mut incoming: Vec<_> = part.iter().map(|(from, bytes)| Incoming::new(*from, false, bytes)).collect();
                    node.on_shreds(Nanos(0), &world.members.roster, &mut incoming, |_, result| assert!(result.is_ok(), "{result:?}"));
                }
                assert!(node.poll_event().is_some(), "the block is whole");
                node
            };
            group.bench_function(BenchmarkId::new("receive_in_bursts_of", burst), |b| {
                b.iter_batched(|| world.node(), receive, BatchSize::LargeInput);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, hashing, blocks);
criterion_main!(benches);
