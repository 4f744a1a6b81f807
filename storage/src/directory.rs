//! Directories that are there after a power failure: a file is only as durable as every name on the way to it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, absolute};

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
