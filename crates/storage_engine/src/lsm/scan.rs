//! Range reads: memtables and tables merged by key, newest source first, from either end.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use lsm_tree::{InternalValue, KvPair, Slice, ValueType};

use crate::engine::Version;
use crate::lsm::memtable::Memtable;
use crate::lsm::view::{TableIterator, View};

/// Entries fetched from a memtable at once: few at first, for scans that want few.
const CHUNK_MIN: usize = 8;
const CHUNK_MAX: usize = 128;
/// So many older versions of a key are passed over one by one; then the next key is looked for. Of what is written again and
/// again a memtable has thousands.
pub(crate) const VERSIONS_PASSED_MAX: usize = 16;

/// A key and its value, or `None` where it was deleted.
type Entry = (Slice, Option<Slice>);

/// Whether no key can lie between the bounds.
pub(crate) fn is_void(from: &Bound<Slice>, to: &Bound<Slice>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
    }
}

/// The visible entries of one memtable. Reads chunks by position instead of holding a borrow, so it owns
/// what it reads.
struct MemtableScan {
    memtable: Arc<Memtable>,
    as_of: Version,
    /// What neither end has fetched yet.
    from: Bound<Slice>,
    to: Bound<Slice>,
    exhausted: bool,
    chunk: usize,
    front: VecDeque<Entry>,
    back: VecDeque<Entry>,
}

