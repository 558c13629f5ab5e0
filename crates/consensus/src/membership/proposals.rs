//! Membership changes on the leader: when one may be proposed, and what follows at once and once it is committed.

use std::collections::BTreeSet;

use crate::effects::ProposalResult;
use crate::log_replication::progress::Progress;
use crate::membership::{Membership, MembershipChange, MembershipRefusal};
use crate::position::{EntryKind, LogIndex, LogPosition, NodeId, ProposalId};
use crate::replica::Replica;
use crate::roles::Role;

/// A learner that lacks more entries than this is not promoted.
const PROMOTION_LAG_ENTRIES_MAX: u64 = 1_000;

impl Replica {
    pub(crate) fn propose_membership(&mut self, id: ProposalId, change: &MembershipChange) {
        let result = if !matches!(self.role, Role::Leader(_)) {
            ProposalResult::NotLeader {
                leader: self.leader(),
            }
        } else if self.transferring() {
            ProposalResult::NotLeader { leader: None }
        } else {
            match self.change_membership(change) {
                Ok(position) => ProposalResult::Accepted(position),
                Err(refusal) => ProposalResult::Refused(refusal),
            }
        };
        self.out.proposals.push((id, result));
    }

    /// One change at a time, and none before the leader has committed an entry of its term: otherwise two
    /// leaders could each commit with majorities that do not meet (the correction to Raft thesis §4.1).
    fn change_membership(
        &mut self,
        change: &MembershipChange,
    ) -> Result<LogPosition, MembershipRefusal> {
        if self.term_start().is_none_or(|start| self.commit < start) {
            return Err(MembershipRefusal::LeaderNotReady);
        }
        if self.memberships.latest_index() > self.commit {
            return Err(MembershipRefusal::ChangeInProgress);
        }
        let latest = self.memberships.latest();
        let next = latest.changed(change)?;
        if next.voters != latest.voters {
            self.require_caught_up(next.voters.difference(&latest.voters))?;
            self.require_quorum(&next.voters)?;
        }
        Ok(self.append_membership(next))
    }

    /// A voter that lacks much of the log would hold up every commit that needs it.
    fn require_caught_up<'a>(
        &self,
        promoted: impl Iterator<Item = &'a NodeId>,
    ) -> Result<(), MembershipRefusal> {
        let Role::Leader(leader) = &self.role else {
            return Ok(());
        };
        let needed = LogIndex(self.commit.0.saturating_sub(PROMOTION_LAG_ENTRIES_MAX));
        for id in promoted {
            let reached = leader.progress.get(id).and_then(Progress::match_index);
            if reached.is_none_or(|reached| reached < needed) {
                return Err(MembershipRefusal::NotCaughtUp(*id));
            }
        }
        Ok(())
    }

    /// Those who would decide must be there to do so: a change whose majority is away could not even be undone.
    fn require_quorum(&self, voters: &BTreeSet<NodeId>) -> Result<(), MembershipRefusal> {
        let Role::Leader(leader) = &self.role else {
            return Ok(());
        };
        let active = |id: &&NodeId| {
            let progress = leader.progress.get(id);
            **id == self.config.id || progress.is_some_and(|p| p.is_recently_active(&self.config))
        };
        let reachable = voters.iter().filter(active).count();
        let needed = voters.len() / 2 + 1;
        if reachable < needed {
            return Err(MembershipRefusal::WouldLoseQuorum { reachable, needed });
        }
        Ok(())
    }

    fn append_membership(&mut self, next: Membership) -> LogPosition {
        let position = self.append_own(EntryKind::Membership(next));
        self.follow_members();
        position
    }

    /// Progress is kept of the other members, and for a while of those that leave.
    fn follow_members(&mut self) {
        let own = self.config.id;
        let next = self.log.last_index().next();
        let in_force_at = self.memberships.latest_index();
        let members = &self.memberships.latest().members;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        for (id, progress) in &mut leader.progress {
            if !members.contains_key(id) && progress.departs_at.is_none() {
                progress.departs_at = Some(in_force_at);
            }
        }
        for id in members.keys().filter(|id| **id != own) {
            let new = || Progress::new(next);
            leader.progress.entry(*id).or_insert_with(new);
        }
    }

    /// Once the membership in force is committed, a joint one is left (Raft §6), and a leader that does not count in it
    /// hands over for good. A new leader does so for its predecessor, once it has committed an entry of its own term.
    pub(crate) fn follow_committed_membership(&mut self) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        if self.memberships.latest_index() > self.commit || leader.term_start > self.commit {
            return;
        }
        let transferring = leader.transfer.is_some();
        let latest = self.memberships.latest();
        if let Some(next) = latest.left_joint() {
            // A successor that was just asked to take over leaves it instead.
            if !transferring {
                self.append_membership(next);
            }
        } else if !latest.is_voter(self.config.id) {
            self.hand_over_for_good();
        }
    }
}
