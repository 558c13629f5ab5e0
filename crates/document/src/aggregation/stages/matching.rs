//! `$match`: documents that satisfy a query pass.

use bson::raw::RawBsonRef;

use super::{DocumentStream, Stage};
use crate::DocumentError;
use crate::filter::Filter;

pub(super) fn parse(argument: RawBsonRef<'_>) -> Result<Stage, DocumentError> {
    let RawBsonRef::Document(query) = argument else {
        return Err(DocumentError::location(
            15959,
            "the match filter must be an expression in an object",
        ));
    };
    Ok(Stage::Match {
        filter: Filter::parse(query)?,
        specification: query.to_owned(),
    })
}

pub(super) fn run(filter: Filter, input: DocumentStream) -> DocumentStream {
    Box::new(input.filter(move |document| match document {
        Ok(document) => filter.matches(document),
        Err(_) => true,
    }))
}
