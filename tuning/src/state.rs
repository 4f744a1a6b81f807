//! The state directory: who holds it, and what the journal in it says was changed.
//!
//! ```text
//! STATE/lock             held by the one that applies or reverts
//!       journal          the open session, if there is one
//!       journal.closed   the last one that was reverted in full
//! ```
//!
//! Root does what the journal says, so nobody else may be able to write it: the directory belongs to who runs this, or to root, and only they
//! may write there; its files are no links.
//!
//! A session begins with the first change and ends, by the renaming, when everything is as before. In it, the first prior value of a target counts: applying
//! again, or another profile, does not replace it. After a reboot the values are the boot's; then a target that does not say what we
//! wrote gets a fresh prior value when it is changed again.

use crate::host::Host;
use crate::journal::{Journal, JournalError, Record, VERSION, open_regular, read, sync_directory};
use crate::restore::Around;
use crate::sys::probe;
use crate::target::Target;
use std::collections::HashMap;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where the state lies, seen from the root.
pub const STATE_DIR: &str = "/var/lib/samara/tuning";

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Somebody else is at it.
    #[error("{0}: another `samara tune` is at work; wait for it")]
    Busy(String),
    /// This process may not write there.
    #[error("{0}: not permitted; run as root, or name another place with --state")]
    NotPermitted(String),
    /// The disk said no.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// Others may write there.
    #[error("{0}: {1}; nothing was changed (name a directory of your own with --state)")]
    NotOurs(String, String),
    /// The directory was copied from elsewhere.
    #[error("{0} belongs to another machine (machine-id {1}, here {2}); nothing was changed")]
    OtherMachine(String, String, String),
    /// The network settings of this session live elsewhere.
    #[error("{0} belongs to network namespace {1}, this is {2}; run it there (nothing was changed)")]
    OtherNamespace(String, String, String),
}

/// What the session knows of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the setting.
    pub name: String,
    /// Before the first change; nothing for a value that is only watched.
    pub prior: Option<String>,
    /// What it should say: as read back, else as wanted.
    pub expected: String,
    /// More is no drift.
    pub at_least: bool,
    /// Every value we may have left there.
    pub ours: Vec<String>,
    /// The last change was read back.
    pub finished: bool,
    /// A revert of this boot has begun to put it back.
    pub released: bool,
    /// What may move along with it, and its values before the first change.
    pub around: Around,
    /// Boot in which it was last changed.
    pub boot_id: String,
}

/// The open session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// By target.
    pub entries: HashMap<Target, Entry>,
    /// Targets in the order of their first change.
    pub order: Vec<Target>,
    /// Machine it belongs to.
    pub machine_id: String,
    /// Boot of its last records.
    pub boot_id: String,
    /// Network namespace of its last records.
    pub network_namespace: String,
    /// What values have to say that a revert under way may move.
    pub around: Around,
    /// Has a first record.
    open: bool,
}

impl Session {
    fn take(&mut self, record: Record) {
        match record {
            Record::Open { machine_id, boot_id, network_namespace, .. } => {
                (self.machine_id, self.boot_id, self.network_namespace, self.open) = (machine_id, boot_id, network_namespace, true);
            }
            Record::Boot { boot_id, network_namespace } => {
                (self.boot_id, self.network_namespace, self.around) = (boot_id, network_namespace, Around::new());
            }
            Record::Step { target, name, prior, wanted, at_least, around } => {
                let boot_id = self.boot_id.clone();
                let entry = self.entry(target, &name);
                let mut ours = std::mem::take(&mut entry.ours);
                ours.push(wanted.clone());
                let mut first = if entry.boot_id == boot_id { std::mem::take(&mut entry.around) } else { Around::new() };
                let later = around.into_iter().filter(|(target, _)| first.iter().all(|(known, _)| known != target)).collect::<Around>();
                first.extend(later);
                *entry = Entry {
                    name,
                    prior: Some(prior),
                    expected: wanted,
                    at_least,
                    ours,
                    finished: false,
                    released: false,
                    around: first,
                    boot_id,
                };
            }
            Record::Done { target, value } => {
                if let Some(entry) = self.entries.get_mut(&target) {
                    entry.ours.push(value.clone());
                    (entry.expected, entry.finished, entry.released) = (value, true, false);
                }
            }
            Record::Watch { target, name, value, at_least } => {
                let boot_id = self.boot_id.clone();
                let entry = self.entry(target, &name);
                (entry.name, entry.expected, entry.at_least, entry.boot_id) = (name, value, at_least, boot_id);
            }
            Record::Reverting { targets, around } => {
                let boot_id = self.boot_id.clone();
                self.around = around;
                self.entries.values_mut().for_each(|entry| entry.released = false);
                for target in targets {
                    if let Some(entry) = self.entries.get_mut(&target) {
                        (entry.released, entry.boot_id) = (true, boot_id.clone());
                    }
                }
            }
            Record::Undone { target } => {
                self.entries.remove(&target);
                self.order.retain(|other| *other != target);
            }
        }
    }

