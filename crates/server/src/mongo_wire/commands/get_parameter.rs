//! `getParameter`: the few parameters that clients ask for.

use std::time::Duration;

use bson::raw::RawBsonRef;

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::server::Server;

pub(super) static COMMAND: Command = Command {
    admin_only: true,
    ..Command::new("getParameter", "settings by name", run)
};

/// What can be asked for.
const NAMES: &[&str] = &[
    "enableTestCommands",
    "featureCompatibilityVersion",
    "authenticationMechanisms",
    "requireApiVersion",
    "transactionLifetimeLimitSeconds",
    "localLogicalSessionTimeoutMinutes",
    "ttlMonitorEnabled",
    "ttlMonitorSleepSecs",
];

/// A period as parameters show it.
pub(super) fn seconds(period: Duration) -> i32 {
    i32::try_from(period.as_secs()).unwrap_or(i32::MAX)
}

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let all = request.target == RawBsonRef::String("*")
            || request.body.get("allParameters")?.is_some();
        let mut fields = DocumentWriter::new();
        let mut found = false;
        for name in NAMES {
            if all || request.body.get(name)?.is_some() {
                write(invocation.server, name, &mut fields);
                found = true;
            }
        }
        if found {
            Ok(fields.into())
        } else {
            Err(Failure::new(Code::InvalidOptions, "no option found to get"))
        }
    })
}

fn write(server: &Server, name: &str, fields: &mut DocumentWriter) {
    match name {
        "enableTestCommands" => fields.bool(name, server.settings.enable_test_commands),
        "featureCompatibilityVersion" => {
            fields.begin_document(name);
            fields.string("version", "8.0");
            fields.end();
        }
        "authenticationMechanisms" => {
            fields.begin_array(name);
            fields.end();
        }
        "requireApiVersion" => fields.bool(name, false),
        "ttlMonitorEnabled" => fields.bool(name, server.expiry.pace().enabled),
        "ttlMonitorSleepSecs" => fields.i32(name, seconds(server.expiry.pace().period)),
        "transactionLifetimeLimitSeconds" => fields.i32(name, 60),
        _ => fields.i32(name, crate::mongo_wire::limits::SESSION_TIMEOUT_MINUTES),
    }
}
