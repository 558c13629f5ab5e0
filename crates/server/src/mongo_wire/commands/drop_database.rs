//! `dropDatabase`.

use state_machine::{CatalogReply, Command as Replicated, Reply};

use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::write_path;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[],
        refused: &[],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new("dropDatabase", "remove a database", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let database = invocation.request.database;
        let command = Replicated::DropDatabase {
            database: database.to_owned(),
        };
        match write_path::propose(invocation.server, &command).await? {
            Reply::Catalog(CatalogReply::DatabaseDropped { collections }) => {
                let mut fields = DocumentWriter::new();
                if collections > 0 {
                    fields.string("dropped", database);
                }
                Ok(fields.into())
            }
            Reply::Failed(error) => Err(error.into()),
            other => Err(write_path::unexpected(&other)),
        }
    })
}
