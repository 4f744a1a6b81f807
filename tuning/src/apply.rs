//! Applying a profile.
//!
//! ```text
//! per step:  journal (target, prior, wanted) -> synced -> write -> read back -> journal (done)
//! a step fails: what this run changed is written back, last first; the profile is applied whole or not at all
//! ```
//!
//! A prior value is on disk before its change, so a crash anywhere leaves a journal from which [`revert`](crate::revert::revert) restores
//! everything. What moves along (offloads with the one they depend on, the indirection table with channels) is journaled as its
//! own change.
//! An interrupt that the kernel manages refuses new CPUs; that one is skipped by name.

use crate::host::ethtool::Item;
use crate::host::{Host, HostError};
use crate::journal::Record;
use crate::plan::{Plan, Selection, Skipped, Step, in_order, reaches};
use crate::profile::Profile;
use crate::state::{State, StateError};
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
    #[error("{step}: {error}; {left} could not be put back: run `samara tune revert`")]
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
    let mut run = Run { host, state, observer, applied: Applied::default(), fresh: Vec::new(), current: None };
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

/// Targets that may move along with a change, and their values before.
type Around = Vec<(Target, String)>;

struct Run<'a, 'b> {
    host: &'a Host,
    state: &'a mut State,
    observer: Observer<'b>,
    applied: Applied,
    /// Targets that this run journaled first.
    fresh: Vec<Target>,
    /// Name, target and value before, of the change under way.
    current: Option<(String, Target, String)>,
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
        let neighbours = self.neighbours(&step.target);
        let command = step.target.command(self.host, &step.wanted);
        self.tell(Point::Planned, &step.name, &command);
        self.current = Some((step.name.clone(), step.target.clone(), now.clone()));
        self.journal(&step.target, &step.name, &now, &step.wanted, step.at_least, neighbours.clone())?;
        self.tell(Point::Journaled, &step.name, &command);
        if let Err(error) = step.target.write(self.host, &step.wanted) {
            return if is_managed(&step.target, &error) { self.leave(step, &error) } else { Err(error.into()) };
        }
        self.tell(Point::Written, &step.name, &command);
        let value = step.target.read(self.host)?.value;
        let kept = step.target.same(&value, &step.wanted) || step.rounded || step.at_least && reaches(&value, &step.wanted);
        let moved = self.followers(step, neighbours)?;
        self.state.put(Record::Done { target: step.target.clone(), value: value.clone() })?;
        self.current = None;
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
                self.fresh.push(target.clone());
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

    /// The kernel manages this interrupt; nothing changed.
    fn leave(&mut self, step: &Step, error: &HostError) -> Result<(), StepError> {
        if self.fresh.contains(&step.target) {
            self.state.put(Record::Undone { target: step.target.clone() })?;
            self.fresh.retain(|target| *target != step.target);
        }
        self.current = None;
        let why = format!("managed by the kernel ({error})");
        self.applied.skipped.push(Skipped { name: step.name.clone(), what: step.target.to_string(), why });
        Ok(())
    }

    /// What the kernel may move along with this target: other offloads with one, the indirection table with channels.
    fn neighbours(&self, target: &Target) -> Around {
        let Target::Nic { interface, item: own } = target else { return Vec::new() };
        let of_card = |item: Item| Target::Nic { interface: interface.clone(), item };
        match own {
            Item::Channels(_) => of_card(Item::Rss).read(self.host).map(|now| vec![(of_card(Item::Rss), now.value)]).unwrap_or_default(),
            Item::Feature(name) => {
                let features = self.host.ethtool().features(interface).unwrap_or_default();
                let others = features.into_iter().filter(|feature| feature.name != *name);
                others.map(|feature| (of_card(Item::Feature(feature.name)), if feature.on { "on" } else { "off" }.to_string())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Journals what moved along with the change of this step.
    fn followers(&mut self, step: &Step, before: Around) -> Result<Vec<Changed>, StepError> {
        let mut moved = Vec::new();
        let after: HashMap<Target, String> = self.neighbours(&step.target).into_iter().collect();
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

    /// Puts back what this run changed, and the step that failed, last first.
    fn roll_back(mut self, failed: &Step, error: StepError, was_open: bool) -> ApplyError {
        let undone = self.applied.changed.len();
        let mut todo: Vec<(String, Target, String)> =
            self.applied.changed.drain(..).map(|changed| (changed.name, changed.target, changed.before)).collect();
        // The step that failed was perhaps written all the same.
        todo.extend(self.current.take());
        let mut left: Vec<String> = Vec::new();
        // Twice: a value may be refused until one that comes later in the list is back.
        for _ in 0..2 {
            left.clear();
            for (name, target, before) in todo.iter().rev() {
                if let Err(error) = self.put_back(name, target, before) {
                    left.push(format!("{target} ({error})"));
                }
            }
            if left.is_empty() {
                break;
            }
        }
        let step = failed.name.clone();
        if !left.is_empty() {
            return ApplyError::Stuck { step, error: Box::new(error), left: left.join(", ") };
        }
        match self.forget(was_open) {
            Ok(()) => ApplyError::RolledBack { step, error: Box::new(error), undone },
            Err(state) => ApplyError::Stuck { step, error: Box::new(error), left: state.to_string() },
        }
    }

    fn put_back(&mut self, name: &str, target: &Target, before: &str) -> Result<(), StepError> {
        let is_fresh = self.fresh.contains(target);
        if !is_fresh && self.state.session().entries.get(target).is_none_or(|entry| entry.expected != before) {
            // From an earlier run: its prior value stays, its value of before this run is what counts again.
            self.journal(target, name, before, before, false, Vec::new())?;
            self.state.put(Record::Done { target: target.clone(), value: before.to_string() })?;
        }
        if target.same(&target.read(self.host)?.value, before) {
            return Ok(());
        }
        let command = target.command(self.host, before);
        self.tell(Point::Restoring, name, &command);
        target.write(self.host, before)?;
        let found = target.read(self.host)?.value;
        if !target.same(&found, before) {
            return Err(StepError::NotKept { target: target.to_string(), wanted: before.to_string(), found });
        }
        self.tell(Point::Restored, name, &command);
        Ok(())
    }

    /// Everything this run journaled first is as before.
    fn forget(&mut self, was_open: bool) -> Result<(), StateError> {
        if !was_open {
            return self.state.close();
        }
        std::mem::take(&mut self.fresh).into_iter().try_for_each(|target| self.state.put(Record::Undone { target }))
    }
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
