//! What arrives from other members, handed to the core thread; snapshots are staged beside the engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use consensus::{Envelope, GroupId, NodeId, SnapshotMeta};
use parking_lot::RwLock;
use peer_transport::{Handler, JoinReply, JoinRequest, PeerAddress, SnapshotSink};
use platform::Disk;
use state_machine::SnapshotImport;
use storage_engine::Engines;

use crate::engine_dirs;
use crate::events::{Event, Staged};
use crate::mailbox::Mailbox;
use crate::peers::GROUP;

/// How long a join may take before the asker is told to try again.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers small questions of other processes, by kind; set by the program around the node.
pub type RequestHandler = Box<dyn Fn(u8, &[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

pub(crate) struct Inbound<D: Disk> {
    pub disk: D,
    pub engines: Arc<dyn Engines>,
    pub engine_root: PathBuf,
    pub core: Arc<Mailbox<Event>>,
    pub requests: Arc<RwLock<Option<RequestHandler>>>,
    /// One snapshot is staged at a time.
    pub staging: Arc<AtomicBool>,
}

impl<D: Disk> Handler for Inbound<D> {
    fn received(&self, group: GroupId, envelopes: Vec<Envelope>) {
        if group == GROUP {
            // A full inbox drops them: consensus asks again.
            self.core.offer(Event::Received(envelopes)).ok();
        }
    }

    fn heard(&self, peer: NodeId) {
        // A full inbox drops it: then there is no lack of signs of life.
        self.core.offer(Event::Heard(peer)).ok();
    }

    fn introduced(&self, peer: NodeId, address: PeerAddress) {
        self.core.push(Event::Introduced { peer, address });
    }

    fn unreadable(&self, what: String) {
        self.core.push(Event::NewerFormat(what));
    }

    fn disconnected(&self, peer: NodeId) {
        self.core.push(Event::Disconnected(peer));
    }

    fn join(&self, request: JoinRequest) -> JoinReply {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let not_now = |reason: &str| JoinReply::NotNow {
            reason: reason.to_owned(),
        };
        if self.core.offer(Event::Join { request, reply }).is_err() {
            return not_now("the member is overloaded");
        }
        answer
            .recv_timeout(JOIN_TIMEOUT)
            .unwrap_or_else(|_| not_now("the cluster did not answer in time"))
    }

    fn request(&self, kind: u8, body: &[u8]) -> Result<Vec<u8>, String> {
        match self.requests.read().as_ref() {
            Some(handler) => handler(kind, body),
            None => Err("the node is starting; try again".to_owned()),
        }
    }

    fn snapshot_begin(
        &self,
        group: GroupId,
        from: NodeId,
        meta: SnapshotMeta,
    ) -> Result<Box<dyn SnapshotSink>, String> {
        if group != GROUP {
            return Err(format!("group {} is not here", group.0));
        }
        if from != meta.leader {
            return Err(format!(
                "member {from} sends a snapshot of leader {}",
                meta.leader
            ));
        }
        if self.staging.swap(true, Ordering::AcqRel) {
            return Err("another snapshot is being received".to_owned());
        }
        let staging = StagingGuard(self.staging.clone());
        let directory =
            engine_dirs::stage(&self.disk, &self.engine_root).map_err(|error| error.to_string())?;
        let loader = self.engines.bulk_loader(&directory);
        let loader = loader.map_err(|fault| fault.to_string())?;
        let import = SnapshotImport::new(loader, meta.position.index.0);
        Ok(Box::new(Sink {
            import,
            meta,
            directory,
            core: self.core.clone(),
            staging,
        }))
    }
}

/// Lets the next snapshot in once this one is over, however it ended.
struct StagingGuard(Arc<AtomicBool>);

impl Drop for StagingGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

struct Sink {
    import: SnapshotImport,
    meta: SnapshotMeta,
    directory: PathBuf,
    core: Arc<Mailbox<Event>>,
    staging: StagingGuard,
}

impl SnapshotSink for Sink {
    fn progress(&self) -> Vec<u8> {
        Vec::new()
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.import.chunk(bytes).map_err(|error| error.to_string())
    }

    fn finish(self: Box<Self>) -> Result<(), String> {
        let applied = self.import.finish().map_err(|error| error.to_string())?;
        if applied.index != self.meta.position.index.0 || applied.term != self.meta.position.term.0
        {
            return Err(format!(
                "the snapshot ends at {} where {} was announced",
                applied.index, self.meta.position.index
            ));
        }
        let staged = Staged {
            meta: self.meta,
            directory: self.directory,
            guard: Box::new(self.staging),
        };
        self.core.push(Event::SnapshotStaged(staged));
        Ok(())
    }
}
