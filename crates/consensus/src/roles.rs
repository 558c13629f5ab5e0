//! The state that belongs to a role lives in the role: only a leader has followers' progress, only a candidate
//! has votes.

use std::collections::BTreeMap;

use crate::leader_election::priority::Preferred;
use crate::leader_election::timer::ElectionTimer;
use crate::leader_election::transfer::{Departure, Transfer};
use crate::linearizable_reads::forwarded::ForwardedReads;
use crate::linearizable_reads::lease::Lease;
use crate::linearizable_reads::rounds::ReadRounds;
use crate::log_replication::progress::Progress;
use crate::position::{LogIndex, NodeId, PersistPosition};

/// The part a replica plays, as told to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleName {
    /// A voter that follows.
    Follower,
    /// Asks whether a campaign would succeed.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
    /// Follows without counting.
    Learner,
}

#[derive(Clone, Debug, Hash)]
pub(crate) enum Role {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Follower {
    pub(crate) leader: Option<NodeId>,
    pub(crate) timer: ElectionTimer,
    /// Only while there is a leader to ask.
    pub(crate) reads: ForwardedReads,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct PreCandidate {
    pub(crate) votes: BTreeMap<NodeId, bool>,
    pub(crate) timer: ElectionTimer,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Candidate {
    pub(crate) votes: BTreeMap<NodeId, bool>,
    pub(crate) timer: ElectionTimer,
    /// The own vote counts once this is durable.
    pub(crate) own_vote_at: PersistPosition,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Leader {
    /// Of every other member.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    pub(crate) reads: ReadRounds,
    pub(crate) transfer: Option<Transfer>,
    /// Once its own removal is committed.
    pub(crate) departure: Option<Departure>,
    /// With a full disk: ticks until a successor that has room is looked for again, after one did not take over.
    pub(crate) room_pause: u32,
    /// For how long a better leader has been ready to take over.
    pub(crate) preferred: Option<Preferred>,
    /// With leases on.
    pub(crate) lease: Option<Lease>,
    /// The first entry of the own term.
    pub(crate) term_start: LogIndex,
    /// The weight of the entries after the commit index.
    pub(crate) uncommitted_bytes: usize,
    pub(crate) heartbeat_elapsed: u32,
}
