//! `killCursors`.

use super::{Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["cursors"],
        refused: &[],
    }),
    in_api_1: true,
    ..Command::new("killCursors", "close cursors", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let listed = request
            .field("cursors")?
            .ok_or_else(|| request.missing("cursors"))?;
        let (mut killed, mut not_found) = (Vec::new(), Vec::new());
        for id in values::array("cursors", listed)? {
            let id = values::integer("cursors", id?)?;
            if invocation.server.cursors.close(id) {
                killed.push(id);
            } else {
                not_found.push(id);
            }
        }
        let mut fields = DocumentWriter::new();
        let empty = Vec::new();
        for (name, ids) in [
            ("cursorsKilled", &killed),
            ("cursorsNotFound", &not_found),
            ("cursorsAlive", &empty),
            ("cursorsUnknown", &empty),
        ] {
            fields.begin_array(name);
            for id in ids {
                fields.push_i64(*id);
            }
            fields.end();
        }
        Ok(fields.into())
    })
}
