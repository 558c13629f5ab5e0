//! `planCacheClear`: this member forgets which plans were best; and index filters, which are not there.

use bson::raw::RawDocument;
use state_machine::Namespace;
use state_machine::query::FindRequest;

use super::find::context;
use super::{Access, Command, Running};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::read_point;
use crate::mongo_wire::request::{Fields, Request};

pub(super) static CLEAR: Command = Command {
    fields: Some(Fields {
        known: &["query", "sort", "projection", "collation"],
        refused: &[],
    }),
    access: Access::Read,
    ..Command::new("planCacheClear", "forget which plans were best", clear)
};

pub(super) static SET_FILTER: Command = Command::new(
    "planCacheSetFilter",
    "index filters are not supported",
    no_filters,
);
pub(super) static LIST_FILTERS: Command = Command::new(
    "planCacheListFilters",
    "index filters are not supported",
    no_filters,
);
pub(super) static CLEAR_FILTERS: Command = Command::new(
    "planCacheClearFilters",
    "index filters are not supported",
    no_filters,
);

fn clear<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let namespace = Namespace::new(request.database, request.collection()?);
        let like = like(request, &namespace)?;
        let snapshot = read_point::snapshot(invocation).await?;
        snapshot.forget_plans(&namespace, like)?;
        Ok(DocumentWriter::new().into())
    })
}

/// The query whose shape is meant; `None` means all.
fn like(request: &Request<'_>, namespace: &Namespace) -> Result<Option<FindRequest>, Failure> {
    let Some(query) = request.document("query")? else {
        for field in ["sort", "projection", "collation"] {
            if request.field(field)?.is_some() {
                return Err(Failure::new(
                    Code::BadValue,
                    "sort, projection, or collation provided without query",
                ));
            }
        }
        return Ok(None);
    };
    Ok(Some(FindRequest {
        sort: request.document("sort")?.map(RawDocument::to_owned),
        projection: request.document("projection")?.map(RawDocument::to_owned),
        context: context(request)?,
        ..FindRequest::new(namespace.clone(), query.to_owned())
    }))
}

fn no_filters<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let name = invocation.request.name;
        Err(Failure::not_supported(format!("the command '{name}'")))
    })
}
