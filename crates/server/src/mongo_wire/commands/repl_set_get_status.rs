//! `replSetGetStatus`: the members and how far each is, in the shape that shells show.

use std::time::Duration;

use super::{Command, Running};
use crate::mongo_wire::cluster_status::{self, MemberReport};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::elections::Won;
use crate::mongo_wire::server::{timestamp_of, wall_ms};

pub(super) static COMMAND: Command = Command {
    admin_only: true,
    ..Command::new("replSetGetStatus", "the members and how far each is", run)
};

/// MongoDB's member states.
fn state(report: &MemberReport) -> (i32, &'static str) {
    if !report.reachable {
        return (8, "(not reachable/healthy)");
    }
    match (report.role.as_str(), report.voter) {
        ("leader", _) => (1, "PRIMARY"),
        (_, true) => (2, "SECONDARY"),
        (_, false) => (5, "STARTUP2"),
    }
}

/// The last election that this member won.
fn write_election(fields: &mut DocumentWriter, won: &Won, timeout_ms: u64) {
    let after = |time: Duration| {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        won.began_ms.saturating_add(ms)
    };
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    fields.begin_document("electionCandidateMetrics");
    fields.date("lastElectionDate", won.began_ms);
    fields.i64("electionTerm", i64::try_from(won.term).unwrap_or(i64::MAX));
    fields.i64(
        "electionTimeoutMillis",
        i64::try_from(timeout_ms).unwrap_or(i64::MAX),
    );
    fields.date("newTermStartDate", after(won.elected));
    fields.date("wMajorityWriteAvailabilityDate", after(won.writable));
    // Dates count milliseconds, which is coarse here.
    fields.i64("electedMicros", micros(won.elected));
    fields.i64("writableMicros", micros(won.writable));
    fields.end();
}

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let reports = cluster_status::collect(server).await;
        let status = server.node.status();
        let term = i64::try_from(status.term.0).unwrap_or(i64::MAX);
        let mut fields = DocumentWriter::new();
        fields.string("set", &server.settings.replica_set);
        fields.date("date", wall_ms());
        let mine = reports.iter().find(|report| report.id == status.id.0);
        fields.i32("myState", mine.map_or(0, |report| state(report).0));
        fields.i64("term", term);
        fields.i64(
            "heartbeatIntervalMillis",
            server.settings.heartbeat_ms as i64,
        );
        fields.i32(
            "majorityVoteCount",
            (status.membership.voters.len() / 2 + 1) as i32,
        );
        fields.i32("votingMembersCount", status.membership.voters.len() as i32);
        if let Some(won) = server.elections.last() {
            write_election(&mut fields, &won, server.settings.election_timeout_ms);
        }
        fields.begin_array("members");
        for report in &reports {
            let (state, name) = state(report);
            fields.push_begin_document();
            fields.i32("_id", i32::try_from(report.id).unwrap_or(i32::MAX));
            fields.string("name", &report.listen);
            fields.double("health", f64::from(u8::from(report.reachable)));
            fields.i32("state", state);
            fields.string("stateStr", name);
            fields.i64("uptime", i64::try_from(report.uptime_s).unwrap_or(i64::MAX));
            fields.begin_document("optime");
            fields.timestamp("ts", timestamp_of(report.applied_index));
            fields.i64("t", term);
            fields.end();
            if report.id == status.id.0 {
                fields.bool("self", true);
            }
            fields.end();
        }
        fields.end();
        Ok(fields.into())
    })
}
