//! Batches of a cursor: the first one of a read, and the later ones of `getMore`.

use bson::{RawDocumentBuf, Timestamp};
use state_machine::Namespace;
use state_machine::query::{Interrupt, Row};
use tokio::time::Instant;

use super::control::Control;
use super::cursors::{OpenCursor, Rows};
use super::dispatch::{Answer, Invocation};
use super::document_writer::DocumentWriter;
use super::failure::Failure;
use super::limits::FIRST_BATCH_DOCUMENTS_DEFAULT;
use super::request::{Request, unknown_field};
use super::values;

/// Room for a small document and what stands around it.
const FIRST_BATCH_BYTES_USUAL: usize = 1_024;

/// How a read wants its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Rows in the first batch; 0 opens the cursor without reading.
    pub batch_size: Option<u64>,
    /// Rows in all.
    pub limit: Option<u64>,
    /// Close the cursor after the first batch.
    pub single_batch: bool,
    pub no_timeout: bool,
    /// Whether other tasks should be moved off this thread meanwhile.
    pub may_be_long: bool,
    /// The time a snapshot read shows.
    pub at_cluster_time: Option<Timestamp>,
}

/// Runs a read and answers with its first batch.
pub(crate) fn first(
    invocation: &Invocation<'_>,
    shape: Shape,
    namespace: Namespace,
    open: impl FnOnce(Interrupt) -> Result<Rows, Failure>,
) -> Result<Answer, Failure> {
    let control = Control::new();
    control.limit(remaining(invocation));
    invocation.session.operation.runs_under(&control);
    let run = || {
        let rows = open(control.interrupt())?;
        let name = namespace.to_string();
        let mut cursor = OpenCursor::new(name.clone(), rows, shape.limit, control.clone());
        cursor.no_timeout = shape.no_timeout;
        cursor.session = invocation.request.options.lsid.map(<[u8]>::to_vec);
        let size = shape
            .batch_size
            .unwrap_or(FIRST_BATCH_DOCUMENTS_DEFAULT as u64);
        let room = invocation.server.budget.reserve_batch();
        let mut fields = DocumentWriter::with_capacity(FIRST_BATCH_BYTES_USUAL);
        fields.begin_document("cursor");
        fields.begin_array("firstBatch");
        let more = cursor.fill(&mut fields, Some(size), &room)?;
        fields.end();
        let id = if more && !shape.single_batch {
            cursor.control.limit(None);
            cursor.time_left = remaining(invocation);
            invocation.server.cursors.keep(cursor)?
        } else {
            0
        };
        fields.i64("id", id);
        fields.string("ns", &name);
        if let Some(time) = shape.at_cluster_time {
            fields.timestamp("atClusterTime", time);
        }
        fields.end();
        let reservation = Some(room.settle(fields.len()));
        Ok(Answer {
            reservation,
            ..Answer::from(fields)
        })
    };
    long(shape.may_be_long, run)
}

/// The next batch of a cursor.
pub(crate) fn next(
    invocation: &Invocation<'_>,
    id: i64,
    namespace: &Namespace,
    batch_size: Option<u64>,
) -> Result<Answer, Failure> {
    let cursors = &invocation.server.cursors;
    let mut cursor = cursors.take(id, &namespace.to_string())?;
    let limit = remaining(invocation).or(cursor.time_left);
    cursor.control.limit(limit);
    cursor.control.count_anew();
    invocation.session.operation.runs_under(&cursor.control);
    let room = invocation.server.budget.reserve_batch();
    let mut fields = DocumentWriter::new();
    fields.begin_document("cursor");
    fields.begin_array("nextBatch");
    let started = Instant::now();
    let filled = match &invocation.server.fail_points {
        Some(fail_points) if limit.is_some() && fail_points.time_is_always_out() => {
            Err(Failure::max_time_expired())
        }
        _ => long(true, || cursor.fill(&mut fields, batch_size, &room)),
    };
    cursor.time_left = cursor
        .time_left
        .map(|left| left.saturating_sub(started.elapsed()));
    let more = match filled {
        Ok(more) => more,
        Err(failure) => {
            cursors.close(id);
            return Err(failure);
        }
    };
    fields.end();
    fields.i64("id", if more { id } else { 0 });
    fields.string("ns", &cursor.namespace);
    fields.end();
    if more {
        cursor.control.limit(None);
        cursors.give_back(id, cursor);
    } else {
        cursors.close(id);
    }
    let reservation = Some(room.settle(fields.len()));
    Ok(Answer {
        reservation,
        repeat: (more && invocation.request.exhaust_allowed).then_some(id),
        ..Answer::from(fields)
    })
}

/// Answers with documents that are at hand, in batches as the command's `cursor.batchSize` asks.
pub(crate) fn of_documents(
    invocation: &Invocation<'_>,
    collection: &str,
    documents: Vec<RawDocumentBuf>,
) -> Result<Answer, Failure> {
    of_documents_by(
        invocation,
        collection,
        documents,
        batch_size(&invocation.request)?,
    )
}

/// The same in batches of a size.
pub(crate) fn of_documents_by(
    invocation: &Invocation<'_>,
    collection: &str,
    documents: Vec<RawDocumentBuf>,
    batch_size: Option<u64>,
) -> Result<Answer, Failure> {
    let namespace = Namespace::new(invocation.request.database, collection);
    let rows = documents
        .into_iter()
        .map(|document| Ok(Row::from(document)));
    let shape = Shape {
        batch_size,
        limit: None,
        single_batch: false,
        no_timeout: false,
        may_be_long: false,
        at_cluster_time: None,
    };
    first(invocation, shape, namespace, |_| Ok(Box::new(rows)))
}

/// `cursor: {batchSize: n}`, when the command has one.
pub(crate) fn batch_size(request: &Request<'_>) -> Result<Option<u64>, Failure> {
    let Some(cursor) = request.document("cursor")? else {
        return Ok(None);
    };
    let mut size = None;
    for element in cursor {
        let (name, value) = element?;
        match name.as_str() {
            "batchSize" => size = Some(values::count("cursor.batchSize", value)?),
            other => return Err(unknown_field("cursor", other)),
        }
    }
    Ok(size)
}

/// What is left of the request's time.
pub(crate) fn remaining(invocation: &Invocation<'_>) -> Option<std::time::Duration> {
    let deadline = invocation.deadline?;
    Some(deadline.saturating_duration_since(Instant::now()))
}

/// Runs work here; when it may be long, other tasks of this thread move elsewhere first.
pub(crate) fn long<T>(may_be_long: bool, work: impl FnOnce() -> T) -> T {
    if may_be_long {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}
