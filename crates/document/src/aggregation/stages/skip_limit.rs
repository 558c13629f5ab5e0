//! `$skip` and `$limit`.

use bson::raw::RawBsonRef;

use super::{DocumentStream, Stage};
use crate::expression::number::Numeric;
use crate::{Context, DocumentError, display};

pub(super) fn parse_skip(argument: RawBsonRef<'_>, _: &Context) -> Result<Stage, DocumentError> {
    count(argument, "$skip", 5_107_200).map(Stage::Skip)
}

pub(super) fn parse_limit(argument: RawBsonRef<'_>, _: &Context) -> Result<Stage, DocumentError> {
    match count(argument, "$limit", 5_107_201)? {
        0 => Err(DocumentError::location(15958, "the limit must be positive")),
        rows => Ok(Stage::Limit(rows)),
    }
}

fn count(argument: RawBsonRef<'_>, stage: &str, code: i32) -> Result<u64, DocumentError> {
    let refused = |expected: &str| {
        DocumentError::location(
            code,
            format!(
                "invalid argument to {stage} stage: Expected {expected} in: {}",
                display::element(stage, argument)
            ),
        )
    };
    let number = Numeric::of(argument).ok_or_else(|| refused("a number"))?;
    let whole = number.as_whole().ok_or_else(|| refused("an integer"))?;
    u64::try_from(whole).map_err(|_| refused("a non-negative number"))
}

pub(super) fn skip(rows: u64, input: DocumentStream) -> DocumentStream {
    let mut left = rows;
    Box::new(input.filter(move |document| {
        // An error is not a row.
        let skipped = left > 0 && document.is_ok();
        left -= u64::from(skipped);
        !skipped
    }))
}

pub(super) fn limit(rows: u64, input: DocumentStream) -> DocumentStream {
    Box::new(input.take(usize::try_from(rows).unwrap_or(usize::MAX)))
}
