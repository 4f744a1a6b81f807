//! `kill -9` of validators under load, one alone and all at once, over and over on the same directories (Minimmit reference, section 6).
//!
//! Real processes, real disks, kill points from a printed seed. What is compared is what outlives a process: stores, vote logs, and what
//! clients were told. Whenever all are down, before anybody runs again:
//! - the stores hold one chain, and it continues the chain of the kill before;
//! - what a door called final is in the store behind that very door, at the place it named;
//! - whoever signed a stored L-notarization has that vote in its own log: no signature left before its record;
//! - over all incarnations nobody signed two votes, or a vote after a nullify, in one view, and no record is gone.

mod processes;

use processes::client::{Final, Load, Told};
use processes::{Random, Validators};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

const VALIDATORS: usize = 6;
/// Moments at which a run kills, unless `SAMARA_CRASHES` says how many. All six at one moment count once.
const KILLS: u64 = 12;
const PACE: Duration = Duration::from_millis(10);

#[test]
fn killed_at_random_points_the_cluster_goes_on_from_the_same_blocks_and_loses_nothing_it_acknowledged() {
    let wanted = std::env::var("SAMARA_CRASHES").map_or(KILLS, |text| text.parse().expect("SAMARA_CRASHES is a number"));
    let mut random = Random::seeded("crash");
    let mut validators = Validators::new(VALIDATORS);
    let mut history = History::default();
    let mut unanswered = Vec::new();
    let mut kills = Kills::default();
    while kills.of_one + kills.of_all < wanted {
        validators.start_all();
        let load = Load::start(validators.chain, &validators.doors, PACE, std::mem::take(&mut unanswered));
        kills.round(&mut random, &mut validators, &load);
        unanswered = history.take(load.end());
        history.check(&validators);
        eprintln!("{kills:?}, {} blocks, {} unanswered", history.digests.len(), unanswered.len());
    }
    validators.start_all();
    let load = Load::start(validators.chain, &validators.doors, PACE, unanswered);
    load.wait_for(200);
    history.take(load.end());
    let highest = history.told.iter().flatten().map(|told| told.height).max().unwrap();
    (0..VALIDATORS).for_each(|index| validators.wait_until(index, "at the tip", |height| height >= highest));
    validators.stop();
    history.check(&validators);
    history.check_everywhere(&validators);
    eprintln!("survived {kills:?}");
}

/// How often `kill -9` struck.
#[derive(Debug, Default)]
struct Kills {
    /// One validator, while the others went on.
    of_one: u64,
    /// All that ran.
    of_all: u64,
}

impl Kills {
    /// Some lone kills under load, each validator back before the next; then all at once, now and then while they still find together, every other
    /// time with one gone before the rest, so that the others are ahead of it by little or by much.
    fn round(&mut self, random: &mut Random, validators: &mut Validators, load: &Load) {
        let mut answers = 0;
        for _ in 0..random.below(4) {
            answers += random.below(200);
            load.wait_for(answers);
            validators.kill(&[random.below(VALIDATORS as u64) as usize]);
            self.of_one += 1;
            answers += random.below(100);
            load.wait_for(answers);
            validators.start_all();
        }
        let last = answers + if random.below(4) == 0 { random.below(3) } else { 50 + random.below(600) };
        if random.below(2) == 0 {
            load.wait_for(answers + random.below(last - answers + 1));
            validators.kill(&[random.below(VALIDATORS as u64) as usize]);
            self.of_one += 1;
        }
        load.wait_for(last);
        let mut order: Vec<usize> = (0..VALIDATORS).collect();
        random.shuffle(&mut order);
        validators.kill(&order);
        self.of_all += 1;
    }
}

/// All that was ever seen.
#[derive(Default)]
struct History {
    /// Digest at every height from 1.
    digests: Vec<String>,
    /// What each door said.
    told: [Vec<Final>; VALIDATORS],
    votes: [Votes; VALIDATORS],
}

impl History {
    /// Keeps what was told; returns the transactions to offer again.
    fn take(&mut self, told: Vec<Told>) -> Vec<Vec<u8>> {
        let mut unanswered = Vec::new();
        for (index, told) in told.into_iter().enumerate() {
            self.told[index].extend(told.finals);
            unanswered.extend(told.unanswered);
        }
        unanswered
    }

    /// Everything that must hold while nobody runs.
    fn check(&mut self, validators: &Validators) {
        for index in 0..VALIDATORS {
            let chain = validators.inspect(index, "chain", &[]);
            let blocks = chain["blocks"].as_array().unwrap();
            self.check_continues(index, blocks);
            check_holds(&format!("what door {index} said, in its own store"), blocks, &self.told[index]);
            self.votes[index].absorb(index, &validators.inspect(index, "votes", &[])["votes"]);
            let evidence = validators.inspect(index, "evidence", &[]);
            assert_eq!(evidence["evidence"], Value::Array(vec![]), "validator {index} holds evidence though all are honest");
        }
        for index in 0..VALIDATORS {
            self.check_signers(index, &validators.inspect(index, "certificate", &["--kind", "l"])["certificates"]);
        }
    }

    /// The same block at every height known, and no transaction twice.
    fn check_continues(&mut self, index: usize, blocks: &[Value]) {
        let mut ids = HashSet::new();
        for (at, block) in blocks.iter().enumerate() {
            let digest = block["digest"].as_str().unwrap();
            assert_eq!(block["height"], at as u64 + 1, "validator {index}");
            match self.digests.get(at) {
                Some(known) => assert_eq!(digest, known, "validator {index} has another block at height {}", at + 1),
                None => self.digests.push(digest.to_string()),
            }
            for id in block["tx_ids"].as_array().unwrap() {
                assert!(ids.insert(id.as_str().unwrap()), "validator {index}: transaction {id} is in the chain twice");
            }
        }
    }

