//! `createIndexes`: registers the indexes, then builds each in bounded commands between which writes go on.
//!
//! The leader's housekeeping takes build steps too, so that a build outlives its client; a step that finds its index
//! gone because a duplicate was met there is found out by asking for the index again.

use state_machine::{
    CatalogReply, Command as Replicated, CommandError, IndexBuildProgress, Namespace, Reply,
};

use super::count::write_count;
use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::server::Server;
use crate::mongo_wire::write_path::{propose, unexpected};

/// Documents per build step.
const STEP_DOCUMENTS: u32 = 1_000;
/// How often the indexes are asked for again when a step finds its index gone.
const ATTEMPTS_MAX: u32 = 10;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["indexes", "commitQuorum", "ignoreUnknownIndexOptions"],
        refused: &[],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new("createIndexes", "new indexes on a collection", run)
};

/// What the first answer said: how the collection was before.
struct Before {
    created_collection: bool,
    indexes: u32,
}

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let specs = request.required_documents("indexes")?;
        if specs.is_empty() {
            return Err(Failure::bad_value(
                "Must specify at least one index to create",
            ));
        }
        let command = Replicated::CreateIndexes {
            namespace: Namespace::new(request.database, request.collection()?),
            specs: specs.into_iter().map(ToOwned::to_owned).collect(),
        };
        let (before, after) = create(invocation.server, &command).await?;
        let mut fields = DocumentWriter::new();
        write_count(&mut fields, "numIndexesBefore", u64::from(before.indexes));
        write_count(&mut fields, "numIndexesAfter", u64::from(after));
        if before.created_collection {
            fields.bool("createdCollectionAutomatically", true);
        }
        if before.indexes == after {
            fields.string("note", "all indexes already exist");
        }
        Ok(fields.into())
    })
}

/// Returns once every index is ready.
async fn create(server: &Server, command: &Replicated) -> Result<(Before, u32), Failure> {
    let mut first = None;
    for attempt in 1.. {
        let (before, after, building) = register(server, command).await?;
        let before = first.get_or_insert(before);
        let mut gone = None;
        for index_id in building {
            if let Err(failure) = build(server, index_id).await {
                match failure {
                    BuildFailure::Gone(error) => gone = Some(error),
                    BuildFailure::Refused(failure) => return Err(failure),
                }
            }
        }
        match gone {
            None => {
                let before = Before {
                    created_collection: before.created_collection,
                    indexes: before.indexes,
                };
                return Ok((before, after));
            }
            Some(error) if attempt >= ATTEMPTS_MAX => return Err(error.into()),
            Some(_) => {}
        }
    }
    unreachable!("the loop ends by returning")
}

async fn register(
    server: &Server,
    command: &Replicated,
) -> Result<(Before, u32, Vec<u32>), Failure> {
    match propose(server, command).await? {
        Reply::Catalog(CatalogReply::IndexesCreated {
            created_collection,
            indexes_before,
            indexes_after,
            building,
        }) => {
            let before = Before {
                created_collection,
                indexes: indexes_before,
            };
            Ok((before, indexes_after, building))
        }
        Reply::Failed(error) => Err(error.into()),
        other => Err(unexpected(&other)),
    }
}

enum BuildFailure {
    /// The index no longer exists: its build failed, or it was dropped.
    Gone(CommandError),
    Refused(Failure),
}

async fn build(server: &Server, index_id: u32) -> Result<(), BuildFailure> {
    let mut step = Replicated::IndexBuildChunk {
        index_id,
        limit: STEP_DOCUMENTS,
    };
    loop {
        match propose(server, &step)
            .await
            .map_err(BuildFailure::Refused)?
        {
            Reply::Catalog(CatalogReply::IndexBuild(IndexBuildProgress::More)) => {}
            Reply::Catalog(CatalogReply::IndexBuild(IndexBuildProgress::Complete)) => {
                step = Replicated::IndexBuildFinish { index_id };
            }
            Reply::Catalog(CatalogReply::IndexBuild(IndexBuildProgress::Ready)) => return Ok(()),
            Reply::Failed(error @ CommandError::IndexNotFound { .. }) => {
                return Err(BuildFailure::Gone(error));
            }
            Reply::Failed(error) => return Err(BuildFailure::Refused(error.into())),
            other => return Err(BuildFailure::Refused(unexpected(&other))),
        }
    }
}
