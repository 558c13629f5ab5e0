//! What a scan meets of each run of tables.

use std::ops::{Bound, Range};
use std::sync::Arc;

use lsm_tree::{Slice, Table};

use crate::lsm::extent::Extent;
use crate::lsm::list::{Run, first, last};

/// Tables of one run that a scan meets, all of whose keys that it meets are from `first` to `last`.
pub(crate) struct Segment {
    pub tables: Run,
    pub range: Range<usize>,
    pub first: Slice,
    pub last: Slice,
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
