//! `hello` and its old form `isMaster`: the handshake, and the monitoring that drivers follow fail-overs with.
//!
//! A request that carries `topologyVersion` and `maxAwaitTimeMS` waits until the topology changes; with
//! exhaustAllowed the replies then go on by themselves. Follows drivers' "Server Discovery and Monitoring" and
//! "Server Monitoring" specifications.

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::raw::{RawBsonRef, RawDocument};
use tokio::time::Instant;

use super::{Command, Running};
use crate::mongo_wire::compression;
use crate::mongo_wire::connection::Session;
use crate::mongo_wire::dispatch::{self, Answer, Invocation, Reply};
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::limits;
use crate::mongo_wire::request::Request;
use crate::mongo_wire::server::{Server, timestamp_of, wall_ms};
use crate::mongo_wire::topology::{Kind, View};
use crate::mongo_wire::values;

pub(super) static HELLO: Command = Command {
    in_api_1: true,
    ..Command::new("hello", "who this member is", run)
};

pub(super) static IS_MASTER: Command = Command {
    aliases: &["ismaster"],
    ..Command::new("isMaster", "who this member is, in the old form", run)
};

/// Whether `name` is one of the handshake's spellings.
pub(crate) fn is_handshake(name: &str) -> bool {
    matches!(name, "hello" | "isMaster" | "ismaster")
}

/// A `hello` that goes on answering.
pub(crate) struct Watch {
    legacy: bool,
    seen: i64,
    await_time: Duration,
}

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let server = invocation.server;
        let legacy = request.name != "hello";
        let known = request.document("topologyVersion")?;
        let await_ms = request.count("maxAwaitTimeMS")?;
        let (known, await_ms) = match (known, await_ms) {
            (None, None) => (None, 0),
            (Some(known), Some(await_ms)) => (Some(parse_version(known)?), await_ms),
            (None, Some(_)) => {
                return Err(Failure::new(
                    Code::Location(31368),
                    "A request with 'maxAwaitTimeMS' must include a 'topologyVersion'",
                ));
            }
            (Some(_), None) => {
                return Err(Failure::new(
                    Code::Location(31368),
                    "A request with a 'topologyVersion' must include 'maxAwaitTimeMS'",
                ));
            }
        };
        let await_time = Duration::from_millis(await_ms);
        if let Some((process, counter)) = known
            && process == server.topology.process_id()
        {
            if counter > server.topology.view().counter {
                return Err(Failure::new(
                    Code::Location(31382),
                    "Received a topology version with a counter greater than the server's",
                ));
            }
            wait_for_change(server, counter, await_time).await;
        }
        let view = server.topology.view();
        let mut fields = DocumentWriter::new();
        write(server, &view, legacy, invocation.session.id, &mut fields);
        write_compression(request.body, &mut fields)?;
        let stream = (known.is_some() && request.exhaust_allowed).then_some(Watch {
            legacy,
            seen: view.counter,
            await_time,
        });
        Ok(Answer {
            stream,
            ..Answer::from(fields)
        })
    })
}

impl Watch {
    /// The next reply of the stream: at the next change, or when the interval is over.
    pub(crate) async fn next(&mut self, server: &Arc<Server>, session: &Session) -> Option<Reply> {
        let name = if self.legacy { "isMaster" } else { "hello" };
        if let Some(reply) = dispatch::injected_handshake(server, session, name).await {
            return Some(reply);
        }
        wait_for_change(server, self.seen, self.await_time).await;
        let view = server.topology.view();
        self.seen = view.counter;
        let mut fields = DocumentWriter::new();
        write(server, &view, self.legacy, session.id, &mut fields);
        let stream = Watch {
            legacy: self.legacy,
            seen: self.seen,
            await_time: self.await_time,
        };
        let answer = Answer {
            stream: Some(stream),
            ..Answer::from(fields)
        };
        Some(dispatch::handshake_reply(server, answer))
    }
}

/// Keeps the application's name, of the first handshake, for fail points.
pub(crate) fn remember_client(request: &Request<'_>, session: &Session) {
    let name = || {
        let client = request.body.get_document("client").ok()?;
        let application = client.get_document("application").ok()?;
        application.get_str("name").ok()
    };
    if let Some(name) = name() {
        *session.app_name.lock() = Some(name.to_owned());
    }
}

