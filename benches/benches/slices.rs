//! A slice of 32 KiB through the code, against the bare code of `reed-solomon-simd` without tree, check or signature.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use samara_erasure::Coder;
use samara_types::ShredIndex;
use std::hint::black_box;

const DATA: u8 = 32;
const TOTAL: u8 = 64;

fn slices(c: &mut Criterion) {
    let payload: Vec<u8> = (0..32 * 1024).map(|i| (i * 31 % 251) as u8).collect();
    let mut coder = Coder::new();
    let word = coder.encode(&payload, DATA, TOTAL);
    let (shape, root) = (word.shape(), word.root());
    let mut group = c.benchmark_group("slice_32k");
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("encode", |b| b.iter(|| coder.encode(black_box(&payload), DATA, TOTAL)));
    let parity: Vec<_> = (DATA..TOTAL).map(|i| (ShredIndex(i), word.chunk(ShredIndex(i)))).collect();
    group.bench_function("decode_all_data_lost", |b| b.iter(|| coder.decode(shape, &root, black_box(&parity)).expect("enough")));
    let data: Vec<_> = (0..DATA).map(|i| (ShredIndex(i), word.chunk(ShredIndex(i)))).collect();
    group.bench_function("decode_nothing_lost", |b| b.iter(|| coder.decode(shape, &root, black_box(&data)).expect("enough")));
    group.bench_function("rival_encode", |b| {
        b.iter(|| reed_solomon_simd::encode(32, 32, black_box(payload.chunks(1024))).expect("a known shape"));
    });
    group.bench_function("rival_decode_all_data_lost", |b| {
        let recovery: Vec<_> = parity.iter().enumerate().map(|(at, (_, chunk))| (at, *chunk)).collect();
        b.iter(|| reed_solomon_simd::decode(32, 32, std::iter::empty::<(usize, &[u8])>(), black_box(recovery.clone())).expect("enough"));
    });
    group.finish();
    let mut proof = Vec::new();
    word.write_proof(ShredIndex(40), &mut proof);
    let chunk = word.chunk(ShredIndex(40));
    c.bench_function("path_64", |b| b.iter(|| samara_erasure::root_from_path(black_box(chunk), ShredIndex(40), TOTAL, &proof)));
}

criterion_group!(benches, slices);
criterion_main!(benches);
