//! `buildInfo`: the MongoDB version whose behaviour is followed, and this program's own.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::limits::{DOCUMENT_BYTES_MAX, MONGODB_VERSION};

pub(super) static COMMAND: Command = Command {
    aliases: &["buildinfo"],
    ..Command::new("buildInfo", "versions", run)
};

/// `8.0.0`
pub(super) fn version() -> String {
    let [major, minor, patch, _] = MONGODB_VERSION;
    format!("{major}.{minor}.{patch}")
}

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let mut fields = DocumentWriter::new();
        fields.string("version", &version());
        fields.begin_array("versionArray");
        for part in MONGODB_VERSION {
            fields.push_i32(part);
        }
        fields.end();
        fields.string("gitVersion", "unknown");
        fields.string("cstoreVersion", env!("CARGO_PKG_VERSION"));
        fields.begin_array("modules");
        fields.end();
        fields.string("allocator", "system");
        fields.string("javascriptEngine", "none");
        fields.string("sysInfo", "deprecated");
        fields.i32("bits", 64);
        fields.bool("debug", cfg!(debug_assertions));
        fields.i32("maxBsonObjectSize", DOCUMENT_BYTES_MAX as i32);
        fields.begin_array("storageEngines");
        fields.push_string("cstore");
        fields.end();
        fields.begin_document("buildEnvironment");
        fields.string("target_arch", std::env::consts::ARCH);
        fields.string("target_os", std::env::consts::OS);
        fields.end();
        fields.bool(
            "testCommandsEnabled",
            invocation.server.settings.enable_test_commands,
        );
        Ok(fields.into())
    })
}
