//! What each operation costs on this machine: one table, medians over fixed inputs, nothing asserted.
//!
//! `cargo run --release -p samara-crypto --example crypto_costs`

use samara_crypto::{Keyring, Roster, ViewBook, sign_transaction, verify_transactions};
use samara_types::message::{self, ArchivedCertificate, CertificateKind};
use samara_types::{ChainId, Digest, SigningDomain, Stake, Subject, Transaction, ValidatorEntry, ValidatorIndex, ValidatorSet, View};
use std::hint::black_box;
use std::time::Instant;

const VIEW: View = View(9);
const VOTE: Subject = Subject::Vote(VIEW, Digest([7; 32]));

fn main() {
    let domain = SigningDomain::default();
    let keys: Vec<_> = (0..11).map(|_| Keyring::generate()).collect();
    let roster = Roster::new(ValidatorSet::new(keys.iter().map(entry).collect(), None).expect("eleven equal members"), domain)
        .expect("fresh keys are good");
    let signatures: Vec<_> = keys.iter().map(|keys| keys.vote.sign(&domain, &VOTE)).collect();
    let book = |signers: usize, bad: usize| {
        let mut book = ViewBook::new(VIEW, keys.len());
        for (at, signature) in signatures[..signers].iter().enumerate() {
            book.add(VOTE, ValidatorIndex(at as u16), if at < bad { signatures[10] } else { *signature });
        }
        book
    };
    let settle = |signers, bad| median(|| book(signers, bad), |mut book| book.settle(&roster, &VOTE).pairing_checks);
    let mut settled = book(9, 0);
    settled.settle(&roster, &VOTE);
    let wire = message::encode(&settled.certificate(&roster, &VOTE, CertificateKind::L).expect("nine of eleven").to_message());
    let archived = message::access::<ArchivedCertificate>(&wire).expect("just encoded");

    row("sign a vote", median(|| (), |()| keys[0].vote.sign(&domain, &VOTE)), 1);
    row("verify one vote", median(|| (), |()| roster.verify_subject(ValidatorIndex(0), &VOTE, &signatures[0])), 1);
    row("add a vote to the book", median(|| book(0, 0), |mut book| book.add(VOTE, ValidatorIndex(0), signatures[0])), 1);
    row("settle 3", settle(3, 0), 1);
    row("settle 5", settle(5, 0), 1);
    row("settle 9", settle(9, 0), 1);
    row("settle 5, one culprit", settle(5, 1), 1);
    row("build a certificate of 9", median(|| (), |()| settled.certificate(&roster, &VOTE, CertificateKind::L)), 1);
    row("verify a certificate of 9", median(|| (), |()| roster.verify_certificate(archived)), 1);
    transactions(&keys[0]);
}

fn transactions(keys: &Keyring) {
    let chain = ChainId::default();
    row("sign a transaction of 512 B", median(|| (), |()| sign_transaction(&chain, &keys.identity, 1, &[0; 407])), 1);
    for count in [1usize, 16, 64, 128] {
        let raw: Vec<_> =
            (0..count as u64).map(|nonce| sign_transaction(&chain, &Keyring::generate().identity, nonce, &[0; 407])).collect();
        let parsed: Vec<_> = raw.iter().map(|bytes| Transaction::parse(bytes).expect("just signed")).collect();
        row(
            &format!("verify 512 B transactions in batches of {count}, each"),
            median(|| (), |()| verify_transactions(&chain, &parsed)),
            count,
        );
    }
}

fn entry(keys: &Keyring) -> ValidatorEntry {
    ValidatorEntry {
        stake: Stake(1),
        vote_key: keys.vote.public_key(),
        possession: keys.vote.possession(),
        identity_key: keys.identity.public_key(),
        session_key: keys.session.public_key(),
    }
}

/// Median microseconds of `run` over 101 prepared inputs.
fn median<I, O>(prepare: impl Fn() -> I, run: impl Fn(I) -> O) -> f64 {
    let mut times: Vec<_> = (0..101)
        .map(|_| {
            let input = prepare();
            let start = Instant::now();
            black_box(run(black_box(input)));
            start.elapsed().as_nanos() as f64 / 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[50]
}

fn row(what: &str, micros: f64, each: usize) {
    println!("{what:<55} {:>9.2} us", micros / each as f64);
}
