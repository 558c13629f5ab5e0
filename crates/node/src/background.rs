//! The background thread's work: whatever may take long and must hold up neither consensus, log nor apply.
//!
//! Reads old log entries for followers that lag behind the leader's memory, starts snapshot streams, and removes from the
//! engine's directory what nobody needs any more.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use consensus::{Entry, LogIndex, LogPosition, NodeId, SnapshotMeta, Term};
use parking_lot::RwLock;
use peer_transport::SnapshotSource;
use platform::Disk;
use state_machine::{Export, Progress, Reader};
use storage_engine::Engine;
use write_ahead_log::WalReader;

use crate::entry_codec::{decode_entry, decode_membership};
use crate::error::{Fault, StartError};
use crate::events::{BackgroundWork, Event};
use crate::mailbox::Mailbox;
use crate::peers::{GROUP, Peers};
use crate::pins::Pins;
use crate::staging::Staging;

pub(crate) struct BackgroundWorker<D: Disk> {
    pub id: NodeId,
    pub log: WalReader,
    pub reader: Arc<RwLock<Reader>>,
    pub peers: Arc<dyn Peers>,
    pub core: Arc<Mailbox<Event>>,
    pub disk: D,
    pub staging: Arc<Staging<D>>,
    pub pins: Pins<D>,
    pub retired: Vec<Retired>,
    /// Set while there is something to tidy up.
    pub upkeep: Arc<AtomicBool>,
    /// Writes down who the members are.
    pub record_peers: Box<dyn Fn(&str) + Send>,
}

/// A generation of the engine that a snapshot has replaced.
pub(crate) struct Retired {
    pub engine: Weak<dyn Engine>,
    pub directory: PathBuf,
    pub seen_closed: bool,
}

impl<D: Disk> BackgroundWorker<D> {
    /// Carries out everything in `work`; `Err` is a fault of this machine's storage.
    pub fn round(&mut self, work: &mut Vec<BackgroundWork>) -> Result<(), Fault> {
        work.drain(..).try_for_each(|item| self.process(item))
    }

    /// Carries out one piece of work; `Err` is a fault of this machine's storage.
    fn process(&mut self, work: BackgroundWork) -> Result<(), Fault> {
        match work {
            BackgroundWork::Fetch {
                to,
                from,
                bytes_max,
            } => {
                let entries = self.fetch(from, bytes_max)?;
                self.core.push(Event::Fetched { to, entries });
            }
            BackgroundWork::SendSnapshot { to, term } => self.send_snapshot(to, term)?,
            BackgroundWork::Unpin { to } => {
                let given_up = self.pins.give_up(to);
                given_up.map_err(|error| error.to_string())?;
            }
            BackgroundWork::Retire(retired) => {
                self.retired.push(retired);
                self.upkeep.store(true, Ordering::Release);
            }
            BackgroundWork::Tidy { now } => self.tidy(now)?,
            BackgroundWork::ReleaseVersions => self.reader.read().release_old_versions(),
            BackgroundWork::RecordPeers(text) => (self.record_peers)(&text),
        }
        Ok(())
    }

    fn fetch(&self, from: LogIndex, bytes_max: usize) -> Result<Vec<Entry>, Fault> {
        let records = self.log.read(GROUP.0, from.0, bytes_max)?;
        records
            .into_iter()
            .map(|record| {
                decode_entry(record.index, &record.payload)
                    .map_err(|error| format!("log entry {}: {error}", record.index).into())
            })
            .collect()
    }

    /// Streams a snapshot to a member: the one that is pinned for it as long as the log goes on from there, or the state as
    /// of now.
    fn send_snapshot(&mut self, to: NodeId, leader_term: Term) -> Result<(), Fault> {
        if self.pins.is_streaming(to) {
            self.not_sent(to);
            return Ok(());
        }
        let log_start = self.log.bounds(GROUP.0).map(|(start, _)| start);
        let of_use = |pinned: u64| log_start.is_some_and(|start| start <= pinned);
        if !self.pins.index(to).is_some_and(of_use) {
            match self.pin(to) {
                Err(error) if error.is_no_room() => {
                    self.not_sent(to);
                    return Ok(());
                }
                pinned => pinned?,
            }
        }
        let export = self.pins.export(to)?;
        match export {
            Some((export, streaming)) => self.stream(to, leader_term, export, streaming),
            None => {
                self.not_sent(to);
                Ok(())
            }
        }
    }

    fn not_sent(&self, to: NodeId) {
        self.core.push(Event::SnapshotSent {
            to,
            position: LogPosition::default(),
            delivered: false,
        });
    }

    /// Pins the state as of now. A snapshot knows its position while it is the latest, so another one is taken when a write
    /// came in between.
    fn pin(&mut self, to: NodeId) -> Result<(), StartError> {
        let (snapshot, applied) = loop {
            let snapshot = self.reader.read().snapshot();
            if let Some(export) = Export::new(snapshot.clone()) {
                break (snapshot, export.applied().clone());
            }
        };
        let index = LogIndex(applied.index);
        self.pins.pin(to, snapshot, applied)?;
        self.core.push(Event::SnapshotPinned { to, index });
        self.upkeep.store(true, Ordering::Release);
        Ok(())
    }

    fn stream(
        &mut self,
        to: NodeId,
        leader_term: Term,
        export: Export,
        streaming: Arc<AtomicBool>,
    ) -> Result<(), Fault> {
        let applied = export.applied();
        let membership = decode_membership(&applied.membership)
            .map_err(|error| format!("stored membership: {error}"))?;
        let position = LogPosition {
            index: LogIndex(applied.index),
            term: Term(applied.term),
        };
        let meta = SnapshotMeta {
            leader: self.id,
            leader_term,
            position,
            membership,
        };
        let core = self.core.clone();
        let source: SnapshotSource = Box::new(move |progress| {
            let progress = Progress::decode(position.index.0, progress)
                .map_err(|error| format!("the receiver's word on its progress: {error}"))?;
            let chunks = export.after(progress).map(move |chunk| {
                chunk.map_err(|fault| {
                    let said = fault.to_string();
                    core.push(Event::Fault(fault.into()));
                    said
                })
            });
            Ok(Box::new(chunks))
        });
        let core = self.core.clone();
        let done = Box::new(move |delivered| {
            streaming.store(false, Ordering::Release);
            core.push(Event::SnapshotSent {
                to,
                position,
                delivered,
            })
        });
        self.peers.send_snapshot(to, meta, source, done);
        Ok(())
    }

    /// Lets go of what is not needed any more.
    fn tidy(&mut self, now: Duration) -> Result<(), String> {
        // Before looking, so that what is left over meanwhile is seen the next time.
        self.upkeep.store(false, Ordering::Release);
        self.staging.tidy(self.reader.read().applied_index())?;
        self.remove_retired();
        let given_up = self.pins.give_up_idle(now);
        for to in given_up.map_err(|error| error.to_string())? {
            self.core.push(Event::SnapshotUnpinned { to });
        }
        if !self.pins.is_empty() || !self.retired.is_empty() {
            self.upkeep.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Removes generations of the engine that nobody reads any more. What cannot be removed goes at the next start.
    fn remove_retired(&mut self) {
        let disk = &self.disk;
        self.retired.retain_mut(|retired| {
            if retired.engine.strong_count() > 0 {
                return true;
            }
            if !retired.seen_closed {
                // Whoever held it last may still be closing it: removed at the next look.
                retired.seen_closed = true;
                return true;
            }
            disk.remove_dir_all(&retired.directory).ok();
            false
        });
    }
}
