//! Full disks: who has room leads.
//!
//! A member says with every answer to a heartbeat whether its disk is full, and campaigns later than others while it is. A
//! leader whose disk is full hands over to a voter that has room and everything that is committed. If there is none it goes
//! on leading, so that reads do; its host refuses proposals.
//!
//! Nothing of this is needed for safety: a full disk is a slow one.

use crate::position::NodeId;
use crate::replica::Replica;
use crate::roles::Role;

/// How long a leader with a full disk goes on after a successor did not take over in time, in longest election timeouts.
pub(crate) const ROOM_PAUSE_ELECTION_TIMEOUTS: u32 = 10;

impl Replica {
    /// A member said whether its disk is full.
    pub(crate) fn told_of_room(&mut self, from: NodeId, disk_full: bool) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&from)
        {
            progress.disk_full = Some(disk_full);
        }
    }

    pub(crate) fn tick_room(&mut self) {
        let successor = self.successor_with_room();
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        leader.room_pause = leader.room_pause.saturating_sub(1);
        if leader.transfer.is_none()
            && let Some(to) = successor
        {
            self.begin_transfer(to);
        }
    }

    /// On a leader whose disk is full: whom it hands over to, or is about to.
    #[must_use]
    pub fn successor_with_room(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        if !self.disk_full || leader.room_pause > 0 {
            return None;
        }
        let others = leader.progress.iter();
        others
            .filter(|(id, progress)| {
                self.can_succeed(**id)
                    && progress.disk_full == Some(false)
                    && progress.is_recently_active(&self.config)
                    && progress.match_index() >= Some(self.commit)
            })
            .max_by_key(|(id, progress)| {
                let priority = self.memberships.latest().priority(**id);
                (priority, progress.match_index())
            })
            .map(|(id, _)| *id)
    }

    /// On a leader: whether, as far as it was told, so many voters have room that what is proposed can be committed.
    #[must_use]
    pub fn quorum_has_room(&self) -> bool {
        let Role::Leader(leader) = &self.role else {
            return false;
        };
        let own = self.config.id;
        let full = |id| match leader.progress.get(&id) {
            Some(progress) => progress.disk_full == Some(true),
            None => id == own && self.disk_full,
        };
        self.memberships.latest().has_quorum(|id| !full(id))
    }
}
