//! The visible entries of tables: runs merged by key, from either end.
//!
//! A run is opened only when the scan comes to the first key that it may have; until then, and while the next key of all others
//! is greater, entries are taken from one run with one comparison each. Runs that follow each other, as those of documents that
//! came in the order of their keys, are so read one after the other.
//!
//! Of a key's entries the newest one below the scan's version counts. Holds the tables, and so their files, until it is dropped.

use std::ops::Bound;

use lsm_tree::{InternalValue, KvPair, Slice, Table};

use crate::lsm::list::Run;
use crate::lsm::scan::VERSIONS_PASSED_MAX;
use crate::lsm::segments::Segment;

/// Keys between which a scan goes.
pub(super) type Bounds = (Bound<Slice>, Bound<Slice>);

type Entries = Box<dyn DoubleEndedIterator<Item = lsm_tree::Result<InternalValue>> + Send>;

/// One end of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl End {
    /// Whether the scan comes to `key` before it comes to `other` from this end.
    fn is_before(self, key: &Slice, other: &Slice) -> bool {
        match self {
            End::Front => key < other,
            End::Back => key > other,
        }
    }
}

/// The scan.
pub(super) struct TableScan {
    runs: Vec<RunScan>,
    front: Turn,
    back: Turn,
    /// The key that was given last from the front: older entries of it may be left.
    last_given: Option<Slice>,
}

/// Which run is read at one end, and how far without looking at the others.
#[derive(Default)]
struct Turn {
    run: Option<usize>,
    /// A key that no other run comes to before; `None` where no other has anything left.
    until: Option<Slice>,
}

impl TableScan {
    /// Of what is strictly below a version.
    pub fn new(segments: Vec<Segment>, bounds: &Bounds, below: u64) -> Self {
        let run = |segment| RunScan::new(segment, bounds.clone(), below);
        Self {
            runs: segments.into_iter().map(run).collect(),
            front: Turn::default(),
            back: Turn::default(),
            last_given: None,
        }
    }

    /// Takes the next entry at an end, of a key's from the front the newest first, from the back the oldest.
    fn take(&mut self, end: End) -> lsm_tree::Result<Option<InternalValue>> {
        match self.turn(end)? {
            Some(run) => self.runs[run].take(end),
            None => Ok(None),
        }
    }

    /// The run that has the next entry at an end, looked at; `None` if nothing is left.
    fn turn(&mut self, end: End) -> lsm_tree::Result<Option<usize>> {
        let turn = match end {
            End::Front => &self.front,
            End::Back => &self.back,
        };
        if let Some(run) = turn.run
            && let Some(entry) = self.runs[run].peek(end)?
        {
            let key = &entry.key.user_key;
            let until = turn.until.as_ref();
            if until.is_none_or(|until| end.is_before(key, until)) {
                return Ok(Some(run));
            }
        }
        self.choose(end)
    }

    /// Chooses the run to read at an end; `None` if nothing is left.
    fn choose(&mut self, end: End) -> lsm_tree::Result<Option<usize>> {
        let chosen = loop {
            let Some(best) = self.best(end) else {
                return Ok(None);
            };
            // What was not looked into may turn out to have less than it might, or nothing.
            if self.runs[best].peeked(end).is_some() {
                break best;
            }
            self.runs[best].peek(end)?;
        };
        let others = (0..self.runs.len()).filter(|run| *run != chosen);
        let nearest = others
            .filter_map(|run| self.runs[run].nearest(end))
            .reduce(|one, other| match end.is_before(other, one) {
                true => other,
                false => one,
            });
        let turn = Turn {
            run: Some(chosen),
            until: nearest.cloned(),
        };
        match end {
            End::Front => self.front = turn,
            End::Back => self.back = turn,
        }
        Ok(Some(chosen))
    }

    /// The run that may have the next entry; of those that may have one of the same key, one that was not looked into, then
    /// that of the newest entry at the front, of the oldest at the back.
    fn best(&self, end: End) -> Option<usize> {
        let mut best: Option<(usize, &Slice)> = None;
        for (number, run) in self.runs.iter().enumerate() {
            let Some(key) = run.nearest(end) else {
                continue;
            };
            let is_better = match best {
                None => true,
                Some((_, other)) if end.is_before(key, other) => true,
                Some((of, other)) => key == other && run.goes_before(&self.runs[of], end),
            };
            if is_better {
                best = Some((number, key));
            }
        }
        best.map(|(number, _)| number)
    }

