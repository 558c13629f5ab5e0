//! The file system, mounted; and the end of the program that uses it.
//!
//! At the moment it was armed for, the program is killed from within the operation it asked for: SIGKILL is sent first, and
//! only then is the call answered, so that the program does nothing more. From then on every operation fails, until
//! [`Forgetful::revive`]: what the disk holds is what it held at that moment.
//!
//! The kernel caches nothing of it: names and attributes live for no time, reads and writes go straight through.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno as FuseErrno, FileAttr, FileHandle, FileType,
    Filesystem, FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getgid, getuid, kill_process};
use tempfile::TempDir;

use super::disk::{Attributes, Disk};
use super::points::{Counts, Moment, Operation, Place};
use super::survival::Habit;
use crate::random::Random;

/// Nothing that was looked up holds for any time.
const NO_TIME: Duration = Duration::ZERO;
const BLOCK_BYTES: u32 = 4096;

/// Why there is no mount.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The machine has no FUSE, or does not let this user mount.
    #[error(
        "no file system can be mounted here ({0}): /dev/fuse and the right to mount are needed"
    )]
    Refused(std::io::Error),
    /// No directory to mount at.
    #[error("no directory to mount at: {0}")]
    NoDirectory(std::io::Error),
}

/// The end that a program is to meet.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// In which operation.
    pub operation: Operation,
    /// On which kind of file.
    pub place: Place,
    /// In the how manyeth of them, from 1.
    pub nth: u64,
    /// When, relative to it.
    pub moment: Moment,
}

#[derive(Debug)]
struct State {
    disk: Disk,
    victim: Option<Pid>,
    /// The program was killed: nothing reaches the disk any more.
    frozen: bool,
    stop: Option<Stop>,
    counts: Counts,
}

impl State {
    /// Kills the program; what is on the disk stays as it is.
    fn end(&mut self) {
        self.frozen = true;
        if let Some(victim) = self.victim {
            // It may have ended by itself; nobody waited for it yet, so the number is still its own.
            let _ = kill_process(victim, Signal::KILL);
        }
    }

    /// Whether this operation is the one to end in.
    fn due(&mut self, operation: Operation, place: Place) -> Option<Moment> {
        *self.counts.entry((operation, place)).or_default() += 1;
        let stop = self.stop.as_mut()?;
        if (stop.operation, stop.place) != (operation, place) {
            return None;
        }
        stop.nth -= 1;
        let (left, moment) = (stop.nth, stop.moment);
        (left == 0).then(|| {
            self.stop = None;
            moment
        })
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

/// A mounted file system that forgets what was not synced. Unmounted when dropped.
pub struct Forgetful {
    shared: Arc<Shared>,
    // Before its directory: it must be unmounted first.
    _session: BackgroundSession,
    directory: TempDir,
}

impl Forgetful {
    /// Mounts an empty one at a directory of its own.
    pub fn mount() -> Result<Forgetful, MountError> {
        let directory = tempfile::Builder::new()
            .prefix("forgetful-")
            .tempdir()
            .map_err(MountError::NoDirectory)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                disk: Disk::new(),
                victim: None,
                frozen: false,
                stop: None,
                counts: Counts::new(),
            }),
            ended: Condvar::new(),
        });
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forgetful".to_owned())];
        let view = View(Arc::clone(&shared));
        let session =
            fuser::spawn_mount(view, directory.path(), &config).map_err(MountError::Refused)?;
        Ok(Forgetful {
            shared,
            _session: session,
            directory,
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the program whose end is to be decided of; nothing of the file system moves before that is known.
    pub fn start(&self, command: &mut Command) -> std::io::Result<Child> {
        let mut state = self.shared.state.lock();
        let child = command.spawn()?;
        state.victim = Some(Pid::from_child(&child));
        Ok(child)
    }

    /// Arms the file system.
    pub fn arm(&self, stop: Stop) {
        assert!(stop.nth > 0, "counted from 1");
        self.shared.state.lock().stop = Some(stop);
    }

    /// Waits until the program was killed where it was to be; `false` if it was not in that time.
    pub fn wait_for_end(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let mut state = self.shared.state.lock();
        while !state.frozen {
            if self
                .shared
                .ended
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                return state.frozen;
            }
        }
        true
    }

    /// Whether the program was killed.
    pub fn has_ended(&self) -> bool {
        self.shared.state.lock().frozen
    }

    /// Kills the program now.
    pub fn end(&self) {
        self.shared.state.lock().end();
        self.shared.ended.notify_all();
    }

    /// The power went, after the program's end. Returns whether anything was lost.
    pub fn lose_power(&self, habit: Habit, random: Random) -> bool {
        let mut state = self.shared.state.lock();
        assert!(state.frozen, "the program was killed before");
        state.disk.lose_power(habit, random)
    }

    /// Lets the next program use the file system. The one before must have been waited for.
    pub fn revive(&self) {
        let mut state = self.shared.state.lock();
        state.disk.collect();
        state.victim = None;
        state.stop = None;
        state.frozen = false;
    }

    /// Begins with an empty file system. The program must have been waited for.
    pub fn empty(&self) {
        self.shared.state.lock().disk = Disk::new();
        self.revive();
    }

    /// How often each operation was seen so far.
    pub fn counts(&self) -> Counts {
        self.shared.state.lock().counts.clone()
    }

    /// Copies all files to a directory, for whoever looks into a finding.
    pub fn save(&self, to: &Path) -> std::io::Result<()> {
        for (path, bytes) in self.shared.state.lock().disk.contents() {
            let target: PathBuf = to.join(path.trim_start_matches('/'));
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(target, bytes)?;
        }
        Ok(())
    }
}

