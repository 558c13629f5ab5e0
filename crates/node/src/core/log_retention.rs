//! How much of the log is kept: what the engine would need after a crash, what members that were away for a while need, what
//! connected ones still lack, what follows a snapshot that is on its way, and what is not archived yet. All but the first
//! within bounds.

use std::collections::{BTreeMap, VecDeque};

use consensus::{Entry, LogIndex, LogPosition, NodeId, RoleName};
use write_ahead_log::WalReader;

use crate::backlog::Backlog;
use crate::config::{LOG_HELD_BYTES_MAX, LOG_HELD_ENTRIES_MAX};
use crate::core::{Core, Outputs};
use crate::events::LogWork;
use crate::memory::QueueLimits;
use crate::peers::GROUP;

/// Bytes between two marks.
const MARK_BYTES: u64 = 1 << 20;
/// What an entry takes in the log beside its content.
const ENTRY_OVERHEAD_BYTES: u64 = 48;

/// About how many bytes of entries the log holds after an index, by marks a megabyte apart.
#[derive(Debug, Default)]
pub(crate) struct LogSizes {
    /// Index, and the bytes of all entries up to it since the counting began.
    marks: VecDeque<(LogIndex, u64)>,
    last: LogIndex,
    total: u64,
}

impl LogSizes {
    /// Of a log that was found: indexes, with the bytes of all entries up to each.
    pub fn found(reader: &WalReader) -> Self {
        let marks: VecDeque<_> = reader
            .sizes(GROUP.0, MARK_BYTES)
            .into_iter()
            .map(|(index, total)| (LogIndex(index), total))
            .collect();
        let (last, total) = marks.back().copied().unwrap_or_default();
        LogSizes { marks, last, total }
    }

    /// Counts entries; the first may supersede what was counted from there on.
    pub fn append(&mut self, entries: &[Entry]) {
        if let Some(first) = entries.first()
            && first.index <= self.last
        {
            while self
                .marks
                .pop_back_if(|(mark, _)| *mark >= first.index)
                .is_some()
            {}
            self.total = self.marks.back().map_or(self.total, |(_, total)| *total);
        }
        for entry in entries {
            self.total += entry.bytes() as u64 + ENTRY_OVERHEAD_BYTES;
            self.last = entry.index;
            let marked = self.marks.back().map_or(0, |(_, total)| *total);
            if self.marks.is_empty() || self.total - marked >= MARK_BYTES {
                self.marks.push_back((entry.index, self.total));
            }
        }
    }

    /// Entries up to here are gone.
    pub fn removed(&mut self, through: LogIndex) {
        while self.marks.get(1).is_some_and(|(mark, _)| *mark <= through) {
            self.marks.pop_front();
        }
    }

    /// Bytes of the entries after an index, a megabyte more at most.
    pub fn after(&self, index: LogIndex) -> u64 {
        let at_or_before = self.marks.partition_point(|(mark, _)| *mark <= index);
        let before = match at_or_before.checked_sub(1) {
            Some(mark) => self.marks[mark].1,
            None => 0,
        };
        self.total - before
    }

    /// The first mark after which at most so many bytes stand.
    fn within(&self, bytes_max: u64) -> LogIndex {
        let far = self
            .marks
            .partition_point(|(_, total)| self.total - total > bytes_max);
        match far {
            0 => LogIndex(0),
            _ => self.marks.get(far).map_or(self.last, |(mark, _)| *mark),
        }
    }
}

impl Core {
    /// Says what is in the log that was found, and how many bytes of it may be kept for members that are away.
    pub fn bound_log(&mut self, sizes: LogSizes, retained_bytes: u64) {
        self.log_sizes = sizes;
        self.log_retained_bytes = retained_bytes;
    }

    /// Says how much may wait for the node's threads. To be called before anything does.
    pub fn bound_queues(&mut self, limits: QueueLimits) {
        self.backlog = Backlog::within(limits);
    }

