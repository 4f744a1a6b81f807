//! Rotor's pipeline against the same job done with `reed-solomon-simd` and a SHA-256 tree of 1 KiB leaves.
//!
//! Ours are the functions that a validator runs: coder, signed slices, gathering, and a whole `Reassembly` that receives a block of 1 MiB as one
//! of six validators. The `rival` encodes, hashes, signs with the same Ed25519, checks every path, verifies one signature a slice, decodes,
//! encodes again and compares roots; it checks neither header, window, seat nor repeats, so the comparison favours it.
//!
//! | row | one operation |
//! |---|---|
//! | `shred_32k` | 32 KiB to 64 signed shreds, written as messages |
//! | `deshred_32k_*` | 32 verified chunks of 64 to the slice, encoded again and compared with the root |
//! | `admit_first` | the first shred of a slice, with the leader's signature |
//! | `admit_single`, `admit_burst16` | a later shred of a known slice, alone and as one of sixteen of four slices |
//! | `block_1m`, `block_1m_<stage>` | a block of 1 MiB from payload to messages to the whole block; stages: `shred`, `write`, `first` (each slice's first shred), `admit` (the later ones, in bursts of 16), `decode` (each slice's last needed one), `assemble` (the one that completes the block) |

mod pipeline;
mod rival;

use super::Row;
use super::measure::{Effort, Pair, compare};
use pipeline::{Stage, World};
use rival::RivalSlice;
use samara_crypto::IdentitySecret;
use samara_erasure::{CodeWord, Coder, Gathering, Leaf};
use samara_rotor::SignedSlice;
use samara_types::{BlockHeader, ChainId, Digest, Epoch, Height, ShredIndex, SigningDomain, SliceIndex, ValidatorIndex, View};
use std::hint::black_box;

const RIVAL: &str = "sha2 tree + reed-solomon-simd";
const SLICE_BYTES: usize = 32 * 1024;
/// Runs of the whole pipeline whose median counts; odd.
const RUNS: usize = 15;

/// The rows. A digest of the shreds of one slice goes to stderr: the same with every engine.
pub fn rows(effort: Effort) -> Vec<Row> {
    let mut rows = vec![shred(effort)];
    for (name, lost) in [("all_lost", 32), ("half_lost", 16), ("none_lost", 0)] {
        rows.push(deshred(effort, name, lost));
    }
    rows.extend(block(effort));
    rows
}

fn slice_payload() -> Vec<u8> {
    let mut payload = vec![0; SLICE_BYTES];
    blake3::Hasher::new().update(b"samara bench shred").finalize_xof().fill(&mut payload);
    payload
}

fn shred(effort: Effort) -> Row {
    let (payload, secret) = (slice_payload(), IdentitySecret::from_bytes(&[7; 32]));
    let domain = SigningDomain { chain: ChainId([5; 32]), epoch: Epoch(0) };
    let header = BlockHeader {
        view: View(4),
        parent_view: View(3),
        parent_digest: Digest([3; 32]),
        height: Height(4),
        timestamp_ns: 0,
        payload_length: SLICE_BYTES as u32,
        leader: ValidatorIndex(0),
        payload_digest: Digest([4; 32]),
    };
    let (mut coder, mut out, mut rival_out) = (Coder::new(), Vec::new(), Vec::new());
    let mut codec = rival::Codec::default();
    let ours = || {
        let word = coder.encode(black_box(&payload), 32, 64);
        let slice = SignedSlice::sign(&header, SliceIndex(0), true, word, &secret, &domain);
        out.clear();
        (0..64).for_each(|index| slice.write_shred(ShredIndex(index), &mut out));
        out.len()
    };
    let rivals = || {
        let slice = RivalSlice::sign(&mut codec, black_box(&payload), 32, 64, |root| secret.sign(&root));
        rival_out.clear();
        (0..64).for_each(|index| slice.write_shred(index, &mut rival_out));
        rival_out.len()
    };
    let pair = compare(effort, ours, rivals);
    eprintln!("shred: results {}", blake3::hash(&out).to_hex());
    Row::new("shred_32k", RIVAL, SLICE_BYTES as u64, pair)
}

