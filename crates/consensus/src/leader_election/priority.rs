//! Election priority: who should lead, if it can.
//!
//! A voter that others outrank waits longer before it campaigns. A leader that is outranked hands over to a voter that has
//! been ready for a while. If that does not last, it waits longer each time, so that leadership does not swing to and fro
//! with a member that comes and goes.
//!
//! A voter of priority 0 does not campaign, with one exception: when it had to refuse another its vote because the own
//! log is longer. What it holds may be committed, so nobody else could ever win. It then leads until another has caught up.

use std::collections::BTreeSet;

use crate::leader_election::timer::Pace;
use crate::position::NodeId;
use crate::replica::Replica;
use crate::roles::Role;

/// How long a better leader must have been ready before it is handed leadership, in longest election timeouts.
const READY_ELECTION_TIMEOUTS: u32 = 10;
/// Each hand-over doubles the wait for the next, up to this many times.
const DOUBLINGS_MAX: u32 = 6;
/// A ready voter lacks at most this many of the committed entries.
const READY_LAG_ENTRIES_MAX: u64 = 1_000;

/// A voter that would be the better leader.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Preferred {
    id: NodeId,
    ready_ticks: u32,
}

/// What a replica remembers of hand-overs, whatever its role.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Precedence {
    /// How many priorities above the own one the voters have.
    outranked_by: u32,
    /// The membership this was worked out for.
    version: Option<u64>,
    /// Recent hand-overs to voters of a higher priority.
    hand_overs: u32,
    /// Ticks since the last of them.
    since_ticks: u32,
    /// Another voter was refused because its log is shorter, and no leader was found since.
    needed: bool,
}

impl Precedence {
    /// Whether this replica must campaign though its priority is 0.
    pub(crate) fn is_needed(&self) -> bool {
        self.needed
    }

    /// Another voter was refused a vote that it would have had if its log were as long as the own one.
    pub(crate) fn refused_for_log(&mut self) {
        self.needed = true;
    }

    pub(crate) fn leader_found(&mut self) {
        self.needed = false;
    }
}

impl Replica {
    /// The lengths of this replica's election timeouts.
    pub(crate) fn pace(&self) -> Pace {
        // Whoever has room on its disk goes first.
        let behind = self.precedence.outranked_by + u32::from(self.disk_full);
        Pace::new(&self.config, behind)
    }

    /// Works out anew who outranks this replica, if the membership changed.
    pub(crate) fn review_precedence(&mut self) {
        let version = self.memberships.version();
        if self.precedence.version == Some(version) {
            return;
        }
        let latest = self.memberships.latest();
        let own = latest.priority(self.config.id);
        let voters = latest.all_voters();
        let higher: BTreeSet<u32> = voters
            .iter()
            .map(|id| latest.priority(*id))
            .filter(|priority| *priority > own)
            .collect();
        self.precedence.version = Some(version);
        self.precedence.outranked_by = u32::try_from(higher.len()).expect("there are few voters");
    }

    pub(crate) fn tick_precedence(&mut self) {
        if self.precedence.hand_overs > 0 {
            self.precedence.since_ticks = self.precedence.since_ticks.saturating_add(1);
        }
        if self.precedence.outranked_by == 0 {
            return;
        }
        let best = self.ready_superior();
        let patience = self.hand_over_patience();
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(id) = best else {
            leader.preferred = None;
            return;
        };
        let known = leader.preferred.filter(|preferred| preferred.id == id);
        let ready_ticks = known.map_or(0, |preferred| preferred.ready_ticks) + 1;
        leader.preferred = Some(Preferred { id, ready_ticks });
        if ready_ticks >= patience {
            leader.preferred = None;
            self.count_hand_over();
            self.begin_transfer(id);
        }
    }

    fn base_patience(&self) -> u32 {
        let timeout = self.config.election_ticks_max;
        timeout.saturating_mul(READY_ELECTION_TIMEOUTS)
    }

    fn hand_over_patience(&self) -> u32 {
        if self.memberships.latest().priority(self.config.id) == 0 {
            return self.config.election_ticks_max;
        }
        self.base_patience()
            .saturating_mul(1 << self.precedence.hand_overs.min(DOUBLINGS_MAX))
    }

    fn count_hand_over(&mut self) {
        let long = self.base_patience().saturating_mul(2 << DOUBLINGS_MAX);
        if self.precedence.since_ticks >= long {
            self.precedence.hand_overs = 0;
        }
        self.precedence.hand_overs = self.precedence.hand_overs.saturating_add(1);
        self.precedence.since_ticks = 0;
    }

    /// The voter of the highest priority above the own one that is up and nearly caught up, if this replica leads, is not
    /// handing over and no membership change is under way.
    fn ready_superior(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        let latest = self.memberships.latest();
        let settled = self.memberships.latest_index() <= self.commit && !latest.is_joint();
        if leader.transfer.is_some() || !settled {
            return None;
        }
        let own = latest.priority(self.config.id);
        let needed = self.commit.0.saturating_sub(READY_LAG_ENTRIES_MAX);
        let others = leader.progress.iter();
        others
            .filter(|(id, progress)| {
                latest.voters.contains(id)
                    && latest.priority(**id) > own
                    && progress.is_recently_active(&self.config)
                    && progress.disk_full != Some(true)
                    && progress
                        .match_index()
                        .is_some_and(|index| index.0 >= needed)
            })
            .max_by_key(|(id, _)| (latest.priority(**id), **id))
            .map(|(id, _)| *id)
    }
}
