//! `whatsmyuri`.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;

pub(super) static COMMAND: Command =
    Command::new("whatsmyuri", "the client's address as seen here", run);

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let mut fields = DocumentWriter::new();
        fields.string("you", &invocation.session.peer.to_string());
        Ok(fields.into())
    })
}
