//! What each change makes of a membership, and when it is refused. Pure.

use std::collections::BTreeSet;

use crate::membership::{Member, Membership, MembershipChange, MembershipRefusal, VOTERS_MAX};
use crate::position::{NodeId, Payload};

impl Membership {
    /// The membership after `change`: a joint one if more than one voter changes.
    ///
    /// # Errors
    /// The reason, when the change makes no sense for this membership.
    pub fn changed(&self, change: &MembershipChange) -> Result<Membership, MembershipRefusal> {
        if self.is_joint() {
            return Err(MembershipRefusal::ChangeInProgress);
        }
        let mut next = self.clone();
        match change {
            MembershipChange::AddLearner {
                id,
                context,
                priority,
            } => next.add_learner(*id, context, *priority)?,
            MembershipChange::Promote(id) => next.promote(*id)?,
            MembershipChange::Remove(id) => next.remove(*id)?,
            MembershipChange::UpdateContext {
                id,
                context,
                priority,
            } => {
                self.require_member(*id)?;
                next.set_member(*id, context, *priority);
            }
            MembershipChange::Replace {
                id,
                context,
                priority,
                removes,
            } => {
                next.add_learner(*id, context, *priority)?;
                next.remove(*removes)?;
            }
            MembershipChange::Reconfigure { promote, remove } => {
                next.reconfigure(promote, remove)?;
            }
        }
        if next.voters.len() > VOTERS_MAX {
            return Err(MembershipRefusal::TooManyVoters);
        }
        if !next.voters.iter().any(|id| next.priority(*id) > 0) {
            return Err(MembershipRefusal::NobodyCampaigns);
        }
        Ok(next)
    }

    /// What follows a joint membership: the new half alone. Whoever counted only in the old half is no member any more.
    #[must_use]
    pub fn left_joint(&self) -> Option<Membership> {
        let outgoing = self.outgoing.as_ref()?;
        let mut next = self.clone();
        next.members
            .retain(|id, _| self.voters.contains(id) || !outgoing.contains(id));
        next.outgoing = None;
        Some(next)
    }

    fn add_learner(
        &mut self,
        id: NodeId,
        context: &Payload,
        priority: u32,
    ) -> Result<(), MembershipRefusal> {
        if self.members.contains_key(&id) {
            return Err(MembershipRefusal::AlreadyMember(id));
        }
        let lowest_free = NodeId(self.next_node_id);
        if id < lowest_free || id.0 == u64::MAX {
            return Err(MembershipRefusal::IdAlreadyUsed { id, lowest_free });
        }
        self.set_member(id, context, priority);
        self.next_node_id = id.0 + 1;
        Ok(())
    }

    fn set_member(&mut self, id: NodeId, context: &Payload, priority: u32) {
        let context = Payload::clone(context);
        self.members.insert(id, Member { context, priority });
    }

    fn promote(&mut self, id: NodeId) -> Result<(), MembershipRefusal> {
        self.require_member(id)?;
        if !self.voters.insert(id) {
            return Err(MembershipRefusal::AlreadyVoter(id));
        }
        Ok(())
    }

    fn remove(&mut self, id: NodeId) -> Result<(), MembershipRefusal> {
        self.require_member(id)?;
        self.voters.remove(&id);
        if self.voters.is_empty() {
            return Err(MembershipRefusal::LastVoter(id));
        }
        self.members.remove(&id);
        Ok(())
    }

    fn reconfigure(
        &mut self,
        promote: &BTreeSet<NodeId>,
        remove: &BTreeSet<NodeId>,
    ) -> Result<(), MembershipRefusal> {
        if promote.is_empty() && remove.is_empty() {
            return Err(MembershipRefusal::NothingToChange);
        }
        if let Some(both) = promote.intersection(remove).next() {
            return Err(MembershipRefusal::PromotedAndRemoved(*both));
        }
        let before = self.clone();
        for id in promote {
            self.promote(*id)?;
        }
        for id in remove {
            self.remove(*id)?;
        }
        if before.voters.symmetric_difference(&self.voters).count() > 1 {
            // Those that leave stay members while their half still counts.
            for id in &before.voters {
                self.members.insert(*id, before.members[id].clone());
            }
            self.outgoing = Some(before.voters);
        }
        Ok(())
    }

    fn require_member(&self, id: NodeId) -> Result<(), MembershipRefusal> {
        if self.members.contains_key(&id) {
            Ok(())
        } else {
            Err(MembershipRefusal::UnknownMember(id))
        }
    }
}
