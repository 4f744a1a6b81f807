//! A plan as a file: what a sweep leaves of a failing seed, what shrinking makes of it, and what `samara sim --replay` runs again.
//!
//! The file holds the whole plan and not the seed alone, so that it stays the same run when the generator changes, and can be edited by hand. The
//! digest beside it tells whether the code under test has changed since: same plan and same code give the same digest. A file is input: whatever
//! is in it, reading it ends in a plan that can be run or in one line that says why not.

use crate::swarm::{Fault, Plan};
use crate::world::Outcome;
use samara_crypto::Mutant;
use samara_types::{Nanos, Params};
use samara_validator::restart::MempoolLimits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;

/// First value of every file.
const FORMAT: &str = "samara simulator plan 1";
/// Most validators of a plan in a file: the largest of the studies.
const VALIDATORS_MAX: usize = 1_000;

/// A plan and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    format: String,
    /// Digest of the run that was written down; empty if it was written by hand.
    #[serde(default)]
    pub digest: String,
    /// Promises it broke, by their names.
    #[serde(default)]
    pub broken: BTreeSet<String>,
    /// The plan.
    pub plan: Plan,
}

impl PlanFile {
    /// Of a run.
    pub fn new(plan: &Plan, outcome: &Outcome) -> PlanFile {
        let broken = outcome.violations.iter().map(|violation| violation.promise.as_str().to_string()).collect();
        PlanFile { format: FORMAT.to_string(), digest: outcome.digest.hex(), broken, plan: plan.clone() }
    }

    /// As text, to be read and edited.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a plan is plain data");
        text.push('\n');
        text
    }

    /// Reads a file and checks that the plan in it can be run.
    pub fn parse(text: &str) -> Result<PlanFile, String> {
        let file: PlanFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if file.format != FORMAT {
            return Err(format!("its format is {:?}, not {FORMAT:?}", file.format));
        }
        check(&file.plan)?;
        Ok(file)
    }
}

/// What a generator never makes and a hand could: seats that do not exist, empty ranges, sets that no chain may have.
fn check(plan: &Plan) -> Result<(), String> {
    let seats = plan.stakes.len();
    let total = plan.stakes.iter().try_fold(0u64, |sum, stake| sum.checked_add(*stake)).filter(|total| *total < u64::MAX / 8);
    let fault = total.ok_or("stakes add up to too much")?.saturating_sub(1) / 5;
    if !(6..=VALIDATORS_MAX).contains(&seats) || plan.stakes.iter().any(|stake| !(1..=fault).contains(stake)) {
        return Err(format!("stakes are 6 to {VALIDATORS_MAX} numbers, each at least 1 and at most f"));
    }
    // A leader that is idle for less than a block interval is no genesis's choice, and several scenarios': views pass quickly.
    let params = Params { idle_interval: plan.params.block_interval, ..plan.params };
    params.check().map_err(|error| error.to_string())?;
    let hostile: BTreeSet<usize> = plan.hostile.iter().map(|(seat, _)| *seat).collect();
    if hostile.len() != plan.hostile.len() {
        return Err("a seat is hostile twice".to_string());
    }
    let narrow = plan.network.narrow.iter().map(|(machine, _)| *machine);
    let named = hostile.iter().chain(&plan.fragile).copied().chain(narrow).chain(plan.faults.iter().flat_map(|(_, fault)| seats_of(fault)));
    if let Some(seat) = named.into_iter().find(|seat| *seat >= seats) {
        return Err(format!("seat {seat} of {seats}"));
    }
    for (low, high) in [plan.network.base_ms, plan.restart_ms] {
        if low > high {
            return Err(format!("a range from {low} to {high}"));
        }
    }
    Ok(())
}

fn seats_of(fault: &Fault) -> Vec<usize> {
    match fault {
        Fault::Cut(pairs) => pairs.iter().flat_map(|(from, to)| [*from, *to]).collect(),
        Fault::KillAll | Fault::Join | Fault::Loss(_) => Vec::new(),
        Fault::Kill(seat)
        | Fault::KillAt(seat, ..)
        | Fault::Down(seat)
        | Fault::Start(seat)
        | Fault::Wipe(seat)
        | Fault::LoseLog(seat)
        | Fault::LoseStore(seat)
        | Fault::OlderStore(seat, _)
        | Fault::DamageBody(seat)
        | Fault::FailWrite(seat, _)
        | Fault::ResetNic(seat, _)
        | Fault::Overrun(seat, _)
        | Fault::Jump(seat, _)
        | Fault::Pause(seat, _) => vec![*seat],
    }
}

/// Times are nanoseconds.
pub mod nanos {
    use super::*;

