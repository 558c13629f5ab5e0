//! `replSetFreeze`: only the end of a freeze, which members here are never in.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[],
        refused: &[],
    }),
    admin_only: true,
    ..Command::new(
        "replSetFreeze",
        "let this member stand for election again",
        run,
    )
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        match values::integer("replSetFreeze", invocation.request.target)? {
            0 => Ok(DocumentWriter::new().into()),
            _ => Err(Failure::not_supported(
                "keeping a member from elections for a time",
            )),
        }
    })
}
