//! `currentOp` and the stage `$currentOp`: what the connections of this member run.

use bson::RawDocumentBuf;
use bson::raw::{CString, RawBsonRef, RawDocument};
use document::filter::Filter;

use super::find::context;
use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::operation::{CommandReport, Report};
use crate::mongo_wire::request::unknown_field;
use crate::mongo_wire::server::wall_ms;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    admin_only: true,
    ..Command::new("currentOp", "what connections run", run)
};

/// Fields of the command that are no conditions on its rows.
const OPTIONS: &[&str] = &[
    "$all",
    "$ownOps",
    "$db",
    "$clusterTime",
    "$readPreference",
    "$client",
    "lsid",
    "comment",
    "maxTimeMS",
    "readConcern",
    "apiVersion",
    "apiStrict",
    "apiDeprecationErrors",
];

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let mut conditions = RawDocumentBuf::new();
        for (position, element) in request.body.into_iter().enumerate() {
            let (name, value) = element?;
            if position > 0 && !OPTIONS.contains(&name.as_str()) {
                conditions.append(CString::from(name), value);
            }
        }
        let filter = Filter::parse_in(&conditions, &context(request)?)?;
        let mut fields = DocumentWriter::new();
        fields.begin_array("inprog");
        for row in all(invocation, request.boolean("$all")?)? {
            if filter.try_matches(&row)? {
                fields.push_document(&row);
            }
        }
        fields.end();
        Ok(fields.into())
    })
}

/// The stage's rows.
pub(super) fn rows(
    invocation: &Invocation<'_>,
    options: RawBsonRef<'_>,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    let request = &invocation.request;
    if request.database != "admin" || matches!(request.target, RawBsonRef::String(_)) {
        return Err(Failure::new(
            Code::InvalidNamespace,
            "$currentOp must be run against the 'admin' database with {aggregate: 1}",
        ));
    }
    let mut idle = false;
    for element in values::document("$currentOp", options)? {
        let (name, value) = element?;
        let given = values::boolean(name.as_str(), value)?;
        match name.as_str() {
            "idleConnections" => idle = given,
            // There are no users; every row is of this member, and every long command is cut.
            "allUsers" | "localOps" | "truncateOps" => {}
            "idleCursors" | "idleSessions" | "backtrace" if !given => {}
            option @ ("idleCursors" | "idleSessions" | "backtrace") => {
                return Err(Failure::not_supported(format!(
                    "option '{option}' of $currentOp"
                )));
            }
            other => return Err(unknown_field("$currentOp", other)),
        }
    }
    all(invocation, idle)
}

/// A row for every command, and if wanted for every connection that runs none.
fn all(invocation: &Invocation<'_>, idle: bool) -> Result<Vec<RawDocumentBuf>, Failure> {
    let host = &invocation.server.settings.advertise;
    let reports = invocation.server.operations.reports().into_iter();
    reports
        .filter(|report| idle || report.command.is_some())
        .map(|report| row(&report, host))
        .collect()
}

fn row(report: &Report, host: &str) -> Result<RawDocumentBuf, Failure> {
    let mut row = DocumentWriter::new();
    row.string("type", "op");
    row.string("host", host);
    row.string("desc", &format!("conn{}", report.connection));
    row.i64("connectionId", report.connection);
    row.string("client", &report.peer.to_string());
    row.bool("active", report.command.is_some());
    row.string(
        "currentOpTime",
        &bson::DateTime::from_millis(wall_ms())
            .try_to_rfc3339_string()
            .unwrap_or_default(),
    );
    if let Some(command) = &report.command {
        write_command(command, &mut row)?;
    }
    Ok(RawDocumentBuf::from_bytes(row.finish())?)
}

fn write_command(report: &CommandReport, row: &mut DocumentWriter) -> Result<(), Failure> {
    let whole = |number: u128| i64::try_from(number).unwrap_or(i64::MAX);
    row.i32("opid", report.id);
    row.i64("secs_running", whole(report.running.as_secs().into()));
    row.i64("microsecs_running", whole(report.running.as_micros()));
    let kind = match report.name {
        "find" => "query",
        "getMore" => "getmore",
        "insert" => "insert",
        "update" => "update",
        "delete" => "remove",
        _ => "command",
    };
    row.string("op", kind);
    row.string("ns", &report.namespace);
    let command = RawDocumentBuf::try_from(&report.command)?;
    let command: &RawDocument = &command;
    row.document("command", command);
    if let Some(plan) = &report.plan {
        row.string("planSummary", &plan.to_string());
    }
    if report.killed {
        row.bool("killPending", true);
    }
    Ok(())
}
