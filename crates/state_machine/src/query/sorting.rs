//! Sorts the rows of a scan: in memory, then on disk where the request has room there.

use document::sort::SortSpec;
use document::spill::{DocumentSorter, Room, Sorted};

use super::request::QueryError;
use super::scan::Scan;

/// All rows of `scan` in order, only the first `keep` of them when given; and whether the disk was used.
pub(super) fn sort(
    scan: &mut Scan,
    sort: &SortSpec,
    keep: Option<u64>,
    room: &Room,
) -> Result<(Sorted, bool), QueryError> {
    let keep = keep.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
    let mut sorter = DocumentSorter::new(keep, room);
    for row in scan {
        // A copy: a stored row would keep the whole block it lies in from being freed.
        let document = row?.into_document();
        let mut key = Vec::new();
        sort.encode_key(&document, &mut key)?;
        sorter.push(key, document)?;
    }
    let used_disk = sorter.has_used_disk();
    Ok((sorter.finish()?, used_disk))
}
