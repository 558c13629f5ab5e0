//! `dbStats`.

use state_machine::Snapshot;

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
            Some(scale) => values::integer("scale", scale)?.max(1),
            None => 1,
        };
        let snapshot = read_point::snapshot(invocation).await?;
        let mut fields = DocumentWriter::new();
        write(&snapshot, request.database, scale, &mut fields);
        Ok(fields.into())
    })
}

fn write(snapshot: &Snapshot, database: &str, scale: i64, fields: &mut DocumentWriter) {
    let (mut collections, mut indexes, mut objects, mut bytes) = (0i64, 0i64, 0u64, 0u64);
    for collection in snapshot.catalog().collections_of(database) {
        let counts = snapshot.counts(&collection.namespace).unwrap_or_default();
        collections += 1;
        indexes += collection.indexes.len() as i64;
        objects += counts.documents;
        bytes += counts.bytes;
    }
    let size = bytes as i64 / scale;
    fields.string("db", database);
    fields.i64("collections", collections);
    fields.i64("views", 0);
    fields.i64("objects", objects as i64);
    fields.double(
        "avgObjSize",
        if objects == 0 {
            0.0
        } else {
            bytes as f64 / objects as f64
        },
    );
    fields.i64("dataSize", size);
    fields.i64("storageSize", size);
    fields.i64("indexes", indexes);
    fields.i64("indexSize", 0);
    fields.i64("totalSize", size);
    fields.i64("scaleFactor", scale);
}
