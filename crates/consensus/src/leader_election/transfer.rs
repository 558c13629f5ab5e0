//! Handing leadership over (Raft thesis §3.10).
//!
//! The leader refuses proposals, brings its successor's log up to its own, and then asks it to campaign at once.
//! If the successor does not make it within an election timeout, the leader goes on. A leader whose removal is committed
//! does not: it first waits until all that it took is committed, so that it can still answer for it, tries one
//! successor after another, and in the end steps down without one.

use crate::leader_election::room::ROOM_PAUSE_ELECTION_TIMEOUTS;
use crate::messages::Message;
use crate::position::{LogIndex, NodeId};
use crate::replica::Replica;
use crate::roles::Role;

/// How long a removed leader looks for a successor, in longest election timeouts.
const DEPARTURE_ELECTION_TIMEOUTS: u32 = 4;

/// A transfer under way.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Transfer {
    to: NodeId,
    elapsed: u32,
    /// Ticks since the successor was asked to campaign.
    asked: Option<u32>,
}

/// What a leader whose removal is committed does with the rest of its time.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Departure {
    elapsed: u32,
    /// The successor that did not make it.
    avoid: Option<NodeId>,
}

impl Transfer {
    fn new(to: NodeId) -> Transfer {
        Transfer {
            to,
            elapsed: 0,
            asked: None,
        }
    }
}

impl Replica {
    pub(crate) fn transfer_requested(&mut self, to: Option<NodeId>) {
        let successor = match to {
            Some(to) => Some(to).filter(|to| self.can_succeed(*to)),
            None => self.best_successor(),
        };
        if let Some(to) = successor {
            self.begin_transfer(to);
        }
    }

    pub(crate) fn begin_transfer(&mut self, to: NodeId) {
        if let Role::Leader(leader) = &mut self.role
            && leader.transfer.is_none_or(|transfer| transfer.to != to)
        {
            leader.transfer = Some(Transfer::new(to));
        }
    }

    pub(crate) fn can_succeed(&self, id: NodeId) -> bool {
        let latest = self.memberships.latest();
        id != self.config.id && latest.voters.contains(&id) && latest.priority(id) > 0
    }

    /// The voter that is best brought up to the end of the log: one that was heard of lately and has all that is
    /// committed, of the highest priority.
    fn best_successor(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        let avoid = leader.departure.and_then(|departure| departure.avoid);
        let others = leader.progress.iter();
        others
            .filter(|(id, _)| self.can_succeed(**id))
            .max_by_key(|(id, progress)| {
                (
                    avoid != Some(**id),
                    progress.is_recently_active(&self.config),
                    progress.disk_full != Some(true),
                    progress.match_index() >= Some(self.commit),
                    self.memberships.latest().priority(**id),
                    progress.match_index(),
                )
            })
            .map(|(id, _)| *id)
    }

    /// The voter with the longest log, preferring one that was heard of lately: it can win without our help.
    fn longest_log(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        let others = leader.progress.iter();
        others
            .filter(|(id, _)| self.can_succeed(**id))
            .max_by_key(|(_, progress)| {
                let active = progress.is_recently_active(&self.config);
                (active, progress.match_index())
            })
            .map(|(id, _)| *id)
    }

    pub(crate) fn tick_transfer(&mut self) {
        let election_ticks_max = self.config.election_ticks_max;
        let heartbeat_ticks = self.config.heartbeat_ticks;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if let Some(departure) = &mut leader.departure {
            departure.elapsed += 1;
            let patience = election_ticks_max.saturating_mul(DEPARTURE_ELECTION_TIMEOUTS);
            if departure.elapsed >= patience {
                self.abdicate();
                return;
            }
        }
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
            if let Some(departure) = &mut leader.departure {
                departure.avoid = Some(transfer.to);
            }
            leader.transfer = None;
            leader.room_pause = election_ticks_max.saturating_mul(ROOM_PAUSE_ELECTION_TIMEOUTS);
        }
    }

    /// Asks the successor to campaign once its log is complete.
    pub(crate) fn advance_transfer(&mut self) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let Some(transfer) = leader.transfer else {
            return;
        };
        let possible = self.can_succeed(transfer.to);
        let last = self.log.last_index();
        let answers_for_all = leader.departure.is_none() || self.commit == last;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if !possible {
            leader.transfer = None;
            return;
        }
        let successor = leader.progress.get(&transfer.to);
        let reached = successor.and_then(|progress| progress.match_index());
        if transfer.asked.is_none() && reached == Some(last) && answers_for_all {
            leader.transfer = Some(Transfer {
                asked: Some(0),
                ..transfer
            });
            if let Some(lease) = &mut leader.lease {
                lease.end();
            }
            self.send_now(transfer.to, Message::TimeoutNow);
        }
    }

    /// The removal of this leader is committed: it leads only until somebody else does.
    pub(crate) fn hand_over_for_good(&mut self) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        leader.departure.get_or_insert_default();
        if leader.transfer.is_some() {
            return;
        }
        match self.best_successor() {
            Some(to) => self.begin_transfer(to),
            None => self.abdicate(),
        }
    }

    /// Gives up leadership at once, asking the best successor to campaign.
    pub(crate) fn abdicate(&mut self) {
        if let Some(to) = self.longest_log() {
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

    /// The first entry of the leader's term, if this replica leads.
    pub(crate) fn term_start(&self) -> Option<LogIndex> {
        match &self.role {
            Role::Leader(leader) => Some(leader.term_start),
            _ => None,
        }
    }
}
