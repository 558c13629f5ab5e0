//! The handle that the program around a node holds: proposals, reads, status, the end.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use consensus::{MembershipChange, NodeId, Payload, RoleName};
use crossbeam_channel::Receiver;
use parking_lot::{Mutex, RwLock};
use peer_transport::{JoinReply, JoinRequest, PeerAddress, PeerHealth};
use state_machine::Reader;

use crate::applied_waiters::AppliedWaiters;
use crate::config::MemberContext;
use crate::core_worker::{Exit, Inboxes};
use crate::error::ExitReason;
use crate::events::{
    Event, MembershipDone, MembershipOutcome, ProposeDone, ProposeOutcome, ReadDone, ReadError,
};
use crate::housekeeping::ClientDrivesBuild;
use crate::inbound::RequestHandler;
use crate::peers::Peers;
use crate::status::{Gauges, Indices, NodeStatus, Observer, StatusBoard};

/// How long a clean stop waits for another member to take over the lead.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between attempts to have changed addresses recorded.
const ANNOUNCE_PERIOD: Duration = Duration::from_millis(100);
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// Proposes an encoded [`state_machine::Command`]; `done` is called exactly once.
    pub fn propose(&self, command: Vec<u8>, done: ProposeDone) {
        let payload = Payload::from(command);
        if let Err(Event::Propose { done, .. }) = self
            .parts
            .inboxes
            .core
            .offer(Event::Propose { payload, done })
        {
            done(self.refusal(ProposeOutcome::Overloaded, ProposeOutcome::Stopping));
        }
    }

    /// Asks for an index at which a read is linearizable; `done` is called exactly once, after that index is applied
    /// here. Works on every member (Raft §8, read index).
    pub fn read_index(&self, done: ReadDone) {
        if let Err(Event::Read { done }) = self.parts.inboxes.core.offer(Event::Read { done }) {
            done(Err(self.refusal(ReadError::Overloaded, ReadError::Stopping)));
        }
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

    /// What is to be said to the leader so that the membership shows the addresses this node has now: a founder's are not
    /// in it yet, and a restart may have changed them. `None` when they are in it, and once the node has ended.
    pub(crate) fn announcement(&self) -> Option<JoinRequest> {
        let status = self.status();
        let context = self.parts.context.encode();
        let known = status.membership.members.get(&status.id);
        let recorded = known.is_some_and(|member| member.context == context);
        (!recorded && !self.parts.inboxes.core.is_closed()).then(|| JoinRequest {
            cluster_id: Some(status.cluster_id),
            member: Some(status.id),
            ..JoinRequest::fresh(self.parts.context.directory, context.to_vec())
        })
    }

    /// Asks this member's core to admit a directory; the answer comes over the channel, if it comes.
    pub(crate) fn admit(&self, request: JoinRequest) -> Receiver<JoinReply> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.parts.inboxes.core.push(Event::Join { request, reply });
        answer
    }

    /// Sees to it that the membership shows this node's addresses.
    pub(crate) fn announce(&self) {
        let node = self.clone();
        let recorded = move || match node.announcement() {
            None => true,
            Some(request) => {
                node.announce_once(&request);
                false
            }
        };
        if recorded() {
            return;
        }
        let announcing = std::thread::Builder::new()
            .name("announce".to_owned())
            .spawn(move || {
                while !recorded() {
                    std::thread::sleep(ANNOUNCE_PERIOD);
                }
            });
        if let Err(error) = announcing {
            self.parts
                .inboxes
                .core
                .push(Event::Fault(format!("cannot start a thread: {error}")));
        }
    }

    fn announce_once(&self, request: &JoinRequest) {
        let status = self.status();
        if status.writable {
            // Whatever the answer, the membership is looked at again.
            self.admit(request.clone())
                .recv_timeout(ANNOUNCE_TIMEOUT)
                .ok();
        } else if let Some(leader) = status
            .leader
            .filter(|id| *id != status.id)
            .and_then(|id| status.member(id))
        {
            let leader = PeerAddress(leader.addresses.peer);
            peer_transport::request_join(&[leader], request, ANNOUNCE_TIMEOUT).ok();
        }
    }
}
