//! What the node's threads tell each other.

use std::path::PathBuf;
use std::time::Duration;

use consensus::{
    Entry, Envelope, LogIndex, LogPosition, MembershipChange, MembershipRefusal, NodeId, Payload,
    Persist, PersistPosition, SnapshotMeta,
};
use crossbeam_channel::Sender;
use peer_transport::{JoinReply, JoinRequest, PeerAddress};
use state_machine::Reply;

use crate::background::Retired;
use crate::error::Fault;

/// How a proposal ended.
#[derive(Debug)]
pub enum ProposeOutcome {
    /// Committed, durable and applied at this index.
    Applied {
        /// Its log index.
        index: u64,
        /// The state machine's answer.
        reply: Reply,
    },
    /// This member does not lead: nothing was proposed, or what was proposed is certain never to take effect.
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// Leadership was lost after the proposal was made, and no successor's log told what became of it in time: it may or
    /// may not take effect.
    Unknown,
    /// Too much is waiting; nothing was proposed. Retry after a pause.
    Overloaded,
    /// There is no room on this member's disk, or on those of a majority; nothing was proposed.
    DiskFull {
        /// Where, and what to do.
        what: String,
    },
    /// The node is stopping; nothing was proposed.
    Stopping,
}

/// How a change of the members ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipOutcome {
    /// Committed and applied: the last of its memberships, if it took two.
    Applied {
        /// The log index of that membership.
        index: u64,
    },
    /// This member does not lead, or is handing over; nothing was proposed.
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// It cannot be made, or not now.
    Refused(MembershipRefusal),
    /// A member could not read it; nothing was proposed.
    TooOld {
        /// Which member.
        member: NodeId,
        /// The level it reads.
        level: u32,
        /// The level it would have to read.
        needed: u32,
    },
    /// Leadership was lost after the proposal was made, and no successor's log told what became of it in time: it may or
    /// may not take effect.
    Unknown,
    /// The node is stopping; nothing was proposed.
    Stopping,
}

/// Called once with the outcome of a change, on a thread of the node: it must be quick.
pub type MembershipDone = Box<dyn FnOnce(MembershipOutcome) + Send>;

/// Why a read cannot be served here and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// No leader confirmed the read.
    NoLeader,
    /// Too many reads wait.
    Overloaded,
    /// The node is stopping.
    Stopping,
}

/// Called once with a proposal's outcome, on a thread of the node: it must be quick.
pub type ProposeDone = Box<dyn FnOnce(ProposeOutcome) + Send>;
/// Called once with the index that is safe to read at, on a thread of the node: it must be quick.
pub type ReadDone = Box<dyn FnOnce(Result<u64, ReadError>) + Send>;

/// Who waits for a proposal.
pub(crate) enum Waiter {
    Client(ProposeDone),
    Join {
        directory: [u8; 16],
        reply: Sender<JoinReply>,
    },
    /// An operator's change of the members.
    Change(MembershipDone),
    /// The node's own housekeeping: nobody.
    Nobody,
}

/// Inputs of the core thread.
pub(crate) enum Event {
    Propose {
        payload: Payload,
        done: ProposeDone,
    },
    Read {
        done: ReadDone,
    },
    Received(Vec<Envelope>),
    /// A large message of this peer is on its way in.
    Heard(NodeId),
    Disconnected(NodeId),
    /// A peer connected and said where it is reached.
    Introduced {
        peer: NodeId,
        address: PeerAddress,
    },
    Join {
        request: JoinRequest,
        reply: Sender<JoinReply>,
    },
    Durable(PersistPosition),
    Applied(LogIndex),
    Fetched {
        to: NodeId,
        entries: Vec<Entry>,
    },
    SnapshotSent {
        to: NodeId,
        position: LogPosition,
        delivered: bool,
    },
    SnapshotStaged(Staged),
    /// The state as of this index is kept for a member until it is unpinned.
    SnapshotPinned {
        to: NodeId,
        index: LogIndex,
    },
    SnapshotUnpinned {
        to: NodeId,
    },
    /// A memtable is full and waits to be flushed; it ends with this index.
    Sealed(LogIndex),
    Flushed(LogIndex),
    LogRemoved(LogPosition),
    /// Everything up to here is archived, or will never be.
    Archived(LogIndex),
    /// A part of the storage found the disk full, and says what it was about to do; `None`: it has room again.
    DiskFull {
        part: StoragePart,
        what: Option<String>,
    },
    TransferLeadership {
        /// `None`: the best one.
        to: Option<NodeId>,
    },
    ChangeMembership {
        change: MembershipChange,
        done: MembershipDone,
    },
    /// More time passed than there will be ticks for.
    TicksSkipped,
    /// Another member said that this one was removed.
    Removed,
    Fault(Fault),
    /// Something only a newer program reads has come; says what.
    NewerFormat(String),
    Stop,
}

/// What needs room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoragePart {
    /// The log, in a sync.
    Log,
    /// The log's next segment, or a reserve.
    Segments,
    Engine,
}

/// A snapshot that arrived whole and lies durable beside the engine.
pub(crate) struct Staged {
    pub meta: SnapshotMeta,
    pub directory: PathBuf,
    /// Keeps another snapshot from being staged over this one until it is installed or refused.
    #[allow(dead_code, reason = "held for its drop")]
    pub guard: Box<dyn Send>,
}

/// Work of the log thread.
pub(crate) enum LogWork {
    /// Write, sync, then send.
    Persist {
        persist: Option<Persist>,
        then_send: Vec<Envelope>,
    },
    /// Entries up to here are no longer needed.
    RemovePrefix(LogPosition),
    /// The disk was full: leave to others what can be spared, and try again.
    LookForRoom,
}

/// Work of the segments thread: files of the log are to be made ready or put away.
pub(crate) struct SegmentWork;

/// Work of the apply thread.
pub(crate) enum ApplyWork {
    Entry {
        entry: Entry,
        waiter: Waiter,
    },
    /// Replace the whole state; answer when done.
    Install {
        staged: Staged,
        done: Sender<()>,
    },
}

/// Work of the background thread: what may take long and must not hold up the others.
pub(crate) enum BackgroundWork {
    Fetch {
        to: NodeId,
        from: LogIndex,
        bytes_max: usize,
    },
    SendSnapshot {
        to: NodeId,
        term: consensus::Term,
    },
    /// The member needs its snapshot no more.
    Unpin {
        to: NodeId,
    },
    /// A generation of the engine was replaced: remove it once nobody reads it.
    Retire(Retired),
    /// Look whether something is not needed any more.
    Tidy {
        now: Duration,
    },
    /// Nothing was applied for a while: old versions need not be kept.
    ReleaseVersions,
    /// Write down who the members are, as advice for a repair.
    RecordPeers(String),
}
