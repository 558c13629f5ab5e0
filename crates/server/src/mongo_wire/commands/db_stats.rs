//! `dbStats`.

use state_machine::Snapshot;

use super::count::write_count;
use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::read_point;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    aliases: &["dbstats"],
    fields: Some(Fields {
        known: &["scale", "freeStorage"],
        refused: &[],
    }),
    access: Access::Read,
    ..Command::new("dbStats", "how much a database holds", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let scale = match request.field("scale")? {
            Some(scale) => values::count("scale", scale)?.max(1),
            None => 1,
        };
        let snapshot = read_point::snapshot(invocation).await?;
        let mut fields = DocumentWriter::new();
        write(&snapshot, request.database, scale, &mut fields);
        Ok(fields.into())
    })
}

fn write(snapshot: &Snapshot, database: &str, scale: u64, fields: &mut DocumentWriter) {
    let (mut collections, mut views, mut indexes, mut objects, mut bytes) = (0, 0, 0, 0, 0);
    for collection in snapshot.catalog().collections_of(database) {
        if collection.is_view() {
            views += 1;
            continue;
        }
        let counts = snapshot.counts(&collection.namespace).unwrap_or_default();
        collections += 1;
        indexes += collection.indexes.len() as u64;
        objects += counts.documents;
        bytes += counts.bytes;
    }
    let size = bytes / scale;
    fields.string("db", database);
    write_count(fields, "collections", collections);
    write_count(fields, "views", views);
    write_count(fields, "objects", objects);
    let average = bytes as f64 / objects.max(1) as f64;
    fields.double("avgObjSize", average);
    write_count(fields, "dataSize", size);
    write_count(fields, "storageSize", size);
    write_count(fields, "indexes", indexes);
    write_count(fields, "indexSize", 0);
    write_count(fields, "totalSize", size);
    write_count(fields, "scaleFactor", scale);
}
