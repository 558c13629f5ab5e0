//! Files and directories.
//!
//! Durability rules callers live by: bytes are on disk after `sync_data`, a file's name (created, renamed or
//! removed) after `sync_dir` of its directory. After a failed sync the bytes may be gone though a later sync
//! succeeds: stop, restart and recover.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation};

/// How to open a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Create the file if it is missing.
    pub create: bool,
    /// Create the file; `AlreadyExists` if it is there.
    pub create_new: bool,
    /// Open for writing as well as reading.
    pub write: bool,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The last component of the path.
    pub name: String,
    /// Length in bytes; 0 for directories.
    pub len: u64,
}

/// A file system.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// An exclusive lock on a path, released when dropped or when the process ends.
    type Lock: Send + Sync + 'static;

    /// Creates the directory and its missing ancestors, durably: the directory's name is on disk when this returns, were it
    /// made now or by a program that was killed before it could say so.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Opens a file for reading and, if asked, writing.
    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<Self::File>;
    /// Files and directories directly within `path`, sorted by name. One that another thread removes meanwhile is listed or not.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Renames within one file system, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and everything in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals within the directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether the path exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Takes an exclusive lock on the file at `path`, creating it if needed. `ErrorKind::WouldBlock` means
    /// that another holder (in this or another process) has it.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;
}

/// An open file with positioned reads and writes.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all the bytes.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes written bytes durable (and the length, where it changed).
    fn sync_data(&self) -> io::Result<()>;
    /// Makes bytes and all metadata durable.
    fn sync_all(&self) -> io::Result<()>;
    /// Makes the file `len` bytes long with zeros really written, so that later writes within it need no
    /// change of metadata. Existing bytes below the old length stay.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Sets the length, cutting or extending with a hole.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

/// A file of [`OsDisk`].
#[derive(Debug)]
pub struct OsFile(File);

/// A lock of [`OsDisk`]: `flock` on the open file.
#[derive(Debug)]
pub struct OsLock {
    _file: File,
}

impl Disk for OsDisk {
    type File = OsFile;
    type Lock = OsLock;

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        for ancestor in path.ancestors().filter(|it| !it.as_os_str().is_empty()) {
            if ancestor.try_exists()? {
                break;
            }
            missing.push(ancestor);
        }
        fs::create_dir_all(path)?;
        for made in &missing {
            self.sync_dir(parent(made))?;
        }
        if missing.is_empty() {
            match self.sync_dir(parent(path)) {
                // Whoever made it in a directory that is not ours answers for it.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<OsFile> {
        fs::OpenOptions::new()
            .read(true)
            .write(options.write || options.create || options.create_new)
            .create(options.create)
            .create_new(options.create_new)
            .open(path)
            .map(OsFile)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            entries.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                len: if metadata.is_dir() { 0 } else { metadata.len() },
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn lock(&self, path: &Path) -> io::Result<OsLock> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(OsLock { _file: file })
    }
}

/// The directory that holds this one's name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

impl DiskFile for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self
                .0
                .read_at(&mut buffer[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        const ZEROS: &[u8] = &[0; 256 << 10];
        let old = self.len()?;
        if len <= old {
            return Ok(());
        }
        // Reserving first keeps the blocks together and finds a full disk early; not every file system can.
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        // A reserved block is still "unwritten": its first write would change metadata. So write it.
        let mut offset = old;
        while offset < len {
            let count = (len - offset).min(ZEROS.len() as u64);
            self.0.write_all_at(&ZEROS[..count as usize], offset)?;
            offset += count;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests;
