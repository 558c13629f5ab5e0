//! Who leads: pre-votes, votes, and the ways into and out of every role (Raft §5.2, §5.4.1; thesis §4.2.3, §9.6).
//!
//! A replica grants a pre-vote, or looks at the vote request of a newer term, only if it does not hear a
//! leader itself: a replica that was cut off cannot disturb the others. Two pre-candidates that would elect each
//! other settle it by their logs and then their ids, so that they do not split the vote.

pub(crate) mod priority;
pub(crate) mod room;
pub(crate) mod timer;
pub(crate) mod transfer;

use std::collections::BTreeMap;

use crate::linearizable_reads::forwarded::ForwardedReads;
use crate::linearizable_reads::lease::Lease;
use crate::linearizable_reads::rounds::{ReadRounds, Reader};
use crate::log_replication::progress::Progress;
use crate::membership::quorum::VoteOutcome;
use crate::messages::Message;
use crate::position::{EntryKind, LogPosition, NodeId, Term};
use crate::replica::Replica;
use crate::roles::{Candidate, Follower, Leader, PreCandidate, Role};
use timer::ElectionTimer;

/// A disk that owes an answer for this many longest election timeouts is stalled: its replica must not lead.
const DISK_STALL_ELECTION_TIMEOUTS: u32 = 4;

impl Replica {
    // ---- into a role ------------------------------------------------------------------------------------

