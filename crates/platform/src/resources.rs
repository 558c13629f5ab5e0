//! How much room the machine has.

use std::io;
use std::path::Path;

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
}
