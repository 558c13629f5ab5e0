//! `dbHash`: a hash per collection of one database.

use node::hex;
use state_machine::Snapshot;

use super::{Access, Command, Running};
use crate::mongo_wire::batches::long;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::read_point;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    aliases: &["dbhash"],
    fields: Some(Fields {
        known: &["collections"],
        refused: &[],
    }),
    access: Access::Read,
    ..Command::new("dbHash", "a hash of every collection of a database", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let mut chosen = Vec::new();
        if let Some(listed) = request.field("collections")? {
            for name in values::array("collections", listed)? {
                chosen.push(values::string("collections", name?)?);
            }
        }
        let snapshot = read_point::snapshot(invocation).await?;
        long(true, || hashes(&snapshot, request.database, &chosen)).map(Into::into)
    })
}

fn hashes(snapshot: &Snapshot, database: &str, chosen: &[&str]) -> Result<DocumentWriter, Failure> {
    let mut fields = DocumentWriter::new();
    fields.begin_document("collections");
    for collection in snapshot.catalog().collections_of(database) {
        let name = collection.namespace.collection.as_str();
        if !chosen.is_empty() && !chosen.contains(&name) {
            continue;
        }
        if let Some(hash) = snapshot.collection_hash(&collection.namespace)? {
            fields.string(name, &hex(&hash));
        }
    }
    fields.end();
    Ok(fields)
}
