//! The code and the slices made of it: each engine beside the others and beside the rival, per shape.

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use samara_erasure::{Chunk, Code, Coder, Engine};
use samara_types::ShredIndex;
use std::hint::black_box;

/// Data and parity chunks: slices of a localnet, the default, and the larger ones of the contract.
const SHAPES: [(usize, usize); 6] = [(8, 8), (28, 28), (32, 16), (32, 32), (32, 33), (128, 128)];

fn data_of(count: usize) -> Vec<Chunk> {
    (0..count).map(|chunk| std::array::from_fn(|at| (chunk * 31 + at * 7 + at / 251) as u8)).collect()
}

/// The bare code.
fn codes(c: &mut Criterion) {
    for (data, parity) in SHAPES {
        let chunks = data_of(data);
        let mut word = chunks.clone();
        word.resize(data + parity, [0; 1024]);
        let (from, to) = word.split_at_mut(data);
        Code::default().encode(from, to);
        let mut group = c.benchmark_group(format!("code_{data}_{parity}"));
        group.throughput(Throughput::Bytes((data * 1024) as u64));
        for engine in Engine::available() {
            code_rows(&mut group, engine, &word, data);
        }
        rival_rows(&mut group, &word, data);
        group.finish();
    }
}

fn code_rows(group: &mut BenchmarkGroup<'_, WallTime>, engine: Engine, word: &[Chunk], data: usize) {
    let mut code = Code::new(engine);
    let (chunks, parity) = word.split_at(data);
    let mut out = parity.to_vec();
    group.bench_function(BenchmarkId::new("encode", engine), |b| b.iter(|| code.encode(black_box(chunks), &mut out)));
    assert!(out == parity, "the engines agree");
    for lost in [data.min(parity.len()), 1] {
        let received: Vec<Option<&Chunk>> = parity.iter().enumerate().map(|(at, chunk)| (at < lost).then_some(chunk)).collect();
        let mut restored = chunks.to_vec();
        group.bench_function(BenchmarkId::new(format!("restore_{lost}"), engine), |b| {
            b.iter(|| code.restore(black_box(&mut restored), |at| at >= lost, &received).expect("enough"));
        });
        assert!(restored == chunks, "what was lost is back");
    }
}

fn rival_rows(group: &mut BenchmarkGroup<'_, WallTime>, word: &[Chunk], data: usize) {
    let parity = word.len() - data;
    let mut encoder = ReedSolomonEncoder::new(data, parity, 1024).expect("a supported shape");
    group.bench_function(BenchmarkId::new("encode", "rival"), |b| {
        b.iter(|| {
            word[..data].iter().for_each(|chunk| encoder.add_original_shard(black_box(chunk)).expect("as announced"));
            encoder.encode().expect("all were added").recovery_iter().count()
        });
    });
    let lost = data.min(parity);
    let mut decoder = ReedSolomonDecoder::new(data, parity, 1024).expect("a supported shape");
    group.bench_function(BenchmarkId::new(format!("restore_{lost}"), "rival"), |b| {
        b.iter(|| {
            (lost..data).for_each(|at| decoder.add_original_shard(at, black_box(&word[at])).expect("in range"));
            (0..lost).for_each(|at| decoder.add_recovery_shard(at, black_box(&word[data + at])).expect("in range"));
            decoder.decode().expect("enough").restored_original_iter().count()
        });
    });
}

/// A slice of 32 KiB with its tree, and the check by encoding again.
fn slices(c: &mut Criterion) {
    const DATA: u8 = 32;
    const TOTAL: u8 = 64;
    let payload = data_of(DATA.into()).into_flattened();
    let mut group = c.benchmark_group("slice_32k");
    group.throughput(Throughput::Bytes(payload.len() as u64));
    for engine in Engine::available() {
        let mut coder = Coder::with_engine(engine);
        let word = coder.encode(&payload, DATA, TOTAL);
        let (shape, root) = (word.shape(), word.root());
        group.bench_function(BenchmarkId::new("encode", engine), |b| b.iter(|| coder.encode(black_box(&payload), DATA, TOTAL)));
        for (name, first) in [("decode_all_data_lost", DATA), ("decode_nothing_lost", 0)] {
            let chunks: Vec<_> = (first..first + DATA).map(|i| (ShredIndex(i), word.chunk(ShredIndex(i)))).collect();
            let decode = |coder: &mut Coder| coder.decode(shape, &root, black_box(&chunks)).expect("a code word");
            group.bench_function(BenchmarkId::new(name, engine), |b| b.iter(|| decode(&mut coder)));
        }
    }
    group.finish();
    let word = Coder::new().encode(&payload, DATA, TOTAL);
    let mut proof = Vec::new();
    word.write_proof(ShredIndex(40), &mut proof);
    let chunk = word.chunk(ShredIndex(40));
    c.bench_function("path_64", |b| b.iter(|| samara_erasure::root_from_path(black_box(chunk), ShredIndex(40), TOTAL, &proof)));
}

criterion_group!(benches, codes, slices);
criterion_main!(benches);
