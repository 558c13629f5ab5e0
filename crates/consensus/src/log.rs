//! What the core remembers of the log: the term of every entry on disk, and the newest entries themselves.
//!
//! Terms are kept as runs, because a leader writes many entries in its one term. Entries are kept in a
//! cache that always is a suffix of the log; only entries the state machine has applied are ever evicted, so
//! what must still be applied is always at hand, and what a slow follower needs is fetched from disk.

use std::collections::VecDeque;

use crate::position::{Entry, LogIndex, LogPosition, Term};

/// Consecutive entries of one term.
#[derive(Clone, Copy, Debug, Hash)]
struct Run {
    first: LogIndex,
    term: Term,
}

/// The log as the core sees it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    /// The position just before the first entry.
    start: LogPosition,
    /// Terms of all entries after `start`, as runs in ascending order.
    runs: VecDeque<Run>,
    last: LogIndex,
    /// The newest entries, ending with the last.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    cache_bytes_max: usize,
}

impl Log {
    /// `on_disk`: the runs of terms of the entries that are on disk only, and the last of these; without runs there are
    /// none.
    pub(crate) fn new(
        start: LogPosition,
        (terms, through): (Vec<(LogIndex, Term)>, LogIndex),
        entries: Vec<Entry>,
        cache_bytes_max: usize,
    ) -> Log {
        let last = if terms.is_empty() {
            start.index
        } else {
            through
        };
        let runs = terms.into_iter().map(|(first, term)| Run { first, term });
        let mut log = Log {
            start,
            runs: runs.collect(),
            last,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max,
        };
        log.check_invariants();
        for entry in entries {
            log.append(entry);
        }
        log
    }

    pub(crate) fn start(&self) -> LogPosition {
        self.start
    }

    pub(crate) fn first_index(&self) -> LogIndex {
        self.start.index.next()
    }

    pub(crate) fn last_index(&self) -> LogIndex {
        self.last
    }

    pub(crate) fn last(&self) -> LogPosition {
        LogPosition {
            index: self.last,
            term: self.runs.back().map_or(self.start.term, |run| run.term),
        }
    }

