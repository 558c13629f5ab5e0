//! `$literal`: the argument as it is.

use bson::raw::RawBsonRef;

use crate::DocumentError;
use crate::expression::{Expression, Scope};

pub(super) fn parse(
    _: &str,
    argument: RawBsonRef<'_>,
    _: &Scope<'_>,
) -> Result<Expression, DocumentError> {
    Ok(Expression::constant(argument))
}
