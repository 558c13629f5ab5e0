//! A deterministic in-memory disk that loses what was not synced; for tests and the simulator.
//!
//! Model. A write changes what later reads see at once, and 512-byte sectors of it become durable at
//! `sync_data`/`sync_all` of the file. [`SimulatedDisk::crash`] lets each unsynced sector survive or not by a
//! seeded choice of its own, so sectors reach the medium out of order; or a first part of them, the last torn. Names
//! (create, rename, remove) become durable at `sync_dir`; a crash keeps a prefix of the others. Directories are durable
//! at once. A failed sync, as on Linux, forgets that the sectors were unsynced: reads still show them, a crash loses
//! them. [`SimulatedDisk::kill_process`] loses nothing but what was open.
//!
//! Faults are armed by the caller ([`SimulatedDisk::fail_sync_after`] and its neighbours); operations take no time, but
//! say how long they would have taken ([`SimulatedDisk::take_delay`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::{DirEntry, Disk, DiskFile, OpenOptions};

mod faults;
mod inode;

pub use faults::{DiskCosts, FlippedByte};

use faults::{Armed, due};
use inode::Inode;

/// The disk; clones share it.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// An open file; every use after a crash fails.
#[derive(Debug)]
pub struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
    epoch: u64,
}

/// A lock; a crash releases it.
#[derive(Debug)]
pub struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
    epoch: u64,
}

#[derive(Debug)]
struct State {
    random: u64,
    /// Counts crashes; handles of an earlier epoch are dead.
    epoch: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names not yet durable, in order; each is atomic.
    pending_names: Vec<NameChange>,
    directories: BTreeSet<PathBuf>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    locks: BTreeSet<PathBuf>,
    armed: Armed,
    costs: DiskCosts,
    /// How long operations took that nobody has asked about.
    delay: Duration,
    capacity_bytes: Option<u64>,
    read_only: bool,
    syncs: u64,
}

/// Paths and their new file, or none.
type NameChange = Vec<(PathBuf, Option<u64>)>;

