//! `listCommands`.

use super::{COMMANDS, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;

pub(super) static COMMAND: Command =
    Command::new("listCommands", "the commands of this server", run);

fn run<'a>(_: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async {
        let mut fields = DocumentWriter::new();
        fields.begin_document("commands");
        for command in COMMANDS {
            fields.begin_document(command.name);
            fields.string("help", command.help);
            fields.bool("adminOnly", command.admin_only);
            fields.end();
        }
        fields.end();
        Ok(fields.into())
    })
}