    fn entry(&mut self, target: Target, name: &str) -> &mut Entry {
        if !self.entries.contains_key(&target) {
            self.order.push(target.clone());
        }
        let boot_id = self.boot_id.clone();
        self.entries.entry(target).or_insert_with(|| Entry {
            name: name.to_string(),
            prior: None,
            expected: String::new(),
            at_least: false,
            ours: Vec::new(),
            finished: true,
            released: false,
            around: Vec::new(),
            boot_id,
        })
    }

    /// Targets with their entries, in the order of their first change.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Target, &Entry)> {
        self.order.iter().filter_map(|target| Some((target, self.entries.get(target)?)))
    }

    /// Whether something is journaled that is not restored.
    pub fn has_changes(&self) -> bool {
        self.entries.values().any(|entry| entry.prior.is_some())
    }
}

fn journal_path(dir: &Path) -> PathBuf {
    dir.join("journal")
}

fn load(dir: &Path) -> Result<(Session, u64), StateError> {
    let (records, good) = read(&journal_path(dir)).map_err(|error| match error {
        JournalError::Io(name, error) if error.kind() == ErrorKind::PermissionDenied => StateError::NotPermitted(name),
        error => error.into(),
    })?;
    let mut session = Session::default();
    records.into_iter().for_each(|record| session.take(record));
    Ok((session, good))
}

fn check_owner(dir: &Path, session: &Session, host: &Host) -> Result<(), StateError> {
    let (here, namespace) = (host.machine_id(), host.network_namespace());
    let name = || journal_path(dir).display().to_string();
    if session.machine_id != here {
        return Err(StateError::OtherMachine(name(), session.machine_id.clone(), here));
    }
    // Numbers of namespaces mean something within one boot only.
    if session.boot_id == host.boot_id() && session.network_namespace != namespace {
        return Err(StateError::OtherNamespace(name(), session.network_namespace.clone(), namespace));
    }
    Ok(())
}

/// The open session for reading, if there is one; needs no lock and no privilege beyond reading.
pub fn peek(dir: &Path, host: &Host) -> Result<Option<Session>, StateError> {
    let (session, _) = load(dir)?;
    if !session.open {
        return Ok(None);
    }
    check_owner(dir, &session, host)?;
    Ok(Some(session))
}

/// The state directory, held against everybody else.
pub struct State {
    dir: PathBuf,
    session: Session,
    good: u64,
    journal: Option<Journal>,
    _lock: File,
}

