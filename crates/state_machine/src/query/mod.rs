//! Reads over a [`Snapshot`]: find, count, distinct, aggregate and explain.
//!
//! Every read sees exactly the state as of the snapshot's log index. Rows come out of pull iterators: nothing
//! is read before it is asked for, and only sorting and grouping stages hold more than one row. A missing
//! collection reads as an empty one. An index only narrows what is fetched: the whole filter is checked again
//! on every document, so a wrong bound can cost time, never a wrong row, as long as bounds never exclude a match. Entries
//! are taken at their word only where bounds are exact: to count them, and to make rows of them (`covering`).
//!
//! No clock in here: time limits and kills come in as an [`Interrupt`] that is asked before every step. Through it the
//! owner of a read also hears of the plan and of what was looked at.

mod aggregate;
mod bounds;
mod candidate;
mod count;
mod covering;
mod cursor;
mod distinct;
mod entries;
mod explain;
mod find;
mod index_kind;
mod interrupt;
mod intersection;
mod key_check;
mod key_limits;
mod noted;
mod plan_summary;
mod planner;
mod point_read;
mod probe;
mod query_shape;
mod remembered;
mod request;
mod row;
mod row_shape;
mod scan;
mod sorting;
#[cfg(test)]
mod tests;
mod text_search;
mod trial;
mod union;

pub use cursor::FindCursor;
pub use interrupt::{Interrupt, InterruptReason, Owner};
pub use plan_summary::PlanSummary;
pub use request::{
    AggregateRequest, CountRequest, DistinctRequest, ExplainRequest, Explained, FindRequest, Hint,
    QueryError, ScanDirection, Verbosity,
};
pub use row::Row;
