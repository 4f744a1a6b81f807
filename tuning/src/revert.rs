//! Putting everything back, and seeing what moved.
//!
//! A value is put back when it is one that we wrote, or when a crash cut its change in this boot. A value that somebody else changed is
//! theirs: it is left, reported, and stays in the journal until `force`. So does one whose interface or CPU is away, since it may come back
//! with our value. After a reboot most values are the boot's; those are left for good.
//!
//! Values that move along with others (the neighbours of `restore`) are looked at before the first write and put back with the rest:
//! a table that somebody set between apply and revert is theirs, and stays although its channels change under it.
//!
//! The journal is closed only after every value was read back at the end; until then a crash changes nothing: the next revert starts over,
//! and what is back already is left alone.

use crate::apply::Observer;
use crate::host::{Host, HostError};
use crate::journal::Record;
use crate::plan::reaches;
use crate::restore::{Around, Back, Want, neighbours, restore};
use crate::state::{Entry, Session, State, StateError};
use crate::target::Target;

/// How one value ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Put back.
    Restored,
    /// It said the prior value already.
    AsBefore,
    /// The reboot gave it another value, which is left.
    Rebooted(String),
    /// Somebody else gave it another value, which is left; `force` puts it back.
    Foreign(String),
    /// The interface, interrupt or file is gone for good, and its value with it: with what was put back, or with the boot.
    Gone,
    /// The interface, interrupt or file was not there to begin with, and may come back with our value; `force` forgets it.
    Missing,
    /// It could not be put back.
    Failed(String),
}

impl Ending {
    /// Nothing is left to do for it.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Ending::Foreign(_) | Ending::Failed(_) | Ending::Missing)
    }

    /// A word for tables and JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Ending::Restored => "restored",
            Ending::AsBefore => "as before",
            Ending::Rebooted(_) => "reset by the reboot",
            Ending::Foreign(_) => "changed by somebody else",
            Ending::Gone => "gone",
            Ending::Missing => "missing",
            Ending::Failed(_) => "failed",
        }
    }
}

/// One value after a revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Name of the setting.
    pub name: String,
    /// Which value.
    pub target: Target,
    /// What it said before the first change.
    pub prior: String,
    /// How it ended.
    pub ending: Ending,
}

/// What a revert did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reverted {
    /// In the order of first change.
    pub outcomes: Vec<Outcome>,
    /// The machine was booted since the last change.
    pub after_reboot: bool,
}

impl Reverted {
    /// Everything is as before, and the journal is closed.
    pub fn is_complete(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.ending.is_settled())
    }
}

