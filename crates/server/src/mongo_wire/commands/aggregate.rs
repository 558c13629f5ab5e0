//! `aggregate`.

use bson::RawArrayBuf;
use bson::raw::{RawBsonRef, RawDocument};
use state_machine::Namespace;
use state_machine::query::{AggregateRequest, Interrupt};

use super::find::{hint, require_simple_collation};
use super::{Access, Command, Running, collection_stats};
use crate::mongo_wire::batches::{self, Shape};
use crate::mongo_wire::dispatch::{Answer, Invocation};
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::read_point;
use crate::mongo_wire::request::{Fields, Request};
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[
            "pipeline",
            "cursor",
            "hint",
            "allowDiskUse",
            "collation",
            "explain",
        ],
        refused: &[
            "let",
            "bypassDocumentValidation",
            "fromMongos",
            "needsMerge",
            "exchange",
            "isMapReduceCommand",
        ],
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
        if let Some(answer) = diagnostic(invocation, &pipeline).await? {
            return Ok(answer);
        }
        let aggregate = parse(request)?;
        let shape = shape(request)?;
        let snapshot = read_point::snapshot(invocation).await?;
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
    })
}

/// Reads the command; shared with `explain`.
pub(super) fn parse(request: &Request<'_>) -> Result<AggregateRequest, Failure> {
    require_simple_collation(request)?;
    let collection = match request.target {
        RawBsonRef::String(_) => request.collection()?,
        // A pipeline without a collection would begin with a stage that makes documents; none is offered.
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
        interrupt: Interrupt::never(),
    })
}

/// Pipelines about the server or a collection itself, recognised by their first stage.
async fn diagnostic(
    invocation: &Invocation<'_>,
    pipeline: &[&RawDocument],
) -> Result<Option<Answer>, Failure> {
    let Some(first) = pipeline.first().and_then(|stage| stage.iter().next()) else {
        return Ok(None);
    };
    let (stage, options) = first?;
    match stage.as_str() {
        "$collStats" => {
            if pipeline.len() > 1 {
                return Err(Failure::not_supported("a stage after $collStats"));
            }
            let options = values::document("$collStats", options)?;
            collection_stats::stage(invocation, options).await.map(Some)
        }
        "$currentOp" => batches::of_documents(invocation, "$cmd.aggregate", Vec::new()).map(Some),
        "$changeStream" => Err(Failure::not_supported("aggregation stage $changeStream")),
        _ => Ok(None),
    }
}
