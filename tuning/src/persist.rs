//! The form of a profile that survives a reboot: files of systemd, udev and PAM, each wholly ours.
//!
//! | file | holds |
//! |---|---|
//! | `/etc/sysctl.d/90-samara.conf` | sysctls |
//! | `/etc/tmpfiles.d/samara.conf` | files below `/sys` |
//! | `/etc/udev/rules.d/90-samara.rules` | what belongs to an interface, set when it appears |
//! | `/etc/security/limits.d/90-samara.conf` | resource limits of the user `samara` |
//!
//! A file begins with our mark and a checksum of the rest. One without the mark, or one that was edited, is never written over;
//! removal leaves it and reports it. Values with characters that mean something to one of these programs are left out by name, and so are interrupts,
//! whose numbers change with every boot (`samara tune apply` when the service starts sets them).

use crate::host::Host;
use crate::host::ethtool::Item;
use crate::journal::sync_directory;
use crate::state::create_durably;
use crate::target::Target;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

const MARK: &str = "# Written by samara tune; removed by `samara tune revert` or `samara tune unpersist`.";
const SYSCTL: &str = "/etc/sysctl.d/90-samara.conf";
const TMPFILES: &str = "/etc/tmpfiles.d/samara.conf";
const UDEV: &str = "/etc/udev/rules.d/90-samara.rules";
const LIMITS: &str = "/etc/security/limits.d/90-samara.conf";
/// Every file this module writes.
pub const FILES: [&str; 4] = [SYSCTL, TMPFILES, UDEV, LIMITS];

/// The files to write, and what does not fit into any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persistent {
    /// Path seen from the root, and whole text.
    pub files: Vec<(&'static str, String)>,
    /// Target and reason.
    pub left_out: Vec<(String, String)>,
}

/// What became of one file at removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// Somebody edited it, or it is not ours; left.
    Edited,
}

/// A file that could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("{0}: {1}")]
pub struct PersistError(String, io::Error);

impl PersistError {
    /// True when root would have been allowed.
    pub fn is_permission(&self) -> bool {
        self.1.kind() == ErrorKind::PermissionDenied
    }
}

impl Persistent {
    /// The files for values and limits.
    pub fn render(profile: &str, values: &[(Target, String)], limits: &[(String, String)]) -> Persistent {
        let mut persistent = Persistent::default();
        let mut lines: [Vec<String>; 4] = Default::default();
        for (target, value) in values {
            match entry(target, value) {
                Ok((file, line)) => lines[FILES.iter().position(|known| *known == file).expect("one of ours")].push(line),
                Err(why) => persistent.left_out.push((target.to_string(), why.to_string())),
            }
        }
        lines[3].extend(limits.iter().map(|(resource, value)| format!("samara - {resource} {value}")));
        for (file, mut lines) in FILES.into_iter().zip(lines).filter(|(_, lines)| !lines.is_empty()) {
            lines.dedup();
            let body = format!("# profile {}\n{}\n", profile.replace(char::is_control, " "), lines.join("\n"));
            persistent.files.push((file, sealed(&body)));
        }
        persistent
    }

    /// Writes the files, each at once or not at all. A file that is not ours, or was edited, stops it before anything is written.
    pub fn write(&self, host: &Host) -> Result<(), PersistError> {
        for (path, _) in &self.files {
            let place = place(host, path);
            let in_the_way = match fs::read_to_string(&place) {
                Ok(text) if !text.starts_with(MARK) => "exists and was not written by samara; move it away",
                Ok(text) if !is_intact(&text) => "was edited since samara wrote it; move it away, or `samara tune unpersist --force`",
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(PersistError(place.display().to_string(), error)),
            };
            return Err(PersistError(place.display().to_string(), io::Error::new(ErrorKind::AlreadyExists, in_the_way)));
        }
        self.files.iter().try_for_each(|(path, text)| {
            let place = place(host, path);
            replace(&place, text).map_err(|error| PersistError(place.display().to_string(), error))
        })
    }
}

/// Removes the files. Edited ones stay, unless `force`.
pub fn remove(host: &Host, force: bool) -> Result<Vec<(&'static str, Removal)>, PersistError> {
    let mut removals = Vec::new();
    for path in FILES {
        let place = place(host, path);
        let failed = |error| PersistError(place.display().to_string(), error);
        let text = match fs::read_to_string(&place) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        if is_intact(&text) || force && text.starts_with(MARK) {
            fs::remove_file(&place).and_then(|()| sync_directory(&place)).map_err(failed)?;
            removals.push((path, Removal::Removed));
        } else {
            removals.push((path, Removal::Edited));
        }
    }
    Ok(removals)
}

fn place(host: &Host, path: &str) -> PathBuf {
    host.root().join(&path[1..])
}

fn sealed(body: &str) -> String {
    format!("{MARK}\n# checksum {:08x}\n{body}", crc32c::crc32c(body.as_bytes()))
}