/// Puts everything back that the session changed. Without a session there is nothing to do.
pub fn revert(host: &Host, state: &mut State, force: bool, observer: Observer<'_>) -> Result<Reverted, StateError> {
    let boot_id = host.boot_id();
    let after_reboot = state.is_open() && state.session().boot_id != boot_id;
    state.adopt_moved(host)?;
    let changed = |(target, entry): (&Target, &Entry)| Some((target.clone(), entry.clone(), entry.prior.clone()?));
    let changes: Vec<(Target, Entry, String)> = state.session().iter().filter_map(changed).collect();
    // Whose the values are is seen before the first write: putting one back may move another.
    let judge = |(target, entry, prior): &(Target, Entry, String)| not_ours(host, target, entry, prior, &boot_id).filter(|_| !force);
    // A queue that goes with the channels that are put back is no loss, a card that is away is; which of the two is seen now as well.
    let is_missing = |target: &Target, entry: &Entry| {
        let absent = target.read(host).is_err_and(|error| error.is_absent());
        absent && !force && !entry.released && entry.boot_id == boot_id
    };
    let (mut wants, mut released, mut missing, mut outcomes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for change @ (target, entry, prior) in &changes {
        let left = judge(change);
        if left.is_none() {
            if is_missing(target, entry) {
                missing.push(target.clone())
            } else {
                released.push(target.clone())
            }
            wants.push(Want { name: entry.name.clone(), target: target.clone(), value: prior.clone() });
        }
        outcomes.push(Outcome {
            name: entry.name.clone(),
            target: target.clone(),
            prior: prior.clone(),
            ending: left.unwrap_or(Ending::AsBefore),
        });
    }
    let around = stay(host, state.session(), &changes, &outcomes, &boot_id);
    wants.extend(around.iter().map(|(target, value)| Want { name: "(follows)".into(), target: target.clone(), value: value.clone() }));
    if !changes.is_empty() {
        state.begin(host)?;
        state.put(Record::Reverting { targets: released.clone(), around })?;
    }
    let backs = restore(host, &wants, observer);
    for (want, back) in wants.into_iter().zip(backs) {
        let ending = match back {
            Back::AsBefore => Ending::AsBefore,
            Back::Restored => Ending::Restored,
            Back::Gone if missing.contains(&want.target) => Ending::Missing,
            Back::Gone => Ending::Gone,
            Back::Failed(why) => Ending::Failed(why),
        };
        match outcomes.iter_mut().find(|outcome| outcome.target == want.target) {
            Some(outcome) if released.contains(&want.target) || missing.contains(&want.target) => outcome.ending = ending,
            Some(_) => {}
            // A neighbour speaks only when it could not be kept as it was.
            None if matches!(ending, Ending::Failed(_)) => {
                outcomes.push(Outcome { name: want.name, target: want.target, prior: want.value, ending });
            }
            None => {}
        }
    }
    let reverted = Reverted { outcomes, after_reboot };
    settle(state, &reverted)?;
    Ok(reverted)
}

/// What must say at the end what it says at the beginning: values that are somebody else's, and neighbours of what is put back. A neighbour
/// that is gone at the beginning (a queue, with its channels) shall say what it said before our change. The beginning is that of the first
/// revert, where a crash cut one.
fn stay(host: &Host, session: &Session, changes: &[(Target, Entry, String)], outcomes: &[Outcome], boot_id: &str) -> Around {
    let mut around = Around::new();
    let mut add = |target: &Target, value: String| {
        if changes.iter().all(|(known, ..)| known != target) && around.iter().all(|(known, _)| known != target) {
            around.push((target.clone(), value));
        }
    };
    for ((target, entry, _), _) in changes.iter().zip(outcomes).filter(|(_, outcome)| outcome.ending == Ending::AsBefore) {
        neighbours(host, target).into_iter().for_each(|(neighbour, now)| add(&neighbour, now));
        for (neighbour, before) in entry.around.iter().filter(|_| entry.boot_id == boot_id) {
            let absent = neighbour.read(host).is_err_and(|error| error.is_absent());
            if absent {
                add(neighbour, before.clone());
            }
        }
    }
    let at_first = |target: &Target| session.around.iter().find(|(known, _)| session.boot_id == boot_id && known == target);
    let left = outcomes.iter().filter_map(|outcome| match &outcome.ending {
        Ending::Foreign(found) | Ending::Rebooted(found) => {
            Some((outcome.target.clone(), at_first(&outcome.target).map_or(found, |(_, first)| first).clone()))
        }
        _ => None,
    });
    around.extend(left);
    around
}

/// Closes the session, or forgets what is settled of it.
fn settle(state: &mut State, reverted: &Reverted) -> Result<(), StateError> {
    if reverted.is_complete() {
        return state.close();
    }
    let watched: Vec<Target> =
        state.session().iter().filter(|(_, entry)| entry.prior.is_none()).map(|(target, _)| target.clone()).collect();
    let settled = reverted.outcomes.iter().filter(|outcome| outcome.ending.is_settled()).map(|outcome| outcome.target.clone());
    watched.into_iter().chain(settled).try_for_each(|target| state.put(Record::Undone { target }))?;
    // Nothing is under way any more: who changes a value from here on means it.
    state.put(Record::Reverting { targets: Vec::new(), around: Vec::new() })
}

/// What a value is that is neither the prior one nor ours.
fn not_ours(host: &Host, target: &Target, entry: &Entry, prior: &str, boot_id: &str) -> Option<Ending> {
    let found = target.read(host).ok()?.value;
    let same_boot = entry.boot_id == boot_id;
    let known = entry.ours.iter().any(|ours| target.same(ours, &found)) || target.same(&found, prior);
    // A change that a crash cut may have left a value the driver rounded, which was never read back; a revert that a crash cut may have
    // moved this one while it put back another.
    let was_cut = same_boot && (!entry.finished || entry.released);
    match (known || was_cut, same_boot) {
        (true, _) => None,
        (false, true) => Some(Ending::Foreign(found)),
        (false, false) => Some(Ending::Rebooted(found)),
    }
}

/// One value that is not what it was set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Name of the setting.
    pub name: String,
    /// Which value.
    pub target: Target,
    /// What it should say.
    pub expected: String,
    /// What it says, or why it cannot be read.
    pub found: String,
    /// The shell command that sets it again.
    pub command: String,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Values that say something else.
    pub drifts: Vec<Drift>,
    /// Values that this user may not see: nothing is known of them.
    pub unseen: Vec<Target>,
}

/// Compares every value of the session with the machine.
pub fn check(host: &Host, session: &Session) -> Checked {
    let mut checked = Checked::default();
    for (target, entry) in session.iter() {
        let found = match target.read(host) {
            Ok(now) if target.same(&now.value, &entry.expected) => continue,
            Ok(now) if entry.at_least && reaches(&now.value, &entry.expected) => continue,
            Ok(now) => now.value,
            Err(HostError::NotPermitted(_)) => {
                checked.unseen.push(target.clone());
                continue;
            }
            Err(error) => error.to_string(),
        };
        let command = target.command(host, &entry.expected);
        checked.drifts.push(Drift { name: entry.name.clone(), target: target.clone(), expected: entry.expected.clone(), found, command });
    }
    checked
}
