//! Aggregation pipelines as pull iterators: a stage pulls from the one before it as the result is pulled.
//!
//! A pipeline is parsed whole before it runs. Stages come from the registry in `stages`, accumulators of `$group` from
//! the one in `accumulators`. Stages that hold documents stop with an error at [`MEMORY_BYTES_MAX`]; `$sort` and `$group`
//! go on outside memory where the context lends room. Nothing depends on a clock, on chance or on the order of hashing.

pub(crate) mod accumulators;
pub(crate) mod assign;
mod leading;
mod lent;
mod stages;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::raw::{RawArray, RawBsonRef};
use bson::{Bson, RawDocumentBuf};

use crate::{Context, DocumentError, filter::Filter, raw, sort::SortSpec};
pub(crate) use accumulators::Accumulator;
pub use lent::{LendDocuments, LentDocuments};
use stages::Stage;

/// What a stage may hold at once.
pub const MEMORY_BYTES_MAX: usize = 100 * 1024 * 1024;
const _: () = assert!(MEMORY_BYTES_MAX == crate::sort::SORT_BYTES_MAX);

/// Documents flowing between stages.
pub type DocumentStream = Box<dyn Iterator<Item = Result<RawDocumentBuf, DocumentError>> + Send>;

/// Where stages read other collections, as of the state the pipeline itself reads.
pub trait Collections: std::fmt::Debug + Send + Sync {
    /// The documents of `collection` through `pipeline`; without a collection the pipeline makes its own. A collection
    /// that does not exist is empty.
    fn aggregate(
        &self,
        collection: Option<&str>,
        pipeline: &RawArray,
        context: &Context,
    ) -> Result<DocumentStream, DocumentError>;
}

/// Stages of one pipeline at most.
pub const STAGES_MAX: usize = 1_000;

/// A parsed pipeline. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pipeline {
    stages: Vec<Arc<Stage>>,
    context: Context,
}

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
    /// Documents to give at most, after `skip`; `Some(0)` gives none.
    pub limit: Option<u64>,
    /// What follows only counts: the documents themselves need not be read. The result is one document with this
    /// field (none at all when the count is zero), then the rest of the pipeline runs on it.
    pub count: Option<CountShape>,
    /// The top-level fields that the rest of the pipeline looks at: documents with nothing else do as well. `None` if that
    /// may be anything.
    pub needed: Option<BTreeSet<String>>,
}

/// The one-document result of a stage that only counts its input: `{$count: field}`, or the
/// `{$group: {_id: <constant>, field: {$sum: 1}}}` of the drivers' `count_documents`.
#[derive(Debug, Clone, PartialEq)]
pub struct CountShape {
    /// Value of `_id` in the result: `None` for `$count`, which gives none.
    pub id: Option<Bson>,
    /// Name of the counter.
    pub field: String,
}

impl Pipeline {
    /// Parses the `pipeline` array; what its expressions may know is in `context`.
    pub fn parse(stages: &RawArray, context: &Context) -> Result<Pipeline, DocumentError> {
        let mut parsed = Vec::new();
        let mut inner = context.clone().without_scores();
        for stage in raw::members(stages) {
            let RawBsonRef::Document(stage) = stage else {
                return Err(DocumentError::type_mismatch(
                    "Each element of the 'pipeline' array must be an object",
                ));
            };
            let stage = stages::parse(stage, &inner)?;
            inner = stage.context_behind(inner, parsed.is_empty())?;
            if stage.makes_documents() && !parsed.is_empty() {
                return Err(DocumentError::location(
                    40602,
                    "$documents is only valid as the first stage in a pipeline",
                ));
            }
            parsed.push(Arc::new(stage));
            if parsed.len() > STAGES_MAX {
                return Err(DocumentError::location(
                    7_749_501,
                    format!("Pipeline length must be no longer than {STAGES_MAX} stages"),
                ));
            }
        }
        Ok(Pipeline {
            stages: parsed,
            context: context.clone(),
        })
    }

    /// Whether there are no stages.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Whether the first stage searches with `$text`.
    pub(crate) fn begins_with_text(&self) -> bool {
        let first = self.stages.first().map(AsRef::as_ref);
        matches!(first, Some(Stage::Match { filter, .. }) if filter.text().is_some())
    }

    /// Whether the first stage makes the documents: nothing need be read.
    pub fn makes_documents(&self) -> bool {
        self.stages
            .first()
            .is_some_and(|stage| stage.makes_documents())
    }

    /// Takes the leading stages that a planner can do better; the rest is to be run on what it finds.
    pub fn split_leading(&self) -> Result<(LeadingFind, Pipeline), DocumentError> {
        leading::split(self)
    }

    /// Runs the stages over `input`, pulling as the result is pulled. After an error there is nothing more.
    pub fn run(&self, input: DocumentStream) -> DocumentStream {
        until_error(self.run_from(0, input))
    }

    /// The same over documents that are lent: the first stage decides whether they are copied.
    pub fn run_lent(&self, input: LentDocuments) -> DocumentStream {
        let Some(first) = self.stages.first() else {
            return until_error(input.into_stream());
        };
        let bound = leading::rows_wanted(&self.stages[1..]);
        let stream = stages::run_lent(first, input, bound, &self.context);
        until_error(self.run_from(1, stoppable(stream, &self.context)))
    }

    /// Runs the stages from one on.
    fn run_from(&self, first: usize, input: DocumentStream) -> DocumentStream {
        let mut stream = input;
        for (position, stage) in self.stages.iter().enumerate().skip(first) {
            let bound = leading::rows_wanted(&self.stages[position + 1..]);
            stream = stages::run(stage, stream, bound, &self.context);
            stream = stoppable(stream, &self.context);
        }
        stream
    }
}

/// Nothing follows an error.
fn until_error(mut stream: DocumentStream) -> DocumentStream {
    let mut failed = false;
    Box::new(std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let next = stream.next();
        failed = matches!(next, Some(Err(_)));
        next
    }))
}

type Items<T> = Box<dyn Iterator<Item = Result<T, DocumentError>> + Send>;

/// Documents between two questions whether to stop.
const STOP_INTERVAL: u32 = 128;

/// The same, asked every few items whether anybody still waits: a stage may make many documents of one.
fn stoppable<T: 'static>(mut items: Items<T>, context: &Context) -> Items<T> {
    let Some(stop) = context.stop().cloned() else {
        return items;
    };
    let mut given = 0u32;
    Box::new(std::iter::from_fn(move || {
        given = given.wrapping_add(1);
        if given.is_multiple_of(STOP_INTERVAL) && stop.is_asked_for() {
            // The caller, who knows why, says it in its own words.
            return Some(Err(DocumentError::bad_value(
                "the operation was interrupted",
            )));
        }
        items.next()
    }))
}
