//! `cstoreStatus`: the cluster as `cstore status` shows it (DESIGN §9). Any member answers, asking the others.

use node::hex;
use state_machine::{CollectionCounts, Snapshot};

use super::{Command, Running};
use crate::mongo_wire::cluster_status;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;

/// Collections that are listed at most.
const COLLECTIONS_MAX: usize = 20;

pub(super) static COMMAND: Command = Command::new(
    "cstoreStatus",
    "the members, their roles and positions",
    run,
);

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let server = invocation.server;
        let reports = cluster_status::collect(server).await;
        let status = server.node.status();
        let mut fields = DocumentWriter::new();
        fields.string("cluster_id", &hex(&status.cluster_id));
        fields.i64("term", status.term.0 as i64);
        match status.leader {
            Some(leader) => fields.i64("leader", leader.0 as i64),
            None => fields.null("leader"),
        }
        fields.bool("joint", status.membership.outgoing.is_some());
        fields.i64("feature_level", i64::from(status.feature_level()));
        let newest = reports
            .iter()
            .map(|report| report.last_index)
            .max()
            .unwrap_or(0);
        fields.begin_array("members");
        for report in &reports {
            fields.push_begin_document();
            report.write_to(&mut fields);
            fields.bool("reachable", report.reachable);
            if report.reachable {
                fields.i64(
                    "lag_entries",
                    (newest - report.applied_index.min(newest)) as i64,
                );
            } else {
                fields.null("lag_entries");
            }
            if let Some(error) = &report.error {
                fields.string("error", error);
            }
            fields.end();
        }
        fields.end();
        let collections = {
            let reader = server.node.reader();
            tokio::task::spawn_blocking(move || largest_collections(&reader.snapshot()))
        };
        fields.begin_array("collections");
        // A task that panicked has printed why.
        for collection in collections.await.unwrap_or_default() {
            collection.write_to(&mut fields);
        }
        fields.end();
        Ok(fields.into())
    })
}

/// What a collection holds, as this member has applied it.
struct CollectionSize {
    namespace: String,
    counts: CollectionCounts,
    indexes: usize,
    /// `None`: it could not be read.
    index_bytes: Option<u64>,
}

impl CollectionSize {
    fn write_to(&self, fields: &mut DocumentWriter) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        fields.push_begin_document();
        fields.string("ns", &self.namespace);
        fields.i64("documents", number(self.counts.documents));
        fields.i64("document_bytes", number(self.counts.bytes));
        fields.i64("indexes", number(self.indexes as u64));
        if let Some(bytes) = self.index_bytes {
            fields.i64("index_bytes_estimated", number(bytes));
        }
        fields.end();
    }
}

/// The collections with the most bytes of documents, the largest first.
fn largest_collections(snapshot: &Snapshot) -> Vec<CollectionSize> {
    let mut all: Vec<_> = snapshot
        .catalog()
        .collections()
        .map(|collection| {
            let counts = snapshot.counts(&collection.namespace);
            (counts.unwrap_or_default(), collection)
        })
        .collect();
    all.sort_by_key(|(counts, _)| std::cmp::Reverse(counts.bytes));
    all.truncate(COLLECTIONS_MAX);
    all.into_iter()
        .map(|(counts, collection)| CollectionSize {
            namespace: collection.namespace.to_string(),
            counts,
            indexes: collection.indexes.len(),
            index_bytes: snapshot.estimated_index_bytes(collection).ok(),
        })
        .collect()
}
