//! The handle that the program around a node holds: proposals, reads, status, the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use consensus::{MembershipChange, NodeId, Payload, RoleName};
use parking_lot::{Mutex, RwLock};
use peer_transport::{PeerAddress, PeerHealth};
use state_machine::Reader;

use crate::applied_waiters::AppliedWaiters;
use crate::archive::ArchiveStatus;
use crate::config::MemberContext;
use crate::core_worker::{Exit, Inboxes};
use crate::error::ExitReason;
use crate::events::{
    Event, MembershipDone, MembershipOutcome, ProposeDone, ProposeOutcome, ReadDone, ReadError,
};
use crate::housekeeping::ClientDrivesBuild;
use crate::inbound::RequestHandler;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::space::Space;
use crate::status::{Gauges, Indices, NodeStatus, Observer, StatusBoard};
use crate::throttle::Throttle;

/// How long a clean stop waits for another member to take over the lead.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

/// What a running node is made of.
pub(crate) struct NodeParts {
    pub inboxes: Inboxes,
    pub board: Arc<StatusBoard>,
    pub gauges: Arc<Gauges>,
    pub reader: Arc<RwLock<Reader>>,
    pub waiters: Arc<AppliedWaiters>,
    pub exit: Arc<Exit>,
    pub peers: Arc<dyn Peers>,
    pub requests: Arc<RwLock<Option<RequestHandler>>>,
    pub builds_driven_by_clients: Arc<AtomicUsize>,
    /// What the membership should say of this node.
    pub context: MemberContext,
    /// Where members may be found besides: what `--join` names.
    pub seeds: Arc<[PeerAddress]>,
    /// Bytes of a snapshot on its way in.
    pub incoming_bytes: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    pub throttle: Throttle,
    /// How the archive stands, if there is one.
    pub archive: Option<Arc<Mutex<ArchiveStatus>>>,
    /// Looks at the files of the data directory.
    pub files: Box<dyn Fn() -> Space + Send + Sync>,
    pub threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held until the node has ended.
    pub lock: Mutex<Option<Box<dyn Send>>>,
}

/// A running replica. Clones are the same node.
#[derive(Clone)]
pub struct Node {
    parts: Arc<NodeParts>,
}

impl Node {
    pub(crate) fn new(parts: NodeParts) -> Node {
        Node {
            parts: Arc::new(parts),
        }
    }

    pub(crate) fn parts(&self) -> &NodeParts {
        &self.parts
    }

    /// Proposes an encoded [`state_machine::Command`]; `done` is called exactly once.
    pub fn propose(&self, command: Vec<u8>, done: ProposeDone) {
        let payload = Payload::from(command);
        if let Err(Event::Propose { done, .. }) = self
            .parts
            .inboxes
            .core
            .offer_patiently(Event::Propose { payload, done })
        {
            done(self.refusal(ProposeOutcome::Overloaded, ProposeOutcome::Stopping));
        }
    }

    /// How long to wait before proposing a command of so many bytes: the engine has more before it than it should.
    pub fn write_delay(&self, bytes: usize, now: Instant) -> Duration {
        let runs = self.parts.reader.read().runs_waiting();
        self.parts.throttle.delay(bytes, runs, now)
    }

    /// Asks for an index at which a read is linearizable; `done` is called exactly once, after that index is applied
    /// here. Works on every member (Raft §8, read index).
    pub fn read_index(&self, done: ReadDone) {
        if let Some(index) = self.read_index_alone() {
            done(Ok(index));
            return;
        }
        if let Err(Event::Read { done }) = self.parts.inboxes.core.offer(Event::Read { done }) {
            done(Err(self.refusal(ReadError::Overloaded, ReadError::Stopping)));
        }
    }

    /// What [`Node::read_index`] answers, where it is known at once: the applied index, where nothing can have been committed
    /// elsewhere and all that was committed is applied. A lone node need not wake its core for every read.
    pub fn read_index_alone(&self) -> Option<u64> {
        if !self.parts.board.latest().decides_alone() {
            return None;
        }
        let indices = self.parts.gauges.read();
        // The published index, not the gauge: that one follows a little after writes have been acknowledged.
        let applied = || self.parts.reader.read().applied_index();
        (indices.applied >= indices.commit).then(applied)
    }

    fn refusal<T>(&self, full: T, closed: T) -> T {
        if self.parts.inboxes.core.is_closed() {
            closed
        } else {
            full
        }
    }

    /// Calls `done` once `index` is applied on this member.
    pub fn wait_applied(&self, index: u64, done: ReadDone) {
        self.parts.waiters.wait(index, done);
    }

    /// The state machine's reading side. Ask again for every request: a snapshot from the leader replaces it.
    pub fn reader(&self) -> Reader {
        self.parts.reader.read().clone()
    }

    /// Role, term, leader and members as last published.
    pub fn status(&self) -> Arc<NodeStatus> {
        self.parts.board.latest()
    }

