//! `configureFailPoint`, with `--enable-test-commands` only.

use bson::raw::RawBsonRef;

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["mode", "data"],
        refused: &[],
    }),
    admin_only: true,
    ..Command::new("configureFailPoint", "make commands fail, for tests", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let Some(fail_points) = &invocation.server.fail_points else {
            return Err(Failure::new(
                Code::CommandNotFound,
                "no such command: 'configureFailPoint'; start with --enable-test-commands to have it",
            ));
        };
        let request = &invocation.request;
        let name = values::string("configureFailPoint", request.target)?;
        let mode = request.field("mode")?.unwrap_or(RawBsonRef::Null);
        fail_points.configure(name, mode, request.document("data")?)?;
        Ok(DocumentWriter::new().into())
    })
}
