//! `aggregate`: the leading stages become a find, so that they use indexes; the others run on its rows.

use std::sync::Arc;

use bson::{Bson, RawBson, RawDocumentBuf};
use document::DocumentError;
use document::aggregation::{CountShape, DocumentStream, LeadingFind, Pipeline};
use parking_lot::Mutex;

use super::count::count_matches;
use super::cursor::{FindCursor, FindRows};
use super::find::ParsedFind;
use super::interrupt::Interrupt;
use super::request::{AggregateRequest, QueryError};
use super::row::Row;
use crate::Snapshot;

/// A pipeline taken apart.
pub(super) struct ParsedPipeline {
    pub find: ParsedFind,
    pub count: Option<CountShape>,
    pub rest: Pipeline,
}

impl ParsedPipeline {
    pub fn parse(request: AggregateRequest) -> Result<ParsedPipeline, QueryError> {
        let (leading, rest) =
            Pipeline::parse(&request.pipeline, &request.context)?.split_leading()?;
        let LeadingFind {
            filter,
            filter_document,
            sort,
            skip,
            limit,
            count,
        } = leading;
        let find = ParsedFind {
            namespace: request.namespace,
            filter,
            filter_document,
            sort,
            skip,
            limit,
            projection: None,
            hint: request.hint,
            interrupt: request.interrupt,
        };
        Ok(ParsedPipeline { find, count, rest })
    }
}

impl Snapshot {
    /// Starts an aggregation. A missing collection is an empty one.
    pub fn aggregate(&self, request: AggregateRequest) -> Result<FindCursor, QueryError> {
        let ParsedPipeline {
            mut find,
            count,
            rest,
        } = ParsedPipeline::parse(request)?;
        let interrupt = find.interrupt.clone();
        if let Some(shape) = count {
            find.sort = None;
            let (count, _) = count_matches(find.plan(self)?, self)?;
            let counted = (count > 0).then(|| counted(&shape, count));
            let input = counted.into_iter().map(Ok);
            return Ok(FindCursor::of_pipeline(PipelineRows::new(
                Box::new(input),
                &rest,
                interrupt,
            )));
        }
        let rows = find.plan(self)?.rows(self);
        if rest.is_empty() {
            return Ok(FindCursor::of_find(rows));
        }
        Ok(FindCursor::of_pipeline(PipelineRows::over(
            rows, &rest, interrupt,
        )))
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

/// The rows of a pipeline. Stages know only errors of documents; what stopped their input is kept at the side and
/// given instead of the stand-in that went through the stages.
pub(super) struct PipelineRows {
    stream: DocumentStream,
    stopped: Arc<Mutex<Option<QueryError>>>,
    interrupt: Interrupt,
}

impl PipelineRows {
    fn new(input: DocumentStream, stages: &Pipeline, interrupt: Interrupt) -> PipelineRows {
        PipelineRows {
            stream: stages.run(input),
            stopped: Arc::new(Mutex::new(None)),
            interrupt,
        }
    }

    fn over(rows: FindRows, stages: &Pipeline, interrupt: Interrupt) -> PipelineRows {
        let stopped = Arc::new(Mutex::new(None));
        let stop = Arc::clone(&stopped);
        let input = rows.map(move |row| match row {
            Ok(row) => Ok(row.into_document()),
            Err(error) => {
                *stop.lock() = Some(error);
                Err(DocumentError::bad_value("the input of the pipeline failed"))
            }
        });
        PipelineRows {
            stopped,
            ..PipelineRows::new(Box::new(input), stages, interrupt)
        }
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
            Err(error) => Err(error.into()),
        })
    }
}
