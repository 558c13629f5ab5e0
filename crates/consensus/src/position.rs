//! Identities and places in the log.
//!
//! Every number that names something has its own type, so that an index is never compared with a term.
//! Index 0 with term 0 is the place before the first entry ever written.

use std::fmt;
use std::sync::Arc;

use crate::membership::Membership;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// A member of the cluster. Never reused, not even after the member was removed.
    NodeId, "n"
);
number!(
    /// A Raft term: at most one leader exists in each.
    Term, "t"
);
number!(
    /// A place in the log; the first entry ever written has index 1.
    LogIndex, "i"
);
number!(
    /// One Raft group among the many that a process may host. The core itself never looks at it.
    GroupId, "g"
);
number!(
    /// The caller's name for a proposal, echoed with its result.
    ProposalId, "p"
);
number!(
    /// The caller's name for a read; unique while the replica lives.
    ReadTicket, "r"
);
number!(
    /// The order number of a [`crate::Persist`]; 0 is what was on disk when the replica started.
    PersistPosition, "w"
);

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }

    /// The index before this one; the place before everything stays where it is.
    #[must_use]
    pub fn previous(self) -> LogIndex {
        LogIndex(self.0.saturating_sub(1))
    }
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

/// The index of an entry together with its term: two logs that share a position share everything before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// Where.
    pub index: LogIndex,
    /// The term of the entry there.
    pub term: Term,
}

impl LogPosition {
    /// Before the first entry ever written.
    pub const ZERO: LogPosition = LogPosition {
        index: LogIndex(0),
        term: Term(0),
    };

    /// Whether a log that ends here is at least as complete as one that ends at `other`: the later last
    /// term wins, then the longer log (Raft §5.4.1).
    #[must_use]
    pub fn is_up_to_date_with(self, other: LogPosition) -> bool {
        (self.term, self.index) >= (other.term, other.index)
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index.0, self.term.0)
    }
}

/// Opaque bytes: a command, or a member's context. Cheap to clone.
pub type Payload = Arc<[u8]>;

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its place.
    pub index: LogIndex,
    /// The term of the leader that wrote it first.
    pub term: Term,
    /// What it holds.
    pub kind: EntryKind,
}

impl Entry {
    /// Index and term together.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        LogPosition {
            index: self.index,
            term: self.term,
        }
    }

    /// What the entry is taken to weigh in limits: its payload plus a constant for the rest.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 32;
        OVERHEAD_BYTES
            + match &self.kind {
                EntryKind::Noop => 0,
                EntryKind::Command(payload) => payload.len(),
                EntryKind::Membership(membership) => membership.bytes(),
            }
    }
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Written by each new leader, so that it has something of its own term to commit.
    Noop,
    /// A command of the state machine.
    Command(Payload),
    /// The members from here on.
    Membership(Membership),
}