    /// A vote that reached a certificate was durable at its signer.
    fn check_signers(&self, holder: usize, certificates: &Value) {
        for certificate in certificates.as_array().unwrap() {
            let (view, digest) = (certificate["view"].as_u64().unwrap(), certificate["digest"].as_str().unwrap());
            for signer in certificate["signers"].as_array().unwrap() {
                let signer = signer.as_u64().unwrap() as usize;
                let votes = &self.votes[signer];
                let logged = view <= votes.forgotten || votes.in_view(view).any(|(kind, of)| kind == "vote" && of == digest);
                assert!(logged, "validator {signer} signed {digest} in view {view} (certificate at {holder}) without a record of it");
            }
        }
    }

    /// Once all are at the tip: every acknowledged transaction in every chain.
    fn check_everywhere(&self, validators: &Validators) {
        let told: Vec<Final> = self.told.iter().flatten().cloned().collect();
        for index in 0..VALIDATORS {
            let chain = validators.inspect(index, "chain", &[]);
            check_holds(&format!("what all doors said, in store {index}"), chain["blocks"].as_array().unwrap(), &told);
        }
        eprintln!("{} blocks, {} acknowledged transactions in every chain", self.digests.len(), told.len());
    }
}

fn check_holds(what: &str, blocks: &[Value], told: &[Final]) {
    for told in told {
        let found = blocks.get(told.height as usize - 1).map(|block| &block["tx_ids"][told.index as usize]);
        assert_eq!(found, Some(&Value::from(told.id.clone())), "{what}: height {}, index {}", told.height, told.index);
    }
}

/// The records of one validator over all its incarnations, in log order.
#[derive(Default)]
struct Votes {
    views: BTreeMap<u64, Vec<(String, String)>>,
    /// Records of views up to here may have been written over: they are final and stored.
    forgotten: u64,
}

impl Votes {
    fn in_view(&self, view: u64) -> impl Iterator<Item = &(String, String)> {
        self.views.get(&view).into_iter().flatten()
    }

    fn absorb(&mut self, index: usize, records: &Value) {
        let mut read: BTreeMap<u64, Vec<(String, String)>> = BTreeMap::new();
        for record in records.as_array().unwrap() {
            let text = |key: &str| record[key].as_str().unwrap().to_string();
            read.entry(record["view"].as_u64().unwrap()).or_default().push((text("kind"), text("digest")));
        }
        let oldest = read.first_key_value().map_or(0, |(view, _)| *view);
        let newest_known = self.views.last_key_value().map_or(oldest, |(view, _)| *view);
        assert!(oldest <= newest_known, "validator {index}: records between views {newest_known} and {oldest} were never seen");
        if self.views.first_key_value().is_some_and(|(view, _)| *view < oldest) {
            self.forgotten = self.forgotten.max(oldest);
        }
        for (view, known) in self.views.range(self.forgotten + 1..) {
            let kept = known.iter().all(|record| read.get(view).is_some_and(|read| read.contains(record)));
            assert!(kept, "validator {index}: a record of view {view} is gone: had {known:?}, has {:?}", read.get(view));
        }
        for (view, records) in read {
            let known = self.views.entry(view).or_default();
            for record in records {
                if !known.contains(&record) {
                    known.push(record);
                }
            }
            check_view(index, view, known);
        }
    }
}

/// At most one vote and one proposal, and no vote once there is a nullify.
fn check_view(index: usize, view: u64, records: &[(String, String)]) {
    for kind in ["vote", "proposal"] {
        let signed = records.iter().filter(|(of, _)| of == kind).count();
        assert!(signed <= 1, "validator {index} signed {signed} {kind}s in view {view}: {records:?}");
    }
    let nullify = records.iter().position(|(kind, _)| kind == "nullify");
    let vote = records.iter().position(|(kind, _)| kind == "vote");
    let after = matches!((nullify, vote), (Some(nullify), Some(vote)) if vote > nullify);
    assert!(!after, "validator {index} voted after its nullify in view {view}: {records:?}");
}

#[test]
fn the_check_of_vote_records_finds_what_it_is_for() {
    let record = |kind: &str, view: u64, digest: &str| serde_json::json!({"view": view, "kind": kind, "digest": digest});
    let refused = |reads: &[Vec<Value>]| {
        let reads: Vec<Value> = reads.iter().cloned().map(Value::Array).collect();
        let absorb = move || {
            let mut votes = Votes::default();
            reads.iter().for_each(|read| votes.absorb(0, read));
        };
        std::panic::catch_unwind(absorb).err().map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    };
    let (a, b, n) = (record("vote", 1, "a"), record("vote", 1, "b"), record("nullify", 1, ""));
    assert_eq!(refused(&[vec![a.clone()], vec![a.clone(), n.clone()]]), None, "a nullify after a vote is the contradiction rule");
    assert!(refused(&[vec![a.clone(), b.clone()]]).unwrap().contains("signed 2 votes in view 1"));
    assert!(refused(&[vec![n.clone(), a.clone()]]).unwrap().contains("voted after its nullify"));
    assert!(refused(&[vec![a.clone()], vec![b.clone()]]).unwrap().contains("a record of view 1 is gone"));
    assert!(refused(&[vec![a.clone()], vec![record("vote", 9, "c")]]).unwrap().contains("were never seen"));
}
