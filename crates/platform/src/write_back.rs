//! Writing what the page cache holds before it becomes much.

use std::fs::File;
use std::io;

/// Has the disk take a range of `file` and waits until it has. **Makes nothing durable**: neither is the length of the file
/// written, nor the disk's own cache flushed; so it costs no commit of the file system's journal, of which `fdatasync` takes one
/// whenever a file has grown. What it is for: a sync that comes later finds little left to do. Where the system has no such call
/// (`sync_file_range(2)` is Linux's), it is `fdatasync`.
pub fn write_back(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;

        let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        let length = |bytes: u64| {
            i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
        };
        let (offset, bytes) = (length(offset)?, length(bytes)?);
        // SAFETY: it takes numbers only, and the descriptor is open as long as `file` is borrowed.
        let outcome = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, flags) };
        match outcome {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (offset, bytes);
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_range_is_written_back_and_one_that_cannot_be_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        write_back(&file, 0, 10_000).unwrap();
        write_back(&file, 5_000, 1 << 20).unwrap();
        if cfg!(target_os = "linux") {
            assert!(write_back(&file, u64::MAX, 1).is_err());
        }
    }
}
