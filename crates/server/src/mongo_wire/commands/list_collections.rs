//! `listCollections`.

use bson::RawDocumentBuf;
use document::filter::Filter;
use state_machine::CollectionEntry;

use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::{batches, read_point};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["filter", "nameOnly", "authorizedCollections", "cursor"],
        refused: &[],
    }),
    access: Access::Read,
    in_api_1: true,
    ..Command::new("listCollections", "the collections of a database", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let filter = request.document("filter")?.map(Filter::parse).transpose()?;
        let name_only = request.boolean("nameOnly")?;
        let snapshot = read_point::snapshot(invocation).await?;
        let mut found = Vec::new();
        for collection in snapshot.catalog().collections_of(request.database) {
            let row = row(collection, name_only)?;
            if filter.as_ref().is_none_or(|filter| filter.matches(&row)) {
                found.push(row);
            }
        }
        batches::of_documents(invocation, "$cmd.listCollections", found)
    })
}

fn row(collection: &CollectionEntry, name_only: bool) -> Result<RawDocumentBuf, Failure> {
    let mut row = DocumentWriter::new();
    row.string("name", &collection.namespace.collection);
    let view = collection.is_view();
    row.string("type", if view { "view" } else { "collection" });
    if view && !name_only {
        row.document("options", &collection.options);
        row.begin_document("info");
        row.bool("readOnly", true);
        row.end();
    } else if !name_only {
        row.document("options", &collection.options);
        row.begin_document("info");
        row.bool("readOnly", false);
        row.uuid("uuid", &collection.uuid);
        row.end();
        if let Some(id) = collection.indexes.first() {
            row.document("idIndex", &id.spec);
        }
    }
    Ok(RawDocumentBuf::from_bytes(row.finish())?)
}
