//! `cstoreHash {atIndex, verifyIndexes}`: the hash of every collection as of one log index, for comparing members.
//!
//! Answered by any member from what it has applied: `{index, collections: [{ns, hash, documents}]}`. Without `atIndex`
//! the applied index is taken. An index not applied yet is waited for; one too old to read is an error. With `verifyIndexes`
//! each collection has an array `errors`, which says where its indexes and documents disagree, and so has the whole, for
//! data that nothing leads to.

use node::hex;
use state_machine::Snapshot;

use super::{Command, Running};
use crate::mongo_wire::batches::long;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::read_point;
use crate::mongo_wire::request::Fields;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["atIndex", "verifyIndexes"],
        refused: &[],
    }),
    ..Command::new(
        "cstoreHash",
        "the hash of every collection at one log index",
        run,
    )
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let snapshot = match invocation.request.count("atIndex")? {
            None => server.node.reader().snapshot(),
            Some(index) => {
                read_point::wait_applied(server, index).await?;
                server.node.reader().snapshot_at(index)?.ok_or_else(|| {
                    Failure::new(
                        Code::SnapshotUnavailable,
                        format!("the state as of log index {index} is no longer kept here; ask for a newer one"),
                    )
                })?
            }
        };
        let verify = invocation.request.boolean("verifyIndexes")?;
        long(true, || hashes(&snapshot, verify)).map(Into::into)
    })
}

fn hashes(snapshot: &Snapshot, verify: bool) -> Result<DocumentWriter, Failure> {
    let mut fields = DocumentWriter::new();
    fields.i64("index", i64::try_from(snapshot.as_of()).unwrap_or(i64::MAX));
    fields.begin_array("collections");
    for collection in snapshot.catalog().collections() {
        let Some(hash) = snapshot.collection_hash(&collection.namespace)? else {
            continue;
        };
        fields.push_begin_document();
        fields.string("ns", &collection.namespace.to_string());
        fields.string("hash", &hex(&hash));
        let mut documents = 0;
        for entry in snapshot.scan(collection.id) {
            entry?;
            documents += 1;
        }
        fields.i64("documents", documents);
        if verify {
            let found = snapshot.verify_indexes(&collection.namespace)?;
            write_errors(&mut fields, &found.unwrap_or_default().errors());
        }
        fields.end();
    }
    fields.end();
    if verify {
        write_errors(&mut fields, &snapshot.stray_data()?);
    }
    Ok(fields)
}

fn write_errors(fields: &mut DocumentWriter, errors: &[String]) {
    fields.begin_array("errors");
    for error in errors {
        fields.push_string(error);
    }
    fields.end();
}
