//! Peer RPC: how the members of one cluster talk to each other over TCP.
//!
//! Promises: requests to append reach one peer in the order sent, and so do all other messages, whole and checked, or not
//! at all; between the two there is no order, so that what is small (heartbeats, votes) never waits behind what is large.
//! `send` never blocks; a broken connection is reported at once through [`Handler::disconnected`]; a peer of another
//! cluster, or a stranger, is refused with a reason that both sides can read.
//!
//! Assumes: the host (Raft) tolerates lost messages. A full queue and a broken connection drop what they hold.
//!
//! Does not: decide anything, know terms or logs, resolve who is a member, authenticate or encrypt (a later issue).
//!
//! Shape: two connections per direction, one for requests to append and one for the rest. The side that dials writes
//! messages; the side that accepts reads them and answers pings. A snapshot has a connection of its own.
//! `docs` of the bytes: [`frame`] (header), [`codec`] (bodies).
#![forbid(unsafe_code)]

mod back_off;
pub mod codec;
mod connection;
pub mod frame;
mod handshake;
mod health;
mod inbound;
mod lane;
mod outbound;
mod request;
mod snapshot_stream;
mod transport;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use consensus::{Envelope, GroupId, NodeId, SnapshotMeta};

pub use health::{PeerHealth, PeerState};
pub use request::{peer_request, request_join};
pub use transport::Transport;

/// Identifies a cluster for ever; drawn at random when the cluster is made.
pub type ClusterId = [u8; 16];

/// Oldest and newest version of the peer protocol that this build speaks.
pub const PROTOCOL_VERSION_MIN: u32 = 2;
/// See [`PROTOCOL_VERSION_MIN`].
pub const PROTOCOL_VERSION_MAX: u32 = 2;

/// Where a peer listens: `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress(pub String);

impl fmt::Display for PeerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<&str> for PeerAddress {
    fn from(text: &str) -> Self {
        PeerAddress(text.to_owned())
    }
}

/// Bounds of a [`Transport`]; the defaults suit members in one data centre.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages waiting on one lane to a peer; more are dropped and counted.
    pub queue_messages_max: usize,
    /// Bytes waiting on one lane to a peer; more are dropped and counted. One message may exceed it when the queue is empty.
    pub queue_bytes_max: usize,
    /// Inbound connections at one time; further ones are closed.
    pub inbound_connections_max: usize,
    /// Time for connecting and for each half of the handshake.
    pub connect_timeout: Duration,
    /// A connection whose bytes stay unacknowledged this long is broken.
    pub unacknowledged_timeout: Duration,
    /// First pause before dialling again; doubles up to `back_off_max`.
    pub back_off_min: Duration,
    /// Longest pause before dialling again.
    pub back_off_max: Duration,
    /// The pace of a snapshot, so that it leaves disk, network and processor to those who write meanwhile.
    pub snapshot_bytes_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            queue_messages_max: 16_384,
            queue_bytes_max: 64 << 20,
            inbound_connections_max: 256,
            connect_timeout: Duration::from_secs(2),
            unacknowledged_timeout: Duration::from_secs(3),
            back_off_min: Duration::from_millis(50),
            back_off_max: Duration::from_secs(2),
            snapshot_bytes_per_second: 16 << 20,
        }
    }
}

/// What a [`Transport`] needs to start.
pub struct Config {
    /// The cluster this node belongs to.
    pub cluster_id: ClusterId,
    /// This node's id in the cluster.
    pub node_id: NodeId,
    /// Where peers reach this node; told to those it dials.
    pub advertise: PeerAddress,
    /// The bound socket to accept peers on; see [`bind`].
    pub listener: TcpListener,
    /// The newest feature set this build can read; told to peers, compared by the host (rolling upgrades).
    pub feature_level: u32,
    /// Spreads the pauses before dialling again.
    pub entropy: Arc<dyn platform::Entropy + Send + Sync>,
    /// Bounds of queues and waits.
    pub limits: Limits,
}

/// What the host does with what arrives. Called from the transport's threads; a call that blocks holds up that one
/// peer's connection (TCP then slows the peer down), nothing else.
pub trait Handler: Send + Sync + 'static {
    /// Messages from one peer, in the order sent (see the crate's promise). Everything that one read brought comes in one call.
    fn received(&self, group: GroupId, envelopes: Vec<Envelope>);

    /// A peer connected and said where it is reached. A host that does not know that peer yet can name it to
    /// [`Transport::set_peers`] in order to answer it.
    fn introduced(&self, peer: NodeId, address: PeerAddress);

    /// A large message of this peer is on its way in: the peer is alive, though nothing whole has come for a while.
    fn heard(&self, peer: NodeId);

    /// A connection from or to this peer broke: most likely its process is gone. Reported once per connection, so several
    /// times for one death.
    fn disconnected(&self, peer: NodeId);

    /// A peer sent a log entry that this build cannot read: whatever the host did without it would be a guess. The connection
    /// ends.
    fn unreadable(&self, what: String);

    /// A fresh data directory asks to become a member. Runs on its own thread and may block.
    fn join(&self, request: JoinRequest) -> JoinReply;

    /// A small question of `kind` (the host's numbering) from another process; see [`peer_request`].
    /// `Err` is a reason, shown to the one who asks.
    fn request(&self, kind: u8, body: &[u8]) -> Result<Vec<u8>, String>;

    /// A peer wants to stream a snapshot; `Err` is a reason, shown to the sender.
    fn snapshot_begin(
        &self,
        group: GroupId,
        from: NodeId,
        meta: SnapshotMeta,
    ) -> Result<Box<dyn SnapshotSink>, String>;
}

