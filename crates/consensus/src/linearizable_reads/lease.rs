//! Leader leases (Raft thesis §6.4.1), off unless the configuration asks for them.
//!
//! A follower that hears its leader grants nobody a vote for a shortest election timeout. So once a quorum has answered
//! heartbeats, nobody else can be elected for that long after they were *sent*, and the leader may answer reads by itself.
//! This rests on the clocks, as [`crate::Config::lease_ticks`] says; everything else that may elect a leader sooner
//! ends the lease or is not done while leases are on.

use std::collections::{BTreeMap, VecDeque};

use crate::membership::Membership;
use crate::position::NodeId;

/// What a leader knows of who cannot elect another one yet.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Lease {
    ticks: u32,
    now: u64,
    /// Heartbeats sent lately: their numbers, ascending, and when each was sent first.
    sent: VecDeque<(u64, u64)>,
    newest: u64,
    /// When the latest heartbeat was sent that each follower has answered.
    answered: BTreeMap<NodeId, u64>,
    /// A successor was asked to campaign: it may be elected at any time from then on.
    ended: bool,
}

impl Lease {
    pub(crate) fn new(ticks: u32) -> Lease {
        Lease {
            ticks,
            now: 0,
            sent: VecDeque::new(),
            newest: 0,
            answered: BTreeMap::new(),
            ended: false,
        }
    }

    pub(crate) fn tick(&mut self) {
        self.now += 1;
        let (now, ticks) = (self.now, u64::from(self.ticks));
        while self
            .sent
            .pop_front_if(|(_, at)| *at + ticks <= now)
            .is_some()
        {}
        self.answered.retain(|_, at| *at + ticks > now);
    }

    /// A heartbeat with this number goes out, perhaps again.
    pub(crate) fn sent(&mut self, number: u64) {
        if number > self.newest {
            self.newest = number;
            self.sent.push_back((number, self.now));
        }
    }

    pub(crate) fn answered(&mut self, from: NodeId, number: u64) {
        let sent = self
            .sent
            .binary_search_by_key(&number, |(number, _)| *number);
        if let Ok(place) = sent {
            let at = self.sent[place].1;
            let known = self.answered.entry(from).or_insert(at);
            *known = at.max(*known);
        }
    }

    /// More time may have passed than the ticks tell.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
        self.answered.clear();
    }

    /// A successor is asked to campaign.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nobody else can have been elected by now.
    pub(crate) fn holds(&self, own: NodeId, membership: &Membership) -> bool {
        let keeps = |id| id == own || self.answered.contains_key(&id);
        !self.ended && membership.has_quorum(keeps)
    }
}
