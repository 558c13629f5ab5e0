//! From a parsed message to a finished reply: checks, lookup, the command itself, and what every reply carries
//! (`ok`, labels, `topologyVersion`, cluster time).

use std::sync::Arc;
use std::time::Duration;

use bson::raw::RawDocument;
use document::validate;
use tokio::time::Instant;

use super::budget::Reservation;
use super::commands::hello::Watch;
use super::commands::{self, Access, Command};
use super::connection::Session;
use super::document_writer::DocumentWriter;
use super::fail_point::{Cut, Injected};
use super::failure::{Code, Failure, NO_WRITES_PERFORMED, RETRYABLE_WRITE};
use super::frame::{Message, Query};
use super::request::{COMMAND_NESTING_MAX, ReadLevel, Request};
use super::server::{Counters, Server, timestamp_of};
use super::write_concern::{self, WriteConcernError};

/// What the connection does after the reply.
pub(crate) enum Then {
    Continue,
    /// Close without a reply.
    Close,
    /// Go on sending replies to this `hello`.
    Stream(Watch),
    /// Run the same `getMore` again: the client asked for all batches of this cursor at once.
    Repeat(i64),
}

/// A finished reply.
pub(crate) struct Reply {
    pub body: Vec<u8>,
    pub then: Then,
    pub may_compress: bool,
    /// Room taken for a large body.
    pub reservation: Option<Reservation>,
}

/// What a command gives back: its fields; the dispatcher adds the rest.
pub(crate) struct Answer {
    pub fields: DocumentWriter,
    pub reservation: Option<Reservation>,
    pub stream: Option<Watch>,
    /// The cursor whose next batch follows by itself.
    pub repeat: Option<i64>,
    /// A command that usually reads has written: its write concern counts.
    pub wrote: bool,
}

impl From<DocumentWriter> for Answer {
    fn from(fields: DocumentWriter) -> Self {
        Answer {
            fields,
            reservation: None,
            stream: None,
            repeat: None,
            wrote: false,
        }
    }
}

/// One command being run.
pub(crate) struct Invocation<'a> {
    pub server: &'a Arc<Server>,
    pub session: &'a Session,
    pub request: Request<'a>,
    /// From `maxTimeMS`.
    pub deadline: Option<Instant>,
}

/// Runs the command of an OP_MSG.
pub(crate) async fn message(
    server: &Arc<Server>,
    session: &Session,
    message: &Message<'_>,
) -> Reply {
    if let Err(failure) = check_documents(message) {
        return failed(server, &failure, &Context::default());
    }
    let body = match RawDocument::from_bytes(message.body) {
        Ok(body) => body,
        Err(error) => return failed(server, &error.into(), &Context::default()),
    };
    match Request::parse(body, &message.sequences, None, message.exhaust_allowed()) {
        Ok(request) => run(server, session, request).await,
        Err(failure) => failed(server, &failure, &Context::default()),
    }
}

/// Runs the opening handshake; anything else that comes this way is refused.
pub(crate) async fn opening_query(
    server: &Arc<Server>,
    session: &Session,
    query: &Query<'_>,
) -> Reply {
    let parsed = RawDocument::from_bytes(query.document)
        .map_err(Failure::from)
        .and_then(|body| {
            validate::well_formed(body, COMMAND_NESTING_MAX)?;
            Request::parse(body, &[], Some("admin"), false)
        });
    match parsed {
        Ok(request)
            if query.namespace == "admin.$cmd" && commands::hello::is_handshake(request.name) =>
        {
            run(server, session, request).await
        }
        Ok(request) => {
            let failure = Failure::new(
                Code::Location(352), // UnsupportedOpQueryCommand
                format!(
                    "Unsupported OP_QUERY command: {}. The client driver may require an upgrade.",
                    request.name
                ),
            );
            failed(server, &failure, &Context::default())
        }
        Err(failure) => failed(server, &failure, &Context::default()),
    }
}

fn check_documents(message: &Message<'_>) -> Result<(), Failure> {
    validate::well_formed(RawDocument::from_bytes(message.body)?, COMMAND_NESTING_MAX)?;
    for sequence in &message.sequences {
        for bytes in sequence.documents() {
            validate::well_formed(RawDocument::from_bytes(bytes)?, COMMAND_NESTING_MAX)?;
        }
    }
    Ok(())
}

/// What the reply's envelope depends on.
#[derive(Default)]
struct Context {
    /// A write under a `txnNumber`.
    retryable: bool,
    is_handshake: bool,
    may_compress: bool,
}

