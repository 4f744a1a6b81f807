//! Applying a profile.
//!
//! ```text
//! per step:  journal (target, prior, wanted) -> synced -> write -> read back -> journal (done)
//! a step fails: what this run changed or moved is put back, whatever step moved it; the profile is applied whole or not at all
//! ```
//!
//! A prior value is on disk before its change, so a crash anywhere leaves a journal from which [`revert`](crate::revert::revert) restores
//! everything. What moves along (offloads with the one they depend on, the indirection table with channels) is journaled as its
//! own change.
//! An interrupt that the kernel manages refuses new CPUs; that one is skipped by name.

use crate::host::{Host, HostError};
use crate::journal::Record;
use crate::plan::{Plan, Selection, Skipped, Step, in_order, reaches};
use crate::profile::Profile;
use crate::restore::{Around, Back, Want, neighbours, restore};
use crate::state::{Entry, State, StateError};
use crate::target::Target;
use std::collections::HashMap;

/// Where a run stands; every point is reported before the next thing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The prior value is about to be journaled.
    Planned,
    /// It is on disk; the write comes next.
    Journaled,
    /// The machine has the value; it is read back next.
    Written,
    /// The value was read back and that is on disk.
    Confirmed,
    /// A value is about to be put back.
    Restoring,
    /// It was put back.
    Restored,
}

/// One report.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Where the run stands.
    pub point: Point,
    /// Name of the setting.
    pub name: &'a str,
    /// The shell command that does the same.
    pub command: &'a str,
}

/// Hears of every step.
pub type Observer<'a> = &'a mut dyn FnMut(&Event<'_>);

/// One value that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Name of the setting.
    pub name: String,
    /// Which value.
    pub target: Target,
    /// What it said when this run began.
    pub before: String,
    /// What it says.
    pub value: String,
    /// The shell command that does the same.
    pub command: String,
    /// What happened to the number on the way, or empty.
    pub note: String,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// In order.
    pub changed: Vec<Changed>,
    /// Names and targets that were right already.
    pub kept: Vec<(String, Target)>,
    /// Left out.
    pub skipped: Vec<Skipped>,
    /// Resource limits and values, for the persistent form.
    pub limits: Vec<(String, String)>,
    /// Every value that holds at the end, for the persistent form.
    pub values: Vec<(Target, String)>,
}

/// Why a profile was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing was changed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A step failed and everything of this run was put back.
    #[error("{step}: {error}; the {undone} values changed before it were put back")]
    RolledBack {
        /// Name of the setting.
        step: String,
        /// Why.
        error: Box<StepError>,
        /// Values put back.
        undone: usize,
    },
    /// A step failed and putting back failed as well.
    #[error("{step}: {error}; not everything could be put back ({left}): run `samara tune revert`")]
    Stuck {
        /// Name of the setting.
        step: String,
        /// Why.
        error: Box<StepError>,
        /// Targets that are not as before.
        left: String,
    },
}

/// Why one step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The machine said no.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The write was taken and the value is another.
    #[error("{target} = {wanted}: the kernel made {found} of it")]
    NotKept {
        /// Which value.
        target: String,
        /// What was written.
        wanted: String,
        /// What it says.
        found: String,
    },
    /// The journal could not be written.
    #[error(transparent)]
    State(#[from] StateError),
}

impl StepError {
    /// True when root would have been allowed.
    pub fn is_permission(&self) -> bool {
        matches!(self, StepError::Host(HostError::NotPermitted(_)) | StepError::State(StateError::NotPermitted(_)))
    }
}

/// Applies a profile whole, or not at all.
pub fn apply(
    host: &Host,
    state: &mut State,
    profile: &Profile,
    selection: &Selection,
    observer: Observer<'_>,
) -> Result<Applied, ApplyError> {
    let was_open = state.is_open();
    state.begin(host)?;
    state.adopt_moved(host)?;
    state.settle_cut(host)?;
    let mut run = Run { host, state, observer, applied: Applied::default(), fresh: Vec::new(), first: Vec::new() };
    for setting in in_order(profile) {
        // One at a time: a setting of a card decides which queues, interrupts and tables the next one finds.
        let plan = Plan::of_setting(host, setting, selection);
        run.applied.skipped.extend(plan.skipped);
        run.applied.limits.extend(plan.limits);
        for step in &plan.steps {
            if let Err(error) = run.step(step) {
                return Err(run.roll_back(step, error, was_open));
            }
        }
    }
    Ok(run.applied)
}

