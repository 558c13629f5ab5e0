//! What always holds: of a state, and of a step from one state to the next.
//!
//! The check of a step is cheap and runs after every step, in production too. The check of a state looks at
//! everything and is for tests and simulations.

use crate::position::{LogIndex, LogPosition, NodeId, PersistPosition, Term};
use crate::replica::Replica;
use crate::roles::{Role, RoleName};

/// What a step may change only in certain ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    term: Term,
    vote: Option<NodeId>,
    commit: LogIndex,
    released: LogIndex,
    applied: LogIndex,
    start: LogPosition,
    last: LogPosition,
    role: RoleName,
    issued: PersistPosition,
}

impl Replica {
    pub(crate) fn observe(&self) -> Observed {
        Observed {
            term: self.term,
            vote: self.vote,
            commit: self.commit,
            released: self.released,
            applied: self.applied,
            start: self.log.start(),
            last: self.log.last(),
            role: self.role(),
            issued: self.durability.issued_position(),
        }
    }

    /// Panics if the state contradicts itself.
    pub fn check_invariants(&self) {
        let id = self.config.id;
        self.log.check_invariants();
        self.durability.check_invariants(self.log.last_index());
        self.memberships.check_invariants(self.log.last_index());
        let (start, last) = (self.log.start(), self.log.last());
        assert!(
            start.index <= self.applied,
            "{id}: the log starts after what is applied"
        );
        assert!(
            self.applied <= self.released,
            "{id}: applied what was not released"
        );
        assert!(
            self.released <= self.commit,
            "{id}: released what is not committed"
        );
        assert!(
            self.commit <= last.index,
            "{id}: committed past the end of the log"
        );
        assert!(last.term <= self.term, "{id}: the log is ahead of the term");
        assert!(
            self.log.cache_first() <= self.applied.next(),
            "{id}: an entry that is not applied was evicted"
        );
        match &self.role {
            Role::Leader(leader) => {
                assert_eq!(self.vote, Some(id), "{id} leads without its own vote");
                assert!(
                    last.term == self.term && leader.term_start <= last.index,
                    "{id} leads without an entry of its term"
                );
                let members = self
                    .memberships
                    .latest()
                    .members
                    .keys()
                    .filter(|m| **m != id);
                let staying = leader.progress.iter();
                let staying = staying.filter(|(_, progress)| progress.departs_at.is_none());
                assert!(
                    staying.map(|(id, _)| id).eq(members),
                    "{id}: progress is not of the members"
                );
                for progress in leader.progress.values() {
                    progress.check_invariants(&self.log);
                }
                let uncommitted = self.log.cached(self.commit.next(), last.index);
                assert_eq!(
                    leader.uncommitted_bytes,
                    uncommitted.map(|entry| entry.bytes()).sum::<usize>(),
                    "{id}: the weight of uncommitted entries is wrong"
                );
            }
            Role::Candidate(_) => assert_eq!(self.vote, Some(id), "{id} campaigns for another"),
            Role::Follower(follower) => {
                assert_ne!(follower.leader, Some(id), "{id} follows itself");
                assert!(
                    follower.leader.is_some() || follower.reads.len() == 0,
                    "{id}: reads wait for no leader"
                );
            }
            Role::PreCandidate(_) => {}
        }
    }

    /// Panics if no step may lead from `before` to the present state.
    pub(crate) fn check_transition(&self, before: &Observed) {
        let id = self.config.id;
        let after = self.observe();
        assert!(after.term >= before.term, "{id}: the term went back");
        assert!(
            after.term > before.term || before.vote.is_none() || after.vote == before.vote,
            "{id}: the vote of {} changed from {:?} to {:?}",
            after.term,
            before.vote,
            after.vote
        );
        assert!(
            after.commit >= before.commit,
            "{id}: the commit index went back"
        );
        assert!(
            after.released >= before.released,
            "{id}: entries would be applied again"
        );
        assert!(
            after.applied >= before.applied,
            "{id}: the applied index went back"
        );
        assert!(
            after.start.index >= before.start.index,
            "{id}: the log grew at its start"
        );
        assert!(
            after.issued.0 <= before.issued.0 + 1,
            "{id}: one step issued two persists"
        );
        let leads_on = before.role == RoleName::Leader
            && after.role == RoleName::Leader
            && after.term == before.term;
        assert!(
            !leads_on
                || self
                    .log
                    .term_at(before.last.index)
                    .is_none_or(|term| term == before.last.term)
                    && after.last.index >= before.last.index,
            "{id}: a leader changed its own log"
        );
        let durability_changed = after.term != before.term || after.vote != before.vote;
        assert!(
            !durability_changed || after.issued > before.issued,
            "{id}: term or vote changed without being handed to the disk"
        );
    }
}
