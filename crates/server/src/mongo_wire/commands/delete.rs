//! `delete`.

use bson::raw::RawDocument;
use state_machine::plan::{DeleteStatement, WritePlanner};
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
        known: &["deletes", "ordered", "stmtId", "stmtIds", "let"],
        refused: &["encryptionInformation"],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new("delete", "remove documents", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let deletes = invocation.request.required_documents("deletes")?;
        let options = insert::options(invocation, deletes.len())?;
        let statements = deletes.into_iter().map(parse).collect::<Result<_, _>>()?;
        let outcome =
            write_path::run(invocation, WritePlanner::delete(options, statements)).await?;
        let mut fields = DocumentWriter::new();
        write_count(&mut fields, "n", outcome.n());
        insert::write_errors(&outcome, &mut fields);
        Ok(fields.into())
    })
}

fn parse(statement: &RawDocument) -> Result<DeleteStatement, Failure> {
    let (mut filter, mut limit) = (None, None);
    let (mut hint, mut collation) = (None, None);
    for element in statement {
        let (name, value) = element?;
        match name.as_str() {
            "q" => filter = Some(values::document("q", value)?.to_owned()),
            "limit" => limit = Some(values::integer("limit", value)?),
            "hint" => hint = Hint::parse(value)?,
            "collation" => collation = Some(values::document("collation", value)?.to_owned()),
            "sampleId" => {}
            other => return Err(unknown_field("delete.deletes", other)),
        }
    }
    let missing = |field: &str| {
        Failure::new(
            Code::IDLFailedToParse,
            format!("BSON field 'delete.deletes.{field}' is missing but a required field"),
        )
    };
    let multi = match limit.ok_or_else(|| missing("limit"))? {
        0 => true,
        1 => false,
        other => {
            return Err(Failure::new(
                Code::FailedToParse,
                format!("The limit field in delete objects must be 0 or 1. Got {other}"),
            ));
        }
    };
    Ok(DeleteStatement {
        filter: filter.ok_or_else(|| missing("q"))?,
        multi,
        hint,
        collation,
    })
}
