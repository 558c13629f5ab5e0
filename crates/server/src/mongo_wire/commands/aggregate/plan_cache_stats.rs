//! `$planCacheStats`: which plans this member remembers for the queries of a collection.

use bson::RawDocumentBuf;
use bson::raw::RawBsonRef;
use state_machine::Namespace;

use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::{read_point, values};

/// A row for each entry.
pub(super) async fn rows(
    invocation: &Invocation<'_>,
    options: RawBsonRef<'_>,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    check(options)?;
    let request = &invocation.request;
    let RawBsonRef::String(_) = request.target else {
        return Err(Failure::new(
            Code::InvalidNamespace,
            "{aggregate: 1} is not valid for '$planCacheStats'; a collection is required.",
        ));
    };
    let namespace = Namespace::new(request.database, request.collection()?);
    let snapshot = read_point::snapshot(invocation).await?;
    if snapshot.is_view(&namespace) {
        // The stages of a view come before those of the question.
        return Err(super::sources::not_first("$planCacheStats"));
    }
    let Some(plans) = snapshot.cached_plans(&namespace)? else {
        return Err(Failure::new(
            Code::Location(50933),
            format!("collection '{namespace}' does not exist"),
        ));
    };
    let host = &invocation.server.settings.advertise;
    let rows = plans.into_iter().map(|plan| {
        let mut row = DocumentWriter::new();
        for (key, value) in &plan {
            values::write_bson(&mut row, key, value)?;
        }
        row.string("host", host);
        Ok(RawDocumentBuf::from_bytes(row.finish())?)
    });
    rows.collect()
}

fn check(options: RawBsonRef<'_>) -> Result<(), Failure> {
    let RawBsonRef::Document(options) = options else {
        return Err(Failure::new(
            Code::FailedToParse,
            format!(
                "$planCacheStats value must be an object. Found: {}",
                values::type_name(options)
            ),
        ));
    };
    for option in options {
        match option? {
            (name, RawBsonRef::Boolean(false)) if name == "allHosts" => {}
            (name, RawBsonRef::Boolean(true)) if name == "allHosts" => {
                return Err(Failure::new(
                    Code::Location(4503200),
                    "$planCacheStats stage supports allHosts parameter only for sharded clusters",
                ));
            }
            (name, _) => {
                return Err(Failure::new(
                    Code::FailedToParse,
                    format!(
                        "$planCacheStats parameters object may contain only 'allHosts' field. Found: {}",
                        name.as_str()
                    ),
                ));
            }
        }
    }
    Ok(())
}
