//! `bulkWrite`: inserts, updates and deletes on several collections in one command.
//!
//! Runs of operations on the same collection go out together; a statement's id is its place in `ops`, whatever collection
//! it is on, so a retry finds what became of each.

use bson::RawDocumentBuf;
use bson::raw::RawDocument;
use state_machine::Namespace;
use state_machine::plan::{
    BulkStatement, DeleteStatement, StatementOutcome, UpdateStatement, WriteOptions, WritePlanner,
};
use state_machine::query::Hint;

use super::count::write_count;
use super::{Access, Command, Running, insert, update};
use crate::mongo_wire::dispatch::{Answer, Invocation};
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::{Fields, Request, unknown_field};
use crate::mongo_wire::{batches, values, write_path};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[
            "ops",
            "nsInfo",
            "ordered",
            "errorsOnly",
            "bypassDocumentValidation",
            "let",
            "cursor",
            "stmtId",
            "stmtIds",
        ],
        refused: &[],
    }),
    access: Access::Write,
    admin_only: true,
    in_api_1: true,
    ..Command::new("bulkWrite", "writes on several collections", run)
};

/// A run of operations on one collection.
struct Run {
    namespace: Namespace,
    statements: Vec<(Kind, BulkStatement)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Insert,
    Update,
    Delete,
}

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let operations = request.required_documents("ops")?;
        let options = insert::options_on(
            invocation,
            Namespace::new("admin", "$cmd.bulkWrite"),
            operations.len(),
        )?;
        let errors_only = request.boolean("errorsOnly")?;
        let mut totals = Totals::default();
        let mut first = 0;
        for run in runs(&operations, &namespaces(request)?)? {
            let count = run.statements.len();
            let (kinds, statements): (Vec<Kind>, Vec<BulkStatement>) =
                run.statements.into_iter().unzip();
            let options = WriteOptions {
                namespace: run.namespace,
                statement_ids: ids(&options, first, count),
                ..options.clone()
            };
            let planner = WritePlanner::bulk(options.clone(), statements);
            let outcome = write_path::run_after(invocation, planner, first > 0).await?;
            for (position, (kind, outcome)) in kinds.iter().zip(outcome.statements).enumerate() {
                totals.add(first + position, *kind, outcome, errors_only)?;
            }
            first += count;
            if options.ordered && totals.errors > 0 {
                break;
            }
        }
        answer(invocation, totals)
    })
}

/// The statement ids of a part of the operations.
fn ids(options: &WriteOptions, first: usize, count: usize) -> Vec<i32> {
    match options.statement_ids.get(first..first + count) {
        Some(given) => given.to_vec(),
        None => (first..first + count)
            .map(|id| i32::try_from(id).unwrap_or(i32::MAX))
            .collect(),
    }
}

fn namespaces(request: &Request<'_>) -> Result<Vec<Namespace>, Failure> {
    let mut found = Vec::new();
    for (position, entry) in request.required_documents("nsInfo")?.iter().enumerate() {
        let mut namespace = None;
        for element in *entry {
            let (name, value) = element?;
            match (name.as_str(), value) {
                ("ns", value) => namespace = Some(values::string("nsInfo.ns", value)?),
                ("collectionUUID" | "encryptionInformation", _) => {
                    return Err(Failure::not_supported(format!(
                        "option '{}' of 'bulkWrite.nsInfo'",
                        name.as_str()
                    )));
                }
                (other, _) => return Err(unknown_field("bulkWrite.nsInfo", other)),
            }
        }
        let split = namespace.and_then(|namespace| namespace.split_once('.'));
        match split {
            Some((database, collection)) if !database.is_empty() && !collection.is_empty() => {
                found.push(Namespace::new(database, collection));
            }
            _ => {
                return Err(Failure::new(
                    Code::InvalidNamespace,
                    format!(
                        "Invalid namespace specified for bulkWrite: '{}' (nsInfo.{position})",
                        namespace.unwrap_or_default()
                    ),
                ));
            }
        }
    }
    Ok(found)
}

fn runs(operations: &[&RawDocument], namespaces: &[Namespace]) -> Result<Vec<Run>, Failure> {
    let mut runs: Vec<Run> = Vec::new();
    for operation in operations {
        let (index, kind, statement) = parse(operation)?;
        let namespace = namespaces.get(index).ok_or_else(|| {
            Failure::bad_value(format!(
                "BulkWrite ops entry {index} has an invalid nsInfo index."
            ))
        })?;
        match runs.last_mut() {
            Some(run) if run.namespace == *namespace => run.statements.push((kind, statement)),
            _ => runs.push(Run {
                namespace: namespace.clone(),
                statements: vec![(kind, statement)],
            }),
        }
    }
    Ok(runs)
}

/// Which collection, what kind, and the statement.
fn parse(operation: &RawDocument) -> Result<(usize, Kind, BulkStatement), Failure> {
    let Some(first) = operation.iter().next() else {
        return Err(Failure::bad_value("an element of 'ops' is empty"));
    };
    let (name, target) = first?;
    let index = usize::try_from(values::count("ops", target)?).unwrap_or(usize::MAX);
    Ok(match name.as_str() {
        "insert" => (index, Kind::Insert, insertion(operation)?),
        "update" => (index, Kind::Update, updating(operation)?),
        "delete" => (index, Kind::Delete, deletion(operation)?),
        other => {
            return Err(Failure::bad_value(format!(
                "BSON field 'bulkWrite.ops.{other}' is an unknown field: operations are insert, update and delete"
            )));
        }
    })
}

fn missing(kind: &str, field: &str) -> Failure {
    Failure::new(
        Code::IDLFailedToParse,
        format!("BSON field '{kind}.{field}' is missing but a required field"),
    )
}

