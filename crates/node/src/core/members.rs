//! Who is a member: joins, announcements, changes that an operator asks for, promotion, and being removed.
//!
//! A directory that asks is the same member each time it asks. A member that has left stays out: its id is
//! never given again, so that any member which knows a later membership can tell it so.

use std::collections::BTreeMap;

use consensus::{
    DEFAULT_PRIORITY, Entry, EntryKind, Input, Member, MembershipChange, MembershipRefusal, NodeId,
    Payload, RoleName, VOTERS_MAX,
};
use crossbeam_channel::Sender;
use peer_transport::{JoinReply, JoinRequest, PeerAddress};

use super::{Core, Outputs, answer};
use crate::config::{FEATURE_LEVEL_MEMBERSHIP, LEARNER_LAG_MAX, MemberContext};
use crate::events::{MembershipDone, MembershipOutcome, ProposeOutcome, Waiter};

/// Most peers whose own word about their address is kept.
const INTRODUCED_MAX: usize = 64;
/// Ticks for which a member that has left can still be reached after the last message for it was made, so that it
/// gets there.
const DEPARTED_TICKS: u32 = 100;

/// A member that has left and is being told so.
pub(super) struct Departed {
    address: PeerAddress,
    ticks_left: u32,
}

impl Core {
    /// Where the other members are reached, those too that have left and are still to learn of it.
    pub fn peer_addresses(&self) -> BTreeMap<NodeId, PeerAddress> {
        let committed = self.replica.committed_membership().members.iter();
        let members = committed.chain(&self.replica.membership().members);
        let departed = self.departed.iter();
        let mut addresses: BTreeMap<NodeId, PeerAddress> = departed
            .map(|(id, departed)| (*id, departed.address.clone()))
            .collect();
        addresses.extend(members.map(|(id, member)| (*id, peer_address(member))));
        addresses.extend(self.introduced.clone());
        addresses.retain(|id, address| *id != self.replica.id() && !address.0.is_empty());
        addresses
    }

    pub(super) fn introduced(&mut self, peer: NodeId, address: PeerAddress, out: &mut Outputs) {
        let known = self.peer_addresses();
        let room = self.introduced.len() < INTRODUCED_MAX || self.introduced.contains_key(&peer);
        if room && !address.0.is_empty() && known.get(&peer) != Some(&address) {
            self.introduced.insert(peer, address);
            out.status_changed = true;
        }
    }

    /// Keeps the addresses of members that leave for as long as the leader still sends to them, and no longer.
    pub(super) fn note_departures(&mut self, ticks: u32, out: &mut Outputs) {
        let departing = self.replica.departing();
        let known = self.peer_addresses();
        let before = self.departed.len();
        self.departed.retain(|id, departed| {
            departed.ticks_left = match departing.contains(id) {
                true => DEPARTED_TICKS,
                false => departed.ticks_left.saturating_sub(ticks),
            };
            departed.ticks_left > 0
        });
        out.status_changed |= before != self.departed.len();
        for id in departing {
            if let Some(address) = known.get(&id) {
                self.departed.entry(id).or_insert_with(|| Departed {
                    address: address.clone(),
                    ticks_left: DEPARTED_TICKS,
                });
            }
        }
        let members = &self.replica.membership().members;
        let next_node_id = self.replica.membership().next_node_id;
        self.introduced
            .retain(|id, _| members.contains_key(id) || id.0 >= next_node_id);
    }

    /// Whether the membership in force is committed and not joint: no change of it is under way.
    pub fn settled(&self) -> bool {
        let membership = self.replica.membership();
        membership.outgoing.is_none() && membership == self.replica.committed_membership()
    }

    /// Whether this replica was a member and, as far as is committed, is none any more.
    pub fn removed(&self) -> bool {
        self.told_removed || self.has_left(self.replica.id())
    }

    /// Somebody who knows said that this replica was removed.
    pub(super) fn told_removed(&mut self, out: &mut Outputs) {
        out.status_changed |= !self.told_removed;
        self.told_removed = true;
    }

