//! `replSetStepDown`: hands leadership to the most caught-up voter.

use std::time::Duration;

use tokio::time::timeout;

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::Fields;

/// How long another member has to take over.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["secondaryCatchUpPeriodSecs", "force"],
        refused: &[],
    }),
    admin_only: true,
    ..Command::new("replSetStepDown", "hand leadership to another member", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let mut views = server.topology.subscribe();
        if !views.borrow_and_update().is_primary() {
            return Err(Failure::not_primary());
        }
        server.node.transfer_leadership();
        let stepped_down = views.wait_for(|view| !view.is_primary());
        match timeout(TRANSFER_TIMEOUT, stepped_down).await {
            Ok(_) => Ok(DocumentWriter::new().into()),
            Err(_) => Err(Failure::new(
                Code::ExceededTimeLimit,
                "No electable secondaries caught up: this member still leads",
            )),
        }
    })
}