/// What the kernel talks to.
struct View(Arc<Shared>);

impl View {
    fn reading<T>(&self, read: impl FnOnce(&Disk) -> Result<T, Errno>) -> Result<T, FuseErrno> {
        let state = self.0.state.lock();
        if state.frozen {
            return Err(FuseErrno::EIO);
        }
        read(&state.disk).map_err(fuse_error)
    }

    /// Does an operation that may be the program's last; `path` is what it is done to. `change` is told whether to do all of
    /// it or a part.
    fn changing<T>(
        &self,
        operation: Operation,
        path: impl FnOnce(&Disk) -> String,
        change: impl FnOnce(&mut Disk, bool) -> Result<T, Errno>,
    ) -> Result<T, FuseErrno> {
        let mut state = self.0.state.lock();
        if state.frozen {
            return Err(FuseErrno::EIO);
        }
        let place = Place::of(&path(&state.disk));
        let Some(moment) = state.due(operation, place) else {
            return change(&mut state.disk, true).map_err(fuse_error);
        };
        state.end();
        match moment {
            Moment::After => drop(change(&mut state.disk, true)),
            Moment::Amid if operation == Operation::Write => drop(change(&mut state.disk, false)),
            Moment::Amid | Moment::Before => {}
        }
        self.0.ended.notify_all();
        Err(FuseErrno::EIO)
    }
}

fn fuse_error(error: Errno) -> FuseErrno {
    FuseErrno::from_i32(error.raw_os_error())
}

fn name_of(name: &OsStr) -> Result<&str, FuseErrno> {
    name.to_str().ok_or(FuseErrno::EINVAL)
}

fn below(disk: &Disk, parent: INodeNo, name: &str) -> String {
    match disk.path(parent.0) {
        path if path.is_empty() => name.to_owned(),
        path => format!("{path}/{name}"),
    }
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn attributes(of: Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(of.inode),
        size: of.len,
        blocks: of.len.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if of.is_directory {
            FileType::Directory
        } else {
            FileType::RegularFile
        },
        perm: 0o755,
        nlink: 1,
        uid: getuid().as_raw(),
        gid: getgid().as_raw(),
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn answer(reply: ReplyEmpty, result: Result<(), FuseErrno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_entry(reply: ReplyEntry, result: Result<Attributes, FuseErrno>) {
    match result {
        Ok(found) => reply.entry(&NO_TIME, &attributes(found), Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn answer_attributes(reply: ReplyAttr, result: Result<Attributes, FuseErrno>) {
    match result {
        Ok(found) => reply.attr(&NO_TIME, &attributes(found)),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for View {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = name_of(name).and_then(|name| self.reading(|disk| disk.lookup(parent.0, name)));
        answer_entry(reply, found);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer_attributes(reply, self.reading(|disk| disk.attributes(inode.0)));
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let result = match size {
            None => self.reading(|disk| disk.attributes(inode.0)),
            Some(size) => self.changing(
                Operation::SetLength,
                |disk| disk.path(inode.0),
                |disk, _| {
                    disk.set_len(inode.0, as_usize(size))?;
                    disk.attributes(inode.0)
                },
            ),
        };
        answer_attributes(reply, result);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = name_of(name).and_then(|name| {
            self.changing(
                Operation::MakeDirectory,
                |disk| below(disk, parent, name),
                |disk, _| disk.make_directory(parent.0, name),
            )
        });
        answer_entry(reply, made);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = name_of(name).and_then(|name| {
            self.changing(
                Operation::Remove,
                |disk| below(disk, parent, name),
                |disk, _| disk.unlink(parent.0, name),
            )
        });
        answer(reply, done);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = name_of(name).and_then(|name| {
            self.changing(
                Operation::RemoveDirectory,
                |disk| below(disk, parent, name),
                |disk, _| disk.remove_directory(parent.0, name),
            )
        });
        answer(reply, done);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(FuseErrno::EINVAL);
        }
        let done = name_of(name).and_then(|name| {
            let new_name = name_of(new_name)?;
            self.changing(
                Operation::Rename,
                |disk| below(disk, new_parent, new_name),
                |disk, _| disk.rename((parent.0, name), (new_parent.0, new_name)),
            )
        });
        answer(reply, done);
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.reading(|disk| disk.attributes(inode.0)) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = name_of(name).and_then(|name| {
            self.changing(
                Operation::Create,
                |disk| below(disk, parent, name),
                |disk, _| disk.create(parent.0, name),
            )
        });
        match made {
            Ok(made) => reply.created(
                &NO_TIME,
                &attributes(made),
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.reading(|disk| {
            disk.read(inode.0, as_usize(offset), size as usize)
                .map(<[u8]>::to_vec)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.changing(
            Operation::Write,
            |disk| disk.path(inode.0),
            |disk, whole| {
                let bytes = if whole { data } else { &data[..data.len() / 2] };
                disk.write(inode.0, as_usize(offset), bytes)
            },
        );
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.changing(
            Operation::Sync,
            |disk| disk.path(inode.0),
            |disk, _| disk.sync_file(inode.0),
        );
        answer(reply, synced);
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.changing(
            Operation::SyncDirectory,
            |disk| disk.path(inode.0),
            |disk, _| disk.sync_directory(inode.0),
        );
        answer(reply, synced);
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut names = match self.reading(|disk| disk.list(inode.0)) {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        // By number, so that a reader who removes what was listed finds the rest.
        names.retain(|(_, found)| found.inode > offset);
        names.sort_by_key(|(_, found)| found.inode);
        for (name, found) in names {
            let kind = attributes(found).kind;
            if reply.add(INodeNo(found.inode), found.inode, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
