//! The arithmetic of majorities. In a joint membership both halves must agree.

use std::collections::BTreeSet;

use crate::membership::Membership;
use crate::position::{LogIndex, NodeId};

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteOutcome {
    /// A quorum is in favour.
    Won,
    /// A quorum in favour is no longer possible.
    Lost,
    /// Either may still happen.
    Pending,
}

fn majority(voters: &BTreeSet<NodeId>) -> usize {
    voters.len() / 2 + 1
}

impl Membership {
    fn halves(&self) -> impl Iterator<Item = &BTreeSet<NodeId>> {
        std::iter::once(&self.voters).chain(self.outgoing.as_ref())
    }

    /// Whether two halves must agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.outgoing.is_some()
    }

    /// The election priority of a member; 0 of anybody else.
    #[must_use]
    pub fn priority(&self, id: NodeId) -> u32 {
        self.members.get(&id).map_or(0, |member| member.priority)
    }

    /// Whether `id` counts, in either half.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.halves().any(|half| half.contains(&id))
    }

    /// Whether `id` is a member that does not count.
    #[must_use]
    pub fn is_learner(&self, id: NodeId) -> bool {
        self.members.contains_key(&id) && !self.is_voter(id)
    }

    /// All that count, in either half.
    #[must_use]
    pub fn all_voters(&self) -> BTreeSet<NodeId> {
        self.halves().flatten().copied().collect()
    }

    /// Whether those for which `agrees` holds are a quorum. Nobody is a quorum of no voters.
    pub fn has_quorum(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.halves()
            .all(|half| half.iter().filter(|id| agrees(**id)).count() >= majority(half))
    }

    /// The highest index that a quorum has reached.
    pub(crate) fn quorum_index(&self, reached: impl Fn(NodeId) -> LogIndex) -> LogIndex {
        self.halves()
            .map(|half| {
                let mut indexes: Vec<LogIndex> = half.iter().map(|id| reached(*id)).collect();
                indexes.sort_unstable();
                indexes
                    .len()
                    .checked_sub(majority(half))
                    .map_or(LogIndex(0), |nth| indexes[nth])
            })
            .min()
            .unwrap_or_default()
    }

    /// How a vote stands when `vote` tells what each voter answered.
    pub(crate) fn vote_outcome(&self, vote: impl Fn(NodeId) -> Option<bool>) -> VoteOutcome {
        if self.has_quorum(|id| vote(id) == Some(true)) {
            VoteOutcome::Won
        } else if self.has_quorum(|id| vote(id) != Some(false)) {
            VoteOutcome::Pending
        } else {
            VoteOutcome::Lost
        }
    }
}
