//! `hostInfo`.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::server::wall_ms;

pub(super) static COMMAND: Command = Command {
    admin_only: true,
    ..Command::new("hostInfo", "the machine this runs on", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut fields = DocumentWriter::new();
        fields.begin_document("system");
        fields.date("currentTime", wall_ms());
        fields.string("hostname", &invocation.server.settings.advertise);
        fields.i32("cpuAddrSize", 64);
        fields.i32("numCores", i32::try_from(cores).unwrap_or(i32::MAX));
        fields.string("cpuArch", std::env::consts::ARCH);
        fields.end();
        fields.begin_document("os");
        fields.string("type", std::env::consts::OS);
        fields.end();
        fields.begin_document("extra");
        fields.end();
        Ok(fields.into())
    })
}