impl Context {
    const HANDSHAKE: Context = Context {
        retryable: false,
        is_handshake: true,
        may_compress: false,
    };
}

async fn run(server: &Arc<Server>, session: &Session, mut request: Request<'_>) -> Reply {
    let began = Instant::now();
    let Some(command) = commands::find(request.name) else {
        let failure = Failure::new(
            Code::CommandNotFound,
            format!("no such command: '{}'", request.name),
        );
        return failed(server, &failure, &Context::default());
    };
    let checked = request
        .check_fields(command.name, command.fields.as_ref())
        .and_then(|()| check_access(command, &request));
    let context = Context {
        retryable: command.access == Access::Write && request.options.txn_number.is_some(),
        is_handshake: commands::hello::is_handshake(request.name),
        may_compress: !commands::hello::is_handshake(request.name),
    };
    if let Err(failure) = checked {
        return failed(server, &failure, &context);
    }
    count(server, command);
    let id = server.operations.next_id();
    let _running = session.operation.begin(id, command.name, &request);
    if context.is_handshake {
        commands::hello::remember_client(&request, session);
    }
    let injected = match &server.fail_points {
        Some(fail_points) => fail_points.meet(&request, session).await,
        None => Injected::default(),
    };
    if let Some(reply) = injected_reply(server, &injected, &context) {
        return reply;
    }
    let cut = match &server.fail_points {
        Some(fail_points) if context.retryable => match fail_points.meet_write(&request) {
            Ok(cut) => cut,
            Err(failure) => return failed(server, &failure, &context),
        },
        _ => Cut::NONE,
    };
    if cut.close && cut.statements_max == 0 {
        return closing(server, &context);
    }
    request.statements_max = cut.statements_max;
    let deadline = request
        .options
        .max_time_ms
        .map(|ms| Instant::now() + Duration::from_millis(ms));
    let invocation = Invocation {
        server,
        session,
        request,
        deadline,
    };
    let outcome = invoke(command, &invocation).await;
    let outcome = outcome.map_err(|failure| match session.operation.is_killed() {
        true if failure.code == Code::CursorKilled => Failure::interrupted(),
        _ => failure,
    });
    let concern = match &outcome {
        _ if cut.close => None,
        Ok(answer) if command.access == Access::Write || answer.wrote => {
            match injected.write_concern_error {
                Some(error) => Some(error),
                None => write_concern::unmet(&invocation).await,
            }
        }
        Ok(_) => injected.write_concern_error,
        Err(_) => None,
    };
    // A handshake may wait on purpose.
    if !context.is_handshake {
        let failure = outcome.as_ref().err();
        server
            .slow_log
            .note(command.name, &invocation, began.elapsed(), failure);
    }
    match outcome {
        _ if cut.close => closing(server, &context),
        Ok(mut answer) => {
            if let Some(error) = concern {
                write_concern_error(&mut answer.fields, &error, &context);
            }
            succeeded(server, answer, &context)
        }
        Err(failure) => failed(server, &failure, &context),
    }
}

/// What a fail point answers in place of the command.
fn injected_reply(server: &Server, injected: &Injected, context: &Context) -> Option<Reply> {
    if injected.close {
        return Some(closing(server, context));
    }
    let failure = injected.failure.as_ref()?;
    Some(failed(server, failure, context))
}

/// No reply: the connection is closed.
fn closing(server: &Server, context: &Context) -> Reply {
    Reply {
        then: Then::Close,
        ..finish(server, DocumentWriter::new(), context)
    }
}

/// Runs the command within its time limit.
async fn invoke(command: &'static Command, invocation: &Invocation<'_>) -> Result<Answer, Failure> {
    let running = (command.run)(invocation);
    match invocation.deadline {
        // `hello` waits on purpose; its own limit is `maxAwaitTimeMS`.
        Some(deadline) => tokio::time::timeout_at(deadline, running)
            .await
            .unwrap_or_else(|_| Err(Failure::max_time_expired())),
        None => running.await,
    }
}

