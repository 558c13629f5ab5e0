//! Membership changes on the leader: when one may be proposed, and what follows at once.

use crate::effects::ProposalResult;
use crate::log_replication::progress::Progress;
use crate::membership::{MembershipChange, MembershipRefusal};
use crate::position::{EntryKind, ProposalId};
use crate::replica::Replica;
use crate::roles::Role;

impl Replica {
    pub(crate) fn propose_membership(&mut self, id: ProposalId, change: &MembershipChange) {
        let result = if !matches!(self.role, Role::Leader(_)) {
            ProposalResult::NotLeader {
                leader: self.leader(),
            }
        } else if self.is_transferring() {
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
    ) -> Result<crate::position::LogPosition, MembershipRefusal> {
        if self.term_start().is_none_or(|start| self.commit < start) {
            return Err(MembershipRefusal::LeaderNotReady);
        }
        if self.memberships.latest_index() > self.commit {
            return Err(MembershipRefusal::ChangeInProgress);
        }
        let next = self.memberships.latest().changed(change)?;
        let position = self.append_own(EntryKind::Membership(next));
        self.follow_members();
        Ok(position)
    }

    /// Progress is kept of exactly the other members.
    fn follow_members(&mut self) {
        let own = self.config.id;
        let next = self.log.last_index().next();
        let members = &self.memberships.latest().members;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        leader.progress.retain(|id, _| members.contains_key(id));
        for id in members.keys().filter(|id| **id != own) {
            leader.progress.entry(*id).or_insert_with(|| {
                let mut progress = Progress::new(next);
                // Given the time of one check of the quorum to make itself heard.
                progress.recently_active = true;
                progress
            });
        }
    }
}
