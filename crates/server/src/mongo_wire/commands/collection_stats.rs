//! `collStats` and the stage `$collStats`: what is counted as documents come and go. Index sizes are not counted.

use bson::RawDocumentBuf;
use bson::raw::{RawBsonRef, RawDocument};
use state_machine::{CommandError, Namespace, Snapshot};

use super::count::write_count;
use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::{Fields, unknown_field};
use crate::mongo_wire::server::wall_ms;
use crate::mongo_wire::{read_point, values};

pub(super) static COMMAND: Command = Command {
    aliases: &["collstats"],
    fields: Some(Fields {
        known: &["scale"],
        refused: &[],
    }),
    access: Access::Read,
    ..Command::new("collStats", "how much a collection holds", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let scale = scale(request.field("scale")?)?;
        let namespace = Namespace::new(request.database, request.collection()?);
        let snapshot = read_point::snapshot(invocation).await?;
        if snapshot.is_view(&namespace) {
            return Err(CommandError::NotOnView { namespace }.into());
        }
        let mut fields = DocumentWriter::new();
        fields.string("ns", &namespace.to_string());
        write_storage(&snapshot, &namespace, scale, &mut fields);
        Ok(fields.into())
    })
}

fn scale(value: Option<RawBsonRef<'_>>) -> Result<u64, Failure> {
    Ok(match value {
        Some(scale) => values::count("scale", scale)?.max(1),
        None => 1,
    })
}

/// The stage's one document.
pub(super) async fn row(
    invocation: &Invocation<'_>,
    options: &RawDocument,
) -> Result<RawDocumentBuf, Failure> {
    let request = &invocation.request;
    let namespace = Namespace::new(request.database, request.collection()?);
    let snapshot = read_point::snapshot(invocation).await?;
    if snapshot.collection(&namespace).is_none() {
        return Err(CommandError::NamespaceNotFound { namespace }.into());
    }
    if snapshot.is_view(&namespace) {
        return Err(CommandError::NotOnView { namespace }.into());
    }
    let mut fields = DocumentWriter::new();
    fields.string("ns", &namespace.to_string());
    fields.string("host", &invocation.server.settings.advertise);
    fields.date("localTime", wall_ms());
    for element in options {
        let (option, value) = element?;
        match option.as_str() {
            "storageStats" => {
                let scale = scale(values::document("storageStats", value)?.get("scale")?)?;
                fields.begin_document("storageStats");
                write_storage(&snapshot, &namespace, scale, &mut fields);
                fields.end();
            }
            "count" => {
                let counts = snapshot.counts(&namespace).unwrap_or_default();
                write_count(&mut fields, "count", counts.documents);
            }
            "latencyStats" | "queryExecStats" => {
                return Err(Failure::not_supported(format!(
                    "option '{option}' of $collStats"
                )));
            }
            other => return Err(unknown_field("$collStats", other)),
        }
    }
    Ok(RawDocumentBuf::from_bytes(fields.finish())?)
}

fn write_storage(
    snapshot: &Snapshot,
    namespace: &Namespace,
    scale: u64,
    fields: &mut DocumentWriter,
) {
    let counts = snapshot.counts(namespace).unwrap_or_default();
    let size = counts.bytes / scale;
    write_count(fields, "size", size);
    write_count(fields, "count", counts.documents);
    if let Some(average) = counts.bytes.checked_div(counts.documents) {
        write_count(fields, "avgObjSize", average);
    }
    write_count(fields, "storageSize", size);
    fields.bool("capped", false);
    let indexes = snapshot
        .collection(namespace)
        .map(|collection| &collection.indexes[..])
        .unwrap_or_default();
    write_count(fields, "nindexes", indexes.len() as u64);
    fields.begin_document("indexSizes");
    for index in indexes {
        write_count(fields, &index.name, 0);
    }
    fields.end();
    write_count(fields, "totalIndexSize", 0);
    write_count(fields, "totalSize", size);
    write_count(fields, "scaleFactor", scale);
}
