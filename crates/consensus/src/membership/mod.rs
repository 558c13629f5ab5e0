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

use crate::position::{NodeId, Payload};

/// The largest number of voters.
pub const VOTERS_MAX: usize = 7;

/// The election priority of a member that was given none.
pub const DEFAULT_PRIORITY: u32 = 1;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Opaque to consensus: the host's addresses.
    pub context: Payload,
    /// Who leads if it can: voters of a higher priority campaign sooner and are handed leadership. One of priority 0 does not
    /// campaign, unless its log is the only one that can win, and then leads only until another has caught up.
    pub priority: u32,
}

impl Member {
    /// A member of the default priority.
    #[must_use]
    pub fn new(context: Payload) -> Member {
        Member {
            context,
            priority: DEFAULT_PRIORITY,
        }
    }
}

/// The members of the cluster. Learners are the members that are in neither half of the voters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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

/// A change of the members. All but [`MembershipChange::Reconfigure`] change at most one voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new member that receives the log but does not count.
    AddLearner {
        /// Its id, never used before.
        id: NodeId,
        /// Its addresses.
        context: Payload,
        /// Its election priority, once it votes.
        priority: u32,
    },
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A member leaves.
    Remove(NodeId),
    /// A member's addresses or priority change.
    UpdateContext {
        /// Which member.
        id: NodeId,
        /// Its new addresses.
        context: Payload,
        /// Its new election priority.
        priority: u32,
    },
    /// A member that lost its data leaves, and what took its place comes in as a learner.
    Replace {
        /// The new learner's id, never used before.
        id: NodeId,
        /// Its addresses.
        context: Payload,
        /// Its election priority, once it votes.
        priority: u32,
        /// The member that leaves.
        removes: NodeId,
    },
    /// Learners become voters and members leave, all at once. When more than one voter changes a joint membership
    /// comes first, which the leader leaves by itself once it is committed.
    Reconfigure {
        /// Learners that become voters.
        promote: BTreeSet<NodeId>,
        /// Members that leave.
        remove: BTreeSet<NodeId>,
    },
}

/// Why a membership change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipRefusal {
    /// The change before it is not committed yet, or a joint membership is still in force: try again.
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
    /// The cluster would have more than [`VOTERS_MAX`] voters.
    TooManyVoters,
    /// The learner's log is too far behind for it to vote: try again.
    NotCaughtUp(NodeId),
    /// Too few of those who would decide afterwards were heard of lately.
    WouldLoseQuorum {
        /// Voters of the new membership that were heard of lately, the leader included if it stays.
        reachable: usize,
        /// The majority of the new membership.
        needed: usize,
    },
    /// The member is to be promoted and removed at once.
    PromotedAndRemoved(NodeId),
    /// No voter would have an election priority above 0, so nobody would ever campaign.
    NobodyCampaigns,
    /// The change names nobody.
    NothingToChange,
}

impl fmt::Display for MembershipRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangeInProgress => {
                f.write_str("another membership change is not committed yet; try again")
            }
            Self::LeaderNotReady => {
                f.write_str("the leader has not committed an entry of its term yet; try again")
            }
            Self::UnknownMember(id) => write!(f, "{id} is not a member"),
            Self::AlreadyMember(id) => write!(f, "{id} is a member already"),
            Self::AlreadyVoter(id) => write!(f, "{id} is a voter already"),
            Self::IdAlreadyUsed { id, lowest_free } => write!(
                f,
                "{id} was given out before and ids are never reused; the lowest free one is {lowest_free}"
            ),
            Self::LastVoter(id) => write!(f, "{id} is the last voter and cannot be removed"),
            Self::TooManyVoters => write!(
                f,
                "the cluster would have more than {VOTERS_MAX} voters, the most it can have"
            ),
            Self::NotCaughtUp(id) => write!(
                f,
                "{id} is still catching up and cannot vote yet; try again when its log is near the leader's"
            ),
            Self::WouldLoseQuorum { reachable, needed } => write!(
                f,
                "the new membership needs {needed} voters to decide but only {reachable} of its voters are reachable; \
                 bring voters back, or remove the unreachable ones first"
            ),
            Self::PromotedAndRemoved(id) => {
                write!(f, "{id} cannot be promoted and removed at once")
            }
            Self::NobodyCampaigns => f.write_str(
                "no voter would have an election priority above 0, so nobody would ever lead",
            ),
            Self::NothingToChange => f.write_str("the change names no member"),
        }
    }
}

impl std::error::Error for MembershipRefusal {}

/// The membership of a new cluster of one voter.
#[must_use]
pub fn bootstrap(id: NodeId, context: Payload) -> Membership {
    Membership {
        members: BTreeMap::from([(id, Member::new(context))]),
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
