//! What members promised each other holds, over restarts too:
//! - a member votes for one candidate per term, and a leader has the votes of a quorum of both halves of its membership;
//! - what a leader commits is acknowledged by a quorum of both halves, itself included where it is on its own disk;
//! - a member that comes back has everything in its log that it acknowledged, no older term than it has spoken in, and still
//!   knows whom it voted for in that.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{
    AppendOutcome, Envelope, LogIndex, LogPosition, Membership, Message, NodeId, Replica, RoleName,
    Term,
};

use crate::view::{Checker, WorldView};

type Finding = Result<(), String>;

/// The checker.
#[derive(Default)]
pub(super) struct Promises {
    /// Whom a member voted for, by member and term.
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// Who voted for a candidate.
    supporters: BTreeMap<(NodeId, Term), BTreeSet<NodeId>>,
    /// The highest index a member acknowledged to the leader of a term.
    acknowledged: BTreeMap<(NodeId, Term), LogIndex>,
    /// Acknowledgements that have not been looked up in their senders' logs.
    fresh: BTreeMap<NodeId, (Term, LogIndex)>,
    members: BTreeMap<NodeId, Promised>,
    leading: BTreeMap<NodeId, Term>,
    commits: BTreeMap<NodeId, LogIndex>,
}

/// What must be found again after a restart.
#[derive(Clone, Debug, Default)]
struct Promised {
    term: Term,
    entry: LogPosition,
    /// The term in which the entry was acknowledged: its leader never takes it back.
    acknowledged_in: Term,
    /// Terms of what stood before the entry and was not known to be committed then.
    before: BTreeMap<LogIndex, Term>,
}

impl Checker for Promises {
    fn started(&mut self, view: &WorldView<'_>, machine: usize, _: bool) -> Finding {
        let Some(node) = &view.machines[machine].node else {
            return Ok(());
        };
        let replica = node.replica();
        self.leading.remove(&replica.id());
        self.commits.insert(replica.id(), replica.commit());
        self.fresh.remove(&replica.id());
        if let Some(promised) = self.members.get(&replica.id()) {
            if replica.term() < promised.term {
                return Err(format!(
                    "{} came back in {}, but had promised something in {}",
                    replica.id(),
                    replica.term(),
                    promised.term
                ));
            }
            check_entry(replica, promised.entry)?;
        }
        let voted = self.votes.get(&(replica.id(), replica.term())).copied();
        if voted.is_some() && replica.vote() != voted {
            return Err(format!(
                "{} came back in {} with a vote for {:?}, but had voted for {voted:?}",
                replica.id(),
                replica.term(),
                replica.vote()
            ));
        }
        self.stepped(view, machine)
    }

    fn stepped(&mut self, view: &WorldView<'_>, machine: usize) -> Finding {
        let Some(node) = &view.machines[machine].node else {
            return Ok(());
        };
        let replica = node.replica();
        let id = replica.id();
        self.note_promise(replica, node.indices().durable)?;
        let was = self.leading.get(&id).copied();
        if replica.role() == RoleName::Leader {
            if was != Some(replica.term()) {
                self.leading.insert(id, replica.term());
                self.check_election(replica)?;
            }
            self.check_quorum(replica, node.indices().durable)?;
        } else if was.is_some() {
            self.leading.remove(&id);
        }
        self.commits.insert(id, replica.commit());
        Ok(())
    }

