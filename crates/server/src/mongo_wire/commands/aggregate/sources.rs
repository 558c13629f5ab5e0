//! Pipelines whose first stage makes its own documents: about the server, or about a collection as a whole.

use bson::raw::{RawBsonRef, RawDocument};
use bson::{RawArrayBuf, RawDocumentBuf};
use document::aggregation::Pipeline;
use state_machine::query::{QueryError, Row};

use super::super::collection_stats;
use super::super::current_op;
use super::super::find::context;
use super::super::unsupported;
use super::index_stats;
use super::plan_cache_stats;
use crate::mongo_wire::cursors::Rows;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::unknown_field;
use crate::mongo_wire::server::wall_ms;
use crate::mongo_wire::values;

/// The rows of such a pipeline; `None` when the first stage is none of them.
pub(super) async fn open(
    invocation: &Invocation<'_>,
    pipeline: &[&RawDocument],
) -> Result<Option<Rows>, Failure> {
    check_places(pipeline)?;
    let Some(first) = pipeline.first().and_then(|stage| stage.iter().next()) else {
        return Ok(None);
    };
    let (stage, options) = first?;
    check_api(invocation, stage.as_str())?;
    let documents = match stage.as_str() {
        "$collStats" => {
            let options = values::document("$collStats", options)?;
            vec![collection_stats::row(invocation, options).await?]
        }
        "$indexStats" => index_stats::rows(invocation, options).await?,
        "$planCacheStats" => plan_cache_stats::rows(invocation, options).await?,
        "$currentOp" => current_op::rows(invocation, options)?,
        "$listLocalSessions" => local_sessions(invocation, options)?,
        "$listSearchIndexes" => return Err(unsupported::search_not_enabled()),
        "$changeStream" => return Err(Failure::not_supported("aggregation stage $changeStream")),
        _ => return Ok(None),
    };
    let mut rest = RawArrayBuf::new();
    for stage in &pipeline[1..] {
        rest.push(*stage);
    }
    let rest = Pipeline::parse(&rest, &context(&invocation.request)?)?;
    let rows = rest.run(Box::new(documents.into_iter().map(Ok)));
    Ok(Some(Box::new(
        rows.map(|row| row.map(Row::from).map_err(QueryError::from)),
    )))
}

/// What can only come first.
const FIRST_ONLY: [&str; 5] = [
    "$collStats",
    "$currentOp",
    "$indexStats",
    "$listLocalSessions",
    "$planCacheStats",
];

/// Stages about the server are no part of the stable API, for clients that want nothing else.
fn check_api(invocation: &Invocation<'_>, stage: &str) -> Result<(), Failure> {
    let about_server = ["$currentOp", "$indexStats", "$listLocalSessions"].contains(&stage);
    if about_server && invocation.request.options.api_strict {
        return Err(Failure::new(
            Code::APIStrictError,
            format!("stage {stage} is not allowed with 'apiStrict: true' in API Version 1"),
        ));
    }
    Ok(())
}

fn check_places(pipeline: &[&RawDocument]) -> Result<(), Failure> {
    for stage in pipeline.iter().skip(1) {
        if let Some(Ok((name, _))) = stage.iter().next()
            && FIRST_ONLY.contains(&name.as_str())
        {
            return Err(not_first(name.as_str()));
        }
    }
    Ok(())
}

/// Code 40602.
pub(super) fn not_first(stage: &str) -> Failure {
    Failure::new(
        Code::Location(40602),
        format!("{stage} is only valid as the first stage in a pipeline"),
    )
}

/// A stage about the server itself is asked of the database, not of a collection.
fn require_database(invocation: &Invocation<'_>, stage: &str) -> Result<(), Failure> {
    match invocation.request.target {
        RawBsonRef::String(_) => Err(Failure::new(
            Code::InvalidNamespace,
            format!(
                "{stage} must be run against the database with {{aggregate: 1}}, not a collection"
            ),
        )),
        _ => Ok(()),
    }
}

/// The session that asks, if it has one. Sessions are replicated state; none is local to a member.
fn local_sessions(
    invocation: &Invocation<'_>,
    options: RawBsonRef<'_>,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    require_database(invocation, "$listLocalSessions")?;
    for element in values::document("$listLocalSessions", options)? {
        match element?.0.as_str() {
            "allUsers" => {}
            other => return Err(unknown_field("$listLocalSessions", other)),
        }
    }
    let Some(Ok(id)) = invocation.request.options.lsid.map(<[u8; 16]>::try_from) else {
        return Ok(Vec::new());
    };
    let mut row = DocumentWriter::new();
    row.begin_document("_id");
    row.uuid("id", &id);
    row.end();
    row.date("lastUse", wall_ms());
    Ok(vec![RawDocumentBuf::from_bytes(row.finish())?])
}
