//! A block of 1 MiB through both pipelines, as the first of five relays receives it.
//!
//! Arrival: of each slice a fixed random half of the shreds, data and parity mixed, four slices at a time interleaved as relays interleave
//! them. First every slice's first shred, then the later ones in bursts, then the shred that completes each slice, then the last.

use super::rival::{Codec, RivalSlice, deshred, root_from_shred};
use samara_crypto::{Keyring, Roster};
use samara_rotor::{Event, Incoming, Plan, Planner, Reassembly, ReassemblyConfig, RelayTable, ShreddedBlock, Shredder};
use samara_types::block::payload_digest;
use samara_types::shred::CODE_GF16;
use samara_types::{
    BLOCK_HEADER_BYTES, BlockHeader, CHUNK_BYTES, ChainId, Digest, Epoch, Height, LeaderSchedule, Nanos, Params, ShredIndex, SigningDomain,
    SliceCommitment, SliceIndex, Stake, ValidatorEntry, ValidatorIndex, ValidatorSet, View,
};
use sha2::{Digest as _, Sha256};
use std::hint::black_box;
use std::time::Instant;

/// Payload of the block.
pub const PAYLOAD_BYTES: usize = 1 << 20;
const VALIDATORS: usize = 6;
const BEACON: Digest = Digest([1; 32]);
const VIEW: View = View(4);
/// Frames brought into the cache at a time, as many as a reactor's burst: 85 KB. Not timed, on either side.
const HOT: usize = 64;

/// Where the time of a block goes.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub enum Stage {
    Shred = 0,
    Write = 1,
    First = 2,
    Admit = 3,
    Decode = 4,
    Assemble = 5,
}

impl Stage {
    pub const ALL: [Stage; 6] = [Stage::Shred, Stage::Write, Stage::First, Stage::Admit, Stage::Decode, Stage::Assemble];

    pub fn as_str(self) -> &'static str {
        ["shred", "write", "first", "admit", "decode", "assemble"][self as usize]
    }
}

/// One run's times.
pub struct Times {
    ns: [f64; Stage::ALL.len()],
    slices: usize,
    later: usize,
}

impl Times {
    pub fn of(&self, stage: Stage) -> f64 {
        self.ns[stage as usize]
    }

    pub fn total(&self) -> f64 {
        self.ns.iter().sum()
    }

    pub fn per_first_shred(&self) -> f64 {
        self.of(Stage::First) / self.slices as f64
    }

    pub fn per_later_shred(&self) -> f64 {
        self.of(Stage::Admit) / self.later as f64
    }
}

/// A shred that arrives: slice, index, by whom.
type Arrival = (usize, ShredIndex, ValidatorIndex);

/// The arrivals of a block by stage: first of each slice, later ones, those that complete a slice, the one that completes the block.
struct Order {
    stages: [Vec<Arrival>; 4],
}

/// A cluster and a payload.
pub struct World {
    keys: Vec<Keyring>,
    roster: Roster,
    schedule: LeaderSchedule,
    params: Params,
    payload: Vec<u8>,
    header: BlockHeader,
    me: ValidatorIndex,
}

impl World {
    pub fn new() -> World {
        let keys: Vec<Keyring> = (0..VALIDATORS).map(|_| Keyring::generate()).collect();
        let entry = |keys: &Keyring| ValidatorEntry {
            stake: Stake(1),
            vote_key: keys.vote.public_key(),
            possession: keys.vote.possession(),
            identity_key: keys.identity.public_key(),
            session_key: keys.session.public_key(),
        };
        let set = ValidatorSet::new(keys.iter().map(entry).collect(), None).expect("a valid set");
        let schedule = LeaderSchedule::new(&set, &Digest([9; 32]), Epoch(0));
        let roster = Roster::new(set, SigningDomain { chain: ChainId([5; 32]), epoch: Epoch(0) }).expect("good keys");
        let leader = schedule.leader(VIEW);
        let mut payload = vec![0; PAYLOAD_BYTES];
        blake3::Hasher::new().update(b"samara bench block").finalize_xof().fill(&mut payload);
        let header = BlockHeader {
            view: VIEW,
            parent_view: VIEW.previous(),
            parent_digest: Digest([3; 32]),
            height: Height(4),
            timestamp_ns: 0,
            payload_length: PAYLOAD_BYTES as u32,
            leader,
            payload_digest: payload_digest(&payload),
        };
        let me = ValidatorIndex((leader.0 + 1) % VALIDATORS as u16);
        World { keys, roster, schedule, params: Params::default(), payload, header, me }
    }

