//! The membership at every index the log may still be truncated to.

use crate::membership::Membership;
use crate::position::LogIndex;

/// Memberships with the index from which each is in force, ascending; never empty.
#[derive(Clone, Debug, Hash)]
pub(crate) struct MembershipHistory {
    entries: Vec<(LogIndex, Membership)>,
    /// Grows with every change, so that a caller sees that something changed.
    version: u64,
}

impl MembershipHistory {
    /// Starts with the membership as of the start of the log.
    pub(crate) fn new(index: LogIndex, membership: Membership) -> MembershipHistory {
        MembershipHistory {
            entries: vec![(index, membership)],
            version: 0,
        }
    }

    fn newest(&self) -> &(LogIndex, Membership) {
        self.entries.last().expect("a history is never empty")
    }

    /// The membership in force.
    pub(crate) fn latest(&self) -> &Membership {
        &self.newest().1
    }

    /// Where the membership in force begins.
    pub(crate) fn latest_index(&self) -> LogIndex {
        self.newest().0
    }

    /// The membership that was in force at `index`, and where it begins.
    pub(crate) fn as_of(&self, index: LogIndex) -> (LogIndex, &Membership) {
        let after = self.entries.partition_point(|(from, _)| *from <= index);
        let (from, membership) = &self.entries[after.saturating_sub(1)];
        (*from, membership)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// A membership entry was appended.
    pub(crate) fn append(&mut self, index: LogIndex, membership: Membership) {
        assert!(
            index > self.latest_index(),
            "a membership at {index} is not the newest"
        );
        self.entries.push((index, membership));
        self.version += 1;
    }

    /// Entries from `from` on were truncated.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        while self.entries.len() > 1 && self.latest_index() >= from {
            self.entries.pop();
            self.version += 1;
        }
    }

    /// The log will never be truncated at or below `index` any more.
    pub(crate) fn compact(&mut self, index: LogIndex) {
        let after = self.entries.partition_point(|(from, _)| *from <= index);
        self.entries.drain(..after.saturating_sub(1));
    }

    /// The log was replaced by a snapshot.
    pub(crate) fn reset(&mut self, index: LogIndex, membership: Membership) {
        self.entries = vec![(index, membership)];
        self.version += 1;
    }

    pub(crate) fn check_invariants(&self, last: LogIndex) {
        assert!(
            self.entries.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "memberships are out of order"
        );
        assert!(
            self.entries.len() == 1 || self.latest_index() <= last,
            "a membership lies past the end of the log"
        );
        for (index, membership) in &self.entries {
            assert!(
                membership
                    .voters
                    .iter()
                    .chain(membership.outgoing.iter().flatten())
                    .all(|id| membership.members.contains_key(id)),
                "the membership at {index} has a voter that is no member"
            );
        }
    }
}
