//! A plan in a few words, as MongoDB's `planSummary`: the stages at the leaves of what `explain` shows.

use std::fmt;
use std::sync::Arc;

use document::key_encoding::Direction;

use crate::catalog::{IndexEntry, describe};

/// How an operation reaches its documents.
#[derive(Debug, Clone)]
pub enum PlanSummary {
    /// Nothing can match.
    Nothing,
    /// The document with one `_id`.
    Id,
    /// All documents.
    Collection,
    /// The collection's counter: no documents at all.
    Counter,
    /// Entries of an index.
    Index(Arc<IndexEntry>),
    /// Entries of an index, which are counted only.
    CountIndex(Arc<IndexEntry>),
    /// Entries of an index, one for each value.
    DistinctIndex(Arc<IndexEntry>),
    /// Entries of several indexes, each of which is here once.
    Indexes(Vec<Arc<IndexEntry>>),
}

impl fmt::Display for PlanSummary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanSummary::Nothing => formatter.write_str("EOF"),
            PlanSummary::Id => formatter.write_str("IDHACK"),
            PlanSummary::Collection => formatter.write_str("COLLSCAN"),
            PlanSummary::Counter => formatter.write_str("RECORD_STORE_FAST_COUNT"),
            PlanSummary::Index(index) => write_scan(formatter, "IXSCAN", index),
            PlanSummary::CountIndex(index) => write_scan(formatter, "COUNT_SCAN", index),
            PlanSummary::DistinctIndex(index) => write_scan(formatter, "DISTINCT_SCAN", index),
            PlanSummary::Indexes(indexes) => {
                for (position, index) in indexes.iter().enumerate() {
                    if position > 0 {
                        formatter.write_str(", ")?;
                    }
                    write_scan(formatter, "IXSCAN", index)?;
                }
                Ok(())
            }
        }
    }
}

/// `IXSCAN { a: 1, b: -1 }`.
fn write_scan(formatter: &mut fmt::Formatter<'_>, stage: &str, index: &IndexEntry) -> fmt::Result {
    if !index.kind.is_ordered() {
        return write!(formatter, "{stage} {}", describe(&index.key));
    }
    write!(formatter, "{stage} {{ ")?;
    for (position, (path, direction)) in index.fields.iter().enumerate() {
        let separator = if position > 0 { ", " } else { "" };
        let sign = match direction {
            Direction::Ascending => 1,
            Direction::Descending => -1,
        };
        write!(formatter, "{separator}{}: {sign}", path.as_str())?;
    }
    formatter.write_str(" }")
}
