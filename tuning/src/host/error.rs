//! What can go wrong between a setting and the machine.

use std::io::{self, ErrorKind};

/// Why the machine did not answer or obey. The text names the file or the ethtool item.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// This machine, driver or kernel does not have it.
    #[error("{0} does not exist here")]
    Absent(String),
    /// It exists and this process may not touch it.
    #[error("{0}: not permitted; run as root (in a container the file or capability may be withheld)")]
    NotPermitted(String),
    /// The kernel or the driver said no to this value.
    #[error("{what} = {value}: refused by the kernel ({error})")]
    Refused {
        /// The file or the item.
        what: String,
        /// What was asked for.
        value: String,
        /// The kernel's word.
        error: io::Error,
    },
    /// The path leads out of `/proc` and `/sys`, or out of the root.
    #[error("{0} leads out of /proc and /sys")]
    Escapes(String),
    /// What was read or asked has another form than expected.
    #[error("{what}: cannot read {text:?} as {expected}")]
    Malformed {
        /// The file or the item.
        what: String,
        /// What is there.
        text: String,
        /// What should be there.
        expected: &'static str,
    },
    /// Anything else.
    #[error("{what}: {error}")]
    Io {
        /// The file or the item.
        what: String,
        /// The kernel's word.
        error: io::Error,
    },
}

impl HostError {
    /// Of a failed read or look-up.
    pub fn reading(what: &str, error: io::Error) -> HostError {
        let what = what.to_string();
        match (error.kind(), error.raw_os_error()) {
            (ErrorKind::NotFound | ErrorKind::NotADirectory, _) | (_, Some(libc::EOPNOTSUPP | libc::ENODEV | libc::ENXIO)) => {
                HostError::Absent(what)
            }
            (ErrorKind::PermissionDenied, _) => HostError::NotPermitted(what),
            _ => HostError::Io { what, error },
        }
    }

    /// Of a failed write of `value`.
    pub fn writing(what: &str, value: &str, error: io::Error) -> HostError {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => HostError::Absent(what.to_string()),
            // EACCES: the file says no to this user. EPERM comes from the handler as well (managed interrupts), so it is the kernel's no.
            ErrorKind::PermissionDenied if error.raw_os_error() == Some(libc::EACCES) => HostError::NotPermitted(what.to_string()),
            _ if error.raw_os_error() == Some(libc::ENODEV) => HostError::Absent(what.to_string()),
            _ => HostError::Refused { what: what.to_string(), value: value.to_string(), error },
        }
    }

    /// True when the thing is simply not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, HostError::Absent(_))
    }
}
