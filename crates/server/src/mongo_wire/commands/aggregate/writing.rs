//! Pipelines that end in `$merge` or `$out`: what the other stages give is written, in bounded commands, through the log.
//!
//! `$out` fills a collection of another name, which then takes the place of the old one in one step: readers see either
//! all of the old or all of the new. What a failed `$out` leaves is dropped; after a fail-over in its middle a collection
//! `tmp.agg_out.…` stays, which may be dropped.

use bson::RawArrayBuf;
use bson::oid::ObjectId;
use bson::raw::RawDocument;
use document::Context;
use state_machine::plan::{BulkStatement, StatementOutcome, WriteOptions, WritePlanner};
use state_machine::query::Row;
use state_machine::{Command as Replicated, CommandError, Namespace, Reply, Snapshot, WriteTerms};

use super::merge::Merge;
use crate::mongo_wire::batches::long;
use crate::mongo_wire::cursors::Rows;
use crate::mongo_wire::dispatch::{Answer, Invocation};
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::{ReadLevel, unknown_field};
use crate::mongo_wire::server::Server;
use crate::mongo_wire::{read_point, values, write_path};

/// Documents in one command.
const BATCH_DOCUMENTS_MAX: usize = 1_000;
/// Bytes of documents after which a command is full.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Where the results go.
pub(super) enum Target {
    Out(Namespace),
    Merge(Box<Merge>),
}

/// The last stage, if it writes. Such a stage anywhere else is refused.
pub(super) fn target(
    database: &str,
    pipeline: &[&RawDocument],
    context: &Context,
) -> Result<Option<Target>, Failure> {
    let Some((last, before)) = pipeline.split_last() else {
        return Ok(None);
    };
    for stage in before {
        if let Some((name @ ("$out" | "$merge"), _)) = first_field(stage)? {
            return Err(Failure::new(
                Code::Location(40601),
                format!("{name} can only be the final stage in the pipeline"),
            ));
        }
    }
    match first_field(last)? {
        Some(("$out", value)) => Ok(Some(Target::Out(parse_out(database, value)?))),
        Some(("$merge", value)) => {
            let merge = Merge::parse(database, value, context)?;
            Ok(Some(Target::Merge(Box::new(merge))))
        }
        _ => Ok(None),
    }
}

fn first_field<'a>(
    stage: &'a RawDocument,
) -> Result<Option<(&'a str, bson::raw::RawBsonRef<'a>)>, Failure> {
    match stage.iter().next() {
        Some(field) => {
            let (name, value) = field?;
            Ok(Some((name.as_str(), value)))
        }
        None => Ok(None),
    }
}

fn parse_out(database: &str, value: bson::raw::RawBsonRef<'_>) -> Result<Namespace, Failure> {
    use bson::raw::RawBsonRef;
    let RawBsonRef::Document(given) = value else {
        return match value {
            RawBsonRef::String(name) => checked(Namespace::new(database, name)),
            other => Err(Failure::new(
                Code::Location(16990),
                format!(
                    "$out only supports a string or object argument, but found {}",
                    values::type_name(other)
                ),
            )),
        };
    };
    let (mut into, mut collection) = (database, None);
    for element in given {
        let (name, value) = element?;
        match name.as_str() {
            "db" => into = values::string("$out.db", value)?,
            "coll" => collection = Some(values::string("$out.coll", value)?),
            "timeseries" => return Err(Failure::not_supported("option 'timeseries' of $out")),
            other => return Err(unknown_field("$out", other)),
        }
    }
    let collection = collection.ok_or_else(|| {
        Failure::new(
            Code::IDLFailedToParse,
            "BSON field '$out.coll' is missing but a required field",
        )
    })?;
    checked(Namespace::new(into, collection))
}

/// A name that can be written to.
pub(super) fn checked(namespace: Namespace) -> Result<Namespace, Failure> {
    if namespace.collection.is_empty() {
        return Err(CommandError::InvalidNamespace {
            namespace,
            reason: "the collection has no name",
        }
        .into());
    }
    if namespace.collection.starts_with("system.") {
        return Err(Failure::new(
            Code::Location(17385),
            format!("Can't write the results of a pipeline to '{namespace}'"),
        ));
    }
    Ok(namespace)
}

/// Writes what the other stages of a pipeline over `source` give, as of the snapshot that is handed to `rows`; the reply is
/// an empty cursor.
pub(super) async fn run(
    invocation: &Invocation<'_>,
    target: Target,
    source: Namespace,
    rows: impl FnOnce(&Snapshot) -> Result<Rows, Failure> + Send,
) -> Result<Answer, Failure> {
    if invocation.request.options.read_level == Some(ReadLevel::Linearizable) {
        return Err(Failure::new(
            Code::InvalidOptions,
            "$out and $merge cannot be used with a 'linearizable' read concern level",
        ));
    }
    let snapshot = read_point::leader_snapshot(invocation.server).await?;
    let rows = rows(&snapshot)?;
    match target {
        Target::Out(target) => replace(invocation, &snapshot, target, rows).await?,
        Target::Merge(merge) => {
            merge.check_target(&snapshot)?;
            let into = merge.into.clone();
            let context = super::context(&invocation.request)?;
            let mut make = |row: Row| merge.statement(&row, &context);
            let terms = WriteTerms {
                variables: context.constants(),
                supplied: true,
                ..WriteTerms::default()
            };
            let check = |outcome: &StatementOutcome| merge.check(outcome);
            write(invocation, &into, terms, rows, &mut make, &check).await?;
        }
    }
    let mut fields = DocumentWriter::new();
    fields.begin_document("cursor");
    fields.begin_array("firstBatch");
    fields.end();
    fields.i64("id", 0);
    fields.string("ns", &source.to_string());
    fields.end();
    Ok(Answer {
        wrote: true,
        ..Answer::from(fields)
    })
}

