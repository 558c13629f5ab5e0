//! `aggregate`.

mod index_stats;
mod merge;
mod plan_cache_stats;
mod sources;
mod writing;

use bson::RawArrayBuf;
use bson::raw::{RawBsonRef, RawDocument};
use state_machine::query::{AggregateRequest, Interrupt};
use state_machine::{Namespace, Snapshot};

use super::find::{context, hint, spilling};
use super::{Access, Command, Running};
use crate::mongo_wire::batches::{self, Shape};
use crate::mongo_wire::cursors::Rows;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::{Fields, Request};
use crate::mongo_wire::{read_point, values, write_path};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[
            "pipeline",
            "cursor",
            "hint",
            "allowDiskUse",
            "collation",
            "explain",
            "let",
            "bypassDocumentValidation",
        ],
        refused: &["fromMongos", "needsMerge", "exchange", "isMapReduceCommand"],
    }),
    access: Access::Read,
    in_api_1: true,
    ..Command::new("aggregate", "documents through a pipeline", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        if request.boolean("explain")? {
            return super::explain::of_aggregate(invocation).await;
        }
        let pipeline = pipeline(request)?;
        let target = writing::target(request.database, &pipeline, &context(request)?)?;
        // A last stage that writes is not one of those that are read through.
        let read = pipeline.len() - usize::from(target.is_some());
        if let Some(rows) = sources::open(invocation, &pipeline[..read]).await? {
            let name = match request.target {
                RawBsonRef::String(name) => name,
                _ => "$cmd.aggregate",
            };
            let namespace = Namespace::new(request.database, name);
            return match target {
                Some(target) => writing::run(invocation, target, namespace, |_| Ok(rows)).await,
                None => batches::first(invocation, shape(request)?, namespace, |_| Ok(rows)),
            };
        }
        let mut aggregate = parse(request)?;
        aggregate.context = spilling(invocation.server, request, aggregate.context)?;
        let mut shape = shape(request)?;
        if let Some(target) = target {
            aggregate.pipeline = writing::without_last(&aggregate.pipeline)?;
            aggregate.interrupt = write_path::interrupt(invocation);
            let namespace = aggregate.namespace.clone();
            let rows = |snapshot: &Snapshot| Ok(Box::new(snapshot.aggregate(aggregate)?) as Rows);
            return writing::run(invocation, target, namespace, rows).await;
        }
        let snapshot = read_point::snapshot(invocation).await?;
        shape.at_cluster_time = read_point::at_cluster_time(invocation, &snapshot);
        batches::first(
            invocation,
            shape,
            aggregate.namespace.clone(),
            |interrupt| {
                Ok(Box::new(snapshot.aggregate(AggregateRequest {
                    interrupt,
                    ..aggregate
                })?))
            },
        )
    })
}

fn pipeline<'a>(request: &Request<'a>) -> Result<Vec<&'a RawDocument>, Failure> {
    let listed = request
        .field("pipeline")?
        .ok_or_else(|| request.missing("pipeline"))?;
    match listed {
        RawBsonRef::Array(_) => values::documents("pipeline", listed),
        _ => Err(Failure::type_mismatch(
            "'pipeline' option must be specified as an array",
        )),
    }
}

fn shape(request: &Request<'_>) -> Result<Shape, Failure> {
    if request.document("cursor")?.is_none() {
        return Err(Failure::new(
            Code::FailedToParse,
            "The 'cursor' option is required, except for aggregate with the explain argument",
        ));
    }
    Ok(Shape {
        batch_size: batches::batch_size(request)?,
        limit: None,
        single_batch: false,
        no_timeout: false,
        may_be_long: true,
        at_cluster_time: None,
    })
}

/// Whether the pipeline begins with `$documents`.
fn makes_documents(request: &Request<'_>) -> Result<bool, Failure> {
    let stages = pipeline(request)?;
    let first = stages.first().and_then(|stage| stage.iter().next());
    Ok(matches!(first, Some(Ok((name, _))) if name == "$documents"))
}

/// Reads the command; shared with `explain`.
pub(super) fn parse(request: &Request<'_>) -> Result<AggregateRequest, Failure> {
    let collection = match request.target {
        RawBsonRef::String(_) => request.collection()?,
        _ if makes_documents(request)? => "$cmd.aggregate",
        // A pipeline without a collection begins with a stage that makes documents; those are `sources`'.
        _ => {
            return Err(Failure::new(
                Code::InvalidNamespace,
                "{aggregate: 1} is not valid for this pipeline; name a collection",
            ));
        }
    };
    let mut stages = RawArrayBuf::new();
    for stage in pipeline(request)? {
        stages.push(stage);
    }
    Ok(AggregateRequest {
        namespace: Namespace::new(request.database, collection),
        pipeline: stages,
        hint: hint(request)?,
        context: context(request)?,
        interrupt: Interrupt::never(),
    })
}