    fn sent(&mut self, envelope: &Envelope) -> Finding {
        let Envelope {
            from,
            to,
            term,
            message,
        } = envelope;
        match message {
            Message::VoteRequest { .. } => self.vote(*from, *from, *term)?,
            Message::VoteReply { granted: true } => self.vote(*from, *to, *term)?,
            Message::AppendReply {
                outcome: AppendOutcome::Accepted { match_index },
            } => {
                let known = self.acknowledged.entry((*from, *term)).or_default();
                *known = (*known).max(*match_index);
                let newest = self.fresh.entry(*from).or_default();
                *newest = (*newest).max((*term, *match_index));
                let promised = self.members.entry(*from).or_default();
                promised.term = promised.term.max(*term);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Promises {
    fn vote(&mut self, voter: NodeId, candidate: NodeId, term: Term) -> Finding {
        let first = *self.votes.entry((voter, term)).or_insert(candidate);
        if first != candidate {
            return Err(format!(
                "{voter} voted for {first} and for {candidate} in {term}"
            ));
        }
        let supporters = self.supporters.entry((candidate, term)).or_default();
        supporters.insert(voter);
        let promised = self.members.entry(voter).or_default();
        promised.term = promised.term.max(term);
        Ok(())
    }

    fn note_promise(&mut self, replica: &Replica, durable: u64) -> Finding {
        let promised = self.members.entry(replica.id()).or_default();
        if promised.acknowledged_in == replica.term() {
            check_entry(replica, promised.entry)?;
        }
        // What was truncated since was not committed, and is promised no longer.
        while promised.entry.index >= replica.first_index()
            && replica.term_at(promised.entry.index) != Some(promised.entry.term)
        {
            let index = promised.entry.index.previous();
            // What the log shows there now may have taken its place a moment ago, and not on the disk yet.
            let term = promised
                .before
                .get(&index)
                .copied()
                .or(replica.term_at(index))
                .unwrap_or_default();
            promised.entry = LogPosition { index, term };
            promised.acknowledged_in = Term(0);
        }
        let mut promise = |index: LogIndex| {
            if let Some(term) = replica.term_at(index)
                && index > promised.entry.index
            {
                promised.entry = LogPosition { index, term };
                promised.acknowledged_in = replica.term();
                let open = replica.commit().0 + 1..index.0;
                promised.before = open
                    .filter_map(|at| Some((LogIndex(at), replica.term_at(LogIndex(at))?)))
                    .collect();
            }
        };
        if let Some((term, index)) = self.fresh.remove(&replica.id())
            && term == replica.term()
        {
            promise(index);
        }
        if replica.role() == RoleName::Leader {
            promise(LogIndex(replica.commit().0.min(durable)));
        }
        Ok(())
    }

    fn check_election(&self, leader: &Replica) -> Finding {
        let (id, term) = (leader.id(), leader.term());
        let supporters = self.supporters.get(&(id, term));
        let votes = |voter: NodeId| voter == id || supporters.is_some_and(|it| it.contains(&voter));
        // The membership that elected it may have been followed by the one of an entry appended since: a new leader appends
        // nothing but an empty entry.
        if has_quorum(leader.membership(), votes) {
            return Ok(());
        }
        Err(format!(
            "{id} leads in {term} with the votes of {supporters:?}, which is no quorum of {}",
            describe(leader)
        ))
    }

    fn check_quorum(&self, leader: &Replica, durable: u64) -> Finding {
        let commit = leader.commit();
        let before = self.commits.get(&leader.id()).copied().unwrap_or_default();
        if commit <= before || leader.term_at(commit) != Some(leader.term()) {
            return Ok(());
        }
        let holds = |voter: NodeId| {
            if voter == leader.id() {
                return durable >= commit.0;
            }
            let acknowledged = self.acknowledged.get(&(voter, leader.term()));
            acknowledged.is_some_and(|index| *index >= commit)
        };
        let memberships = [leader.membership(), leader.committed_membership()];
        if memberships.iter().any(|it| has_quorum(it, holds)) {
            return Ok(());
        }
        let holders: Vec<NodeId> = leader
            .membership()
            .members
            .keys()
            .copied()
            .filter(|id| holds(*id))
            .collect();
        Err(format!(
            "{} commits {commit} in {}, which only {holders:?} hold: no quorum of {}",
            leader.id(),
            leader.term(),
            describe(leader)
        ))
    }
}

/// The rule itself, not the code under test: a majority of the voters and, while joint, one of the former voters.
fn has_quorum(membership: &Membership, agrees: impl Fn(NodeId) -> bool) -> bool {
    let majority = |voters: &BTreeSet<NodeId>| {
        let agreeing = voters.iter().filter(|id| agrees(**id)).count();
        agreeing > voters.len() / 2
    };
    majority(&membership.voters) && membership.outgoing.as_ref().is_none_or(majority)
}

fn check_entry(replica: &Replica, promised: LogPosition) -> Finding {
    let has = replica.term_at(promised.index);
    if promised.index < replica.first_index() || has == Some(promised.term) {
        return Ok(());
    }
    Err(format!(
        "{} is without entry {} of {}, which it had acknowledged; it has {has:?} there, its log ends at {}",
        replica.id(),
        promised.index,
        promised.term,
        replica.last().index
    ))
}

fn describe(replica: &Replica) -> String {
    let membership = replica.membership();
    match &membership.outgoing {
        None => format!("{:?}", membership.voters),
        Some(outgoing) => format!("{:?} and {outgoing:?}", membership.voters),
    }
}