struct Run<'a, 'b> {
    host: &'a Host,
    state: &'a mut State,
    observer: Observer<'b>,
    applied: Applied,
    /// Targets that this run journaled first, and what was known of one that was only watched.
    fresh: Vec<(Target, Option<Entry>)>,
    /// What every target that this run touched, or that may move along, said when the run came to it.
    first: Vec<Want>,
}

impl Run<'_, '_> {
    fn tell(&mut self, point: Point, name: &str, command: &str) {
        (self.observer)(&Event { point, name, command });
    }

    fn step(&mut self, step: &Step) -> Result<(), StepError> {
        // What a step before this one left, not what the plan saw: settings of a card move each other.
        let now = match step.target.read(self.host) {
            Ok(now) => now.value,
            Err(error) => return Err(error.into()),
        };
        let right = step.target.same(&now, &step.wanted) || step.at_least && reaches(&now, &step.wanted);
        if right {
            return self.watch(step, now);
        }
        let around = neighbours(self.host, &step.target);
        self.remember(&step.name, &step.target, &now);
        around.iter().for_each(|(target, value)| self.remember(&format!("{} (follows)", step.name), target, value));
        let command = step.target.command(self.host, &step.wanted);
        self.tell(Point::Planned, &step.name, &command);
        self.journal(&step.target, &step.name, &now, &step.wanted, step.at_least, around.clone())?;
        self.tell(Point::Journaled, &step.name, &command);
        if let Err(error) = step.target.write(self.host, &step.wanted) {
            return match error {
                error if is_managed(&step.target, &error) => self.leave(step, format!("managed by the kernel ({error})")),
                error @ HostError::Refused { .. } if step.setting.optional && self.is_untouched(step, &now, &around) => {
                    self.leave(step, error.to_string())
                }
                error => Err(error.into()),
            };
        }
        self.tell(Point::Written, &step.name, &command);
        let value = step.target.read(self.host)?.value;
        let kept = step.target.same(&value, &step.wanted) || step.rounded || step.at_least && reaches(&value, &step.wanted);
        let moved = self.followers(step, around)?;
        self.state.put(Record::Done { target: step.target.clone(), value: value.clone() })?;
        self.applied.changed.push(Changed {
            name: step.name.clone(),
            target: step.target.clone(),
            before: now,
            value: value.clone(),
            command: command.clone(),
            note: note(step, &value),
        });
        self.applied.changed.extend(moved);
        if !kept {
            return Err(StepError::NotKept { target: step.target.to_string(), wanted: step.wanted.clone(), found: value });
        }
        self.applied.values.push((step.target.clone(), value));
        self.tell(Point::Confirmed, &step.name, &command);
        Ok(())
    }

    fn remember(&mut self, name: &str, target: &Target, value: &str) {
        if self.first.iter().all(|want| want.target != *target) {
            self.first.push(Want { name: name.to_string(), target: target.clone(), value: value.to_string() });
        }
    }

    fn is_fresh(&self, target: &Target) -> bool {
        self.fresh.iter().any(|(known, _)| known == target)
    }

    /// Already right: watched from here on, so that a change behind our back is seen.
    fn watch(&mut self, step: &Step, value: String) -> Result<(), StepError> {
        let wanted = if step.at_least { step.wanted.clone() } else { value.clone() };
        let known = self.state.session().entries.get(&step.target);
        if known.is_none_or(|entry| entry.expected != wanted || entry.at_least != step.at_least) {
            let (target, name) = (step.target.clone(), step.name.clone());
            self.state.put(Record::Watch { target, name, value: wanted, at_least: step.at_least })?;
        }
        self.applied.values.push((step.target.clone(), value));
        self.applied.kept.push((step.name.clone(), step.target.clone()));
        Ok(())
    }

    /// Writes the intent with the prior value that counts: the first of this session, or of this boot.
    fn journal(&mut self, target: &Target, name: &str, now: &str, wanted: &str, at_least: bool, around: Around) -> Result<(), StateError> {
        let session = self.state.session();
        let known = session.entries.get(target).and_then(|entry| Some((entry, entry.prior.clone()?)));
        let prior = match known {
            None => {
                self.fresh.push((target.clone(), session.entries.get(target).cloned()));
                now.to_string()
            }
            Some((entry, prior)) => {
                let is_ours = entry.ours.iter().any(|ours| target.same(ours, now));
                if entry.boot_id == session.boot_id || is_ours { prior } else { now.to_string() }
            }
        };
        let (target, name, wanted) = (target.clone(), name.to_string(), wanted.to_string());
        self.state.put(Record::Step { target, name, prior, wanted, at_least, around })
    }

    /// A refusal came before anything moved.
    fn is_untouched(&self, step: &Step, now: &str, around: &Around) -> bool {
        let says = |target: &Target, value: &str| target.read(self.host).is_ok_and(|now| target.same(&now.value, value));
        says(&step.target, now) && around.iter().all(|(target, value)| says(target, value))
    }

