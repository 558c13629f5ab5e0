//! `$match`: documents that satisfy a query pass.

use bson::raw::RawBsonRef;

use super::{DocumentStream, Stage};
use crate::filter::Filter;
use crate::{Context, DocumentError};

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let RawBsonRef::Document(query) = argument else {
        return Err(DocumentError::location(
            15959,
            "the match filter must be an expression in an object",
        ));
    };
    Ok(Stage::Match {
        filter: Filter::parse_in(query, context)?,
        specification: query.to_owned(),
    })
}

pub(super) fn run(filter: Filter, input: DocumentStream) -> DocumentStream {
    Box::new(input.filter_map(move |document| {
        let document = match document {
            Ok(document) => document,
            Err(error) => return Some(Err(error)),
        };
        match filter.try_matches(&document) {
            Ok(true) => Some(Ok(document)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }))
}
