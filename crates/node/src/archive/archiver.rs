//! One member's archiving: a thread that reads what is applied from the log and appends it to files in the archive, a block
//! and a sync about every second.
//!
//! Promises: nothing but committed entries, in order; what counts as archived is synced; after a restart it goes on where it
//! was. It never holds anything up: if the archive cannot be written it says so and tries again, and the log waits for it
//! within the bounds that slow followers have. What left the log before it was archived is missing, and it says so.
//!
//! A file is written by one run of one member, up to a length; an unfinished block at its end means nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use consensus::LogIndex;
use parking_lot::Mutex;
use platform::{Clock, Disk, DiskFile, OpenOptions};
use state_machine::Command;
use write_ahead_log::{RecoveredEntry, WalReader};

use super::format::{
    ArchivedEntry, BLOCK_HEAD_BYTES, BlockHead, FileHead, FoundHead, HEAD_BYTES, encode_block,
    file_name, parse_name, term_of,
};
use crate::config::Notices;
use crate::core_worker::Exit;
use crate::entry_codec::HEADER_BYTES;
use crate::events::Event;
use crate::identity::hex;
use crate::mailbox::Mailbox;
use crate::peers::GROUP;
use crate::status::Gauges;

/// Between two blocks while little is written: so much the archive may lack.
const PERIOD: Duration = Duration::from_secs(1);
/// Between two attempts to write an archive that cannot be written.
const RETRY_PERIOD: Duration = Duration::from_secs(5);
/// Bytes of entries read from the log for one block.
const BLOCK_BYTES: usize = 1 << 20;
/// A file that has come to this is followed by another.
const FILE_BYTES: u64 = 64 << 20;
/// The archive yields to what answers clients.
const NICENESS: i32 = 10;

/// How the archive of a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveStatus {
    /// The cluster's directory in it.
    pub directory: PathBuf,
    /// Everything up to this log index that this member ever had to archive is in it, gaps aside.
    pub archived_index: u64,
    /// Why it cannot be written.
    pub failing: Option<String>,
    /// The last range of entries that left the log before they were archived here.
    pub gap: Option<(u64, u64)>,
}

impl ArchiveStatus {
    /// What an operator has to know, in a sentence.
    pub fn trouble(&self) -> Option<String> {
        let gap = self
            .gap
            .map(|(from, to)| format!("it lacks the entries {from} to {to}"));
        self.failing.clone().or(gap)
    }
}

/// What an archiver works with.
pub(crate) struct ArchiverParts<D, C> {
    pub disk: D,
    pub clock: C,
    pub log: WalReader,
    pub gauges: Arc<Gauges>,
    pub core: Arc<Mailbox<Event>>,
    pub exit: Arc<Exit>,
    pub notices: Notices,
    /// What `--archive-dir` names.
    pub directory: PathBuf,
    pub cluster_id: [u8; 16],
    pub member: u64,
}

/// Archives one member's log.
pub(crate) struct Archiver<D: Disk, C> {
    parts: ArchiverParts<D, C>,
    directory: PathBuf,
    status: Arc<Mutex<ArchiveStatus>>,
    /// The next entry to archive; `None` until it is known where an earlier run ended.
    next: Option<u64>,
    /// Whether this member has archived anything, in this run or an earlier one: only then can something be missing.
    begun: bool,
    file: Option<OpenFile<D::File>>,
}

struct OpenFile<F> {
    file: F,
    length: u64,
}

impl<D: Disk, C: Clock> Archiver<D, C> {
    pub fn new(parts: ArchiverParts<D, C>) -> Self {
        let directory = parts.directory.join(hex(&parts.cluster_id));
        let status = ArchiveStatus {
            directory: directory.clone(),
            archived_index: 0,
            failing: None,
            gap: None,
        };
        Archiver {
            parts,
            directory,
            status: Arc::new(Mutex::new(status)),
            next: None,
            begun: false,
            file: None,
        }
    }

    /// Kept up to date.
    pub fn status(&self) -> Arc<Mutex<ArchiveStatus>> {
        self.status.clone()
    }

    /// Archives until the node ends, and then what is left.
    pub fn run(mut self) {
        // Without the permission it works all the same.
        let _ = platform::lower_thread_priority(NICENESS);
        let mut ended = false;
        loop {
            let pause = match self.step() {
                Ok(true) => continue,
                Ok(false) => PERIOD,
                Err(_) => RETRY_PERIOD,
            };
            if ended {
                return;
            }
            ended = self.parts.exit.wait_at_most(pause);
        }
    }