    /// Follows `leader`, or nobody yet, in `term`. The vote of the term is kept.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        let timer = self.ordinary_timer();
        self.become_follower_with(term, leader, timer);
    }

    fn ordinary_timer(&mut self) -> ElectionTimer {
        let pace = self.pace();
        ElectionTimer::ordinary(&mut self.random, pace)
    }

    fn become_follower_with(&mut self, term: Term, leader: Option<NodeId>, timer: ElectionTimer) {
        assert!(
            term >= self.term,
            "{} cannot go back from {} to {term}",
            self.config.id,
            self.term
        );
        if term > self.term {
            self.term = term;
            self.vote = None;
        }
        let reads = ForwardedReads::default();
        self.enter(Role::Follower(Follower {
            leader,
            timer,
            reads,
        }));
    }

    /// Changes the role; reads that waited on the old one fail.
    fn enter(&mut self, role: Role) {
        match std::mem::replace(&mut self.role, role) {
            Role::Follower(follower) => {
                self.out.reads_failed.extend(follower.reads.into_tickets());
            }
            Role::Leader(leader) => {
                for reader in leader.reads.into_readers() {
                    self.fail_read(reader);
                }
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    fn fail_read(&mut self, reader: Reader) {
        match reader {
            Reader::Local(ticket) => self.out.reads_failed.push(ticket),
            Reader::Remote { from, request } => {
                self.send_now(
                    from,
                    Message::ReadIndexReply {
                        request,
                        index: None,
                    },
                );
            }
        }
    }

    /// Whether this replica counts, and could serve as leader. While its removal is not known to be committed it still
    /// campaigns, without counting itself: its log may be the only one that can win (Raft thesis §4.2.2).
    pub(crate) fn may_campaign(&self) -> bool {
        let own = self.config.id;
        let latest = self.memberships.latest();
        let membership = if latest.members.contains_key(&own) {
            latest
        } else {
            self.committed_membership()
        };
        let willing = membership.priority(own) > 0 || self.precedence.is_needed();
        membership.is_voter(own) && willing && !self.disk_is_stalled()
    }

    fn disk_is_stalled(&self) -> bool {
        let patience = self
            .config
            .election_ticks_max
            .saturating_mul(DISK_STALL_ELECTION_TIMEOUTS);
        self.durability.waiting_ticks() >= patience
    }

    fn pre_campaign(&mut self) {
        assert!(self.may_campaign(), "{} must not campaign", self.config.id);
        let timer = self.timer().unwrap_or_else(ElectionTimer::at_once);
        let pace = self.pace();
        let timer = timer.for_pre_vote(&mut self.random, pace);
        let votes = BTreeMap::from([(self.config.id, true)]);
        self.enter(Role::PreCandidate(PreCandidate { votes, timer }));
        let last = self.log.last();
        let term = self.term.next();
        for to in self.other_voters() {
            self.send_now_in(term, to, Message::PreVoteRequest { last });
        }
        self.count_pre_votes();
    }

    /// Starts a new term and asks for votes. The own vote counts once it is durable; the requests go out
    /// only then as well, so that nobody's vote rests on entries that a crash may still take away.
    pub(crate) fn campaign(&mut self, transfer: bool) {
        assert!(self.may_campaign(), "{} must not campaign", self.config.id);
        let timer = self.timer().unwrap_or_else(ElectionTimer::at_once);
        let pace = self.pace();
        let timer = timer.for_vote(&mut self.random, pace);
        self.term = self.term.next();
        self.vote = Some(self.config.id);
        let own_vote_at = self.durability.next_position();
        self.enter(Role::Candidate(Candidate {
            votes: BTreeMap::new(),
            timer,
            own_vote_at,
        }));
        let last = self.log.last();
        for to in self.other_voters() {
            self.send_after_sync(to, Message::VoteRequest { last, transfer });
        }
    }

    fn become_leader(&mut self) {
        assert!(
            self.vote == Some(self.config.id),
            "{} won {} without its own vote",
            self.config.id,
            self.term
        );
        let next = self.log.last_index().next();
        let own = self.config.id;
        let members = &self.memberships.latest().members;
        let others = members.keys().filter(|id| **id != own);
        let progress = others.map(|id| (*id, Progress::new(next))).collect();
        let uncommitted_bytes = self
            .log
            .cached(self.commit.next(), self.log.last_index())
            .map(|e| e.bytes())
            .sum();
        self.enter(Role::Leader(Box::new(Leader {
            progress,
            reads: ReadRounds::default(),
            transfer: None,
            departure: None,
            room_pause: 0,
            preferred: None,
            lease: self.config.lease_ticks.map(Lease::new),
            term_start: next,
            uncommitted_bytes,
            heartbeat_elapsed: 0,
        })));
        self.append_own(EntryKind::Noop);
    }

    // ---- votes --------------------------------------------------------------------------------------------

    pub(crate) fn pre_vote_requested(&mut self, from: NodeId, term: Term, last: LogPosition) {
        let own = self.log.last();
        let priority = |id| self.memberships.latest().priority(id);
        let yields = match &self.role {
            // Both would elect each other: the longer log goes first, then the higher priority, then the higher id.
            Role::PreCandidate(_) if term == self.term.next() => {
                (last.term, last.index, priority(from), from)
                    > (
                        own.term,
                        own.index,
                        priority(self.config.id),
                        self.config.id,
                    )
            }
            _ => true,
        };
        let free = term > self.term && !self.hears_leader();
        let granted = free && last.is_up_to_date_with(own) && yields;
        if free && !granted && self.memberships.latest().is_voter(from) {
            self.precedence.refused_for_log();
        }
        if granted {
            let pace = self.pace();
            if let Some(timer) = self.role.timer_mut() {
                timer.yield_to_other(&mut self.random, pace);
            }
            self.send_now_in(term, from, Message::PreVoteReply { granted });
        } else {
            self.send_now(from, Message::PreVoteReply { granted });
        }
    }

    /// `term` is the one in which this replica would campaign.
    pub(crate) fn pre_vote_granted(&mut self, from: NodeId, term: Term) {
        let awaited = self.term.next();
        if let Role::PreCandidate(candidate) = &mut self.role
            && term == awaited
        {
            candidate.votes.insert(from, true);
            self.count_pre_votes();
        }
    }

    pub(crate) fn pre_vote_refused(&mut self, from: NodeId) {
        if let Role::PreCandidate(candidate) = &mut self.role {
            candidate.votes.entry(from).or_insert(false);
            self.count_pre_votes();
        }
    }

    fn count_pre_votes(&mut self) {
        let Role::PreCandidate(candidate) = &self.role else {
            return;
        };
        let outcome = self
            .memberships
            .latest()
            .vote_outcome(|id| candidate.votes.get(&id).copied());
        match outcome {
            VoteOutcome::Won if self.may_campaign() => self.campaign(false),
            VoteOutcome::Lost | VoteOutcome::Won => self.retry_later(),
            VoteOutcome::Pending => {}
        }
    }

    fn retry_later(&mut self) {
        let timer = self.timer().unwrap_or_else(ElectionTimer::at_once);
        let pace = self.pace();
        let timer = timer.for_retry(&mut self.random, pace);
        self.become_follower_with(self.term, None, timer);
    }

    /// The term of the request has been adopted. A learner votes too: it may have been promoted without knowing.
    pub(crate) fn vote_requested(&mut self, from: NodeId, last: LogPosition) {
        let undecided = self.vote.is_none() && self.leader().is_none();
        let granted =
            (undecided || self.vote == Some(from)) && last.is_up_to_date_with(self.log.last());
        if granted && self.leader().is_none() {
            self.vote = Some(from);
            self.become_follower(self.term, None);
        }
        self.send_after_sync(from, Message::VoteReply { granted });
    }

    pub(crate) fn vote_replied(&mut self, from: NodeId, granted: bool) {
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.votes.entry(from).or_insert(granted);
            self.count_votes();
        }
    }

    /// The disk reported progress: the own vote may count now.
    pub(crate) fn own_vote_may_be_durable(&mut self) {
        let own = self.config.id;
        if let Role::Candidate(candidate) = &mut self.role
            && self.durability.is_durable(candidate.own_vote_at)
        {
            candidate.votes.insert(own, true);
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let Role::Candidate(candidate) = &self.role else {
            return;
        };
        if !self.durability.is_durable(candidate.own_vote_at) {
            return;
        }
        let outcome = self
            .memberships
            .latest()
            .vote_outcome(|id| candidate.votes.get(&id).copied());
        match outcome {
            VoteOutcome::Won => self.become_leader(),
            VoteOutcome::Lost => self.retry_later(),
            VoteOutcome::Pending => {}
        }
    }

    // ---- time and contact ---------------------------------------------------------------------------------

    /// Whether a leader was heard within the shortest election timeout. A leader hears itself. With leases on it does
    /// not matter what happened since: a lease may rest on it.
    pub(crate) fn hears_leader(&self) -> bool {
        if self.config.lease_ticks.is_some()
            && self.leader_heard_ticks < self.config.election_ticks_min
        {
            return true;
        }
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(follower) => {
                follower.leader.is_some()
                    && follower.timer.elapsed() < self.config.election_ticks_min
            }
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// `from` speaks as the leader of the current term. `false`: it cannot be.
    pub(crate) fn hear_leader(&mut self, from: NodeId) -> bool {
        let known = self.leader();
        if known == Some(self.config.id) || known.is_some_and(|leader| leader != from) {
            return false;
        }
        let pace = self.pace();
        if let Role::Follower(follower) = &mut self.role
            && known == Some(from)
        {
            follower.timer = ElectionTimer::ordinary(&mut self.random, pace);
        } else {
            self.become_follower(self.term, Some(from));
            self.precedence.leader_found();
        }
        self.leader_heard_ticks = 0;
        true
    }

    /// A tick for a replica that does not lead.
    pub(crate) fn tick_election(&mut self) {
        if self.config.lease_ticks.is_some() {
            self.leader_heard_ticks = self.leader_heard_ticks.saturating_add(1);
        }
        let Some(timer) = self.role.timer_mut() else {
            return;
        };
        timer.tick();
        if timer.is_due() {
            self.election_due();
        }
    }

    fn election_due(&mut self) {
        if self.may_campaign() {
            self.pre_campaign();
        } else if let Role::Follower(follower) = &mut self.role {
            // A learner, or a voter whose disk is stalled: it knows of no leader now, and waits.
            let silent = follower.timer.elapsed() >= self.config.election_ticks_min;
            if silent && follower.leader.is_some() {
                self.become_follower(self.term, None);
            }
        } else {
            self.become_follower(self.term, None);
        }
    }

    /// Counts as a sign of life, like a heartbeat, and as nothing else.
    pub(crate) fn peer_heard(&mut self, peer: NodeId) {
        let pace = self.pace();
        match &mut self.role {
            Role::Leader(leader) => {
                if let Some(progress) = leader.progress.get_mut(&peer) {
                    progress.heard();
                }
            }
            Role::Follower(follower) if follower.leader == Some(peer) => {
                follower.timer = ElectionTimer::ordinary(&mut self.random, pace);
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    /// The connection of a peer was reset. If it leads, it is probably gone.
    pub(crate) fn peer_disconnected(&mut self, peer: NodeId) {
        match &mut self.role {
            Role::Leader(leader) => {
                if let Some(progress) = leader.progress.get_mut(&peer) {
                    progress.disconnected();
                }
            }
            // A lease does not end with a connection.
            Role::Follower(_) if self.config.lease_ticks.is_some() => {}
            Role::Follower(follower) if follower.leader == Some(peer) => {
                let pace = self.pace();
                let timer = ElectionTimer::hurried(&mut self.random, pace);
                self.become_follower_with(self.term, None, timer);
                if timer.is_due() {
                    self.election_due();
                }
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    /// A leader makes sure that it still reaches a quorum, not counting itself while it is being removed, and that its disk still writes.
    pub(crate) fn tick_leadership(&mut self) {
        let stalled = self.disk_is_stalled() && !self.other_voters().is_empty();
        let Role::Leader(leader) = &self.role else {
            return;
        };
        if stalled {
            self.abdicate();
            return;
        }
        let own = self.config.id;
        let config = &self.config;
        let progress = &leader.progress;
        let active = |id| id == own || progress.get(&id).is_some_and(|p| p.is_in_touch(config));
        if !self.memberships.latest().has_quorum(active) {
            self.become_follower(self.term, None);
        }
    }

    fn timer(&self) -> Option<ElectionTimer> {
        match &self.role {
            Role::Follower(follower) => Some(follower.timer),
            Role::PreCandidate(candidate) => Some(candidate.timer),
            Role::Candidate(candidate) => Some(candidate.timer),
            Role::Leader(_) => None,
        }
    }

    fn other_voters(&self) -> Vec<NodeId> {
        let own = self.config.id;
        let voters = self.memberships.latest().all_voters();
        voters.into_iter().filter(|id| *id != own).collect()
    }
}

impl Role {
    fn timer_mut(&mut self) -> Option<&mut ElectionTimer> {
        match self {
            Role::Follower(follower) => Some(&mut follower.timer),
            Role::PreCandidate(candidate) => Some(&mut candidate.timer),
            Role::Candidate(candidate) => Some(&mut candidate.timer),
            Role::Leader(_) => None,
        }
    }
}
