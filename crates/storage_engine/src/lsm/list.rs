//! Which tables there are, level by level, and the file that says so.
//!
//! Level 0 has a run for each flush, the newest first; every other level has one run, which is older than all of those above.
//! The file is `lsm-tree`'s own (format version 3), so that `lsm-tree` opens the directory; but `lsm-tree` chooses merges by
//! the first and last key of whole levels, and does not let others choose, so the list is changed here.

use std::collections::BTreeSet;
use std::io::{self, Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use lsm_tree::{AbstractTree, Slice, Table, TableId, Tree};
use parking_lot::Mutex;
use platform::{Disk, OsDisk};

/// As many as `lsm-tree` has.
pub(crate) const LEVELS: usize = 7;
pub(crate) const LAST_LEVEL: usize = LEVELS - 1;
/// Runs of level 0 are counted in a byte.
pub(crate) const LEVEL_0_RUNS_MAX: usize = 250;

/// Tables without a key in common, in the order of their keys.
pub(crate) type Run = Arc<Vec<Table>>;

/// The tables of one moment.
#[derive(Clone, Default)]
pub(crate) struct TableList {
    /// Of the file that names them.
    pub number: u64,
    pub levels: [Vec<Run>; LEVELS],
}

impl TableList {
    /// As `lsm-tree` has opened it.
    fn of(tree: &Tree) -> Self {
        let version = tree.current_version();
        let mut list = Self {
            number: version.id(),
            ..Self::default()
        };
        for (number, level) in version.iter_levels().enumerate() {
            list.levels[number] = level.iter().map(|run| Arc::new(run.to_vec())).collect();
        }
        // `lsm-tree` does not promise one run for each.
        let divided = list.levels.iter().skip(1).rposition(|runs| runs.len() > 1);
        for level in 1..=divided.map_or(0, |before| before + 1) {
            let runs = std::mem::take(&mut list.levels[level]);
            list.levels[0].extend(runs);
        }
        list
    }

    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.runs().flat_map(|(_, run)| run.iter())
    }

    /// Newest first, with their levels.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &Run)> {
        let levels = self.levels.iter().enumerate();
        levels.flat_map(|(level, runs)| runs.iter().map(move |run| (level, run)))
    }

    /// The table of a run that may hold the key.
    pub fn table_for<'a>(run: &'a [Table], key: &[u8]) -> Option<&'a Table> {
        let at = run.partition_point(|table| table.metadata.key_range.max()[..] < *key);
        run.get(at)
            .filter(|table| table.metadata.key_range.min()[..] <= *key)
    }

    /// Whether no level below this one can hold the key.
    pub fn is_absent_below(&self, level: usize, key: &[u8]) -> bool {
        let runs = self.levels.iter().skip(level + 1).flatten();
        runs.into_iter()
            .all(|run| Self::table_for(run, key).is_none())
    }

    fn next(&self) -> Self {
        Self {
            number: self.number + 1,
            levels: self.levels.clone(),
        }
    }

    /// With a run that is newer than all others.
    pub fn with_flushed(&self, tables: &[Table]) -> Self {
        let mut next = self.next();
        next.levels[0].insert(0, Arc::new(tables.to_vec()));
        next
    }

    /// Without these tables, and with those in a level that is not 0.
    pub fn with_merged(&self, gone: &BTreeSet<TableId>, made: &[Table], level: usize) -> Self {
        assert!(level > 0, "level 0 is what flushes write");
        let mut next = self.next();
        for runs in &mut next.levels {
            if runs
                .iter()
                .any(|run| run.iter().any(|it| gone.contains(&it.id())))
            {
                *runs = runs.iter().map(|run| without(run, gone)).collect();
                runs.retain(|run| !run.is_empty());
            }
        }
        let runs = &mut next.levels[level];
        let mut tables = made.to_vec();
        tables.extend(runs.drain(..).flat_map(|run| run.to_vec()));
        tables.sort_by(|left, right| first(left).cmp(first(right)));
        let apart = |pair: &[Table]| pair[0].metadata.key_range.max() < first(&pair[1]);
        assert!(tables.windows(2).all(apart), "tables of a level overlap");
        if !tables.is_empty() {
            runs.push(Arc::new(tables));
        }
        next
    }

    /// What [`crate::integrity`] and `lsm-tree` read.
    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut writer = sfa::Writer::from_writer(Cursor::new(Vec::new()));
        let sections: [(&str, &[u8]); 5] = [
            ("format_version", &[3]),
            ("crate_version", b"3.1.10"),
            ("tree_type", &[0]),
            ("level_count", &[LEVELS as u8]),
            ("filter_hash_type", &[0]),
        ];
        for (name, bytes) in sections {
            writer.start(name)?;
            writer.write_all(bytes)?;
        }
        writer.start("tables")?;
        writer.write_all(&[LEVELS as u8])?;
        for runs in &self.levels {
            let count = u8::try_from(runs.len()).map_err(io::Error::other)?;
            writer.write_all(&[count])?;
            for run in runs {
                let count = u32::try_from(run.len()).map_err(io::Error::other)?;
                writer.write_all(&count.to_le_bytes())?;
                for table in run.iter() {
                    writer.write_all(&table.id().to_le_bytes())?;
                    // The kind of checksum: XXH3.
                    writer.write_all(&[0])?;
                    writer.write_all(&table.checksum().into_u128().to_le_bytes())?;
                    writer.write_all(&table.global_seqno().to_le_bytes())?;
                }
            }
        }
        // Values do not stand in files of their own here.
        for name in ["blob_files", "blob_gc_stats"] {
            writer.start(name)?;
            writer.write_all(&0_u32.to_le_bytes())?;
        }
        let bytes = writer.into_inner().map_err(io::Error::other)?;
        Ok(bytes.into_inner())
    }

    /// Makes this list the current one, durably.
    fn store(&self, dir: &Path) -> io::Result<()> {
        let bytes = self.encode()?;
        write_synced(&dir.join(format!("v{}", self.number)), &bytes)?;
        let mut current = self.number.to_le_bytes().to_vec();
        current.extend(xxhash_rust::xxh3::xxh3_128(&bytes).to_le_bytes());
        current.push(0);
        let new = dir.join("current.new");
        write_synced(&new, &current)?;
        OsDisk.sync_dir(dir)?;
        OsDisk.rename(&new, &dir.join("current"))?;
        OsDisk.sync_dir(dir)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn without(run: &Run, gone: &BTreeSet<TableId>) -> Run {
    let left = run.iter().filter(|table| !gone.contains(&table.id()));
    Arc::new(left.cloned().collect())
}

/// A table's first key.
pub(crate) fn first(table: &Table) -> &Slice {
    table.metadata.key_range.min()
}

/// A table's last key.
pub(crate) fn last(table: &Table) -> &Slice {
    table.metadata.key_range.max()
}

/// The list that is current, in memory and on disk.
pub(crate) struct Lists {
    current: Mutex<TableList>,
}

impl Lists {
    pub fn of(tree: &Tree) -> Self {
        Self {
            current: Mutex::new(TableList::of(tree)),
        }
    }

    pub fn current(&self) -> TableList {
        self.current.lock().clone()
    }

    /// The number of the list that is current.
    pub fn number(&self) -> u64 {
        self.current.lock().number
    }

    /// Makes a changed list durable and current. `then` sees each list before the next one is made. A failure changes nothing,
    /// except that the file may already be the new one if its directory could not be synced.
    pub fn change<T>(
        &self,
        dir: &Path,
        change: impl FnOnce(&TableList) -> TableList,
        then: impl FnOnce(&TableList) -> T,
    ) -> io::Result<T> {
        let mut current = self.current.lock();
        let next = change(&current);
        next.store(dir)?;
        let before = std::mem::replace(&mut *current, next);
        let result = then(&current);
        drop(current);
        // What stays goes at the next start.
        let _ = OsDisk.remove_file(&dir.join(format!("v{}", before.number)));
        Ok(result)
    }
}
