//! What the node needs of the network between members; [`peer_transport::Transport`] in production, the simulator's
//! network in simulation.

use std::collections::BTreeMap;

use consensus::{Envelope, GroupId, NodeId, SnapshotMeta};
use peer_transport::{PeerAddress, PeerHealth, SnapshotSource, Transport};

/// The only group there is so far; every frame and log record carries it (DESIGN §8).
pub const GROUP: GroupId = GroupId(1);

/// Told whether a snapshot arrived.
pub type SnapshotDone = Box<dyn FnOnce(bool) + Send>;

/// Sends to the other members. Never blocks; what cannot be sent is dropped.
pub trait Peers: Send + Sync + 'static {
    /// Sends each envelope to the member it names.
    fn send(&self, envelopes: Vec<Envelope>);
    /// Replaces the addresses of the other members.
    fn set_peers(&self, peers: BTreeMap<NodeId, PeerAddress>);
    /// Streams a snapshot; `done` is called once.
    fn send_snapshot(
        &self,
        to: NodeId,
        meta: SnapshotMeta,
        source: SnapshotSource,
        done: SnapshotDone,
    );
    /// State of the connections to the other members.
    fn health(&self) -> BTreeMap<NodeId, PeerHealth>;
    /// Ends all connections: the node has ended.
    fn stop(&self);
}

impl Peers for Transport {
    fn send(&self, envelopes: Vec<Envelope>) {
        Transport::send(self, GROUP, envelopes);
    }

    fn set_peers(&self, peers: BTreeMap<NodeId, PeerAddress>) {
        Transport::set_peers(self, peers);
    }

    fn send_snapshot(
        &self,
        to: NodeId,
        meta: SnapshotMeta,
        source: SnapshotSource,
        done: SnapshotDone,
    ) {
        Transport::send_snapshot(self, GROUP, to, meta, source, done);
    }

    fn health(&self) -> BTreeMap<NodeId, PeerHealth> {
        Transport::health(self)
    }

    fn stop(&self) {
        Transport::stop(self);
    }
}
