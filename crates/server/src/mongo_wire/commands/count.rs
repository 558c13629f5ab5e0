//! `count`.

use state_machine::Namespace;
use state_machine::query::{CountRequest, Interrupt};

use super::find::{context, hint};
use super::{Access, Command, Running};
use crate::mongo_wire::batches::long;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::{Fields, Request};
use crate::mongo_wire::{read_point, values, write_path};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["query", "limit", "skip", "hint", "collation", "fields"],
        refused: &[],
    }),
    access: Access::Read,
    in_api_1: true,
    ..Command::new("count", "how many documents match", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = CountRequest {
            interrupt: write_path::interrupt(invocation),
            ..parse(&invocation.request)?
        };
        let snapshot = read_point::snapshot(invocation).await?;
        let count = long(true, || snapshot.count(request))?;
        let mut fields = DocumentWriter::new();
        write_count(&mut fields, "n", count);
        Ok(fields.into())
    })
}

/// Reads the command; shared with `explain`.
pub(super) fn parse(request: &Request<'_>) -> Result<CountRequest, Failure> {
    // A negative limit means its absolute value here.
    let limit = match request.field("limit")? {
        Some(value) => {
            Some(values::integer("limit", value)?.unsigned_abs()).filter(|limit| *limit > 0)
        }
        None => None,
    };
    Ok(CountRequest {
        namespace: Namespace::new(request.database, request.collection()?),
        filter: request.document_or_empty("query")?,
        skip: request.count("skip")?.unwrap_or(0),
        limit,
        hint: hint(request)?,
        context: context(request)?,
        interrupt: Interrupt::never(),
    })
}

/// An int where it fits, as MongoDB does.
pub(super) fn write_count(fields: &mut DocumentWriter, key: &str, count: u64) {
    match i32::try_from(count) {
        Ok(count) => fields.i32(key, count),
        Err(_) => fields.i64(key, i64::try_from(count).unwrap_or(i64::MAX)),
    }
}
