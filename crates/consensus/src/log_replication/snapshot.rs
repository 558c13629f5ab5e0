//! Whole snapshots: for followers that need entries no longer in the log.
//!
//! The host streams and stages them; the core decides whether a staged one is taken. What a snapshot holds is
//! committed, so it may be taken whoever sent it.

use crate::input::SnapshotMeta;
use crate::messages::{AppendOutcome, Message};
use crate::position::LogPosition;
use crate::replica::{NUMBER_MAX, Replica};
use crate::roles::Role;

impl Replica {
    pub(crate) fn snapshot_staged(&mut self, meta: SnapshotMeta) {
        let plausible = meta.leader_term.0 <= NUMBER_MAX
            && meta.position.index.0 <= NUMBER_MAX
            && meta.position.term <= meta.leader_term
            && meta.leader != self.config.id;
        if !plausible {
            return;
        }
        if meta.leader_term > self.term {
            self.become_follower(meta.leader_term, Some(meta.leader));
        } else if meta.leader_term == self.term {
            self.hear_leader(meta.leader);
        }
        if matches!(self.role, Role::Leader(_)) {
            return;
        }
        let position = meta.position;
        if position.index > self.commit {
            if self.log.term_at(position.index) == Some(position.term) {
                // The log has it all: the snapshot only tells that it is committed.
                self.advance_commit(position.index);
            } else {
                self.install(meta);
            }
        }
        if let Some(leader) = self.leader() {
            let outcome = AppendOutcome::Accepted {
                match_index: self.commit,
            };
            self.send_after_sync(leader, Message::AppendReply { outcome });
        }
    }

    fn install(&mut self, meta: SnapshotMeta) {
        let position = meta.position;
        self.log.reset(position);
        self.durability.reset(position);
        self.memberships
            .reset(position.index, meta.membership.clone());
        self.commit = position.index;
        self.released = position.index;
        self.applied = position.index;
        self.out.install_snapshot = Some(meta);
    }

    pub(crate) fn log_compacted(&mut self, position: LogPosition) {
        if position.index <= self.log.start().index {
            return;
        }
        assert!(
            position.index <= self.applied,
            "{} is told that its log is gone up to {position}, but only {} is applied",
            self.config.id,
            self.applied
        );
        self.log.compact(position);
        self.memberships.compact(position.index);
    }
}