fn deshred(effort: Effort, name: &str, lost: u8) -> Row {
    let payload = slice_payload();
    let (mut coder, mut codec) = (Coder::new(), rival::Codec::default());
    let word = coder.encode(&payload, 32, 64);
    let gathered = gather(&word, lost);
    let rival = RivalSlice::sign(&mut codec, &payload, 32, 64, |_| [0; 64]);
    let received: Vec<(usize, &[u8])> = (usize::from(lost)..usize::from(lost) + 32).map(|index| (index, rival.chunk(index))).collect();
    assert_eq!(gathered.clone().finish(&mut coder).expect("a code word").into_payload(), payload);
    assert_eq!(rival::deshred(&mut codec, &received, 32, 64, &rival.root), Some(payload.clone()));
    // The copy of the gathering stands for its allocation, which a receiver makes once a slice.
    let ours = || black_box(&gathered).clone().finish(&mut coder).expect("a code word").into_payload();
    let rivals = || rival::deshred(&mut codec, black_box(&received), 32, 64, &rival.root).expect("a code word");
    Row::new(format!("deshred_32k_{name}"), RIVAL, SLICE_BYTES as u64, compare(effort, ours, rivals))
}

/// Chunks `lost..lost + 32`, verified.
fn gather(word: &CodeWord, lost: u8) -> Gathering {
    let mut gathering = Gathering::new(word.shape(), word.root());
    for index in (lost..lost + 32).map(ShredIndex) {
        let mut proof = Vec::new();
        word.write_proof(index, &mut proof);
        let leaf = Leaf::of(word.chunk(index), index, word.shape().total);
        assert!(gathering.check(index, &leaf, &proof) && gathering.insert(index, word.chunk(index)));
    }
    gathering
}

/// Runs both pipelines again and again, and makes each row of the medians of its stage.
fn block(effort: Effort) -> Vec<Row> {
    let world = World::new();
    let runs = if effort == Effort::Smoke { 1 } else { RUNS };
    let (mut ours, mut rivals) = (Vec::new(), Vec::new());
    for run in 0..runs {
        // Who goes first alternates, as in `compare`.
        if run % 2 == 0 {
            ours.push(world.ours(16));
        }
        rivals.push(world.rival());
        if run % 2 == 1 {
            ours.push(world.ours(16));
        }
    }
    let alone: Vec<_> = (0..runs).map(|_| world.ours(1)).collect();
    let row = |name: &str, bytes: u64, ours_ns: f64, rival_ns: f64| Row::new(name, RIVAL, bytes, Pair { ours_ns, rival_ns });
    let (single, burst) = (median_of(&alone, |run| run.per_later_shred()), median_of(&ours, |run| run.per_later_shred()));
    let later = median_of(&rivals, |run| run.per_later_shred());
    let block_bytes = pipeline::PAYLOAD_BYTES as u64;
    let mut rows = vec![
        row("admit_first", 1024, median_of(&ours, |run| run.per_first_shred()), median_of(&rivals, |run| run.per_first_shred())),
        row("admit_single", 1024, single, later),
        row("admit_burst16", 1024, burst, later),
        row("block_1m", block_bytes, median_of(&ours, |run| run.total()), median_of(&rivals, |run| run.total())),
    ];
    for stage in Stage::ALL {
        let name = format!("block_1m_{}", stage.as_str());
        rows.push(row(&name, block_bytes, median_of(&ours, |run| run.of(stage)), median_of(&rivals, |run| run.of(stage))));
    }
    rows
}

fn median_of(runs: &[pipeline::Times], figure: impl Fn(&pipeline::Times) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_there_and_both_sides_come_to_the_same_block() {
        let rows = rows(Effort::Smoke);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let expected = [
            "shred_32k",
            "deshred_32k_all_lost",
            "deshred_32k_half_lost",
            "deshred_32k_none_lost",
            "admit_first",
            "admit_single",
            "admit_burst16",
            "block_1m",
            "block_1m_shred",
            "block_1m_write",
            "block_1m_first",
            "block_1m_admit",
            "block_1m_decode",
            "block_1m_assemble",
        ];
        assert_eq!(names, expected);
        assert!(rows.iter().all(|row| row.ours_ns > 0.0 && row.rival_ns > 0.0));
    }
}
