//! What the engine alone takes to find one of the same documents: no wire, no consensus, no planning.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use storage_engine::{Engine, LsmEngine, Options, Slice};

use super::QueriesError;
use crate::load::{Random, VALUE_BYTES};

/// The spaces of documents and of index entries among the engine's keys, each followed by an id (docs/file_format.md).
const DOCUMENTS: u8 = 0x03;
const INDEX_ENTRIES: u8 = 0x04;
const PREFIX_BYTES: usize = 5;
/// An entry of an index that is not unique has so long a value; that of a unique one is the encoded `_id`.
const PLAIN_ENTRY_BYTES: usize = 2;
/// What a node with the default budget gives to blocks: 24% of 1 GiB.
const CACHE_BYTES: u64 = 245 << 20;

/// Times of reads of random documents.
#[derive(Debug, Default)]
pub(super) struct EngineTimes {
    /// By their own key.
    pub by_id: Vec<Duration>,
    /// By an entry of the unique index, then by the key that it holds.
    pub by_unique: Vec<Duration>,
}

/// Reads out of the data directory of a node that has stopped cleanly.
pub(super) fn times(data: &Path, documents: u64, reads: u64) -> Result<EngineTimes, QueriesError> {
    let directory = generation(&data.join("engine"))?;
    let options = Options {
        cache_bytes: CACHE_BYTES,
        read_only: true,
        ..Options::default()
    };
    let engine = LsmEngine::open(&directory, options)?;
    let version = engine.durable_version().unwrap_or_default();
    let lost = |found: usize| QueriesError::Lost {
        path: directory.clone(),
        found: found as u64,
        expected: documents,
    };
    let keys = keys_of(&engine, version, DOCUMENTS, |value| {
        value.len() > VALUE_BYTES
    })?;
    let entries = keys_of(&engine, version, INDEX_ENTRIES, |value| {
        value.len() != PLAIN_ENTRY_BYTES
    })?;
    for found in [keys.len(), entries.len()] {
        if found as u64 != documents {
            return Err(lost(found));
        }
    }
    let mut random = Random::new(3);
    let mut times = EngineTimes::default();
    for _ in 0..reads {
        let key = &keys[random.below(documents) as usize];
        let from = Instant::now();
        let found = std::hint::black_box(engine.get(key, version)?);
        times.by_id.push(from.elapsed());
        found.ok_or_else(|| lost(keys.len() - 1))?;
    }
    let prefix = &keys[0][..PREFIX_BYTES];
    for _ in 0..reads {
        let entry = &entries[random.below(documents) as usize];
        let from = Instant::now();
        let found = match engine.get(entry, version)? {
            Some(id) => engine.get(&[prefix, &id].concat(), version)?,
            None => None,
        };
        let found = std::hint::black_box(found);
        times.by_unique.push(from.elapsed());
        found.ok_or_else(|| lost(keys.len() - 1))?;
    }
    Ok(times)
}

/// The keys of a space whose values are wanted.
fn keys_of(
    engine: &LsmEngine,
    version: u64,
    space: u8,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Slice>, QueriesError> {
    let (from, to) = ([space], [space + 1]);
    let mut keys = Vec::new();
    for entry in engine.range(Bound::Included(&from), Bound::Excluded(&to), version) {
        let (key, value) = entry?;
        if wanted(&value) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The one generation of the engine that a stopped node leaves.
fn generation(root: &Path) -> Result<PathBuf, QueriesError> {
    let file = |source| QueriesError::File {
        path: root.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(root).map_err(file)? {
        let entry = entry.map_err(file)?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.parse::<u64>().is_ok())
        {
            return Ok(entry.path());
        }
    }
    Err(file(std::io::Error::from(std::io::ErrorKind::NotFound)))
}