    fn planner(&self) -> Planner {
        Planner::new(&self.params, self.roster.set())
    }

    fn order(&self) -> Order {
        let plan = self.planner().plan(self.header.block_bytes()).expect("a plan for this size");
        let mut table = RelayTable::new(self.roster.set(), BEACON);
        let mut stages: [Vec<Arrival>; 4] = Default::default();
        for first in (0..plan.slices()).step_by(4) {
            let mut later = Vec::new();
            for slice in first..plan.slices().min(first + 4) {
                let index = SliceIndex(slice as u16);
                let shape = plan.shape(index);
                let seats = table.seats(VIEW, index, self.header.leader, shape.total);
                let mut shreds: Vec<u8> = (0..shape.total).collect();
                shuffle(&mut shreds, slice as u64);
                let arrivals = shreds.into_iter().take(shape.data.into()).map(|shred| {
                    let holder = seats.holder(ShredIndex(shred)).expect("a seat for every shred");
                    (slice, ShredIndex(shred), if holder == self.me { self.header.leader } else { holder })
                });
                let mut arrivals: Vec<Arrival> = arrivals.collect();
                stages[2].extend(arrivals.pop());
                if !arrivals.is_empty() {
                    stages[0].push(arrivals.remove(0));
                }
                later.append(&mut arrivals);
            }
            shuffle(&mut later, first as u64);
            stages[1].append(&mut later);
        }
        let last = stages[2].pop();
        stages[3].extend(last);
        Order { stages }
    }

    /// Our pipeline, admitting `burst` shreds at a time.
    pub fn ours(&self, burst: usize) -> Times {
        let order = self.order();
        let mut shredder = Shredder::new(self.planner(), *self.roster.domain());
        let payload = self.payload.clone();
        let secret = &self.keys[self.header.leader.at()].identity;
        let mut clock = Lap::new();
        let shredded = shredder.shred(self.header, payload, secret).expect("a plan for this size");
        let shred = clock.lap();
        let mut scratch = Vec::new();
        for slice in &shredded.slices {
            for index in (0..slice.commitment.shape.total).map(ShredIndex) {
                scratch.clear();
                slice.write_shred(index, &mut scratch);
                black_box(&scratch);
            }
        }
        let write = clock.lap();
        let config = ReassemblyConfig::new(self.me, self.params, self.roster.set());
        let mut node = Reassembly::new(config, self.roster.set(), self.schedule.clone(), BEACON);
        self.warm(&mut shredder, &mut node);
        let received = order.stages.each_ref().map(|arrivals| messages(&shredded, arrivals));
        let mut hot = Hot::default();
        let admitted = received.map(|messages| {
            let mut ns = 0.0;
            for part in messages.chunks(HOT) {
                hot.fill(part.iter().map(|(_, bytes)| &bytes[..]));
                clock.lap();
                for (at, frames) in part.chunks(burst).enumerate() {
                    let mut incoming = [Incoming::new(ValidatorIndex(0), false, &[]); HOT];
                    for (i, (from, _)) in frames.iter().enumerate() {
                        incoming[i] = Incoming::new(*from, false, hot.frame(at * burst + i));
                    }
                    let check = |_, result: Result<_, _>| assert!(result.is_ok(), "{result:?}");
                    node.on_shreds(Nanos(0), &self.roster, &mut incoming[..frames.len()], check);
                }
                ns += clock.lap();
            }
            ns
        });
        let whole =
            std::iter::from_fn(|| node.poll_event()).any(|event| matches!(event, Event::Block(block, _) if block == shredded.block));
        assert!(whole, "the block is whole");
        times(shred, write, admitted, &order)
    }

