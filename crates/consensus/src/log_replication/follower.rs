//! The follower's side: what it takes from its leader.
//!
//! A late or repeated request never truncates entries that match, and never touches committed ones. A rejected
//! request changes nothing but the election timer.

use crate::messages::{AppendOutcome, Message};
use crate::position::{Entry, EntryKind, LogIndex, LogPosition, NodeId, Term};
use crate::replica::Replica;

/// Whether `entries` can follow `previous` in the log of a leader of `term`.
fn is_well_formed(previous: LogPosition, entries: &[Entry], term: Term) -> bool {
    let mut before = previous;
    previous.term <= term
        && entries.iter().all(|entry| {
            let follows = entry.index == before.index.next() && entry.term >= before.term;
            before = entry.position();
            follows && entry.term <= term && entry.term > Term(0)
        })
}

impl Replica {
    pub(crate) fn append_requested(
        &mut self,
        from: NodeId,
        previous: LogPosition,
        entries: Vec<Entry>,
        commit: LogIndex,
    ) {
        if !is_well_formed(previous, &entries, self.term) || !self.hear_leader(from) {
            return;
        }
        let (previous, entries) = self.without_committed(previous, entries);
        if self.log.term_at(previous.index) != Some(previous.term) {
            let conflict = self.conflict_hint(previous);
            let previous = previous.index;
            let outcome = AppendOutcome::Rejected { previous, conflict };
            self.send_now(from, Message::AppendReply { outcome });
            return;
        }
        let match_index = entries.last().map_or(previous.index, |entry| entry.index);
        self.take_entries(entries);
        self.advance_commit(commit.min(match_index).max(self.commit));
        let outcome = AppendOutcome::Accepted { match_index };
        self.send_after_sync(from, Message::AppendReply { outcome });
    }

    /// Committed entries are equal in every leader's log: the request is taken to begin after them.
    fn without_committed(
        &self,
        previous: LogPosition,
        mut entries: Vec<Entry>,
    ) -> (LogPosition, Vec<Entry>) {
        if previous.index >= self.commit {
            return (previous, entries);
        }
        entries.retain(|entry| entry.index > self.commit);
        let committed = self
            .log
            .position_at(self.commit)
            .expect("the log holds what is committed");
        (committed, entries)
    }

    /// The last position of the own log that may match the leader's, given that `previous` does not.
    fn conflict_hint(&self, previous: LogPosition) -> LogPosition {
        self.log
            .last_index_with_term_at_most(previous.index, previous.term)
            .and_then(|index| self.log.position_at(index))
            .unwrap_or(self.log.start())
    }

    /// Takes entries whose predecessor matches; truncates only from a true conflict on.
    fn take_entries(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match self.log.term_at(entry.index) {
                Some(term) if term == entry.term => continue,
                Some(_) => self.truncate(entry.index),
                None => {}
            }
            self.append_entry(entry);
        }
    }

    fn truncate(&mut self, from: LogIndex) {
        assert!(
            from > self.commit,
            "{} is told to truncate at {from}, but {} is committed: two leaders disagree on committed entries",
            self.config.id,
            self.commit
        );
        self.log.truncate(from);
        self.durability.truncated(from);
        self.memberships.truncate(from);
        // Acknowledgements of this wake-up that speak of what is gone were never true.
        self.out.send_after_sync.retain(|envelope| {
            !matches!(
                envelope.message,
                Message::AppendReply { outcome: AppendOutcome::Accepted { match_index } }
                    if match_index >= from
            )
        });
    }

    /// Adds an entry at the end of the log; a membership is in force from here on.
    pub(crate) fn append_entry(&mut self, entry: Entry) {
        self.durability.appended(entry.index);
        if let EntryKind::Membership(membership) = &entry.kind {
            self.memberships.append(entry.index, membership.clone());
        }
        self.log.append(entry);
    }

    pub(crate) fn heartbeat_received(&mut self, from: NodeId, commit: LogIndex, read_round: u64) {
        if !self.hear_leader(from) {
            return;
        }
        self.advance_commit(commit.min(self.log.last_index()).max(self.commit));
        let disk_full = self.disk_full;
        let reply = Message::HeartbeatReply {
            read_round,
            disk_full,
        };
        self.send_now(from, reply);
    }
}
