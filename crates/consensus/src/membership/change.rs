//! One-member changes: what each does, and when it is refused. Pure.

use crate::membership::{Member, Membership, MembershipChange, MembershipRefusal, VOTERS_MAX};
use crate::position::NodeId;

impl Membership {
    /// The membership after `change`.
    ///
    /// # Errors
    /// The reason, when the change makes no sense for this membership.
    pub fn changed(&self, change: &MembershipChange) -> Result<Membership, MembershipRefusal> {
        if self.outgoing.is_some() {
            return Err(MembershipRefusal::ChangeInProgress);
        }
        let mut next = self.clone();
        match change {
            MembershipChange::AddLearner { id, context } => {
                if self.members.contains_key(id) {
                    return Err(MembershipRefusal::AlreadyMember(*id));
                }
                let lowest_free = NodeId(self.next_node_id);
                if *id < lowest_free || id.0 == u64::MAX {
                    return Err(MembershipRefusal::IdAlreadyUsed {
                        id: *id,
                        lowest_free,
                    });
                }
                next.members.insert(
                    *id,
                    Member {
                        context: context.clone(),
                    },
                );
                next.next_node_id = id.0 + 1;
            }
            MembershipChange::Promote(id) => {
                self.require_member(*id)?;
                if self.voters.contains(id) {
                    return Err(MembershipRefusal::AlreadyVoter(*id));
                }
                if self.voters.len() >= VOTERS_MAX {
                    return Err(MembershipRefusal::TooManyVoters);
                }
                next.voters.insert(*id);
            }
            MembershipChange::Remove(id) => {
                self.require_member(*id)?;
                if self.voters.contains(id) && self.voters.len() == 1 {
                    return Err(MembershipRefusal::LastVoter(*id));
                }
                next.members.remove(id);
                next.voters.remove(id);
            }
            MembershipChange::UpdateContext { id, context } => {
                self.require_member(*id)?;
                next.members.insert(
                    *id,
                    Member {
                        context: context.clone(),
                    },
                );
            }
        }
        Ok(next)
    }

    fn require_member(&self, id: NodeId) -> Result<(), MembershipRefusal> {
        if self.members.contains_key(&id) {
            Ok(())
        } else {
            Err(MembershipRefusal::UnknownMember(id))
        }
    }
}
