//! `connectionStatus`: nobody is authenticated.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::request::Fields;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["showPrivileges"],
        refused: &[],
    }),
    in_api_1: true,
    ..Command::new(
        "connectionStatus",
        "who is authenticated on this connection",
        run,
    )
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let mut fields = DocumentWriter::new();
        fields.begin_document("authInfo");
        let mut lists = vec!["authenticatedUsers", "authenticatedUserRoles"];
        if invocation.request.boolean("showPrivileges")? {
            lists.push("authenticatedUserPrivileges");
        }
        for name in lists {
            fields.begin_array(name);
            fields.end();
        }
        fields.end();
        Ok(fields.into())
    })
}