impl MemtableScan {
    fn new(memtable: Arc<Memtable>, from: Bound<Slice>, to: Bound<Slice>, as_of: Version) -> Self {
        Self {
            memtable,
            as_of,
            from,
            to,
            exhausted: false,
            chunk: CHUNK_MIN,
            front: VecDeque::new(),
            back: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Option<Entry> {
        while self.front.is_empty() && !self.exhausted {
            self.fetch_front();
        }
        self.front.pop_front().or_else(|| self.back.pop_back())
    }

    fn next_back(&mut self) -> Option<Entry> {
        while self.back.is_empty() && !self.exhausted {
            self.fetch_back();
        }
        self.back.pop_front().or_else(|| self.front.pop_back())
    }

    fn grow_chunk(&mut self) -> usize {
        let chunk = self.chunk;
        self.chunk = (chunk * 2).min(CHUNK_MAX);
        chunk
    }

    /// Ascending: of a key's entries, newest first, the first one old enough counts.
    fn fetch_front(&mut self) {
        let chunk = self.grow_chunk();
        let mut fetched: Vec<Entry> = Vec::with_capacity(chunk);
        let ended = self.visit(false, |key, value| {
            let full = fetched.len() == chunk;
            match fetched.last() {
                Some((same, _)) if same == key => {}
                _ if full => return ControlFlow::Break(()),
                _ => fetched.push((key.clone(), value.cloned())),
            }
            ControlFlow::Continue(())
        });
        self.exhausted = ended;
        if let Some((last, _)) = fetched.last() {
            self.from = Bound::Excluded(last.clone());
        }
        self.front.extend(fetched);
    }

    /// Descending: of a key's entries, oldest first, the last one old enough counts.
    fn fetch_back(&mut self) {
        let chunk = self.grow_chunk();
        let mut fetched: Vec<Entry> = Vec::with_capacity(chunk);
        let ended = self.visit(true, |key, value| {
            let full = fetched.len() == chunk;
            match fetched.last_mut() {
                Some((same, newest)) if same == key => *newest = value.cloned(),
                _ if full => return ControlFlow::Break(()),
                _ => fetched.push((key.clone(), value.cloned())),
            }
            ControlFlow::Continue(())
        });
        self.exhausted = ended;
        if let Some((last, _)) = fetched.last() {
            self.to = Bound::Excluded(last.clone());
        }
        self.back.extend(fetched);
    }

    /// Visits what is old enough to see and not yet fetched; `None` is a deletion. Within a key, ascending
    /// order goes from the highest version to the lowest. Returns whether the end was reached.
    fn visit(
        &self,
        backwards: bool,
        mut visitor: impl FnMut(&Slice, Option<&Slice>) -> ControlFlow<()>,
    ) -> bool {
        let at = |user_key: &Slice, version: Version| {
            InternalValue::from_components(
                user_key.clone(),
                Slice::empty(),
                version,
                ValueType::Value,
            )
            .key
        };
        if is_void(&self.from, &self.to) {
            return true;
        }
        let from = match &self.from {
            Bound::Included(from) => Bound::Included(at(from, Version::MAX)),
            Bound::Excluded(from) => Bound::Excluded(at(from, 0)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let to = match &self.to {
            Bound::Included(to) => Bound::Included(at(to, 0)),
            Bound::Excluded(to) => Bound::Excluded(at(to, Version::MAX)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let mut range = self.memtable.items.range((from, to.clone()));
        let mut passed = Passed::default();
        loop {
            let next = if backwards {
                range.next_back()
            } else {
                range.next()
            };
            let Some(entry) = next else { return true };
            let key = entry.key();
            if key.seqno > self.as_of {
                continue;
            }
            if !backwards && passed.is_too_many(&key.user_key) {
                let behind = Bound::Excluded(at(&key.user_key, 0));
                range = self.memtable.items.range((behind, to.clone()));
                continue;
            }
            let value = (!key.is_tombstone()).then(|| entry.value());
            if visitor(&key.user_key, value).is_break() {
                return false;
            }
        }
    }
}

/// Counts the versions of one key that come one after the other.
#[derive(Default)]
pub(crate) struct Passed {
    key: Option<Slice>,
    versions: usize,
}

impl Passed {
    /// Whether so many versions of this key have come that the next key had better be looked for.
    pub fn is_too_many(&mut self, key: &Slice) -> bool {
        if self.key.as_ref() != Some(key) {
            self.key = Some(key.clone());
            self.versions = 0;
        }
        self.versions += 1;
        self.versions > VERSIONS_PASSED_MAX
    }
}

/// One source of entries, with a looked-at entry at either end.
struct Source {
    entries: Entries,
    front: Option<Entry>,
    back: Option<Entry>,
}

enum Entries {
    Memtable(MemtableScan),
    Tables(TableIterator),
}

impl Source {
    fn new(entries: Entries) -> Self {
        Self {
            entries,
            front: None,
            back: None,
        }
    }

    fn peek_front(&mut self) -> lsm_tree::Result<Option<&Entry>> {
        if self.front.is_none() {
            let next = match &mut self.entries {
                Entries::Memtable(scan) => scan.next(),
                Entries::Tables(entries) => entries.next().transpose()?.map(present),
            };
            self.front = next.or_else(|| self.back.take());
        }
        Ok(self.front.as_ref())
    }

    fn peek_back(&mut self) -> lsm_tree::Result<Option<&Entry>> {
        if self.back.is_none() {
            let next = match &mut self.entries {
                Entries::Memtable(scan) => scan.next_back(),
                Entries::Tables(entries) => entries.next_back().transpose()?.map(present),
            };
            self.back = next.or_else(|| self.front.take());
        }
        Ok(self.back.as_ref())
    }

    /// Takes the entry at one end.
    fn take(&mut self, backwards: bool) -> lsm_tree::Result<Option<Entry>> {
        if backwards {
            self.peek_back()?;
            return Ok(self.back.take());
        }
        match (self.front.take(), &mut self.entries) {
            (Some(entry), _) => Ok(Some(entry)),
            // The common case, without a stop on the way.
            (None, Entries::Tables(entries)) => match entries.next() {
                Some(next) => next.map(|next| Some(present(next))),
                None => Ok(self.back.take()),
            },
            (None, Entries::Memtable(scan)) => Ok(scan.next().or_else(|| self.back.take())),
        }
    }
}

fn present((key, value): KvPair) -> Entry {
    (key, Some(value))
}

/// All sources merged.
pub(crate) struct MergeScan {
    /// Newest first: the first source that has a key decides it.
    sources: Vec<Source>,
    failed: bool,
}

impl MergeScan {
    /// Memtables are taken before tables from the same view, so nothing is missed and a newer source wins.
    pub fn new(view: &View, from: Bound<Slice>, to: Bound<Slice>, as_of: Version) -> Self {
        let mut sources: Vec<_> = view
            .memtables()
            .filter(|memtable| !memtable.is_empty())
            .map(|memtable| {
                let scan = MemtableScan::new(Arc::clone(memtable), from.clone(), to.clone(), as_of);
                Source::new(Entries::Memtable(scan))
            })
            .collect();
        if view.tables.tables > 0 {
            let tables = view.tables.scan(from, to, as_of);
            sources.push(Source::new(Entries::Tables(tables)));
        }
        Self {
            sources,
            failed: false,
        }
    }

    /// Takes the entry that is first in `order`, and drops older ones of its key.
    fn step(&mut self, backwards: bool) -> lsm_tree::Result<Option<Entry>> {
        if let [only] = &mut self.sources[..] {
            return only.take(backwards);
        }
        let closer = if backwards {
            Ordering::Greater
        } else {
            Ordering::Less
        };
        let mut best: Option<(usize, Slice)> = None;
        let mut ended = None;
        for (at, source) in self.sources.iter_mut().enumerate() {
            let entry = if backwards {
                source.peek_back()?
            } else {
                source.peek_front()?
            };
            let Some((key, _)) = entry else {
                ended = Some(at);
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|(_, other)| key.cmp(other) == closer)
            {
                best = Some((at, key.clone()));
            }
        }
        let Some((at, key)) = best else {
            return Ok(None);
        };
        let mut taken = None;
        for (index, source) in self.sources.iter_mut().enumerate().skip(at) {
            let slot = if backwards {
                &mut source.back
            } else {
                &mut source.front
            };
            let entry = slot.take_if(|(other, _)| *other == key);
            if index == at {
                taken = entry;
            }
        }
        // One at a time: the last one left is read without comparing.
        if let Some(at) = ended {
            self.sources.remove(at);
        }
        Ok(taken)
    }

    fn visible(&mut self, backwards: bool) -> Option<lsm_tree::Result<KvPair>> {
        if self.failed {
            return None;
        }
        loop {
            match self.step(backwards) {
                Ok(Some((key, Some(value)))) => return Some(Ok((key, value))),
                Ok(Some((_, None))) => {}
                Ok(None) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Iterator for MergeScan {
    type Item = lsm_tree::Result<KvPair>;

    fn next(&mut self) -> Option<Self::Item> {
        self.visible(false)
    }
}

impl DoubleEndedIterator for MergeScan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.visible(true)
    }
}
