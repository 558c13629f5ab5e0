//! An archive being read: all files of one cluster in a directory, of whichever members, as one sequence of entries.
//!
//! Where files overlap, any that is whole serves. What cannot be read counts as missing, and is named when nobody else has it.

use std::path::{Path, PathBuf};

use platform::{Disk, DiskFile, OpenOptions};

use super::ArchiveError;
use super::format::{
    ArchivedEntry, BLOCK_HEAD_BYTES, BlockHead, FileHead, FoundHead, HEAD_BYTES, VERSION,
    parse_name,
};
use crate::identity::hex;

/// Up to where the archive is to be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// As far as it goes.
    End,
    /// To this log index, which is the last one in.
    Index(u64),
    /// To this time, milliseconds since 1970: everything before the first entry that was made later.
    Time(i64),
}

/// What a replay will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The last entry to apply; the backup's own if none is.
    pub last: u64,
    /// When it was made, if it is in the archive.
    pub last_ms: Option<i64>,
    /// A time was asked for, and no later entry is known: the archive may end before it.
    pub ends_before_time: bool,
}

/// Where a block stands.
#[derive(Debug, Clone)]
struct Block {
    head: BlockHead,
    file: usize,
    /// Of the body.
    offset: u64,
}

/// The archive of one cluster, from after a backup on.
pub struct Archive<D> {
    disk: D,
    /// The backup's index: earlier entries are of no interest.
    backup: u64,
    files: Vec<PathBuf>,
    /// In order of their first entry.
    blocks: Vec<Block>,
    /// Of the blocks up to each, the one that reaches furthest.
    reach: Vec<usize>,
    /// What could not be read.
    notes: Vec<String>,
    /// The block read last.
    open: Option<(BlockHead, Vec<ArchivedEntry>)>,
}

impl<D: Disk> Archive<D> {
    /// Finds what there is of `cluster_id` after entry `backup`. `directory` is what `--archive-dir` was given, or the
    /// cluster's directory within it.
    pub fn open(
        disk: D,
        directory: &Path,
        cluster_id: [u8; 16],
        backup: u64,
    ) -> Result<Self, ArchiveError> {
        let cluster = hex(&cluster_id);
        let within = directory.join(&cluster);
        let io = |path: &Path, source| ArchiveError::Io {
            path: path.to_owned(),
            source,
        };
        let own = disk.exists(&within).map_err(|source| io(&within, source))?;
        let place = if own { within } else { directory.to_owned() };
        let entries = disk.list(&place).map_err(|source| io(&place, source))?;
        let mut archive = Archive {
            disk,
            backup,
            files: Vec::new(),
            blocks: Vec::new(),
            reach: Vec::new(),
            notes: Vec::new(),
            open: None,
        };
        let mut named: Vec<(u64, u64, &str)> = Vec::new();
        for entry in &entries {
            if let Some((first, member)) = parse_name(&entry.name) {
                named.push((member, first, &entry.name));
            }
        }
        named.sort_unstable();
        let mut found = false;
        for (at, (member, first, name)) in named.iter().enumerate() {
            let next = named.get(at + 1).filter(|(of, ..)| of == member);
            // All of it is in the backup.
            let old = next.is_some_and(|(_, next, _)| *next <= backup + 1 && next > first);
            found |= archive.add_file(&place.join(name), &cluster_id, old)?;
        }
        if !found {
            return Err(ArchiveError::NoArchive {
                path: place,
                cluster,
            });
        }
        archive.blocks.sort_by_key(|block| block.head.first);
        archive.measure();
        Ok(archive)
    }

    /// Notes the blocks of a file; whether it is of the cluster.
    fn add_file(
        &mut self,
        path: &Path,
        cluster_id: &[u8; 16],
        old: bool,
    ) -> Result<bool, ArchiveError> {
        let io = |source| ArchiveError::Io {
            path: path.to_owned(),
            source,
        };
        let file = self.disk.open(path, OpenOptions::default()).map_err(io)?;
        let length = file.len().map_err(io)?;
        let mut head = [0; HEAD_BYTES];
        let read = file.read_at(&mut head, 0).map_err(io)?;
        match FileHead::decode(&head) {
            FoundHead::Ours(head) if head.cluster_id == *cluster_id => {}
            FoundHead::Ours(_) => return Ok(false),
            FoundHead::Newer(found) => {
                return Err(ArchiveError::Newer {
                    path: path.to_owned(),
                    found,
                    reads: VERSION,
                });
            }
            FoundHead::Unreadable => {
                // A member that ended as it began the file has written nothing else.
                if read == HEAD_BYTES {
                    let note = format!("{} is damaged in its head", path.display());
                    self.notes.push(note);
                }
                return Ok(false);
            }
        }
        if old {
            return Ok(true);
        }
        let number = self.files.len();
        self.files.push(path.to_owned());
        let mut offset = HEAD_BYTES as u64;
        while offset < length {
            let mut bytes = [0; BLOCK_HEAD_BYTES];
            let read = file.read_at(&mut bytes, offset).map_err(io)?;
            let block = BlockHead::decode(&bytes).filter(|_| read == bytes.len());
            let end =
                |head: &BlockHead| offset + BLOCK_HEAD_BYTES as u64 + u64::from(head.stored_bytes);
            let Some(head) = block.filter(|head| end(head) <= length) else {
                self.notes.push(format!(
                    "{} cannot be read from offset {offset} on: a block was cut short, or is damaged",
                    path.display()
                ));
                break;
            };
            if head.last > self.backup {
                self.blocks.push(Block {
                    head,
                    file: number,
                    offset: offset + BLOCK_HEAD_BYTES as u64,
                });
            }
            offset = end(&head);
        }
        Ok(true)
    }

