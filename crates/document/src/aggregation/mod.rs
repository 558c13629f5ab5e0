//! Aggregation pipelines as pull iterators.
use bson::{RawArray, RawDocumentBuf};

use crate::{DocumentError, filter::Filter, sort::SortSpec};

/// Documents flowing between stages.
pub type DocumentStream = Box<dyn Iterator<Item = Result<RawDocumentBuf, DocumentError>> + Send>;

/// A parsed pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {}

/// What a planner can do in place of the first stages: filter, then sort, then skip, then limit.
#[derive(Debug)]
pub struct LeadingFind {
    /// All leading `$match` stages.
    pub filter: Filter,
    /// The same as a document.
    pub filter_document: RawDocumentBuf,
    /// The leading `$sort`.
    pub sort: Option<SortSpec>,
    /// Documents to leave out.
    pub skip: u64,
    /// Documents to give at most, after `skip`.
    pub limit: Option<u64>,
    /// The rest only counts: documents themselves need not be read; the result is one document with this
    /// field (none at all when nothing matched), then `rest` runs on it.
    pub count: Option<CountShape>,
}

/// The one-document result of a pipeline whose remainder only counts its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountShape {
    /// Value of `_id` in the result: `None` for `$count`, which gives none.
    pub id: Option<bson::Bson>,
    /// Name of the counter.
    pub field: String,
}

impl Pipeline {
    /// Parses the `pipeline` array.
    pub fn parse(stages: &RawArray) -> Result<Pipeline, DocumentError> {
        let _ = stages;
        Err(DocumentError::failed_to_parse("unfinished"))
    }

    /// Whether there are no stages.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Takes the leading stages that a planner can do better; the rest is to be run on what it finds.
    pub fn split_leading(&self) -> Result<(LeadingFind, Pipeline), DocumentError> {
        Err(DocumentError::failed_to_parse("unfinished"))
    }

    /// Runs the stages over `input`, pulling as the result is pulled.
    pub fn run(&self, input: DocumentStream) -> DocumentStream {
        input
    }
}
