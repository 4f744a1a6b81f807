//! The bare code against `reed-solomon-simd`: 1,024 B chunks, no tree, no copy of what is there already.
//!
//! Both sides are used at their best: encoder and decoder objects kept from operation to operation, the rival's results read where they lie.
//! The rival takes its inputs into its own memory and keeps its results there; we read the inputs where they are and write the results to
//! the caller. `encode_32_32` is 32 data and 32 parity chunks, `encode_32_65`
//! 32 data chunks of 65 in all. "Most" lost is as many as there is parity.

use super::Row;
use super::measure::{Effort, compare};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use samara_erasure::{Chunk, Code};
use samara_types::CHUNK_BYTES;
use std::hint::black_box;

/// Data and parity chunks.
const SHAPES: [(usize, usize); 15] = [
    (1, 1),
    (2, 2),
    (2, 31),
    (4, 6),
    (8, 8),
    (16, 16),
    (28, 28),
    (32, 16),
    (32, 32),
    (32, 33),
    (32, 64),
    (32, 96),
    (64, 64),
    (100, 50),
    (128, 128),
];

/// The rows. A digest of everything computed goes to stderr: the same with every engine.
pub fn rows(effort: Effort) -> Vec<Row> {
    let mut results = blake3::Hasher::new();
    let rows = SHAPES.into_iter().flat_map(|(data, parity)| shape_rows(effort, data, parity, &mut results)).collect();
    eprintln!("erasure: results {}", results.finalize().to_hex());
    rows
}

fn shape_rows(effort: Effort, data: usize, parity: usize, results: &mut blake3::Hasher) -> Vec<Row> {
    let mut bench = Bench::new(data, parity);
    let most = data.min(parity);
    let losses = [(most, if most == data { "all" } else { "most" }), (most / 2, "half"), (1, "one"), (0, "none")];
    let mut rows = vec![bench.encode(effort)];
    results.update(bench.parity.as_flattened());
    for (at, (lost, name)) in losses.into_iter().enumerate() {
        // In a small shape some of them are the same.
        if losses[..at].iter().all(|(before, _)| *before > lost) && (lost > 0 || name == "none") {
            let (row, restored) = bench.decode(effort, lost, name);
            results.update(restored.as_flattened());
            rows.push(row);
        }
    }
    rows
}

/// One shape with a code word of it.
struct Bench {
    data: Vec<Chunk>,
    parity: Vec<Chunk>,
    code: Code,
}

impl Bench {
    fn new(data: usize, parity: usize) -> Bench {
        let mut reader = blake3::Hasher::new().update(b"samara bench erasure").finalize_xof();
        let mut data = vec![[0; CHUNK_BYTES]; data];
        data.iter_mut().for_each(|chunk| reader.fill(chunk));
        let mut bench = Bench { data, parity: vec![[0; CHUNK_BYTES]; parity], code: Code::default() };
        bench.code.encode(&bench.data, &mut bench.parity);
        bench
    }

    fn name(&self, operation: &str) -> String {
        // The second number of a row is the parity where it equals the data, and the total where it does not ("32 of 65").
        let (data, parity) = (self.data.len(), self.parity.len());
        format!("{operation}_{data}_{}", if data == parity { parity } else { data + parity })
    }

    fn row(&self, name: String, pair: super::measure::Pair) -> Row {
        Row::new(name, "reed-solomon-simd", (self.data.len() * CHUNK_BYTES) as u64, pair)
    }

    fn encode(&mut self, effort: Effort) -> Row {
        let Bench { data, parity, code } = self;
        let mut encoder = ReedSolomonEncoder::new(data.len(), parity.len(), CHUNK_BYTES).expect("a supported shape");
        rival_encode(&mut encoder, data, |rival| {
            assert!(rival.eq(parity.iter().map(<[u8; CHUNK_BYTES]>::as_slice)), "both sides compute the same parity");
        });
        let pair = compare(
            effort,
            || {
                code.encode(black_box(data), parity);
                parity[0][0]
            },
            || {
                rival_encode(&mut encoder, black_box(data), |result| {
                    black_box(result);
                })
            },
        );
        self.row(self.name("encode"), pair)
    }

    /// The first `lost` data chunks are missing; as many parity chunks are there. Returns the data as restored, too.
    fn decode(&mut self, effort: Effort, lost: usize, loss: &str) -> (Row, Vec<Chunk>) {
        let Bench { data, parity, code } = self;
        let mut decoder = ReedSolomonDecoder::new(data.len(), parity.len(), CHUNK_BYTES).expect("a supported shape");
        let received: Vec<Option<&Chunk>> = parity.iter().enumerate().map(|(at, chunk)| (at < lost).then_some(chunk)).collect();
        let mut restored = data.clone();
        restored[..lost].fill([0xa5; CHUNK_BYTES]);
        code.restore(&mut restored, |index| index >= lost, &received).expect("as many chunks as data");
        assert!(restored == *data, "the lost data comes back");
        rival_decode(&mut decoder, data, lost, parity, |rival| {
            assert!(rival.eq(data.iter().take(lost).enumerate().map(|(at, chunk)| (at, chunk.as_slice()))), "the rival restores the same");
        });
        let pair = compare(
            effort,
            || {
                code.restore(black_box(&mut restored), |index| index >= lost, black_box(&received)).expect("as many chunks as data");
                restored[0][0]
            },
            || {
                rival_decode(&mut decoder, black_box(data), lost, black_box(parity), |result| {
                    black_box(result);
                })
            },
        );
        (self.row(format!("{}_{loss}_lost", self.name("decode")), pair), restored)
    }
}

fn rival_encode(encoder: &mut ReedSolomonEncoder, data: &[Chunk], read: impl FnOnce(reed_solomon_simd::Recovery<'_>)) {
    data.iter().for_each(|chunk| encoder.add_original_shard(chunk).expect("as many chunks as announced"));
    let result = encoder.encode().expect("all chunks were added");
    read(result.recovery_iter());
}

fn rival_decode(
    decoder: &mut ReedSolomonDecoder,
    data: &[Chunk],
    lost: usize,
    parity: &[Chunk],
    read: impl FnOnce(reed_solomon_simd::RestoredOriginal<'_>),
) {
    for (index, chunk) in data.iter().enumerate().skip(lost) {
        decoder.add_original_shard(index, chunk).expect("each index once");
    }
    for (index, chunk) in parity.iter().enumerate().take(lost) {
        decoder.add_recovery_shard(index, chunk).expect("each index once");
    }
    let result = decoder.decode().expect("as many chunks as data");
    read(result.restored_original_iter());
}
