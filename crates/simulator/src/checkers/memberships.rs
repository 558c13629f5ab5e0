//! Membership changes (Raft thesis §4): a leader begins none before the one before it is committed and before it has
//! committed an entry of its term; one voter changes at a time, or a joint membership comes between; ids are never used twice.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{LogIndex, Membership, NodeId, Replica, RoleName, Term};

use crate::view::{Checker, WorldView};

type Finding = Result<(), String>;

/// The checker.
#[derive(Default)]
pub(super) struct Memberships {
    leaders: BTreeMap<usize, Leader>,
    /// Ids that were members and are not any more, as committed.
    gone: BTreeSet<NodeId>,
    /// The newest committed membership, by the index up to which it was seen.
    committed: Option<(u64, Membership)>,
    /// The membership as of each commit index that was seen.
    as_of: BTreeMap<LogIndex, Membership>,
    /// Where each process was when it was last looked at.
    commits: BTreeMap<usize, (u64, LogIndex)>,
}

struct Leader {
    incarnation: u64,
    term: Term,
    membership: Membership,
    /// The entry at the commit index was of its own term.
    ready: bool,
}

impl Checker for Memberships {
    fn stepped(&mut self, view: &WorldView<'_>, machine: usize) -> Finding {
        let Some(node) = &view.machines[machine].node else {
            return Ok(());
        };
        let replica = node.replica();
        let incarnation = view.machines[machine].incarnation;
        let at = Some((incarnation, replica.commit()));
        if self.commits.get(&machine).copied() != at {
            self.commits
                .insert(machine, (incarnation, replica.commit()));
            self.compare(replica)?;
            self.note_committed(replica)?;
        }
        if replica.role() != RoleName::Leader {
            self.leaders.remove(&machine);
            return Ok(());
        }
        let incarnation = view.machines[machine].incarnation;
        let before = self
            .leaders
            .get(&machine)
            .filter(|leader| leader.incarnation == incarnation && leader.term == replica.term());
        if let Some(before) = before {
            if before.membership == *replica.membership() {
                if !before.ready
                    && let Some(leader) = self.leaders.get_mut(&machine)
                {
                    leader.ready = is_ready(replica);
                }
                return Ok(());
            }
            check_change(replica, before)?;
        }
        let leader = Leader {
            incarnation,
            term: replica.term(),
            membership: replica.membership().clone(),
            ready: is_ready(replica),
        };
        self.leaders.insert(machine, leader);
        Ok(())
    }
}

impl Memberships {
    /// The same log makes the same membership.
    fn compare(&mut self, replica: &Replica) -> Finding {
        let membership = replica.committed_membership();
        // A new directory knows nobody before the first membership in the log: the founder's own is not in it.
        if membership.members.is_empty() {
            return Ok(());
        }
        let first = self
            .as_of
            .entry(replica.commit())
            .or_insert_with(|| membership.clone());
        match first == membership {
            true => Ok(()),
            false => Err(format!(
                "as of entry {} the voters are {:?} for {}, and {:?} for another; members {:?} and {:?}",
                replica.commit(),
                membership.voters,
                replica.id(),
                first.voters,
                membership.members.keys(),
                first.members.keys()
            )),
        }
    }

    fn note_committed(&mut self, replica: &Replica) -> Finding {
        let commit = replica.commit().0;
        let new = replica.committed_membership();
        match &mut self.committed {
            Some((index, _)) if commit <= *index => return Ok(()),
            Some((index, known)) if known == new => {
                *index = commit;
                return Ok(());
            }
            _ => {}
        }
        if let Some(back) = new.members.keys().find(|id| self.gone.contains(id)) {
            return Err(format!("{back} is a member again after it had left"));
        }
        if let Some((_, known)) = &self.committed {
            let left = known
                .members
                .keys()
                .filter(|id| !new.members.contains_key(id));
            self.gone.extend(left);
        }
        self.committed = Some((commit, new.clone()));
        Ok(())
    }
}

fn is_ready(replica: &Replica) -> bool {
    replica.term_at(replica.commit()) == Some(replica.term())
}

/// A leader appended another membership.
fn check_change(leader: &Replica, before: &Leader) -> Finding {
    let (old, new) = (&before.membership, leader.membership());
    let who = format!("{} of {}", leader.id(), leader.term());
    let committed = leader.committed_membership();
    if committed != old && committed != new {
        return Err(format!(
            "{who} changes the membership again before the last change is committed: {old:?}, then {new:?}"
        ));
    }
    if !is_ready(leader) && !before.ready {
        return Err(format!(
            "{who} changes the membership before it has committed an entry of its term"
        ));
    }
    let differ = old.voters.symmetric_difference(&new.voters).count();
    let sound = match (&old.outgoing, &new.outgoing) {
        (None, None) => differ <= 1,
        (None, Some(outgoing)) => *outgoing == old.voters,
        (Some(_), None) => new.voters == old.voters,
        (Some(one), Some(other)) => one == other && differ == 0,
    };
    match sound {
        true => Ok(()),
        false => Err(format!(
            "{who} goes from voters {:?}, outgoing {:?}, to {:?}, outgoing {:?}, in one step",
            old.voters, old.outgoing, new.voters, new.outgoing
        )),
    }
}
