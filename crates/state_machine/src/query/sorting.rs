//! Sorts the rows of a scan in memory, within the limit of the document crate's sorter.

use document::sort::{SortSpec, Sorter};

use super::request::QueryError;
use super::row::Row;
use super::scan::Scan;

/// All rows of `scan` in order; only the first `keep` of them when given.
pub(super) fn sort(
    scan: &mut Scan,
    sort: &SortSpec,
    keep: Option<u64>,
) -> Result<Vec<Row>, QueryError> {
    let keep = keep.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
    let mut sorter = Sorter::new(keep);
    for row in scan {
        // A copy: a stored row would keep the whole block it lies in from being freed.
        let document = row?.into_document();
        let mut key = Vec::new();
        sort.encode_key(&document, &mut key)?;
        let bytes = document.as_bytes().len();
        sorter.push(key, document, bytes)?;
    }
    Ok(sorter.finish().into_iter().map(Row::from).collect())
}
