//! The metrics, in Prometheus's text format.

use std::fmt::Write;

use super::storage_metrics;
use crate::mongo_wire::{Counters, Server, space_report};

/// All metrics of this process. Lists its directory: not to be called where nothing may wait.
pub(super) fn render(server: &Server) -> String {
    let mut text = String::new();
    let counters = &server.counters;
    for (name, help, value) in [
        (
            "cstore_requests_total",
            "Messages from clients.",
            &counters.requests,
        ),
        (
            "cstore_failures_total",
            "Commands answered with an error.",
            &counters.failures,
        ),
        (
            "cstore_protocol_errors_total",
            "Connections closed because of bytes that are not the protocol.",
            &counters.protocol_errors,
        ),
        (
            "cstore_received_bytes_total",
            "Bytes of messages from clients.",
            &counters.bytes_in,
        ),
        (
            "cstore_sent_bytes_total",
            "Bytes of replies to clients.",
            &counters.bytes_out,
        ),
        (
            "cstore_connections_created_total",
            "Client connections accepted.",
            &counters.connections_created,
        ),
        (
            "cstore_connections_refused_total",
            "Client connections over the limit.",
            &counters.connections_refused,
        ),
        (
            "cstore_expired_documents_total",
            "Documents this member, leading, deleted because their time had passed.",
            &server.expiry.deleted,
        ),
        (
            "cstore_expiry_passes_total",
            "Looks for expired documents.",
            &server.expiry.passes,
        ),
    ] {
        metric(&mut text, name, help, "counter", Counters::read(value));
    }
    commands(&mut text, counters);
    let view = server.topology.view();
    let indices = server.node.indices();
    for (name, help, value) in [
        (
            "cstore_connections",
            "Client connections open.",
            server.connections_open() as u64,
        ),
        (
            "cstore_cursors",
            "Cursors open.",
            server.cursors.count() as u64,
        ),
        (
            "cstore_is_primary",
            "1 on the member that takes writes.",
            u64::from(view.is_primary()),
        ),
        (
            "cstore_disk_full",
            "1 while this member's disk has no room for more.",
            u64::from(server.node.status().disk_full.is_some()),
        ),
        ("cstore_term", "The member's term.", view.term),
        (
            "cstore_members_voting",
            "Voters in the membership.",
            view.hosts.len() as u64,
        ),
        ("cstore_last_index", "Last entry in the log.", indices.last),
        (
            "cstore_commit_index",
            "Last entry known to be committed.",
            indices.commit,
        ),
        (
            "cstore_applied_index",
            "Last entry applied.",
            indices.applied,
        ),
        (
            "cstore_durable_index",
            "Last entry on this member's disk.",
            indices.durable,
        ),
        (
            "cstore_uptime_seconds",
            "Time since the start.",
            server.started.elapsed().as_secs(),
        ),
    ] {
        metric(&mut text, name, help, "gauge", value);
    }
    metric(
        &mut text,
        "cstore_topology_changes_total",
        "Changes of role, leader or members that clients were told of.",
        "counter",
        server.topology.changes(),
    );
    metric(
        &mut text,
        "cstore_elections_won_total",
        "Elections that this member won.",
        "counter",
        server.elections.won(),
    );
    if let Some(won) = server.elections.last() {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "# HELP cstore_election_seconds From asking for votes to the first commit, the last time this member was elected.\n\
             # TYPE cstore_election_seconds gauge\ncstore_election_seconds {}\n",
            won.writable.as_secs_f64()
        );
    }
    archive(&mut text, server, indices.applied);
    for number in space_report::files(server) {
        let name = format!("cstore_{}", number.name);
        metric(&mut text, &name, number.help, "gauge", number.value);
    }
    peers(&mut text, server);
    storage_metrics::render(&mut text, server);
    text
}

/// The archive, where one is kept.
fn archive(text: &mut String, server: &Server, applied: u64) {
    let Some(archive) = server.node.archive() else {
        return;
    };
    for (name, help, value) in [
        (
            "cstore_archive_index",
            "Last entry in the archive of this member.",
            archive.archived_index,
        ),
        (
            "cstore_archive_lag_entries",
            "Entries applied and not archived yet.",
            applied.saturating_sub(archive.archived_index),
        ),
        (
            "cstore_archive_failing",
            "1 while the archive cannot be written.",
            u64::from(archive.failing.is_some()),
        ),
        (
            "cstore_archive_gap",
            "1 after entries left the log before they were archived.",
            u64::from(archive.gap.is_some()),
        ),
    ] {
        metric(text, name, help, "gauge", value);
    }
}

/// The other members, as seen from here.
fn peers(text: &mut String, server: &Server) {
    let health = server.node.peer_health();
    let mut family = |name: &str, help: &str, kind: &str, value: &dyn Fn(usize) -> Option<f64>| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (at, id) in health.keys().enumerate() {
            if let Some(value) = value(at) {
                let _ = writeln!(text, "{name}{{peer=\"{}\"}} {value}", id.0);
            }
        }
    };
    let all: Vec<_> = health.values().collect();
    family(
        "cstore_peer_connected",
        "1 while the connections to the member stand.",
        "gauge",
        &|at| Some(f64::from(u8::from(all[at].connected))),
    );
    family(
        "cstore_peer_round_trip_seconds",
        "How long the member took to answer the last ping.",
        "gauge",
        &|at| all[at].round_trip.map(|time| time.as_secs_f64()),
    );
    family(
        "cstore_peer_silence_seconds",
        "Time since the member was last heard from; pings go once a second.",
        "gauge",
        &|at| all[at].last_heard.map(|at| at.elapsed().as_secs_f64()),
    );
    family(
        "cstore_peer_sent_bytes_total",
        "Bytes of messages to the member, snapshots aside.",
        "counter",
        &|at| Some(all[at].bytes_sent as f64),
    );
    family(
        "cstore_peer_messages_dropped_total",
        "Messages to the member that found its queue full or its connection broken.",
        "counter",
        &|at| Some(all[at].messages_dropped as f64),
    );
}

pub(super) fn metric(text: &mut String, name: &str, help: &str, kind: &str, value: u64) {
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
    );
}

fn commands(text: &mut String, counters: &Counters) {
    let name = "cstore_commands_total";
    let _ = write!(
        text,
        "# HELP {name} Commands by kind.\n# TYPE {name} counter\n"
    );
    for (kind, counter) in [
        ("insert", &counters.inserts),
        ("query", &counters.queries),
        ("update", &counters.updates),
        ("delete", &counters.deletes),
        ("getmore", &counters.get_mores),
        ("command", &counters.commands),
    ] {
        let _ = writeln!(
            text,
            "{name}{{kind=\"{kind}\"}} {}",
            Counters::read(counter)
        );
    }
}
