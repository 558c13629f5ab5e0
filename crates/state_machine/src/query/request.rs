//! What can be asked of a snapshot, and how asking fails. Requests hold raw documents as they came from the
//! client; parsing them is part of the read, so that its errors come back as the read's own.

use bson::raw::{CStr, cstr};
use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf};
use document::{Context, DocumentError, ErrorKind};
use storage_engine::StorageFault;

use super::{Interrupt, InterruptReason};
use crate::{CommandError, Namespace};

/// A read failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The request or a document it met is at fault; the same on every member.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// `maxTimeMS` passed, or the operation was killed.
    #[error("operation was interrupted: {0:?}")]
    Interrupted(InterruptReason),
    /// This member's storage failed: stop answering and leave.
    #[error(transparent)]
    Storage(#[from] StorageFault),
}

impl From<DocumentError> for QueryError {
    fn from(error: DocumentError) -> Self {
        QueryError::Command(CommandError::from(error))
    }
}

/// Which way a scan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanDirection {
    /// Ascending key order.
    Forward,
    /// Descending key order.
    Backward,
}

/// The index the client insists on.
#[derive(Debug, Clone, PartialEq)]
pub enum Hint {
    /// By index name.
    Name(String),
    /// By key pattern, fields in order.
    KeyPattern(RawDocumentBuf),
    /// `{$natural: 1 | -1}`: scan the collection, use no index.
    Natural(ScanDirection),
}

impl Hint {
    /// Reads a command's `hint` value. `None` for an empty document or an empty string, which MongoDB ignores.
    pub fn parse(value: RawBsonRef<'_>) -> Result<Option<Hint>, CommandError> {
        match value {
            RawBsonRef::String("") => Ok(None),
            RawBsonRef::String("$natural") => Ok(Some(Hint::Natural(ScanDirection::Forward))),
            RawBsonRef::String(name) => Ok(Some(Hint::Name(name.to_owned()))),
            RawBsonRef::Document(pattern) if pattern.is_empty() => Ok(None),
            RawBsonRef::Document(pattern) => match pattern.get("$natural") {
                Ok(Some(direction)) => natural(direction).map(Some),
                _ => Ok(Some(Hint::KeyPattern(pattern.to_owned()))),
            },
            _ => Err(DocumentError::failed_to_parse("Hint must be a string or an object").into()),
        }
    }
}

fn natural(direction: RawBsonRef<'_>) -> Result<Hint, CommandError> {
    let sign = match direction {
        RawBsonRef::Int32(number) => f64::from(number),
        RawBsonRef::Int64(number) => number as f64,
        RawBsonRef::Double(number) => number,
        _ => 0.0,
    };
    if sign == 1.0 {
        Ok(Hint::Natural(ScanDirection::Forward))
    } else if sign == -1.0 {
        Ok(Hint::Natural(ScanDirection::Backward))
    } else {
        Err(DocumentError::new(ErrorKind::FailedToParse, "$natural must be either 1 or -1").into())
    }
}

/// `find`.
#[derive(Debug, Clone)]
pub struct FindRequest {
    /// Where to look.
    pub namespace: Namespace,
    /// Which documents; empty means all.
    pub filter: RawDocumentBuf,
    /// In which order; `None` or empty means any.
    pub sort: Option<RawDocumentBuf>,
    /// How many of the first rows to leave out.
    pub skip: u64,
    /// At most this many rows; `None` (MongoDB's 0) means all.
    pub limit: Option<u64>,
    /// Which fields; `None` or empty means all.
    pub projection: Option<RawDocumentBuf>,
    /// The index to use.
    pub hint: Option<Hint>,
    /// Only entries of the hinted index from this key on: a value for each of its fields.
    pub min: Option<RawDocumentBuf>,
    /// Only entries of the hinted index before this key.
    pub max: Option<RawDocumentBuf>,
    /// Give the fields of the index that was used instead of the document.
    pub return_key: bool,
    /// Add `$recordId`, under which the document is stored: here that is its `_id`.
    pub show_record_id: bool,
    /// What expressions may know besides the documents.
    pub context: Context,
    /// Asked before every step.
    pub interrupt: Interrupt,
}

impl FindRequest {
    /// Everything in `namespace` that matches `filter`.
    pub fn new(namespace: Namespace, filter: RawDocumentBuf) -> Self {
        FindRequest {
            namespace,
            filter,
            sort: None,
            skip: 0,
            limit: None,
            projection: None,
            hint: None,
            min: None,
            max: None,
            return_key: false,
            show_record_id: false,
            context: Context::none(),
            interrupt: Interrupt::never(),
        }
    }
}

