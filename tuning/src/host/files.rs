//! Files below a root. A path may pass through symbolic links (sysfs is full of them) and never leaves the root; what is written lies
//! below `/proc/sys`, `/proc/irq` or `/sys` after every link was followed.

use crate::host::error::HostError;
use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

/// Longest chain of links, as in the kernel.
const LINKS_MAX: usize = 40;
/// Most bytes read of a file; `/proc/interrupts` of a large host has some hundred KiB.
const BYTES_MAX: u64 = 4 << 20;

/// Where `path`, seen from `root`, lies: links are followed as if `root` were `/`. The last component need not exist.
pub fn resolve(root: &Path, path: &str) -> Result<PathBuf, HostError> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(HostError::Escapes(path.to_string()));
    }
    let mut todo: VecDeque<PathBuf> = components(Path::new(path)).collect();
    let mut done = PathBuf::new();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == Path::new("..") {
            done.pop();
            continue;
        }
        let here = root.join(&done).join(&part);
        let Ok(target) = fs::read_link(&here) else {
            done.push(&part);
            continue;
        };
        links += 1;
        if links > LINKS_MAX {
            return Err(HostError::Escapes(path.to_string()));
        }
        if target.is_absolute() {
            done = PathBuf::new();
        }
        components(&target).rev().for_each(|part| todo.push_front(part));
    }
    Ok(root.join(done))
}

fn components(path: &Path) -> impl DoubleEndedIterator<Item = PathBuf> {
    let keep = |part| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    };
    path.components().filter_map(keep).collect::<Vec<_>>().into_iter()
}

/// The whole text of a file.
pub fn read(root: &Path, path: &str) -> Result<String, HostError> {
    let place = resolve(root, path)?;
    let failed = |error| HostError::reading(path, error);
    if place.is_dir() {
        return Err(HostError::Absent(path.to_string()));
    }
    let mut bytes = Vec::new();
    fs::File::open(&place).map_err(failed)?.take(BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| HostError::Malformed { what: path.to_string(), text: "bytes".into(), expected: "text" })
}

/// Writes `value` in one system call. `recorded` trees get back the form that the kernel would show: the choice in brackets, the line end.
pub fn write(root: &Path, path: &str, value: &str, recorded: bool) -> Result<(), HostError> {
    let place = resolve(root, path)?;
    let settings = ["proc/sys", "proc/irq", "sys"].map(|top| root.join(top));
    if !settings.iter().any(|top| place.starts_with(top)) {
        return Err(HostError::Escapes(path.to_string()));
    }
    let text = if recorded { shown(&read(root, path)?, path, value)? } else { format!("{value}\n") };
    let failed = |error| HostError::writing(path, value, error);
    if recorded && place.with_file_name("managed").exists() {
        // How the kernel answers for an interrupt whose CPUs it manages itself.
        return Err(failed(std::io::Error::from_raw_os_error(libc::EIO)));
    }
    let mut file = OpenOptions::new().write(true).truncate(true).open(&place).map_err(failed)?;
    let written = file.write(text.as_bytes()).map_err(failed)?;
    let short = || std::io::Error::other("only a part was taken");
    if written == text.len() { Ok(()) } else { Err(failed(short())) }
}

/// What a kernel file shows after `value` was written, given what it showed before.
fn shown(before: &str, path: &str, value: &str) -> Result<String, HostError> {
    let end = if before.ends_with('\n') { "\n" } else { "" };
    let Some(chosen) = choice(before) else { return Ok(format!("{value}{end}")) };
    let words: Vec<&str> = before.split_whitespace().map(|word| word.trim_matches(['[', ']'])).collect();
    if !words.contains(&value) {
        let error = std::io::Error::from_raw_os_error(libc::EINVAL);
        return Err(HostError::Refused { what: path.to_string(), value: value.to_string(), error });
    }
    let text = before.replace(&format!("[{chosen}]"), chosen);
    let mark = |word: &str| if word == value { format!("[{word}]") } else { word.to_string() };
    Ok(text.split_inclusive(char::is_whitespace).map(|piece| piece.replace(piece.trim(), &mark(piece.trim()))).collect())
}

/// The chosen one of `always [madvise] never`.
pub fn choice(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

/// Names in a directory, sorted; names that end with a number by its value.
pub fn list(root: &Path, path: &str) -> Result<Vec<String>, HostError> {
    let place = resolve(root, path)?;
    let entries = fs::read_dir(&place).map_err(|error| HostError::reading(path, error))?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_by_key(|name| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        (stem.to_string(), name[stem.len()..].parse::<u64>().unwrap_or(0), name.clone())
    });
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for dir in ["proc/sys", "sys/class/net", "sys/devices/pci/net/eth0", "etc"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("sys/devices/pci/net/eth0/mtu"), "1500\n").unwrap();
        fs::write(root.path().join("etc/shadow"), "secret\n").unwrap();
        symlink("../../devices/pci/net/eth0", root.path().join("sys/class/net/eth0")).unwrap();
        root
    }

    #[test]
    fn links_are_followed_as_if_the_root_were_the_machine() {
        let root = tree();
        symlink("/sys/devices/pci/net/eth0", root.path().join("sys/class/net/absolute")).unwrap();
        for name in ["eth0", "absolute"] {
            assert_eq!(read(root.path(), &format!("/sys/class/net/{name}/mtu")).unwrap(), "1500\n", "{name}");
        }
        assert!(read(root.path(), "/sys/class/net/eth1/mtu").unwrap_err().is_absent());
    }

    #[test]
    fn a_link_or_a_path_that_leaves_proc_and_sys_is_not_written() {
        let root = tree();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("victim"), "as it was").unwrap();
        symlink(outside.path().join("victim"), root.path().join("sys/victim")).unwrap();
        symlink("../etc/shadow", root.path().join("sys/shadow")).unwrap();
        symlink("loop", root.path().join("sys/loop")).unwrap();
        for path in ["/sys/shadow", "/sys/../etc/shadow", "/etc/shadow", "/sys/victim", "/sys/loop", "sys/mtu", "/sys/../../../etc/passwd"]
        {
            assert!(write(root.path(), path, "x", true).is_err(), "{path}");
        }
        assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "as it was");
        assert_eq!(fs::read_to_string(root.path().join("etc/shadow")).unwrap(), "secret\n");
    }

    #[test]
    fn a_recorded_choice_is_shown_as_the_kernel_shows_it_and_knows_its_words() {
        let root = tree();
        let path = root.path().join("sys/enabled");
        fs::write(&path, "always [madvise] never\n").unwrap();
        write(root.path(), "/sys/enabled", "never", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "always madvise [never]\n");
        write(root.path(), "/sys/enabled", "madvise", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "always [madvise] never\n");
        assert!(matches!(write(root.path(), "/sys/enabled", "sometimes", true), Err(HostError::Refused { .. })));
    }

    #[test]
    fn nothing_is_created() {
        let root = tree();
        assert!(write(root.path(), "/sys/absent", "1", true).unwrap_err().is_absent());
        assert!(write(root.path(), "/sys/absent", "1", false).unwrap_err().is_absent());
        assert!(!root.path().join("sys/absent").exists());
    }
}
