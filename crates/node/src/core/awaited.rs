//! Who waits for entries that are in the log and not applied yet, beyond the leadership that put them there.
//!
//! A proposal's fate is settled by what is applied at its index (Raft §5.4: of two entries at one index only one is ever
//! committed). A leader that is deposed soon hears from its successor which entries survived, so those who wait are not told
//! "unknown" at once: with the successor's log they learn that the entry was applied, or that it never will be. Only when
//! nothing is heard for a while does nobody know.

use std::collections::VecDeque;

use consensus::LogPosition;

use crate::events::Waiter;

/// How long those who wait stay in suspense after leadership was lost. Drivers wait meanwhile; a successor is elected and
/// heard within an election timeout where there is a majority.
pub(super) const SUSPENSE_TICKS_MAX: u32 = 50;

/// Waiters in the order of their entries: by term, then by index.
#[derive(Default)]
pub(super) struct Awaited {
    waiters: VecDeque<(LogPosition, Waiter)>,
    led: bool,
    suspense_ticks: u32,
}

/// What an applied entry settles.
pub(super) struct Settled {
    /// Who proposed this entry here.
    pub own: Waiter,
    /// Their entries can never be applied.
    pub lost: Vec<Waiter>,
    /// Their entries lie in a stretch of the log that came as a snapshot.
    pub unknown: Vec<Waiter>,
}

impl Awaited {
    /// `waiter` proposed the entry at `position`, which is newer than all before.
    pub fn push(&mut self, position: LogPosition, waiter: Waiter) {
        let newest = self.waiters.back().map(|(position, _)| *position);
        assert!(
            newest.is_none_or(|newest| order(newest) < order(position)),
            "the entry at {position:?} was proposed after the one at {newest:?}"
        );
        self.waiters.push_back((position, waiter));
    }

    /// The entry at `applied` is about to be applied; entries come in the order of their indices.
    pub fn settle(&mut self, applied: LogPosition) -> Settled {
        let mut settled = Settled {
            own: Waiter::Nobody,
            lost: Vec::new(),
            unknown: Vec::new(),
        };
        while let Some((position, _)) = self.waiters.front() {
            let position = *position;
            if position != applied
                && position.index >= applied.index
                && position.term >= applied.term
            {
                break;
            }
            let Some((_, waiter)) = self.waiters.pop_front() else {
                break;
            };
            if position == applied {
                settled.own = waiter;
                break;
            } else if position.index < applied.index {
                settled.unknown.push(waiter);
            } else {
                // Behind an entry of a newer term none of an older term is ever committed.
                settled.lost.push(waiter);
            }
        }
        settled
    }

    /// Time passes; returns those whose suspense has lasted too long.
    pub fn pass(&mut self, leads: bool, ticks: u32) -> Vec<Waiter> {
        if leads || self.led || self.waiters.is_empty() {
            self.suspense_ticks = 0;
        } else {
            self.suspense_ticks = self.suspense_ticks.saturating_add(ticks);
        }
        self.led = leads;
        if self.suspense_ticks < SUSPENSE_TICKS_MAX {
            return Vec::new();
        }
        self.give_up()
    }

    /// Everybody who still waits.
    pub fn give_up(&mut self) -> Vec<Waiter> {
        self.suspense_ticks = 0;
        self.waiters.drain(..).map(|(_, waiter)| waiter).collect()
    }
}

fn order(position: LogPosition) -> (consensus::Term, consensus::LogIndex) {
    (position.term, position.index)
}

#[cfg(test)]
mod tests;
