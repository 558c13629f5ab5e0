//! Builds a complete engine directory from entries in key order, for snapshot install.

use std::path::Path;

use crate::{StorageFault, Version};

/// Writes a new engine directory.
pub struct BulkLoader {}

impl BulkLoader {
    /// Starts a load into a directory that must be absent or empty.
    pub fn create(_dir: &Path) -> Result<Self, StorageFault> {
        unimplemented!()
    }

    /// Adds an entry; keys must ascend.
    pub fn add(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), StorageFault> {
        unimplemented!()
    }

    /// Makes the directory durable; every entry gets this version.
    pub fn finish(self, _version: Version) -> Result<(), StorageFault> {
        unimplemented!()
    }
}
