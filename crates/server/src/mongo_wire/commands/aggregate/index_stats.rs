//! `$indexStats`: how often this member used each index of a collection.

use bson::RawDocumentBuf;
use bson::raw::RawBsonRef;
use state_machine::{IndexEntry, Namespace};

use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::read_point;
use crate::mongo_wire::server::wall_ms;

/// A row for each index, those that are being built too; none for a collection that does not exist.
pub(super) async fn rows(
    invocation: &Invocation<'_>,
    options: RawBsonRef<'_>,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    match options {
        RawBsonRef::Document(options) if options.is_empty() => {}
        _ => {
            return Err(Failure::new(
                Code::Location(28803),
                "The $indexStats stage specification must be an empty object",
            ));
        }
    }
    let request = &invocation.request;
    let RawBsonRef::String(_) = request.target else {
        return Err(Failure::new(
            Code::InvalidNamespace,
            "{aggregate: 1} is not valid for '$indexStats'; a collection is required.",
        ));
    };
    let namespace = Namespace::new(request.database, request.collection()?);
    let snapshot = read_point::snapshot(invocation).await?;
    if snapshot.is_view(&namespace) {
        // The stages of a view come before those of the question.
        return Err(super::sources::not_first("$indexStats"));
    }
    let Some(collection) = snapshot.collection(&namespace) else {
        return Ok(Vec::new());
    };
    let host = &invocation.server.settings.advertise;
    let rows = collection.indexes.iter().map(|index| row(index, host));
    rows.collect()
}

fn row(index: &IndexEntry, host: &str) -> Result<RawDocumentBuf, Failure> {
    let operations = i64::try_from(index.usage.operations()).unwrap_or(i64::MAX);
    let mut row = DocumentWriter::new();
    row.string("name", &index.name);
    row.document("key", &index.key);
    row.string("host", host);
    row.begin_document("accesses");
    row.i64("ops", operations);
    row.date("since", index.usage.since_ms(wall_ms()));
    row.end();
    row.document("spec", &index.spec);
    if !index.is_ready() {
        row.bool("building", true);
    }
    Ok(RawDocumentBuf::from_bytes(row.finish())?)
}