    /// Log positions of this member.
    pub fn indices(&self) -> Indices {
        self.parts.gauges.read()
    }

    /// What this member's log and engine count.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            log: self.parts.gauges.log.read(),
            engine: self.parts.reader.read().engine_stats(),
            queues: self.parts.gauges.queues.read(),
            replication: self.parts.gauges.replication.read(),
            prefetched_keys: self.parts.gauges.prefetched.load(Ordering::Relaxed),
        }
    }

    /// How many bytes of a snapshot have come, while one is on its way in.
    pub fn incoming_snapshot_bytes(&self) -> Option<u64> {
        (self.parts.incoming_bytes)()
    }

    /// How the archive of this member stands; `None` when it keeps none.
    pub fn archive(&self) -> Option<ArchiveStatus> {
        let archive = self.parts.archive.as_ref()?;
        Some(archive.lock().clone())
    }

    /// Where this member's bytes are. Lists its directory: not to be called where nothing may wait.
    pub fn space(&self) -> Space {
        (self.parts.files)().and_held(&self.reader())
    }

    /// Calls `observer` now and with every later change of status.
    pub fn on_change(&self, observer: Observer) {
        self.parts.board.observe(observer);
    }

    /// State of the connections to the other members.
    pub fn peer_health(&self) -> std::collections::BTreeMap<consensus::NodeId, PeerHealth> {
        self.parts.peers.health()
    }

    /// Answers other processes' questions that come over the peer port; see [`Node::ask_peer`].
    pub fn set_request_handler(&self, handler: RequestHandler) {
        *self.parts.requests.write() = Some(handler);
    }

    /// Asks the member listening at `peer` a question of `kind`; blocks up to `timeout`.
    pub fn ask_peer(
        &self,
        peer: &str,
        kind: u8,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>, String> {
        peer_transport::peer_request(&PeerAddress(peer.to_owned()), kind, body, timeout)
            .map_err(|error| error.to_string())
    }

    /// Keeps the leader's housekeeping off index builds while a client drives one itself.
    pub fn drive_index_build(&self) -> ClientDrivesBuild {
        ClientDrivesBuild::new(self.parts.builds_driven_by_clients.clone())
    }

    /// Hands leadership to the most caught-up voter, if this member leads and there is one.
    pub fn transfer_leadership(&self) {
        self.transfer_leadership_to(None);
    }

    /// Hands leadership to this voter, or to the best one, if this member leads.
    pub fn transfer_leadership_to(&self, to: Option<NodeId>) {
        self.parts
            .inboxes
            .core
            .push(Event::TransferLeadership { to });
    }

    /// Changes who is a member; `done` is called exactly once, when the change is applied here or known to have failed.
    /// To ask again for a change that was made is safe: it is refused.
    pub fn change_membership(&self, change: MembershipChange, done: MembershipDone) {
        let event = Event::ChangeMembership { change, done };
        if let Err(Event::ChangeMembership { done, .. }) = self.parts.inboxes.core.offer(event) {
            done(self.refusal(
                MembershipOutcome::NotLeader { leader: None },
                MembershipOutcome::Stopping,
            ));
        }
    }

    /// Stops cleanly: hands leadership over first, works off what is committed, flushes. Returns when it has ended.
    pub fn stop(&self) -> ExitReason {
        let voters = self.status().membership.voters.len();
        if self.status().role == RoleName::Leader && voters > 1 {
            self.transfer_leadership();
            self.wait_until(TRANSFER_TIMEOUT, |status| status.role != RoleName::Leader);
        }
        self.parts.inboxes.core.push(Event::Stop);
        self.wait()
    }

    /// Blocks until the node has ended, and says why.
    pub fn wait(&self) -> ExitReason {
        let reason = self.parts.exit.wait();
        self.parts.peers.stop();
        for thread in std::mem::take(&mut *self.parts.threads.lock()) {
            // A panicked thread has printed its reason.
            thread.join().ok();
        }
        self.parts.lock.lock().take();
        reason
    }

    /// Blocks until `condition` holds for the status, at most `timeout`. Returns whether it does.
    pub fn wait_until(
        &self,
        timeout: Duration,
        condition: impl Fn(&NodeStatus) -> bool + Send + Sync + 'static,
    ) -> bool {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.on_change(Box::new(move |status| {
            if condition(status) {
                sender.try_send(()).ok();
            }
        }));
        receiver.recv_timeout(timeout).is_ok()
    }

    /// Why the node ended, once it has.
    pub(crate) fn exit_reason(&self) -> Option<ExitReason> {
        self.parts.exit.known()
    }

    /// The threads that run this node; [`Node::wait`] waits for them.
    pub(crate) fn run_by(&self, threads: Vec<JoinHandle<()>>) {
        *self.parts.threads.lock() = threads;
    }
}
