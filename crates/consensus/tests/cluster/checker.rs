//! What must hold of the cluster as a whole: Figure 3 of the Raft paper, and linearizable reads.

use std::collections::BTreeMap;

use consensus::{
    Effects, Entry, EntryKind, LogIndex, LogPosition, Membership, NodeId, ReadTicket, Replica,
    RoleName, Term,
};

pub struct Checker {
    first_membership: Membership,
    leaders: BTreeMap<Term, NodeId>,
    committed: BTreeMap<LogIndex, Term>,
    applied: BTreeMap<LogIndex, Entry>,
    reads: BTreeMap<ReadTicket, LogIndex>,
    pub reads_ready: usize,
    pub reads_failed: usize,
    pub fetches: usize,
    pub snapshots: usize,
}

impl Checker {
    pub fn new(first_membership: Membership) -> Checker {
        Checker {
            first_membership,
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            applied: BTreeMap::new(),
            reads: BTreeMap::new(),
            reads_ready: 0,
            reads_failed: 0,
            fetches: 0,
            snapshots: 0,
        }
    }

    pub fn leaders(&self) -> usize {
        self.leaders.len()
    }

    /// How often the committed membership changed.
    pub fn membership_changes(&self) -> usize {
        let kinds = self.applied.values().map(|entry| &entry.kind);
        kinds
            .filter(|kind| matches!(kind, EntryKind::Membership(_)))
            .count()
    }

    /// How often several voters changed at once.
    pub fn joint_memberships(&self) -> usize {
        let kinds = self.applied.values().map(|entry| &entry.kind);
        kinds
            .filter(|kind| matches!(kind, EntryKind::Membership(next) if next.is_joint()))
            .count()
    }

    pub fn committed_through(&self) -> LogIndex {
        self.committed
            .last_key_value()
            .map_or(LogIndex(0), |(index, _)| *index)
    }

    pub fn term_of(&self, index: LogIndex) -> Term {
        self.committed.get(&index).copied().unwrap_or_default()
    }

    /// Tells of entries that were committed before the test began.
    pub fn assume_committed(&mut self, entries: &[Entry], through: LogIndex) {
        for entry in entries.iter().filter(|entry| entry.index <= through) {
            self.committed.insert(entry.index, entry.term);
            self.applied.insert(entry.index, entry.clone());
        }
    }

    pub fn membership_as_of(&self, index: LogIndex) -> Membership {
        let applied = self.applied.range(..=index).rev();
        applied
            .filter_map(|(_, entry)| match &entry.kind {
                EntryKind::Membership(membership) => Some(membership.clone()),
                _ => None,
            })
            .next()
            .unwrap_or_else(|| self.first_membership.clone())
    }

    /// Whatever is committed anywhere when a read is asked must be seen by it.
    pub fn read_asked(&mut self, tickets: &[ReadTicket]) {
        for ticket in tickets {
            self.reads.insert(*ticket, self.committed_through());
        }
    }

    pub fn effects(&mut self, effects: &Effects) {
        self.fetches += effects.fetch.len();
        self.snapshots += usize::from(effects.install_snapshot.is_some());
        for entry in &effects.apply {
            let first = self
                .applied
                .entry(entry.index)
                .or_insert_with(|| entry.clone());
            assert_eq!(
                first, entry,
                "state-machine safety: two entries are applied at one index"
            );
        }
        for (ticket, index) in &effects.reads_ready {
            let floor = self.reads.remove(ticket).expect("a read is answered once");
            assert!(
                *index >= floor,
                "a stale read: {index} is served, {floor} was committed before"
            );
            self.reads_ready += 1;
        }
        for ticket in &effects.reads_failed {
            self.reads.remove(ticket).expect("a read is answered once");
            self.reads_failed += 1;
        }
    }

    /// Election safety, and leader completeness when a leader appears.
    pub fn watch(&mut self, replica: &Replica) {
        if replica.role() != RoleName::Leader {
            return;
        }
        let new = !self.leaders.contains_key(&replica.term());
        let leader = *self.leaders.entry(replica.term()).or_insert(replica.id());
        assert_eq!(
            leader,
            replica.id(),
            "election safety: two leaders in {}",
            replica.term()
        );
        if new {
            self.check_completeness(replica);
        }
    }

    fn check_completeness(&self, leader: &Replica) {
        for (index, term) in &self.committed {
            if *index >= leader.first_index() {
                assert_eq!(
                    leader.term_at(*index),
                    Some(*term),
                    "leader completeness: {} of {} misses {index}",
                    leader.id(),
                    leader.term()
                );
            }
        }
    }

    /// State-machine safety at the level of commit indexes.
    pub fn note_commit(&mut self, replica: &Replica, running: &[&Replica]) {
        let before = self.committed_through();
        let from = replica.first_index().previous().0;
        for index in (from..=replica.commit().0).rev().map(LogIndex) {
            let term = replica
                .term_at(index)
                .expect("what is committed is in the log");
            if index == LogIndex(0) {
                continue;
            }
            match self.committed.get(&index) {
                Some(known) => {
                    assert_eq!(
                        *known,
                        term,
                        "{} committed another entry at {index}",
                        replica.id()
                    );
                    if index <= before {
                        break;
                    }
                }
                None => {
                    self.committed.insert(index, term);
                }
            }
        }
        if self.committed_through() > before {
            let newest = running
                .iter()
                .filter(|other| other.role() == RoleName::Leader)
                .max_by_key(|other| other.term());
            if let Some(leader) = newest {
                self.check_completeness(leader);
            }
        }
    }

    /// Log matching between two replicas.
    pub fn check_matching(&self, one: &Replica, other: &Replica) {
        let low = one.first_index().max(other.first_index());
        let high = one.last().index.min(other.last().index);
        let mut must_match = false;
        for index in (low.0..=high.0).rev().map(LogIndex) {
            let same = one.term_at(index) == other.term_at(index);
            assert!(
                same || !must_match,
                "log matching: {} and {} agree after {index} but not there",
                one.id(),
                other.id()
            );
            must_match |= same;
        }
    }

    pub fn position(&self, index: LogIndex) -> LogPosition {
        LogPosition {
            index,
            term: self.term_of(index),
        }
    }
}