fn insertion(operation: &RawDocument) -> Result<BulkStatement, Failure> {
    let mut document = None;
    for element in operation.into_iter().skip(1) {
        let (name, value) = element?;
        match name.as_str() {
            "document" => document = Some(values::document("document", value)?.to_owned()),
            other => return Err(unknown_field("bulkWrite.insert", other)),
        }
    }
    let document = document.ok_or_else(|| missing("insert", "document"))?;
    Ok(BulkStatement::Insert(document))
}

fn updating(operation: &RawDocument) -> Result<BulkStatement, Failure> {
    let (mut filter, mut modification) = (None, None);
    let mut constants = RawDocumentBuf::new();
    let mut statement = UpdateStatement {
        filter: RawDocumentBuf::new(),
        update: bson::RawBson::Null,
        array_filters: Vec::new(),
        multi: false,
        upsert: false,
        hint: None,
        sort: None,
        collation: None,
    };
    for element in operation.into_iter().skip(1) {
        let (name, value) = element?;
        match (name.as_str(), value) {
            ("filter", value) => filter = Some(values::document("filter", value)?.to_owned()),
            ("updateMods", value) => modification = Some(value.into()),
            ("multi", value) => statement.multi = values::boolean("multi", value)?,
            ("upsert", value) => statement.upsert = values::boolean("upsert", value)?,
            ("arrayFilters", value) => statement.array_filters = update::array_filters(value)?,
            ("hint", value) => statement.hint = Hint::parse(value)?,
            ("sort", value) => {
                statement.sort = Some(values::document("sort", value)?.to_owned());
            }
            ("collation", value) => {
                statement.collation = Some(values::document("collation", value)?.to_owned());
            }
            ("constants", value) => constants = values::document("constants", value)?.to_owned(),
            ("upsertSupplied" | "sampleId", _) => {}
            (other, _) => return Err(unknown_field("bulkWrite.update", other)),
        }
    }
    statement.filter = filter.ok_or_else(|| missing("update", "filter"))?;
    statement.update = modification.ok_or_else(|| missing("update", "updateMods"))?;
    Ok(BulkStatement::Update(statement, constants))
}

fn deletion(operation: &RawDocument) -> Result<BulkStatement, Failure> {
    let (mut filter, mut multi) = (None, false);
    let (mut hint, mut collation) = (None, None);
    for element in operation.into_iter().skip(1) {
        let (name, value) = element?;
        match (name.as_str(), value) {
            ("filter", value) => filter = Some(values::document("filter", value)?.to_owned()),
            ("multi", value) => multi = values::boolean("multi", value)?,
            ("hint", value) => hint = Hint::parse(value)?,
            ("collation", value) => {
                collation = Some(values::document("collation", value)?.to_owned());
            }
            ("sampleId", _) => {}
            (other, _) => return Err(unknown_field("bulkWrite.delete", other)),
        }
    }
    Ok(BulkStatement::Delete(DeleteStatement {
        filter: filter.ok_or_else(|| missing("delete", "filter"))?,
        multi,
        hint,
        collation,
    }))
}

/// What the reply tells.
#[derive(Default)]
struct Totals {
    rows: Vec<RawDocumentBuf>,
    errors: u64,
    inserted: u64,
    matched: u64,
    modified: u64,
    upserted: u64,
    deleted: u64,
}

impl Totals {
    fn add(
        &mut self,
        index: usize,
        kind: Kind,
        outcome: StatementOutcome,
        errors_only: bool,
    ) -> Result<(), Failure> {
        let mut row = DocumentWriter::new();
        let ok = !matches!(outcome, StatementOutcome::Failed(_));
        row.double("ok", if ok { 1.0 } else { 0.0 });
        write_count(&mut row, "idx", index as u64);
        match outcome {
            StatementOutcome::Inserted => {
                self.inserted += 1;
                row.i32("n", 1);
            }
            StatementOutcome::Updated {
                matched,
                modified,
                upserted,
            } => {
                let n = if upserted.is_some() { 1 } else { matched };
                write_count(&mut row, "n", n);
                write_count(&mut row, "nModified", modified);
                self.matched += matched;
                self.modified += modified;
                if let Some(id) = upserted {
                    self.upserted += 1;
                    row.begin_document("upserted");
                    row.i32("index", 0);
                    values::write_bson(&mut row, "_id", &id)?;
                    row.end();
                }
            }
            StatementOutcome::Deleted { count } => {
                self.deleted += count;
                write_count(&mut row, "n", count);
            }
            StatementOutcome::Failed(error) => {
                self.errors += 1;
                Failure::from(error).write_as_row(&mut row);
                row.i32("n", 0);
                if kind == Kind::Update {
                    row.i32("nModified", 0);
                }
            }
        }
        if !ok || !errors_only {
            self.rows.push(RawDocumentBuf::from_bytes(row.finish())?);
        }
        Ok(())
    }
}

fn answer(invocation: &Invocation<'_>, totals: Totals) -> Result<Answer, Failure> {
    let counts = [
        ("nErrors", totals.errors),
        ("nInserted", totals.inserted),
        ("nMatched", totals.matched),
        ("nModified", totals.modified),
        ("nUpserted", totals.upserted),
        ("nDeleted", totals.deleted),
    ];
    // All rows at once, as far as they fit a reply, unless the client wants fewer.
    let size = batches::batch_size(&invocation.request)?.unwrap_or(u64::MAX);
    let mut answer =
        batches::of_documents_by(invocation, "$cmd.bulkWrite", totals.rows, Some(size))?;
    for (name, count) in counts {
        write_count(&mut answer.fields, name, count);
    }
    Ok(answer)
}
