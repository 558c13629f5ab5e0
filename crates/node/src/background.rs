//! The background thread's work: whatever may take long and must hold up neither consensus, log nor apply.
//!
//! Reads old log entries for followers that lag behind the leader's memory, and starts snapshot streams.

use std::sync::Arc;

use consensus::{Entry, LogIndex, LogPosition, NodeId, SnapshotMeta, Term};
use parking_lot::RwLock;
use peer_transport::SnapshotSource;
use state_machine::{Export, Reader};
use write_ahead_log::WalReader;

use crate::entry_codec::{decode_entry, decode_membership};
use crate::events::{BackgroundWork, Event};
use crate::mailbox::Mailbox;
use crate::peers::{GROUP, Peers};

pub(crate) struct BackgroundWorker {
    pub id: NodeId,
    pub log: WalReader,
    pub reader: Arc<RwLock<Reader>>,
    pub peers: Arc<dyn Peers>,
    pub core: Arc<Mailbox<Event>>,
}

impl BackgroundWorker {
    /// Carries out everything in `work`; `Err` is a fault of this machine's storage.
    pub fn round(&mut self, work: &mut Vec<BackgroundWork>) -> Result<(), String> {
        work.drain(..).try_for_each(|item| self.process(item))
    }

    /// Carries out one piece of work; `Err` is a fault of this machine's storage.
    fn process(&mut self, work: BackgroundWork) -> Result<(), String> {
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
        }
        Ok(())
    }

    fn fetch(&self, from: LogIndex, bytes_max: usize) -> Result<Vec<Entry>, String> {
        let records = self
            .log
            .read(GROUP.0, from.0, bytes_max)
            .map_err(|fault| fault.to_string())?;
        records
            .into_iter()
            .map(|record| {
                decode_entry(record.index, &record.payload)
                    .map_err(|error| format!("log entry {}: {error}", record.index))
            })
            .collect()
    }

    /// The state as of now. A snapshot is exportable while it is the latest, so another one is taken when a write came
    /// in between.
    fn export(&self) -> Export {
        loop {
            if let Some(export) = Export::new(self.reader.read().snapshot()) {
                return export;
            }
        }
    }

    fn send_snapshot(&self, to: NodeId, leader_term: Term) -> Result<(), String> {
        let export = self.export();
        let applied = export.applied().clone();
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
        let chunks = export.map(|chunk| chunk.map_err(|fault| fault.to_string()));
        let source: SnapshotSource = Box::new(|_| Ok(Box::new(chunks)));
        let core = self.core.clone();
        let done = Box::new(move |delivered| {
            core.push(Event::SnapshotSent {
                to,
                position,
                delivered,
            })
        });
        self.peers.send_snapshot(to, meta, source, done);
        Ok(())
    }
}