fn parse_version(version: &RawDocument) -> Result<(ObjectId, i64), Failure> {
    match (version.get("processId")?, version.get("counter")?) {
        (Some(RawBsonRef::ObjectId(process)), Some(counter)) => {
            let counter = values::integer("topologyVersion.counter", counter)?;
            if counter < 0 {
                return Err(Failure::new(
                    Code::Location(31372),
                    "topologyVersion.counter must not be negative",
                ));
            }
            Ok((process, counter))
        }
        _ => Err(Failure::bad_value(
            "topologyVersion needs processId, an ObjectId, and counter, a long",
        )),
    }
}

async fn wait_for_change(server: &Server, seen: i64, await_time: Duration) {
    let mut views = server.topology.subscribe();
    let changed = views.wait_for(|view| view.counter > seen);
    // Time being up is an answer too.
    let _ = tokio::time::timeout_at(Instant::now() + await_time, changed).await;
}

/// The compressors both sides know, in the client's order.
fn write_compression(body: &RawDocument, fields: &mut DocumentWriter) -> Result<(), Failure> {
    let Some(asked) = body.get("compression")? else {
        return Ok(());
    };
    fields.begin_array("compression");
    for name in values::array("compression", asked)? {
        let name = values::string("compression", name?)?;
        if compression::OFFERED.contains(&name) {
            fields.push_string(name);
        }
    }
    fields.end();
    Ok(())
}

fn write(
    server: &Server,
    view: &View,
    legacy: bool,
    connection_id: i64,
    fields: &mut DocumentWriter,
) {
    fields.bool("helloOk", true);
    fields.bool(
        if legacy {
            "ismaster"
        } else {
            "isWritablePrimary"
        },
        view.is_primary(),
    );
    server.topology.write_version(fields, view);
    write_membership(server, view, fields);
    fields.i32("maxBsonObjectSize", limits::DOCUMENT_BYTES_MAX as i32);
    fields.i32("maxMessageSizeBytes", limits::MESSAGE_BYTES_MAX as i32);
    fields.i32("maxWriteBatchSize", limits::WRITE_BATCH_MAX as i32);
    fields.date("localTime", wall_ms());
    fields.i32(
        "logicalSessionTimeoutMinutes",
        limits::SESSION_TIMEOUT_MINUTES,
    );
    fields.i32(
        "connectionId",
        i32::try_from(connection_id % i64::from(i32::MAX)).unwrap_or(1),
    );
    fields.i32("minWireVersion", limits::WIRE_VERSION_MIN);
    fields.i32("maxWireVersion", limits::WIRE_VERSION_MAX);
    fields.bool("readOnly", false);
}

fn write_membership(server: &Server, view: &View, fields: &mut DocumentWriter) {
    fields.bool("secondary", view.kind == Kind::Secondary);
    if view.kind == Kind::Outside {
        fields.bool("isreplicaset", true);
        fields.string("info", "this node has not been admitted to a cluster yet");
        return;
    }
    fields.string("setName", &server.settings.replica_set);
    fields.i32("setVersion", view.set_version);
    fields.begin_array("hosts");
    for host in &view.hosts {
        fields.push_string(host);
    }
    fields.end();
    if let Some(primary) = &view.primary {
        fields.string("primary", primary);
    }
    fields.string("me", &view.me);
    if view.is_primary() {
        fields.object_id("electionId", view.election_id());
    }
    if view.kind == Kind::Learner {
        fields.bool("passive", true);
        fields.bool("hidden", true);
    }
    write_last_write(server, view, fields);
}

fn write_last_write(server: &Server, view: &View, fields: &mut DocumentWriter) {
    let applied = server.node.reader().applied_index();
    let date = server.topology.last_write_ms(applied, wall_ms());
    fields.begin_document("lastWrite");
    for (time, day) in [
        ("opTime", "lastWriteDate"),
        ("majorityOpTime", "majorityWriteDate"),
    ] {
        fields.begin_document(time);
        fields.timestamp("ts", timestamp_of(applied));
        fields.i64("t", i64::try_from(view.term).unwrap_or(i64::MAX));
        fields.end();
        fields.date(day, date);
    }
    fields.end();
}
