//! `getLog`: no log lines are kept in memory; shells ask for start-up warnings and get none, or the one that matters.

use bson::raw::RawBsonRef;

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;

pub(super) static COMMAND: Command = Command {
    admin_only: true,
    ..Command::new("getLog", "recent log lines", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let mut fields = DocumentWriter::new();
        match invocation.request.target {
            RawBsonRef::String("*") => {
                fields.begin_array("names");
                fields.push_string("global");
                fields.push_string("startupWarnings");
                fields.end();
            }
            RawBsonRef::String("global" | "startupWarnings") => {
                fields.i32("totalLinesWritten", 0);
                fields.begin_array("log");
                fields.end();
            }
            RawBsonRef::String(other) => {
                return Err(Failure::bad_value(format!("No log named '{other}'")));
            }
            _ => {
                return Err(Failure::type_mismatch(
                    "Argument to getLog must be of type String",
                ));
            }
        }
        Ok(fields.into())
    })
}
