//! The rows of a read, pulled one by one.

use document::sort::SortSpec;
use document::spill::{Room, Sorted};

use super::aggregate::PipelineRows;
use super::request::QueryError;
use super::row::Row;
use super::row_shape::Shaping;
use super::scan::{Scan, Touched};
use super::sorting;

/// Gives the rows of one read. Owns the snapshot it reads, so the state it shows stays readable while it lives. After
/// an error it gives nothing more.
pub struct FindCursor {
    rows: Option<Rows>,
}

enum Rows {
    Find(Box<FindRows>),
    Pipeline(Box<PipelineRows>),
}

impl FindCursor {
    pub(super) fn of_find(rows: FindRows) -> FindCursor {
        FindCursor {
            rows: Some(Rows::Find(Box::new(rows))),
        }
    }

    pub(super) fn of_pipeline(rows: PipelineRows) -> FindCursor {
        FindCursor {
            rows: Some(Rows::Pipeline(Box::new(rows))),
        }
    }
}

impl Iterator for FindCursor {
    type Item = Result<Row, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match self.rows.as_mut()? {
            Rows::Find(rows) => rows.next(),
            Rows::Pipeline(rows) => rows.next(),
        };
        if !matches!(next, Some(Ok(_))) {
            self.rows = None;
        }
        next
    }
}

impl std::iter::FusedIterator for FindCursor {}

impl std::fmt::Debug for FindCursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FindCursor")
            .field("finished", &self.rows.is_none())
            .finish()
    }
}

/// The rows of a find: scanned, sorted if need be, skipped, limited and projected.
pub(super) struct FindRows {
    scan: Scan,
    order: Order,
    skip: u64,
    /// Rows still to give.
    remaining: Option<u64>,
    shaping: Shaping,
    used_disk: bool,
}

enum Order {
    AsScanned,
    /// To be sorted when the first row is asked for.
    Unsorted(SortSpec, Room),
    Sorted(Sorted),
}

impl FindRows {
    pub fn new(
        scan: Scan,
        sort: Option<(SortSpec, Room)>,
        skip: u64,
        limit: Option<u64>,
        shaping: Shaping,
    ) -> FindRows {
        FindRows {
            scan,
            order: sort.map_or(Order::AsScanned, |(sort, room)| Order::Unsorted(sort, room)),
            skip,
            remaining: limit,
            shaping,
            used_disk: false,
        }
    }

    /// What has been looked at so far.
    pub fn touched(&self) -> Touched {
        self.scan.touched
    }

    /// Whether the sort did not fit in memory.
    pub fn has_used_disk(&self) -> bool {
        self.used_disk
    }

    fn next_in_order(&mut self) -> Result<Option<Row>, QueryError> {
        if let Order::Unsorted(sort, room) = &self.order {
            let keep = self.remaining.map(|limit| limit.saturating_add(self.skip));
            let (rows, used_disk) = sorting::sort(&mut self.scan, sort, keep, room)?;
            self.used_disk = used_disk;
            self.order = Order::Sorted(rows);
        }
        match &mut self.order {
            Order::Sorted(rows) => {
                self.scan.check()?;
                Ok(rows.next().transpose()?.map(Row::from))
            }
            Order::AsScanned | Order::Unsorted(..) => self.scan.next_row(),
        }
    }

    /// The next row.
    pub fn next_row(&mut self) -> Result<Option<Row>, QueryError> {
        if self.remaining == Some(0) {
            return Ok(None);
        }
        while self.skip > 0 {
            if self.next_in_order()?.is_none() {
                return Ok(None);
            }
            self.skip -= 1;
        }
        let Some(row) = self.next_in_order()? else {
            return Ok(None);
        };
        if let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
        }
        self.shaping.row(row).map(Some)
    }
}

impl Iterator for FindRows {
    type Item = Result<Row, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}
