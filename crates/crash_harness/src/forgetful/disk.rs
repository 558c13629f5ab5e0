//! A file system in memory that knows what was synced: a strict reading of POSIX. A file's content is on disk after `fsync`
//! of the file, its name after `fsync` of its directory, a directory's name after `fsync` of the directory above.
//! Journalling file systems often do more than that; programs must not count on it.
//!
//! A rename within the file system is one change: it happened or it did not.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;

use super::directory::{self, DirectoryBody, EntryChange, Inode};
use super::file::FileBody;
use super::survival::{Habit, Survival};
use crate::random::Random;

/// The directory at the top.
pub(crate) const ROOT: Inode = 1;

#[derive(Debug)]
enum Body {
    File(FileBody),
    Directory(DirectoryBody),
}

/// What there is to know of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub inode: Inode,
    pub len: u64,
    pub is_directory: bool,
}

/// The file system.
#[derive(Debug)]
pub(crate) struct Disk {
    inodes: BTreeMap<Inode, Body>,
    /// Where each directory or file was last put; for names in reports only.
    places: BTreeMap<Inode, (Inode, String)>,
    next: Inode,
    /// Counts changes.
    moment: u64,
    /// The first moment that a power loss may decide of.
    settled: u64,
}

impl Disk {
    pub fn new() -> Self {
        Disk {
            inodes: BTreeMap::from([(ROOT, Body::Directory(DirectoryBody::default()))]),
            places: BTreeMap::new(),
            next: ROOT + 1,
            moment: 0,
            settled: 0,
        }
    }

    fn directory(&self, inode: Inode) -> Result<&DirectoryBody, Errno> {
        match self.inodes.get(&inode) {
            Some(Body::Directory(body)) => Ok(body),
            Some(Body::File(_)) => Err(Errno::NOTDIR),
            None => Err(Errno::STALE),
        }
    }

    fn directory_mut(&mut self, inode: Inode) -> Result<&mut DirectoryBody, Errno> {
        match self.inodes.get_mut(&inode) {
            Some(Body::Directory(body)) => Ok(body),
            Some(Body::File(_)) => Err(Errno::NOTDIR),
            None => Err(Errno::STALE),
        }
    }

    fn file(&self, inode: Inode) -> Result<&FileBody, Errno> {
        match self.inodes.get(&inode) {
            Some(Body::File(body)) => Ok(body),
            Some(Body::Directory(_)) => Err(Errno::ISDIR),
            None => Err(Errno::STALE),
        }
    }

    fn file_mut(&mut self, inode: Inode) -> Result<&mut FileBody, Errno> {
        match self.inodes.get_mut(&inode) {
            Some(Body::File(body)) => Ok(body),
            Some(Body::Directory(_)) => Err(Errno::ISDIR),
            None => Err(Errno::STALE),
        }
    }

