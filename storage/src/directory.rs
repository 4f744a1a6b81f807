//! Directories that are there after a power failure (a file is only as durable as every name on the way to it), and that have one user.

use crate::log::LogError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, absolute};

/// Name of a directory's lock file.
pub const LOCK: &str = "lock";

/// Creates a directory and what is missing above it, and syncs every name that was made. The name of `dir` itself is synced even if it was
/// there, since whoever made it may have died before syncing it.
pub fn create_durably(dir: &Path) -> io::Result<()> {
    let dir = absolute(dir)?;
    let missing = dir.ancestors().take_while(|path| !path.exists()).count();
    fs::create_dir_all(&dir)?;
    for parent in dir.ancestors().skip(1).take(missing.max(1)) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Takes the lock of a log's directory; it is let go with the file.
pub fn lock(dir: &Path) -> Result<File, LogError> {
    let path = dir.join(LOCK);
    let failed = |action, source| LogError::Io { action, path: path.clone(), source };
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(|source| failed("open", source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked(dir.into())),
        Err(TryLockError::Error(source)) => Err(failed("lock", source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_parents_are_made_and_existing_ones_are_fine() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        create_durably(&deep).unwrap();
        create_durably(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(root.path().join("file"), b"").unwrap();
        assert!(create_durably(&root.path().join("file/below")).is_err());
    }
}
