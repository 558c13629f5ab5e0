//! The properties of Figure 3 of the Raft paper, over every log there is:
//! - election safety: at most one leader per term;
//! - leader append-only: a leader never changes an entry of its own log;
//! - log matching: entries of one index and term are the same everywhere, and so is all before them;
//! - leader completeness: what is committed is in the log of every later leader;
//! - state machine safety: no two members commit different entries at one index.
//!
//! And beside them: a member's commit index never goes back while it runs, a leader counts only entries of its own term, and
//! nothing is applied that is not committed and on the member's own disk.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use consensus::{Entry, EntryKind, Envelope, LogIndex, Message, NodeId, Replica, RoleName, Term};

use crate::machine::SimulatedNode;
use crate::view::{Checker, WorldView};

type Finding = Result<(), String>;

/// The checker.
#[derive(Default)]
pub(super) struct RaftLog {
    leaders: BTreeMap<Term, NodeId>,
    /// Of entry 1 on; known to be committed.
    committed: Vec<Term>,
    /// Of the same entries: the term of who was first seen to know it. They were committed in that term at the latest.
    known_in: Vec<Term>,
    /// The term of the entry before, by index and term.
    previous: BTreeMap<(LogIndex, Term), Term>,
    /// What the entry holds, by index and term.
    contents: BTreeMap<(LogIndex, Term), u64>,
    machines: BTreeMap<usize, Seen>,
}

/// A process as it was when it was last looked at.
struct Seen {
    incarnation: u64,
    role: RoleName,
    term: Term,
    commit: LogIndex,
    applied: u64,
    log: Mirror,
}

/// Terms of a log's entries.
struct Mirror {
    /// The index of the entry before the first.
    start: LogIndex,
    terms: Vec<Term>,
}

impl Mirror {
    fn last(&self) -> LogIndex {
        LogIndex(self.start.0 + self.terms.len() as u64)
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        let offset = index.0.checked_sub(self.start.0 + 1)?;
        self.terms.get(offset as usize).copied()
    }

    /// Takes over what the replica's log has become; gives the first index that changed or was added.
    fn follow(&mut self, replica: &Replica) -> LogIndex {
        let start = replica.first_index().previous();
        let last = replica.last().index;
        let mut same = self.last().min(last);
        while same > self.start.max(start) && self.term_at(same) != replica.term_at(same) {
            same = same.previous();
        }
        if same <= self.start.max(start) && self.start != start {
            // Nothing is known to be the same: a snapshot took the log's place, or the log is new.
            *self = Mirror {
                start,
                terms: Vec::new(),
            };
            same = start;
        }
        self.terms.truncate((same.0 - self.start.0) as usize);
        for index in same.0 + 1..=last.0 {
            let term = replica.term_at(LogIndex(index));
            self.terms.push(term.unwrap_or_default());
        }
        if self.start < start {
            self.terms.drain(..(start.0 - self.start.0) as usize);
            self.start = start;
        }
        same.next()
    }
}

impl Checker for RaftLog {
    fn started(&mut self, view: &WorldView<'_>, machine: usize, _: bool) -> Finding {
        self.machines.remove(&machine);
        self.stepped(view, machine)
    }

    fn stepped(&mut self, view: &WorldView<'_>, machine: usize) -> Finding {
        let Some(node) = &view.machines[machine].node else {
            return Ok(());
        };
        let replica = node.replica();
        let incarnation = view.machines[machine].incarnation;
        let before = self
            .machines
            .remove(&machine)
            .filter(|seen| seen.incarnation == incarnation);
        let mut seen = before.unwrap_or_else(|| Seen {
            incarnation,
            role: RoleName::Follower,
            term: Term(0),
            commit: LogIndex(0),
            applied: node.reader().applied_index(),
            log: Mirror {
                start: replica.first_index().previous(),
                terms: Vec::new(),
            },
        });
        let last_before = seen.log.last();
        let changed = seen.log.follow(replica);
        let leads_on = seen.role == RoleName::Leader
            && replica.role() == RoleName::Leader
            && seen.term == replica.term();
        if leads_on && changed <= last_before {
            return Err(format!(
                "leader append-only: {} of {} changed its own entry {changed}",
                replica.id(),
                replica.term()
            ));
        }
        self.check_matching(replica, changed)?;
        if replica.role() == RoleName::Leader && !leads_on {
            self.check_new_leader(replica)?;
        }
        self.check_commit(view, replica, seen.commit)?;
        check_applied(node, seen.applied)?;
        seen.role = replica.role();
        seen.term = replica.term();
        seen.commit = replica.commit();
        seen.applied = node.reader().applied_index();
        self.machines.insert(machine, seen);
        Ok(())
    }

    fn sent(&mut self, envelope: &Envelope) -> Finding {
        let Message::AppendRequest { entries, .. } = &envelope.message else {
            return Ok(());
        };
        for entry in entries {
            let content = fingerprint(entry);
            let first = self
                .contents
                .entry((entry.index, entry.term))
                .or_insert(content);
            if *first != content {
                return Err(format!(
                    "log matching: {} sends another entry at {} of {} than was sent before",
                    envelope.from, entry.index, entry.term
                ));
            }
        }
        Ok(())
    }
}

