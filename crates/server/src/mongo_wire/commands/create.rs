//! `create`.

use bson::RawDocumentBuf;
use state_machine::{Command as Replicated, Namespace, Reply};

use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::write_path;

use super::find::require_simple_collation;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[
            "autoIndexId",
            "idIndex",
            "collation",
            "flags",
            "validationLevel",
            "validationAction",
        ],
        refused: &[
            "capped",
            "size",
            "max",
            "validator",
            "viewOn",
            "pipeline",
            "timeseries",
            "clusteredIndex",
            "expireAfterSeconds",
            "changeStreamPreAndPostImages",
            "storageEngine",
            "indexOptionDefaults",
            "encryptedFields",
            "temp",
        ],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new("create", "a new collection", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        require_simple_collation(request)?;
        let command = Replicated::CreateCollection {
            namespace: Namespace::new(request.database, request.collection()?),
            options: RawDocumentBuf::new(),
        };
        match write_path::propose(invocation.server, &command).await? {
            Reply::Catalog(_) => Ok(DocumentWriter::new().into()),
            Reply::Failed(error) => Err(error.into()),
            other => Err(write_path::unexpected(&other)),
        }
    })
}