    /// Archives the next block, if there is anything for one. An error stands in the status and was told.
    pub fn step(&mut self) -> Result<bool, String> {
        let outcome = self.try_step();
        let mut status = self.status.lock();
        match &outcome {
            Err(what) => {
                // Said once, however often it is tried.
                if status.failing.replace(what.clone()).is_none() {
                    let said = format!(
                        "the archive falls behind: {what}. It is tried again; writes go on, and the log is kept for it within \
                         its bounds"
                    );
                    self.parts.notices.say(&said);
                }
            }
            Ok(true) if status.failing.take().is_some() => {
                let said = format!(
                    "the archive is written again, up to entry {} so far",
                    status.archived_index
                );
                self.parts.notices.say(&said);
            }
            Ok(_) => {}
        }
        if outcome.is_err() {
            // After a failed write or sync nothing is appended to that file.
            self.file = None;
        }
        outcome
    }

    fn try_step(&mut self) -> Result<bool, String> {
        let applied = self.parts.gauges.read().applied;
        let Some((start, _)) = self.parts.log.bounds(GROUP.0) else {
            return Ok(false);
        };
        let next = match self.next {
            Some(next) => next,
            None => self.resume(applied)?.unwrap_or(start + 1),
        };
        self.next = Some(next);
        if next > applied {
            return Ok(false);
        }
        if next <= start {
            if self.begun {
                self.note_gap(next, start);
            }
            self.next = Some(start + 1);
            return Ok(true);
        }
        let read = self.parts.log.read(GROUP.0, next, BLOCK_BYTES);
        let mut records = read.map_err(|error| error.to_string())?;
        records.retain(|record| record.index <= applied);
        let Some(last) = records.last().map(|record| record.index) else {
            // It left the log between the two looks.
            return Ok(false);
        };
        let now = self.parts.clock.wall_ms();
        let entries: Vec<_> = records
            .into_iter()
            .map(|record| stamped(record, now))
            .collect();
        self.append(next, &encode_block(next, &entries))?;
        self.next = Some(last + 1);
        self.begun = true;
        self.archived(last);
        Ok(true)
    }

    fn archived(&self, last: u64) {
        self.status.lock().archived_index = last;
        self.parts.core.push(Event::Archived(LogIndex(last)));
    }

    fn note_gap(&mut self, from: u64, to: u64) {
        let said = format!(
            "the archive of this member lacks the entries {from} to {to}: they came with a snapshot, or left the log before \
             they could be archived. Unless another member's archive holds them, take a new backup: no restore leads over them"
        );
        self.parts.notices.say(&said);
        self.status.lock().gap = Some((from, to));
        self.file = None;
        self.archived(to);
    }

    /// Finds where an earlier run ended: the entry after the last one in this member's files.
    fn resume(&mut self, applied: u64) -> Result<Option<u64>, String> {
        let disk = &self.parts.disk;
        disk.create_dir_all(&self.directory)
            .and_then(|()| disk.sync_dir(&self.parts.directory))
            .map_err(|error| failed("create", &self.directory, &error))?;
        let entries = disk.list(&self.directory);
        let entries = entries.map_err(|error| failed("list", &self.directory, &error))?;
        let names = entries.iter().filter_map(|entry| parse_name(&entry.name));
        let mut firsts: Vec<u64> = names
            .filter(|(_, member)| *member == self.parts.member)
            .map(|(first, _)| first)
            .collect();
        firsts.sort_unstable();
        while let Some(first) = firsts.pop() {
            let path = self.directory.join(file_name(first, self.parts.member));
            let Some((last, term)) = self.end_of(&path)? else {
                // Begun, and nothing in it.
                continue;
            };
            self.refuse_other_history(last, term, applied)?;
            self.begun = true;
            self.archived(last);
            return Ok(Some(last + 1));
        }
        Ok(None)
    }