    /// Whether `id` was given to a member that has left. Ids are never given twice, so once true it stays true,
    /// whatever became of this replica meanwhile.
    fn has_left(&self, id: NodeId) -> bool {
        let committed = self.replica.committed_membership();
        id.0 < committed.next_node_id && !committed.members.contains_key(&id)
    }

    /// What every member reads: the least of their feature levels, and whose it is.
    pub fn feature_level(&self) -> (u32, Option<NodeId>) {
        self.feature_level_without(None)
    }

    /// The same, but for one whose program does not matter any more.
    fn feature_level_without(&self, gone: Option<NodeId>) -> (u32, Option<NodeId>) {
        let members = self.replica.membership().members.iter();
        let levels = members
            .filter(|(id, _)| Some(**id) != gone)
            .map(|(id, member)| {
                let level = MemberContext::decode(&member.context).feature_level;
                (level, Some(*id))
            });
        levels.min().unwrap_or((self.feature_level, None))
    }

    /// A directory asks to become a member, or a member says where it is reached now.
    pub(super) fn join(
        &mut self,
        request: JoinRequest,
        reply: Sender<JoinReply>,
        inputs: &mut Vec<Input>,
        out: &mut Outputs,
    ) {
        let decided = self.judge_join(&request, out);
        let change = match decided {
            Ok(change) => change,
            Err(answer) => {
                let say = move || drop(reply.try_send(answer));
                out.answers.push(Box::new(say));
                return;
            }
        };
        let waiter = Waiter::Join {
            directory: request.directory_id,
            reply,
        };
        self.ask(change, waiter, inputs);
    }

    /// The change that a join needs, or the answer when it needs none or cannot be had.
    fn judge_join(
        &mut self,
        request: &JoinRequest,
        out: &mut Outputs,
    ) -> Result<MembershipChange, JoinReply> {
        if let Some(theirs) = request.cluster_id.filter(|id| *id != self.cluster_id) {
            let (theirs, ours) = (crate::hex(&theirs), crate::hex(&self.cluster_id));
            let reason =
                format!("it belongs to cluster {theirs}, this member belongs to cluster {ours}");
            return Err(JoinReply::Refused { reason });
        }
        let context = MemberContext::decode(&request.context);
        if let Some(id) = request.member {
            if self.has_left(id) {
                return Err(JoinReply::Removed {
                    reason: removed_text(id),
                });
            }
            let directory = self.replica.membership().members.get(&id).map(directory_of);
            if directory == Some(request.directory_id) {
                // Known at once, whoever leads: members that all moved find each other by it.
                let address = PeerAddress(context.addresses.peer.clone());
                self.introduced(id, address, out);
            }
        }
        if self.replica.role() != RoleName::Leader || self.stopping {
            return Err(self.elsewhere());
        }
        let members = &self.replica.membership().members;
        let known = members
            .iter()
            .find(|(_, member)| directory_of(member) == request.directory_id);
        match (known, request.member) {
            (Some((id, member)), _) => self.update(*id, member, request, &context),
            (None, Some(id)) => Err(unknown_directory(id, members.contains_key(&id))),
            (None, None) => self.admit(request, &context),
        }
    }

    fn elsewhere(&self) -> JoinReply {
        let leader = self.replica.leader();
        let known = leader.and_then(|id| self.peer_addresses().remove(&id));
        match known {
            Some(leader) if self.replica.role() != RoleName::Leader => {
                JoinReply::Redirect { leader }
            }
            _ => JoinReply::NotNow {
                reason: "the cluster has no leader at the moment".to_owned(),
            },
        }
    }

