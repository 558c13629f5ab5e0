//! `insert`.

use state_machine::Namespace;
use state_machine::plan::{InsertRequest, WriteOptions, WriteOutcome, WritePlanner};

use super::count::write_count;
use super::find::context;
use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::limits::WRITE_BATCH_MAX;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::{values, write_path};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[
            "documents",
            "ordered",
            "stmtId",
            "stmtIds",
            "bypassDocumentValidation",
        ],
        refused: &["encryptionInformation"],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new("insert", "put documents in", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let documents = invocation.request.required_documents("documents")?;
        let options = options(invocation, documents.len())?;
        let documents = documents.into_iter().map(ToOwned::to_owned).collect();
        let planner = WritePlanner::insert(options, InsertRequest { documents });
        let outcome = write_path::run(invocation, planner).await?;
        let mut fields = DocumentWriter::new();
        write_count(&mut fields, "n", outcome.n());
        write_errors(&outcome, &mut fields);
        Ok(fields.into())
    })
}

/// What holds for all statements of a write command.
pub(super) fn options(
    invocation: &Invocation<'_>,
    statements: usize,
) -> Result<WriteOptions, Failure> {
    let request = &invocation.request;
    let namespace = Namespace::new(request.database, request.collection()?);
    options_on(invocation, namespace, statements)
}

/// The same for statements on `namespace`.
pub(super) fn options_on(
    invocation: &Invocation<'_>,
    namespace: Namespace,
    statements: usize,
) -> Result<WriteOptions, Failure> {
    let request = &invocation.request;
    if statements == 0 || statements > WRITE_BATCH_MAX {
        return Err(Failure::new(
            Code::InvalidLength,
            format!(
                "Write batch sizes must be between 1 and {WRITE_BATCH_MAX}. Got {statements} operations."
            ),
        ));
    }
    let mut options = WriteOptions::new(namespace);
    options.session = request.options.stamp();
    options.statement_ids = statement_ids(invocation, statements)?;
    options.ordered = match request.field("ordered")? {
        Some(ordered) => values::boolean("ordered", ordered)?,
        None => true,
    };
    options.terms.bypass_validation = request.boolean("bypassDocumentValidation")?;
    if request.document("let")?.is_some() {
        options.terms.variables = context(request)?.constants();
    }
    options.interrupt = write_path::interrupt(invocation);
    Ok(options)
}

fn statement_ids(invocation: &Invocation<'_>, statements: usize) -> Result<Vec<i32>, Failure> {
    let request = &invocation.request;
    let number = |value| {
        i32::try_from(values::integer("stmtIds", value)?)
            .map_err(|_| Failure::bad_value("a stmtId must be an int"))
    };
    if let Some(first) = request.field("stmtId")? {
        let first = number(first)?;
        let count = i32::try_from(statements).expect("batches are bounded");
        return Ok((first..first.saturating_add(count)).collect());
    }
    let Some(listed) = request.field("stmtIds")? else {
        return Ok(Vec::new());
    };
    let mut ids = Vec::new();
    for id in values::array("stmtIds", listed)? {
        ids.push(number(id?)?);
    }
    if ids.len() != statements {
        return Err(Failure::new(
            Code::InvalidLength,
            format!(
                "Number of statement ids must match the number of batch entries. Got {} statement ids but {statements} operations.",
                ids.len()
            ),
        ));
    }
    Ok(ids)
}

/// Writes `writeErrors`, when there are any.
pub(super) fn write_errors(outcome: &WriteOutcome, fields: &mut DocumentWriter) {
    let mut errors = outcome.errors().peekable();
    if errors.peek().is_none() {
        return;
    }
    fields.begin_array("writeErrors");
    for (index, error) in errors {
        Failure::from(error.clone()).write_as_write_error(fields, index);
    }
    fields.end();
}
