//! `listDatabases`.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;
use document::filter::Filter;
use state_machine::Snapshot;

use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::read_point;
use crate::mongo_wire::request::Fields;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["filter", "nameOnly", "authorizedDatabases"],
        refused: &[],
    }),
    access: Access::Read,
    admin_only: true,
    in_api_1: true,
    ..Command::new("listDatabases", "the databases", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let filter = request.document("filter")?.map(Filter::parse).transpose()?;
        let name_only = request.boolean("nameOnly")?;
        let snapshot = read_point::snapshot(invocation).await?;
        let mut fields = DocumentWriter::new();
        fields.begin_array("databases");
        let mut total = 0;
        for (name, bytes) in sizes(&snapshot) {
            let row = row(name, bytes, name_only)?;
            if filter.as_ref().is_none_or(|filter| filter.matches(&row)) {
                fields.push_document(&row);
                total += bytes;
            }
        }
        fields.end();
        if !name_only {
            fields.i64("totalSize", total);
            fields.i64("totalSizeMb", total >> 20);
        }
        Ok(fields.into())
    })
}

fn sizes(snapshot: &Snapshot) -> BTreeMap<&str, i64> {
    let mut sizes = BTreeMap::new();
    for collection in snapshot.catalog().collections() {
        let bytes = snapshot
            .counts(&collection.namespace)
            .map_or(0, |counts| counts.bytes);
        *sizes
            .entry(collection.namespace.database.as_str())
            .or_default() += i64::try_from(bytes).unwrap_or(i64::MAX);
    }
    sizes
}

fn row(name: &str, bytes: i64, name_only: bool) -> Result<RawDocumentBuf, Failure> {
    let mut row = DocumentWriter::new();
    row.string("name", name);
    if !name_only {
        row.i64("sizeOnDisk", bytes);
        row.bool("empty", false);
    }
    Ok(RawDocumentBuf::from_bytes(row.finish())?)
}
