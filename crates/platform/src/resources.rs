//! How much room the machine has.

use std::io;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Most files that [`raise_open_files_max`] asks for: clients, tables and what else a server has open.
const OPEN_FILES: u64 = 65_536;

/// A file system's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystemRoom {
    /// All of it, bytes.
    pub total_bytes: u64,
    /// What this process may still use, bytes.
    pub available_bytes: u64,
}

/// The room of the file system that holds `path`.
pub fn file_system_room(path: &Path) -> io::Result<FileSystemRoom> {
    let found = rustix::fs::statvfs(path)?;
    Ok(FileSystemRoom {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        available_bytes: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

/// How many files this process may have open; as many as one can count if nothing limits that.
pub fn open_files_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Has the system let this process have 65,536 files open, or as many as it allows without privileges. Many start programs with
/// 1,024.
pub fn raise_open_files_max() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(wanted);
        setrlimit(Resource::Nofile, Rlimit { current, ..limit })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_no_more_room_than_it_is_large() {
        let directory = tempfile::tempdir().unwrap();
        let room = file_system_room(directory.path()).unwrap();
        assert!(room.total_bytes > 0 && room.available_bytes <= room.total_bytes);
        assert!(file_system_room(&directory.path().join("missing")).is_err());
    }

    #[test]
    fn the_limit_of_open_files_is_raised_and_never_lowered() {
        let before = open_files_max();
        raise_open_files_max().unwrap();
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(open_files_max(), before.max(most.min(OPEN_FILES)));
    }
}
