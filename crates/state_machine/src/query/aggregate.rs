//! `aggregate`: the leading stages become a find, so that they use indexes; the others run on its rows.

use std::sync::Arc;

use bson::{Bson, RawArray, RawBson, RawDocument, RawDocumentBuf};
use document::aggregation::{
    Collections, CountShape, DocumentStream, LeadingFind, LendDocuments, LentDocuments, Pipeline,
};
use document::projection::TopLevelFields;
use document::{Context, DocumentError};
use parking_lot::Mutex;

use super::count::count_matches;
use super::cursor::{FindCursor, FindRows};
use super::find::ParsedFind;
use super::interrupt::Interrupt;
use super::request::{AggregateRequest, QueryError};
use super::row::Row;
use super::row_shape::RowShape;
use crate::{Namespace, Snapshot};

/// A pipeline taken apart.
pub(super) struct ParsedPipeline {
    pub find: ParsedFind,
    pub count: Option<CountShape>,
    pub rest: Pipeline,
}

impl ParsedPipeline {
    pub fn parse(request: AggregateRequest) -> Result<ParsedPipeline, QueryError> {
        let collation = request.context.collation().cloned();
        let (leading, rest) =
            Pipeline::parse(&request.pipeline, &request.context)?.split_leading()?;
        let LeadingFind {
            filter,
            filter_document,
            sort,
            skip,
            limit,
            count,
            needed,
        } = leading;
        let find = ParsedFind {
            namespace: request.namespace,
            filter,
            filter_document,
            sort,
            skip,
            limit,
            projection: None,
            projection_document: RawDocumentBuf::new(),
            hint: request.hint,
            min: None,
            max: None,
            shape: RowShape::default(),
            collation,
            needed,
            room: request.context.room().clone(),
            interrupt: request.interrupt,
        };
        Ok(ParsedPipeline { find, count, rest })
    }
}

impl Snapshot {
    /// Starts an aggregation. A missing collection is an empty one.
    pub fn aggregate(&self, request: AggregateRequest) -> Result<FindCursor, QueryError> {
        let stopped = Stopped::default();
        let request = self.with_collections(self.behind_view(request)?, &stopped);
        let ParsedPipeline {
            mut find,
            count,
            rest,
        } = ParsedPipeline::parse(request)?;
        let interrupt = find.interrupt.clone();
        if rest.makes_documents() {
            let stream = rest.run(Box::new(std::iter::empty()));
            let rows = PipelineRows::new(stream, interrupt, stopped);
            return Ok(FindCursor::of_pipeline(rows));
        }
        if let Some(shape) = count {
            find.sort = None;
            let (count, _) = count_matches(find.plan(self)?.noted_for_count(), self)?;
            let counted = (count > 0).then(|| counted(&shape, count));
            let stream = rest.run(Box::new(counted.into_iter().map(Ok)));
            let rows = PipelineRows::new(stream, interrupt, stopped);
            return Ok(FindCursor::of_pipeline(rows));
        }
        let needed = find.needed.as_ref().and_then(TopLevelFields::new);
        let rows = find.plan(self)?.noted().rows(self);
        if rest.is_empty() {
            return Ok(FindCursor::of_find(rows));
        }
        let lending = Lending {
            rows,
            lent: None,
            stopped: Arc::clone(&stopped),
        };
        let stream = rest.run_lent(LentDocuments::new(Box::new(lending), needed));
        let rows = PipelineRows::new(stream, interrupt, stopped);
        Ok(FindCursor::of_pipeline(rows))
    }
}

impl Snapshot {
    /// Whether this is a pipeline that could run over `namespace`.
    pub fn check_pipeline(
        &self,
        namespace: &Namespace,
        pipeline: &RawArray,
    ) -> Result<(), QueryError> {
        let request = AggregateRequest {
            namespace: namespace.clone(),
            pipeline: pipeline.to_owned(),
            hint: None,
            context: Context::checking(),
            interrupt: Interrupt::never(),
        };
        let request = self.with_collections(request, &Stopped::default());
        Pipeline::parse(&request.pipeline, &request.context)?;
        Ok(())
    }

    /// The request over the collection behind a view, the view's stages first.
    pub(super) fn behind_view(
        &self,
        mut request: AggregateRequest,
    ) -> Result<AggregateRequest, QueryError> {
        if let Some((namespace, mut pipeline)) = self.catalog().resolve_view(&request.namespace)? {
            for stage in &request.pipeline {
                pipeline.push(stage.map_err(DocumentError::from)?);
            }
            request.namespace = namespace;
            request.pipeline = pipeline;
        }
        Ok(request)
    }

    /// The request, its stages able to read other collections.
    pub(super) fn with_collections(
        &self,
        mut request: AggregateRequest,
        stopped: &Stopped,
    ) -> AggregateRequest {
        let collections = OfSnapshot {
            snapshot: self.clone(),
            database: request.namespace.database.clone(),
            interrupt: request.interrupt.clone(),
            stopped: Arc::clone(stopped),
        };
        let interrupt = request.interrupt.clone();
        let context = self.in_collation_of(&request.namespace, request.context);
        let context = self.in_text_of(&request.namespace, context);
        request.context = context
            .with_collections(Arc::new(collections))
            .with_stop(move || interrupt.reason().is_some());
        request
    }
}

