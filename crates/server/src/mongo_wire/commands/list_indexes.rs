//! `listIndexes`.

use state_machine::{CommandError, Namespace};

use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::failure::Failure;
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::{batches, read_point};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["cursor"],
        refused: &["includeBuildUUIDs", "includeIndexBuildInfo"],
    }),
    access: Access::Read,
    in_api_1: true,
    ..Command::new("listIndexes", "the indexes of a collection", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let name = request.collection()?;
        let namespace = Namespace::new(request.database, name);
        let snapshot = read_point::snapshot(invocation).await?;
        let Some(collection) = snapshot.collection(&namespace) else {
            return Err(Failure::new(
                Failure::from(CommandError::NamespaceNotFound {
                    namespace: namespace.clone(),
                })
                .code,
                format!("ns does not exist: {namespace}"),
            ));
        };
        if collection.is_view() {
            return Err(CommandError::NotOnView { namespace }.into());
        }
        let specs = collection
            .ready_indexes()
            .map(|index| index.spec.clone())
            .collect();
        batches::of_documents(invocation, name, specs)
    })
}
