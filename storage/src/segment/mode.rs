//! How segments are opened and written.

use crate::directory::LOCK;
use crate::io::Done;
use crate::log::LogError;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// How a write becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// O_DIRECT and RWF_DSYNC.
    Direct,
    /// Through the page cache, with a linked fdatasync.
    Buffered,
}

impl WriteMode {
    /// What a directory's file system can do: one without direct I/O refuses to open with it. Probes the directory's lock file.
    pub(crate) fn usable(self, dir: &Path) -> WriteMode {
        let probe = OpenOptions::new().read(true).custom_flags(self.open_flags()).open(dir.join(LOCK));
        if probe.is_ok() { self } else { WriteMode::Buffered }
    }

    /// When a write of this mode is durable.
    pub(crate) fn done(self) -> Done {
        match self {
            WriteMode::Direct => Done::Durable,
            WriteMode::Buffered => Done::Synced,
        }
    }

    pub(super) fn open_flags(self) -> i32 {
        match self {
            WriteMode::Direct => libc::O_DIRECT,
            WriteMode::Buffered => 0,
        }
    }

    /// Opens a finished segment for writing.
    pub(crate) fn open(self, dir: &Path, name: &str) -> Result<Arc<File>, LogError> {
        let path = dir.join(name);
        let file = OpenOptions::new().read(true).write(true).custom_flags(self.open_flags()).open(&path);
        file.map(Arc::new).map_err(|source| LogError::Io { action: "open", path, source })
    }
}
