//! The log thread's work: append what consensus wants kept, sync once for all of it, then send what had to wait.
//!
//! Promises: nothing handed over as `then_send` leaves before everything handed over with it, or earlier, is on disk.
//! After a failed write or sync it reports the fault and refuses everything; it never tries again (DESIGN §2). A full disk
//! is no failure: the core is told of it, what found no room is held, and done once there is some.

use std::sync::Arc;

use consensus::{EntryKind, Envelope, GroupId, LogIndex, LogPosition, Persist, PersistPosition};
use platform::Disk;
use write_ahead_log::{WalError, WriteAheadLog};

use crate::entry_codec::{encode_hard_state, encode_membership, entry_header};
use crate::error::Fault;
use crate::events::{Event, LogWork, SegmentWork, StoragePart};
use crate::mailbox::Mailbox;
use crate::peers::Peers;
use crate::recovery::start_of;
use crate::status::Gauges;

/// Most messages that are held back while the disk is full; the oldest are dropped, as a network may.
const HELD_MESSAGES_MAX: usize = 1_024;

/// Owns the write-ahead log.
pub(crate) struct LogWorker<D: Disk> {
    pub log: WriteAheadLog<D>,
    pub group: GroupId,
    pub core: Arc<Mailbox<Event>>,
    pub peers: Arc<dyn Peers>,
    pub gauges: Arc<Gauges>,
    /// What waits for the sync of what the log has buffered.
    pub held: Held,
    /// A sync found no room.
    pub sync_room: RoomTeller,
    /// The next segment, or a reserve, found none.
    pub segments_room: RoomTeller,
    /// Told when the log has been reset, durably, to a snapshot that was installed.
    pub installed: Box<dyn Fn(LogIndex) -> Result<(), Fault> + Send>,
}

/// What a sync is for.
#[derive(Default)]
pub(crate) struct Held {
    entries: u64,
    reset_to: Option<LogPosition>,
    synced_up_to: Option<PersistPosition>,
    last_index: Option<LogIndex>,
    then_send: Vec<Envelope>,
    removals: Vec<LogPosition>,
}

impl Held {
    fn persisting(&mut self, persist: &Persist) {
        self.entries += persist.entries.len() as u64;
        self.synced_up_to = Some(persist.position);
        self.reset_to = persist.reset_to.or(self.reset_to);
        self.last_index = persist
            .entries
            .last()
            .map(|entry| entry.index)
            .or(persist.reset_to.map(|position| position.index))
            .or(self.last_index);
    }
}

/// Tells the core when a part of the storage finds no room, and when it does again.
pub(crate) struct RoomTeller {
    part: StoragePart,
    core: Arc<Mailbox<Event>>,
    full: bool,
}

impl RoomTeller {
    pub fn new(part: StoragePart, core: &Arc<Mailbox<Event>>) -> Self {
        RoomTeller {
            part,
            core: core.clone(),
            full: false,
        }
    }

    /// Passes on how something ended; `None` where it found no room.
    pub fn passed<T>(&mut self, outcome: Result<T, WalError>) -> Result<Option<T>, Fault> {
        let (done, what) = match outcome {
            Ok(done) => (Some(done), None),
            Err(error) if error.is_no_room() => (None, Some(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        if std::mem::replace(&mut self.full, what.is_some()) != what.is_some() {
            let part = self.part;
            self.core.push(Event::DiskFull { part, what });
        }
        Ok(done)
    }
}

impl<D: Disk> LogWorker<D> {
    /// Carries out everything in `work`, in order, with one sync. Where the disk is full it stays to be done. Returns
    /// whether room was to be looked for.
    pub fn process(&mut self, work: &mut Vec<LogWork>) -> Result<bool, Fault> {
        let mut looks = false;
        for item in work.drain(..) {
            match item {
                LogWork::Persist { persist, then_send } => {
                    if let Some(persist) = persist {
                        self.append(&persist)?;
                        self.held.persisting(&persist);
                    }
                    self.held.then_send.extend(then_send);
                }
                LogWork::RemovePrefix(through) => self.held.removals.push(through),
                LogWork::LookForRoom => looks = true,
            }
        }
        if looks {
            self.log.give_back_spares()?;
        }
        if self.held.synced_up_to.is_some() && !self.sync()? {
            let excess = self.held.then_send.len().saturating_sub(HELD_MESSAGES_MAX);
            self.held.then_send.drain(..excess);
            return Ok(looks);
        }
        self.synced()?;
        // Elsewise the next sync does it; but there may be none before segments are freed.
        if looks && self.log.is_dirty() {
            self.sync()?;
        }
        Ok(looks)
    }

    /// Does what waited for the sync.
    fn synced(&mut self) -> Result<(), Fault> {
        let held = std::mem::take(&mut self.held);
        if let Some(position) = held.synced_up_to {
            self.gauges.log.synced(held.entries);
            self.gauges.log.set(self.log.stats());
            // Before anything that builds on the snapshot is acknowledged.
            if let Some(snapshot) = held.reset_to {
                (self.installed)(snapshot.index)?;
            }
            if let Some(index) = held.last_index {
                Gauges::set(&self.gauges.durable, index);
            }
            self.core.push(Event::Durable(position));
        }
        if !held.then_send.is_empty() {
            self.peers.send(held.then_send);
        }
        for through in held.removals {
            self.log.remove_prefix(self.group.0, start_of(through))?;
            self.core.push(Event::LogRemoved(through));
        }
        Ok(())
    }

    /// [`LogWorker::process`]; what segments need is left to their own thread, so that nothing but a sync holds up another.
    pub fn round_beside(
        &mut self,
        work: &mut Vec<LogWork>,
        segments: &Mailbox<SegmentWork>,
    ) -> Result<(), Fault> {
        let looks = self.process(work)?;
        if (self.log.tidy()? || looks) && segments.is_empty() {
            segments.push(SegmentWork);
        }
        Ok(())
    }

    /// [`LogWorker::process`]; then segments are made ready and freed a step, and on while nothing waits: for a node without
    /// threads.
    pub fn round(
        &mut self,
        work: &mut Vec<LogWork>,
        inbox: &Mailbox<LogWork>,
    ) -> Result<(), Fault> {
        self.process(work)?;
        loop {
            let stepped = self.log.housekeep();
            let more = self.segments_room.passed(stepped)?;
            if more != Some(true) || !inbox.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether what is buffered is durable now; it is not while the disk is full.
    fn sync(&mut self) -> Result<bool, Fault> {
        let synced = self.log.sync();
        Ok(self.sync_room.passed(synced)?.is_some())
    }

    fn append(&mut self, persist: &Persist) -> Result<(), WalError> {
        let group = self.group.0;
        if let Some(position) = persist.reset_to {
            self.log.reset(group, start_of(position))?;
        }
        for entry in &persist.entries {
            let header = entry_header(entry);
            match &entry.kind {
                EntryKind::Noop => self.log.append(group, entry.index.0, &[&header])?,
                EntryKind::Command(payload) => {
                    self.log.append(group, entry.index.0, &[&header, payload])?
                }
                EntryKind::Membership(membership) => {
                    self.log.append(
                        group,
                        entry.index.0,
                        &[&header, &encode_membership(membership)],
                    )?;
                }
            }
        }
        if let Some(state) = &persist.hard_state {
            self.log.set_state(group, &encode_hard_state(state))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
