//! A block store without a disk, for tests and the simulator. A commit is atomic and durable, or fails on demand; a failed one is either
//! gone or, as with a disk whose answer was lost, there after all once the store is reopened.

use super::StoreError;
use super::chain::{Batch, Store, Table, Tables, Visit};
use samara_types::ChainId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module.
pub type MemoryStore = Store<MemoryTables>;

/// Tables that outlive the store over them, as a disk does.
#[derive(Clone, Debug, Default)]
pub struct MemoryTables(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    values: Batch,
    uncertain: Batch,
    commits: u64,
    commits_left: Option<u64>,
    keep_failed: bool,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(chain: ChainId) -> MemoryStore {
        Store::over(MemoryTables::default(), chain).expect("empty tables are well-formed")
    }

    /// After `commits` more commits, the next one fails. With `kept` its values are there after a reopen nevertheless.
    pub fn fail_after(&self, commits: u64, kept: bool) {
        let mut disk = self.tables.disk();
        disk.commits_left = Some(commits);
        disk.keep_failed = kept;
    }

    /// The process dies and starts again: faults are over, and what the disk holds is read afresh.
    pub fn reopen(&self) -> Result<MemoryStore, StoreError> {
        let mut disk = self.tables.disk();
        let uncertain = std::mem::take(&mut disk.uncertain);
        disk.values.extend(uncertain);
        disk.commits_left = None;
        drop(disk);
        Store::over(self.tables.clone(), self.chain())
    }

    /// Number of commits that wrote something.
    pub fn commits(&self) -> u64 {
        self.tables.disk().commits
    }

    /// Damages the first stored value of a table: a bit of its last byte flips.
    pub fn corrupt(&self, table: Table) {
        let mut disk = self.tables.disk();
        if let Some((_, value)) = disk.values.range_mut((table, Vec::new())..).next().filter(|((of, _), _)| *of == table)
            && let Some(byte) = value.last_mut()
        {
            *byte ^= 0x80;
        }
    }
}

impl MemoryTables {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables for MemoryTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.disk().values.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        // A copy, because `visit` may read other tables.
        let found: BTreeMap<Vec<u8>, Vec<u8>> = self
            .disk()
            .values
            .range((table, from.to_vec())..)
            .take_while(|((of, _), _)| *of == table)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        for (key, value) in &found {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut disk = self.disk();
        if disk.commits_left == Some(0) {
            if disk.keep_failed {
                disk.uncertain = batch;
            }
            return Err(StoreError::Database { action: "commit", reason: "failed on demand".into() });
        }
        disk.commits_left = disk.commits_left.map(|left| left - 1);
        disk.commits += 1;
        disk.values.extend(batch);
        Ok(())
    }
}
