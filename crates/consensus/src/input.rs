//! What a replica is told: its configuration, what it finds on disk at the start, and the inputs of `step`.

use crate::membership::{Membership, MembershipChange};
use crate::messages::Envelope;
use crate::position::{
    Entry, LogIndex, LogPosition, NodeId, Payload, PersistPosition, ProposalId, ReadTicket, Term,
};

/// The parameters of one replica. Times are in ticks, whose length the host chooses.
#[derive(Clone, Debug)]
pub struct Config {
    /// This replica.
    pub id: NodeId,
    /// The source of all its randomness. Must differ from replica to replica and from start to start:
    /// the numbers of forwarded reads are drawn from it.
    pub seed: u64,
    /// The shortest election timeout.
    pub election_ticks_min: u32,
    /// The longest election timeout.
    pub election_ticks_max: u32,
    /// A leader is heard of at least this often.
    pub heartbeat_ticks: u32,
    /// Entries in one append request weigh at most this (a single larger entry goes alone).
    pub append_bytes_max: usize,
    /// Append requests under way to one follower.
    pub inflight_messages_max: usize,
    /// Entries under way to one follower weigh at most this, or are in one append request.
    pub inflight_bytes_max: usize,
    /// Proposals are refused while entries not yet committed weigh more than this.
    pub uncommitted_bytes_max: usize,
    /// Applied entries are kept in memory for slow followers up to this weight.
    pub cache_bytes_max: usize,
    /// Leader leases. `None`, the default: every batch of linearizable reads costs a round of messages. `Some(ticks)`: a leader
    /// answers reads without one for so long after it sent the heartbeats that a quorum has answered.
    ///
    /// This assumes of the clocks that `ticks` of the leader's never last longer than `election_ticks_min - 1` of any
    /// voter's; that ticks follow a clock that also runs while the process or the machine is suspended; and that a host
    /// which fell behind delivers all ticks that it missed, or [`Input::TicksSkipped`], in the same wake-up as the reads
    /// that it received meanwhile, or before. All replicas must have it alike, as
    /// voters keep the lease: they do not campaign at once when the leader's connection is reset, and grant no vote within
    /// `election_ticks_min` of hearing a leader or of their own start.
    pub lease_ticks: Option<u32>,
}

impl Config {
    /// The defaults for a tick of 10 ms: elections after 150-300 ms, a heartbeat every 50 ms.
    #[must_use]
    pub fn new(id: NodeId, seed: u64) -> Config {
        Config {
            id,
            seed,
            election_ticks_min: 15,
            election_ticks_max: 30,
            heartbeat_ticks: 5,
            append_bytes_max: 1 << 20,
            inflight_messages_max: 64,
            inflight_bytes_max: 8 << 20,
            uncommitted_bytes_max: 64 << 20,
            cache_bytes_max: 32 << 20,
            lease_ticks: None,
        }
    }

    pub(crate) fn check(&self) {
        assert!(
            self.heartbeat_ticks >= 1,
            "config of {}: heartbeat_ticks must be at least 1",
            self.id
        );
        assert!(
            self.election_ticks_min > self.heartbeat_ticks,
            "config of {}: election_ticks_min must exceed heartbeat_ticks",
            self.id
        );
        assert!(
            self.election_ticks_max > self.election_ticks_min,
            "config of {}: election_ticks_max must exceed election_ticks_min",
            self.id
        );
        assert!(
            self.inflight_messages_max >= 1 && self.append_bytes_max >= 1,
            "config of {}: appends need room for one message of one byte",
            self.id
        );
        assert!(
            self.lease_ticks
                .is_none_or(|ticks| ticks >= 1 && ticks.saturating_add(1) < self.election_ticks_min),
            "config of {}: lease_ticks must be below election_ticks_min - 1",
            self.id
        );
    }
}

/// What must survive a restart besides the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The newest term seen.
    pub term: Term,
    /// Whom this replica voted for in that term.
    pub vote: Option<NodeId>,
    /// Advisory: committed at least this far when it was written.
    pub commit: LogIndex,
}

/// What a replica finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Term, vote and the advisory commit index.
    pub hard_state: HardState,
    /// The members as of `log_start`, or of any index from there to `applied` (changes in between are in `entries`);
    /// empty for a replica that waits to be contacted by a leader.
    pub membership: Membership,
    /// The position just before the first entry still on disk.
    pub log_start: LogPosition,
    /// How far the state machine has durably applied: `log_start.index <= applied <=` the last entry. A state machine
    /// that is ahead of the log, or of another term at its index, was swapped in just before a crash: then
    /// `log_start` is its position and `entries` is empty.
    pub applied: LogIndex,
    /// The terms of entries on disk that need not be in memory, from the one after `log_start` on: where each run of one
    /// term begins. Either empty, or of all entries up to `applied`.
    pub terms: Vec<(LogIndex, Term)>,
    /// All entries after `log_start`, or after `applied` if `terms` tells of those before it, in order.
    pub entries: Vec<Entry>,
}

/// A command to be replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Echoed with the result.
    pub id: ProposalId,
    /// The command.
    pub payload: Payload,
}

/// A snapshot that arrived whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// Who sent it.
    pub leader: NodeId,
    /// The sender's term.
    pub leader_term: Term,
    /// The last entry the snapshot includes. It is committed.
    pub position: LogPosition,
    /// The members as of `position`.
    pub membership: Membership,
}

/// Everything that can happen to a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// A tick of the clock passed.
    Tick,
    /// A message arrived.
    Receive(Envelope),
    /// Commands to replicate.
    Propose(Vec<Proposal>),
    /// A change of the members.
    ProposeMembership {
        /// Echoed with the result.
        id: ProposalId,
        /// The change.
        change: MembershipChange,
    },
    /// Reads that want the linearizable read index; on a follower they are forwarded to the leader.
    Read(Vec<ReadTicket>),
    /// Everything up to this persist is on disk.
    Durable(PersistPosition),
    /// The state machine has applied up to here.
    Applied(LogIndex),
    /// A message of this peer is arriving but not whole yet. A leader that sends something large is heard, or its heartbeats,
    /// which stand behind it in the connection, would be missed. Promises nothing but that the peer is alive.
    PeerHeard(NodeId),
    /// The connection to or from this peer was reset.
    PeerDisconnected(NodeId),
    /// The answer to [`crate::Effects::fetch`].
    EntriesFetched {
        /// For which follower.
        to: NodeId,
        /// Consecutive entries from the asked index on; empty: they are no longer in the log.
        entries: Vec<Entry>,
    },
    /// The answer to [`crate::Effects::send_snapshot`].
    SnapshotSent {
        /// To which follower.
        to: NodeId,
        /// The last entry it included.
        position: LogPosition,
        /// Whether it arrived whole.
        delivered: bool,
    },
    /// On a follower: a snapshot arrived whole and is durable beside the state machine. If the effects do not say
    /// `install_snapshot`, it is stale and may be thrown away.
    SnapshotStaged(SnapshotMeta),
    /// Entries up to here are gone from the log on disk.
    LogCompacted(LogPosition),
    /// Hand leadership to this voter, or to the most caught-up one.
    TransferLeadership {
        /// The successor.
        to: Option<NodeId>,
    },
    /// Whether this replica's disk is full. Others are told, and lead rather than this one; it still votes, and leads if
    /// nobody else can.
    DiskFull(bool),
    /// More time passed than ticks were delivered for: the host was held up and lets some go. Ends a lease; means nothing
    /// without leases.
    TicksSkipped,
}