    /// The last entry in a file, and its term.
    fn end_of(&self, path: &Path) -> Result<Option<(u64, u64)>, String> {
        let io = |error| failed("read", path, &error);
        let file = self
            .parts
            .disk
            .open(path, OpenOptions::default())
            .map_err(io)?;
        let mut head = [0; HEAD_BYTES];
        file.read_at(&mut head, 0).map_err(io)?;
        match FileHead::decode(&head) {
            FoundHead::Ours(head) if head.cluster_id == self.parts.cluster_id => {}
            FoundHead::Newer(found) => {
                return Err(format!(
                    "{} is of format {found}, which a newer program wrote: run that one, or give another --archive-dir",
                    path.display()
                ));
            }
            FoundHead::Ours(_) | FoundHead::Unreadable => return Ok(None),
        }
        let (mut offset, mut end) = (HEAD_BYTES as u64, None);
        loop {
            let mut bytes = [0; BLOCK_HEAD_BYTES];
            if file.read_at(&mut bytes, offset).map_err(io)? < bytes.len() {
                return Ok(end);
            }
            let Some(block) = BlockHead::decode(&bytes) else {
                return Ok(end);
            };
            let mut body = vec![0; block.stored_bytes as usize];
            let at = offset + bytes.len() as u64;
            let read = file.read_at(&mut body, at).map_err(io)?;
            let Some(entries) = block.open(&body[..read]) else {
                return Ok(end);
            };
            let last = entries.last().map(|entry| term_of(&entry.payload));
            end = match last {
                Some(Ok(term)) => Some((block.last, term)),
                Some(Err(_)) | None => return Ok(end),
            };
            offset = at + u64::from(block.stored_bytes);
        }
    }

    /// A log that was cut by an operator goes on with other entries under the same indexes.
    fn refuse_other_history(&self, last: u64, term: u64, applied: u64) -> Result<(), String> {
        let read = self.parts.log.read(GROUP.0, last, 1);
        let records = read.map_err(|error| error.to_string())?;
        let other = match records.first() {
            Some(record) => term_of(&record.payload) != Ok(term),
            // In front of the log, or beyond all there is.
            None => {
                last > applied
                    && self
                        .parts
                        .log
                        .bounds(GROUP.0)
                        .is_some_and(|(_, end)| last > end)
            }
        };
        match other {
            false => Ok(()),
            true => Err(format!(
                "{} holds another entry {last} than the log: the log was cut since (cstore recover). Move that directory \
                 away, and take a new backup",
                self.directory.display()
            )),
        }
    }

    fn append(&mut self, first: u64, block: &[u8]) -> Result<(), String> {
        if self
            .file
            .as_ref()
            .is_none_or(|open| open.length >= FILE_BYTES)
        {
            self.file = Some(self.begin_file(first)?);
        }
        let open = self.file.as_mut().expect("begun above");
        let written = open
            .file
            .write_all_at(block, open.length)
            .and_then(|()| open.file.sync_data());
        written.map_err(|error| failed("write to", &self.directory, &error))?;
        open.length += block.len() as u64;
        Ok(())
    }

    fn begin_file(&self, first: u64) -> Result<OpenFile<D::File>, String> {
        let disk = &self.parts.disk;
        let path = self.directory.join(file_name(first, self.parts.member));
        let io = |error| failed("begin", &path, &error);
        // One of that name holds nothing that counts as archived.
        if disk.exists(&path).map_err(io)? {
            disk.remove_file(&path).map_err(io)?;
        }
        let options = OpenOptions {
            create_new: true,
            write: true,
            ..OpenOptions::default()
        };
        let head = FileHead {
            cluster_id: self.parts.cluster_id,
            member: self.parts.member,
            first,
            created_ms: self.parts.clock.wall_ms(),
        };
        let file = disk.open(&path, options).map_err(io)?;
        file.write_all_at(&head.encode(), 0).map_err(io)?;
        disk.sync_dir(&self.directory).map_err(io)?;
        Ok(OpenFile {
            file,
            length: HEAD_BYTES as u64,
        })
    }
}

/// The entry with its own time, or with the time it is archived at.
fn stamped(record: RecoveredEntry, now_ms: i64) -> ArchivedEntry {
    let body = record.payload.get(HEADER_BYTES..).unwrap_or_default();
    let own = crate::entry_codec::is_command(&record.payload)
        .then(|| Command::planned_ms(body))
        .flatten();
    ArchivedEntry {
        time_ms: own.unwrap_or(now_ms),
        own_time: own.is_some(),
        payload: record.payload,
    }
}

fn failed(action: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {action} {}: {error}", path.display())
}
