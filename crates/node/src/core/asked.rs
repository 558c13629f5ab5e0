//! Changes of the voters that wait for proof that those who would decide are alive.
//!
//! Consensus counts a voter as there until a longest election timeout has passed since it was heard of. One that died a
//! moment ago is still counted: a change that makes its vote a necessary one could never be finished, nor undone. So such
//! a change waits until a majority of the new voters was heard of after it was asked for; those that stay silent count as
//! gone in the end, and consensus refuses.

use consensus::{Input, MembershipChange, NodeId};

use super::{Core, Outputs};
use crate::events::{MembershipOutcome, Waiter};

/// Changes that wait at once.
const ASKED_MAX: usize = 16;
/// What is heard of a voter this soon after a change was asked for may have been on its way already.
const ON_ITS_WAY_TICKS: u32 = 2;

/// A change, and for how long it has waited.
pub(super) struct Asked {
    change: MembershipChange,
    waiter: Waiter,
    ticks: u32,
}

impl Core {
    /// Proposes a change, at once if it does not touch the voters or cannot be made anyway.
    pub(super) fn ask(
        &mut self,
        change: MembershipChange,
        waiter: Waiter,
        inputs: &mut Vec<Input>,
    ) {
        let asked = Asked {
            change,
            waiter,
            ticks: 0,
        };
        if self.asked.len() >= ASKED_MAX || self.is_decided(&asked) {
            self.propose_change(asked, inputs);
        } else {
            self.asked.push(asked);
        }
    }

    /// Proposes what has waited long enough.
    pub(super) fn tick_asked(&mut self, ticks: u32, inputs: &mut Vec<Input>) {
        for mut asked in std::mem::take(&mut self.asked) {
            asked.ticks = asked.ticks.saturating_add(ticks);
            match self.is_decided(&asked) {
                true => self.propose_change(asked, inputs),
                false => self.asked.push(asked),
            }
        }
    }

    /// Answers those that still wait; for the end of the node.
    pub(super) fn abandon_asked(&mut self, out: &mut Outputs) {
        for asked in std::mem::take(&mut self.asked) {
            if let Waiter::Change(done) = asked.waiter {
                let say = move || done(MembershipOutcome::Stopping);
                out.answers.push(Box::new(say));
            }
        }
    }

    fn propose_change(&mut self, asked: Asked, inputs: &mut Vec<Input>) {
        let id = self.next_proposal(asked.waiter);
        let change = asked.change;
        inputs.push(Input::ProposeMembership { id, change });
    }

    /// Whether there is nothing to wait for any more: consensus knows the answer.
    fn is_decided(&self, asked: &Asked) -> bool {
        let membership = self.replica.membership();
        let Ok(next) = membership.changed(&asked.change) else {
            return true;
        };
        if next.voters == membership.voters || !self.writable() {
            return true;
        }
        let progress = self.replica.progress();
        let own = self.replica.id();
        let proven = |id: &NodeId| {
            let ago = progress.get(id).and_then(|peer| peer.heard_ticks_ago);
            *id == own || ago.is_some_and(|ago| ago + ON_ITS_WAY_TICKS < asked.ticks)
        };
        let open =
            |id: &NodeId| !proven(id) && progress.get(id).is_some_and(|peer| peer.recently_active);
        let proven_voters = next.voters.iter().filter(|id| proven(id)).count();
        proven_voters > next.voters.len() / 2 || !next.voters.iter().any(open)
    }
}
