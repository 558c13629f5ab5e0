//! Where a member's bytes are: the files of its data directory by what they are for, and what is kept for readers.
//!
//! The directory is looked at when somebody asks; nothing is kept. Files that come and go meanwhile may be missed or counted
//! as they were.

use std::path::Path;

use platform::Disk;
use state_machine::Reader;

use crate::engine_dirs;
use crate::recovery::{engine_root, log_dir};

/// Sizes in bytes, unless they say otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Segments of the log in use, the next one in waiting included.
    pub log_bytes: u64,
    /// Segments freed and kept for reuse.
    pub log_spare_bytes: u64,
    /// The engine's files.
    pub engine_bytes: u64,
    /// A snapshot on its way in, or a state that one has replaced.
    pub staging_bytes: u64,
    /// What was put aside because it was damaged.
    pub damaged_bytes: u64,
    /// All other files of the data directory.
    pub other_bytes: u64,
    /// States that cursors, snapshots on their way out and backups keep readable.
    pub snapshots_held: u64,
    /// How many log entries ago the oldest state that is kept readable was applied; versions since then stay.
    pub oldest_version_age: u64,
}

impl Space {
    /// Of the files in `data_dir`.
    pub(crate) fn of_directory<D: Disk>(disk: &D, data_dir: &Path) -> Space {
        let mut space = Space::default();
        let (log, engine) = (log_dir(data_dir), engine_root(data_dir));
        let engine_generation = engine_dirs::current(disk, &engine).ok().flatten();
        let engine_generation = engine_generation.map(|generation| generation.to_string());
        for (path, name, bytes) in entries(disk, data_dir) {
            if path == log {
                space.add_log(disk, &log);
            } else if path == engine {
                for (_, name, bytes) in entries(disk, &engine) {
                    if engine_generation.as_ref() == Some(&name) {
                        space.engine_bytes += bytes;
                    } else if name.parse::<u64>().is_ok() {
                        space.staging_bytes += bytes;
                    } else {
                        space.other_bytes += bytes;
                    }
                }
            } else if name.starts_with("damaged-") {
                space.damaged_bytes += bytes;
            } else {
                space.other_bytes += bytes;
            }
        }
        space
    }

    fn add_log<D: Disk>(&mut self, disk: &D, log: &Path) {
        for (_, name, bytes) in entries(disk, log) {
            if name.starts_with("damaged-") {
                self.damaged_bytes += bytes;
            } else if name.starts_with("spare-") {
                self.log_spare_bytes += bytes;
            } else {
                self.log_bytes += bytes;
            }
        }
    }

    /// Adds what is held for readers.
    pub(crate) fn and_held(mut self, reader: &Reader) -> Space {
        let (snapshots, oldest) = reader.readable_since();
        self.snapshots_held = snapshots as u64;
        self.oldest_version_age = reader.applied_index().saturating_sub(oldest);
        self
    }
}

/// What is directly in a directory, with the bytes of all that is in it.
fn entries<D: Disk>(
    disk: &D,
    directory: &Path,
) -> impl Iterator<Item = (std::path::PathBuf, String, u64)> {
    let listed = disk.list(directory).unwrap_or_default();
    listed.into_iter().map(|entry| {
        let path = directory.join(&entry.name);
        let bytes = entry.len
            + if entry.len == 0 {
                below(disk, &path)
            } else {
                0
            };
        (path, entry.name, bytes)
    })
}

/// Bytes of everything in a directory; of a file, none.
fn below<D: Disk>(disk: &D, path: &Path) -> u64 {
    let listed = disk.list(path).unwrap_or_default();
    let sizes = listed.into_iter().map(|entry| match entry.len {
        0 => below(disk, &path.join(&entry.name)),
        bytes => bytes,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use platform::{DiskFile, OpenOptions, SimulatedDisk};

    use super::*;

    #[test]
    fn files_are_counted_by_what_they_are_for() {
        let disk = SimulatedDisk::new(1);
        let dir = Path::new("/data");
        let create = OpenOptions {
            create: true,
            write: true,
            ..OpenOptions::default()
        };
        for (name, bytes) in [
            ("wal/0000000000000001.wal", 1_000_000),
            ("wal/0000000000000002.wal", 100_000),
            ("wal/spare-0000000000000000.wal", 10_000),
            ("wal/damaged-0000000000000000.wal", 1_000),
            ("engine/2/tables/7", 20),
            ("engine/2/manifest", 1),
            ("engine/3/tables/1", 300),
            ("engine/CURRENT", 2),
            ("identity", 40),
            ("damaged-1/engine/1/tables/3", 5_000),
        ] {
            let path = dir.join(name);
            disk.create_dir_all(path.parent().expect("it has one"))
                .expect("the disk is sound");
            let file = disk.open(&path, create).expect("the disk is sound");
            let content = match name {
                "engine/CURRENT" => b"2\n".to_vec(),
                _ => vec![7; bytes],
            };
            file.write_all_at(&content, 0).expect("the disk is sound");
        }
        let expected = Space {
            log_bytes: 1_100_000,
            log_spare_bytes: 10_000,
            engine_bytes: 21,
            staging_bytes: 300,
            damaged_bytes: 6_000,
            other_bytes: 42,
            ..Space::default()
        };
        assert_eq!(Space::of_directory(&disk, dir), expected);
        assert_eq!(
            Space::of_directory(&disk, Path::new("/nothing")),
            Space::default()
        );
    }
}
