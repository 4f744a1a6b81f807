//! From votes to a certificate, certificates alone and in runs, batches of transactions. `samara bench verify` sets the same beside rivals.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use samara_benches::Members;
use samara_crypto::{IdentitySecret, KeySum, TransactionVerifier, ViewBook, sign_transaction};
use samara_types::message::{ArchivedCertificate, CertificateKind, access, encode};
use samara_types::{Digest, Subject, Transaction, ValidatorIndex, View};
use std::hint::black_box;

const VIEW: View = View(9);

fn vote(byte: u8) -> Subject {
    Subject::Vote(VIEW, Digest([byte; 32]))
}

fn book(members: &Members, voters: u16, bad: impl Fn(u16) -> bool) -> ViewBook {
    let mut book = ViewBook::new(VIEW, members.votes.len());
    for signer in 0..voters {
        let signature = members.votes[usize::from(signer)].sign(members.roster.domain(), &vote(if bad(signer) { 4 } else { 3 }));
        book.add(vote(3), ValidatorIndex(signer), signature);
    }
    book
}

fn votes(c: &mut Criterion) {
    for (validators, voters) in [(6u8, 5u16), (128, 103), (128, 128)] {
        let members = Members::new(validators);
        let mut group = c.benchmark_group(format!("votes_{voters}_of_{validators}"));
        group.sample_size(20);
        for (name, step) in [("good", None), ("one_bad", Some(200)), ("a_third_bad", Some(3))] {
            let filled = book(&members, voters, |signer| step.is_some_and(|step| signer % step == 1));
            let settle = |mut book: ViewBook| {
                book.settle(&members.roster, &vote(3));
                book.certificate(&members.roster, &vote(3), CertificateKind::M).expect("enough good ones")
            };
            group.bench_function(name, |b| b.iter_batched(|| filled.clone(), settle, BatchSize::SmallInput));
        }
        group.bench_function("sign", |b| b.iter(|| members.votes[0].sign(members.roster.domain(), black_box(&vote(3)))));
        group.finish();
    }
}

fn certificates(c: &mut Criterion) {
    let members = Members::new(128);
    let certificate = |at: u16| {
        let subject = Subject::Vote(View(at.into()), Digest([3; 32]));
        let mut book = ViewBook::new(subject.view(), 128);
        for signer in (at..at + 103).map(|signer| signer % 128) {
            book.add_own(subject, ValidatorIndex(signer), members.votes[usize::from(signer)].sign(members.roster.domain(), &subject));
        }
        encode(&book.certificate(&members.roster, &subject, CertificateKind::L).expect("a quorum").to_message())
    };
    let wires: Vec<_> = (0..32).map(certificate).collect();
    let archived: Vec<_> = wires.iter().map(|wire| access::<ArchivedCertificate>(wire).expect("well formed")).collect();
    let mut group = c.benchmark_group("certificates_103_of_128");
    group.sample_size(20);
    group.bench_function("one", |b| b.iter(|| members.roster.verify_certificate(black_box(archived[0]))));
    let mut keys = KeySum::default();
    group.bench_function("one_after_another", |b| {
        b.iter(|| archived.iter().all(|wire| members.roster.verify_certificate_after(&mut keys, black_box(wire)).is_ok()));
    });
    group.bench_function("run_of_32", |b| b.iter(|| members.roster.verify_certificates(&mut keys, black_box(&archived))));
    group.finish();
}

fn transactions(c: &mut Criterion) {
    let chain = samara_types::ChainId([7; 32]);
    let mut group = c.benchmark_group("transactions_512_B");
    for (count, clients) in [(1u64, 1u8), (8, 1), (32, 1), (64, 1), (256, 1), (8, 8), (32, 32), (64, 64), (256, 255)] {
        let signed = |nonce| {
            let client = IdentitySecret::from_bytes(&[(nonce % u64::from(clients)) as u8; 32]);
            sign_transaction(&chain, &client, nonce, &[1; 407])
        };
        let raw: Vec<_> = (0..count).map(signed).collect();
        let parsed: Vec<_> = raw.iter().map(|bytes| Transaction::parse(bytes).expect("well formed")).collect();
        let mut verifier = TransactionVerifier::new(chain);
        group.throughput(criterion::Throughput::Elements(count));
        group.bench_function(format!("{count}_of_{clients}_clients"), |b| b.iter(|| verifier.verify_transactions(black_box(&parsed))));
        group.bench_function(format!("{count}_of_{clients}_strangers"), |b| {
            b.iter(|| TransactionVerifier::new(chain).verify_transactions(black_box(&parsed)));
        });
    }
    group.finish();
}

criterion_group!(benches, votes, certificates, transactions);
criterion_main!(benches);
