//! A plan as a file: what a sweep leaves of a failing seed, what shrinking makes of it, and what `samara sim --replay` runs again.
//!
//! The file holds the whole plan and not the seed alone, so that it stays the same run when the generator changes, and can be edited by hand. The
//! digest beside it tells whether the code under test has changed since: same plan and same code give the same digest. A file is input: whatever
//! is in it, reading it ends in a plan that can be run or in one line that says why not.

use crate::net::Nic;
use crate::swarm::{Fault, Plan};
use crate::world::Outcome;
use samara_crypto::Mutant;
use samara_types::transaction::{TRANSACTION_BYTES_MAX, TRANSACTION_HEADER_BYTES};
use samara_types::{Nanos, Params};
use samara_validator::restart::MempoolLimits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;

/// First value of every file.
const FORMAT: &str = "samara simulator plan 1";
/// Most validators of a plan in a file: the largest of the studies.
const VALIDATORS_MAX: usize = 1_000;
/// Longest time in a plan: what no run needs, and far from where sums of times overflow.
const TIME_MAX: Nanos = Nanos::from_millis(600_000);
/// Clocks that are off by more are broken otherwise.
const DRIFT_PPM_MAX: u64 = 100_000;
/// Most transactions a run offers: each is held.
const OFFERED_MAX: u64 = 1_000_000;
/// Most bytes of waiting transactions on one machine.
const MEMPOOL_BYTES_MAX: usize = 1 << 30;
const FAULTS_MAX: usize = 100_000;
/// A limited connection has at least this many bytes a second, or what it queues outlasts the run.
const RATE_MIN: u64 = 10_000;
const MILLION: u32 = 1_000_000;

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
    check_times(plan)?;
    check_numbers(plan)
}

/// Times of which no sum overflows.
fn check_times(plan: &Plan) -> Result<(), String> {
    for (low, high) in [plan.network.base_ms, plan.restart_ms] {
        if low > high || high > TIME_MAX.0 / 1_000_000 {
            return Err(format!("a range from {low} to {high} ms, allowed are ranges up to {} ms", TIME_MAX.0 / 1_000_000));
        }
    }
    let (link, cpu, speed) = (&plan.network.link, &plan.cpu, &plan.speed);
    let own = [plan.params.idle_interval, plan.burst, plan.wall_skew, plan.faults_for, plan.settle_within, plan.watch_for];
    let machine = [cpu.receive, cpu.send, cpu.sign, cpu.pairing_check, speed.base, speed.jitter, speed.stall];
    let wire = [link.base, link.jitter, link.deviation, link.spike];
    let nics = nics(plan).into_iter().flat_map(|nic| [nic.outbox, nic.ring]);
    let faults = plan.faults.iter().flat_map(|(at, fault)| [*at, span_of(fault)]);
    let all = own.into_iter().chain(machine).chain(wire).chain(nics).chain(faults);
    match all.into_iter().find(|time| *time > TIME_MAX) {
        Some(time) => Err(format!("a time of {} ns, allowed are up to {} ns", time.0, TIME_MAX.0)),
        None => Ok(()),
    }
}

