//! Write concerns beyond what every acknowledged write has: on disk on a majority and applied here.
//!
//! `w: n` beyond the majority is met once n members have applied the write, so that reads there see it. A number that no membership can
//! meet, or an unknown tag, is a `writeConcernError`: the write itself stands.

use std::sync::Arc;
use std::time::Duration;

use bson::RawDocumentBuf;
use tokio::time::{Instant, sleep_until};

use super::cluster_status;
use super::dispatch::Invocation;
use super::document_writer::DocumentWriter;
use super::failure::Code;
use super::request::Acknowledgement;
use super::server::Server;

/// How often the members' progress is looked at while waiting for more than a majority.
const PROGRESS_PERIOD: Duration = Duration::from_millis(20);

/// The `writeConcernError` of a reply.
#[derive(Debug, Clone)]
pub(crate) struct WriteConcernError {
    pub code: Code,
    pub message: String,
    /// From a fail point: the reply's labels in place of the computed ones.
    pub labels: Option<Vec<String>>,
    /// From a fail point: what to show, as it was given.
    pub injected: Option<RawDocumentBuf>,
}

impl WriteConcernError {
    fn new(code: Code, message: impl Into<String>) -> Self {
        WriteConcernError {
            code,
            message: message.into(),
            labels: None,
            injected: None,
        }
    }

    /// Appends the field.
    pub(crate) fn write_to(&self, fields: &mut DocumentWriter) {
        if let Some(injected) = &self.injected {
            fields.document("writeConcernError", injected);
            return;
        }
        fields.begin_document("writeConcernError");
        fields.i32("code", self.code.number());
        fields.string("codeName", &self.code.name());
        fields.string("errmsg", &self.message);
        fields.end();
    }
}

/// Waits until the request's write concern is met; the error if it cannot be or its time is up.
pub(crate) async fn unmet(invocation: &Invocation<'_>) -> Option<WriteConcernError> {
    let concern = &invocation.request.options.write_concern;
    let wanted = match &concern.w {
        Acknowledgement::Majority | Acknowledgement::Members(0 | 1) => return None,
        Acknowledgement::Tagged(name) => {
            return Some(WriteConcernError::new(
                Code::UnknownReplWriteConcern,
                format!("No write concern mode named '{name}' found in replica set configuration"),
            ));
        }
        Acknowledgement::Members(members) => usize::try_from(*members).unwrap_or(usize::MAX),
    };
    let server = invocation.server;
    let members = server.node.status().membership.members.len();
    if wanted > members {
        return Some(WriteConcernError::new(
            Code::UnsatisfiableWriteConcern,
            "Not enough data-bearing nodes",
        ));
    }
    let index = server.node.reader().applied_index();
    let deadline = concern
        .timeout_ms
        .map(|ms| Instant::now() + Duration::from_millis(ms));
    while replicated(server, index).await < wanted {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Some(WriteConcernError::new(
                Code::WriteConcernTimeout,
                "waiting for replication timed out",
            ));
        }
        if !server.topology.view().is_primary() {
            return Some(WriteConcernError::new(
                Code::PrimarySteppedDown,
                "this member lost its leadership while waiting for replication",
            ));
        }
        sleep_until(now + PROGRESS_PERIOD).await;
    }
    None
}

/// How many members have applied `index`. On disk alone would not do: who waits for all members means to read any of
/// them next.
async fn replicated(server: &Arc<Server>, index: u64) -> usize {
    let reports = cluster_status::collect(server).await;
    reports
        .iter()
        .filter(|report| report.reachable && report.applied_index >= index)
        .count()
}
