//! Putting everything back, and seeing what moved.
//!
//! A value is put back when it is one that we wrote, or when a crash cut its change in this boot. A value that somebody else changed is
//! theirs: it is left, reported, and stays in the journal until `force`. After a reboot most values are the boot's; those are left for good.
//!
//! Values are put back last first, and once more where one was refused or moved again while others were put back (a table needs its
//! channels, channels move tables). The journal is closed only after every value was read back at the end; until then a crash changes
//! nothing: the next revert starts over, and what is back already is left alone.

use crate::apply::{Event, Observer, Point};
use crate::host::Host;
use crate::journal::Record;
use crate::plan::reaches;
use crate::state::{Entry, Session, State, StateError};
use crate::target::Target;

/// Rounds until everything holds.
const ROUNDS: usize = 4;

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
    /// The interface, interrupt or file is gone, and its value with it.
    Gone,
    /// It could not be put back.
    Failed(String),
}

impl Ending {
    /// Nothing is left to do for it.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Ending::Foreign(_) | Ending::Failed(_))
    }

    /// A word for tables and JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Ending::Restored => "restored",
            Ending::AsBefore => "as before",
            Ending::Rebooted(_) => "reset by the reboot",
            Ending::Foreign(_) => "changed by somebody else",
            Ending::Gone => "gone",
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
    let mut endings: Vec<Option<Ending>> =
        changes.iter().map(|(target, entry, prior)| not_ours(host, target, entry, prior, &boot_id).filter(|_| !force)).collect();
    let released = changes.iter().zip(&endings).filter(|(_, ending)| ending.is_none()).map(|((target, ..), _)| target.clone()).collect();
    if !changes.is_empty() {
        state.begin(host)?;
        state.put(Record::Reverting { targets: released })?;
    }
    for _ in 0..ROUNDS {
        let mut moved = false;
        for (place, (target, entry, prior)) in changes.iter().enumerate().rev() {
            if matches!(endings[place], Some(Ending::Foreign(_) | Ending::Rebooted(_) | Ending::Gone)) {
                continue;
            }
            let ending = put_back(host, target, entry, prior, observer);
            moved |= matches!(ending, Ending::Restored | Ending::Failed(_));
            let was_restored = endings[place] == Some(Ending::Restored);
            endings[place] = Some(if was_restored && ending == Ending::AsBefore { Ending::Restored } else { ending });
        }
        if !moved {
            break;
        }
    }
    let outcomes: Vec<Outcome> = changes
        .into_iter()
        .zip(endings)
        .map(|((target, entry, prior), ending)| Outcome { name: entry.name, target, prior, ending: ending.unwrap_or(Ending::AsBefore) })
        .collect();
    let reverted = Reverted { outcomes, after_reboot };
    settle(state, &reverted)?;
    Ok(reverted)
}

/// Closes the session, or forgets what is settled of it.
fn settle(state: &mut State, reverted: &Reverted) -> Result<(), StateError> {
    if reverted.is_complete() {
        return state.close();
    }
    let watched: Vec<Target> =
        state.session().iter().filter(|(_, entry)| entry.prior.is_none()).map(|(target, _)| target.clone()).collect();
    let settled = reverted.outcomes.iter().filter(|outcome| outcome.ending.is_settled()).map(|outcome| outcome.target.clone());
    watched.into_iter().chain(settled).try_for_each(|target| state.put(Record::Undone { target }))
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

fn put_back(host: &Host, target: &Target, entry: &Entry, prior: &str, observer: Observer<'_>) -> Ending {
    match target.read(host) {
        Ok(now) if target.same(&now.value, prior) => return Ending::AsBefore,
        Ok(_) => {}
        Err(error) if error.is_absent() => return Ending::Gone,
        Err(error) => return Ending::Failed(error.to_string()),
    }
    let command = target.command(host, prior);
    observer(&Event { point: Point::Restoring, name: &entry.name, command: &command });
    if let Err(error) = target.write(host, prior) {
        return if error.is_absent() { Ending::Gone } else { Ending::Failed(error.to_string()) };
    }
    match target.read(host) {
        Ok(now) if target.same(&now.value, prior) => {
            observer(&Event { point: Point::Restored, name: &entry.name, command: &command });
            Ending::Restored
        }
        Ok(now) => Ending::Failed(format!("{target} says {} after {prior} was written", now.value)),
        Err(error) => Ending::Failed(error.to_string()),
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

/// Compares every value of the session with the machine.
pub fn check(host: &Host, session: &Session) -> Vec<Drift> {
    let drift = |(target, entry): (&Target, &Entry)| {
        let found = match target.read(host) {
            Ok(now) if target.same(&now.value, &entry.expected) => return None,
            Ok(now) if entry.at_least && reaches(&now.value, &entry.expected) => return None,
            Ok(now) => now.value,
            Err(error) => error.to_string(),
        };
        let command = target.command(host, &entry.expected);
        Some(Drift { name: entry.name.clone(), target: target.clone(), expected: entry.expected.clone(), found, command })
    };
    session.iter().filter_map(drift).collect()
}