/// Shares, rates, and what is held in memory.
fn check_numbers(plan: &Plan) -> Result<(), String> {
    let link = &plan.network.link;
    let lost = plan.faults.iter().filter_map(|(_, fault)| if let Fault::Loss(ppm) = fault { Some(*ppm) } else { None });
    if let Some(ppm) =
        [link.loss_ppm, link.duplicate_ppm, link.spike_ppm, plan.speed.stall_ppm].into_iter().chain(lost).find(|ppm| *ppm > MILLION)
    {
        return Err(format!("{ppm} of a million"));
    }
    if plan.faults.iter().any(|(_, fault)| matches!(fault, Fault::OlderStore(_, percent) if *percent > 100)) {
        return Err("more than 100 per cent of a block store".to_string());
    }
    if plan.drift_ppm.unsigned_abs() > DRIFT_PPM_MAX {
        return Err(format!("clocks off by {} ppm, allowed are {DRIFT_PPM_MAX}", plan.drift_ppm));
    }
    let rates = nics(plan).into_iter().flat_map(|nic| [nic.egress_per_second, nic.ingress_per_second]);
    if let Some(rate) = rates.into_iter().find(|rate| (1..RATE_MIN).contains(rate)) {
        return Err(format!("a connection of {rate} bytes a second, allowed are 0 (no limit) and {RATE_MIN} or more"));
    }
    let offered = u128::from(plan.load.per_second) * u128::from(plan.faults_for.0) / 1_000_000_000;
    if offered > OFFERED_MAX.into() {
        return Err(format!("{offered} transactions, allowed are {OFFERED_MAX}"));
    }
    let data_max = TRANSACTION_BYTES_MAX - TRANSACTION_HEADER_BYTES;
    if plan.load.data_bytes_max > data_max as u64 {
        return Err(format!("transactions with {} bytes of data, allowed are {data_max}", plan.load.data_bytes_max));
    }
    if plan.mempool.bytes_max > MEMPOOL_BYTES_MAX || plan.mempool.transactions_max > OFFERED_MAX as usize {
        return Err(format!("a mempool of more than {MEMPOOL_BYTES_MAX} bytes or {OFFERED_MAX} transactions"));
    }
    if plan.faults.len() > FAULTS_MAX {
        return Err(format!("{} faults, allowed are {FAULTS_MAX}", plan.faults.len()));
    }
    Ok(())
}

fn nics(plan: &Plan) -> Vec<Nic> {
    [plan.network.nic].into_iter().chain(plan.network.narrow.map(|(_, nic)| nic)).collect()
}

