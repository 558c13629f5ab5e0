//! What a replica asks of its host, with the order in the types.
//!
//! The host, for each [`Effects`], in order:
//! 1. hands `persist` to the log thread, and at once sends `send_now`;
//! 2. sends `send_after_sync` only once `sync_position` is durable (a position of 0 always is);
//! 3. reports [`crate::Input::Durable`] when a persist is on disk;
//! 4. installs `install_snapshot`, if any, and then gives `apply` to the state machine, reporting
//!    [`crate::Input::Applied`];
//! 5. answers proposals and reads, starts fetches and snapshots.

use crate::input::{HardState, SnapshotMeta};
use crate::membership::MembershipRefusal;
use crate::messages::Envelope;
use crate::position::{
    Entry, LogIndex, LogPosition, NodeId, PersistPosition, ProposalId, ReadTicket,
};

/// What one wake-up of a replica asks of its host.
#[must_use = "dropping effects loses votes, entries or replies"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Write this; report [`crate::Input::Durable`] when it is synced.
    pub persist: Option<Persist>,
    /// Promises nothing about this replica's disk: overlaps the sync.
    pub send_now: Vec<Envelope>,
    /// Votes, acknowledgements and vote requests: only after `sync_position` is durable.
    pub send_after_sync: Vec<Envelope>,
    /// The latest persist issued so far.
    pub sync_position: PersistPosition,
    /// Committed and locally durable entries, in order, each exactly once.
    pub apply: Vec<Entry>,
    /// Results of proposals.
    pub proposals: Vec<(ProposalId, ProposalResult)>,
    /// Reads to serve once the index is applied.
    pub reads_ready: Vec<(ReadTicket, LogIndex)>,
    /// Reads that could not be confirmed; they may be asked again.
    pub reads_failed: Vec<ReadTicket>,
    /// Entries to read from the log on disk for slow followers.
    pub fetch: Vec<Fetch>,
    /// Followers that need a snapshot.
    pub send_snapshot: Vec<NodeId>,
    /// The staged snapshot is accepted: swap it in; `persist.reset_to` accompanies it. Swap before the persist is
    /// written, so that a crash in between leaves a state machine ahead of the log, which
    /// [`crate::Recovered::applied`] tells how to mend.
    pub install_snapshot: Option<SnapshotMeta>,
    /// Role, term, leader or membership changed.
    pub status_changed: bool,
}

/// One write to the log on disk. The parts take effect in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Its order number.
    pub position: PersistPosition,
    /// Term, vote and commit, when they changed.
    pub hard_state: Option<HardState>,
    /// The whole log is replaced by a snapshot that ends here.
    pub reset_to: Option<LogPosition>,
    /// Consecutive entries; the log on disk first loses everything from `entries[0].index` on.
    pub entries: Vec<Entry>,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposalResult {
    /// Appended to the leader's log at this position. It is committed if, and only if, an entry with this very
    /// position is applied.
    Accepted(LogPosition),
    /// This replica does not lead, or is handing over.
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// Too much is uncommitted: try again later.
    Overloaded,
    /// The membership change is not possible.
    Refused(MembershipRefusal),
}

/// A request to read entries from the log on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The follower they are for.
    pub to: NodeId,
    /// The first index.
    pub from: LogIndex,
    /// About how much (at least one entry).
    pub bytes_max: usize,
}
