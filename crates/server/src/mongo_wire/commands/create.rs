//! `create`.

use bson::RawDocumentBuf;
use bson::raw::{CStr, cstr};
use state_machine::{Command as Replicated, Namespace, OWN_OPTIONS, Reply};

use super::{Access, Command, Running, collection_options};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::write_path;

use super::find::collation;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[
            "autoIndexId",
            "idIndex",
            "collation",
            "flags",
            "validator",
            "validationLevel",
            "validationAction",
            "viewOn",
            "pipeline",
            OWN_OPTIONS,
        ],
        refused: &[
            "capped",
            "size",
            "max",
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
        let mut options =
            collection_options::read(request, &invocation.server.node.reader().snapshot())?;
        if let Some(Some(collation)) = collation(request)? {
            options.append(cstr!("collation"), collation.document());
        }
        if options.get("validator")?.is_some() {
            add_default(&mut options, cstr!("validationLevel"), "strict")?;
            add_default(&mut options, cstr!("validationAction"), "error")?;
        }
        let command = Replicated::CreateCollection {
            namespace: Namespace::new(request.database, request.collection()?),
            options,
        };
        match write_path::propose(invocation.server, &command).await? {
            Reply::Catalog(_) => Ok(DocumentWriter::new().into()),
            Reply::Failed(error) => Err(error.into()),
            other => Err(write_path::unexpected(&other)),
        }
    })
}

fn add_default(options: &mut RawDocumentBuf, name: &CStr, value: &str) -> Result<(), Failure> {
    if options.get(name)?.is_none() {
        options.append(name, value);
    }
    Ok(())
}