fn span_of(fault: &Fault) -> Nanos {
    match fault {
        Fault::ResetNic(_, span) | Fault::Overrun(_, span) | Fault::Jump(_, span) | Fault::Pause(_, span) => *span,
        _ => Nanos(0),
    }
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
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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
        assert!(refused(&|file| file.plan.restart_ms = (9, u64::MAX)).contains("range"));
        assert!(refused(&|file| file.plan.faults_for = Nanos(u64::MAX)).contains("a time of"));
        assert!(refused(&|file| file.plan.watch_for = Nanos::from_millis(600_001)).contains("a time of"));
        assert!(refused(&|file| file.plan.faults.push((Nanos(1), Fault::Pause(0, Nanos(u64::MAX))))).contains("a time of"));
        assert!(refused(&|file| file.plan.faults.push((Nanos(1), Fault::Loss(1_000_001)))).contains("of a million"));
        assert!(refused(&|file| file.plan.faults.push((Nanos(1), Fault::OlderStore(0, 101)))).contains("per cent"));
        assert!(refused(&|file| file.plan.faults = vec![(Nanos(1), Fault::Join); FAULTS_MAX + 1]).contains("faults"));
        assert!(refused(&|file| file.plan.drift_ppm = i64::MIN).contains("ppm"));
        assert!(refused(&|file| file.plan.network.nic.ingress_per_second = 1).contains("bytes a second"));
        assert!(refused(&|file| file.plan.load.per_second = u64::MAX).contains("transactions"));
        assert!(refused(&|file| file.plan.load.data_bytes_max = 1_128).contains("bytes of data"));
        assert!(refused(&|file| file.plan.mempool.bytes_max = usize::MAX).contains("mempool"));
        for text in ["", "{}", "[]", "{\"format\": 1}"] {
            assert!(PlanFile::parse(text).is_err());
        }
    }

    /// Every object of a value, one after the other.
    fn objects(value: &mut serde_json::Value, visit: &mut dyn FnMut(&mut serde_json::Map<String, serde_json::Value>)) {
        match value {
            serde_json::Value::Array(parts) => parts.iter_mut().for_each(|part| objects(part, visit)),
            serde_json::Value::Object(parts) => {
                visit(parts);
                parts.values_mut().for_each(|part| objects(part, visit));
            }
            _ => {}
        }
    }

    /// A misspelt key must not be a default in silence, wherever it stands.
    #[test]
    fn an_unknown_key_is_refused_in_every_object_of_a_plan() {
        let file = PlanFile { format: FORMAT.to_string(), digest: String::new(), broken: BTreeSet::new(), plan: small() };
        let (mut at, mut named) = (0, 0);
        loop {
            let mut value = serde_json::to_value(&file).expect("a plan is plain data");
            let (mut seen, mut keys) = (0, Vec::new());
            objects(&mut value, &mut |object| {
                if seen == at {
                    keys = object.keys().cloned().collect();
                    object.insert("colour".into(), 1.into());
                }
                seen += 1;
            });
            if at == seen {
                break;
            }
            let refused = PlanFile::parse(&value.to_string());
            // A fault or a kind of behaviour is an object of one key, its name, and has no second one.
            let why = refused.err().unwrap_or_else(|| panic!("a colour among {keys:?} is taken"));
            named += usize::from(why.contains("unknown field `colour`"));
            at += 1;
        }
        assert!(at > 15 && named >= 10, "{at} objects, {named} of them with named fields");
    }

    /// A short run with every kind of number in its plan.
    fn small() -> Plan {
        let mut plan = Plan::calm("edited", 5, vec![1; 6]);
        (plan.hostile, plan.fragile) = (vec![(1, crate::hostile::Kind::ProposalTo(2))], vec![2]);
        plan.network.narrow = Some((3, plan.network.nic));
        (plan.faults_for, plan.watch_for) = (Nanos::from_millis(300), Nanos::from_millis(100));
        let span = Nanos::from_millis(20);
        let faults = [
            Fault::KillAt(0, crate::node::PersistPoint::Told, 1),
            Fault::OlderStore(2, 50),
            Fault::FailWrite(3, 1),
            Fault::Cut(vec![(0, 4)]),
            Fault::Join,
            Fault::ResetNic(4, span),
            Fault::Jump(5, span),
            Fault::Loss(1_000),
            Fault::Pause(0, span),
        ];
        plan.faults = (1..).map(|at| Nanos::from_millis(20 * at)).zip(faults).collect();
        plan
    }

    /// Every number of a value, one after the other.
    fn numbers(value: &mut serde_json::Value, visit: &mut dyn FnMut(&mut serde_json::Value)) {
        match value {
            serde_json::Value::Number(_) => visit(value),
            serde_json::Value::Array(parts) => parts.iter_mut().for_each(|part| numbers(part, visit)),
            serde_json::Value::Object(parts) => parts.values_mut().for_each(|part| numbers(part, visit)),
            _ => {}
        }
    }

    /// The text with its `at`-th number replaced; None past the last.
    fn with_number(file: &PlanFile, at: usize, number: u64) -> Option<String> {
        let mut value = serde_json::to_value(file).expect("a plan is plain data");
        let mut seen = 0;
        numbers(&mut value, &mut |found| {
            if seen == at {
                *found = number.into();
            }
            seen += 1;
        });
        (at < seen).then(|| value.to_string())
    }

    /// Whatever a hand writes for any number: one line, or a run that ends.
    #[test]
    fn any_number_in_a_file_is_refused_in_one_line_or_can_be_run() {
        let file = PlanFile { format: FORMAT.to_string(), digest: String::new(), broken: BTreeSet::new(), plan: small() };
        let mut kit = Kit::new();
        let (mut refused, mut ran) = (0, 0);
        for number in [u64::MAX, 1_000_000_000_000, 0] {
            for text in (0..).map_while(|at| with_number(&file, at, number)) {
                match PlanFile::parse(&text) {
                    Err(why) => {
                        assert!(!why.contains('\n'), "{why}");
                        refused += 1;
                    }
                    Ok(read) => {
                        let outcome = runner::run(&read.plan, &mut kit);
                        let panic = outcome.violations.iter().find(|violation| violation.detail.starts_with("panic"));
                        assert_eq!(panic, None, "{}", read.plan);
                        ran += 1;
                    }
                }
            }
        }
        assert!(refused > 100 && ran > 50, "{refused} refused, {ran} ran");
    }
}
