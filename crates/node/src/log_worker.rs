//! The log thread's work: append what consensus wants kept, sync once for all of it, then send what had to wait.
//!
//! Promises: nothing handed over as `then_send` leaves before everything handed over with it, or earlier, is on disk.
//! After a failed write or sync it reports the fault and refuses everything; it never tries again (DESIGN §2).

use std::sync::Arc;

use consensus::{EntryKind, Envelope, GroupId, LogIndex, LogPosition, Persist, PersistPosition};
use platform::Disk;
use write_ahead_log::{WalError, WriteAheadLog};

use crate::entry_codec::{encode_hard_state, encode_membership, entry_header};
use crate::error::Fault;
use crate::events::{Event, LogWork, SegmentWork};
use crate::mailbox::Mailbox;
use crate::peers::Peers;
use crate::recovery::start_of;
use crate::status::Gauges;

/// Owns the write-ahead log.
pub(crate) struct LogWorker<D: Disk> {
    pub log: WriteAheadLog<D>,
    pub group: GroupId,
    pub core: Arc<Mailbox<Event>>,
    pub peers: Arc<dyn Peers>,
    pub gauges: Arc<Gauges>,
    /// Told when the log has been reset, durably, to a snapshot that was installed.
    pub installed: Box<dyn Fn(LogIndex) -> Result<(), Fault> + Send>,
}

impl<D: Disk> LogWorker<D> {
    /// Carries out everything in `work`, in order, with one sync.
    pub fn process(&mut self, work: &mut Vec<LogWork>) -> Result<(), Fault> {
        let mut reset_to = None;
        let mut synced_up_to: Option<PersistPosition> = None;
        let mut last_index = None;
        let mut then_send: Vec<Envelope> = Vec::new();
        let mut removals: Vec<LogPosition> = Vec::new();
        let mut entries = 0;
        for item in work.drain(..) {
            match item {
                LogWork::Persist {
                    persist,
                    then_send: envelopes,
                } => {
                    if let Some(persist) = persist {
                        self.append(&persist)?;
                        entries += persist.entries.len() as u64;
                        synced_up_to = Some(persist.position);
                        reset_to = persist.reset_to.or(reset_to);
                        last_index = persist
                            .entries
                            .last()
                            .map(|entry| entry.index)
                            .or(persist.reset_to.map(|position| position.index))
                            .or(last_index);
                    }
                    then_send.extend(envelopes);
                }
                LogWork::RemovePrefix(through) => removals.push(through),
            }
        }
        if let Some(position) = synced_up_to {
            self.log.sync()?;
            self.gauges.log.synced(entries);
            self.gauges.log.set(self.log.stats());
            // Before anything that builds on the snapshot is acknowledged.
            if let Some(snapshot) = reset_to {
                (self.installed)(snapshot.index)?;
            }
            if let Some(index) = last_index {
                Gauges::set(&self.gauges.durable, index);
            }
            self.core.push(Event::Durable(position));
        }
        if !then_send.is_empty() {
            self.peers.send(then_send);
        }
        for through in removals {
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
        self.process(work)?;
        if self.log.tidy()? && segments.is_empty() {
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
        while self.log.housekeep()? && inbox.is_empty() {}
        Ok(())
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
