//! What arrives from other members, handed to the core thread; snapshots to where they are staged.

use std::sync::Arc;
use std::time::Duration;

use consensus::{Envelope, GroupId, NodeId, SnapshotMeta};
use parking_lot::RwLock;
use peer_transport::{Handler, JoinReply, JoinRequest, PeerAddress, SnapshotSink};
use platform::Disk;

use crate::events::Event;
use crate::mailbox::Mailbox;
use crate::peers::GROUP;
use crate::staging::Staging;

/// How long a join may take before the asker is told to try again.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers small questions of other processes, by kind; set by the program around the node.
pub type RequestHandler = Box<dyn Fn(u8, &[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

pub(crate) struct Inbound<D: Disk> {
    pub core: Arc<Mailbox<Event>>,
    pub requests: Arc<RwLock<Option<RequestHandler>>>,
    pub staging: Arc<Staging<D>>,
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
        self.staging.begin(meta)
    }
}