    /// The kernel says no to this one, and nothing changed.
    fn leave(&mut self, step: &Step, why: String) -> Result<(), StepError> {
        if self.is_fresh(&step.target) {
            self.state.put(Record::Undone { target: step.target.clone() })?;
            self.fresh.retain(|(target, _)| *target != step.target);
        }
        self.applied.skipped.push(Skipped { name: step.name.clone(), what: step.target.to_string(), why });
        Ok(())
    }

    /// Journals what moved along with the change of this step.
    fn followers(&mut self, step: &Step, before: Around) -> Result<Vec<Changed>, StepError> {
        let mut moved = Vec::new();
        let after: HashMap<Target, String> = neighbours(self.host, &step.target).into_iter().collect();
        for (target, before) in before {
            let Some(value) = after.get(&target).filter(|value| **value != before).cloned() else { continue };
            let name = format!("{} (follows)", step.name);
            self.journal(&target, &name, &before, &value, false, Vec::new())?;
            self.state.put(Record::Done { target: target.clone(), value: value.clone() })?;
            let (command, note) = (target.command(self.host, &value), format!("moved with {}", step.target));
            moved.push(Changed { name, target, before, value, command, note });
        }
        Ok(moved)
    }

    /// Puts back everything that this run changed or moved, the step that failed included: it was perhaps written all the same.
    fn roll_back(mut self, failed: &Step, error: StepError, was_open: bool) -> ApplyError {
        let (step, error, undone) = (failed.name.clone(), Box::new(error), self.applied.changed.len());
        let first = std::mem::take(&mut self.first);
        // A crash from here on is that of a revert. Where the disk does not take the record, putting back goes before remembering it.
        let (ours, around): (Vec<&Want>, Vec<&Want>) = first.iter().partition(|want| self.is_fresh(&want.target));
        let targets = ours.into_iter().map(|want| want.target.clone()).collect();
        let around = around.into_iter().map(|want| (want.target.clone(), want.value.clone())).collect();
        let _ = self.state.put(Record::Reverting { targets, around });
        let backs = restore(self.host, &first, self.observer);
        let left: Vec<String> = first
            .iter()
            .zip(backs)
            .filter_map(|(want, back)| match back {
                Back::Failed(why) => Some(format!("{}: {why}", want.target)),
                _ => None,
            })
            .collect();
        if !left.is_empty() {
            return ApplyError::Stuck { step, error, left: left.join(", ") };
        }
        let forgotten = if was_open { forget(self.state, &first, self.fresh) } else { self.state.close() };
        match forgotten {
            Ok(()) => ApplyError::RolledBack { step, error, undone },
            Err(state) => ApplyError::Stuck { step, error, left: state.to_string() },
        }
    }
}

/// Everything of the run that failed is as it was when that run began, and so is what the session knows of it.
fn forget(state: &mut State, first: &[Want], fresh: Vec<(Target, Option<Entry>)>) -> Result<(), StateError> {
    for want in first.iter().filter(|want| fresh.iter().all(|(target, _)| *target != want.target)) {
        // Journaled by an earlier run: its prior value stays, its value of before this run is what counts again.
        let known = state.session().entries.get(&want.target).filter(|entry| entry.expected != want.value || !entry.finished);
        let Some((prior, at_least)) = known.and_then(|entry| Some((entry.prior.clone()?, entry.at_least))) else { continue };
        let (target, name, value) = (want.target.clone(), want.name.clone(), want.value.clone());
        state.put(Record::Step { target: target.clone(), name, prior, wanted: value.clone(), at_least, around: Vec::new() })?;
        state.put(Record::Done { target, value })?;
    }
    for (target, watched) in fresh {
        state.put(Record::Undone { target: target.clone() })?;
        if let Some(Entry { name, expected, at_least, .. }) = watched {
            state.put(Record::Watch { target, name, value: expected, at_least })?;
        }
    }
    // Nothing is under way any more.
    state.put(Record::Reverting { targets: Vec::new(), around: Vec::new() })
}

/// The kernel keeps the CPUs of some interrupts to itself and says so with these errors.
fn is_managed(target: &Target, error: &HostError) -> bool {
    let HostError::Refused { error, .. } = error else { return false };
    matches!(target, Target::Irq(_)) && matches!(error.raw_os_error(), Some(libc::EIO | libc::EPERM))
}

fn note(step: &Step, value: &str) -> String {
    let made = if step.target.same(value, &step.wanted) { String::new() } else { format!("the driver made {value} of {}", step.wanted) };
    [step.note.clone(), made].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}
