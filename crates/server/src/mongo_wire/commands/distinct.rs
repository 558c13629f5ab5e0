//! `distinct`.

use bson::raw::RawBsonRef;
use state_machine::Namespace;
use state_machine::query::{DistinctRequest, Interrupt};

use super::find::{context, hint};
use super::{Access, Command, Running};
use crate::mongo_wire::batches::long;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::{Fields, Request};
use crate::mongo_wire::{read_point, write_path};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["key", "query", "collation", "hint"],
        refused: &[],
    }),
    access: Access::Read,
    ..Command::new("distinct", "the different values of a field", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = DistinctRequest {
            interrupt: write_path::interrupt(invocation),
            ..parse(&invocation.request)?
        };
        let snapshot = read_point::snapshot(invocation).await?;
        let time = read_point::at_cluster_time(invocation, &snapshot);
        let values = long(true, || snapshot.distinct(request))?;
        let mut fields = DocumentWriter::new();
        fields.value("values", RawBsonRef::Array(&values));
        if let Some(time) = time {
            fields.timestamp("atClusterTime", time);
        }
        Ok(fields.into())
    })
}

/// Reads the command; shared with `explain`.
pub(super) fn parse(request: &Request<'_>) -> Result<DistinctRequest, Failure> {
    Ok(DistinctRequest {
        namespace: Namespace::new(request.database, request.collection()?),
        key: request
            .string("key")?
            .ok_or_else(|| request.missing("key"))?
            .to_owned(),
        filter: request.document_or_empty("query")?,
        hint: hint(request)?,
        context: context(request)?,
        interrupt: Interrupt::never(),
    })
}
