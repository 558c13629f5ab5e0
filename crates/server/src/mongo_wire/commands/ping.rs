//! `ping`.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;

pub(super) static COMMAND: Command = Command {
    in_api_1: true,
    ..Command::new("ping", "whether this member answers", run)
};

fn run<'a>(_: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async { Ok(DocumentWriter::new().into()) })
}