impl RaftLog {
    fn check_matching(&mut self, replica: &Replica, from: LogIndex) -> Finding {
        for index in (from.0..=replica.last().index.0).map(LogIndex) {
            let (Some(term), Some(previous)) =
                (replica.term_at(index), replica.term_at(index.previous()))
            else {
                continue;
            };
            let first = *self.previous.entry((index, term)).or_insert(previous);
            if first != previous {
                return Err(format!(
                    "log matching: before entry {index} of {term} the log of {} has one of {previous}, another has one of {first}",
                    replica.id()
                ));
            }
        }
        Ok(())
    }

    fn check_new_leader(&mut self, replica: &Replica) -> Finding {
        let leader = *self
            .leaders
            .entry(replica.term())
            .or_insert_with(|| replica.id());
        if leader != replica.id() {
            return Err(format!(
                "election safety: {leader} and {} both lead in {}",
                replica.id(),
                replica.term()
            ));
        }
        self.check_completeness(replica)
    }

    /// By log matching, who has the last committed entry has them all. One who wins an older term late, its votes having been
    /// under way for long, need not have what a newer leader committed meanwhile.
    fn check_completeness(&self, leader: &Replica) -> Finding {
        let owed = self.known_in.iter().rposition(|in_| *in_ <= leader.term());
        let Some(at) = owed else {
            return Ok(());
        };
        let (index, term) = (LogIndex(at as u64 + 1), &self.committed[at]);
        let has = leader.term_at(index);
        if leader.first_index() <= index && has != Some(*term) {
            return Err(format!(
                "leader completeness: {} leads in {} without entry {index} of {term}, which is committed; it has {has:?} there, its log ends at {}",
                leader.id(),
                leader.term(),
                leader.last().index
            ));
        }
        Ok(())
    }

    fn check_commit(
        &mut self,
        view: &WorldView<'_>,
        replica: &Replica,
        before: LogIndex,
    ) -> Finding {
        let commit = replica.commit();
        if commit < before {
            return Err(format!(
                "the commit index of {} went back from {before} to {commit}",
                replica.id()
            ));
        }
        if commit == before {
            return Ok(());
        }
        let known = self.committed.len() as u64;
        for index in (before.0.max(replica.first_index().previous().0) + 1..=commit.0).map(LogIndex)
        {
            let Some(term) = replica.term_at(index) else {
                continue;
            };
            match self.committed.get(index.0 as usize - 1) {
                Some(first) if *first != term => {
                    return Err(format!(
                        "state machine safety: {} commits entry {index} of {term}, but one of {first} is committed",
                        replica.id()
                    ));
                }
                Some(_) => {}
                None if index.0 == self.committed.len() as u64 + 1 => {
                    self.committed.push(term);
                    self.known_in.push(replica.term());
                }
                None => {
                    return Err(format!(
                        "{} commits entry {index}, but nobody has committed the {} before it",
                        replica.id(),
                        index.0 - self.committed.len() as u64 - 1
                    ));
                }
            }
        }
        if self.committed.len() as u64 == known {
            return Ok(());
        }
        if replica.role() == RoleName::Leader && replica.term_at(commit) != Some(replica.term()) {
            return Err(format!(
                "{} counted an entry of a former term: in {} it commits {commit} of {:?}",
                replica.id(),
                replica.term(),
                replica.term_at(commit)
            ));
        }
        let nodes = view.machines.iter().filter_map(|it| it.node.as_ref());
        let leaders = nodes
            .map(|node| node.replica())
            .filter(|other| other.role() == RoleName::Leader && other.term() >= replica.term());
        for leader in leaders {
            self.check_completeness(leader)?;
        }
        Ok(())
    }
}

fn check_applied(node: &SimulatedNode, before: u64) -> Finding {
    let replica = node.replica();
    let applied = node.reader().applied_index();
    if applied < before {
        return Err(format!(
            "{} had applied {before} and now shows {applied}",
            replica.id()
        ));
    }
    if applied > replica.commit().0 {
        return Err(format!(
            "{} applied {applied}, but knows only {} to be committed",
            replica.id(),
            replica.commit()
        ));
    }
    let durable = node.indices().durable;
    // A snapshot is in place before the log is reset to it.
    let of_snapshot = applied < replica.first_index().0;
    if applied > before && applied > durable && !of_snapshot {
        return Err(format!(
            "{} applied {applied}, but its log is on disk only up to {durable}",
            replica.id()
        ));
    }
    Ok(())
}

/// Ends and length stand for the whole.
fn fingerprint(entry: &Entry) -> u64 {
    const END_BYTES: usize = 64;
    let mut hasher = DefaultHasher::new();
    match &entry.kind {
        EntryKind::Noop => 0.hash(&mut hasher),
        EntryKind::Command(payload) => {
            let bytes: &[u8] = payload;
            bytes.len().hash(&mut hasher);
            bytes[..bytes.len().min(END_BYTES)].hash(&mut hasher);
            bytes[bytes.len().saturating_sub(END_BYTES)..].hash(&mut hasher);
        }
        EntryKind::Membership(membership) => format!("{membership:?}").hash(&mut hasher),
    }
    hasher.finish()
}