    fn tick(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    pub fn attributes(&self, inode: Inode) -> Result<Attributes, Errno> {
        let (len, is_directory) = match self.inodes.get(&inode).ok_or(Errno::STALE)? {
            Body::File(body) => (body.len() as u64, false),
            Body::Directory(_) => (0, true),
        };
        Ok(Attributes {
            inode,
            len,
            is_directory,
        })
    }

    pub fn lookup(&self, directory: Inode, name: &str) -> Result<Attributes, Errno> {
        let found = self.directory(directory)?.seen.get(name);
        self.attributes(*found.ok_or(Errno::NOENT)?)
    }

    /// Names and what they stand for, sorted.
    pub fn list(&self, directory: Inode) -> Result<Vec<(String, Attributes)>, Errno> {
        let names = self.directory(directory)?.seen.iter();
        names
            .map(|(name, inode)| Ok((name.clone(), self.attributes(*inode)?)))
            .collect()
    }

    /// The path of a file or directory from the top, without a leading slash.
    pub fn path(&self, inode: Inode) -> String {
        let mut parts = Vec::new();
        let mut at = inode;
        while let Some((above, name)) = self.places.get(&at) {
            parts.push(name.as_str());
            at = *above;
        }
        parts.reverse();
        parts.join("/")
    }

    fn make(&mut self, directory: Inode, name: &str, body: Body) -> Result<Attributes, Errno> {
        if self.directory(directory)?.seen.contains_key(name) {
            return Err(Errno::EXIST);
        }
        let (inode, made) = (self.next, self.tick());
        self.next += 1;
        self.inodes.insert(inode, body);
        self.places.insert(inode, (directory, name.to_owned()));
        self.directory_mut(directory)?.change(EntryChange {
            made,
            removed: None,
            set: Some((name.to_owned(), inode)),
        });
        self.attributes(inode)
    }

    pub fn create(&mut self, directory: Inode, name: &str) -> Result<Attributes, Errno> {
        self.make(directory, name, Body::File(FileBody::default()))
    }

    pub fn make_directory(&mut self, directory: Inode, name: &str) -> Result<Attributes, Errno> {
        self.make(directory, name, Body::Directory(DirectoryBody::default()))
    }

    pub fn read(&self, inode: Inode, offset: usize, count: usize) -> Result<&[u8], Errno> {
        Ok(self.file(inode)?.read(offset, count))
    }

    pub fn write(&mut self, inode: Inode, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        let made = self.tick();
        self.file_mut(inode)?.write(made, offset, bytes);
        Ok(())
    }

    pub fn set_len(&mut self, inode: Inode, len: usize) -> Result<(), Errno> {
        let made = self.tick();
        self.file_mut(inode)?.set_len(made, len);
        Ok(())
    }

    /// Removes a file's name; who has it open goes on reading it.
    pub fn unlink(&mut self, directory: Inode, name: &str) -> Result<(), Errno> {
        if self.lookup(directory, name)?.is_directory {
            return Err(Errno::ISDIR);
        }
        self.remove(directory, name)
    }

    pub fn remove_directory(&mut self, directory: Inode, name: &str) -> Result<(), Errno> {
        let found = self.lookup(directory, name)?;
        if !self.directory(found.inode)?.seen.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.remove(directory, name)
    }

    fn remove(&mut self, directory: Inode, name: &str) -> Result<(), Errno> {
        let made = self.tick();
        self.directory_mut(directory)?.change(EntryChange {
            made,
            removed: Some(name.to_owned()),
            set: None,
        });
        Ok(())
    }

    /// Renames, in the place of what had the new name.
    pub fn rename(
        &mut self,
        (from, name): (Inode, &str),
        (to, new_name): (Inode, &str),
    ) -> Result<(), Errno> {
        let moved = self.lookup(from, name)?;
        match self.lookup(to, new_name) {
            Ok(replaced) if replaced.inode == moved.inode => return Ok(()),
            Ok(replaced) if replaced.is_directory && !self.list(replaced.inode)?.is_empty() => {
                return Err(Errno::NOTEMPTY);
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let made = self.tick();
        let set = Some((new_name.to_owned(), moved.inode));
        let removed = Some(name.to_owned());
        self.places.insert(moved.inode, (to, new_name.to_owned()));
        if from == to {
            self.directory_mut(from)?
                .change(EntryChange { made, removed, set });
            return Ok(());
        }
        self.directory_mut(from)?.change(EntryChange {
            made,
            removed,
            set: None,
        });
        self.directory_mut(to)?.change(EntryChange {
            made,
            removed: None,
            set,
        });
        Ok(())
    }

    pub fn sync_file(&mut self, inode: Inode) -> Result<(), Errno> {
        self.file_mut(inode)?.sync();
        Ok(())
    }

    pub fn sync_directory(&mut self, inode: Inode) -> Result<(), Errno> {
        let synced = self.directory_mut(inode)?.sync();
        for made in synced {
            for body in self.inodes.values_mut() {
                if let Body::Directory(directory) = body {
                    directory.sync_change(made);
                }
            }
        }
        Ok(())
    }

    /// The power went. Returns whether anything that was seen is gone or changed.
    pub fn lose_power(&mut self, habit: Habit, random: Random) -> bool {
        let mut survival = Survival::new(habit, self.settled, self.moment, random);
        let directories = self.inodes.values().filter_map(|body| match body {
            Body::Directory(body) => Some(body),
            Body::File(_) => None,
        });
        let moments: Vec<u64> = directories.flat_map(DirectoryBody::pending).collect();
        let survives = directory::decide(moments.into_iter(), &mut survival);
        let mut lost = false;
        for body in self.inodes.values_mut() {
            lost |= match body {
                Body::File(body) => body.lose_power(&mut survival),
                Body::Directory(body) => body.lose_power(&survives),
            };
        }
        self.settled = self.moment;
        lost
    }

    /// Frees what no name leads to. Only while nobody has a file open.
    pub fn collect(&mut self) {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![ROOT];
        while let Some(inode) = waiting.pop() {
            if !reached.insert(inode) {
                continue;
            }
            if let Some(Body::Directory(body)) = self.inodes.get(&inode) {
                waiting.extend(body.reachable());
            }
        }
        self.inodes.retain(|inode, _| reached.contains(inode));
        self.places.retain(|inode, _| reached.contains(inode));
    }

    /// Every file with its length, for whoever looks into a finding.
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut waiting = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = waiting.pop() {
            match self.inodes.get(&inode) {
                Some(Body::Directory(body)) => {
                    let below = body.seen.iter();
                    waiting.extend(below.map(|(name, inode)| (format!("{path}/{name}"), *inode)));
                }
                Some(Body::File(body)) => found.push((path, body.read(0, body.len()).to_vec())),
                None => {}
            }
        }
        found.sort();
        found
    }
}
