//! Handing leadership over (Raft thesis §3.10).
//!
//! The leader refuses proposals, brings its successor's log up to its own, and then asks it to campaign at once.
//! If the successor does not make it within an election timeout, the leader goes on.

use crate::messages::Message;
use crate::position::{LogIndex, NodeId};
use crate::replica::Replica;
use crate::roles::Role;

/// A transfer under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    to: NodeId,
    elapsed: u32,
    /// Ticks since the successor was asked to campaign.
    asked: Option<u32>,
}

impl Replica {
    pub(crate) fn transfer_requested(&mut self, to: Option<NodeId>) {
        let successor = match to {
            Some(to) => Some(to).filter(|to| self.can_succeed(*to)),
            None => self.best_successor(),
        };
        let (Role::Leader(leader), Some(to)) = (&mut self.role, successor) else {
            return;
        };
        if leader.transfer.is_none_or(|transfer| transfer.to != to) {
            leader.transfer = Some(Transfer {
                to,
                elapsed: 0,
                asked: None,
            });
        }
    }

    fn can_succeed(&self, id: NodeId) -> bool {
        id != self.config.id && self.memberships.latest().is_voter(id)
    }

    /// The voter with the longest log, preferring one that was heard of lately.
    pub(crate) fn best_successor(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        leader
            .progress
            .iter()
            .filter(|(id, _)| self.can_succeed(**id))
            .max_by_key(|(_, progress)| (progress.recently_active, progress.match_index()))
            .map(|(id, _)| *id)
    }

    pub(crate) fn tick_transfer(&mut self) {
        let election_ticks_max = self.config.election_ticks_max;
        let heartbeat_ticks = self.config.heartbeat_ticks;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(transfer) = &mut leader.transfer else {
            return;
        };
        transfer.elapsed += 1;
        // The request may be lost: repeat it.
        transfer.asked = transfer
            .asked
            .map(|ago| ago + 1)
            .filter(|ago| *ago < heartbeat_ticks);
        if transfer.elapsed >= election_ticks_max {
            leader.transfer = None;
        }
    }

    /// Asks the successor to campaign once its log is complete.
    pub(crate) fn advance_transfer(&mut self) {
        let last = self.log.last_index();
        let gone = match &self.role {
            Role::Leader(leader) => leader.transfer.is_some_and(|t| !self.can_succeed(t.to)),
            _ => false,
        };
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if gone {
            leader.transfer = None;
        }
        let Some(transfer) = &mut leader.transfer else {
            return;
        };
        let reached = leader
            .progress
            .get(&transfer.to)
            .and_then(|progress| progress.match_index());
        if transfer.asked.is_none() && reached == Some(last) {
            transfer.asked = Some(0);
            let to = transfer.to;
            self.send_now(to, Message::TimeoutNow);
        }
    }

    /// Gives up leadership at once, asking the best successor to campaign.
    pub(crate) fn abdicate(&mut self) {
        if let Some(to) = self.best_successor() {
            self.send_now(to, Message::TimeoutNow);
        }
        self.become_follower(self.term, None);
    }

    /// The leader asks this replica to take over.
    pub(crate) fn timeout_now(&mut self, from: NodeId) {
        let asked_by_leader =
            matches!(&self.role, Role::Follower(follower) if follower.leader == Some(from));
        if asked_by_leader && self.may_campaign() {
            self.campaign(true);
        }
    }

    /// Whether proposals must wait for a transfer.
    pub(crate) fn is_transferring(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.transfer.is_some())
    }

    /// The first entry of the leader's term, if this replica leads.
    pub(crate) fn term_start(&self) -> Option<LogIndex> {
        match &self.role {
            Role::Leader(leader) => Some(leader.term_start),
            _ => None,
        }
    }
}