    /// The term of the entry at `index`: known from `start` to the last entry.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last {
            return None;
        }
        let after = self.runs.partition_point(|run| run.first <= index);
        assert!(
            after > 0,
            "the log after {} has no run of terms for {index}",
            self.start
        );
        Some(self.runs[after - 1].term)
    }

    pub(crate) fn position_at(&self, index: LogIndex) -> Option<LogPosition> {
        self.term_at(index).map(|term| LogPosition { index, term })
    }

    /// The highest index at or below `index` whose term is at most `term`: the best guess at where another log
    /// that has `term` at `index` may agree with this one. `None`: nothing this log still knows.
    pub(crate) fn last_index_with_term_at_most(
        &self,
        index: LogIndex,
        term: Term,
    ) -> Option<LogIndex> {
        let index = index.min(self.last);
        if index < self.start.index {
            return Some(index);
        }
        let newer = self.runs.partition_point(|run| run.term <= term);
        let candidate = match self.runs.get(newer) {
            Some(run) => index.min(run.first.previous()),
            None => index,
        };
        let known = candidate > self.start.index || self.start.term <= term;
        known.then_some(candidate)
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert!(
            entry.index == last.index.next() && entry.term >= last.term,
            "an entry at {} cannot follow a log that ends at {last}",
            entry.position()
        );
        if self.runs.back().is_none_or(|run| run.term != entry.term) {
            self.runs.push_back(Run {
                first: entry.index,
                term: entry.term,
            });
        }
        self.last = entry.index;
        self.cache_bytes += entry.bytes();
        self.cache.push_back(entry);
    }

    /// Drops all entries from `from` on.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        assert!(
            from > self.start.index,
            "cannot truncate at {from}: the log starts after {}",
            self.start
        );
        while self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        while self.cache.back().is_some_and(|entry| entry.index >= from) {
            let entry = self.cache.pop_back().expect("the loop saw it");
            self.cache_bytes -= entry.bytes();
        }
        self.last = self.last.min(from.previous());
    }

    /// Forgets all entries up to `position`, which are gone from the disk.
    pub(crate) fn compact(&mut self, position: LogPosition) {
        assert_eq!(
            self.term_at(position.index),
            Some(position.term),
            "cannot compact to {position}: the log runs from {} to {}",
            self.start,
            self.last()
        );
        while self
            .runs
            .get(1)
            .is_some_and(|run| run.first <= position.index.next())
        {
            self.runs.pop_front();
        }
        if position.index == self.last {
            self.runs.clear();
        } else {
            let run = self
                .runs
                .front_mut()
                .expect("entries after the position have a run");
            run.first = run.first.max(position.index.next());
        }
        while self
            .cache
            .front()
            .is_some_and(|entry| entry.index <= position.index)
        {
            self.evict_one();
        }
        self.start = position;
    }

    /// Replaces the whole log by a snapshot that ends at `position`.
    pub(crate) fn reset(&mut self, position: LogPosition) {
        self.start = position;
        self.last = position.index;
        self.runs.clear();
        self.cache.clear();
        self.cache_bytes = 0;
    }

    /// Evicts applied entries, oldest first, while the cache weighs too much.
    pub(crate) fn evict(&mut self, applied: LogIndex) {
        while self.cache_bytes > self.cache_bytes_max
            && self
                .cache
                .front()
                .is_some_and(|entry| entry.index <= applied)
        {
            self.evict_one();
        }
    }

    pub(crate) fn cached_bytes(&self) -> usize {
        self.cache_bytes
    }

    fn evict_one(&mut self) {
        let entry = self.cache.pop_front().expect("the caller saw it");
        self.cache_bytes -= entry.bytes();
    }

    /// The first index whose entry is at hand; one past the last when none is.
    pub(crate) fn cache_first(&self) -> LogIndex {
        self.cache
            .front()
            .map_or(self.last.next(), |entry| entry.index)
    }

    /// The entries from `from` to `through`, which must be at hand.
    pub(crate) fn cached(
        &self,
        from: LogIndex,
        through: LogIndex,
    ) -> impl Iterator<Item = &Entry> + use<'_> {
        let first = self.cache_first();
        let empty = from > through;
        assert!(
            empty || (from >= first && through <= self.last),
            "entries {from}..={through} are not at hand: the cache holds {first}..={}",
            self.last
        );
        let offset =
            |index: LogIndex| usize::try_from(index.0 - first.0).expect("the cache fits in memory");
        let range = if empty {
            0..0
        } else {
            offset(from)..offset(through) + 1
        };
        self.cache.range(range)
    }

    /// Entries from `from` on that together weigh at most `bytes_max`, or the one entry there.
    pub(crate) fn cached_up_to_bytes(&self, from: LogIndex, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        self.cached(from, self.last)
            .take_while(|entry| {
                let fits = bytes == 0 || bytes + entry.bytes() <= bytes_max;
                bytes += entry.bytes();
                fits
            })
            .cloned()
            .collect()
    }

    pub(crate) fn check_invariants(&self) {
        assert!(
            self.last >= self.start.index,
            "the log ends before it starts"
        );
        let mut before = self.start;
        for (number, run) in self.runs.iter().enumerate() {
            assert!(
                run.first > before.index && (run.term > before.term || number == 0),
                "runs of terms out of order: {:?}",
                self.runs
            );
            assert!(
                run.term >= before.term,
                "a term below that of the log's start: {:?}",
                self.runs
            );
            before = LogPosition {
                index: run.first,
                term: run.term,
            };
        }
        assert!(
            before.index <= self.last,
            "a run of terms beyond the end: {:?}",
            self.runs
        );
        assert!(
            self.last == self.start.index
                || self.runs.front().map(|run| run.first) == Some(self.first_index()),
            "the first entry has no term"
        );
        assert!(
            self.cache_first() > self.start.index
                && self.cache.back().is_none_or(|e| e.index == self.last),
            "the cache is no suffix of the log"
        );
        let bytes: usize = self.cache.iter().map(Entry::bytes).sum();
        assert_eq!(bytes, self.cache_bytes, "the weight of the cache is wrong");
    }
}

#[cfg(test)]
mod tests;