    fn update(
        &self,
        id: NodeId,
        member: &Member,
        request: &JoinRequest,
        context: &MemberContext,
    ) -> Result<MembershipChange, JoinReply> {
        let priority = self.priority_for(context);
        if *member.context == *request.context && member.priority == priority {
            let committed = self.replica.committed_membership().members.get(&id);
            if committed == Some(member) {
                return Err(self.accepted(id));
            }
            // Should it come to nothing, the id is another directory's.
            return Err(JoinReply::NotNow {
                reason: "a majority has not confirmed its admission yet".to_owned(),
            });
        }
        Ok(MembershipChange::UpdateContext {
            id,
            context: Payload::from(&request.context[..]),
            priority,
        })
    }

    fn admit(
        &self,
        request: &JoinRequest,
        context: &MemberContext,
    ) -> Result<MembershipChange, JoinReply> {
        let (level, _) = self.feature_level();
        if context.feature_level < level {
            let reason = format!(
                "this cluster uses features of level {level}, the joining program knows level {}; start a newer version of it",
                context.feature_level
            );
            return Err(JoinReply::Refused { reason });
        }
        let membership = self.replica.membership();
        let id = NodeId(membership.next_node_id);
        let payload = Payload::from(&request.context[..]);
        let priority = self.priority_for(context);
        let Some(removes) = self.predecessor(request, context) else {
            return Ok(MembershipChange::AddLearner {
                id,
                context: payload,
                priority,
            });
        };
        let connected = removes == self.replica.id()
            || self
                .replica
                .progress()
                .get(&removes)
                .is_some_and(|progress| progress.recently_active);
        if connected {
            let reason = format!(
                "member {}, whose place it would take, was heard of a moment ago; stop that one if it still runs",
                removes.0
            );
            return Err(JoinReply::NotNow { reason });
        }
        // The lost member's own program reads nothing any more.
        if self.feature_level_without(Some(removes)).0 < FEATURE_LEVEL_MEMBERSHIP {
            // In two steps, which every version knows: whoever joins asks again and finds the place free.
            return Ok(MembershipChange::Remove(removes));
        }
        Ok(MembershipChange::Replace {
            id,
            context: payload,
            priority,
            removes,
        })
    }

    /// The member whose place a new directory takes: the one it names, or the one that was reached at its address, whose
    /// directory must be gone.
    fn predecessor(&self, request: &JoinRequest, context: &MemberContext) -> Option<NodeId> {
        let members = &self.replica.membership().members;
        if let Some(named) = request.replaces {
            return members.contains_key(&named).then_some(named);
        }
        let address = &context.addresses.peer;
        let same = |member: &Member| !address.is_empty() && peer_address(member).0 == *address;
        members
            .iter()
            .find(|(_, member)| same(member))
            .map(|(id, _)| *id)
    }

    /// The election priority a member asks for, once all members read it.
    fn priority_for(&self, context: &MemberContext) -> u32 {
        match self.feature_level().0 {
            FEATURE_LEVEL_MEMBERSHIP.. => context.priority,
            _ => DEFAULT_PRIORITY,
        }
    }

    fn accepted(&self, id: NodeId) -> JoinReply {
        let context = crate::entry_codec::encode_membership(self.replica.membership());
        JoinReply::Accepted {
            cluster_id: self.cluster_id,
            node_id: id,
            context,
        }
    }

    /// A change that an operator asks for.
    pub(super) fn change_membership(
        &mut self,
        change: MembershipChange,
        done: MembershipDone,
        inputs: &mut Vec<Input>,
        out: &mut Outputs,
    ) {
        let refused = if self.stopping {
            Some(MembershipOutcome::Stopping)
        } else if self.replica.role() != RoleName::Leader {
            let leader = self.replica.leader();
            Some(MembershipOutcome::NotLeader { leader })
        } else {
            self.too_new(&change)
        };
        if let Some(outcome) = refused {
            out.answers.push(Box::new(move || done(outcome)));
            return;
        }
        self.ask(change, Waiter::Change(done), inputs);
    }

