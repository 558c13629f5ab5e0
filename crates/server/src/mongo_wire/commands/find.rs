//! `find`.

use std::sync::Arc;

use bson::oid::ObjectId;
use document::{Collation, Context};
use state_machine::Namespace;
use state_machine::query::{FindRequest, Hint, Interrupt};

use super::{Access, Command, Running};
use crate::mongo_wire::batches;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::read_point;
use crate::mongo_wire::request::{Fields, Request};
use crate::mongo_wire::server::{Server, wall_ms};
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[
            "filter",
            "sort",
            "projection",
            "hint",
            "skip",
            "limit",
            "batchSize",
            "singleBatch",
            "allowDiskUse",
            "noCursorTimeout",
            "oplogReplay",
            // About shards that do not answer: there are none.
            "allowPartialResults",
            "collation",
            "let",
            "min",
            "max",
            "returnKey",
            "showRecordId",
        ],
        refused: &[
            "tailable",
            "awaitData",
            "term",
            "readOnce",
            "resumeAfter",
            "requestResumeToken",
        ],
    }),
    access: Access::Read,
    in_api_1: true,
    ..Command::new("find", "documents that match a filter", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let (mut request, mut shape) = parse(&invocation.request)?;
        request.context = spilling(invocation.server, &invocation.request, request.context)?;
        let snapshot = read_point::snapshot(invocation).await?;
        shape.at_cluster_time = read_point::at_cluster_time(invocation, &snapshot);
        // Fetching one document by its key is quick; everything else may scan or sort.
        shape.may_be_long = !request.is_point_read(&snapshot);
        batches::first(invocation, shape, request.namespace.clone(), |interrupt| {
            Ok(Box::new(snapshot.find(FindRequest {
                interrupt,
                ..request
            })?))
        })
    })
}

/// Reads the command; shared with `explain`.
pub(super) fn parse(request: &Request<'_>) -> Result<(FindRequest, batches::Shape), Failure> {
    let namespace = Namespace::new(request.database, request.collection()?);
    let limit = limit(request)?;
    let single_batch = request.boolean("singleBatch")? || limit.is_some_and(|(_, single)| single);
    let mut batch_size = request.count("batchSize")?;
    let limit = limit.map(|(limit, _)| limit);
    if single_batch && batch_size.is_none() {
        batch_size = limit;
    }
    let shape = batches::Shape {
        batch_size,
        limit,
        single_batch,
        no_timeout: request.boolean("noCursorTimeout")?,
        may_be_long: true,
        at_cluster_time: None,
    };
    let find = FindRequest {
        filter: request.document_or_empty("filter")?,
        sort: request.document("sort")?.map(ToOwned::to_owned),
        skip: request.count("skip")?.unwrap_or(0),
        limit,
        projection: request.document("projection")?.map(ToOwned::to_owned),
        hint: hint(request)?,
        min: request.document("min")?.map(ToOwned::to_owned),
        max: request.document("max")?.map(ToOwned::to_owned),
        return_key: request.boolean("returnKey")?,
        show_record_id: request.boolean("showRecordId")?,
        context: context(request)?,
        interrupt: Interrupt::never(),
        namespace,
    };
    Ok((find, shape))
}

/// The limit, and whether it was given as a negative number: one batch only.
fn limit(request: &Request<'_>) -> Result<Option<(u64, bool)>, Failure> {
    let Some(value) = request.field("limit")? else {
        return Ok(None);
    };
    match values::integer("limit", value)? {
        0 => Ok(None),
        positive @ 1.. => Ok(Some((positive as u64, false))),
        negative => Ok(Some((negative.unsigned_abs(), true))),
    }
}

/// What the expressions of a command may know: the time, random numbers, and its `let`.
pub(super) fn context(request: &Request<'_>) -> Result<Context, Failure> {
    let unique = ObjectId::new().bytes();
    let seed = unique
        .iter()
        .fold(0u64, |seed, byte| seed << 5 ^ seed >> 59 ^ u64::from(*byte));
    let mut context = Context::at(wall_ms(), seed);
    if let Some(collation) = collation(request)? {
        context = context.with_collation(collation);
    }
    match request.document("let")? {
        Some(variables) => Ok(context.with_let(variables)?),
        None => Ok(context),
    }
}

/// Lends memory to what sorts and groups, and room on disk for what does not fit there, unless the client says
/// `allowDiskUse: false`.
pub(super) fn spilling(
    server: &Server,
    request: &Request<'_>,
    context: Context,
) -> Result<Context, Failure> {
    let refused = match request.field("allowDiskUse")? {
        Some(allowed) => !values::boolean("allowDiskUse", allowed)?,
        None => false,
    };
    let context = context.with_memory(Arc::clone(&server.query_memory));
    Ok(match refused {
        true => context,
        false => context.with_spill(server.spill.clone()),
    })
}

/// `hint` of any command that reads.
pub(super) fn hint(request: &Request<'_>) -> Result<Option<Hint>, Failure> {
    match request.field("hint")? {
        Some(value) => Ok(Hint::parse(value)?),
        None => Ok(None),
    }
}

/// The request's `collation`: outer `None` if it names none, inner if that is the simple one.
pub(super) fn collation(request: &Request<'_>) -> Result<Option<Option<Collation>>, Failure> {
    match request.document("collation")? {
        Some(collation) if !collation.is_empty() => Ok(Some(Collation::parse(collation)?)),
        _ => Ok(None),
    }
}