    fn next_visible(&mut self) -> lsm_tree::Result<Option<KvPair>> {
        let mut versions = 0;
        while let Some(entry) = self.take(End::Front)? {
            if self.last_given.as_ref() == Some(&entry.key.user_key) {
                versions += 1;
                if versions == VERSIONS_PASSED_MAX {
                    self.pass(&entry.key.user_key)?;
                }
                continue;
            }
            versions = 0;
            let is_deletion = entry.key.is_tombstone();
            self.last_given = Some(entry.key.user_key.clone());
            if !is_deletion {
                return Ok(Some((entry.key.user_key, entry.value)));
            }
        }
        Ok(None)
    }

    /// Passes over all that is left of a key in those runs that only the front end reads.
    fn pass(&mut self, key: &Slice) -> lsm_tree::Result<()> {
        for run in &mut self.runs {
            run.pass(key)?;
        }
        Ok(())
    }

    fn next_visible_back(&mut self) -> lsm_tree::Result<Option<KvPair>> {
        while let Some(mut entry) = self.take(End::Back)? {
            while let Some(newer) = self.take_of(&entry.key.user_key)? {
                entry = newer;
            }
            let is_given = self.last_given.as_ref() == Some(&entry.key.user_key);
            if !is_given && !entry.key.is_tombstone() {
                return Ok(Some((entry.key.user_key, entry.value)));
            }
        }
        Ok(None)
    }

    /// Takes the next entry at the back if it is of this key.
    fn take_of(&mut self, key: &Slice) -> lsm_tree::Result<Option<InternalValue>> {
        let Some(run) = self.turn(End::Back)? else {
            return Ok(None);
        };
        match self.runs[run].peek(End::Back)? {
            Some(entry) if entry.key.user_key == *key => self.runs[run].take(End::Back),
            _ => Ok(None),
        }
    }
}

impl Iterator for TableScan {
    type Item = lsm_tree::Result<KvPair>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_visible().transpose()
    }
}

impl DoubleEndedIterator for TableScan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_visible_back().transpose()
    }
}

/// The entries of one run below a version, with a looked-at entry at either end.
struct RunScan {
    tables: Run,
    bounds: Bounds,
    below: u64,
    /// Tables that neither end has come to.
    unread: std::ops::Range<usize>,
    front: Reading,
    back: Reading,
}

/// What is read at one end of a run.
struct Reading {
    entries: Option<Entries>,
    peeked: Option<InternalValue>,
    /// What the first entry cannot come before; `None` once it was looked for.
    nearest: Option<Slice>,
}

impl Reading {
    fn from(nearest: Slice) -> Self {
        Self {
            entries: None,
            peeked: None,
            nearest: Some(nearest),
        }
    }

    fn peeked_key(&self) -> Option<&Slice> {
        self.peeked.as_ref().map(|entry| &entry.key.user_key)
    }
}

impl RunScan {
    fn new(segment: Segment, bounds: Bounds, below: u64) -> Self {
        Self {
            tables: segment.tables,
            bounds,
            below,
            unread: segment.range,
            front: Reading::from(segment.first),
            back: Reading::from(segment.last),
        }
    }

    fn at(&self, end: End) -> &Reading {
        match end {
            End::Front => &self.front,
            End::Back => &self.back,
        }
    }

    /// The entry at this end, if it was looked at and not taken.
    fn peeked(&self, end: End) -> Option<&InternalValue> {
        self.at(end).peeked.as_ref()
    }

    /// The key at this end, or one that it cannot come before. `None` if nothing is left.
    fn nearest(&self, end: End) -> Option<&Slice> {
        let (reading, other) = match end {
            End::Front => (&self.front, &self.back),
            End::Back => (&self.back, &self.front),
        };
        // With nothing left in between, the last entry may have been looked at from the other end.
        let bound = reading.nearest.as_ref();
        let own = reading.peeked_key().or(bound);
        own.or_else(|| other.peeked_key())
    }