    /// As a number.
    pub fn serialize<S: Serializer>(nanos: &Nanos, serializer: S) -> Result<S::Ok, S::Error> {
        nanos.0.serialize(serializer)
    }

    /// From a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Nanos, D::Error> {
        u64::deserialize(deserializer).map(Nanos)
    }
}

/// Faults are pairs of a time and what happens.
pub mod faults {
    use super::*;

    /// As pairs.
    pub fn serialize<S: Serializer>(faults: &[(Nanos, Fault)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(faults.iter().map(|(at, fault)| (at.0, fault)))
    }

    /// From pairs.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Nanos, Fault)>, D::Error> {
        let pairs = Vec::<(u64, Fault)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|(at, fault)| (Nanos(at), fault)).collect())
    }
}

/// A planted bug is its name.
pub mod mutant {
    use super::*;
    use serde::de::Error;

    /// As its name.
    pub fn serialize<S: Serializer>(mutant: &Option<Mutant>, serializer: S) -> Result<S::Ok, S::Error> {
        mutant.map(Mutant::as_str).serialize(serializer)
    }

    /// From its name.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mutant>, D::Error> {
        let name = Option::<String>::deserialize(deserializer)?;
        name.map(|name| Mutant::find(&name).ok_or_else(|| D::Error::custom(format!("no planted bug is called {name:?}")))).transpose()
    }
}

/// [`Params`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Params")]
pub struct ParamsText {
    #[serde(with = "nanos")]
    view_timeout: Nanos,
    #[serde(with = "nanos")]
    block_interval: Nanos,
    #[serde(with = "nanos")]
    idle_interval: Nanos,
    payload_bytes_max: u32,
    relay_redundancy: u16,
    hybrid_redundancy: u16,
    dedup_heights: u32,
}

/// [`MempoolLimits`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "MempoolLimits")]
pub struct MempoolText {
    transactions_max: usize,
    bytes_max: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kit, mutants, runner, scenarios, swarm};

    #[test]
    fn every_plan_comes_back_from_its_file() {
        let swarm = (0..300).map(swarm::draw);
        let named = scenarios::ALL.iter().map(|scenario| (scenario.plan)(3)).chain(mutants::TRAPS.iter().map(|trap| (trap.plan)(3)));
        let planted = Mutant::ALL.into_iter().map(|mutant| mutants::planted(swarm::draw(1), mutant));
        for plan in swarm.chain(named).chain(planted) {
            let file = PlanFile { format: FORMAT.to_string(), digest: String::new(), broken: BTreeSet::new(), plan };
            assert_eq!(PlanFile::parse(&file.to_text()).as_ref(), Ok(&file));
        }
    }

    #[test]
    fn a_replayed_file_has_the_digest_of_its_run() {
        let mut kit = Kit::new();
        let plan = mutants::planted((mutants::find("trap_late").unwrap().plan)(0), Mutant::SendsBeforeSync);
        let file = PlanFile::new(&plan, &runner::run(&plan, &mut kit));
        assert!(file.broken.contains("durability"), "{:?}", file.broken);
        let read = PlanFile::parse(&file.to_text()).unwrap();
        assert_eq!(PlanFile::new(&read.plan, &runner::run(&read.plan, &mut Kit::new())), file);
    }

    #[test]
    fn a_plan_that_cannot_be_run_is_refused_with_its_reason() {
        let good = PlanFile { format: FORMAT.to_string(), digest: String::new(), broken: BTreeSet::new(), plan: swarm::draw(7) };
        let refused = |change: &dyn Fn(&mut PlanFile)| {
            let mut file = good.clone();
            change(&mut file);
            PlanFile::parse(&file.to_text()).unwrap_err()
        };
        assert!(refused(&|file| file.format = "samara simulator plan 0".to_string()).contains("format"));
        assert!(refused(&|file| file.plan.stakes = vec![1; 5]).contains("stakes"));
        assert!(refused(&|file| file.plan.stakes[0] = u64::MAX).contains("stakes"));
        assert!(refused(&|file| file.plan.params.view_timeout = Nanos(0)).contains("view_timeout"));
        assert!(refused(&|file| file.plan.fragile.push(99)).contains("seat 99"));
        assert!(refused(&|file| file.plan.faults.push((Nanos(1), Fault::Cut(vec![(0, 77)])))).contains("seat 77"));
        assert!(refused(&|file| file.plan.hostile = vec![(0, crate::hostile::Kind::Silent); 2]).contains("twice"));
        assert!(refused(&|file| file.plan.restart_ms = (9, 1)).contains("from 9 to 1"));
        for text in ["", "{}", "[]", "{\"format\": 1}"] {
            assert!(PlanFile::parse(text).is_err());
        }
    }
}
