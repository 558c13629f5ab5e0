//! `update`.

use bson::RawDocumentBuf;
use bson::raw::RawDocument;
use state_machine::plan::{BulkStatement, UpdateStatement, WritePlanner};
use state_machine::query::Hint;

use super::count::write_count;
use super::{Access, Command, Running, insert};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::{Fields, unknown_field};
use crate::mongo_wire::{values, write_path};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[
            "updates",
            "ordered",
            "stmtId",
            "stmtIds",
            "bypassDocumentValidation",
            "let",
        ],
        refused: &["encryptionInformation", "runtimeConstants"],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new("update", "change documents", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let updates = invocation.request.required_documents("updates")?;
        let options = insert::options(invocation, updates.len())?;
        let statements = updates.into_iter().map(parse).collect::<Result<_, _>>()?;
        let outcome = write_path::run(invocation, WritePlanner::bulk(options, statements)).await?;
        let mut fields = DocumentWriter::new();
        write_count(&mut fields, "n", outcome.n());
        write_count(&mut fields, "nModified", outcome.modified());
        let mut upserted = outcome.upserted().peekable();
        if upserted.peek().is_some() {
            fields.begin_array("upserted");
            for (index, id) in upserted {
                fields.push_begin_document();
                write_count(&mut fields, "index", index as u64);
                values::write_bson(&mut fields, "_id", id)?;
                fields.end();
            }
            fields.end();
        }
        insert::write_errors(&outcome, &mut fields);
        Ok(fields.into())
    })
}

fn parse(statement: &RawDocument) -> Result<BulkStatement, Failure> {
    let (mut filter, mut update) = (None, None);
    let mut constants = RawDocumentBuf::new();
    let mut parsed = UpdateStatement {
        filter: RawDocumentBuf::new(),
        update: bson::RawBson::Null,
        array_filters: Vec::new(),
        multi: false,
        upsert: false,
        hint: None,
        sort: None,
        collation: None,
    };
    for element in statement {
        let (name, value) = element?;
        match name.as_str() {
            "q" => filter = Some(values::document("q", value)?.to_owned()),
            "u" => update = Some(value.into()),
            "multi" => parsed.multi = values::boolean("multi", value)?,
            "upsert" => parsed.upsert = values::boolean("upsert", value)?,
            "arrayFilters" => parsed.array_filters = array_filters(value)?,
            "hint" => parsed.hint = Hint::parse(value)?,
            "sort" => parsed.sort = Some(values::document("sort", value)?.to_owned()),
            "collation" => {
                parsed.collation = Some(values::document("collation", value)?.to_owned())
            }
            "upsertSupplied" | "sampleId" => {}
            "c" => constants = values::document("c", value)?.to_owned(),
            other => return Err(unknown_field("update.updates", other)),
        }
    }
    let missing = |field: &str| {
        Failure::new(
            Code::IDLFailedToParse,
            format!("BSON field 'update.updates.{field}' is missing but a required field"),
        )
    };
    parsed.filter = filter.ok_or_else(|| missing("q"))?;
    parsed.update = update.ok_or_else(|| missing("u"))?;
    Ok(BulkStatement::Update(parsed, constants))
}

/// `arrayFilters`; shared with `findAndModify`.
pub(super) fn array_filters(
    value: bson::raw::RawBsonRef<'_>,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    let filters = values::documents("arrayFilters", value)?;
    Ok(filters.into_iter().map(ToOwned::to_owned).collect())
}