    /// A change in a form that some member could not read.
    fn too_new(&self, change: &MembershipChange) -> Option<MembershipOutcome> {
        let needs = match change {
            MembershipChange::AddLearner { priority, .. }
            | MembershipChange::UpdateContext { priority, .. } => *priority != DEFAULT_PRIORITY,
            MembershipChange::Promote(_) | MembershipChange::Remove(_) => false,
            MembershipChange::Replace { .. } | MembershipChange::Reconfigure { .. } => true,
        };
        let (level, oldest) = self.feature_level();
        (needs && level < FEATURE_LEVEL_MEMBERSHIP).then(|| MembershipOutcome::TooOld {
            member: oldest.unwrap_or(self.replica.id()),
            level,
            needed: FEATURE_LEVEL_MEMBERSHIP,
        })
    }

    /// A learner that has caught up becomes a voter without anybody asking.
    pub(super) fn promote_caught_up_learner(&mut self, inputs: &mut Vec<Input>) {
        if !self.writable() {
            return;
        }
        let membership = self.replica.membership();
        let nothing_to_do = membership.members.len() == membership.voters.len()
            || membership.voters.len() >= VOTERS_MAX;
        if nothing_to_do || !self.settled() || !self.asked.is_empty() {
            return;
        }
        let last = self.replica.last().index.0;
        let caught_up = self.replica.progress().into_iter().find(|(id, progress)| {
            membership.is_learner(*id)
                && progress.recently_active
                && progress
                    .match_index
                    .is_some_and(|index| index.0 + LEARNER_LAG_MAX >= last)
        });
        if let Some((learner, _)) = caught_up {
            self.ask(MembershipChange::Promote(learner), Waiter::Nobody, inputs);
        }
    }

    /// Consensus refused a change of the members.
    pub(super) fn refuse(&mut self, waiter: Waiter, refusal: MembershipRefusal, out: &mut Outputs) {
        match waiter {
            Waiter::Join { reply, .. } => {
                let reason = format!("the membership cannot be changed now: {refusal}");
                let say = move || drop(reply.try_send(JoinReply::NotNow { reason }));
                out.answers.push(Box::new(say));
            }
            Waiter::Change(done) => out
                .answers
                .push(Box::new(move || done(MembershipOutcome::Refused(refusal)))),
            Waiter::Client(_) | Waiter::Nobody => {}
        }
    }

    /// Whoever asked for a change that goes through a joint membership is answered by the one after it.
    pub(super) fn hand_on(&mut self, entry: &Entry, waiter: Waiter, out: &mut Outputs) -> Waiter {
        let EntryKind::Membership(membership) = &entry.kind else {
            return waiter;
        };
        let earlier = std::mem::replace(&mut self.joint, Waiter::Nobody);
        if membership.outgoing.is_some() {
            answer(earlier, ProposeOutcome::Unknown, out);
            self.joint = waiter;
            return Waiter::Nobody;
        }
        match waiter {
            Waiter::Nobody => earlier,
            waiter => {
                answer(earlier, ProposeOutcome::Unknown, out);
                waiter
            }
        }
    }
}

fn directory_of(member: &Member) -> [u8; 16] {
    MemberContext::decode(&member.context).directory
}

fn peer_address(member: &Member) -> PeerAddress {
    PeerAddress(MemberContext::decode(&member.context).addresses.peer)
}

/// A member's announcement from a directory that the membership does not show.
fn unknown_directory(id: NodeId, id_in_use: bool) -> JoinReply {
    if id_in_use {
        let reason = format!(
            "member {} has another data directory; was this one copied or restored from a copy? \
             Start with an empty --data-dir and --join",
            id.0
        );
        return JoinReply::Refused { reason };
    }
    JoinReply::NotNow {
        reason: format!("this member has not heard of a member {} yet", id.0),
    }
}

/// What a removed member is told, and its operator.
pub fn removed_text(id: NodeId) -> String {
    format!(
        "member {} was removed from the cluster; to add this machine again, start it with an empty --data-dir and --join",
        id.0
    )
}

#[cfg(test)]
mod tests;
