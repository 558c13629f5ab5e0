//! `drop`.

use state_machine::{CatalogReply, Command as Replicated, CommandError, Namespace, Reply};

use super::count::write_count;
use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::write_path;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[],
        refused: &["collectionUUID"],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new("drop", "remove a collection", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let namespace = Namespace::new(request.database, request.collection()?);
        let name = namespace.to_string();
        let command = Replicated::DropCollection { namespace };
        match write_path::propose(invocation.server, &command).await? {
            Reply::Catalog(CatalogReply::Dropped { indexes }) => {
                let mut fields = DocumentWriter::new();
                write_count(&mut fields, "nIndexesWas", u64::from(indexes));
                fields.string("ns", &name);
                Ok(fields.into())
            }
            // As in MongoDB 7: what is not there is dropped already.
            Reply::Failed(CommandError::NamespaceNotFound { .. }) => {
                Ok(DocumentWriter::new().into())
            }
            Reply::Failed(error) => Err(error.into()),
            other => Err(write_path::unexpected(&other)),
        }
    })
}
