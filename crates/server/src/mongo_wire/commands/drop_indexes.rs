//! `dropIndexes`.

use bson::raw::RawBsonRef;
use state_machine::{CatalogReply, Command as Replicated, IndexSelection, Namespace, Reply};

use super::count::write_count;
use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::{values, write_path};

pub(super) static COMMAND: Command = Command {
    aliases: &["deleteIndexes"],
    fields: Some(Fields {
        known: &["index"],
        refused: &["collectionUUID"],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new("dropIndexes", "remove indexes", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let index = request
            .field("index")?
            .ok_or_else(|| request.missing("index"))?;
        let indexes = selection(index)?;
        let all = indexes == IndexSelection::All;
        let command = Replicated::DropIndexes {
            namespace: Namespace::new(request.database, request.collection()?),
            indexes,
        };
        match write_path::propose(invocation.server, &command).await? {
            Reply::Catalog(CatalogReply::IndexesDropped { indexes_before }) => {
                let mut fields = DocumentWriter::new();
                write_count(&mut fields, "nIndexesWas", u64::from(indexes_before));
                if all {
                    fields.string("msg", "non-_id indexes dropped for collection");
                }
                Ok(fields.into())
            }
            Reply::Failed(error) => Err(error.into()),
            other => Err(write_path::unexpected(&other)),
        }
    })
}

fn selection(index: RawBsonRef<'_>) -> Result<IndexSelection, Failure> {
    match index {
        RawBsonRef::String("*") => Ok(IndexSelection::All),
        RawBsonRef::String(name) => Ok(IndexSelection::Names(vec![name.to_owned()])),
        RawBsonRef::Document(key) => Ok(IndexSelection::Key(key.to_owned())),
        RawBsonRef::Array(names) => {
            let mut found = Vec::new();
            for name in names {
                found.push(values::string("index", name?)?.to_owned());
            }
            Ok(IndexSelection::Names(found))
        }
        other => Err(Failure::type_mismatch(format!(
            "BSON field 'dropIndexes.index' is the wrong type '{}', expected types '[string, object, array]'",
            values::type_name(other)
        ))),
    }
}
