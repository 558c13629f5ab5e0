//! What has been handed to the disk, and what of it is known to be there.
//!
//! A persist that is under way may hold entries that were truncated since: when it becomes durable, only
//! what it held below every later truncation counts.

use std::collections::VecDeque;

use crate::position::{LogIndex, LogPosition, PersistPosition};

/// A persist that is not durable yet.
#[derive(Clone, Debug, Hash)]
struct Issued {
    position: PersistPosition,
    /// The last index that is durable, and still in the log, once this persist is.
    last: LogIndex,
    age_ticks: u32,
}

/// The state of the log on disk.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Durability {
    issued: VecDeque<Issued>,
    issued_position: PersistPosition,
    durable_position: PersistPosition,
    durable_last: LogIndex,
    /// The first index changed since the last persist was issued.
    changed_from: Option<LogIndex>,
    reset_to: Option<LogPosition>,
}

impl Durability {
    pub(crate) fn new(last: LogIndex) -> Durability {
        Durability {
            issued: VecDeque::new(),
            issued_position: PersistPosition(0),
            durable_position: PersistPosition(0),
            durable_last: last,
            changed_from: None,
            reset_to: None,
        }
    }

    /// Entries up to here are on disk and in the log.
    pub(crate) fn last(&self) -> LogIndex {
        self.durable_last
    }

    pub(crate) fn issued_position(&self) -> PersistPosition {
        self.issued_position
    }

    /// The position the next persist will have.
    pub(crate) fn next_position(&self) -> PersistPosition {
        PersistPosition(self.issued_position.0 + 1)
    }

    pub(crate) fn is_durable(&self, position: PersistPosition) -> bool {
        self.durable_position >= position
    }

    /// An entry was appended at `index`.
    pub(crate) fn appended(&mut self, index: LogIndex) {
        self.changed_from = Some(self.changed_from.map_or(index, |from| from.min(index)));
    }

    /// Entries from `from` on are no longer what may be on disk.
    pub(crate) fn truncated(&mut self, from: LogIndex) {
        let keep = from.previous();
        self.durable_last = self.durable_last.min(keep);
        for issued in &mut self.issued {
            issued.last = issued.last.min(keep);
        }
        if let Some(changed) = &mut self.changed_from {
            *changed = (*changed).min(from);
        }
    }

    /// The whole log is to be replaced.
    pub(crate) fn reset(&mut self, to: LogPosition) {
        self.truncated(LogIndex(1));
        self.changed_from = None;
        self.reset_to = Some(to);
    }

    /// What is to be written now: the replacement of the log, and the first index to write.
    pub(crate) fn pending(&self) -> (Option<LogPosition>, Option<LogIndex>) {
        (self.reset_to, self.changed_from)
    }

    /// A persist is handed out that leaves the log ending at `last`.
    pub(crate) fn issue(&mut self, last: LogIndex) -> PersistPosition {
        let position = self.next_position();
        self.issued_position = position;
        self.issued.push_back(Issued {
            position,
            last,
            age_ticks: 0,
        });
        self.changed_from = None;
        self.reset_to = None;
        position
    }

    /// The host reports everything up to `position` as durable.
    pub(crate) fn durable(&mut self, position: PersistPosition) {
        assert!(
            position <= self.issued_position,
            "{position} is reported durable, but only {} was issued",
            self.issued_position
        );
        while let Some(issued) = self
            .issued
            .front()
            .filter(|issued| issued.position <= position)
        {
            self.durable_position = issued.position;
            self.durable_last = issued.last;
            self.issued.pop_front();
        }
    }

    pub(crate) fn tick(&mut self) {
        for issued in &mut self.issued {
            issued.age_ticks = issued.age_ticks.saturating_add(1);
        }
    }

    /// For how long the disk owes an answer.
    pub(crate) fn waiting_ticks(&self) -> u32 {
        self.issued.front().map_or(0, |issued| issued.age_ticks)
    }

    pub(crate) fn check_invariants(&self, last: LogIndex) {
        assert!(self.durable_last <= last, "durable past the end of the log");
        assert!(
            self.durable_position <= self.issued_position,
            "durable before it was issued"
        );
        assert!(
            self.issued.iter().all(|issued| issued.last <= last),
            "a persist under way counts entries past the end of the log"
        );
        assert!(
            self.changed_from.is_none() && self.reset_to.is_none(),
            "a step ended with changes it did not hand to the disk"
        );
    }
}

#[cfg(test)]
mod tests;
