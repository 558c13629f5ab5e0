//! What can be made to go wrong on the simulated disk, and how long its operations take.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::inode::{Inode, SECTOR_BYTES};
use super::{SimulatedDisk, State};

/// How long operations take, in the time of whoever runs the simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCosts {
    /// A read.
    pub read: Duration,
    /// A write.
    pub write: Duration,
    /// A sync of a file or directory.
    pub sync: Duration,
}

/// A byte that was changed behind everybody's back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlippedByte {
    /// The file.
    pub path: PathBuf,
    /// Its offset.
    pub offset: u64,
    /// The bits that changed.
    pub mask: u8,
}

/// Faults that are armed and have not happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Armed {
    /// Operations of the kind until one fails.
    pub sync_failure_in: Option<u64>,
    pub write_failure_in: Option<u64>,
    pub write_without_room_in: Option<u64>,
    pub read_failure_in: Option<u64>,
    /// The next sync of a file is where the power fails.
    pub crash_in_sync: bool,
    /// The next sync takes this much longer.
    pub stall: Duration,
}

impl SimulatedDisk {
    /// The sync after `successes` more fails, once.
    pub fn fail_sync_after(&self, successes: u64) {
        self.state().armed.sync_failure_in = Some(successes);
    }

    /// The write after `successes` more fails, once, with a part of it written.
    pub fn fail_write_after(&self, successes: u64) {
        self.state().armed.write_failure_in = Some(successes);
    }

    /// The write after `successes` more finds the disk full, once, with a part of it written: as where writing over what is
    /// there takes new space.
    pub fn fill_in_write_after(&self, successes: u64) {
        self.state().armed.write_without_room_in = Some(successes);
    }

    /// The read after `successes` more fails, once.
    pub fn fail_read_after(&self, successes: u64) {
        self.state().armed.read_failure_in = Some(successes);
    }

    /// The power fails in the next sync of a file.
    pub fn crash_in_sync(&self) {
        self.state().armed.crash_in_sync = true;
    }

    /// The next sync of a file takes `longer` on top of what it costs.
    pub fn stall_next_sync(&self, longer: Duration) {
        self.state().armed.stall = longer;
    }

    /// Takes back the faults above, if they have not happened.
    pub fn disarm(&self) {
        self.state().armed = Armed::default();
    }

    /// What operations cost from now on.
    pub fn set_costs(&self, costs: DiskCosts) {
        self.state().costs = costs;
    }

    /// How long the operations since the last call took together. Time does not pass here: the caller
    /// postpones what comes after them.
    pub fn take_delay(&self) -> Duration {
        std::mem::take(&mut self.state().delay)
    }

    /// A disk of this many bytes: a write that needs more puts down what fits and fails with `StorageFull`. `None`
    /// lifts the limit.
    pub fn limit_capacity(&self, bytes: Option<u64>) {
        self.state().capacity_bytes = bytes;
    }

    /// Whether files may grow by this much.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.state().has_room_for(bytes)
    }

    /// From now on nothing can be changed, until that is taken back: as file systems are after an error.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Bytes of all files that have a name.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Flips bits of one byte, on the medium and in what reads see.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn corrupt(&self, path: &Path, offset: u64, mask: u8) {
        let mut state = self.state();
        let inode = *state.names.get(path).expect("the file exists");
        let inode = state.inodes.get_mut(&inode).expect("a name has a file");
        let at = usize::try_from(offset).expect("fits memory");
        inode.seen.flip(at, mask);
        inode.durable.flip(at, mask);
    }

    /// Flips one bit of one synced byte, drawn from the files under `directory` whose names `accept` takes.
    /// `spare_last_sync` leaves alone what each file's last sync wrote: damage there looks like a write that never
    /// ended. `None` if there is nothing to damage.
    pub fn flip_synced_bit(
        &self,
        directory: &Path,
        spare_last_sync: bool,
        accept: impl Fn(&Path) -> bool,
    ) -> Option<FlippedByte> {
        let mut state = self.state();
        let files: Vec<(PathBuf, usize, usize)> = state
            .files_under(directory)
            .filter(|(path, _)| accept(path))
            .map(|(path, inode)| {
                let range = inode.damageable(spare_last_sync);
                (path.clone(), range.start, range.len())
            })
            .filter(|(_, _, len)| *len > 0)
            .collect();
        let total: usize = files.iter().map(|(_, _, len)| len).sum();
        if total == 0 {
            return None;
        }
        let mut drawn = state.choose(total);
        let mask = 1 << state.choose(8);
        drop(state);
        for (path, start, len) in files {
            if drawn < len {
                let offset = (start + drawn) as u64;
                self.corrupt(&path, offset, mask);
                return Some(FlippedByte { path, offset, mask });
            }
            drawn -= len;
        }
        None
    }

    /// From now on reads that touch the sector of this byte fail, until it is written again.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn spoil_sector(&self, path: &Path, offset: u64) {
        let mut state = self.state();
        let inode = *state.names.get(path).expect("the file exists");
        let inode = state.inodes.get_mut(&inode).expect("a name has a file");
        inode.unreadable.insert(offset as usize / SECTOR_BYTES);
    }

    /// Files under a directory with their length, in order of name.
    pub fn files(&self, directory: &Path) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        let files = state.files_under(directory);
        files
            .map(|(path, inode)| (path.clone(), inode.seen.len() as u64))
            .collect()
    }
}

impl State {
    pub(super) fn check_writable(&self) -> io::Result<()> {
        match self.read_only {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Ok(()),
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let named = self
            .names
            .values()
            .filter_map(|inode| self.inodes.get(inode));
        named.map(|inode| inode.seen.len() as u64).sum()
    }

    fn files_under(&self, directory: &Path) -> impl Iterator<Item = (&PathBuf, &Inode)> {
        self.names
            .iter()
            .filter(move |(path, _)| path.starts_with(directory))
            .filter_map(|(path, inode)| Some((path, self.inodes.get(inode)?)))
    }

    /// How much of a write goes through, by the faults that are armed.
    pub(super) fn part_of_write_that_succeeds(&mut self, len: usize) -> usize {
        match due(&mut self.armed.write_failure_in) {
            true => self.choose(len.max(1)),
            false => len,
        }
    }

    /// Whether files may grow by this much.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        self.capacity_bytes
            .is_none_or(|limit| self.used_bytes() + bytes <= limit)
    }

    /// How many bytes a write of `len` bytes may put down when the disk is nearly full.
    pub(super) fn part_of_write_that_fits(
        &mut self,
        offset: usize,
        len: usize,
        old: usize,
    ) -> usize {
        if due(&mut self.armed.write_without_room_in) {
            return self.choose(len.max(1));
        }
        let Some(limit) = self.capacity_bytes else {
            return len;
        };
        let free = limit.saturating_sub(self.used_bytes());
        let reach = old as u64 + free;
        let end = (offset + len) as u64;
        if end <= (old as u64).max(reach) {
            return len;
        }
        usize::try_from(reach.saturating_sub(offset as u64)).map_or(len, |fits| fits.min(len))
    }
}

/// Counts down; true once, when it is the turn.
pub(super) fn due(countdown: &mut Option<u64>) -> bool {
    match countdown {
        Some(0) => {
            *countdown = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}
