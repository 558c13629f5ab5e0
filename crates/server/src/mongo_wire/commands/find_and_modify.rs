//! `findAndModify`.

use state_machine::plan::{
    FindAndModifyOperation, FindAndModifyRequest, StatementOutcome, WriteOutcome, WritePlanner,
};

use super::count::write_count;
use super::find::hint;
use super::{Access, Command, Running, insert, update};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::{Fields, Request};
use crate::mongo_wire::{values, write_path};

pub(super) static COMMAND: Command = Command {
    aliases: &["findandmodify"],
    fields: Some(Fields {
        known: &[
            "query",
            "sort",
            "remove",
            "update",
            "new",
            "fields",
            "upsert",
            "arrayFilters",
            "hint",
            "collation",
            "bypassDocumentValidation",
            "stmtId",
            "let",
        ],
        refused: &["encryptionInformation", "runtimeConstants"],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new(
        "findAndModify",
        "change or remove one document and return it",
        run,
    )
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let options = insert::options(invocation, 1)?;
        let modify = parse(request)?;
        let remove = matches!(modify.operation, FindAndModifyOperation::Remove);
        let outcome =
            write_path::run(invocation, WritePlanner::find_and_modify(options, modify)).await?;
        answer(outcome, remove).map(Into::into)
    })
}

fn parse(request: &Request<'_>) -> Result<FindAndModifyRequest, Failure> {
    let conflict = |what: &str| Err(Failure::new(Code::FailedToParse, what));
    let update = request.field("update")?;
    let (upsert, return_new) = (request.boolean("upsert")?, request.boolean("new")?);
    let operation = match (request.boolean("remove")?, update) {
        (true, Some(_)) => return conflict("Cannot specify both an update and remove=true"),
        (true, None) if upsert => {
            return conflict("Cannot specify both upsert=true and remove=true");
        }
        (true, None) if return_new => {
            return conflict(
                "Cannot specify both new=true and remove=true; 'remove' always returns the deleted document",
            );
        }
        (true, None) => FindAndModifyOperation::Remove,
        (false, None) => return conflict("Either an update or remove=true must be specified"),
        (false, Some(update)) => FindAndModifyOperation::Update {
            update: update.into(),
            array_filters: match request.field("arrayFilters")? {
                Some(filters) => update::array_filters(filters)?,
                None => Vec::new(),
            },
            upsert,
            return_new,
        },
    };
    Ok(FindAndModifyRequest {
        filter: request.document_or_empty("query")?,
        sort: request.document("sort")?.map(ToOwned::to_owned),
        projection: request.document("fields")?.map(ToOwned::to_owned),
        operation,
        hint: hint(request)?,
        collation: request.document("collation")?.map(ToOwned::to_owned),
    })
}

fn answer(outcome: WriteOutcome, remove: bool) -> Result<DocumentWriter, Failure> {
    let mut fields = DocumentWriter::new();
    fields.begin_document("lastErrorObject");
    match outcome.statements.into_iter().next() {
        Some(StatementOutcome::Failed(error)) => return Err(error.into()),
        Some(StatementOutcome::Updated {
            matched, upserted, ..
        }) => {
            let n = if upserted.is_some() { 1 } else { matched };
            write_count(&mut fields, "n", n);
            fields.bool("updatedExisting", matched > 0);
            if let Some(id) = &upserted {
                values::write_bson(&mut fields, "upserted", id)?;
            }
        }
        Some(StatementOutcome::Deleted { count }) => write_count(&mut fields, "n", count),
        Some(StatementOutcome::Inserted) | None => {
            write_count(&mut fields, "n", 0);
            if !remove {
                fields.bool("updatedExisting", false);
            }
        }
    }
    fields.end();
    match &outcome.value {
        Some(value) => fields.document("value", value),
        None => fields.null("value"),
    }
    Ok(fields)
}