fn check_access(command: &Command, request: &Request<'_>) -> Result<(), Failure> {
    if request.options.in_transaction {
        return Err(Failure::new(
            Code::OperationNotSupportedInTransaction,
            "transactions are not supported yet",
        ));
    }
    if command.admin_only && request.database != "admin" {
        return Err(Failure::new(
            Code::Unauthorized,
            format!(
                "{} may only be run against the admin database.",
                command.name
            ),
        ));
    }
    if request.options.api_strict && !command.in_api_1 {
        return Err(Failure::new(
            Code::APIStrictError,
            format!(
                "Provided apiStrict:true, but the command {} is not in API Version 1",
                command.name
            ),
        ));
    }
    if command.access == Access::Write && request.options.read_level == Some(ReadLevel::Snapshot) {
        return Err(Failure::new(
            Code::InvalidOptions,
            format!(
                "Command {} does not support {{ readConcern: {{ level: \"snapshot\" }} }} outside of transactions",
                command.name
            ),
        ));
    }
    if request.options.txn_number.is_some() && request.options.lsid.is_none() {
        return Err(Failure::new(
            Code::InvalidOptions,
            "Transaction number requires a session ID to also be specified",
        ));
    }
    Ok(())
}

fn count(server: &Server, command: &Command) {
    let counters = &server.counters;
    let counter = match command.name {
        "insert" => &counters.inserts,
        "find" => &counters.queries,
        "update" | "findAndModify" => &counters.updates,
        "delete" => &counters.deletes,
        "getMore" => &counters.get_mores,
        _ => &counters.commands,
    };
    Counters::add(counter, 1);
}

/// The write stands, but not as widely as was asked for.
fn write_concern_error(fields: &mut DocumentWriter, error: &WriteConcernError, context: &Context) {
    error.write_to(fields);
    match &error.labels {
        Some(labels) => write_labels(fields, labels),
        None if context.retryable && error.code.is_retryable_write() => {
            write_labels(fields, &[RETRYABLE_WRITE]);
        }
        None => {}
    }
}

fn succeeded(server: &Server, mut answer: Answer, context: &Context) -> Reply {
    let then = match (answer.stream, answer.repeat) {
        (Some(watch), _) => Then::Stream(watch),
        (None, Some(cursor)) => Then::Repeat(cursor),
        (None, None) => Then::Continue,
    };
    answer.fields.double("ok", 1.0);
    Reply {
        then,
        reservation: answer.reservation,
        ..finish(server, answer.fields, context)
    }
}

fn failed(server: &Server, failure: &Failure, context: &Context) -> Reply {
    Counters::add(&server.counters.failures, 1);
    let mut fields = DocumentWriter::new();
    fields.double("ok", 0.0);
    failure.write_to(&mut fields);
    match &failure.injected {
        Some(Some(labels)) => write_labels(&mut fields, labels),
        _ => write_labels(&mut fields, &computed_labels(failure, context)),
    }
    if failure.code.is_state_change() && failure.injected.is_none() {
        let view = server.topology.view();
        server.topology.write_version(&mut fields, &view);
    }
    finish(server, fields, context)
}

fn computed_labels(failure: &Failure, context: &Context) -> Vec<&'static str> {
    let mut labels = failure.labels.clone();
    if context.retryable && failure.code.is_retryable_write() {
        labels.push(RETRYABLE_WRITE);
        if failure.nothing_written {
            labels.push(NO_WRITES_PERFORMED);
        }
    }
    labels
}

/// A later reply of a streaming `hello`.
pub(crate) fn handshake_reply(server: &Server, answer: Answer) -> Reply {
    succeeded(server, answer, &Context::HANDSHAKE)
}

/// What a fail point answers in place of a later reply of a streaming `hello`.
pub(crate) async fn injected_handshake(
    server: &Server,
    session: &Session,
    name: &str,
) -> Option<Reply> {
    let fail_points = server.fail_points.as_ref()?;
    let injected = fail_points.meet_command(name, session).await;
    injected_reply(server, &injected, &Context::HANDSHAKE)
}

fn write_labels(fields: &mut DocumentWriter, labels: &[impl AsRef<str>]) {
    if labels.is_empty() {
        return;
    }
    fields.begin_array("errorLabels");
    for label in labels {
        fields.push_string(label.as_ref());
    }
    fields.end();
}

/// Adds the cluster time and closes the document.
fn finish(server: &Server, mut fields: DocumentWriter, context: &Context) -> Reply {
    let time = timestamp_of(server.node.reader().applied_index());
    fields.begin_document("$clusterTime");
    fields.timestamp("clusterTime", time);
    fields.begin_document("signature");
    fields.binary("hash", &[0; 20]);
    fields.i64("keyId", 0);
    fields.end();
    fields.end();
    if !context.is_handshake {
        fields.timestamp("operationTime", time);
    }
    Reply {
        body: fields.finish(),
        then: Then::Continue,
        may_compress: context.may_compress,
        reservation: None,
    }
}
