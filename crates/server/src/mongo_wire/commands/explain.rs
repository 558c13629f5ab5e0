//! `explain`: the plan of a read, or of the read by which a write finds its documents.

use std::time::{Duration, Instant};

use bson::raw::RawDocument;
use bson::{Bson, Document};
use state_machine::Namespace;
use state_machine::query::{ExplainRequest, Explained, FindRequest, Interrupt, Verbosity};

use super::{Access, Command, Running, aggregate, count, distinct, find};
use crate::mongo_wire::batches::long;
use crate::mongo_wire::dispatch::{Answer, Invocation};
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::{Fields, Request};
use crate::mongo_wire::server::Server;
use crate::mongo_wire::{read_point, values};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["verbosity"],
        refused: &[],
    }),
    access: Access::Read,
    in_api_1: true,
    ..Command::new("explain", "how a command would be carried out", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let verbosity = match request.string("verbosity")? {
            None | Some("allPlansExecution") => Verbosity::AllPlansExecution,
            Some("executionStats") => Verbosity::ExecutionStats,
            Some("queryPlanner") => Verbosity::QueryPlanner,
            Some(other) => {
                return Err(Failure::new(
                    Code::FailedToParse,
                    format!(
                        "verbosity '{other}' must be one of {{'queryPlanner', 'executionStats', 'allPlansExecution'}}"
                    ),
                ));
            }
        };
        let command = values::document("explain", request.target)?;
        let inner = Request::parse(command, &[], Some(request.database), false)?;
        let explained = explained(invocation.server, inner)?;
        answer(invocation, command, explained, verbosity).await
    })
}

/// `aggregate` with `explain: true`.
pub(super) async fn of_aggregate(invocation: &Invocation<'_>) -> Result<Answer, Failure> {
    let explained = Explained::Aggregate(aggregate::parse(&invocation.request)?);
    let command = invocation.request.body;
    answer(invocation, command, explained, Verbosity::QueryPlanner).await
}

async fn answer(
    invocation: &Invocation<'_>,
    command: &RawDocument,
    explained: Explained,
    verbosity: Verbosity,
) -> Result<Answer, Failure> {
    let snapshot = read_point::snapshot(invocation).await?;
    let request = ExplainRequest {
        explained,
        verbosity,
    };
    let started = Instant::now();
    let mut plan = long(true, || snapshot.explain(request))?;
    add_time(&mut plan, started.elapsed());
    let mut fields = DocumentWriter::new();
    for (key, value) in &plan {
        values::write_bson(&mut fields, key, value)?;
    }
    fields.document("command", command);
    fields.begin_document("serverInfo");
    fields.string("host", &invocation.server.settings.advertise);
    fields.string("version", "8.0.0");
    fields.string("gitVersion", env!("CARGO_PKG_VERSION"));
    fields.end();
    Ok(fields.into())
}

/// How long it took, where the statistics of a run have their place for it.
fn add_time(plan: &mut Document, elapsed: Duration) {
    let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
    if let Ok(statistics) = plan.get_document_mut("executionStats") {
        statistics.insert("executionTimeMillis", millis);
        return;
    }
    let Ok(stages) = plan.get_array_mut("stages") else {
        return;
    };
    let first = stages.first_mut().and_then(Bson::as_document_mut);
    if let Some(cursor) = first.and_then(|stage| stage.get_document_mut("$cursor").ok()) {
        add_time(cursor, elapsed);
    }
}

fn explained(server: &Server, mut request: Request<'_>) -> Result<Explained, Failure> {
    let command = super::find(request.name).ok_or_else(|| {
        Failure::new(
            Code::CommandNotFound,
            format!("Explain failed due to unknown command: {}", request.name),
        )
    })?;
    request.check_fields(command.name, command.fields.as_ref())?;
    match command.name {
        "find" => {
            let mut find = find::parse(&request)?.0;
            find.context = find::spilling(server, &request, find.context)?;
            Ok(Explained::Find(find))
        }
        "aggregate" => {
            let mut aggregate = aggregate::parse(&request)?;
            aggregate.context = find::spilling(server, &request, aggregate.context)?;
            Ok(Explained::Aggregate(aggregate))
        }
        "count" => Ok(Explained::Count(count::parse(&request)?)),
        "distinct" => Ok(Explained::Distinct(distinct::parse(&request)?)),
        "update" => {
            let statement = one(request.required_documents("updates")?, "updates")?;
            Ok(Explained::Update(candidates(&request, statement, "multi")?))
        }
        "delete" => {
            let statement = one(request.required_documents("deletes")?, "deletes")?;
            let mut find = candidates(&request, statement, "")?;
            if statement
                .get("limit")?
                .is_some_and(|limit| values::integer("limit", limit).is_ok_and(|limit| limit == 1))
            {
                find.limit = Some(1);
            }
            Ok(Explained::Delete(find))
        }
        "findAndModify" => {
            let mut find = FindRequest::new(
                Namespace::new(request.database, request.collection()?),
                request.document_or_empty("query")?,
            );
            find.sort = request.document("sort")?.map(ToOwned::to_owned);
            find.limit = Some(1);
            find.hint = find::hint(&request)?;
            match request.boolean("remove")? {
                true => Ok(Explained::Delete(find)),
                false => Ok(Explained::Update(find)),
            }
        }
        other => Err(Failure::new(
            Code::IllegalOperation,
            format!("Explain failed: the command '{other}' cannot be explained"),
        )),
    }
}

fn one<'a>(statements: Vec<&'a RawDocument>, field: &str) -> Result<&'a RawDocument, Failure> {
    match statements[..] {
        [statement] => Ok(statement),
        _ => Err(Failure::new(
            Code::InvalidOptions,
            format!("explained write commands need exactly one statement in '{field}'"),
        )),
    }
}

/// The find by which a write statement chooses its documents.
fn candidates(
    request: &Request<'_>,
    statement: &RawDocument,
    multi: &str,
) -> Result<FindRequest, Failure> {
    let filter = statement.get("q")?.ok_or_else(|| request.missing("q"))?;
    let mut find = FindRequest::new(
        Namespace::new(request.database, request.collection()?),
        values::document("q", filter)?.to_owned(),
    );
    find.interrupt = Interrupt::never();
    if let Some(hint) = statement.get("hint")? {
        find.hint = state_machine::query::Hint::parse(hint)?;
    }
    if !multi.is_empty() {
        let many = statement
            .get(multi)?
            .map_or(Ok(false), |value| values::boolean(multi, value))?;
        find.limit = (!many).then_some(1);
    }
    Ok(find)
}
