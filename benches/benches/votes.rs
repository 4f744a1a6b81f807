//! From votes to a certificate, against checking every vote alone (what the batch replaces).

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use samara_benches::Members;
use samara_crypto::{IdentitySecret, ViewBook, sign_transaction, verify_transactions};
use samara_types::message::{CertificateKind, access, encode};
use samara_types::{Digest, Subject, Transaction, ValidatorIndex, View};
use std::hint::black_box;

fn votes(c: &mut Criterion) {
    for (validators, voters) in [(6u8, 5u16), (128, 103)] {
        let members = Members::new(validators);
        let subject = Subject::Vote(View(9), Digest([3; 32]));
        let signed: Vec<_> =
            (0..voters).map(|i| (ValidatorIndex(i), members.votes[usize::from(i)].sign(members.roster.domain(), &subject))).collect();
        let filled = || {
            let mut book = ViewBook::new(View(9), usize::from(validators));
            for (signer, signature) in &signed {
                book.add(subject, *signer, *signature);
            }
            book
        };
        let mut group = c.benchmark_group(format!("votes_{voters}"));
        group.sample_size(10);
        group.bench_function("book_to_certificate", |b| {
            b.iter_batched(
                filled,
                |mut book| {
                    book.settle(&members.roster, &subject);
                    book.certificate(&members.roster, &subject, CertificateKind::L).expect("a quorum")
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function("one_by_one", |b| {
            b.iter(|| signed.iter().all(|(signer, signature)| members.roster.verify_subject(*signer, &subject, black_box(signature))));
        });
        let mut book = filled();
        book.settle(&members.roster, &subject);
        let wire = encode(&book.certificate(&members.roster, &subject, CertificateKind::L).expect("a quorum").to_message());
        group.bench_function("certificate", |b| {
            b.iter(|| members.roster.verify_certificate(access(black_box(&wire)).expect("well formed")))
        });
        group.finish();
    }
}

fn transactions(c: &mut Criterion) {
    let chain = samara_types::ChainId([7; 32]);
    let secret = IdentitySecret::from_bytes(&[9; 32]);
    let raw: Vec<_> = (0..64).map(|nonce| sign_transaction(&chain, &secret, nonce, &[1; 400])).collect();
    let parsed: Vec<_> = raw.iter().map(|bytes| Transaction::parse(bytes).expect("well formed")).collect();
    c.bench_function("transactions_64", |b| b.iter(|| verify_transactions(&chain, black_box(&parsed))));
}

criterion_group!(benches, votes, transactions);
criterion_main!(benches);
