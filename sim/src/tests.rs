//! Whole runs.

use crate::plan_file::PlanFile;
use crate::runner;
use crate::scenarios;
use crate::swarm;
use crate::{Kit, report};

fn check(name: &str, seeds: std::ops::Range<u64>) {
    let scenario = scenarios::find(name).expect("it is in the list");
    let (from, count) = (seeds.start, (seeds.end - seeds.start) as usize);
    let outcomes = runner::sweep(count, 2, |at| (scenario.plan)(from + at as u64), |_| {});
    for (at, outcome) in outcomes.iter().enumerate() {
        assert!(outcome.violations.is_empty(), "{}", report::failure(&(scenario.plan)(from + at as u64), outcome));
    }
}

#[test]
fn a_calm_cluster_of_every_size_keeps_every_promise() {
    check("calm", 0..4);
}

#[test]
fn a_small_sweep_keeps_every_promise() {
    check("swarm", 0..60);
}

/// A leader with three blocks, whose notarized one only 17 of 46 hold: 19 are a notarization, so all wait for those who fetch it.
#[test]
fn seed_638_a_view_after_an_equivocator_waits_for_a_body() {
    check("swarm", 638..639);
}

/// A hostile member whose vote nobody saw stands in a certificate of a correct validator.
#[test]
fn seeds_1632_and_1736_a_hostile_member_need_not_have_sent_its_vote() {
    check("swarm", 1632..1633);
    check("swarm", 1736..1737);
}

/// Two conflicters beside a flooder, who fills their memory with far views, answered each other's votes threefold: 30 million events in five seconds.
#[test]
fn seed_1156_hostile_signers_do_not_answer_each_other_for_ever() {
    check("swarm", 1156..1157);
}

/// A log begun after a loss, or in a wiped directory, took itself for one that knows all; then the block store was lost, and views were signed again.
#[test]
fn a_store_lost_after_the_log_leaves_nothing_signed_twice() {
    let files = [
        include_str!("tests/log_log_store.plan.json"),
        include_str!("tests/log_store.plan.json"),
        include_str!("tests/wipe_store.plan.json"),
    ];
    for text in files {
        let plan = PlanFile::parse(text).expect("it was written by hand").plan;
        let outcome = runner::run(&plan, &mut Kit::new());
        assert!(outcome.violations.is_empty(), "{}", report::failure(&plan, &outcome));
    }
}

#[test]
fn the_same_seed_gives_the_same_digest_whatever_ran_before() {
    let mut kit = Kit::new();
    let first = runner::run(&swarm::draw(3), &mut kit);
    runner::run(&swarm::draw(4), &mut kit);
    assert_eq!(runner::run(&swarm::draw(3), &mut kit), first);
    assert_eq!(runner::run(&swarm::draw(3), &mut Kit::new()), first);
    assert_ne!(runner::run(&swarm::draw(5), &mut kit).digest, first.digest);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let sweep = |threads| runner::sweep(6, threads, |at| swarm::draw(100 + at as u64), |_| {});
    assert_eq!(sweep(1), sweep(3));
}
