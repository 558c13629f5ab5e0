//! `cstoreStatus`: the cluster as `cstore status` shows it (DESIGN §9). Any member answers, asking the others.

use node::hex;

use super::{Command, Running};
use crate::mongo_wire::cluster_status;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;

pub(super) static COMMAND: Command = Command::new(
    "cstoreStatus",
    "the members, their roles and positions",
    run,
);

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let reports = cluster_status::collect(server).await;
        let status = server.node.status();
        let mut fields = DocumentWriter::new();
        fields.string("cluster_id", &hex(&status.cluster_id));
        fields.i64("term", status.term.0 as i64);
        match status.leader {
            Some(leader) => fields.i64("leader", leader.0 as i64),
            None => fields.null("leader"),
        }
        fields.bool("joint", status.membership.outgoing.is_some());
        fields.i64("feature_level", i64::from(status.feature_level()));
        let newest = reports
            .iter()
            .map(|report| report.last_index)
            .max()
            .unwrap_or(0);
        fields.begin_array("members");
        for report in &reports {
            fields.push_begin_document();
            report.write_to(&mut fields);
            fields.bool("reachable", report.reachable);
            if report.reachable {
                fields.i64(
                    "lag_entries",
                    (newest - report.applied_index.min(newest)) as i64,
                );
            } else {
                fields.null("lag_entries");
            }
            if let Some(error) = &report.error {
                fields.string("error", error);
            }
            fields.end();
        }
        fields.end();
        Ok(fields.into())
    })
}
