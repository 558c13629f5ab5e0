//! One replica.

use std::collections::BTreeMap;

use crate::effects::Effects;
use crate::input::{Config, Input, Recovered};
use crate::membership::Membership;
use crate::position::{LogIndex, LogPosition, NodeId, Term};

/// The part a replica plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleName {
    /// A voter that follows.
    Follower,
    /// Asks whether a campaign would succeed.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
    /// Follows without counting.
    Learner,
}

/// What a leader knows of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The highest index known to be durable there and equal to the leader's; `None`: not known yet.
    pub match_index: Option<LogIndex>,
    /// The next index to send.
    pub next_index: LogIndex,
    /// Heard from since the last check of the quorum.
    pub recently_active: bool,
}

/// One replica of the log: a pure function of its inputs.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    membership: Membership,
}

impl Replica {
    /// A replica as it finds itself on its disk.
    #[must_use]
    pub fn new(config: Config, recovered: Recovered) -> (Replica, Effects) {
        (
            Replica {
                config,
                membership: recovered.membership,
            },
            Effects::default(),
        )
    }
    /// One input.
    pub fn step(&mut self, input: Input) -> Effects {
        self.step_all([input])
    }
    /// All inputs of one wake-up.
    pub fn step_all(&mut self, _inputs: impl IntoIterator<Item = Input>) -> Effects {
        Effects::default()
    }
    /// The part this replica plays.
    #[must_use]
    pub fn role(&self) -> RoleName {
        RoleName::Follower
    }
    /// This replica.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }
    /// Its term.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(0)
    }
    /// The leader, if known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        None
    }
    /// How far is committed.
    #[must_use]
    pub fn commit(&self) -> LogIndex {
        LogIndex(0)
    }
    /// How far the state machine reported to have applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        LogIndex(0)
    }
    /// How far the log is on disk.
    #[must_use]
    pub fn durable(&self) -> LogIndex {
        LogIndex(0)
    }
    /// Where the log ends.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        LogPosition::ZERO
    }
    /// The first index still in the log.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        LogIndex(1)
    }
    /// The latest membership in the log.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }
    /// The membership as of the commit index.
    #[must_use]
    pub fn committed_membership(&self) -> &Membership {
        &self.membership
    }
    /// On a leader: what it knows of the other members.
    #[must_use]
    pub fn progress(&self) -> BTreeMap<NodeId, PeerProgress> {
        BTreeMap::new()
    }
    /// The term of the entry at `index`, if the log knows it.
    #[must_use]
    pub fn term_at(&self, _index: LogIndex) -> Option<Term> {
        None
    }
    /// Panics if the state contradicts itself.
    pub fn check_invariants(&self) {}
}
