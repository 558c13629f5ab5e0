//! What a node says about itself, and the counters its threads keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use consensus::{LogIndex, Membership, NodeId, RoleName, Term};
use parking_lot::RwLock;

use crate::config::MemberContext;
use crate::metrics::{LogCounters, QueueGauges, ReplicationCounters};

/// A node's place in its cluster. Changes of it are pushed to observers.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// The cluster's identity.
    pub cluster_id: [u8; 16],
    /// This member.
    pub id: NodeId,
    /// Its role.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// The leader it follows (itself when it leads).
    pub leader: Option<NodeId>,
    /// True on a leader that has committed an entry of its own term: it takes writes and answers reads.
    pub writable: bool,
    /// The latest membership in its log.
    pub membership: Membership,
    /// That membership is committed and no step of a change is still to come.
    pub settled: bool,
    /// This member was removed from the cluster; all it can do is to stop.
    pub removed: bool,
    /// What found no room, while this member's disk is full.
    pub disk_full: Option<String>,
    /// Grows by one with every change of this record.
    pub revision: u64,
}

impl NodeStatus {
    /// The newest formats that every member reads.
    pub fn feature_level(&self) -> u32 {
        let members = self.membership.members.values();
        let levels = members.map(|member| MemberContext::decode(&member.context).feature_level);
        levels.min().unwrap_or(0)
    }

    /// Whether this member leads and nobody else has a vote: nothing can be committed without it. Another that is given a
    /// vote can come to lead only with this one's, which the core gives after it has published the new membership.
    pub(crate) fn decides_alone(&self) -> bool {
        let Membership {
            voters, outgoing, ..
        } = &self.membership;
        self.writable && outgoing.is_none() && voters.len() == 1 && voters.contains(&self.id)
    }

    /// The addresses of `id`, if it is a member.
    pub fn member(&self, id: NodeId) -> Option<MemberContext> {
        self.membership
            .members
            .get(&id)
            .map(|member| MemberContext::decode(&member.context))
    }
}

/// Log positions of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indices {
    /// Last entry in the log.
    pub last: u64,
    /// Known to be committed.
    pub commit: u64,
    /// Applied to the state machine.
    pub applied: u64,
    /// Synced to this member's disk.
    pub durable: u64,
}

/// Counters that threads update without a lock.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub last: AtomicU64,
    pub commit: AtomicU64,
    pub applied: AtomicU64,
    pub durable: AtomicU64,
    pub log: LogCounters,
    pub queues: QueueGauges,
    pub replication: ReplicationCounters,
    pub prefetched: AtomicU64,
}

impl Gauges {
    pub fn read(&self) -> Indices {
        Indices {
            last: self.last.load(Ordering::Acquire),
            commit: self.commit.load(Ordering::Acquire),
            applied: self.applied.load(Ordering::Acquire),
            durable: self.durable.load(Ordering::Acquire),
        }
    }

    pub fn set(gauge: &AtomicU64, index: LogIndex) {
        gauge.store(index.0, Ordering::Release);
    }
}

/// Told of every change of status; runs on the core thread, so it must be quick.
pub type Observer = Box<dyn Fn(&Arc<NodeStatus>) + Send + Sync>;

/// The latest status and those who watch it.
pub(crate) struct StatusBoard {
    latest: RwLock<Arc<NodeStatus>>,
    observers: RwLock<Vec<Observer>>,
}

impl StatusBoard {
    pub fn new(status: NodeStatus) -> Self {
        StatusBoard {
            latest: RwLock::new(Arc::new(status)),
            observers: RwLock::new(Vec::new()),
        }
    }

    pub fn latest(&self) -> Arc<NodeStatus> {
        self.latest.read().clone()
    }

    /// Tells `observer` the latest status, and every one after it: none is missed, none comes out of order.
    pub fn observe(&self, observer: Observer) {
        let mut observers = self.observers.write();
        observer(&self.latest());
        observers.push(observer);
    }

    /// Replaces the status, counting up its revision, and tells the observers.
    pub fn publish(&self, mut status: NodeStatus) {
        // Held throughout: whoever comes to observe sees either this status as the latest, or its publication.
        let observers = self.observers.read();
        status.revision = self.latest.read().revision + 1;
        let status = Arc::new(status);
        *self.latest.write() = status.clone();
        for observer in observers.iter() {
            observer(&status);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(term: u64) -> NodeStatus {
        NodeStatus {
            cluster_id: [0; 16],
            id: NodeId(1),
            role: RoleName::Follower,
            term: Term(term),
            leader: None,
            writable: false,
            membership: crate::entry_codec::empty_membership(),
            settled: true,
            removed: false,
            disk_full: None,
            revision: 0,
        }
    }

    #[test]
    fn only_a_leader_that_alone_has_a_vote_decides_alone() {
        let decides = |writable, voters: &[u64], outgoing: Option<&[u64]>| {
            let set = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
            let mut status = status(1);
            status.writable = writable;
            status.membership.voters = set(voters);
            status.membership.outgoing = outgoing.map(set);
            status.decides_alone()
        };
        assert!(decides(true, &[1], None));
        assert!(!decides(false, &[1], None));
        assert!(!decides(true, &[1, 2], None));
        assert!(!decides(true, &[2], None));
        assert!(!decides(true, &[], None));
        assert!(!decides(true, &[1], Some(&[1, 2])));
    }

    /// A node that begins to lead just as its server starts to watch it would never be shown to drivers as the primary.
    #[test]
    fn a_status_published_while_an_observer_comes_is_not_missed() {
        let board = Arc::new(StatusBoard::new(status(1)));
        let (seen, told) = crossbeam_channel::unbounded();
        let publisher = board.clone();
        board.observe(Box::new(move |status| {
            seen.send(status.term.0).expect("the test waits");
            if status.term.0 == 1 {
                let (done, published) = crossbeam_channel::bounded(1);
                let publisher = publisher.clone();
                std::thread::spawn(move || {
                    publisher.publish(self::status(2));
                    done.try_send(()).ok();
                });
                // It either gets done now, or waits for this observer.
                published.recv_timeout(Duration::from_millis(100)).ok();
            }
        }));
        let next = || told.recv_timeout(Duration::from_secs(10));
        assert_eq!((next(), next()), (Ok(1), Ok(2)));
    }
}