fn is_intact(text: &str) -> bool {
    text.splitn(3, '\n').nth(2).is_some_and(|body| sealed(body) == text)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().expect("a file in a directory");
    create_durably(parent)?;
    let temporary = path.with_extension("samara-new");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all())?;
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// The file and the line for a value, or why there is none.
fn entry(target: &Target, value: &str) -> Result<(&'static str, String), &'static str> {
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" .,_:/-".contains(&byte));
    if !is_plain(&value) {
        return Err("its characters mean something to systemd or udev");
    }
    match target {
        Target::Irq(_) => Err("numbers of interrupts change with every boot"),
        Target::Nic { interface, item } => {
            let command = item.command(interface, &value);
            let even = matches!(item, Item::Ntuple(_)) && value == "none" || command.starts_with('#') || !is_plain(&command);
            if even {
                Err("ethtool has no command for it")
            } else {
                Ok((UDEV, on_interface(interface, &format!("RUN+=\"/usr/sbin/{command}\""))))
            }
        }
        Target::File(path) if !is_plain(path) => Err("its characters mean something to systemd or udev"),
        Target::File(path) => {
            Ok(match (path.strip_prefix("/proc/sys/"), path.strip_prefix("/sys/class/net/").and_then(|rest| rest.split_once('/'))) {
                (Some(key), _) => {
                    (SYSCTL, format!("{} = {value}", if key.contains('.') { key.to_string() } else { key.replace('/', ".") }))
                }
                (None, Some((interface, attribute))) => (UDEV, on_interface(interface, &format!("ATTR{{{attribute}}}=\"{value}\""))),
                (None, None) => (TMPFILES, format!("w {path} - - - - {value}")),
            })
        }
    }
}

fn on_interface(interface: &str, action: &str) -> String {
    format!("ACTION==\"add\", SUBSYSTEM==\"net\", NAME==\"{interface}\", {action}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::under(dir.path());
        (dir, host)
    }

    fn some() -> Persistent {
        let values = [
            ("/proc/sys/net/core/rmem_max", "134217728"),
            ("/proc/sys/net/ipv4/conf/eth0.7/rp_filter", "2"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
            ("/sys/class/net/eth0/gro_flush_timeout", "200000"),
            ("nic:eth0:channels:combined", "4"),
            ("nic:eth0:rss", "0 0 3 1"),
            ("irq:40:eth0-0", "3"),
            ("/proc/sys/kernel/core_pattern", "|/bin/sh %e"),
        ];
        let values: Vec<(Target, String)> = values.iter().map(|(target, value)| (target.parse().unwrap(), value.to_string())).collect();
        Persistent::render("latency", &values, &[("memlock".into(), "unlimited".into())])
    }

    #[test]
    fn each_kind_goes_to_the_program_that_sets_it_at_boot() {
        let persistent = some();
        let text = |path: &str| persistent.files.iter().find(|(known, _)| *known == path).unwrap().1.clone();
        assert!(text(SYSCTL).ends_with("\nnet.core.rmem_max = 134217728\nnet/ipv4/conf/eth0.7/rp_filter = 2\n"));
        assert!(text(TMPFILES).ends_with("\nw /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise\n"));
        assert!(text(UDEV).contains("NAME==\"eth0\", ATTR{gro_flush_timeout}=\"200000\"\n"));
        assert!(text(UDEV).contains("RUN+=\"/usr/sbin/ethtool -L eth0 combined 4\"\n"));
        assert!(text(LIMITS).ends_with("\nsamara - memlock unlimited\n"));
        let left: Vec<&str> = persistent.left_out.iter().map(|(target, _)| target.as_str()).collect();
        assert_eq!(left, ["nic:eth0:rss", "irq:40:eth0-0", "/proc/sys/kernel/core_pattern"]);
    }

    #[test]
    fn files_come_and_go_and_an_edited_one_stays() {
        let (dir, host) = tree();
        some().write(&host).unwrap();
        some().write(&host).unwrap();
        let edited = dir.path().join(&SYSCTL[1..]);
        let text = fs::read_to_string(&edited).unwrap() + "vm.swappiness = 1\n";
        fs::write(&edited, &text).unwrap();
        fs::remove_file(dir.path().join(&LIMITS[1..])).unwrap();
        let error = some().write(&host).unwrap_err().to_string();
        assert!(error.contains("90-samara.conf") && error.contains("edited"), "{error}");
        assert_eq!(fs::read_to_string(&edited).unwrap(), text, "their line stays");
        assert!(!dir.path().join(&LIMITS[1..]).exists(), "nothing is written when one file is in the way");
        fs::write(dir.path().join(&LIMITS[1..]), &some().files[3].1).unwrap();
        let removed = [(SYSCTL, Removal::Edited), (TMPFILES, Removal::Removed), (UDEV, Removal::Removed), (LIMITS, Removal::Removed)];
        assert_eq!(remove(&host, false).unwrap(), removed);
        assert_eq!(remove(&host, true).unwrap(), [(SYSCTL, Removal::Removed)]);
        assert_eq!(remove(&host, true).unwrap(), []);
    }

    #[test]
    fn a_file_of_somebody_else_is_neither_written_over_nor_removed() {
        let (dir, host) = tree();
        fs::create_dir_all(dir.path().join("etc/udev/rules.d")).unwrap();
        fs::write(dir.path().join(&UDEV[1..]), "theirs\n").unwrap();
        assert!(some().write(&host).unwrap_err().to_string().contains("not written by samara"));
        assert!(!dir.path().join(&SYSCTL[1..]).exists(), "nothing is written when one file is in the way");
        assert_eq!(remove(&host, true).unwrap(), [(UDEV, Removal::Edited)]);
        assert_eq!(fs::read_to_string(dir.path().join(&UDEV[1..])).unwrap(), "theirs\n");
    }
}
