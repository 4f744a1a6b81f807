//! The journal: what every value was before it was changed, on disk before the change.
//!
//! One line per record, `CHECKSUM JSON`, appended and synced; CHECKSUM is the CRC-32C of the JSON in eight hexadecimal digits. A last line
//! that is cut or does not match is one that a crash tore: its change never happened, since changes follow the sync. It is dropped and
//! overwritten. The same anywhere else is damage, and the journal is refused with the place. An append that fails (a full disk) takes its
//! bytes back, so that a later one stands behind a whole record; where they cannot be taken back, nothing is appended any more.

use crate::restore::Around;
use crate::target::Target;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Version of the records.
pub const VERSION: u32 = 1;
/// Largest journal that is read: some ten thousand applies.
const BYTES_MAX: u64 = 64 << 20;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// Always the first.
    Open {
        /// [`VERSION`].
        version: u32,
        /// Of the system this journal belongs to.
        machine_id: String,
        /// Of the boot that the following records belong to.
        boot_id: String,
        /// Where the network settings of the following records live.
        network_namespace: String,
    },
    /// The following records belong to another boot.
    Boot {
        /// Its id.
        boot_id: String,
        /// Where the network settings of the following records live.
        network_namespace: String,
    },
    /// A value is about to be changed.
    Step {
        /// Which.
        target: Target,
        /// Of the setting that wants it.
        name: String,
        /// What revert writes.
        prior: String,
        /// What is about to be written.
        wanted: String,
        /// A larger value is no drift.
        at_least: bool,
        /// What the kernel may move along, and its values before.
        #[serde(default)]
        around: Around,
    },
    /// It was changed, and reads so; what moved along has records of its own.
    Done {
        /// Which.
        target: Target,
        /// What the kernel made of it.
        value: String,
    },
    /// A value was as wished without a change; only watched.
    Watch {
        /// Which.
        target: Target,
        /// Of the setting that wants it.
        name: String,
        /// What it says.
        value: String,
        /// A larger value is no drift.
        at_least: bool,
    },
    /// These values are about to be put back, in any order and perhaps more than once.
    Reverting {
        /// Which.
        targets: Vec<Target>,
        /// What shall not move along, and what it says.
        #[serde(default)]
        around: Around,
    },
    /// It is as it was before; forget it.
    Undone {
        /// Which.
        target: Target,
    },
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk said no.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// A damaged line before the last one.
    #[error("{0}: line {1} is damaged; nothing was changed (the journal is needed to restore: keep it, and see tuning/README.md)")]
    Damaged(String, usize),
    /// Not of this version of Samara.
    #[error("{0}: line {1} was written by another version of samara; nothing was changed (revert with that version)")]
    Version(String, usize),
}

/// The line of a record.
fn line(record: &Record) -> String {
    let json = serde_json::to_string(record).expect("records are plain data");
    format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()))
}

/// The record of a line without its end; nothing when the checksum does not match.
fn unseal(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = (line.get(..8)?, line.get(9..)?);
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (line[8] == b' ' && sum == crc32c::crc32c(json)).then_some(json)
}

/// Reads the records and the bytes they take. A missing file has none.
pub fn read(path: &Path) -> Result<(Vec<Record>, u64), JournalError> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    match open_regular(OpenOptions::new().read(true), path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(length) if length as u64 == BYTES_MAX => Err(JournalError::Io(name, io::Error::other("larger than 64 MiB"))),
        Ok(_) => parse(&name, &bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((Vec::new(), 0)),
        Err(error) => Err(JournalError::Io(name, error)),
    }
}

/// Opens a file of the state directory: never through a link, never a pipe or a device that would hang or take what is not meant for it.
pub(crate) fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::new(ErrorKind::InvalidInput, "is no regular file")) }
}

fn parse(name: &str, bytes: &[u8]) -> Result<(Vec<Record>, u64), JournalError> {
    let mut records = Vec::new();
    let mut good = 0;
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_last = good + line.len() == bytes.len();
        let Some(json) = line.strip_suffix(b"\n").and_then(unseal) else {
            if is_last {
                break;
            }
            return Err(JournalError::Damaged(name.to_string(), number + 1));
        };
        let record = serde_json::from_slice(json).map_err(|_| JournalError::Version(name.to_string(), number + 1))?;
        let is_open = matches!(record, Record::Open { version: VERSION, .. });
        if (number == 0) != is_open {
            return Err(JournalError::Version(name.to_string(), number + 1));
        }
        records.push(record);
        good += line.len();
    }
    Ok((records, good as u64))
}

/// A journal open for appending.
pub struct Journal {
    name: String,
    file: File,
    /// Bytes of whole records.
    good: u64,
    /// Behind them are bytes of a record that failed.
    torn: bool,
}

