//! Who belongs to the cluster, and who counts.
//!
//! A membership takes effect when its entry is appended, committed or not, and is rolled back when the entry is
//! truncated (Raft thesis §4.1). A quorum is a majority of `voters`, and of `outgoing` too while a
//! joint membership is in force.

mod change;
pub(crate) mod history;
mod proposals;
pub(crate) mod quorum;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::position::{NodeId, Payload};

/// The largest number of voters.
pub const VOTERS_MAX: usize = 7;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Opaque to consensus: the host's addresses.
    pub context: Payload,
}

/// The members of the cluster. Learners are the members that are in neither half of the voters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// All members: voters and learners.
    pub members: BTreeMap<NodeId, Member>,
    /// Those whose majority decides.
    pub voters: BTreeSet<NodeId>,
    /// While joint: the former voters, whose majority must agree as well.
    pub outgoing: Option<BTreeSet<NodeId>>,
    /// The lowest id never given to any member.
    pub next_node_id: u64,
}

/// A change of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new member that receives the log but does not count.
    AddLearner {
        /// Its id, never used before.
        id: NodeId,
        /// Its addresses.
        context: Payload,
    },
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A member leaves.
    Remove(NodeId),
    /// A member's addresses change.
    UpdateContext {
        /// Which member.
        id: NodeId,
        /// Its new addresses.
        context: Payload,
    },
}

/// Why a membership change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipRefusal {
    /// The change before it is not committed yet: try again.
    ChangeInProgress,
    /// The leader has not yet committed an entry of its own term: try again.
    LeaderNotReady,
    /// The id belongs to no member.
    UnknownMember(NodeId),
    /// The id belongs to a member already.
    AlreadyMember(NodeId),
    /// The member votes already.
    AlreadyVoter(NodeId),
    /// The id was given out before; the lowest free one is named.
    IdAlreadyUsed {
        /// The id asked for.
        id: NodeId,
        /// The lowest id never used.
        lowest_free: NodeId,
    },
    /// The last voter cannot be removed.
    LastVoter(NodeId),
    /// The cluster has [`VOTERS_MAX`] voters.
    TooManyVoters,
}

impl fmt::Display for MembershipRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangeInProgress => {
                write!(
                    f,
                    "another membership change is not committed yet; try again"
                )
            }
            Self::LeaderNotReady => {
                write!(
                    f,
                    "the leader has not committed an entry of its term yet; try again"
                )
            }
            Self::UnknownMember(id) => write!(f, "{id} is not a member"),
            Self::AlreadyMember(id) => write!(f, "{id} is a member already"),
            Self::AlreadyVoter(id) => write!(f, "{id} is a voter already"),
            Self::IdAlreadyUsed { id, lowest_free } => {
                write!(
                    f,
                    "{id} was given out before and ids are never reused; the lowest free one is {lowest_free}"
                )
            }
            Self::LastVoter(id) => write!(f, "{id} is the last voter and cannot be removed"),
            Self::TooManyVoters => write!(
                f,
                "the cluster has {VOTERS_MAX} voters, the most it can have"
            ),
        }
    }
}

impl std::error::Error for MembershipRefusal {}

/// The membership of a new cluster of one voter.
#[must_use]
pub fn bootstrap(id: NodeId, context: Payload) -> Membership {
    Membership {
        members: BTreeMap::from([(
            id,
            Member {
                context: Arc::clone(&context),
            },
        )]),
        voters: BTreeSet::from([id]),
        outgoing: None,
        next_node_id: id.0 + 1,
    }
}

impl Membership {
    /// What the membership is taken to weigh in limits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const MEMBER_BYTES: usize = 32;
        self.members
            .values()
            .map(|member| MEMBER_BYTES + member.context.len())
            .sum()
    }
}

#[cfg(test)]
mod tests;
