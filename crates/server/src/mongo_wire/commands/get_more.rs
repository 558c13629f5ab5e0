//! `getMore`.

use state_machine::Namespace;

use super::{Access, Command, Running};
use crate::mongo_wire::batches;
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::Fields;
use crate::mongo_wire::values;

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &["collection", "batchSize"],
        refused: &["term", "lastKnownCommittedOpTime"],
    }),
    access: Access::Free,
    in_api_1: true,
    ..Command::new("getMore", "the next batch of a cursor", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let id = values::integer("getMore", request.target)?;
        let collection = request
            .string("collection")?
            .ok_or_else(|| request.missing("collection"))?;
        if collection.is_empty() {
            return Err(Failure::new(
                Code::InvalidNamespace,
                "Collection names cannot be empty",
            ));
        }
        let batch_size = request.count("batchSize")?.filter(|size| *size > 0);
        let namespace = Namespace::new(request.database, collection);
        batches::next(invocation, id, &namespace, batch_size)
    })
}
