//! Every scenario once.

use super::{ALL, find};
use crate::report;
use crate::runner;
use std::collections::BTreeSet;

#[test]
fn every_scenario_shows_what_it_is_about_and_breaks_no_promise() {
    let scenarios: Vec<_> = ALL.iter().filter(|scenario| scenario.name != "beyond").collect();
    let results = runner::each(scenarios.len(), 2, |at, kit| scenarios[at].run(0, kit));
    for (scenario, (outcome, unmet)) in scenarios.iter().zip(results) {
        assert!(outcome.violations.is_empty(), "{}", report::failure(&(scenario.plan)(0), &outcome));
        assert!(unmet.is_empty(), "{}: {unmet:?}", scenario.name);
    }
}

#[test]
fn two_hostile_validators_of_six_break_safety() {
    let beyond = find("beyond").expect("it is in the list");
    for (outcome, unmet) in runner::each(4, 2, |at, kit| beyond.run(at as u64, kit)) {
        assert!(unmet.is_empty(), "seed {}: the checkers see what the model does not bear: {unmet:?}", outcome.seed);
    }
}

#[test]
fn names_are_unique_and_plans_carry_them() {
    let names: BTreeSet<_> = ALL.iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), ALL.len());
    assert!(ALL.iter().all(|scenario| (scenario.plan)(5).name == scenario.name));
}
