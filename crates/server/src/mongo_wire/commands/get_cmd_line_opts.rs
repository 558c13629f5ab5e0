//! `getCmdLineOpts`.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;

pub(super) static COMMAND: Command = Command {
    admin_only: true,
    ..Command::new("getCmdLineOpts", "how this process was started", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let settings = &invocation.server.settings;
        let mut fields = DocumentWriter::new();
        fields.begin_array("argv");
        for argument in std::env::args_os() {
            fields.push_string(&argument.to_string_lossy());
        }
        fields.end();
        fields.begin_document("parsed");
        fields.begin_document("net");
        fields.string("bindIp", &settings.listen.ip().to_string());
        fields.i32("port", i32::from(settings.listen.port()));
        fields.end();
        fields.begin_document("replication");
        fields.string("replSet", &settings.replica_set);
        fields.end();
        fields.begin_document("storage");
        fields.string("dbPath", &settings.data_dir.to_string_lossy());
        fields.end();
        fields.end();
        Ok(fields.into())
    })
}
