//! `cstoreBackup`, `cstoreBackupNext`, `cstoreBackupEnd`: the state as of one log index in chunks, as many as the client asks
//! for at a time. Any member answers; what was acknowledged before the backup began is in it, wherever it is taken.

use node::hex;
use state_machine::{Export, Snapshot};

use super::{Command, Running};
use crate::mongo_wire::dispatch::{Answer, Invocation};
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::server::wall_ms;
use crate::mongo_wire::{read_point, values};

const NO_FIELDS: Option<Fields> = Some(Fields {
    known: &[],
    refused: &[],
});

pub(super) static BEGIN: Command = Command {
    fields: NO_FIELDS,
    admin_only: true,
    ..Command::new("cstoreBackup", "begins a backup of the whole state", begin)
};

pub(super) static NEXT: Command = Command {
    fields: NO_FIELDS,
    admin_only: true,
    ..Command::new("cstoreBackupNext", "the next chunks of a backup", next)
};

pub(super) static END: Command = Command {
    fields: NO_FIELDS,
    admin_only: true,
    ..Command::new("cstoreBackupEnd", "gives a backup up", end)
};

fn begin<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        read_point::confirm(server, true).await?;
        let taken_ms = wall_ms();
        let snapshot = server.node.reader().snapshot();
        let (documents, bytes) = size(&snapshot);
        let export = Export::without_members(snapshot).ok_or_else(|| {
            Failure::new(
                crate::mongo_wire::failure::Code::InternalError,
                "the latest snapshot does not know its position",
            )
        })?;
        let (index, term) = (export.applied().index, export.applied().term);
        let id = server.backups.begin(export)?;
        let mut fields = DocumentWriter::new();
        fields.i64("backup", id);
        fields.string("cluster_id", &hex(&server.node.status().cluster_id));
        fields.i64("index", number(index));
        fields.i64("term", number(term));
        fields.date("taken", taken_ms);
        fields.i64("documents", number(documents));
        fields.i64("bytes", number(bytes));
        Ok(fields.into())
    })
}

/// About how much there is to back up.
fn size(snapshot: &Snapshot) -> (u64, u64) {
    let collections = snapshot.catalog().collections();
    let counts = collections.filter_map(|collection| snapshot.counts(&collection.namespace));
    counts.fold((0, 0), |(documents, bytes), counts| {
        (documents + counts.documents, bytes + counts.bytes)
    })
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn next<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let id = values::integer(request.name, request.target)?;
        let server = invocation.server;
        let chunks = server.backups.next(id).await?;
        let bytes = chunks.iter().map(Vec::len).sum();
        let reservation = Some(server.budget.reserve(bytes).await);
        let mut fields = DocumentWriter::new();
        fields.begin_array("chunks");
        for chunk in &chunks {
            fields.push_binary(chunk);
        }
        fields.end();
        Ok(Answer {
            reservation,
            ..Answer::from(fields)
        })
    })
}

fn end<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let id = values::integer(request.name, request.target)?;
        let mut fields = DocumentWriter::new();
        fields.bool("ended", invocation.server.backups.end(id));
        Ok(fields.into())
    })
}