    /// Lets the node take a block of a later view before, so that it is measured as it runs: with memory it has used.
    fn warm(&self, shredder: &mut Shredder, node: &mut Reassembly) {
        let mut later = (VIEW.0 + 1..).map(View).filter(|view| self.schedule.leader(*view) != self.me);
        let view = later.next().expect("others lead too");
        let leader = self.schedule.leader(view);
        let header = BlockHeader { view, parent_view: VIEW, leader, ..self.header };
        let secret = &self.keys[leader.at()].identity;
        let shredded = shredder.shred(header, self.payload.clone(), secret).expect("a plan for this size");
        let mut table = RelayTable::new(self.roster.set(), BEACON);
        for slice in &shredded.slices {
            let SliceCommitment { slice: at, shape, .. } = slice.commitment;
            let seats = table.seats(view, at, leader, shape.total);
            for index in (0..shape.data).map(ShredIndex) {
                let holder = seats.holder(index).expect("a seat for every shred");
                let mut message = Vec::new();
                slice.write_shred(index, &mut message);
                let from = if holder == self.me { leader } else { holder };
                node.on_shred(Nanos(0), &self.roster, from, false, &message).expect("a good shred");
            }
        }
        let whole = std::iter::from_fn(|| node.poll_event()).any(|event| matches!(event, Event::Block(..)));
        assert!(whole, "the later block is whole");
    }

    /// The rival's.
    pub fn rival(&self) -> Times {
        let order = self.order();
        let plan = self.planner().plan(self.header.block_bytes()).expect("a plan for this size");
        let secret = &self.keys[self.header.leader.at()].identity;
        let mut codec = Codec::default();
        let mut clock = Lap::new();
        let bytes = [&self.header.to_bytes()[..], &self.payload].concat();
        let slices: Vec<RivalSlice> = (0..plan.slices() as u16)
            .map(|slice| {
                let (shape, part) = (plan.shape(SliceIndex(slice)), &bytes[plan.range(SliceIndex(slice))]);
                let sign = |root| secret.sign(&commitment(&plan, slice, root).signing_bytes(self.roster.domain()));
                RivalSlice::sign(&mut codec, part, shape.data.into(), shape.total.into(), sign)
            })
            .collect();
        let digest: [u8; 32] = Sha256::digest(&self.payload).into();
        let shred = clock.lap();
        let mut scratch = Vec::new();
        let shapes: Vec<_> = (0..plan.slices() as u16).map(|slice| plan.shape(SliceIndex(slice))).collect();
        for (slice, shape) in slices.iter().zip(&shapes) {
            for index in 0..usize::from(shape.total) {
                scratch.clear();
                slice.write_shred(index, &mut scratch);
                black_box(&scratch);
            }
        }
        let write = clock.lap();
        let mut held: Vec<Held> = shapes.iter().map(|shape| Held::new(shape.data.into())).collect();
        let mut block = Vec::new();
        let admitted = order.stages.each_ref().map(|arrivals| {
            let messages: Vec<Vec<u8>> = arrivals.iter().map(|(slice, index, _)| written(&slices[*slice], *index)).collect();
            let mut hot = Hot::default();
            let mut ns = 0.0;
            for (part, written) in arrivals.chunks(HOT).zip(messages.chunks(HOT)) {
                hot.fill(written.iter().map(|bytes| &bytes[..]));
                clock.lap();
                for (i, (at, index, _)) in part.iter().enumerate() {
                    let (shape, held, message) = (&shapes[*at], &mut held[*at], hot.frame(i));
                    let root = root_from_shred(message, index.at(), shape.total.into());
                    if held.indexes.is_empty() {
                        let claimed = commitment(&plan, *at as u16, root);
                        assert!(self.roster.verify_slice(self.header.leader, &claimed, &slices[*at].signature), "the leader signed it");
                        held.root = root;
                    }
                    assert_eq!(root, held.root);
                    held.chunks[held.indexes.len() * CHUNK_BYTES..][..CHUNK_BYTES].copy_from_slice(&message[message.len() - CHUNK_BYTES..]);
                    held.indexes.push(index.at());
                    if held.indexes.len() == usize::from(shape.data) {
                        let chunks: Vec<(usize, &[u8])> = held.indexes.iter().copied().zip(held.chunks.chunks(CHUNK_BYTES)).collect();
                        held.slice = deshred(&mut codec, &chunks, shape.data.into(), shape.total.into(), &root);
                    }
                }
                ns += clock.lap();
            }
            clock.lap();
            if held.iter().all(|held| held.slice.is_some()) {
                let parts: Vec<&[u8]> = held.iter().filter_map(|held| held.slice.as_deref()).collect();
                block = parts.concat();
                block.truncate(bytes.len());
                block.drain(..BLOCK_HEADER_BYTES);
                assert_eq!(<[u8; 32]>::from(Sha256::digest(&block)), digest);
            }
            ns + clock.lap()
        });
        assert!(block == self.payload, "the block is whole");
        times(shred, write, admitted, &order)
    }
}

