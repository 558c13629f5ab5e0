//! `replSetGetConfig`: the membership in the shape of a replica-set configuration.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;

pub(super) static COMMAND: Command = Command {
    admin_only: true,
    ..Command::new("replSetGetConfig", "the members", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let status = server.node.status();
        let mut fields = DocumentWriter::new();
        fields.begin_document("config");
        fields.string("_id", &server.settings.replica_set);
        fields.i32("version", server.topology.view().set_version);
        fields.i64("term", i64::try_from(status.term.0).unwrap_or(i64::MAX));
        fields.begin_array("members");
        for id in status.membership.members.keys() {
            let Some(member) = status.member(*id) else {
                continue;
            };
            let voter = status.membership.voters.contains(id);
            fields.push_begin_document();
            fields.i32("_id", i32::try_from(id.0).unwrap_or(i32::MAX));
            fields.string("host", &member.addresses.client);
            fields.bool("arbiterOnly", false);
            fields.bool("buildIndexes", true);
            fields.bool("hidden", !voter);
            let priority = status.membership.members[id].priority;
            fields.double("priority", if voter { f64::from(priority) } else { 0.0 });
            fields.begin_document("tags");
            fields.end();
            fields.i64("secondaryDelaySecs", 0);
            fields.i32("votes", i32::from(voter));
            fields.end();
        }
        fields.end();
        fields.i64("protocolVersion", 1);
        fields.bool("writeConcernMajorityJournalDefault", true);
        fields.begin_document("settings");
        fields.i64(
            "electionTimeoutMillis",
            server.settings.election_timeout_ms as i64,
        );
        fields.i64(
            "heartbeatIntervalMillis",
            server.settings.heartbeat_ms as i64,
        );
        fields.end();
        fields.end();
        Ok(fields.into())
    })
}
