//! Keeps flush and compaction from disturbing others: what they write reaches the disk in small pieces, and they rest
//! in between, the less the more waits.
//!
//! `lsm-tree` syncs a table when it is complete: tens of megabytes that the log's next sync would have to wait for. So
//! what has been written of the tables under way is given to the disk after each piece. A failure of that is passed over here:
//! the table's own sync comes after it and reports it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of entries after which what was written goes to the disk. The log's next sync may have to wait for one piece of each node
/// on the disk.
const PIECE_BYTES: u64 = 256 << 10;
/// The same in a hurry: more time goes into work, less into waiting for the disk.
const HURRIED_PIECE_BYTES: u64 = 1 << 20;
/// How many times as long as it took the rest after a piece is.
const REST_RATIO: u32 = 3;
/// Longest rest after a piece, however long it took.
const REST_MAX: Duration = Duration::from_millis(50);

/// The pace of one flush or compaction.
pub(crate) struct Pace {
    tables: PathBuf,
    /// Tables from this number on were begun since.
    first: u64,
    /// Those under way, with the length that has gone to the disk.
    under_way: BTreeMap<u64, Option<(File, u64)>>,
    bytes: u64,
    piece_bytes: u64,
    piece_began: Instant,
}

impl Pace {
    /// Of work in the engine at `dir` whose first table will have a number not below `first`.
    pub fn new(dir: &Path, first: u64) -> Self {
        Self {
            tables: dir.join("tables"),
            first,
            under_way: BTreeMap::new(),
            bytes: 0,
            piece_bytes: PIECE_BYTES,
            piece_began: Instant::now(),
        }
    }

    /// An entry of `bytes` goes through. After a piece, what is on its way goes to the disk, `next` being the number of the next
    /// table; returns how long to rest then if there is no hurry.
    pub fn entry(&mut self, bytes: u64, next: impl FnOnce() -> u64) -> Option<Duration> {
        self.bytes += bytes;
        if self.bytes < self.piece_bytes {
            return None;
        }
        self.bytes = 0;
        self.write_back(next());
        Some((self.piece_began.elapsed() * REST_RATIO).min(REST_MAX))
    }

    /// The next piece begins, after a rest or, in a hurry, without one.
    pub fn go_on(&mut self, in_a_hurry: bool) {
        self.piece_bytes = match in_a_hurry {
            true => HURRIED_PIECE_BYTES,
            false => PIECE_BYTES,
        };
        self.piece_began = Instant::now();
    }

    fn write_back(&mut self, next: u64) {
        for number in self.first..next {
            let table = self.under_way.entry(number).or_insert_with(|| {
                let file = File::open(self.tables.join(number.to_string()));
                file.ok().map(|file| (file, 0))
            });
            let Some((file, written)) = table else {
                continue;
            };
            let len = file.metadata().map_or(0, |metadata| metadata.len());
            if len > *written && platform::write_back(file, *written, len - *written).is_ok() {
                *written = len;
            } else if len == *written && number + 1 < next {
                // Complete, and synced by `lsm-tree` itself.
                *table = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_begun_since_is_written_and_complete_tables_are_let_go() {
        let directory = tempfile::tempdir().unwrap();
        let tables = directory.path().join("tables");
        std::fs::create_dir(&tables).unwrap();
        let write = |number: u64, bytes: usize| {
            std::fs::write(tables.join(number.to_string()), vec![1; bytes]).unwrap();
        };
        for number in 1..=3 {
            write(number, 10);
        }
        let mut pace = Pace::new(directory.path(), 2);
        assert_eq!(pace.entry(PIECE_BYTES - 1, || unreachable!()), None);
        assert!(pace.entry(1, || 4).is_some());
        let written = |pace: &Pace| -> Vec<(u64, Option<u64>)> {
            let tables = pace.under_way.iter();
            tables
                .map(|(number, table)| (*number, table.as_ref().map(|(_, written)| *written)))
                .collect()
        };
        assert_eq!(written(&pace), [(2, Some(10)), (3, Some(10))]);
        write(3, 20);
        assert!(pace.entry(PIECE_BYTES, || 4).is_some());
        assert_eq!(written(&pace), [(2, None), (3, Some(20))]);
        pace.go_on(true);
        assert_eq!(pace.entry(PIECE_BYTES, || unreachable!()), None);
    }
}