    /// Of two runs with the same nearest key: whether this one comes first.
    fn goes_before(&self, other: &Self, end: End) -> bool {
        match (self.peeked(end), other.peeked(end), end) {
            (Some(own), Some(its), End::Front) => own.key.seqno > its.key.seqno,
            (Some(own), Some(its), End::Back) => own.key.seqno < its.key.seqno,
            (own, _, _) => own.is_none(),
        }
    }

    /// Takes the entry at this end, which was looked at. What follows it is looked at at once, so that [`RunScan::nearest`] knows
    /// of it.
    fn take(&mut self, end: End) -> lsm_tree::Result<Option<InternalValue>> {
        match end {
            End::Front => {
                let next = self.read_front()?;
                let next = next.or_else(|| self.back.peeked.take());
                Ok(std::mem::replace(&mut self.front.peeked, next))
            }
            End::Back => {
                let next = self.read_back()?;
                let next = next.or_else(|| self.front.peeked.take());
                Ok(std::mem::replace(&mut self.back.peeked, next))
            }
        }
    }

    /// Looks at the entry at this end.
    #[inline]
    fn peek(&mut self, end: End) -> lsm_tree::Result<Option<&InternalValue>> {
        if self.peeked(end).is_none() {
            match end {
                End::Front => self.front.nearest = None,
                End::Back => self.back.nearest = None,
            }
            // What is taken so is nothing.
            self.take(end)?;
        }
        Ok(self.peeked(end))
    }

    /// Goes on behind a key whose versions the front end is passing, unless the back end has begun to read.
    fn pass(&mut self, key: &Slice) -> lsm_tree::Result<()> {
        let is_passing = self.front.peeked_key() == Some(key);
        let is_alone = self.back.entries.is_none() && self.back.nearest.is_some();
        if !is_passing || !is_alone || self.front.entries.is_none() {
            return Ok(());
        }
        let behind = (Bound::Excluded(key.clone()), self.bounds.1.clone());
        let table = &self.tables[self.unread.start - 1];
        self.front.entries = Some(open(table, &behind));
        self.front.peeked = self.read_front()?;
        Ok(())
    }

    fn read_front(&mut self) -> lsm_tree::Result<Option<InternalValue>> {
        loop {
            let entries = match (&mut self.front.entries, self.unread.is_empty()) {
                (Some(entries), _) => entries,
                (none, false) => {
                    let number = self.unread.start;
                    self.unread.start += 1;
                    none.insert(open(&self.tables[number], &self.bounds))
                }
                (None, true) => match &mut self.back.entries {
                    Some(entries) => entries,
                    None => return Ok(None),
                },
            };
            match entries.next().transpose()? {
                Some(entry) if entry.key.seqno < self.below => return Ok(Some(entry)),
                Some(_) => {}
                None if self.front.entries.is_some() => self.front.entries = None,
                None => self.back.entries = None,
            }
        }
    }

    fn read_back(&mut self) -> lsm_tree::Result<Option<InternalValue>> {
        loop {
            let entries = match (&mut self.back.entries, self.unread.is_empty()) {
                (Some(entries), _) => entries,
                (none, false) => {
                    self.unread.end -= 1;
                    none.insert(open(&self.tables[self.unread.end], &self.bounds))
                }
                (None, true) => match &mut self.front.entries {
                    Some(entries) => entries,
                    None => return Ok(None),
                },
            };
            match entries.next_back().transpose()? {
                Some(entry) if entry.key.seqno < self.below => return Ok(Some(entry)),
                Some(_) => {}
                None if self.back.entries.is_some() => self.back.entries = None,
                None => self.front.entries = None,
            }
        }
    }
}

/// The entries of a table. Of a table that lies within a bound no block need be searched for it.
fn open(table: &Table, (from, to): &Bounds) -> Entries {
    let keys = &table.metadata.key_range;
    let from = match from {
        Bound::Included(from) if keys.min() >= from => Bound::Unbounded,
        Bound::Excluded(from) if keys.min() > from => Bound::Unbounded,
        from => from.clone(),
    };
    let to = match to {
        Bound::Included(to) if keys.max() <= to => Bound::Unbounded,
        Bound::Excluded(to) if keys.max() < to => Bound::Unbounded,
        to => to.clone(),
    };
    Box::new(table.range((from, to)))
}
