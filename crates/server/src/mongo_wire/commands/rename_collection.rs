//! `renameCollection`.

use state_machine::{Command as Replicated, Namespace, Reply};

use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::{values, write_path};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["to", "dropTarget"],
        refused: &["collectionUUID"],
    }),
    access: Access::Write,
    admin_only: true,
    ..Command::new("renameCollection", "another name for a collection", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let to = request.string("to")?.ok_or_else(|| request.missing("to"))?;
        let command = Replicated::RenameCollection {
            from: namespace(values::string("renameCollection", request.target)?)?,
            to: namespace(to)?,
            drop_target: request.boolean("dropTarget")?,
        };
        match write_path::propose(invocation.server, &command).await? {
            Reply::Catalog(_) => Ok(DocumentWriter::new().into()),
            Reply::Failed(error) => Err(error.into()),
            other => Err(write_path::unexpected(&other)),
        }
    })
}

fn namespace(name: &str) -> Result<Namespace, Failure> {
    match name.split_once('.') {
        Some((database, collection)) if !database.is_empty() && !collection.is_empty() => {
            Ok(Namespace::new(database, collection))
        }
        _ => Err(Failure::new(
            Code::InvalidNamespace,
            format!("Invalid namespace specified '{name}'"),
        )),
    }
}
