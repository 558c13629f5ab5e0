//! Linearizable reads (Raft thesis §6.4): a read may be served once the state machine has applied up to an index that
//! the leader had committed when, after the read arrived, a quorum confirmed its leadership.
//!
//! The leader knows what is committed only after it has committed an entry of its own term; reads wait for that.
//! Followers ask the leader for the index and serve the read themselves. A read that waits on a replica whose
//! role or leader changes fails; it may be asked again.

pub(crate) mod forwarded;
pub(crate) mod lease;
pub(crate) mod rounds;

use crate::messages::Message;
use crate::position::{LogIndex, NodeId, ReadTicket};
use crate::replica::Replica;
use crate::roles::Role;
use rounds::Reader;

/// Reads that may wait on one replica; further ones fail at once.
pub(crate) const READS_WAITING_MAX: usize = 65_536;

impl Replica {
    pub(crate) fn read(&mut self, tickets: Vec<ReadTicket>) {
        for ticket in tickets {
            match &mut self.role {
                Role::Leader(leader) if leader.reads.len() < READS_WAITING_MAX => {
                    leader.reads.gather(Reader::Local(ticket));
                }
                Role::Follower(follower)
                    if follower.leader.is_some() && follower.reads.len() < READS_WAITING_MAX =>
                {
                    follower.reads.gather(ticket);
                }
                _ => self.out.reads_failed.push(ticket),
            }
        }
    }

    pub(crate) fn read_index_requested(&mut self, from: NodeId, request: u64) {
        let known = self.memberships.latest().members.contains_key(&from);
        match &mut self.role {
            Role::Leader(leader) if known && leader.reads.len() < READS_WAITING_MAX => {
                leader.reads.gather(Reader::Remote { from, request });
            }
            _ => self.send_now(
                from,
                Message::ReadIndexReply {
                    request,
                    index: None,
                },
            ),
        }
    }

    pub(crate) fn read_index_replied(&mut self, request: u64, index: Option<LogIndex>) {
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        let tickets = follower.reads.answered(request);
        match index {
            Some(index) => {
                self.out
                    .reads_ready
                    .extend(tickets.into_iter().map(|ticket| (ticket, index)));
            }
            None => self.out.reads_failed.extend(tickets),
        }
    }

    pub(crate) fn tick_forwarded_reads(&mut self) {
        let patience = self.config.election_ticks_max;
        if let Role::Follower(follower) = &mut self.role {
            self.out.reads_failed.extend(follower.reads.tick(patience));
        }
    }

    /// Sends one question for all reads of the wake-up.
    pub(crate) fn forward_reads(&mut self) {
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        let (Some(leader), true) = (follower.leader, follower.reads.has_gathered()) else {
            return;
        };
        let request = self.next_read_number;
        self.next_read_number += 1;
        follower.reads.ask(request);
        self.send_now(leader, Message::ReadIndexRequest { request });
    }

    /// Ends the round under way if it is confirmed, and starts the next.
    pub(crate) fn advance_read_rounds(&mut self) {
        loop {
            let own = self.config.id;
            let Role::Leader(leader) = &mut self.role else {
                return;
            };
            if let Some((index, readers)) = leader.reads.finish(own, self.memberships.latest()) {
                for reader in readers {
                    self.answer_reader(reader, index);
                }
                continue;
            }
            let knows_commit = self.commit >= leader.term_start;
            let latest = self.memberships.latest();
            if knows_commit && leader.lease.as_ref().is_some_and(|l| l.holds(own, latest)) {
                let index = self.commit;
                for reader in leader.reads.take_gathered() {
                    self.answer_reader(reader, index);
                }
                return;
            }
            if !knows_commit || !leader.reads.can_start() {
                return;
            }
            leader.reads.start(self.next_read_number, self.commit);
            self.next_read_number += 1;
            if !self.memberships.latest().has_quorum(|id| id == own) {
                self.ask_for_confirmation();
                return;
            }
        }
    }

    /// The lease, if any, no longer knows how old it is.
    pub(crate) fn ticks_skipped(&mut self) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(lease) = &mut leader.lease
        {
            lease.forget();
        }
    }

    /// With leases on, each heartbeat has a number of its own, so that its answers tell when it was sent.
    pub(crate) fn number_heartbeat(&mut self) {
        if let Role::Leader(leader) = &mut self.role
            && leader.lease.is_some()
        {
            leader.reads.renumber(self.next_read_number);
            self.next_read_number += 1;
        }
    }

    fn ask_for_confirmation(&mut self) {
        let own = self.config.id;
        let voters = self.memberships.latest().all_voters();
        let others: Vec<NodeId> = voters.into_iter().filter(|id| *id != own).collect();
        self.send_heartbeats(&others);
    }

    fn answer_reader(&mut self, reader: Reader, index: LogIndex) {
        match reader {
            Reader::Local(ticket) => self.out.reads_ready.push((ticket, index)),
            Reader::Remote { from, request } => {
                self.send_now(
                    from,
                    Message::ReadIndexReply {
                        request,
                        index: Some(index),
                    },
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
