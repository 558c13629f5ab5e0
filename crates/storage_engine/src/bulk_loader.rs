//! Builds a complete engine directory from entries in key order, for snapshot install.
//!
//! The directory is complete and durable when `finish` returns, and not before: a load that was interrupted
//! leaves a directory to be removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_tree::{AbstractTree, Cache, InternalValue, Slice, Table, Tree, ValueType};
use platform::{Disk, OsDisk};

use crate::fault::FaultContext;
use crate::lsm::{BULK_VERSION, MARKER_KEY, descriptors, marker, open_tree};
use crate::{StorageFault, Version};

/// Bytes gathered before they are written as one table. A table is written and synced in one go, which others on the same
/// disk notice; so tables are small at first, and grow only with the number of them.
const TABLE_BYTES_MIN: usize = 1 << 20;
const TABLE_BYTES_MAX: usize = 8 << 20;
/// A table holds at least this part of all that was written before it, within the bounds.
const TABLE_PART: usize = 64;
const CACHE_BYTES: u64 = 1 << 20;

/// Writes a new engine directory.
pub struct BulkLoader {
    dir: PathBuf,
    tree: Tree,
    gathered: Vec<InternalValue>,
    gathered_bytes: usize,
    written_bytes: usize,
    last_key: Slice,
    /// Tables written, in key order.
    tables: Vec<Table>,
}

impl BulkLoader {
    /// Starts a load into a directory that must be absent or empty.
    pub fn create(dir: &Path) -> Result<Self, StorageFault> {
        let context = FaultContext::new(dir);
        let io = |error| context.io("create", error);
        OsDisk.create_dir_all(dir).map_err(io)?;
        if !OsDisk.list(dir).map_err(io)?.is_empty() {
            return Err(StorageFault::BulkLoad {
                dir: dir.to_path_buf(),
                detail: "the directory is not empty",
            });
        }
        let cache = Arc::new(Cache::with_capacity_bytes(CACHE_BYTES));
        let descriptors = descriptors();
        let tree =
            open_tree(dir, &cache, &descriptors).map_err(|error| context.tree("create", error))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            tree,
            gathered: Vec::new(),
            gathered_bytes: 0,
            written_bytes: 0,
            last_key: Slice::from(MARKER_KEY),
            tables: Vec::new(),
        })
    }

    /// Adds an entry; keys must ascend.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageFault> {
        if key <= &self.last_key[..] {
            return Err(StorageFault::BulkLoad {
                dir: self.dir.clone(),
                detail: "keys do not ascend",
            });
        }
        self.last_key = Slice::from(key);
        let entry = InternalValue::from_components(
            self.last_key.clone(),
            value,
            BULK_VERSION,
            ValueType::Value,
        );
        self.gathered.push(entry);
        self.gathered_bytes += size_of::<InternalValue>() + key.len() + value.len();
        if self.gathered_bytes >= self.table_bytes() {
            self.write_table()?;
        }
        Ok(())
    }

    fn table_bytes(&self) -> usize {
        (self.written_bytes / TABLE_PART).clamp(TABLE_BYTES_MIN, TABLE_BYTES_MAX)
    }

    fn write_table(&mut self) -> Result<(), StorageFault> {
        self.written_bytes += std::mem::take(&mut self.gathered_bytes);
        let entries = std::mem::take(&mut self.gathered);
        let tables = self.write_entries(entries)?;
        self.tables.extend(tables);
        Ok(())
    }

    fn write_entries(&self, entries: Vec<InternalValue>) -> Result<Vec<Table>, StorageFault> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let context = FaultContext::new(&self.dir);
        let written = self
            .tree
            .flush_to_tables(entries.into_iter().map(Ok))
            .map_err(|error| context.tree("write", error))?;
        Ok(written.map(|(tables, _)| tables).unwrap_or_default())
    }

    /// Makes the directory durable; reads as of `version` or later see every entry, and a restart replays
    /// from there.
    pub fn finish(mut self, version: Version) -> Result<(), StorageFault> {
        self.write_table()?;
        let mut run = self.write_entries(vec![marker(version, BULK_VERSION)])?;
        run.append(&mut self.tables);
        let context = FaultContext::new(&self.dir);
        self.tree
            .register_tables(&run, None, None, &[], BULK_VERSION)
            .map_err(|error| context.tree("finish", error))
    }
}

#[cfg(test)]
mod tests;