    /// The last entry that leads on from the backup without a gap that more entries follow.
    pub fn plan(&mut self, until: Until) -> Result<Plan, ArchiveError> {
        match until {
            Until::Index(asked) if asked < self.backup => Err(ArchiveError::IndexBeforeBackup {
                asked,
                backup: self.backup,
            }),
            Until::Index(asked) => self.plan_to(asked),
            Until::End => {
                let last = self.blocks.iter().map(|block| block.head.last).max();
                self.plan_to(last.unwrap_or(self.backup))
            }
            Until::Time(asked) => self.plan_to_time(asked),
        }
    }

    fn plan_to(&mut self, last: u64) -> Result<Plan, ArchiveError> {
        let mut last_ms = None;
        let mut index = self.backup + 1;
        while index <= last {
            let (head, entries) = match self.block_at(index)? {
                Some(block) => block,
                None => {
                    return Err(ArchiveError::Ends {
                        last: index - 1,
                        asked: last,
                        notes: self.notes_text(),
                    });
                }
            };
            let end = last.min(head.last);
            last_ms = Some(entries[(end - head.first) as usize].time_ms);
            index = end + 1;
        }
        Ok(Plan {
            last,
            last_ms,
            ends_before_time: false,
        })
    }

    /// An entry without a time of its own was made no later than the write that follows it: so it is in when that is.
    fn plan_to_time(&mut self, asked: i64) -> Result<Plan, ArchiveError> {
        let mut plan = Plan {
            last: self.backup,
            last_ms: None,
            ends_before_time: true,
        };
        let mut index = self.backup + 1;
        while let Some((head, entries)) = self.block_at(index)? {
            let skipped = (index - head.first) as usize;
            for (entry, at) in entries.iter().skip(skipped).zip(index..) {
                if entry.time_ms <= asked {
                    plan.last = at;
                    plan.last_ms = Some(entry.time_ms);
                } else if entry.own_time {
                    plan.ends_before_time = false;
                    return Ok(plan);
                } else {
                    // Perhaps later: what follows decides.
                    plan.ends_before_time = false;
                }
            }
            index = head.last + 1;
        }
        Ok(plan)
    }

    /// The entry at an index that [`Archive::plan`] has found.
    pub fn entry(&mut self, index: u64) -> Result<ArchivedEntry, ArchiveError> {
        let notes = self.notes_text();
        match self.block_at(index)? {
            Some((head, entries)) => Ok(entries[(index - head.first) as usize].clone()),
            None => Err(ArchiveError::Ends {
                last: index - 1,
                asked: index,
                notes,
            }),
        }
    }

    /// A whole block that holds `index`; `None` if the archive ends before it. A gap that entries follow is an error.
    fn block_at(
        &mut self,
        index: u64,
    ) -> Result<Option<(BlockHead, &[ArchivedEntry])>, ArchiveError> {
        let held = |head: &BlockHead| (head.first..=head.last).contains(&index);
        if !self.open.as_ref().is_some_and(|(head, _)| held(head)) {
            self.open = None;
            while let Some(at) = self.candidate(index) {
                let block = self.blocks[at].clone();
                match self.read(&block)? {
                    Some(entries) => {
                        self.open = Some((block.head, entries));
                        break;
                    }
                    None => {
                        self.notes.push(format!(
                            "{} is damaged in the block at offset {} (entries {} to {})",
                            self.files[block.file].display(),
                            block.offset - BLOCK_HEAD_BYTES as u64,
                            block.head.first,
                            block.head.last
                        ));
                        self.blocks.remove(at);
                        self.measure();
                    }
                }
            }
        }
        if let Some((head, entries)) = &self.open {
            return Ok(Some((*head, entries)));
        }
        let beyond = self.blocks.iter().find(|block| block.head.first > index);
        match beyond {
            None => Ok(None),
            Some(next) => Err(ArchiveError::Gap {
                from: index,
                to: next.head.first - 1,
                notes: self.notes_text(),
            }),
        }
    }

    fn measure(&mut self) {
        let mut best = 0;
        let last = |at: usize| self.blocks[at].head.last;
        let furthest = (0..self.blocks.len()).map(|at| {
            if last(at) > last(best) {
                best = at;
            }
            best
        });
        self.reach = furthest.collect();
    }

    /// The block that reaches furthest of those that hold an index.
    fn candidate(&self, index: u64) -> Option<usize> {
        let begun = self
            .blocks
            .partition_point(|block| block.head.first <= index);
        let at = *self.reach.get(begun.checked_sub(1)?)?;
        (self.blocks[at].head.last >= index).then_some(at)
    }

    fn read(&self, block: &Block) -> Result<Option<Vec<ArchivedEntry>>, ArchiveError> {
        let path = &self.files[block.file];
        let io = |source| ArchiveError::Io {
            path: path.clone(),
            source,
        };
        let file = self.disk.open(path, OpenOptions::default()).map_err(io)?;
        let mut body = vec![0; block.head.stored_bytes as usize];
        let read = file.read_at(&mut body, block.offset).map_err(io)?;
        Ok(block.head.open(&body[..read]))
    }

    fn notes_text(&self) -> String {
        let notes: Vec<String> = self.notes.iter().map(|note| format!("; {note}")).collect();
        notes.concat()
    }
}
