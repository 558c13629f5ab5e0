//! Range reads of tables: run by run, one after the other where they lie so, and merged otherwise.

use std::ops::{Bound, Range};
use std::sync::Arc;

use lsm_tree::merge::{BoxedIterator, Merger};
use lsm_tree::mvcc_stream::MvccStream;
use lsm_tree::{InternalValue, Slice, Table};

use crate::lsm::extent::Extent;
use crate::lsm::list::{Run, first, last};
use crate::lsm::view::TableIterator;

/// Tables of one run that a scan meets, all of whose keys that it meets are from `first` to `last`.
pub(crate) struct Segment {
    tables: Run,
    range: Range<usize>,
    first: Slice,
    last: Slice,
}

impl Segment {
    /// `None` if the run has no key within the bounds.
    pub fn of(
        run: &Run,
        extent: Option<&Extent>,
        bounds: &(Bound<Slice>, Bound<Slice>),
    ) -> Option<Self> {
        let range = meeting(run, bounds);
        let met = &run[range.clone()];
        let (from, to) = (met.first()?, met.last()?);
        let (first, last) = match extent {
            Some(extent) => extent.within(bounds)?,
            None => (first(from).clone(), last(to).clone()),
        };
        Some(Self {
            tables: Arc::clone(run),
            range,
            first,
            last,
        })
    }

    /// Its entries within the bounds, below a version; a key's newest first.
    fn entries(
        self,
        bounds: (Bound<Slice>, Bound<Slice>),
        below: u64,
    ) -> impl DoubleEndedIterator<Item = lsm_tree::Result<InternalValue>> + Send {
        let Self { tables, range, .. } = self;
        let held = Arc::clone(&tables);
        range
            .flat_map(move |number| tables[number].range(bounds.clone()))
            .filter(move |entry| {
                // Tables, and so their files, stay until the scan is dropped.
                let _held = &held;
                entry.as_ref().map_or(true, |entry| entry.key.seqno < below)
            })
    }
}

/// Which tables of a run have keys within the bounds.
fn meeting(run: &[Table], (from, to): &(Bound<Slice>, Bound<Slice>)) -> Range<usize> {
    let start = run.partition_point(|table| match from {
        Bound::Included(from) => last(table) < from,
        Bound::Excluded(from) => last(table) <= from,
        Bound::Unbounded => false,
    });
    let end = run.partition_point(|table| match to {
        Bound::Included(to) => first(table) <= to,
        Bound::Excluded(to) => first(table) < to,
        Bound::Unbounded => true,
    });
    start..end.max(start)
}

/// Brings segments into the order of their keys; whether each ends before the next begins.
fn follow_each_other(segments: &mut [Segment]) -> bool {
    let mut order: Vec<usize> = (0..segments.len()).collect();
    order.sort_by(|left, right| segments[*left].first.cmp(&segments[*right].first));
    let follow = |pair: &[usize]| segments[pair[0]].last < segments[pair[1]].first;
    if !order.windows(2).all(follow) {
        return false;
    }
    segments.sort_by(|left, right| left.first.cmp(&right.first));
    true
}

/// The visible entries of all segments.
pub(crate) fn scan_all(
    mut segments: Vec<Segment>,
    bounds: (Bound<Slice>, Bound<Slice>),
    below: u64,
) -> TableIterator {
    // Documents that came in the order of their keys lie so, and there is nothing to merge.
    if follow_each_other(&mut segments) {
        return scan_in_turn(segments, bounds, below);
    }
    scan_merged(segments, bounds, below)
}

/// The visible entries of segments that follow each other.
fn scan_in_turn(
    segments: Vec<Segment>,
    bounds: (Bound<Slice>, Bound<Slice>),
    below: u64,
) -> TableIterator {
    visible(
        segments
            .into_iter()
            .flat_map(move |segment| segment.entries(bounds.clone(), below)),
    )
}

/// The visible entries of segments, merged.
fn scan_merged(
    segments: Vec<Segment>,
    bounds: (Bound<Slice>, Bound<Slice>),
    below: u64,
) -> TableIterator {
    let sources = segments
        .into_iter()
        .map(|segment| Box::new(segment.entries(bounds.clone(), below)) as BoxedIterator<'static>);
    visible(Merger::new(sources.collect()))
}

/// Of each key the newest entry, unless that is a deletion.
fn visible(
    entries: impl DoubleEndedIterator<Item = lsm_tree::Result<InternalValue>> + Send + 'static,
) -> TableIterator {
    let newest = MvccStream::new(entries).filter(|entry| {
        entry
            .as_ref()
            .map_or(true, |entry| !entry.key.is_tombstone())
    });
    Box::new(newest.map(|entry| entry.map(|entry| (entry.key.user_key, entry.value))))
}