impl Journal {
    /// Opens a journal to append after its first `good` bytes; what a crash tore behind them is dropped.
    pub fn append_after(path: &Path, good: u64) -> Result<Journal, JournalError> {
        let name = path.display().to_string();
        let open = || {
            let mut file = open_regular(OpenOptions::new().create(true).truncate(false).write(true), path)?;
            // A validator shows drift, and runs as somebody else: the journal is readable whatever the operator's umask. It holds no secret.
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.set_len(good)?;
            file.seek(SeekFrom::Start(good))?;
            file.sync_all()?;
            sync_directory(path)?;
            Ok(file)
        };
        open().map(|file| Journal { name: name.clone(), file, good, torn: false }).map_err(|error| JournalError::Io(name, error))
    }

    /// Appends a record and waits until the disk has it. After an error the journal is as before.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let failed = |error| JournalError::Io(self.name.clone(), error);
        if self.torn {
            return Err(failed(io::Error::other("an earlier record failed half-way and could not be taken back")));
        }
        let line = line(record);
        if let Err(error) = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_all()) {
            let error = failed(error);
            self.torn = self.take_back().is_err();
            return Err(error);
        }
        self.good += line.len() as u64;
        Ok(())
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.good)?;
        self.file.seek(SeekFrom::Start(self.good))?;
        self.file.sync_all()
    }
}

/// Syncs the directory that holds `path`, so that the name survives a power failure.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let target = || "/proc/sys/net/core/rmem_max".parse::<Target>().unwrap();
        vec![
            Record::Open { version: VERSION, machine_id: "m".into(), boot_id: "b".into(), network_namespace: String::new() },
            Record::Step {
                target: target(),
                name: "n".into(),
                prior: "1\t2".into(),
                wanted: "\"'\\".into(),
                at_least: true,
                around: vec![(target(), "9".into())],
            },
            Record::Done { target: target(), value: "3".into() },
            Record::Reverting { targets: vec![target()], around: vec![(target(), "8".into())] },
            Record::Undone { target: target() },
        ]
    }

    #[test]
    fn every_cut_leaves_the_whole_records_before_it() {
        let lines: Vec<String> = records().iter().map(line).collect();
        let bytes = lines.concat().into_bytes();
        for cut in 0..=bytes.len() {
            let whole = lines
                .iter()
                .scan(0, |end, line| {
                    *end += line.len();
                    Some(*end)
                })
                .filter(|end| *end <= cut)
                .count();
            let (read, good) = parse("j", &bytes[..cut]).unwrap();
            assert_eq!((&read[..], good as usize), (&records()[..whole], lines[..whole].concat().len()), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_is_a_torn_tail_at_the_end_and_damage_before_it() {
        let lines: Vec<String> = records().iter().map(line).collect();
        let bytes = lines.concat().into_bytes();
        let last = bytes.len() - lines.last().unwrap().len();
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            match parse("j", &bytes) {
                Ok((read, _)) => assert!(place >= last - 1 && read.len() < records().len(), "byte {place}"),
                Err(JournalError::Damaged(..)) => assert!(place < last, "byte {place}"),
                Err(other) => panic!("byte {place}: {other}"),
            }
        }
    }

    #[test]
    fn appending_goes_over_what_a_crash_tore() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let first = line(&records()[0]);
        std::fs::write(&path, format!("{first}0badc0de {{\"rec")).unwrap();
        let (_, good) = read(&path).unwrap();
        Journal::append_after(&path, good).unwrap().append(&records()[1]).unwrap();
        assert_eq!(read(&path).unwrap().0, records()[..2]);
    }

    #[test]
    fn a_link_or_a_pipe_is_no_journal() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link, pipe) = (dir.path().join("victim"), dir.path().join("link"), dir.path().join("pipe"));
        std::fs::write(&victim, "theirs").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&link, &pipe, &dir.path().to_path_buf()] {
            assert!(matches!(read(path), Err(JournalError::Io(..))), "{path:?}");
            assert!(Journal::append_after(path, 0).is_err(), "{path:?}");
        }
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let other = "{\"record\":\"open\",\"version\":2,\"machine_id\":\"\",\"boot_id\":\"\",\"network_namespace\":\"\"}";
        let unknown = "{\"record\":\"teleport\"}";
        for json in [other, unknown] {
            let line = format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()));
            assert!(matches!(parse("j", line.as_bytes()), Err(JournalError::Version(_, 1))), "{json}");
        }
        let late = line(&records()[2]);
        assert!(matches!(parse("j", late.as_bytes()), Err(JournalError::Version(_, 1))), "the first line says the version");
    }
}