    /// Keeps the log from these indices on, until told that their snapshots are unpinned.
    pub fn hold_log_for(&mut self, snapshots: BTreeMap<NodeId, LogIndex>) {
        self.snapshots = snapshots;
    }

    /// Keeps the log until it is archived, from what is in it on.
    pub fn hold_log_for_archive(&mut self) {
        self.archived = Some(self.removed);
    }

    /// Removes from the log what nobody is likely to need.
    pub(super) fn remove_log_prefix(&mut self, out: &mut Outputs) {
        // A flush may be heard of before the application that it contains.
        let safe = self.flushed.min(self.applied);
        let by_count = safe.0.saturating_sub(self.log_retained_entries);
        let by_bytes = self.log_sizes.within(self.log_retained_bytes);
        let mut through = LogIndex(by_count).max(by_bytes).min(safe);
        for index in self.still_needed(out) {
            let entries = self.replica.last().index.0.saturating_sub(index.0);
            let held =
                entries < LOG_HELD_ENTRIES_MAX && self.log_sizes.after(index) < LOG_HELD_BYTES_MAX;
            if held {
                through = through.min(index);
            }
        }
        if through <= self.removed {
            return;
        }
        let Some(term) = self.replica.term_at(through) else {
            return;
        };
        self.removed = through;
        self.log_sizes.removed(through);
        out.log.push(LogWork::RemovePrefix(LogPosition {
            index: through,
            term,
        }));
    }

    /// After which indices entries are needed: by members who are connected, by those a snapshot is on its way to, which is of
    /// use only if the log goes on where it ends, and by the archive.
    fn still_needed(&mut self, out: &mut Outputs) -> Vec<LogIndex> {
        let followers = self.replica.progress();
        if self.replica.role() == RoleName::Leader {
            self.snapshots.retain(|id, index| {
                let progress = followers.get(id);
                let needed = progress.is_some_and(|progress| progress.match_index < Some(*index));
                if !needed {
                    out.unpin.push(*id);
                }
                needed
            });
        }
        let connected = followers
            .into_iter()
            .filter(|(id, progress)| progress.recently_active && !self.snapshots.contains_key(id))
            .map(|(_, progress)| progress.match_index.unwrap_or_default());
        let kept = self.snapshots.values().copied().chain(self.archived);
        connected.chain(kept).collect()
    }
}

#[cfg(test)]
mod tests {
    use consensus::{EntryKind, Term};

    use super::*;

    fn entries(from: u64, to: u64, bytes: usize) -> Vec<Entry> {
        let entry = |index| Entry {
            index: LogIndex(index),
            term: Term(1),
            kind: EntryKind::Command(vec![0; bytes].into()),
        };
        (from..=to).map(entry).collect()
    }

    #[test]
    fn sizes_are_right_to_a_megabyte() {
        let mut sizes = LogSizes::default();
        sizes.append(&entries(1, 100, 300_000));
        let bytes = |count: u64| count * (entries(1, 1, 300_000)[0].bytes() as u64 + 48);
        for index in 0..=100 {
            let (exact, said) = (bytes(100 - index), sizes.after(LogIndex(index)));
            assert!(
                said >= exact && said <= exact + MARK_BYTES + bytes(1),
                "{index}"
            );
        }
        assert_eq!(sizes.within(u64::MAX), LogIndex(0));
        for kept in [bytes(3), bytes(50)] {
            let from = sizes.within(kept);
            assert!(sizes.after(from) <= kept && sizes.after(from) + 2 * MARK_BYTES > kept);
        }
        sizes.removed(LogIndex(50));
        assert!(sizes.marks.len() < 15);
        assert!(sizes.after(LogIndex(60)) >= bytes(40));
        sizes.append(&entries(71, 80, 300_000));
        let said = sizes.after(LogIndex(60));
        assert!(said >= bytes(20) - MARK_BYTES && said <= bytes(20) + 2 * MARK_BYTES);
    }
}