/// Takes one snapshot's chunks in order. Dropped without `finish` when the stream breaks; what was staged may be kept for
/// the next stream of the same snapshot.
pub trait SnapshotSink: Send {
    /// What is staged already, for the sender's [`SnapshotSource`]: the chunks begin after it. Empty: nothing.
    fn progress(&self) -> Vec<u8>;
    /// The next chunk; its checksum has been verified. `Err` ends the stream.
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// All chunks have arrived; `Ok` once the snapshot is durable, which the sender is then told.
    fn finish(self: Box<Self>) -> Result<(), String>;
}

/// The chunks of a snapshot to send, each at most [`frame::CHUNK_BYTES_MAX`] bytes; an error breaks the stream off.
pub type SnapshotChunks = Box<dyn Iterator<Item = Result<Vec<u8>, String>> + Send>;

/// Given what the receiver has already ([`SnapshotSink::progress`]), the chunks it lacks.
pub type SnapshotSource = Box<dyn FnOnce(&[u8]) -> Result<SnapshotChunks, String> + Send>;

/// A data directory that wants to become a member, or a member that says where it is reached now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Drawn once per data directory, so that asking again gives the same node id.
    pub directory_id: [u8; 16],
    /// The member's addresses, in the host's encoding.
    pub context: Vec<u8>,
    /// The cluster it believes it belongs to; a member of another one refuses it. `None`: whichever is asked.
    pub cluster_id: Option<ClusterId>,
    /// The member that this directory already is.
    pub member: Option<NodeId>,
    /// The member whose data is lost and whose place this directory takes: it leaves as this one comes in.
    pub replaces: Option<NodeId>,
}

impl JoinRequest {
    /// What a directory that never belonged to any cluster asks.
    #[must_use]
    pub fn fresh(directory_id: [u8; 16], context: Vec<u8>) -> JoinRequest {
        JoinRequest {
            directory_id,
            context,
            cluster_id: None,
            member: None,
            replaces: None,
        }
    }
}

/// The answer to a [`JoinRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinReply {
    /// Admitted as a learner.
    Accepted {
        /// The cluster joined.
        cluster_id: ClusterId,
        /// The id given to the joiner.
        node_id: NodeId,
        /// The members and their addresses, in the host's encoding.
        context: Vec<u8>,
    },
    /// Ask this member instead; it leads.
    Redirect {
        /// The leader's peer address.
        leader: PeerAddress,
    },
    /// Cannot be decided at this moment (no leader, a change under way): ask again.
    NotNow {
        /// Shown if time runs out.
        reason: String,
    },
    /// Not admitted, and why.
    Refused {
        /// Says what to do about it.
        reason: String,
    },
    /// The member that the directory was has left the cluster for good.
    Removed {
        /// Says what to do about it.
        reason: String,
    },
}

/// Why the transport could not do something.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The listening address could not be taken.
    #[error(
        "cannot listen for peers on {address}: {source}; is another process using it? (choose another with --peer-listen)"
    )]
    Bind {
        /// As given.
        address: String,
        /// From the system.
        source: std::io::Error,
    },
    /// A thread or socket of the transport could not be made.
    #[error("cannot start the peer transport: {0}")]
    Start(std::io::Error),
    /// The peer could not be reached.
    #[error("cannot reach peer {address}: {source}")]
    Unreachable {
        /// As given.
        address: PeerAddress,
        /// From the system.
        source: std::io::Error,
    },
    /// What answered does not speak the peer protocol, or sent damaged bytes.
    #[error("{address} does not answer as a peer: {source}")]
    Protocol {
        /// As given.
        address: PeerAddress,
        /// What was wrong with its bytes.
        source: frame::FrameError,
    },
    /// The peer answered with a refusal.
    #[error("peer {address} refused: {reason}")]
    Refused {
        /// As given.
        address: PeerAddress,
        /// In the peer's words.
        reason: String,
    },
    /// No address led to a leader in time.
    #[error("no member could admit this node within {seconds} s; last: {last}")]
    JoinTimedOut {
        /// How long was tried.
        seconds: u64,
        /// The last thing that went wrong.
        last: String,
    },
}

/// Takes a listening address for peers; separate from [`Transport::start`] so that a taken port is known before
/// anything else happens.
pub fn bind(address: &str) -> Result<TcpListener, TransportError> {
    TcpListener::bind(address).map_err(|source| TransportError::Bind {
        address: address.to_owned(),
        source,
    })
}