/// `aggregate` over one collection.
#[derive(Debug, Clone)]
pub struct AggregateRequest {
    /// Where to look.
    pub namespace: Namespace,
    /// The stages in order.
    pub pipeline: RawArrayBuf,
    /// The index to use for the leading stages.
    pub hint: Option<Hint>,
    /// What expressions may know besides the documents.
    pub context: Context,
    /// Asked before every step.
    pub interrupt: Interrupt,
}

impl FindRequest {
    /// Whether a view can be asked this: it has no index and no records of its own.
    pub(super) fn check_on_view(&self) -> Result<(), QueryError> {
        let options = [
            ("min", self.min.is_some()),
            ("max", self.max.is_some()),
            ("returnKey", self.return_key),
            ("showRecordId", self.show_record_id),
        ];
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(DocumentError::new(
                ErrorKind::InvalidPipelineOperator,
                format!("Option {option} not supported in aggregation."),
            )
            .into()),
            None => Ok(()),
        }
    }

    /// The same as a pipeline, for what is no collection.
    pub(super) fn into_aggregate(self) -> AggregateRequest {
        let mut pipeline = RawArrayBuf::new();
        let mut stage = |name: &CStr, argument: RawBson| {
            let mut stage = RawDocumentBuf::new();
            stage.append(name, argument);
            pipeline.push(stage);
        };
        if !self.filter.is_empty() {
            stage(cstr!("$match"), self.filter.into());
        }
        if let Some(sort) = self.sort.filter(|sort| !sort.is_empty()) {
            stage(cstr!("$sort"), sort.into());
        }
        let number = |count: u64| RawBson::Int64(i64::try_from(count).unwrap_or(i64::MAX));
        if self.skip > 0 {
            stage(cstr!("$skip"), number(self.skip));
        }
        if let Some(limit) = self.limit {
            stage(cstr!("$limit"), number(limit));
        }
        if let Some(projection) = self.projection.filter(|fields| !fields.is_empty()) {
            stage(cstr!("$project"), projection.into());
        }
        AggregateRequest {
            namespace: self.namespace,
            pipeline,
            hint: self.hint,
            context: self.context,
            interrupt: self.interrupt,
        }
    }
}

/// `count`.
#[derive(Debug, Clone)]
pub struct CountRequest {
    /// Where to look.
    pub namespace: Namespace,
    /// Which documents; empty means all.
    pub filter: RawDocumentBuf,
    /// How many not to count.
    pub skip: u64,
    /// Stop counting here; `None` means never.
    pub limit: Option<u64>,
    /// The index to use.
    pub hint: Option<Hint>,
    /// What expressions may know besides the documents.
    pub context: Context,
    /// Asked before every step.
    pub interrupt: Interrupt,
}

/// `distinct`.
#[derive(Debug, Clone)]
pub struct DistinctRequest {
    /// Where to look.
    pub namespace: Namespace,
    /// The dotted path whose values are wanted.
    pub key: String,
    /// Which documents; empty means all.
    pub filter: RawDocumentBuf,
    /// The index to use.
    pub hint: Option<Hint>,
    /// What expressions may know besides the documents.
    pub context: Context,
    /// Asked before every step.
    pub interrupt: Interrupt,
}

/// How much `explain` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// The chosen plan only; nothing is read.
    QueryPlanner,
    /// Runs the plan and counts what it touched.
    ExecutionStats,
    /// As `ExecutionStats`, plus what each plan that would have done does when it is tried.
    AllPlansExecution,
}

/// The read whose plan is asked for. A write is explained as the find that chooses its documents.
#[derive(Debug, Clone)]
pub enum Explained {
    /// `find`.
    Find(FindRequest),
    /// `aggregate`.
    Aggregate(AggregateRequest),
    /// `count`.
    Count(CountRequest),
    /// `distinct`.
    Distinct(DistinctRequest),
    /// `update` of one statement: its candidates' find; `multi: false` limits it to one.
    Update(FindRequest),
    /// `delete` of one statement.
    Delete(FindRequest),
}

/// `explain`.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    /// What to explain.
    pub explained: Explained,
    /// How much to tell.
    pub verbosity: Verbosity,
}
