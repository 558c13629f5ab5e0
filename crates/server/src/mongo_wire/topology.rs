//! This member's place in the replica set as drivers see it, with the counter that orders its changes.
//!
//! Promises: every visible change counts up and wakes all waiting `hello`s; an error never carries a counter ahead
//! of what `hello` returns, since both read the same view.

use std::sync::atomic::{AtomicU64, Ordering};

use bson::oid::ObjectId;
use node::{NodeStatus, RoleName};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

use super::document_writer::DocumentWriter;

/// What this member is to a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Takes writes.
    Primary,
    /// A voter that serves reads.
    Secondary,
    /// Catching up; not in `hosts`.
    Learner,
    /// Not a member yet.
    Outside,
}

/// One state of the topology. Never changes; a change makes a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// `topologyVersion.counter`
    pub counter: i64,
    pub kind: Kind,
    pub member: u64,
    pub term: u64,
    /// The latest change of who is a member, as drivers compare it.
    pub set_version: i32,
    /// The client addresses of the voters, of those that are to leave too while their votes count, and of the primary.
    pub hosts: Vec<String>,
    /// This member's client address.
    pub me: String,
    pub primary: Option<String>,
    /// The process is leaving: clients should go elsewhere.
    pub stopping: bool,
}

/// The current view and those who wait for the next.
pub(crate) struct Topology {
    process_id: ObjectId,
    advertise: String,
    view: watch::Sender<Arc<View>>,
    last_write: Mutex<LastWrite>,
    changes: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct LastWrite {
    index: u64,
    wall_ms: i64,
}

impl Topology {
    /// A topology in which this member stands outside until its status is known.
    pub(crate) fn new(advertise: String) -> Self {
        let outside = View {
            counter: 0,
            kind: Kind::Outside,
            member: 0,
            term: 0,
            set_version: 1,
            hosts: Vec::new(),
            me: advertise.clone(),
            primary: None,
            stopping: false,
        };
        Topology {
            process_id: ObjectId::new(),
            advertise,
            view: watch::Sender::new(Arc::new(outside)),
            last_write: Mutex::new(LastWrite::default()),
            changes: AtomicU64::new(0),
        }
    }

    pub(crate) fn process_id(&self) -> ObjectId {
        self.process_id
    }

    /// The latest view.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Follows the views from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Visible changes so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Takes in the node's status; pushes a new view if anything in it is visible to drivers.
    pub(crate) fn update(&self, status: &NodeStatus) {
        self.replace(|old| View {
            counter: old.counter,
            stopping: old.stopping,
            ..self.view_of(status)
        });
    }

    /// Tells clients to go elsewhere.
    pub(crate) fn announce_stop(&self) {
        self.replace(|old| View {
            stopping: true,
            ..old.clone()
        });
    }

    fn replace(&self, next: impl FnOnce(&View) -> View) {
        self.view.send_if_modified(|current| {
            let mut view = next(current);
            if view == **current {
                return false;
            }
            view.counter += 1;
            *current = Arc::new(view);
            self.changes.fetch_add(1, Ordering::Relaxed);
            true
        });
    }

    fn view_of(&self, status: &NodeStatus) -> View {
        // This member knows its own address best: the membership learns it, or a changed one, only through the log.
        let address = |id| match status.member(id) {
            _ if id == status.id => Some(self.advertise.clone()),
            Some(context) if !context.addresses.client.is_empty() => Some(context.addresses.client),
            _ => None,
        };
        let mut voters = status.membership.all_voters();
        let is_member = status.membership.members.contains_key(&status.id);
        let kind = match status.role {
            RoleName::Leader if status.writable => Kind::Primary,
            _ if !is_member => Kind::Outside,
            _ if !voters.contains(&status.id) => Kind::Learner,
            _ => Kind::Secondary,
        };
        // A leader that cannot write yet is not a primary to anybody.
        let leader = status
            .leader
            .filter(|leader| *leader != status.id || kind == Kind::Primary);
        if kind == Kind::Primary {
            // Drivers drop a primary that is not in its own list, though it may lead until its removal is committed.
            voters.insert(status.id);
        }
        let hosts = voters.iter().filter_map(|id| address(*id)).collect();
        View {
            counter: 0,
            kind,
            member: status.id.0,
            term: status.term.0,
            set_version: i32::try_from(status.membership.next_node_id)
                .unwrap_or(i32::MAX)
                .max(1),
            hosts,
            me: self.advertise.clone(),
            primary: leader.and_then(address),
            stopping: false,
        }
    }

    /// When the state last changed, for `lastWrite`: the time at which this was first asked about `applied`.
    pub(crate) fn last_write_ms(&self, applied: u64, now_ms: i64) -> i64 {
        let mut last = self.last_write.lock();
        if last.wall_ms == 0 || applied > last.index {
            *last = LastWrite {
                index: applied,
                wall_ms: now_ms,
            };
        }
        last.wall_ms
    }

    /// Writes `topologyVersion`.
    pub(crate) fn write_version(&self, writer: &mut DocumentWriter, view: &View) {
        writer.begin_document("topologyVersion");
        writer.object_id("processId", self.process_id);
        writer.i64("counter", view.counter);
        writer.end();
    }
}

impl View {
    pub(crate) fn is_primary(&self) -> bool {
        self.kind == Kind::Primary
    }

    /// Grows with the term, as drivers compare it: big-endian, behind a constant that sorts after old servers' ids.
    pub(crate) fn election_id(&self) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
        bytes[4..].copy_from_slice(&self.term.to_be_bytes());
        ObjectId::from_bytes(bytes)
    }
}
