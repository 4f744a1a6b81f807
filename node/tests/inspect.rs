//! `samara inspect` reads what a validator stored, through the real binary, while the store and the vote log are open for writing.

use samara_storage::{BlockStore, FinalizedBlock, LogIdentity, RocksStore, UringVoteLog, VoteLog};
use samara_types::block::{BlockHeader, genesis_digest, payload_digest};
use samara_types::message::{Certificate, CertificateKind};
use samara_types::transaction::{append, assemble};
use samara_types::{Block, ChainId, Digest, Evidence, Height, Offence, Record, Transaction, ValidatorIndex, View};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

const CHAIN: ChainId = ChainId([4; 32]);

fn inspect(what: &str, dir: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_samara")).args(["inspect", what, "--dir"]).arg(dir).args(more).output().unwrap()
}

fn json(what: &str, dir: &Path, more: &[&str]) -> Value {
    let output = inspect(what, dir, &[more, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("exactly one JSON document")
}

/// Two blocks in views 2 and 5; the second has two transactions and an L-notarization, view 3 was nullified.
fn fill(store: &impl BlockStore) -> [Block; 2] {
    let block = |view: u64, parent_view: u64, parent_digest: Digest, height: u64, payload: Vec<u8>| {
        let header = BlockHeader {
            view: View(view),
            parent_view: View(parent_view),
            parent_digest,
            height: Height(height),
            timestamp_ns: 77,
            payload_length: payload.len() as u32,
            leader: ValidatorIndex(1),
            payload_digest: payload_digest(&payload),
        };
        Block::new(header, vec![Digest([8; 32])], payload).unwrap()
    };
    let mut payload = Vec::new();
    [1u8, 2].iter().for_each(|number| append(&mut payload, &assemble(&[*number; 32], &[0; 64], &[0; 9])));
    let first = block(2, 0, genesis_digest(&CHAIN), 1, vec![]);
    let second = block(5, 2, first.digest(), 2, payload);
    let certificate = |view, digest: Digest, kind: CertificateKind| Certificate {
        view,
        digest: digest.0,
        kind: kind as u8,
        signature: [6; 48],
        signers: vec![0b11011],
    };
    let blocks = [
        FinalizedBlock { block: Arc::new(first.clone()), certificate: None },
        FinalizedBlock { block: Arc::new(second.clone()), certificate: Some(certificate(5, second.digest(), CertificateKind::L)) },
    ];
    let evidence = Evidence { accused: ValidatorIndex(3), offence: Offence::VoteEquivocation, view: View(4), proof: vec![0xab, 0xcd] };
    store.commit(&blocks, &[certificate(3, Digest::ZERO, CertificateKind::Nullification)], &[evidence]).unwrap();
    [first, second]
}

#[test]
fn blocks_certificates_and_evidence_of_a_running_validator() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let store = RocksStore::open(&dir.join("data/blocks"), CHAIN).unwrap();
    let [first, second] = fill(&store);

    let chain = json("chain", dir, &[]);
    let blocks = chain["blocks"].as_array().unwrap();
    let heights: Vec<_> = blocks.iter().map(|block| (block["height"].as_u64().unwrap(), block["view"].as_u64().unwrap())).collect();
    assert_eq!(heights, [(1, 2), (2, 5)]);
    assert_eq!(blocks[1]["parent_digest"], first.digest().hex());
    assert_eq!((&blocks[1]["digest"], &blocks[1]["leader"]), (&Value::from(second.digest().hex()), &Value::from(1)));
    let bytes = assemble(&[2; 32], &[0; 64], &[0; 9]);
    let id = samara_types::digest::hex(&Transaction::parse(&bytes).unwrap().id(&CHAIN).0);
    assert_eq!((blocks[0]["tx_ids"].as_array().unwrap().len(), &blocks[1]["tx_ids"][1]), (0, &Value::from(id)));

    for more in [["--height", "2"], ["--digest", &second.digest().hex()]] {
        let block = json("block", dir, &more);
        assert_eq!((&block["height"], &block["certificate"]["kind"]), (&2.into(), &"l".into()));
        assert_eq!(block["certificate"]["signers"], serde_json::json!([0, 1, 3, 4]));
    }
    let missing = inspect("block", dir, &["--height", "3"]);
    assert_eq!((missing.status.code(), String::from_utf8_lossy(&missing.stderr).contains("no final block of height 3")), (Some(1), true));

    let kinds = |more: &[&str]| -> Vec<String> {
        let rows = json("certificate", dir, more);
        rows["certificates"].as_array().unwrap().iter().map(|row| format!("{}:{}", row["view"], row["kind"].as_str().unwrap())).collect()
    };
    assert_eq!(kinds(&[]), ["3:nullification", "5:l"]);
    assert_eq!(kinds(&["--kind", "l"]), ["5:l"]);
    assert_eq!(kinds(&["--view", "3"]), ["3:nullification"]);
    assert_eq!(kinds(&["--view", "3", "--kind", "m"]), [""; 0]);

    let evidence = json("evidence", dir, &[]);
    let expected = serde_json::json!([{ "accused": 3, "offence": "vote_equivocation", "view": 4, "proof": "abcd" }]);
    assert_eq!(evidence["evidence"], expected);

    let table = String::from_utf8(inspect("chain", dir, &[]).stdout).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[test]
fn votes_in_log_order_while_the_log_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let identity = LogIdentity { chain: CHAIN, validator: ValidatorIndex(0), vote_key: [9; 96] };
    let (mut log, _) = UringVoteLog::open(&directory.path().join("data/votes"), identity).unwrap();
    let digest = Digest([7; 32]);
    let records = [Record::Proposal(View(1), digest), Record::Vote(View(1), digest), Record::Nullify(View(2))];
    let last = records.iter().map(|record| log.append(*record)).last().unwrap();
    log.submit().unwrap();
    while log.poll_durable().unwrap() != Some(last) {
        log.wait().unwrap();
    }
    let votes = json("votes", directory.path(), &[]);
    let row = |view: u64, kind: &str, digest: Digest| serde_json::json!({ "view": view, "kind": kind, "digest": digest.hex() });
    assert_eq!(votes["votes"], serde_json::json!([row(1, "proposal", digest), row(1, "vote", digest), row(2, "nullify", Digest::ZERO)]));
}

#[test]
fn a_validator_that_never_ran_is_refused_with_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let output = inspect("chain", directory.path(), &[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && stderr.contains("allowed is the directory of a validator that has run"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}
