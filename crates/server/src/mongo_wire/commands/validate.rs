//! `validate`: whether a collection's indexes say what its documents say. Reads the whole collection.

use state_machine::{CommandError, Namespace};

use super::count::write_count;
use super::{Access, Command, Running};
use crate::mongo_wire::batches::long;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::read_point;
use crate::mongo_wire::request::Fields;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        // Reads never hold up writes here, and all there is to check is always checked.
        known: &["full", "background", "scandata"],
        refused: &[
            "repair",
            "metadata",
            "checkBSONConformance",
            "enforceFastCount",
        ],
    }),
    access: Access::Read,
    ..Command::new("validate", "whether indexes and documents agree", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let namespace = Namespace::new(request.database, request.collection()?);
        let snapshot = read_point::snapshot(invocation).await?;
        let Some(found) = long(true, || snapshot.verify_indexes(&namespace))? else {
            return Err(CommandError::NamespaceNotFound { namespace }.into());
        };
        let indexes = snapshot
            .collection(&namespace)
            .map_or(0, |collection| collection.indexes.len());
        let mut fields = DocumentWriter::new();
        fields.string("ns", &namespace.to_string());
        write_count(&mut fields, "nInvalidDocuments", found.misfiled);
        write_count(&mut fields, "nrecords", found.documents);
        write_count(&mut fields, "nIndexes", indexes as u64);
        fields.bool("valid", found.is_sound());
        fields.begin_array("errors");
        for error in found.errors() {
            fields.push_string(&error);
        }
        fields.end();
        fields.begin_array("warnings");
        fields.end();
        Ok(fields.into())
    })
}