/// Writes every row as one statement.
async fn write(
    invocation: &Invocation<'_>,
    into: &Namespace,
    terms: WriteTerms,
    mut rows: Rows,
    make: &mut (dyn FnMut(Row) -> Result<BulkStatement, Failure> + Send),
    check: &(dyn Fn(&StatementOutcome) -> Result<(), Failure> + Sync),
) -> Result<(), Failure> {
    let mut anything_applied = false;
    loop {
        let batch = long(true, || next_batch(&mut rows, make))?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut options = WriteOptions::new(into.clone());
        options.terms = WriteTerms {
            bypass_validation: invocation.request.boolean("bypassDocumentValidation")?,
            ..terms.clone()
        };
        options.interrupt = write_path::interrupt(invocation);
        let planner = WritePlanner::bulk(options, batch);
        let outcome = write_path::run_after(invocation, planner, anything_applied).await?;
        anything_applied = true;
        for statement in outcome.statements {
            check(&statement)?;
        }
    }
}

fn next_batch(
    rows: &mut Rows,
    make: &mut dyn FnMut(Row) -> Result<BulkStatement, Failure>,
) -> Result<Vec<BulkStatement>, Failure> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH_DOCUMENTS_MAX && bytes < BATCH_BYTES_MAX {
        let Some(row) = rows.next() else { break };
        let row = row?;
        bytes += row.as_bytes().len();
        batch.push(make(row)?);
    }
    Ok(batch)
}

/// `$out`.
async fn replace(
    invocation: &Invocation<'_>,
    snapshot: &Snapshot,
    target: Namespace,
    rows: Rows,
) -> Result<(), Failure> {
    if snapshot.is_view(&target) {
        return Err(CommandError::NotOnView { namespace: target }.into());
    }
    let server = invocation.server;
    let name = format!("tmp.agg_out.{}", ObjectId::new());
    let temporary = Namespace::new(&*target.database, name);
    let filled = fill(invocation, snapshot, &target, &temporary, rows).await;
    if let Err(failure) = filled {
        let drop = Replicated::DropCollection {
            namespace: temporary,
        };
        // The first failure is the one to tell.
        let _ = write_path::propose(server, &drop).await;
        return Err(failure);
    }
    Ok(())
}

async fn fill(
    invocation: &Invocation<'_>,
    snapshot: &Snapshot,
    target: &Namespace,
    temporary: &Namespace,
    rows: Rows,
) -> Result<(), Failure> {
    let server = invocation.server;
    let existing = snapshot.collection(target);
    let options = existing.map(|collection| collection.options.clone());
    let create = Replicated::CreateCollection {
        namespace: temporary.clone(),
        options: options.unwrap_or_default(),
    };
    catalog(server, &create).await?;
    let specs: Vec<_> = existing
        .iter()
        .flat_map(|collection| collection.ready_indexes())
        .filter(|index| !index.is_id())
        .map(|index| index.spec.clone())
        .collect();
    if !specs.is_empty() {
        let create = Replicated::CreateIndexes {
            namespace: temporary.clone(),
            specs,
        };
        catalog(server, &create).await?;
    }
    let mut insert = |row: Row| Ok(BulkStatement::Insert(row.into_document()));
    let check = |outcome: &StatementOutcome| match outcome {
        StatementOutcome::Failed(error) => Err(as_of_target(error.clone(), target).into()),
        _ => Ok(()),
    };
    let terms = WriteTerms::default();
    write(invocation, temporary, terms, rows, &mut insert, &check).await?;
    let rename = Replicated::RenameCollection {
        from: temporary.clone(),
        to: target.clone(),
        drop_target: true,
    };
    catalog(server, &rename).await
}

/// The client knows of one collection only.
fn as_of_target(error: CommandError, target: &Namespace) -> CommandError {
    match error {
        CommandError::DuplicateKey {
            index,
            key_pattern,
            key_value,
            ..
        } => CommandError::DuplicateKey {
            namespace: target.clone(),
            index,
            key_pattern,
            key_value,
        },
        other => other,
    }
}

async fn catalog(server: &Server, command: &Replicated) -> Result<(), Failure> {
    match write_path::propose(server, command).await? {
        Reply::Catalog(_) => Ok(()),
        Reply::Failed(error) => Err(error.into()),
        other => Err(write_path::unexpected(&other)),
    }
}

/// The stages before the last one.
pub(super) fn without_last(pipeline: &RawArrayBuf) -> Result<RawArrayBuf, Failure> {
    let mut stages = Vec::new();
    for stage in pipeline {
        stages.push(stage?);
    }
    stages.pop();
    let mut kept = RawArrayBuf::new();
    stages.into_iter().for_each(|stage| kept.push(stage));
    Ok(kept)
}