impl State {
    /// Takes the directory, makes it if missing, and reads the session in it.
    pub fn hold(dir: &Path, host: &Host) -> Result<State, StateError> {
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StateError::NotPermitted(dir.display().to_string()),
            _ => StateError::Io(dir.display().to_string(), error),
        };
        create_durably(dir).map_err(failed)?;
        check_directory(dir).map_err(failed)??;
        let lock = open_regular(File::options().create(true).truncate(false).write(true), &dir.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Busy(dir.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let (session, good) = load(dir)?;
        let state = State { dir: dir.to_path_buf(), session, good, journal: None, _lock: lock };
        if state.session.open {
            check_owner(dir, &state.session, host)?;
        }
        Ok(state)
    }

    /// What the journal says.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// True when the session has records.
    pub fn is_open(&self) -> bool {
        self.session.open
    }

    /// Makes the journal ready for records of this boot.
    pub fn begin(&mut self, host: &Host) -> Result<(), StateError> {
        let (boot_id, network_namespace) = (host.boot_id(), host.network_namespace());
        if !self.session.open {
            self.put(Record::Open { version: VERSION, machine_id: host.machine_id(), boot_id, network_namespace })
        } else if self.session.boot_id != boot_id {
            self.put(Record::Boot { boot_id, network_namespace })
        } else {
            Ok(())
        }
    }

    /// Journals what moved along with a change of this boot, or with a revert, that a crash cut before it could be journaled.
    pub fn adopt_moved(&mut self, host: &Host) -> Result<(), StateError> {
        let cut = |entry: &&Entry| !entry.finished && entry.boot_id == host.boot_id();
        let mut around: Vec<(Target, String, String)> = self
            .session
            .entries
            .values()
            .filter(cut)
            .flat_map(|entry| entry.around.iter().map(|(target, before)| (target.clone(), before.clone(), entry.name.clone())))
            .collect();
        if self.session.boot_id == host.boot_id() {
            let reverting = self.session.around.iter().filter(|(target, _)| !self.session.entries.contains_key(target));
            around.extend(reverting.map(|(target, before)| (target.clone(), before.clone(), "revert".to_string())));
        }
        for (target, before, name) in around {
            let Ok(now) = target.read(host) else { continue };
            if target.same(&now.value, &before) {
                continue;
            }
            let prior = self.session.entries.get(&target).and_then(|entry| entry.prior.clone()).unwrap_or(before);
            let name = format!("{name} (follows)");
            self.put(Record::Step { target: target.clone(), name, prior, wanted: now.value.clone(), at_least: false, around: Vec::new() })?;
            self.put(Record::Done { target, value: now.value })?;
        }
        Ok(())
    }

    /// Ends what a crash cut, in a run that changes values again: what a value says now is the last that is taken for ours without having
    /// been read back. Who changes it from here on means it.
    pub fn settle_cut(&mut self, host: &Host) -> Result<(), StateError> {
        let (boot_id, mut records) = (host.boot_id(), Vec::new());
        for (target, entry) in self.session.iter().filter(|(_, entry)| !entry.finished || entry.released) {
            let Some(prior) = &entry.prior else { continue };
            let now = target.read(host).ok().map(|now| now.value).filter(|_| entry.boot_id == boot_id);
            let target = target.clone();
            records.push(match now {
                Some(now) if target.same(&now, prior) => Record::Undone { target },
                Some(value) => Record::Done { target, value },
                // Another boot's, or not there: nothing of what it says is ours.
                None => Record::Done { target, value: entry.expected.clone() },
            });
        }
        if !self.session.around.is_empty() {
            records.push(Record::Reverting { targets: Vec::new(), around: Vec::new() });
        }
        records.into_iter().try_for_each(|record| self.put(record))
    }

    /// Appends a record; when this returns, the disk has it.
    pub fn put(&mut self, record: Record) -> Result<(), StateError> {
        if self.journal.is_none() {
            self.journal = Some(Journal::append_after(&journal_path(&self.dir), self.good)?);
        }
        self.journal.as_mut().expect("opened above").append(&record)?;
        self.session.take(record);
        Ok(())
    }

    /// Ends the session: everything is as before. Needs no room on the disk.
    pub fn close(&mut self) -> Result<(), StateError> {
        if !self.session.open {
            return Ok(());
        }
        let (from, to) = (journal_path(&self.dir), self.dir.join("journal.closed"));
        fs::rename(&from, &to).and_then(|()| sync_directory(&to)).map_err(|error| StateError::Io(from.display().to_string(), error))?;
        (self.session, self.good, self.journal) = (Session::default(), 0, None);
        Ok(())
    }
}

/// Refuses a directory in which somebody else decides what root would do.
fn check_directory(dir: &Path) -> io::Result<Result<(), StateError>> {
    let (meta, me) = (fs::metadata(dir)?, probe::effective_user());
    let refused = |why: String| Ok(Err(StateError::NotOurs(dir.display().to_string(), why)));
    if meta.uid() != me && meta.uid() != 0 {
        return refused(format!("belongs to user {}, who could have root do anything", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return refused(format!("others may write there (mode {:o})", meta.mode() & 0o7777));
    }
    if meta.uid() == me && meta.mode() & 0o055 != 0o055 {
        // Readable, so that a validator can show drift, whatever the umask it was made under.
        fs::set_permissions(dir, Permissions::from_mode(meta.mode() & 0o7777 | 0o055))?;
    }
    Ok(Ok(()))
}

/// Creates a directory and what is missing above it, and syncs every name on the way.
pub fn create_durably(dir: &Path) -> io::Result<()> {
    let dir = std::path::absolute(dir)?;
    let missing = dir.ancestors().take_while(|path| !path.exists()).count();
    // Never writable by others, whatever the umask.
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&dir)?;
    dir.ancestors().skip(1).take(missing).try_for_each(|parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    fn hold(dir: &Path, root: &Path) -> Result<State, StateError> {
        State::hold(dir, &Host::under(root))
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("state");
        drop(hold(&dir, root.path()).unwrap());
        for mode in [0o775, 0o757, 0o1777] {
            fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(hold(&dir, root.path()), Err(StateError::NotOurs(..))), "{mode:o}");
        }
        // Unreadable for others by an umask: made readable.
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        drop(hold(&dir, root.path()).unwrap());
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o755);
        if probe::effective_user() != 0 {
            return println!("skipped: only root can give a directory to somebody else");
        }
        chown(&dir, Some(65_534), None).unwrap();
        assert!(matches!(hold(&dir, root.path()), Err(StateError::NotOurs(..))), "who owns it decides what root does");
    }

    #[test]
    fn links_in_the_directory_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (dir, victim) = (root.path().join("state"), root.path().join("victim"));
        fs::create_dir(&dir).unwrap();
        fs::write(&victim, "theirs").unwrap();
        for name in ["lock", "journal"] {
            symlink(&victim, dir.join(name)).unwrap();
            let mut held = hold(&dir, root.path());
            let begun = held.as_mut().map_or(Ok(()), |state| state.begin(&Host::under(root.path())).map_err(drop));
            assert!(held.is_err() || begun.is_err(), "{name}");
            assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs", "{name}");
            drop(held);
            fs::remove_file(dir.join(name)).unwrap();
        }
    }
}
