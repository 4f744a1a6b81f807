//! The block store on RocksDB.
//!
//! Sized for a small footprint: the working set of a validator is its last few blocks, which are in memory anyway. Payloads go to blob
//! files, so that compaction moves references and never rewrites a payload (figures in the README).

use super::StoreError;
use super::chain::{Batch, SCHEMA, Store, Table, Tables, Visit};
use crate::directory::create_durably;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch, WriteOptions,
};
use samara_types::ChainId;
use samara_types::digest::hex;
use std::path::Path;

/// See the module.
pub type RocksStore = Store<RocksTables>;

/// Column families of one database.
pub struct RocksTables {
    db: DB,
    read_only: bool,
}

/// Memory that holds what is not in a table file, all column families together.
const WRITE_BUFFERS_BYTES: usize = 16 << 20;
const BLOCK_CACHE_BYTES: usize = 16 << 20;
/// Write-ahead log that start-up replays at most; also when small column families are flushed.
const WAL_BYTES: u64 = 32 << 20;
/// Values from this size on live in blob files.
const BLOB_BYTES_MIN: u64 = 4 << 10;

impl RocksStore {
    /// Opens or creates the store of a chain.
    pub fn open(dir: &Path, chain: ChainId) -> Result<RocksStore, StoreError> {
        let tables = RocksTables { db: open_database(dir)?, read_only: false };
        match tables.stored_chain(dir)? {
            None => tables.initialize(chain)?,
            Some(found) if found == chain => {}
            Some(found) => {
                return Err(StoreError::OtherChain { path: dir.into(), found: hex(&found.0), expected: hex(&chain.0) });
            }
        }
        Store::over(tables, chain)
    }

    /// Opens what is stored as of this moment, beside a running validator. Later commits are not seen; [`super::BlockStore::commit`]
    /// refuses.
    pub fn open_read_only(dir: &Path) -> Result<RocksStore, StoreError> {
        let db = open_beside_writer(dir)?;
        let tables = RocksTables { db, read_only: true };
        let chain = tables.stored_chain(dir)?.ok_or_else(|| other_schema(dir, "none"))?;
        Store::over(tables, chain)
    }
}

impl RocksTables {
    fn stored_chain(&self, dir: &Path) -> Result<Option<ChainId>, StoreError> {
        let Some(schema) = self.get(Table::Consensus, b"schema")? else { return Ok(None) };
        if schema != SCHEMA.to_be_bytes() {
            return Err(other_schema(dir, &hex(&schema)));
        }
        let chain = self.get(Table::Consensus, b"chain")?.and_then(|bytes| bytes.try_into().ok());
        chain.map(|bytes| Some(ChainId(bytes))).ok_or(StoreError::Corrupt { table: "consensus" })
    }

    fn initialize(&self, chain: ChainId) -> Result<(), StoreError> {
        let schema = ((Table::Consensus, b"schema".to_vec()), SCHEMA.to_be_bytes().to_vec());
        self.write(Batch::from([schema, ((Table::Consensus, b"chain".to_vec()), chain.0.to_vec())]))
    }

    fn family(&self, table: Table) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(table.name()).expect("opened with every column family")
    }
}

impl Tables for RocksTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(table), key).map_err(failed("read"))
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        for row in self.db.iterator_cf(self.family(table), IteratorMode::From(from, Direction::Forward)) {
            let (key, value) = row.map_err(failed("scan"))?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        let mut writes = WriteBatch::default();
        for ((table, key), value) in &batch {
            writes.put_cf(self.family(*table), key, value);
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(writes, &options).map_err(failed("commit"))
    }
}

fn open_database(dir: &Path) -> Result<DB, StoreError> {
    create_durably(dir).map_err(|error| StoreError::Database { action: "create the directory", reason: error.to_string() })?;
    DB::open_cf_descriptors(&database_options(), dir, descriptors(&cache())).map_err(failed("open"))
}

/// The writer may delete a log file between our reading its name and opening it: then we look again.
fn open_beside_writer(dir: &Path) -> Result<DB, StoreError> {
    let mut attempts_left = 4;
    loop {
        attempts_left -= 1;
        match DB::open_cf_descriptors_read_only(&database_options(), dir, descriptors(&cache()), false) {
            Err(error) if attempts_left == 0 => return Err(failed("open for reading")(error)),
            Err(_) => continue,
            Ok(db) => return Ok(db),
        }
    }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options
}

fn cache() -> Cache {
    Cache::new_lru_cache(BLOCK_CACHE_BYTES)
}

fn descriptors(cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    Table::ALL.iter().map(|table| ColumnFamilyDescriptor::new(table.name(), family_options(*table, cache))).collect()
}

fn family_options(table: Table, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(WRITE_BUFFERS_BYTES / 4);
    options.set_compression_type(DBCompressionType::Lz4);
    if table == Table::Blocks {
        options.set_write_buffer_size(WRITE_BUFFERS_BYTES / 2);
        options.set_enable_blob_files(true);
        options.set_min_blob_size(BLOB_BYTES_MIN);
        // Signed transactions do not compress.
        options.set_blob_compression_type(DBCompressionType::None);
    }
    options
}

fn other_schema(dir: &Path, found: &str) -> StoreError {
    StoreError::OtherSchema { path: dir.into(), found: found.into(), expected: SCHEMA }
}

fn failed(action: &'static str) -> impl Fn(rocksdb::Error) -> StoreError {
    move |error| StoreError::Database { action, reason: error.into_string() }
}
