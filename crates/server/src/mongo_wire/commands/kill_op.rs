//! `killOp`: stops a command that reads, or that still searches for what it will write.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["op"],
        refused: &[],
    }),
    admin_only: true,
    ..Command::new("killOp", "stop a running command", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let id = request.field("op")?.ok_or_else(|| request.missing("op"))?;
        // No command has a number beyond the ints: there is nothing to stop then, as when it has ended.
        if let Ok(id) = i32::try_from(values::integer("op", id)?) {
            invocation.server.operations.kill(id);
        }
        let mut fields = DocumentWriter::new();
        fields.string("info", "attempting to kill op");
        Ok(fields.into())
    })
}
