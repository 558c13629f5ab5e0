//! `serverStatus`.

use node::REPLICATION_MICROS_BOUNDS;

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::server::{Counters, Server, wall_ms};
use crate::mongo_wire::topology::Kind;

pub(super) static COMMAND: Command = Command::new("serverStatus", "counters of this process", run);

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let uptime = server.started.elapsed();
        let mut fields = DocumentWriter::new();
        fields.string("host", &server.settings.advertise);
        fields.string("version", &super::build_info::version());
        fields.string("process", "cstore");
        fields.i64("pid", i64::from(std::process::id()));
        fields.double("uptime", uptime.as_secs_f64().floor());
        fields.i64(
            "uptimeMillis",
            i64::try_from(uptime.as_millis()).unwrap_or(i64::MAX),
        );
        fields.date("localTime", wall_ms());
        write_connections(server, &mut fields);
        write_counters(server, &mut fields);
        write_replication(server, &mut fields);
        fields.begin_document("storageEngine");
        fields.string("name", "cstore");
        fields.bool("supportsCommittedReads", true);
        fields.bool("persistent", true);
        fields.end();
        Ok(fields.into())
    })
}

fn read(counter: &std::sync::atomic::AtomicU64) -> i64 {
    i64::try_from(Counters::read(counter)).unwrap_or(i64::MAX)
}

fn write_connections(server: &Server, fields: &mut DocumentWriter) {
    let open = server.connections_open();
    fields.begin_document("connections");
    fields.i64("current", open as i64);
    fields.i64(
        "available",
        server.settings.connections_max.saturating_sub(open) as i64,
    );
    fields.i64("totalCreated", read(&server.counters.connections_created));
    fields.i64("rejected", read(&server.counters.connections_refused));
    fields.end();
    fields.begin_document("network");
    fields.i64("bytesIn", read(&server.counters.bytes_in));
    fields.i64("bytesOut", read(&server.counters.bytes_out));
    fields.i64("numRequests", read(&server.counters.requests));
    fields.end();
}

fn write_counters(server: &Server, fields: &mut DocumentWriter) {
    let counters = &server.counters;
    fields.begin_document("opcounters");
    for (name, counter) in [
        ("insert", &counters.inserts),
        ("query", &counters.queries),
        ("update", &counters.updates),
        ("delete", &counters.deletes),
        ("getmore", &counters.get_mores),
        ("command", &counters.commands),
    ] {
        fields.i64(name, read(counter));
    }
    fields.end();
    fields.begin_document("metrics");
    fields.begin_document("cursor");
    fields.i64(
        "timedOut",
        i64::try_from(server.cursors.timed_out()).unwrap_or(i64::MAX),
    );
    fields.begin_document("open");
    fields.i64("total", server.cursors.count() as i64);
    fields.end();
    fields.end();
    fields.begin_document("ttl");
    fields.i64("deletedDocuments", read(&server.expiry.deleted));
    fields.i64("passes", read(&server.expiry.passes));
    fields.i64("subPasses", read(&server.expiry.rounds));
    fields.end();
    fields.end();
}

fn write_replication(server: &Server, fields: &mut DocumentWriter) {
    let view = server.topology.view();
    fields.begin_document("repl");
    fields.string("setName", &server.settings.replica_set);
    fields.bool("isWritablePrimary", view.is_primary());
    fields.bool("secondary", view.kind == Kind::Secondary);
    fields.begin_array("hosts");
    for host in &view.hosts {
        fields.push_string(host);
    }
    fields.end();
    if let Some(primary) = &view.primary {
        fields.string("primary", primary);
    }
    fields.string("me", &view.me);
    let replication = server.node.metrics().replication;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    fields.begin_document("commitLatency");
    fields.i64("totalMicros", number(replication.total_micros));
    fields.begin_array("classes");
    for (class, entries) in replication.entries.iter().enumerate() {
        fields.push_begin_document();
        if let Some(micros) = REPLICATION_MICROS_BOUNDS.get(class) {
            fields.i64("atMostMicros", number(*micros));
        }
        fields.i64("entries", number(*entries));
        fields.end();
    }
    fields.end();
    fields.end();
    fields.end();
}
