//! A full disk, as the core sees it: writes are refused, entries are hardly taken, and time and again somebody looks whether
//! there is room.
//!
//! A leader refuses proposals while its own disk is full and nobody who has room takes over (`consensus` sees to that), and
//! while so many others are full that nothing could be committed. A follower takes what a change of leader brings, and of
//! other entries no more than a share of what the log has in reserve: enough for reads to go on under a new leader, too
//! little to leave no room for votes.

use consensus::{Entry, EntryKind, Envelope, Input, Message, RoleName};

use crate::core::{Core, Outputs};
use crate::events::{LogWork, ProposeOutcome, StoragePart};

/// Ticks between two looks for room, at first and at most.
const LOOK_TICKS_MIN: u32 = 10;
const LOOK_TICKS_MAX: u32 = 200;
/// The share of a segment that a follower with a full disk fills with commands.
const TAKEN_SHARE: u64 = 4;

/// What log and engine said of the disk.
#[derive(Default)]
pub(crate) struct Room {
    /// The data directory, for messages.
    directory: String,
    /// Bytes of commands that may be taken without room.
    takes_bytes_max: usize,
    log: Option<String>,
    segments: Option<String>,
    engine: Option<String>,
    /// Bytes of commands taken since the disk is full.
    taken_bytes: usize,
    ticks_to_look: u32,
    look_ticks: u32,
}

impl Room {
    /// Nothing is full yet.
    pub fn new(directory: String, log_segment_bytes: u64) -> Self {
        let takes_bytes_max = usize::try_from(log_segment_bytes / TAKEN_SHARE);
        Room {
            directory,
            takes_bytes_max: takes_bytes_max.unwrap_or(usize::MAX),
            ..Room::default()
        }
    }

    /// What found no room, if the disk is full.
    pub fn full(&self) -> Option<&str> {
        let parts = [&self.log, &self.segments, &self.engine];
        parts.into_iter().find_map(Option::as_deref)
    }

    fn said(&mut self, part: StoragePart, what: Option<String>) {
        let was_full = self.full().is_some();
        match part {
            StoragePart::Log => self.log = what,
            StoragePart::Segments => self.segments = what,
            StoragePart::Engine => self.engine = what,
        }
        if !was_full {
            self.taken_bytes = 0;
            self.look_ticks = LOOK_TICKS_MIN;
            self.ticks_to_look = LOOK_TICKS_MIN;
        }
    }

    /// Whether a look is due.
    fn tick(&mut self, ticks: u32) -> bool {
        if self.full().is_none() {
            return false;
        }
        self.ticks_to_look = self.ticks_to_look.saturating_sub(ticks);
        if self.ticks_to_look > 0 {
            return false;
        }
        self.look_ticks = (self.look_ticks * 2).min(LOOK_TICKS_MAX);
        self.ticks_to_look = self.look_ticks;
        true
    }

    /// Whether this message is let in.
    pub fn takes(&mut self, envelope: &Envelope) -> bool {
        let Message::AppendRequest { entries, .. } = &envelope.message else {
            return true;
        };
        let is_command = |entry: &Entry| matches!(entry.kind, EntryKind::Command(_));
        if self.full().is_none() || !entries.iter().all(is_command) {
            return true;
        }
        let bytes = self.taken_bytes + entries.iter().map(Entry::bytes).sum::<usize>();
        if bytes > self.takes_bytes_max {
            return false;
        }
        self.taken_bytes = bytes;
        true
    }
}

impl Core {
    /// Says where the data is, and how long its log's segments are.
    pub fn watch_room(&mut self, directory: String, log_segment_bytes: u64) {
        self.room = Room::new(directory, log_segment_bytes);
    }

    /// What found no room on this member's disk, while it is full.
    pub fn disk_full(&self) -> Option<&str> {
        self.room.full()
    }

    pub(super) fn said_of_room(
        &mut self,
        part: StoragePart,
        what: Option<String>,
        inputs: &mut Vec<Input>,
        out: &mut Outputs,
    ) {
        let was_full = self.room.full().is_some();
        self.room.said(part, what);
        let full = self.room.full().is_some();
        if full != was_full {
            inputs.push(Input::DiskFull(full));
            out.status_changed = true;
        }
    }

    pub(super) fn tick_room(&mut self, ticks: u32, out: &mut Outputs) {
        if self.room.tick(ticks) {
            out.log.push(LogWork::LookForRoom);
        }
    }

    /// Why a leader takes no proposal, if it is for lack of room.
    pub(super) fn refusal_for_room(&self) -> Option<ProposeOutcome> {
        if self.replica.role() != RoleName::Leader {
            return None;
        }
        let directory = &self.room.directory;
        let what = match self.room.full() {
            // A member that has room takes over in a moment: it is to be asked.
            Some(_) if self.replica.successor_with_room().is_some() => {
                return Some(ProposeOutcome::NotLeader { leader: None });
            }
            Some(what) => format!(
                "the disk of {directory} is full ({what}), and no other member can take over: make room on it; writes go \
                 on by themselves then"
            ),
            None if self.replica.quorum_has_room() => return None,
            None => "the disks of so many members are full that nothing can be committed: make room on them, \
                     `cstore status` tells which; writes go on by themselves then"
                .to_owned(),
        };
        Some(ProposeOutcome::DiskFull { what })
    }
}

#[cfg(test)]
mod tests;