/// Frames as a receiver has them: just decrypted in place, so in the cache.
#[derive(Default)]
struct Hot {
    frames: Vec<u8>,
    ends: Vec<usize>,
}

impl Hot {
    fn fill<'a>(&mut self, messages: impl Iterator<Item = &'a [u8]>) {
        self.frames.clear();
        self.ends.clear();
        for message in messages {
            self.frames.extend_from_slice(message);
            self.ends.push(self.frames.len());
        }
    }

    fn frame(&self, at: usize) -> &[u8] {
        &self.frames[at.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[at]]
    }
}

/// What the rival holds of a slice, in memory it has used.
struct Held {
    root: [u8; 32],
    indexes: Vec<usize>,
    chunks: Vec<u8>,
    slice: Option<Vec<u8>>,
}

impl Held {
    fn new(data: usize) -> Held {
        Held { root: [0; 32], indexes: Vec::with_capacity(data), chunks: vec![1; data * CHUNK_BYTES], slice: None }
    }
}

/// What the leader signs for a slice of `plan` with the rival's root.
fn commitment(plan: &Plan, slice: u16, root: [u8; 32]) -> SliceCommitment {
    let slice = SliceIndex(slice);
    SliceCommitment { view: VIEW, slice, last: slice == plan.last(), shape: plan.shape(slice), code: CODE_GF16, root: Digest(root) }
}

fn messages(shredded: &ShreddedBlock, arrivals: &[Arrival]) -> Vec<(ValidatorIndex, Vec<u8>)> {
    let message = |(slice, index, from): &Arrival| {
        let mut bytes = Vec::new();
        shredded.slices[*slice].write_shred(*index, &mut bytes);
        (*from, bytes)
    };
    arrivals.iter().map(message).collect()
}

fn written(slice: &RivalSlice, index: ShredIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    slice.write_shred(index.at(), &mut bytes);
    bytes
}

fn times(shred: f64, write: f64, admitted: [f64; 4], order: &Order) -> Times {
    let [first, admit, decode, assemble] = admitted;
    Times { ns: [shred, write, first, admit, decode, assemble], slices: order.stages[0].len(), later: order.stages[1].len() }
}

/// Fisher-Yates by a small generator: the same order in every run.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for last in (1..items.len()).rev() {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        items.swap(last, (state >> 33) as usize % (last + 1));
    }
}

/// Nanoseconds from one call to the next.
struct Lap(Instant);

impl Lap {
    fn new() -> Lap {
        Lap(Instant::now())
    }

    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let ns = (now - self.0).as_nanos() as f64;
        self.0 = now;
        ns
    }
}