/// The document of a count.
fn counted(shape: &CountShape, count: u64) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    if let Some(id) = &shape.id {
        append(&mut document, "_id", id);
    }
    let count = match i32::try_from(count) {
        Ok(count) => Bson::Int32(count),
        Err(_) => Bson::Int64(i64::try_from(count).unwrap_or(i64::MAX)),
    };
    append(&mut document, &shape.field, &count);
    document
}

fn append(document: &mut RawDocumentBuf, name: &str, value: &Bson) {
    let name = bson::raw::CString::try_from(name)
        .expect("parsed from BSON, where names have no zero byte");
    let value = RawBson::try_from(value.clone()).expect("a BSON value has a raw form");
    document.append(name, value);
}

/// What ended the reading of documents, if it was not the documents.
pub(super) type Stopped = Arc<Mutex<Option<QueryError>>>;

/// Other collections of the database, as of the snapshot the pipeline reads.
struct OfSnapshot {
    snapshot: Snapshot,
    database: String,
    interrupt: Interrupt,
    stopped: Stopped,
}

impl std::fmt::Debug for OfSnapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OfSnapshot")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl OfSnapshot {
    /// The error for the stage; what is no error of documents is kept at the side.
    fn refused(stopped: &Stopped, error: QueryError) -> DocumentError {
        match error {
            QueryError::Command(crate::CommandError::Document(error)) => error,
            other => {
                *stopped.lock() = Some(other);
                DocumentError::bad_value("another collection could not be read")
            }
        }
    }
}

impl Collections for OfSnapshot {
    fn aggregate(
        &self,
        collection: Option<&str>,
        pipeline: &RawArray,
        context: &Context,
    ) -> Result<DocumentStream, DocumentError> {
        let request = AggregateRequest {
            // A pipeline that makes its documents reads nothing of this one.
            namespace: Namespace::new(&self.database, collection.unwrap_or("$cmd.aggregate")),
            pipeline: pipeline.to_owned(),
            hint: None,
            context: context.clone(),
            interrupt: self.interrupt.clone(),
        };
        let stopped = Arc::clone(&self.stopped);
        let rows = self.snapshot.aggregate(request);
        let rows = rows.map_err(|error| OfSnapshot::refused(&stopped, error))?;
        Ok(Box::new(rows.map(move |row| match row {
            Ok(row) => Ok(row.into_document()),
            Err(error) => Err(OfSnapshot::refused(&stopped, error)),
        })))
    }
}

/// The rows of a pipeline. Stages know only errors of documents; what stopped their input is kept at the side and
/// given instead of the stand-in that went through the stages.
pub(super) struct PipelineRows {
    stream: DocumentStream,
    stopped: Stopped,
    interrupt: Interrupt,
}

impl PipelineRows {
    fn new(stream: DocumentStream, interrupt: Interrupt, stopped: Stopped) -> PipelineRows {
        PipelineRows {
            stream,
            stopped,
            interrupt,
        }
    }
}

/// Lends rows to the first stage.
struct Lending {
    rows: FindRows,
    lent: Option<Row>,
    stopped: Stopped,
}

impl Lending {
    /// The stand-in for what stopped the rows, which is kept at the side.
    fn failed(&self, error: QueryError) -> DocumentError {
        *self.stopped.lock() = Some(error);
        DocumentError::bad_value("the input of the pipeline failed")
    }
}

impl LendDocuments for Lending {
    fn lend(&mut self) -> Option<Result<&RawDocument, DocumentError>> {
        match self.rows.next_row() {
            Ok(Some(row)) => Some(Ok(self.lent.insert(row))),
            Ok(None) => None,
            Err(error) => Some(Err(self.failed(error))),
        }
    }

    fn give(
        &mut self,
        needed: Option<&TopLevelFields>,
    ) -> Option<Result<RawDocumentBuf, DocumentError>> {
        Some(match (self.rows.next()?, needed) {
            (Ok(row), Some(needed)) => Ok(row.into_narrow_document(needed)),
            (Ok(row), None) => Ok(row.into_document()),
            (Err(error), _) => Err(self.failed(error)),
        })
    }
}

impl Iterator for PipelineRows {
    type Item = Result<Row, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(reason) = self.interrupt.reason() {
            return Some(Err(QueryError::Interrupted(reason)));
        }
        let next = self.stream.next();
        if let Some(error) = self.stopped.lock().take() {
            return Some(Err(error));
        }
        Some(match next? {
            Ok(document) => Ok(Row::from(document)),
            Err(error) => Err(match self.interrupt.reason() {
                Some(reason) => QueryError::Interrupted(reason),
                None => error.into(),
            }),
        })
    }
}