impl SimulatedDisk {
    /// An empty disk whose crashes are decided by the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                random: seed,
                epoch: 0,
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                pending_names: Vec::new(),
                directories: BTreeSet::new(),
                inodes: BTreeMap::new(),
                next_inode: 0,
                locks: BTreeSet::new(),
                armed: Armed::default(),
                costs: DiskCosts::default(),
                delay: Duration::ZERO,
                capacity_bytes: None,
                read_only: false,
                syncs: 0,
            })),
        }
    }

    /// The power fails: what was not synced survives in parts, open files and locks die.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// The process dies: open files and locks with it, nothing that was written.
    pub fn kill_process(&self) {
        let mut state = self.state();
        state.epoch += 1;
        state.locks.clear();
        state.armed = Armed::default();
    }

    /// Crashes and killed processes so far.
    pub fn crashes(&self) -> u64 {
        self.state().epoch
    }

    /// Successful syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panicking test must not hide its message behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_name(names: &mut BTreeMap<PathBuf, u64>, path: PathBuf, inode: Option<u64>) {
    match inode {
        Some(inode) => names.insert(path, inode),
        None => names.remove(&path),
    };
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl State {
    fn choose(&mut self, options: usize) -> usize {
        (next_random(&mut self.random) % options as u64) as usize
    }

    fn crash(&mut self) {
        self.epoch += 1;
        let kept = self.choose(self.pending_names.len() + 1);
        for (path, inode) in self.pending_names.drain(..).take(kept).flatten() {
            set_name(&mut self.durable_names, path, inode);
        }
        self.names.clone_from(&self.durable_names);
        self.locks.clear();
        self.armed = Armed::default();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
        let mut random = self.random;
        for inode in self.inodes.values_mut() {
            inode.crash(&mut random);
        }
        self.random = random;
    }

    fn change_names(&mut self, change: NameChange) {
        for (path, inode) in &change {
            set_name(&mut self.names, path.clone(), *inode);
        }
        self.pending_names.push(change);
    }

    /// Durable at once, as is everything about directories, with the names in it.
    fn rename_directory(&mut self, from: &Path, to: &Path) {
        let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        let below = |change: &NameChange| change.iter().any(|(path, _)| path.starts_with(from));
        let (inside, pending): (Vec<_>, Vec<_>) = self.pending_names.drain(..).partition(below);
        self.pending_names = pending;
        for (path, inode) in inside.into_iter().flatten() {
            set_name(&mut self.durable_names, path, inode);
        }
        for names in [&mut self.names, &mut self.durable_names] {
            *names = std::mem::take(names)
                .into_iter()
                .map(|(path, inode)| (moved(&path).unwrap_or(path), inode))
                .collect();
        }
        self.directories = std::mem::take(&mut self.directories)
            .into_iter()
            .map(|path| moved(&path).unwrap_or(path))
            .collect();
    }

    fn named(&self, path: &Path) -> io::Result<u64> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;
    type Lock = SimulatedLock;

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.directories.contains(path) {
            state.check_writable()?;
        }
        state
            .directories
            .extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<SimulatedFile> {
        let mut state = self.state();
        if options.write {
            state.check_writable()?;
        }
        let inode = match state.names.get(path).copied() {
            Some(_) if options.create_new => return Err(io::ErrorKind::AlreadyExists.into()),
            Some(inode) => inode,
            None if options.create || options.create_new => {
                state.check_writable()?;
                let parent = path.parent().unwrap_or(Path::new(""));
                if !state.directories.contains(parent) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.change_names(vec![(path.to_path_buf(), Some(inode))]);
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(SimulatedFile {
            disk: self.clone(),
            inode,
            epoch: state.epoch,
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state();
        if !state.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |child: &Path| {
            child
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let files = state.names.iter().map(|(file, inode)| {
            (
                file,
                state
                    .inodes
                    .get(inode)
                    .map_or(0, |inode| inode.seen.len() as u64),
            )
        });
        let directories = state.directories.iter().map(|directory| (directory, 0));
        let mut entries: Vec<_> = files
            .chain(directories)
            .filter(|(child, _)| child.parent() == Some(path))
            .filter_map(|(child, len)| {
                Some(DirEntry {
                    name: name(child)?,
                    len,
                })
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_writable()?;
        if state.directories.contains(from) {
            state.rename_directory(from, to);
            return Ok(());
        }
        let inode = state.named(from)?;
        state.change_names(vec![
            (to.to_path_buf(), Some(inode)),
            (from.to_path_buf(), None),
        ]);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_writable()?;
        state.named(path)?;
        state.change_names(vec![(path.to_path_buf(), None)]);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_writable()?;
        let inside: Vec<_> = state
            .names
            .keys()
            .filter(|file| file.starts_with(path))
            .cloned()
            .collect();
        for file in inside {
            state.change_names(vec![(file, None)]);
        }
        state
            .directories
            .retain(|directory| !directory.starts_with(path));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let state = &mut *state;
        state.delay += state.costs.sync;
        let in_directory =
            |change: &NameChange| change.iter().any(|(file, _)| file.parent() == Some(path));
        let (synced, pending): (Vec<_>, Vec<_>) =
            state.pending_names.drain(..).partition(in_directory);
        state.pending_names = pending;
        for (file, inode) in synced.into_iter().flatten() {
            set_name(&mut state.durable_names, file, inode);
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        Ok(state.names.contains_key(path) || state.directories.contains(path))
    }

    fn lock(&self, path: &Path) -> io::Result<SimulatedLock> {
        let mut state = self.state();
        // It is opened for writing.
        state.check_writable()?;
        if !state.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(SimulatedLock {
            disk: self.clone(),
            path: path.to_path_buf(),
            epoch: state.epoch,
        })
    }
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

impl SimulatedFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.epoch != self.epoch {
            return Err(io::Error::other(
                "the disk crashed since this file was opened",
            ));
        }
        act(&mut state, self.inode)
    }

    fn with_inode<T>(&self, act: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        self.with(|state, inode| Ok(act(state.inodes.entry(inode).or_default())))
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state, inode| {
            state.delay += state.costs.read;
            if due(&mut state.armed.read_failure_in) {
                return Err(io::Error::other("simulated read failure"));
            }
            let inode = state.inodes.entry(inode).or_default();
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let count = inode.seen.read(buffer, start);
            if !inode.unreadable.is_empty() {
                let mut touched = Inode::sectors(start.min(inode.seen.len()), count);
                if touched.any(|sector| inode.unreadable.contains(&sector)) {
                    return Err(io::Error::other("simulated unreadable sector"));
                }
            }
            Ok(count)
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.with(|state, inode| {
            state.check_writable()?;
            state.delay += state.costs.write;
            let old = state.inodes.entry(inode).or_default().seen.len();
            let fits = state.part_of_write_that_fits(offset, bytes.len(), old);
            let succeeds = state.part_of_write_that_succeeds(bytes.len());
            let written = fits.min(succeeds);
            let inode = state.inodes.entry(inode).or_default();
            inode.write(&bytes[..written], offset);
            if fits < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if succeeds < bytes.len() {
                return Err(io::Error::other("simulated write failure"));
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state, inode| {
            if state.armed.crash_in_sync {
                state.crash();
                return Err(io::Error::other("the disk crashed"));
            }
            state.delay += state.costs.sync + std::mem::take(&mut state.armed.stall);
            let fails = due(&mut state.armed.sync_failure_in);
            let inode = state.inodes.entry(inode).or_default();
            if fails {
                inode.fail_sync();
                return Err(io::Error::other("simulated sync failure"));
            }
            inode.sync();
            state.syncs += 1;
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let old = self.len()?;
        if len <= old {
            return Ok(());
        }
        let more = usize::try_from(len - old).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.with(|state, inode| {
            state.check_writable()?;
            // The file system reserves the space before it writes: all of it or nothing.
            let at = usize::try_from(old).map_err(|_| io::ErrorKind::InvalidInput)?;
            if !state.has_room_for(more as u64) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.delay += state.costs.write;
            state
                .inodes
                .entry(inode)
                .or_default()
                .seen
                .set_len(at + more);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.with_inode(|inode| inode.set_len(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.with_inode(|inode| inode.seen.len() as u64)
    }
}

#[cfg(test)]
mod tests;
